"""Where on a page a text stands: answers looked up among OCR words, and their boxes.

A match is exact but for case, compatibility forms and punctuation at the edges of words; it covers whole
words in the order in which they were read. Nothing found, or found all over the page, means no boxes:
evidence is never guessed.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vqa.datasets.row_values import numbers
from vqa.documents.pages import EDGES

Box = list[float]
# A text that stands in more places than this ("1", "the") points nowhere.
MAX_PLACES = 6


@dataclass(frozen=True)
class Word:
    """A piece of text on a page: `box` in pixels, `line` the number of its line."""

    text: str
    box: Box
    line: int


def tokens(text: str) -> list[str]:
    """The words of a text as they are compared."""
    words = (word.strip(EDGES) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return [word for word in words if word]


class PageText:
    """The words of one page, in reading order, indexed for look-up."""

    def __init__(self, words: Iterable[Word]) -> None:
        self._words = [(token, word) for word in words for token in tokens(word.text)]
        self._positions: dict[str, list[int]] = defaultdict(list)
        for position, (token, _) in enumerate(self._words):
            self._positions[token].append(position)

    def boxes_of(self, answers: Sequence[str]) -> list[Box]:
        """A box for each line of each place where the longest accepted answer on the page stands.

        The longest, because "Paul Smith" says more about the place than "Paul", if both are accepted.
        """
        wanted = dict.fromkeys(tuple(tokens(answer)) for answer in answers)
        for answer in sorted(filter(None, wanted), key=len, reverse=True):
            places = self._places(answer)
            if places:
                return [] if len(places) > MAX_PLACES else _unique(box for p in places for box in p)
        return []

    def _places(self, answer: tuple[str, ...]) -> list[list[Box]]:
        places = []
        for start in self._positions.get(answer[0], ()):
            run = self._words[start : start + len(answer)]
            if tuple(token for token, _ in run) == answer:
                places.append(_box_per_line([word for _, word in run]))
        return places


def _box_per_line(words: Sequence[Word]) -> list[Box]:
    lines: dict[int, list[Box]] = defaultdict(list)
    for word in words:
        lines[word.line].append(word.box)
    return [union(boxes) for boxes in lines.values()]


def _unique(boxes: Iterable[Box]) -> list[Box]:
    return [list(box) for box in dict.fromkeys(tuple(box) for box in boxes)]


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around `boxes`, of which there is at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return [min(lefts), min(tops), max(rights), max(bottoms)]


def corners_box(value: Any) -> Box | None:
    """The box around a quadrilateral of eight numbers, or [x0, y0, x1, y1] in any order of its corners.

    None where `value` is neither, or has no area.
    """
    corners = numbers(value, 4, 8)
    if corners is None:
        return None
    xs, ys = corners[0::2], corners[1::2]
    box = [min(xs), min(ys), max(xs), max(ys)]
    return box if box[0] < box[2] and box[1] < box[3] else None


def clipped(box: Box, size: Sequence[float] | None) -> Box | None:
    """`box` cut to an image of `size` (width, height), which annotations overrun by a few pixels.

    None where no part of it is inside. Without a size the box is returned as it is.
    """
    if size is None:
        return box
    x0, y0, x1, y1 = box
    cut = [max(x0, 0), max(y0, 0), min(x1, size[0]), min(y1, size[1])]
    return cut if cut[0] < cut[2] and cut[1] < cut[3] else None
