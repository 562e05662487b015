"""Pieces of text -> lines in reading order.

A piece is what an engine found side by side. The page's skew is measured on the words and taken out of what
follows. Then:

- Pieces on one baseline are one line, however far apart: the cells of a table's row, a label and its value.
- But where pages are set in columns of running text, a column is read to its end before the next. Columns
  are recognised by a gutter that nothing crosses in a band of the page, with at least `COLUMN_LINES` lines
  of at least `COLUMN_WORDS` words (their median) on both sides. Forms and tables have shorter entries, so
  they keep their rows. What crosses the gutter (a heading over both columns) ends the band.
- Lines go from top to bottom, words in a line from left to right.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from vqa.documents.pages import Box, OcrPage, Word

Piece = list[Word]
COLUMN_LINES = 4
COLUMN_WORDS = 4
# Share of the lower piece's height that two pieces of one line have in common at least.
SAME_LINE = 0.5
# Of the median height of words: edges that are no further apart meet.
SAME_EDGE = 0.15
# Up to 3.4 degrees, in steps of 1 pixel over 1000; the level first, for it wins a tie.
SLOPES = sorted((step / 1000 for step in range(-60, 61)), key=abs)


@dataclass(frozen=True)
class _Placed:
    """A piece and its box on the page with the skew taken out."""

    words: tuple[Word, ...]
    box: Box


def arrange(pieces: Sequence[Piece], size: tuple[int, int]) -> OcrPage:
    """A page of the pieces' words, in reading order, lines numbered from 0.

    Words are cut to the page, their text is brought to NFC; a word outside of the page is dropped.

    Args:
        pieces: words as found side by side, boxes in pixels of the upright page; `line` does not matter.
        size: (width, height) of the page.
    """
    inside = [[cut for word in piece if (cut := _inside(word, size))] for piece in pieces]
    inside = [piece for piece in inside if piece]
    slope = _slope(inside)
    placed = [_Placed(tuple(piece), _level(piece, slope)) for piece in inside]
    words = []
    for number, line in enumerate(_lines_by_column(placed)):
        row = [word for piece in line for word in piece.words]
        words += [replace(word, line=number) for word in sorted(row, key=lambda word: word.box[0])]
    return OcrPage(tuple(words), size)


def join_neighbours(words: Sequence[Word]) -> list[Piece]:
    """Loose words -> pieces: a word joins the piece that ends within a line's height to the left of it."""
    pieces: list[Piece] = []
    for word in sorted(words, key=lambda word: (word.box[0], word.box[1])):
        height = word.box[3] - word.box[1]
        near = [
            piece
            for piece in pieces
            if -height / 2 < word.box[0] - piece[-1].box[2] < height
            and _overlap(piece[-1].box, word.box, axis=1) > SAME_LINE
        ]
        if near:
            max(near, key=lambda piece: piece[-1].box[2]).append(word)
        else:
            pieces.append([word])
    return pieces


def _inside(word: Word, size: tuple[int, int]) -> Word | None:
    x0, y0, x1, y1 = word.box
    x0, x1 = (min(max(edge, 0.0), float(size[0])) for edge in (x0, x1))
    y0, y1 = (min(max(edge, 0.0), float(size[1])) for edge in (y0, y1))
    box = (round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1))
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    return replace(word, text=unicodedata.normalize("NFC", word.text), box=box)


def _slope(pieces: Sequence[Piece]) -> float:
    """By how many pixels lines fall for each pixel to the right: where most words stand on common lines.

    Each slope is judged by the pairs of words whose lower edges, and whose upper edges, then meet; letters
    below the line and tall ones make some miss. A small slope wins over a larger one that is as good.
    """
    boxes = np.array([word.box for piece in pieces for word in piece])
    if len(boxes) < 3:
        return 0.0
    middles = boxes[:, [0, 2]].mean(axis=1)
    near = SAME_EDGE * float(np.median(boxes[:, 3] - boxes[:, 1]))

    def meeting(slope: float) -> float:
        pairs = 0
        for edge in (1, 3):
            level = np.sort(boxes[:, edge] - slope * middles)
            pairs += int((np.searchsorted(level, level + near) - np.arange(len(level))).sum())
        return pairs * (1 - abs(slope))

    return float(max(SLOPES, key=meeting))


