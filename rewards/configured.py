"""The rewards of a run: found by name, with the options that a config gives them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from rewards.consistency import Similarity
from vqa.embeddings import DEFAULT_ENCODER, SentenceEncoder
from vqa.errors import UserError

# What a reward is called with; every other parameter is an option.
COLUMNS = frozenset(
    """prompts completions completion_ids trainer_state log_metric log_extra similarity id question
    question_type answers answerable answer_candidates boxes box_images images image_paths
    image_sha256 image_size image_sizes resized_size box_format delta_cf_roi delta_cf_rand caption
    reasoning source split meta""".split()
)


def configured_rewards(
    names: Iterable[str],
    find: Callable[[str], Callable[..., list[float | None]]],
    options: Mapping[str, Mapping[str, Any]] | str | None = None,
    similarity: Similarity | None = None,
) -> dict[str, Callable[..., list[float | None]]]:
    """Name to reward, in the names' order, ready to be called as TRL calls one.

    >>> from rewards import find_reward
    >>> rewards = configured_rewards(["format"], find_reward, {"format": {"partial_credit": True}})
    >>> rewards["format"](['{"caption": "a lung"}'])
    [0.25]

    Args:
        find: `rewards.find_reward`.
        options: of each reward, its options by name.
        similarity: of question and caption, for `consistency`; None: by its default encoder.

    Raises:
        UserError: there is no such reward, or it has no such option, or refuses its value.
    """
    rewards = {name: find(name) for name in names}
    if not isinstance(options or {}, Mapping):
        raise UserError(f"reward_options: expected a mapping of rewards to their options, not {options!r}")
    for name, chosen in (options or {}).items():
        if name not in rewards:
            raise UserError(f"reward_options: {name} is not among the rewards ({', '.join(rewards)})")
        if not isinstance(chosen, Mapping):
            raise UserError(f"reward_options: {name}: expected a mapping of options, not {chosen!r}")
        parameters = inspect.signature(rewards[name]).parameters.values()
        known = [
            parameter.name
            for parameter in parameters
            if parameter.name not in COLUMNS and parameter.kind is not parameter.VAR_KEYWORD
        ]
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            raise UserError(
                f"reward_options: {name} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
            )
        rewards[name] = partial(rewards[name], **chosen)
        try:
            rewards[name](prompts=[], completions=[])  # a value that is refused is refused now
        except (TypeError, ValueError) as error:
            raise UserError(f"reward_options: {name}: {' '.join(str(error).split())}") from error
    if "consistency" in rewards and similarity is not None:
        rewards["consistency"] = partial(rewards["consistency"], similarity=similarity)
    return rewards


def sentence_similarity(encoder: str | None, device: str) -> Similarity:
    """The similarity of `consistency` for a training that can be repeated bit by bit.

    Args:
        encoder: name or folder; None: the default.
        device: where it runs. On processors texts are encoded one at a time: in a batch the last bits of a
            vector depend on the other texts, and after a resume other texts are new.

    Raises:
        UserError: there is no such encoder.
    """
    batch_size = 1 if device.startswith("cpu") else 64
    return SentenceEncoder(encoder or DEFAULT_ENCODER, device, batch_size).similarity
