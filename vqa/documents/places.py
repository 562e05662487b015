"""Where an answer may point, and what it may say there: the text of pages as grammars.

A box may be that of a word, of a run of words in a line, or of a whole line, in the coordinates of the
model's text; an answer may be any run of the words in the boxes that were chosen.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

from vqa.constraints import literal
from vqa.documents.pages import EDGES, OcrPage
from vqa.documents.segments import union
from vqa.page_boxes import boxes_to_text

TextBox = tuple[int, int, int, int]
# A run longer than this is a paragraph's line: its whole is offered, its parts up to so many words.
MAX_RUN = 12


class TextPlaces:
    """The runs of words on the pages of a record, by their boxes as the model writes them.

    Args:
        pages: the words of each image.
        box_format: `norm1000`, or `pixels` of the resized image.
        resized_sizes: (width, height) of each image as the model sees it; needed for `pixels`.

    Attributes:
        words: of all pages.
        runs: box -> indices of its words.
    """

    def __init__(
        self,
        pages: Sequence[OcrPage],
        box_format: str = "norm1000",
        resized_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.words = [word for page in pages for word in page.words]
        self.runs: dict[TextBox, list[int]] = {}
        sizes = [page.size for page in pages]
        first = 0
        for number, page in enumerate(pages):
            runs = [run for line in page.lines for run in _runs(line)]
            boxes = [union([page.words[index].box for index in run]) for run in runs]
            written = boxes_to_text(boxes, [number] * len(boxes), sizes, box_format, resized_sizes)
            for (x0, y0, x1, y1), run in zip(written, runs, strict=True):
                self.runs.setdefault((x0, y0, x1, y1), [first + index for index in run])
            first += len(page.words)

    @cached_property
    def box_rule(self) -> str:
        """The right-hand side of a rule that writes one of the boxes; "" where there is no text."""
        return f'"[" {_choice(sorted(self.runs))}' if self.runs else ""

    def answer_grammar(self, boxes: Iterable[Sequence[int]]) -> str | None:
        """A grammar of any run of the words in the boxes, read in their order; None: no word is in them.

        A run may leave out the punctuation at its two ends. The grammar grows with the number of words,
        not with that of the runs.
        """
        indices = list(dict.fromkeys(index for box in boxes for index in self.runs.get(tuple(box), ())))
        words = [word for index in indices for word in self.words[index].text.split()]
        rules, starts = [], []
        for number, word in enumerate(words):
            more = f'( " " from{number + 1} )?' if number + 1 < len(words) else ""
            ends = _literals({word.rstrip(EDGES)} - {word})
            rules.append(f"from{number} ::= {literal(word)} {more}" + "".join(f" | {end}" for end in ends))
            starts.append(f"from{number}")
            bare = word.lstrip(EDGES)
            if bare and bare != word:
                inner = _literals({bare.rstrip(EDGES)} - {bare})
                rules.append(
                    f"bare{number} ::= {literal(bare)} {more}" + "".join(f" | {end}" for end in inner)
                )
                starts.append(f"bare{number}")
        return "\n".join([f"root ::= {' | '.join(starts)}", *rules]) + "\n" if words else None


@lru_cache(maxsize=256)
def text_places(
    pages: tuple[OcrPage, ...], box_format: str, resized_sizes: tuple[tuple[int, int], ...] | None
) -> TextPlaces:
    """The places of some pages, made once for all questions about them."""
    return TextPlaces(pages, box_format, resized_sizes)


def _literals(texts: Iterable[str]) -> list[str]:
    return [literal(text) for text in sorted(texts) if text]


def _runs(line: Sequence[int]) -> list[list[int]]:
    """Every contiguous run of a line's words up to `MAX_RUN` long, shortest first, and the line."""
    lengths = range(1, min(len(line), MAX_RUN) + 1)
    runs = [list(line[start : start + n]) for n in lengths for start in range(len(line) - n + 1)]
    return runs if len(line) <= MAX_RUN else [*runs, list(line)]


def _choice(boxes: Sequence[TextBox]) -> str:
    """What follows the opening bracket: the boxes as a tree by coordinate, so that it compiles fast."""

    def branch(rows: Sequence[tuple[int, ...]]) -> str:
        if len(rows[0]) == 1:
            return "( " + " | ".join(f'"{row[0]}]"' for row in rows) + " )"
        groups: dict[int, list[tuple[int, ...]]] = {}
        for first, *rest in rows:
            groups.setdefault(first, []).append(tuple(rest))
        return "( " + " | ".join(f'"{first}, " {branch(rest)}' for first, rest in groups.items()) + " )"

    return branch(boxes)
