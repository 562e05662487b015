"""`abstention`: it is right to answer what the image shows, and right to abstain from what it does not."""

from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, prediction_lines
from vqa.errors import UserError
from vqa.questions import abstains, candidates_of


def abstention_reward(
    completions: Sequence[Completion],
    *,
    hallucination_cost: float = 1.0,
    overabstention_cost: float = 1.0,
    **columns: Any,
) -> list[float | None]:
    """1 for answering an answerable question or abstaining from an unanswerable one, less the error's cost.

    Whether the answer is right is not asked here. `vqa.questions.abstains` decides what abstains, as in the
    metrics of abstention: phrases count as a whole, and "N/A" is an answer where it is an accepted one.

    >>> said = '{{"caption": "", "reasoning": [], "boxes": [], "answer": "{}"}}'.format
    >>> texts = [said("yes"), said("unanswerable")] * 2
    >>> known = [True, True, False, False]
    >>> abstention_reward(texts, answerable=known)
    [1.0, 0.0, 0.0, 1.0]
    >>> abstention_reward(texts, answerable=known, overabstention_cost=0.5)
    [1.0, 0.5, 0.0, 1.0]

    Args:
        hallucination_cost: of answering what the image does not show.
        overabstention_cost: of abstaining from what it shows. Both from 0 to 1: beyond, an unreadable
            completion, which earns 0, would be better than an error.
        columns: of the records: `prediction_lines` says which are looked at.

    Returns:
        None where it is not known whether the question can be answered.

    Raises:
        UserError: a cost outside of [0, 1].
    """
    for name, cost in (
        ("hallucination_cost", hallucination_cost),
        ("overabstention_cost", overabstention_cost),
    ):
        if not 0 <= cost <= 1:
            raise UserError(f"reward abstention: {name} is from 0 to 1, not {cost}")
    rewards: list[float | None] = []
    for line in prediction_lines(completions, **columns):
        if line is None:
            rewards.append(0.0)
        elif line["answerable"] is None:
            rewards.append(None)
        else:
            abstained = abstains(line["pred"], line["answers"], candidates_of(line), line["answerable"])
            cost = overabstention_cost if line["answerable"] else hallucination_cost
            rewards.append(1.0 if abstained != line["answerable"] else 1.0 - cost)
    return rewards
