"""Runs of words that may be an answer: along a page's lines and over their ends, and down its columns."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vqa.documents.comparison import Token, tokens
from vqa.documents.pages import Box, OcrPage
from vqa.documents.segments import PageLayout, union

# Lines of a run that goes down a column.
MOST_LINES = 6


@dataclass(frozen=True)
class Piece:
    """A token of a page, the index of its word, and the number of the part of a line that it stands in."""

    token: Token
    word: int
    segment: int


@dataclass(frozen=True)
class Part:
    """Of a word, the characters from `start` to `end`."""

    word: int
    start: int
    end: int


Run = Sequence[Piece]


class PageRuns:
    """The runs of a page. Tokens are counted in one text of the page, in which a space parts its words."""

    def __init__(self, page: OcrPage) -> None:
        self.page = page
        self._layout = PageLayout(page)
        self._segments = list(self._layout)
        segment_of = {word: n for n, segment in enumerate(self._segments) for word in segment.words}
        self._offsets: list[int] = []
        self._pieces: list[list[Piece]] = []
        offset = 0
        for index, word in enumerate(page.words):
            found = tokens(word.text, offset)
            self._offsets.append(offset)
            self._pieces.append([Piece(token, index, segment_of[index]) for token in found])
            offset += len(word.text) + 1

    def of_length(self, shortest: float, longest: float) -> Iterator[Run]:
        """The runs of so many characters, spaces not counted; those in reading order first."""
        for pieces, starts in self._sequences():
            for start in range(starts):
                length = 0
                for end in range(start, len(pieces)):
                    length += len(pieces[end].token.text)
                    if length > longest:
                        break
                    if length >= shortest:
                        yield pieces[start : end + 1]

    def _sequences(self) -> Iterator[tuple[list[Piece], int]]:
        """Pieces in an order in which they may be read, and how many of them a run may begin with."""
        reading = self._in(range(len(self.page.words)))
        yield reading, len(reading)
        for segment in self._segments:
            column = [segment]
            while len(column) < MOST_LINES and column[-1] in self._layout.below:
                column.append(self._layout.below[column[-1]])
            words = [index for part in column for index in part.words]
            yield self._in(words), len(self._in(segment.words))

    def _in(self, words: Iterable[int]) -> list[Piece]:
        return [piece for index in words for piece in self._pieces[index]]

    def beside(self, run: Run) -> list[str]:
        """The characters just outside a run where it begins or ends inside a word; [] for whole words."""
        first, last = self._part(run[:1]), self._part(run[-1:])
        before = self.page.words[first.word].text[: first.start]
        after = self.page.words[last.word].text[last.end :]
        return [text[place] for text, place in ((before, -1), (after, 0)) if text]

    def lines(self, run: Run, before: bool = False, after: bool = False) -> list[list[Part]]:
        """The words of a run and those between them that hold punctuation alone, line by line.

        Args:
            before, after: such a word before the run or after it, on its line, belongs to it too.
        """
        lines = []
        for _, pieces in groupby(run, key=lambda piece: self.page.words[piece.word].line):
            parts = {
                word: self._part(list(group)) for word, group in groupby(pieces, key=lambda piece: piece.word)
            }
            between = (index for index in range(min(parts), max(parts)) if not self._pieces[index])
            parts |= {index: self._all(index) for index in between}
            lines.append(parts)
        ends = ((before, lines[0], min(lines[0]) - 1), (after, lines[-1], max(lines[-1]) + 1))
        for wanted, line, index in ends:
            if wanted and self._is_mark(index, beside=min(line)):
                line[index] = self._all(index)
        return [[line[index] for index in sorted(line)] for line in lines]

    def box(self, part: Part) -> Box:
        """The box of a part of a word, its letters taken to be of one width."""
        word = self.page.words[part.word]
        x0, y0, x1, y1 = word.box
        letter = (x1 - x0) / max(len(word.text), 1)
        return x0 + part.start * letter, y0, x0 + part.end * letter, y1

    def boxes(self, lines: Sequence[Sequence[Part]]) -> list[Box]:
        """A box for each line."""
        return [union(self.box(part) for part in line) for line in lines]

    def text(self, lines: Sequence[Sequence[Part]]) -> str:
        """What is read there."""
        words = self.page.words
        return "\n".join(
            " ".join(words[part.word].text[part.start : part.end] for part in line) for line in lines
        )

    def _part(self, pieces: Run) -> Part:
        """From where to where pieces of one word reach in it: to its edge, where no other piece is."""
        index = pieces[0].word
        part, every = self._all(index), self._pieces[index]
        start = part.start if pieces[0] == every[0] else pieces[0].token.start - self._offsets[index]
        end = part.end if pieces[-1] == every[-1] else pieces[-1].token.end - self._offsets[index]
        return Part(index, start, end)

    def _all(self, index: int) -> Part:
        return Part(index, 0, len(self.page.words[index].text))

    def _is_mark(self, index: int, beside: int) -> bool:
        """Whether a word holds punctuation alone and is on the line of another."""
        words = self.page.words
        here = 0 <= index < len(words) and words[index].line == words[beside].line
        return here and not self._pieces[index]
