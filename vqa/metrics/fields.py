"""Documents asked for field by field: precision, recall and F1 of the fields, and how near the trees come.

A record names its field in `meta.field`: an entity (SROIE, `total`), a key of a form (FUNSD), a path in the
document's tree (CORD, `menu[0].nm`). Both measures are those of Donut (Kim et al. 2022): `JSONParseEvaluator`
in `donut/util.py` of clovaai/donut (MIT).
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

import numpy as np
import zss
from rapidfuzz.distance import Levenshtein

TREES = "cord"  # how the name of a source begins whose fields are paths
MAX_DEPTH = 32  # of a tree; what lies below is part of the last key
_INDEX = re.compile(r"\[([0-9]{1,9})\]")

Field = tuple[str, str]  # where it stands, what it says
Rows = Sequence[Mapping[str, Any]]  # predictions


@dataclass
class Node:
    """A key of a tree, an item of a list, or a text, which has no children."""

    label: str
    is_text: bool = False
    children: list["Node"] = field(default_factory=list)


def documents_of(predictions: Rows) -> list[list[int]]:
    """The documents whose fields are asked for: for each the numbers of its records.

    A record asks for a field if it is `extractive` and names one; those of one source and the same images
    make a document. One without images belongs to none.
    """
    documents: dict[Hashable, list[int]] = {}
    for number, row in enumerate(predictions):
        if row.get("field") and row["qtype"] == "extractive" and row["images"]:
            documents.setdefault((row["source"], *row["images"]), []).append(number)
    return list(documents.values())


def field_columns(
    predictions: Rows, documents: Iterable[Sequence[int]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Path in metrics.json -> (part of the numerator, of the denominator), a document's at its first record.

    Args:
        predictions: complete lines of a prediction file.
        documents: from `documents_of`.
    """
    hits, predicted, accepted, nearness, trees = np.zeros((5, len(predictions)))
    for numbers in documents:
        rows, first = [predictions[number] for number in numbers], numbers[0]
        said = [(row["field"], _said(row)) for row in rows if not row["abstained"]]
        gold = [(row["field"], _clean(row["answers"][0])) for row in rows if row["answerable"]]
        hits[first], predicted[first], accepted[first] = common_fields(said, gold), len(said), len(gold)
        if gold and rows[0]["source"].casefold().startswith(TREES):
            nearness[first], trees[first] = tree_accuracy(said, gold), 1
    return {
        "fields/precision": (hits, predicted),
        "fields/recall": (hits, accepted),
        "fields/f1": (2 * hits, predicted + accepted),
        "nted": (nearness, trees),
    }


def common_fields(predicted: Iterable[Field], accepted: Iterable[Field]) -> int:
    """How many fields of a document are right: same key, same text, each accepted one at most once.

    The place in a list is no part of the key: `menu[0].nm` and `menu[1].nm` are both `menu.nm`.
    """
    left, right = (
        Counter((_INDEX.sub("", path), text) for path, text in side) for side in (predicted, accepted)
    )
    return (left & right).total()


def tree_accuracy(predicted: Iterable[Field], accepted: Iterable[Field]) -> float:
    """Donut's accuracy of a document by its tree edit distance (TED), from 0 to 1:

        max(0, 1 - TED(predicted, accepted) / TED(empty, accepted))

    A text costs its length to insert or remove, and its edit distance to change; a key or an item costs 1.

    Args:
        predicted, accepted: (path, text); at least one is accepted.
    """
    said, gold = tree_of(predicted), tree_of(accepted)
    distance = zss.distance(said, gold, lambda node: node.children, _cost, _cost, _update_cost)
    return max(0.0, 1 - float(distance) / _cost_below(gold))


def tree_of(fields: Iterable[Field]) -> Node:
    """The tree that paths such as `menu[0].sub.nm` describe, as Donut builds it of a parse.

    Keys are in the order of their length, then of the alphabet; below a key every item is a `<subtree>`, an
    object without a list too.
    """
    return _tree("<root>", [(_steps(path), text) for path, text in fields])


def _tree(label: str, fields: list[tuple[list, str]]) -> Node:
    keys: dict[str, dict[tuple[int, ...], list]] = {}
    for ((key, place), *rest), text in fields:
        keys.setdefault(key, {}).setdefault(place, []).append((rest, text))
    node = Node(label)
    for key in sorted(keys, key=lambda key: (len(key), key)):
        node.children.append(below := Node(key))
        for place in sorted(keys[key]):
            items = keys[key][place]
            below.children += [Node(text, is_text=True) for rest, text in items if not rest]
            if deeper := [item for item in items if item[0]]:
                below.children.append(_tree("<subtree>", deeper))
    return node


def _steps(path: str) -> list[tuple[str, tuple[int, ...]]]:
    """`menu[0].nm` as [("menu", (0,)), ("nm", ())]."""
    parts = path.split(".", MAX_DEPTH - 1)
    return [(_INDEX.sub("", part), tuple(map(int, _INDEX.findall(part)))) for part in parts]


def _cost(node: Node) -> int:
    return len(node.label) if node.is_text else 1


def _update_cost(left: Node, right: Node) -> int:
    if left.is_text and right.is_text:
        return Levenshtein.distance(left.label, right.label)
    if left.is_text or right.is_text:
        return 1 + len((left if left.is_text else right).label)
    return int(left.label != right.label)


def _cost_below(node: Node) -> int:
    """What it costs to insert all below a node: for a root, its tree's distance from the empty one."""
    return sum(_cost(child) + _cost_below(child) for child in node.children)


def _said(row: Mapping[str, Any]) -> str:
    """The prediction; another accepted wording counts as the first one."""
    text, accepted = _clean(row["pred"]), [_clean(answer) for answer in row["answers"]]
    return accepted[0] if text in accepted else text


def _clean(text: str) -> str:
    return " ".join(normalize("NFC", text).split())
