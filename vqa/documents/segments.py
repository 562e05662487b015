"""The parts of a page's lines that belong together, and which part stands below which.

A line of a form or a table holds several things side by side: two labels, a label and its value, cells. It is
cut where the gap is wider than a space, and after a colon, which ends a label.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import fmean

from vqa.documents.pages import Box, OcrPage, Word

# Of the width of a letter: a space is 0.5 wide in print and 1 in typewriter faces, twice that is a gap.
WIDEST_SPACE = 2.0
# Lines between two segments of which one is below the other: what is beside them may stand a little higher.
LINES_BETWEEN = 2
# Of the height of the letters, from the middle of a line to that of the next: further down something else
# begins, and what is nearer may be lines of one block.
FURTHEST_BELOW = 3.5
BLOCK_PITCH = 2.6
# Of the distance of the lines above: a larger one ends a column.
LARGEST_STEP = 1.4
# Of the height of the letters: how far apart the lines of a block begin.
BLOCK_SHIFT = 1.0
LARGEST_BLOCK = 5
# A line of fewer segments is no row of a table, or tells as much as its cells would.
TABLE_CELLS = 3


@dataclass(frozen=True)
class Segment:
    """Neighbouring words of one line: their indices on the page, the box around them, the line's index.

    Attributes:
        is_label: whether it ends with a colon.
        has_letter, has_digit: whether it holds one.
    """

    words: tuple[int, ...]
    box: Box
    line: int
    is_label: bool
    has_letter: bool
    has_digit: bool


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box around `boxes`, of which there is at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


class PageLayout:
    """The segments of a page.

    Attributes:
        lines: those of each line, in reading order.
        below: from a segment to the one that stands under it, where there is one.
        above: the same the other way: from a segment to the one that it stands under.
        blocks: three to five segments that stand closely under one another and begin at one edge, as the
            lines of an address do; only the first may be a label.
    """

    def __init__(self, page: OcrPage) -> None:
        self.lines = [
            [_segment(page, part, number) for part in _parts(page, line)]
            for number, line in enumerate(page.lines)
        ]
        self.below: dict[Segment, Segment] = {}
        self.above: dict[Segment, Segment] = {}
        for number, line in enumerate(self.lines):
            following = self.lines[number + 1 : number + 2 + LINES_BETWEEN]
            for segment in line:
                lower = _nearest_below(segment, following)
                if lower is None:
                    continue
                self.below[segment] = lower
                upper = self.above.get(lower)
                if upper is None or _shared(lower, segment) > _shared(lower, upper):
                    self.above[lower] = segment
        self.blocks = list(self._blocks())

    def __iter__(self) -> Iterator[Segment]:
        """All segments in reading order."""
        return (segment for line in self.lines for segment in line)

    def column_over(self, segment: Segment) -> Iterator[Segment]:
        """What stands over a segment, upwards, as long as the distances stay as they are."""
        pitch = inf
        while segment in self.above and _pitch(self.above[segment], segment) <= LARGEST_STEP * pitch:
            pitch = _pitch(self.above[segment], segment)
            segment = self.above[segment]
            yield segment

    def is_row(self, line: int) -> bool:
        """Whether a line may be a row of a table."""
        segments = self.lines[line]
        return len(segments) >= TABLE_CELLS and not any(segment.is_label for segment in segments)

    def has_label(self, segment: Segment) -> bool:
        """Whether a label stands to the left of a segment."""
        line = self.lines[segment.line]
        return any(left.is_label for left, right in pairwise(line) if right is segment)

    def labels_another(self, segment: Segment) -> bool:
        """Whether a segment is the label of what stands to the right of it."""
        line = self.lines[segment.line]
        return any(left is segment and left.is_label and not right.is_label for left, right in pairwise(line))

    def _blocks(self) -> Iterator[list[Segment]]:
        seen: set[Segment] = set()
        for segment in self:
            block = [segment]
            while (lower := self.below.get(block[-1])) is not None and _continues(block[-1], lower):
                if len(block) > 1 and self.is_row(lower.line) > self.is_row(block[-1].line):
                    break  # a table begins
                block.append(lower)
            if segment not in seen and 2 < len(block) <= LARGEST_BLOCK:
                yield block
            seen.update(block)


def _parts(page: OcrPage, line: Sequence[int]) -> Iterator[list[int]]:
    """The word indices of a line, in reading order, cut where something else begins."""
    words = [page.words[index] for index in line]
    letter = fmean((word.box[2] - word.box[0]) / max(len(word.text), 1) for word in words)
    part = [line[0]]
    for (left, right), index in zip(pairwise(words), line[1:], strict=True):
        if right.box[0] - left.box[2] > WIDEST_SPACE * letter or _ends_label(left):
            yield part
            part = []
        part.append(index)
    yield part


def _segment(page: OcrPage, part: Sequence[int], line: int) -> Segment:
    words = [page.words[index] for index in part]
    text = "".join(word.text for word in words)
    return Segment(
        tuple(part),
        union(word.box for word in words),
        line,
        _ends_label(words[-1]),
        any(map(str.isalpha, text)),
        any(map(str.isdigit, text)),
    )


def _ends_label(word: Word) -> bool:
    return word.text.endswith(":")


def _nearest_below(segment: Segment, following: Sequence[Sequence[Segment]]) -> Segment | None:
    """The segment of the next lines that overlaps most from left to right, of the first line with any."""
    for line in following:
        lower = max(line, key=lambda other: _shared(segment, other))
        if _shared(segment, lower) > 0:
            return lower if 0 < _pitch(segment, lower) <= FURTHEST_BELOW else None
    return None


def _shared(left: Segment, right: Segment) -> float:
    """How much of their width two segments share, in pixels; negative for the gap between them."""
    return min(left.box[2], right.box[2]) - max(left.box[0], right.box[0])


def _pitch(upper: Segment, lower: Segment) -> float:
    """How far apart two lines are, from middle to middle, in heights of the larger letters."""
    down = (lower.box[1] + lower.box[3] - upper.box[1] - upper.box[3]) / 2
    return down / max(upper.box[3] - upper.box[1], lower.box[3] - lower.box[1])


def _continues(upper: Segment, lower: Segment) -> bool:
    """Whether a segment is the next line of a block."""
    straight = abs(lower.box[0] - upper.box[0]) <= BLOCK_SHIFT * (upper.box[3] - upper.box[1])
    return straight and _pitch(upper, lower) <= BLOCK_PITCH and not lower.is_label
