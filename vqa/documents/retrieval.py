"""FindText: the passages of a document that matter for a question.

    passages = find_text("What is the due date?", pages, k=5)

A passage is a window on the words of a page (`vqa.documents.windows`). Windows are ranked by what they mean
(sentence embeddings), by the words they share with the question (BM25: Robertson and Zaragoza 2009, "The
Probabilistic Relevance Framework"), or by both rankings, fused by reciprocal rank (Cormack et al. 2009,
"Reciprocal Rank Fusion outperforms Condorcet").
"""

import random
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import bm25s
import numpy as np

from vqa.documents.pages import EDGES, OcrPage
from vqa.documents.windows import Passage, Window, Words, page_windows
from vqa.embeddings import SentenceEncoder, shared_encoder
from vqa.errors import UserError

# Of the paper: how little the first ranks stand out.
RRF_CONSTANT = 60
# A window of whose core a larger share is in better passages is no place of its own.
MOST_KNOWN = 0.5
# What embeddings are told about a page's first line, which no label introduces.
HEADING = "Title, name: "
_KINDS = "document page form invoice receipt bill letter report table card sheet screen window dialog image"
_THIS = rf"(?:this|the) (?:{'|'.join(_KINDS.split())})\b"
_ITSELF = re.compile(
    rf"\s*\b(?:(?:given|printed|shown|stated|listed|mentioned|written) )?(?:on|in|of|from|by) {_THIS}"
    rf"|\s*\b(?:does|did) {_THIS}(?: (?:show|state|say|give|list)(?: as| for)?\b)?",
    re.IGNORECASE,
)


def windows(pages: Sequence[OcrPage]) -> list[Passage]:
    """Every piece of the pages that may be a passage, none twice, page by page."""
    return [window.passage for window in page_windows(pages)]


def find_text(
    question: str,
    pages: Sequence[OcrPage],
    k: int = 5,
    method: str = "dense",
    encoder: SentenceEncoder | None = None,
    seed: int = 0,
) -> list[Passage]:
    """The `k` passages that fit a question best, the best first.

    They are `k` different places: going down the ranking, a window is passed over where more than half of
    what is its own (the value beside a key, or all of it) is in better passages, and a key that was taken
    alone gives its place to the same key with its value. Fewer come back where the pages hold no more, none
    where they hold no words.

    Args:
        method: `dense`, `bm25`, `hybrid`, or `random`, which chooses blindly among the windows.
        encoder: for `dense` and `hybrid`; None: the default one, or `bm25` where that is not installed.
        seed: of `random`, together with the question.

    Raises:
        UserError: there is no such method.
    """
    if method not in METHODS:
        raise UserError(f"retrieval method {method!r}: choose from {', '.join(METHODS)}")
    candidates = page_windows(pages)
    if not candidates:
        return []
    scores = METHODS[method](question, candidates, encoder, seed)
    order = np.argsort(-scores, kind="stable").tolist()
    chosen = [(index, index) for index in order[:k]]
    if method != "random":
        chosen = _different_places(order, candidates, k)
    return [replace(candidates[index].passage, score=float(scores[rated])) for index, rated in chosen]


def _different_places(order: Sequence[int], candidates: Sequence[Window], k: int) -> list[tuple[int, int]]:
    """Which windows are taken, each with the one it is rated as: itself, or the key that gave way to it."""
    known: set[tuple[int, int]] = set()
    chosen: list[tuple[int, int]] = []
    place_of: dict[tuple[int, Words], int] = {}
    for index in order:
        passage, core = candidates[index].passage, candidates[index].core
        key = (passage.page, tuple(word for word in passage.words if word not in core))
        if key in place_of:
            place = place_of.pop(key)
            chosen[place] = (index, chosen[place][1])
        elif len(chosen) < k and sum((passage.page, word) in known for word in core) <= MOST_KNOWN * len(
            core
        ):
            place = len(chosen)
            chosen.append((index, index))
        else:
            continue
        place_of[passage.page, passage.words] = place
        known |= {(passage.page, word) for word in passage.words}
    return chosen


def _dense(
    question: str, candidates: Sequence[Window], encoder: SentenceEncoder | None, seed: int
) -> np.ndarray:
    """Cosines of question and windows, but for what the question says about the document as a whole.

    "on this invoice" would draw it to the page's title, and to "Invoice date".
    """
    encoder = encoder or _installed_encoder()
    if encoder is None:
        return _bm25(question, candidates, encoder, seed)
    texts = [HEADING * window.is_heading + window.passage.text for window in candidates]
    vectors = encoder.encode([_ITSELF.sub("", question), *texts])
    return vectors[1:] @ vectors[0]


def _bm25(
    question: str, candidates: Sequence[Window], encoder: SentenceEncoder | None, seed: int
) -> np.ndarray:
    words = _words(question)
    if not words:
        return np.zeros(len(candidates))
    index = bm25s.BM25()
    # Punctuation alone is no word, and bm25s wants one of every text.
    index.index([_words(window.passage.text) or [""] for window in candidates], show_progress=False)
    return index.get_scores(words)


def _hybrid(
    question: str, candidates: Sequence[Window], encoder: SentenceEncoder | None, seed: int
) -> np.ndarray:
    rankings = [_ranks(method(question, candidates, encoder, seed)) for method in (_dense, _bm25)]
    return sum(1 / (RRF_CONSTANT + ranks) for ranks in rankings)


def _random(
    question: str, candidates: Sequence[Window], encoder: SentenceEncoder | None, seed: int
) -> np.ndarray:
    rng = random.Random(f"{seed}/{question}")
    return np.array([rng.random() for _ in candidates])


Method = Callable[[str, Sequence[Window], SentenceEncoder | None, int], np.ndarray]
METHODS: dict[str, Method] = {"dense": _dense, "bm25": _bm25, "hybrid": _hybrid, "random": _random}


def _installed_encoder() -> SentenceEncoder | None:
    try:
        return shared_encoder()
    except UserError as error:
        warnings.warn(f"{error}; till then passages are found by the words they share", stacklevel=2)
        return None


def _ranks(scores: np.ndarray) -> np.ndarray:
    """The place of each in the ranking, from 1; equal scores share the best place of theirs."""
    return 1 + (scores[None] > scores[:, None]).sum(axis=1)


def _words(text: str) -> list[str]:
    """Words as BM25 compares them."""
    words = (word.strip(EDGES + "#") for word in unicodedata.normalize("NFKC", text).casefold().split())
    return [word for word in words if word]
