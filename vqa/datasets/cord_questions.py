"""The leaves of a CORD parse and the wording of their questions.

An item is named where its fields are asked for, `What is the price of "ES TEH"?`; one that the receipt lists
twice is counted, `the second "ES TEH"`, and so is one without a name, `the third item`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vqa.raw_forms import RowProblem, describe

ITEM_SECTIONS = {"menu": "item", "void_menu": "voided item", "voidmenu": "voided item"}
ITEM_FIELDS = {
    "nm": "name",
    "num": "item number",
    "unitprice": "unit price",
    "cnt": "quantity",
    "discountprice": "discount",
    "price": "price",
    "itemsubtotal": "price after discount",
    "vatyn": "tax mark",
    "etc": "further note",
}
TOTAL_FIELDS = {
    "sub_total.subtotal_price": "subtotal",
    "sub_total.discount_price": "discount on the subtotal",
    "sub_total.service_price": "service charge",
    "sub_total.othersvc_price": "additional charge",
    "sub_total.tax_price": "tax",
    "sub_total.tax_and_service": "tax and service charge",
    "sub_total.etc": "other amount beside the subtotal",
    "total.total_price": "total price",
    "total.total_etc": "other amount beside the total",
    "total.cashprice": "amount paid in cash",
    "total.changeprice": "change",
    "total.creditcardprice": "amount paid by credit card",
    "total.emoneyprice": "amount paid with electronic money",
    "total.menutype_cnt": "number of different items",
    "total.menuqty_cnt": "total quantity of items",
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True)
class Leaf:
    """A value of the parse: where it stands in it, its texts (one a line), its category and its question."""

    path: str
    category: str
    value: Any
    texts: tuple[str, ...]
    question: str


Entry = list[Leaf]


def entries(parse: Any) -> Iterator[Entry]:
    """Yield the leaves of a `gt_parse`, those of one item or one block of totals together.

    Raises:
        RowProblem: it is no object of objects.
    """
    if not isinstance(parse, dict):
        raise RowProblem(f"gt_parse: expected an object, not {describe(parse)}")
    for section, value in parse.items():
        blocks = value if isinstance(value, list) else [value]
        if not all(isinstance(block, dict) for block in blocks):
            raise RowProblem(f"gt_parse.{section}: expected an object or a list of objects")
        paths = [
            f"{section}[{number}]" if isinstance(value, list) else section for number in range(len(blocks))
        ]
        if section in ITEM_SECTIONS:
            yield from _items(section, blocks, paths)
        else:
            yield from _totals(section, blocks, paths)


def _items(section: str, items: Sequence[dict[str, Any]], paths: Sequence[str]) -> Iterator[Entry]:
    word = ITEM_SECTIONS[section]
    names = [_name(item) for item in items]
    for number, (item, path) in enumerate(zip(items, paths, strict=True)):
        target = _named(names, number, word)
        leaves = []
        for field, value in item.items():
            if field != "sub" and not field.startswith("sub_"):
                question = _item_question(field, target, _numbered(number, len(items), word))
                leaves.append(_leaf(f"{path}.{field}", f"{section}.{field}", value, question))
        subs = _sub_items(item, path)
        sub_names = [_name({field: value for field, (_, value) in sub.items()}) for sub in subs]
        for index, sub in enumerate(subs):
            sub_target = f"{_named(sub_names, index, 'sub-item')} of {target}"
            place = f"{_numbered(index, len(subs), 'sub-item')} of {target}"
            for field, (sub_path, value) in sub.items():
                question = _item_question(field, sub_target, place)
                leaves.append(_leaf(sub_path, f"{section}.sub_{field}", value, question))
        yield leaves


def _sub_items(item: dict[str, Any], path: str) -> list[dict[str, tuple[str, Any]]]:
    """Field -> (path, value) of each sub-item: objects under `sub`, or in CORD v1 fields such as `sub_nm`."""
    value = item.get("sub", [])
    blocks = value if isinstance(value, list) else [value]
    if not all(isinstance(block, dict) for block in blocks):
        raise RowProblem(f"gt_parse.{path}.sub: expected an object or a list of objects")
    subs = []
    for index, block in enumerate(blocks):
        place = f"{path}.sub[{index}]" if isinstance(value, list) else f"{path}.sub"
        subs.append({field: (f"{place}.{field}", inner) for field, inner in block.items()})
    flat = {
        field[4:]: (f"{path}.{field}", inner) for field, inner in item.items() if field.startswith("sub_")
    }
    return [*subs, flat] if flat else subs


def _item_question(field: str, target: str, place: str) -> str:
    noun = ITEM_FIELDS.get(field, field.replace("_", " "))
    return f"What is the {noun} of {place if field == 'nm' else target}?"


def _totals(section: str, blocks: Sequence[dict[str, Any]], paths: Sequence[str]) -> Iterator[Entry]:
    """Amounts of one kind are asked for one by one: the first discount, the second discount."""
    totals = Counter(field for block in blocks for field, value in block.items() for _ in _values(value))
    seen: Counter[str] = Counter()
    for block, path in zip(blocks, paths, strict=True):
        leaves = []
        for field, value in block.items():
            noun = TOTAL_FIELDS.get(f"{section}.{field}", f"{section} {field}".replace("_", " "))
            for index, single in enumerate(_values(value)):
                place = f"{path}.{field}[{index}]" if isinstance(value, list) else f"{path}.{field}"
                question = f"What is {_numbered(seen[field], totals[field], noun)}?"
                seen[field] += 1
                leaves.append(_leaf(place, f"{section}.{field}", single, question))
        yield leaves


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _leaf(path: str, category: str, value: Any, question: str) -> Leaf:
    return Leaf(path, category, value, _texts(value), question)


def _texts(value: Any) -> tuple[str, ...]:
    """The lines of a leaf's value; none where it is not text."""
    values = _values(value)
    if not all(type(item) in (str, int, float) for item in values):
        return ()
    return tuple(text for text in (" ".join(str(item).split()) for item in values) if text)


def _name(item: dict[str, Any]) -> str:
    return " ".join(_texts(item.get("nm"))).replace('"', "'")


def _named(names: Sequence[str], number: int, word: str) -> str:
    """An item by its name: `"X"`, `the second "X"`, or by its place where it has none."""
    name = names[number]
    prefix = "" if word == "item" else f"{word} "
    if not name:
        return _numbered(number, len(names), word)
    if names.count(name) > 1:
        return f'the {_ordinal(names[: number + 1].count(name))} {prefix}"{name}"'
    return f'the {prefix}"{name}"' if prefix else f'"{name}"'


def _numbered(index: int, count: int, noun: str) -> str:
    return f"the {noun}" if count == 1 else f"the {_ordinal(index + 1)} {noun}"


def _ordinal(number: int) -> str:
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
