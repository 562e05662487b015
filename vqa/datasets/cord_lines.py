"""CORD's valid lines: read, grouped into a parse where none is published, and looked up as evidence."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vqa.datasets.cord_questions import ITEM_SECTIONS
from vqa.datasets.text_evidence import Box, corners_box, union
from vqa.raw_forms import RowProblem

_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


@dataclass(frozen=True)
class ValidLine:
    """One annotated line: its value without the words that name it ("TOTAL"), and the value's box."""

    section: str
    field: str
    text: str
    box: Box | None
    group: str
    sub_group: str


def read_valid_lines(value: Any) -> list[ValidLine]:
    """The lines of `valid_line` that hold a value. Raises RowProblem for another form."""
    lines = []
    for number, line in enumerate(value or []):
        words = line.get("words") if isinstance(line, dict) else None
        category = line.get("category") if isinstance(line, dict) else None
        if not isinstance(words, list) or not all(isinstance(word, dict) for word in words):
            raise RowProblem(f"valid_line[{number}].words: expected a list of objects")
        if not isinstance(category, str):
            raise RowProblem(f"valid_line[{number}].category: expected a string")
        written = [word for word in words if isinstance(word.get("text"), str) and word["text"].strip()]
        values = [word for word in written if not word.get("is_key")]
        text = " ".join(" ".join(word["text"] for word in values).split())
        if text:
            boxes = [box for box in (_quad_box(word.get("quad")) for word in values) if box]
            section, _, field = category.replace(".sub.", ".sub_").partition(".")
            group, sub_group = line.get("group_id"), line.get("sub_group_id")
            box = union(boxes) if boxes else None
            lines.append(ValidLine(section, field, text, box, str(group), str(sub_group)))
    return lines


def _quad_box(quad: Any) -> Box | None:
    return corners_box([quad.get(name) for name in _CORNERS]) if isinstance(quad, dict) else None


def parse_of_lines(lines: Sequence[ValidLine]) -> dict[str, Any]:
    """A parse in the form of `gt_parse`: items are the groups of the menu, totals one object a section."""
    blocks: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(dict)
    subs: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    open_sub: dict[tuple[str, str], str] = {}
    for line in lines:
        group = line.group if line.section in ITEM_SECTIONS else ""
        block = blocks[line.section].setdefault(group, {})
        if group and line.field.startswith("sub_"):
            field, key = line.field[4:], (line.section, group)
            # A new sub-item begins with its own number (CORD v2) or when a field comes again (v1).
            if not subs[key] or field in subs[key][-1] or open_sub[key] != line.sub_group:
                subs[key].append({})
            subs[key][-1][field] = line.text
            open_sub[key] = line.sub_group
        else:
            block.setdefault(line.field, []).append(line.text)
    parse: dict[str, Any] = {}
    for section, groups in blocks.items():
        found = []
        for group, block in groups.items():
            entry: dict[str, Any] = {k: texts[0] if len(texts) == 1 else texts for k, texts in block.items()}
            if (section, group) in subs:
                entry["sub"] = subs[section, group]
            found.append(entry)
        parse[section] = found if section in ITEM_SECTIONS else found[0]
    return parse


class EvidenceFinder:
    """Finds the lines of a parse's entries, each line once."""

    def __init__(self, lines: Sequence[ValidLine]) -> None:
        self._by_text: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._lines = lines
        self._used: set[int] = set()
        for number, line in enumerate(lines):
            section = line.section.replace("_", "")
            self._by_text[f"{section}.{line.field}", line.text].append(number)
            self._groups[section, line.group].append(number)

    def of_entry(self, leaves: Sequence[tuple[str, Sequence[str]]]) -> list[list[Box]]:
        """The boxes of each leaf, given as (category, texts), of one item or block of totals.

        An item is looked for as a whole, as a group of lines that has all of its values, which tells two
        items of one price apart; failing that a value counts only where a single line holds it.
        """
        wanted = [(_canonical(category), text) for category, texts in leaves for text in texts]
        group = next((g for g in self._groups.values() if wanted and self._take(g, wanted)), None)
        if group is not None:
            numbers = self._take(group, wanted)
            self._used.update(numbers)
            chosen: list[int | None] = list(numbers)
        else:
            chosen = [self._single(key) for key in wanted]
        boxes, position = [], 0
        for _, texts in leaves:
            picked = chosen[position : position + len(texts)]
            position += len(texts)
            found = (self._lines[number].box for number in picked if number is not None)
            boxes.append([box for box in found if box])
        return boxes

    def _take(self, group: Sequence[int], wanted: Sequence[tuple[str, str]]) -> list[int]:
        """The unused lines of a group for all that is wanted, or [] where one is lacking."""
        taken: list[int] = []
        for key in wanted:
            free = (
                n for n in self._by_text.get(key, ()) if n in group and n not in self._used and n not in taken
            )
            number = next(free, None)
            if number is None:
                return []
            taken.append(number)
        return taken

    def _single(self, key: tuple[str, str]) -> int | None:
        numbers = self._by_text.get(key, ())
        return numbers[0] if len(numbers) == 1 else None


def _canonical(category: str) -> str:
    section, _, field = category.partition(".")
    return f"{section.replace('_', '')}.{field}"