def _level(piece: Piece, slope: float) -> Box:
    """A piece's box where its page is turned level: its height is that of its words."""
    boxes = [word.box for word in piece]
    tops, bottoms = ([box[edge] - slope * _centre(box)[0] for box in boxes] for edge in (1, 3))
    return min(box[0] for box in boxes), median(tops), max(box[2] for box in boxes), median(bottoms)


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _overlap(left: Box, right: Box, axis: int) -> float:
    """What two boxes have in common along an axis (0: x, 1: y), as a share of the shorter one."""
    common = min(left[axis + 2], right[axis + 2]) - max(left[axis], right[axis])
    return common / max(min(left[axis + 2] - left[axis], right[axis + 2] - right[axis]), 1e-6)


def _lines(pieces: Sequence[_Placed]) -> list[list[_Placed]]:
    """Pieces on one baseline, from the top; each joins the line it has most height in common with."""
    lines: list[list[_Placed]] = []
    for piece in sorted(pieces, key=lambda piece: (_centre(piece.box)[1], piece.box[0])):
        shared = [(_overlap(piece.box, _nearest(piece, line).box, 1), line) for line in lines[-8:]]
        free = [(share, line) for share, line in shared if share > SAME_LINE and not _collides(piece, line)]
        if free:
            max(free, key=lambda entry: entry[0])[1].append(piece)
        else:
            lines.append([piece])
    return lines


def _nearest(piece: _Placed, line: Sequence[_Placed]) -> _Placed:
    return min(line, key=lambda other: abs(_centre(other.box)[0] - _centre(piece.box)[0]))


def _collides(piece: _Placed, line: Sequence[_Placed]) -> bool:
    """Whether it stands above or below, not beside, some piece of a line."""
    return any(_overlap(piece.box, other.box, 0) > 0.3 for other in line)


def _lines_by_column(pieces: Sequence[_Placed]) -> list[list[_Placed]]:
    """The lines of a page, or of a column, one column after the other."""
    gutter = _gutter(pieces)
    if gutter is None:
        return _lines(pieces)
    above, left, right, below = gutter
    return [line for part in (above, left, right, below) for line in _lines_by_column(part)]


def _gutter(pieces: Sequence[_Placed]) -> tuple[list[_Placed], ...] | None:
    """The pieces above, left, right and below of the longest gutter between columns, if there is one."""
    ordered = sorted(pieces, key=lambda piece: _centre(piece.box)[1])
    starts = {round(piece.box[0]) for piece in pieces if len(piece.words) >= COLUMN_WORDS}
    best: tuple[list[_Placed], ...] | None = None
    for x in sorted(starts):
        first = 0
        for last in range(len(ordered) + 1):
            # Half a pixel is rounding, and the ink of italics leans a little over its neighbour's.
            if last < len(ordered) and not ordered[last].box[0] < x - 1 < ordered[last].box[2] - 2:
                continue
            band = ordered[first:last]
            left = [piece for piece in band if piece.box[0] < x - 1]
            right = [piece for piece in band if piece.box[0] >= x - 1]
            if (best is None or len(band) > len(best[1]) + len(best[2])) and _are_columns(left, right):
                best = (ordered[:first], left, right, ordered[last:])
            first = last + 1
    return best


def _are_columns(left: Sequence[_Placed], right: Sequence[_Placed]) -> bool:
    """Whether both hold running text, beside each other."""
    for column in (left, right):
        if len(column) < COLUMN_LINES or median(len(piece.words) for piece in column) < COLUMN_WORDS:
            return False
    tops = [min(piece.box[1] for piece in column) for column in (left, right)]
    bottoms = [max(piece.box[3] for piece in column) for column in (left, right)]
    shorter = min(bottom - top for top, bottom in zip(tops, bottoms, strict=True))
    return min(bottoms) - max(tops) > shorter / 2
