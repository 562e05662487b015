"""ANLS*: how near a structure of keys, lists and values comes to the accepted one."""

import json
import re
from typing import Any

from anls_star import anls_score

MAX_DEPTH = 32  # of a structure that is read; beyond it the text stays text
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)


def as_structure(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that a text holds, in a Markdown fence or bare; None for anything else."""
    fenced = _FENCED.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, thousands of brackets
        return None
    return value if isinstance(value, dict | list) and _is_shallow(value, MAX_DEPTH) else None


def anls_star(prediction: object, gold: object) -> float:
    """ANLS* of Peer et al. 2024 by the package `anls-star`, from 0 to 1.

    Objects are compared key by key, lists by the best assignment of their items, values by ANLS; keys and
    items that are missing or made up count as 0.

    Args:
        prediction: dict, list, value or None; or text, read as JSON where it is that.
        gold: the same; a tuple anywhere inside holds alternatives.
    """
    prediction, gold = _read(prediction), _read(gold)
    if isinstance(gold, list) and isinstance(prediction, str):
        # The package would take the list for alternatives, one of which is enough.
        return 0.0
    return float(anls_score(gold, prediction))


def _read(value: object) -> object:
    structure = as_structure(value) if isinstance(value, str) else None
    return value if structure is None else structure


def _is_shallow(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in items)
