"""A reader without a model: the value that stands beside the words of the question.

Passages are taken apart into labels and values: at a colon, where one line is below another, after the last
word that the question has too. The pair wins whose label and question have most in common. The kind of value
that is asked for (a date, an amount) decides between pairs, and cuts the value out of what stands around it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from rapidfuzz import fuzz

from vqa.documents.reading import Reading, Record, clean_answer
from vqa.documents.retrieval import Passage

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = (
    rf"\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}|\d{{1,2}}\.? ?{_MONTH} ?\d{{4}}|{_MONTH} ?\d{{1,2}},? ?\d{{4}}"
)
_MONEY = r"[$€£¥] ?\d[\d.,]*|\d[\d.,]* ?(?:[$€£¥]|(?:eur|usd|gbp|chf|vnd)\b)|\d[\d.,]*[.,]\d\d\b"
# What a question says, and what its answer looks like. The first that fits counts.
_KINDS = [
    (re.compile(asked, re.IGNORECASE), re.compile(looks, re.IGNORECASE))
    for asked, looks in (
        (r"\be-?mail", r"\S+@\S+\w"),
        (r"\b(?:tele)?phone|\bfax\b|\bmobile\b", r"\+?\(?\d[\d ()/.-]{5,}\d"),
        (r"\bdate\b|\bwhen\b|\bday\b", _DATE),
        (r"\btime\b", r"\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]\.?m\b\.?)?"),
        (r"\bpercent|\bshare\b", r"[-+]?\d[\d.,]* ?%"),
        (r"\bhow much\b|\bamount|\bprice|\bcosts?\b|\b(?:sub)?total\b|\bpaid\b|\bbalance\b", _MONEY),
        (r"\bhow many\b|\bquantity\b|\bcount\b", r"(?<![\d.,])\d+(?![.,]?\d)"),
        (r"\bnumber\b|\bno\.|\bcode\b", r".*\d.*"),
    )
]
# Words of a question that name no field.
_EMPTY = frozenset(
    """a an and any are as at be by can cell could do does document find for form from give given has have
    here how i in invoice is it its line look me need of on or out page please print printed read receipt row
    say says screen see shown show shows state stated table tell that the there this to was what when where
    which who whose with written you""".split()
)
# Words that many fields share: alone they name none.
_COMMON = frozenset("address amount code cost date id name number price time total value".split())
_SAME = {
    "no": "number",
    "nr": "number",
    "#": "number",
    "tel": "phone",
    "telephone": "phone",
    "e-mail": "email",
}
_EDGES = ".,;:!?\"'()[]{}*_|“”‘’«»•–—"
SAME_WORD = 85  # rapidfuzz's ratio, 0 to 100: one letter misread in a word of four or more
COMMON_WEIGHT = 0.4
LEAST_FIT = 0.3


class ExtractiveReader:
    """The value of the best pair; no answer where no label fits. Deterministic."""

    name = "extractive"

    def read(self, question: str, passages: Sequence[Passage], record: Record) -> Reading:
        """The value beside the question's words; `raw` is the pair that it is from, `label | value`."""
        asked = _words(question)
        looks = next((looks for about, looks in _KINDS if about.search(question)), None)
        best, label, value = 0.0, "", ""
        for passage in passages:
            for left, right in _pairs(passage.text, asked):
                match = looks.search(right) if looks else None
                fit = _fit(asked, _words(left))
                if fit < LEAST_FIT or (looks and not match):
                    continue
                if fit > best:
                    best, label, value = fit, left, match[0] if match else right
        return Reading(clean_answer(value), raw=f"{label} | {value}" if value else "")


def _words(text: str) -> list[str]:
    """The words that may name a field, each once, spelt one way."""
    words = (word.strip(_EDGES) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return list(dict.fromkeys(_SAME.get(word, word) for word in words if word and word not in _EMPTY))


def _among(word: str, others: Sequence[str]) -> bool:
    return any(fuzz.ratio(word.rstrip("s"), other.rstrip("s")) >= SAME_WORD for other in others)


def _weight(words: Sequence[str]) -> float:
    return sum(COMMON_WEIGHT if word in _COMMON else 1.0 for word in words)


def _fit(asked: Sequence[str], label: Sequence[str]) -> float:
    """How much a question and a label have in common: the F1 of their words by weight, 0 to 1."""
    shared = _weight([word for word in asked if _among(word, label)])
    return 2 * shared / (_weight(asked) + _weight(label)) if shared else 0.0


def _pairs(text: str, asked: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Everything in a passage that may be a label and its value."""
    above = ""
    for line in text.split("\n"):
        if above:
            yield above, line
        label, colon, value = line.partition(":")
        if colon and value.strip() and not label[-1:].isdigit():
            # What is behind a second colon has a label of its own before it.
            yield label, re.split(r"\s+\S+:(?=\s)", value)[0]
        words = line.split()
        named = [index for index, word in enumerate(words) if any(_among(w, asked) for w in _words(word))]
        if named and named[-1] + 1 < len(words):
            label, value = " ".join(words[: named[-1] + 1]), " ".join(words[named[-1] + 1 :])
            yield label, value
            if above:
                yield f"{above} {label}", value
        above = line
