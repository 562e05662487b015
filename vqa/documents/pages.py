"""A page that was read: its words, where they stand, and the lines they form."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the original image, EXIF orientation applied; x0 < x1, y0 < y1."""

EDGES = ".,;:!?\"'`()[]{}<>*_|~“”‘’„«»…•·–—"
"""Punctuation that stands around a word and is no part of it."""


@dataclass(frozen=True)
class Word:
    """One word: text, box, the engine's confidence (0 to 1), and the number of its line on the page."""

    text: str
    box: Box
    confidence: float
    line: int


@dataclass(frozen=True)
class OcrPage:
    """The words of a page in reading order, and its size (width, height) in pixels."""

    words: tuple[Word, ...]
    size: tuple[int, int]

    @property
    def lines(self) -> list[list[int]]:
        """The indices of each line's words; lines and words in reading order."""
        grouped = groupby(range(len(self.words)), key=lambda index: self.words[index].line)
        return [list(indices) for _, indices in grouped]

    @property
    def text(self) -> str:
        """One line of the page a line, words parted by a space."""
        return "\n".join(" ".join(self.words[index].text for index in line) for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """`{"size": [width, height], "words": [{"text", "box", "confidence", "line"}, ...]}`."""
        words = [
            {"text": word.text, "box": list(word.box), "confidence": word.confidence, "line": word.line}
            for word in self.words
        ]
        return {"size": list(self.size), "words": words}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "OcrPage":
        """The page that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        width, height = (int(side) for side in value["size"])
        words = []
        for word in value["words"]:
            x0, y0, x1, y1 = (float(edge) for edge in word["box"])
            if not (x0 < x1 and y0 < y1):
                raise ValueError(f"a box without area: {word['box']}")
            text, confidence, line = str(word["text"]), float(word["confidence"]), int(word["line"])
            words.append(Word(text, (x0, y0, x1, y1), confidence, line))
        return cls(tuple(words), (width, height))
