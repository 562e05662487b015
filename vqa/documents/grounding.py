"""GroundAnswer: where on the pages of a document an answer stands.

place = ground_answer("12 Oak Street 69743 Cardiff", pages, passages)

Looked for is the run of words that is most like the answer by normalised Levenshtein similarity (ANLS: Biten
et al. 2019, "Scene Text Visual Question Answering"), in reading order, over the ends of lines too, and from
a part of a line to what stands under it, as the lines of an address do. What stands nowhere is not found:
numbers, and texts too short to tell, are never taken for similar ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot, inf

from vqa.documents.comparison import Token, similarity, tokens
from vqa.documents.page_runs import PageRuns, Run
from vqa.documents.pages import Box, OcrPage
from vqa.documents.retrieval import Passage
from vqa.documents.segments import union

DEFAULT_THRESHOLD = 0.7
# A shorter answer is no part of a word: "12" is not in "A12".
SHORTEST_PART = 4
# But where one of these parts it from the rest, a label or a unit, it may have any length.
_PARTING = ':;=|()[]{}"“”,%$€£¥#'
# Similarity, and whether a run is made of whole words.
Rank = tuple[float, bool]


@dataclass(frozen=True)
class Grounding:
    """A place.

    Attributes:
        boxes: one for each line of it, [x0, y0, x1, y1] in pixels of the page.
        page: index of the page.
        words: indices of its words in `pages[page].words`.
        text: as read there; lines parted by line feeds.
        score: similarity to the answer, at most 1.
    """

    boxes: list[list[float]]
    page: int
    words: tuple[int, ...]
    text: str
    score: float


def ground_answer(
    answer: str,
    pages: Sequence[OcrPage],
    passages: Sequence[Passage] = (),
    threshold: float = DEFAULT_THRESHOLD,
) -> Grounding | None:
    """The place where an answer stands; None where it stands nowhere.

    Of several places the most similar is taken; of these whole words before parts of words, then what is in
    the best passage, then what is nearest to a passage, then the first in reading order.

    Args:
        passages: what was retrieved for the question, the best first.
        threshold: the least similarity; `vqa.documents.comparison.similarity` says what else is demanded.
    """
    wanted = tokens(answer)
    candidates = [
        (rank, page, runs, run)
        for page, runs in enumerate(map(PageRuns, pages))
        for rank, run in _alike(wanted, runs, threshold)
    ]
    best = max((rank for rank, *_ in candidates), default=None)
    words = answer.split()
    places = [
        _grounding(page, runs, run, best[0], not tokens(words[0]), not tokens(words[-1]))
        for rank, page, runs, run in candidates
        if rank == best
    ]
    return min(places, key=lambda place: _distance(place, pages, passages), default=None)


def _alike(wanted: Sequence[Token], runs: PageRuns, threshold: float) -> Iterator[tuple[Rank, Run]]:
    """Runs that are like the answer."""
    length = sum(len(token.text) for token in wanted)
    numbers = [token.text for token in wanted if token.is_number]
    for run in runs.of_length(max(threshold * length, 1), length / threshold):
        score = similarity(wanted, [piece.token for piece in run], threshold)
        if not score or (_over_gap(run) and numbers != [p.token.text for p in run if p.token.is_number]):
            continue
        beside = runs.beside(run)
        if beside and (score < 1 or (length < SHORTEST_PART and not set(beside) <= set(_PARTING))):
            continue
        if [token.text for token in wanted] == ["no"] and _stands_for_number(runs.page, run[0].word):
            continue
        yield (score, not beside), run


def _over_gap(run: Run) -> bool:
    """Whether two numbers follow one another in different parts of the page: they are not one number."""
    return any(
        left.token.is_number and right.token.is_number and left.segment != right.segment
        for left, right in pairwise(run)
    )


def _stands_for_number(page: OcrPage, index: int) -> bool:
    """Whether "No" is short for number: it has a mark after it, or what follows on its line has a digit."""
    word, following = page.words[index], page.words[index + 1 : index + 2]
    marked = word.text.endswith((".", ":", "#"))
    return marked or any(
        next_word.line == word.line and any(map(str.isdigit, next_word.text)) for next_word in following
    )


def _grounding(page: int, runs: PageRuns, run: Run, score: float, before: bool, after: bool) -> Grounding:
    lines = runs.lines(run, before, after)
    return Grounding(
        [list(box) for box in runs.boxes(lines)],
        page,
        tuple(part.word for line in lines for part in line),
        runs.text(lines),
        score,
    )


def _distance(place: Grounding, pages: Sequence[OcrPage], passages: Sequence[Passage]) -> tuple:
    """Orders places of one text: by the passages that hold them, by how near they are to one, by where."""
    here = [(rank, passage) for rank, passage in enumerate(passages) if passage.page == place.page]
    holding = [rank for rank, passage in here if set(place.words) <= set(passage.words)]
    words = pages[place.page].words
    box = union(place.boxes)
    gaps = (_gap(box, union(words[index].box for index in passage.words)) for _, passage in here)
    return (*holding, inf), min(gaps, default=inf), place.page, place.words


def _gap(left: Box, right: Box) -> float:
    """Pixels between two boxes, 0 where they touch."""
    across = max(left[0], right[0]) - min(left[2], right[2])
    down = max(left[1], right[1]) - min(left[3], right[3])
    return hypot(max(across, 0), max(down, 0))
