"""SROIE's lines of text, and which of them hold an entity's value."""

import re
from collections.abc import Sequence

from vqa.datasets.text_evidence import MAX_PLACES, Box, PageText, Word, corners_box

Line = tuple[str, Box]
# A text of fewer letters and digits may stand inside other words by chance.
MIN_COMPACT = 8


def parse_line(text: str) -> Line | None:
    """`x1,y1,x2,y2,x3,y3,x4,y4,TEXT` -> (TEXT, box); None where it is no such line."""
    parts = text.split(",", 8)
    if len(parts) < 9:
        return None
    try:
        # JSON cannot carry infinity, and no image is so large.
        numbers = [float(part) for part in parts[:8]]
        box = corners_box([int(number) if number == int(number) else number for number in numbers])
    except (ValueError, OverflowError):
        return None
    return (parts[8].strip(), box) if box and parts[8].strip() else None


def value_boxes(lines: Sequence[Line], value: str) -> list[Box]:
    """The boxes of the lines that hold `value`; of consecutive ones where it runs over several.

    A value without spaces, a date or an amount, may have a label or a currency beside it ("RM9.00"), but is
    no part of a longer number. Others are looked for word by word, then by their letters and digits alone.
    """
    if " " not in value:
        pattern = _token_pattern(value)
        found = [box for text, box in lines if pattern.search(text.casefold())]
        return found if len(found) <= MAX_PLACES else []
    page = PageText(Word(text, box, number) for number, (text, box) in enumerate(lines))
    return page.boxes_of([value]) or _compact_boxes(lines, value)


def _token_pattern(value: str) -> re.Pattern[str]:
    text = value.casefold()
    before = r"(?<![\d.,/-])" if text[0].isdigit() else r"(?<!\w)"
    after = r"(?![\d/]|[.,-]\d)" if text[-1].isdigit() else r"(?!\w)"
    return re.compile(before + re.escape(text) + after)


def _compact_boxes(lines: Sequence[Line], value: str) -> list[Box]:
    """The lines over which the value's letters and digits run, punctuation and spaces left out."""
    wanted = _compact(value)
    if len(wanted) < MIN_COMPACT or wanted.isdigit():
        return []
    pieces = [_compact(text) for text, _ in lines]
    owners = [number for number, piece in enumerate(pieces) for _ in piece]
    joined = "".join(pieces)
    starts = [match.start() for match in re.finditer(re.escape(wanted), joined)]
    if len(starts) > MAX_PLACES:
        return []
    numbers = dict.fromkeys(owner for start in starts for owner in owners[start : start + len(wanted)])
    return [lines[number][1] for number in numbers]


def _compact(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
