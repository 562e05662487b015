"""Rewards for GRPO on structured answers, by name; each in a file of its own (docs/rewards.md).

A reward is a function that TRL's `GRPOTrainer` calls by keyword, for all completions of a batch at once:
`prompts`, `completions` (each a list of messages), every column of the records (`answers`, `boxes`, ...) and
what else the trainer hands down. It returns a number for each completion, or None where it does not apply. A
completion that cannot be read earns 0.
"""

from collections.abc import Callable

from rewards.abstention import abstention_reward
from rewards.answer import answer_reward
from rewards.consistency import consistency_reward
from rewards.counterfactual import counterfactual_reward
from rewards.format import format_reward
from rewards.grounding import grounding_reward
from rewards.own_file import load_function
from rewards.weights import DEFAULT_WEIGHTS, parse_weights
from vqa.errors import UserError

__all__ = ["DEFAULT_WEIGHTS", "REWARDS", "find_reward", "parse_weights"]

REWARDS: dict[str, Callable[..., list[float | None]]] = {
    "format": format_reward,
    "answer": answer_reward,
    "consistency": consistency_reward,
    "counterfactual": counterfactual_reward,
    "grounding": grounding_reward,
    "abstention": abstention_reward,
}


def find_reward(name: str) -> Callable[..., list[float | None]]:
    """The reward of a name in `REWARDS`, or the function that "FILE.py:FUNCTION" names.

    >>> find_reward("answer") is answer_reward
    True

    Raises:
        UserError: there is no such reward, file or function, or it cannot be called as a reward is.
    """
    if name in REWARDS:
        return REWARDS[name]
    if ".py:" not in name:
        raise UserError(
            f"reward {name!r}: unknown; known: {', '.join(REWARDS)}, or your own as FILE.py:FUNCTION"
        )
    return load_function(name)
