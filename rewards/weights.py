"""How much each reward counts, read from the forms a command line and a YAML file can give it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vqa.errors import UserError

DEFAULT_WEIGHTS = {"format": 0.2, "answer": 0.4, "consistency": 0.2, "counterfactual": 0.2}


def parse_weights(
    given: str | float | Sequence[Any] | Mapping[str, Any] | None = None, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Reward to weight, in the rewards' order.

    >>> parse_weights("0.2,0.4,0.2,0.2") == parse_weights([0.2, 0.4, 0.2, 0.2]) == parse_weights()
    True
    >>> parse_weights("answer=0.7, my_rewards.py:brevity=0.3")
    {'answer': 0.7, 'my_rewards.py:brevity': 0.3}
    >>> parse_weights({"answer": 1, "grounding": "0.5"})
    {'answer': 1.0, 'grounding': 0.5}

    Args:
        given: numbers in the order of `names`, as a list or as text with commas; or NAME=NUMBER pairs, as
            text, a list or a mapping, which choose the rewards as well. None: the default.
        names: the rewards, where they are named elsewhere; None: those of the default. A weight of 0 leaves a
            reward in, to be logged.

    Raises:
        UserError: too few or too many, a name twice, not a number, below 0, not finite, or all 0.
    """
    expected = list(DEFAULT_WEIGHTS if names is None else names)
    if given is None:
        if expected != list(DEFAULT_WEIGHTS):
            raise UserError(f"weights: give one for each of {', '.join(expected)}")
        return dict(DEFAULT_WEIGHTS)
    if isinstance(given, Mapping):
        pairs = [(str(name), value) for name, value in given.items()]
    else:
        given = [given] if isinstance(given, int | float) else given
        entries = given.split(",") if isinstance(given, str) else list(given)
        pairs = _pairs([entry.strip() if isinstance(entry, str) else entry for entry in entries], expected)
    found = [name for name, _ in pairs]
    _refuse_twice(found)
    if names is not None and set(found) != set(expected):
        raise UserError(f"weights: for {', '.join(found)}, but the rewards are {', '.join(expected)}")
    weights = {name: _number(name, value) for name, value in pairs}
    if not any(weights.values()):
        raise UserError("weights: all are 0, there is nothing to learn")
    return weights


def _pairs(entries: list[Any], names: list[str]) -> list[tuple[str, Any]]:
    named = [entry.rpartition("=") for entry in entries if isinstance(entry, str) and "=" in entry]
    if named and len(named) == len(entries):
        return [(name.strip(), value) for name, _, value in named]
    if named:
        raise UserError("weights: either all have a name (NAME=NUMBER) or none")
    if len(entries) != len(names):
        raise UserError(f"weights: {len(entries)} for {len(names)} rewards ({', '.join(names)})")
    return list(zip(names, entries, strict=True))


def _refuse_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"weights: {name} is there twice")
        seen.add(name)


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise UserError(f"weights: {name}: expected a number of at least 0, not {value!r}")
    return number
