"""The pieces of a page that may be a passage: lines, keys with their values, cells with their headings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vqa.documents.pages import OcrPage
from vqa.documents.segments import PageLayout, Segment

Words = tuple[int, ...]


@dataclass(frozen=True)
class Passage:
    """A piece of a page.

    Attributes:
        text: as read: words joined by spaces, lines by line feeds.
        page: index of the page.
        words: indices in `pages[page].words`, in reading order.
        score: how well it fits; larger is better, the scale is the method's.
    """

    text: str
    page: int
    words: Words
    score: float = 0.0


@dataclass(frozen=True)
class Window:
    """A passage that may be chosen.

    Attributes:
        core: the words that make it a place of its own: the value beside a key, else all of them.
        is_heading: whether it is of the page's first line, which says what the page is and has no label.
    """

    passage: Passage
    core: Words
    is_heading: bool


def page_windows(pages: Sequence[OcrPage]) -> list[Window]:
    """Every window of the pages, none twice, page by page.

    They are: lines; two neighbouring lines; blocks, such as an address; what stands beside or below a key,
    together with it; each cell of a table together with the beginning of its row and what names its column.
    """
    found: dict[tuple[int, Words], Window] = {}
    for number, page in enumerate(pages):
        for words, core in _word_sets(page):
            words = tuple(sorted(words))
            heading = page.words[words[-1]].line == page.words[0].line
            passage = Passage(_text(page, words), number, words)
            found.setdefault((number, words), Window(passage, core, heading))
    return list(found.values())


def _text(page: OcrPage, words: Words) -> str:
    text = page.words[words[0]].text
    for before, index in pairwise(words):
        same_line = page.words[before].line == page.words[index].line
        text += (" " if same_line else "\n") + page.words[index].text
    return text


def _word_sets(page: OcrPage) -> Iterator[tuple[Words, Words]]:
    """The words of each window, and its core."""
    layout = PageLayout(page)
    for line in layout.lines:
        if len(line) > 2:  # a line of two is a window as it is
            for key, value in pairwise(line):
                if key.has_letter and not value.is_label:
                    yield key.words + value.words, value.words
        for cell in line:
            if not cell.is_label:
                yield from _with_keys_over(layout, cell)
    for block in layout.blocks:
        if block[0].has_letter and not layout.has_label(block[0]):
            words = tuple(index for segment in block for index in segment.words)
            yield words, words
    for line in page.lines:
        yield tuple(line), tuple(line)
    for upper, lower in pairwise(page.lines):
        yield (*upper, *lower), (*upper, *lower)


def _with_keys_over(layout: PageLayout, cell: Segment) -> Iterator[tuple[Words, Words]]:
    """A cell with what stands over it; in a table with what names its column and the beginning of its row.

    The name is the head of the column or, on the cards of a dashboard, where figures stand over one another,
    the nearest segment over them that is none.
    """
    column, row = list(layout.column_over(cell)), layout.lines[cell.line]
    names = [part for part in column if layout.is_row(part.line)] if layout.is_row(cell.line) else []
    if names:
        keys = [part for part in names if part.has_letter]
        for head in dict.fromkeys(keys[:1] + keys[-1:]):
            if cell is not row[0]:
                yield head.words + row[0].words + cell.words, cell.words
            elif cell.has_digit:
                yield head.words + cell.words, cell.words
    elif column and column[0].has_letter and not layout.labels_another(column[0]):
        yield column[0].words + cell.words, cell.words
