"""How near a text comes to the accepted ones: ANLS and token recall."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from vqa.metrics.matching import normalize_text

ANLS_THRESHOLD = 0.5


def anls(prediction: str, answers: Sequence[str], threshold: float = ANLS_THRESHOLD) -> float:
    """Normalised Levenshtein similarity to the nearest accepted answer; below `threshold` it is 0.

    1 - distance / length of the longer text (Biten et al. 2019, "Scene Text Visual Question Answering").
    Both texts are put into lower case with white space collapsed, as in the official script, and it is these
    whose lengths are taken: the official script divides by the lengths before that, which padding with spaces
    can game. A similarity of exactly `threshold` counts.

    Raises:
        ValueError: no accepted answers.
    """
    if not answers:
        raise ValueError("ANLS needs at least one accepted answer")
    predicted = _lowered(prediction)
    best = max(_similarity(predicted, _lowered(answer)) for answer in answers)
    return best if best >= threshold else 0.0


def _lowered(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def _similarity(left: str, right: str) -> float:
    if left == right:
        return 1.0
    return 1.0 - Levenshtein.distance(left, right) / max(len(left), len(right))


def token_recall(prediction: str, answers: Sequence[str]) -> float | None:
    """Share of an accepted answer's words that the prediction holds, of the answer that fares best.

    sum over words of min(times in the answer, times in the prediction) / words of the answer. A bag of
    words with the counts of the accepted answer: one that the answer has twice counts twice, and is found
    twice only where the prediction has it twice, while repeating a word gains nothing. Words are those of the
    normalised text without the punctuation around them. None where no accepted answer has a word.
    """
    predicted = Counter(_words(prediction))
    recalls = []
    for answer in answers:
        gold = Counter(_words(answer))
        if gold:
            recalls.append((gold & predicted).total() / gold.total())
    return max(recalls, default=None)


def _words(text: str) -> list[str]:
    words = (word.strip(".,;:!?\"'()[]{}«»“”‘’…") for word in normalize_text(text).split())
    return [word for word in words if word]
