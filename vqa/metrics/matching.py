"""Whether one predicted answer is right: a rule per question type, on plain strings.

Abstaining is not looked at here: `vqa.questions.is_correct` detects it first, on the raw text, because
normalisation would make "n" of "N/A.".
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vqa.metrics.numbers import matches_quantity

_FINAL_PUNCTUATION = ".,;:!?…。，；：！？"
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`", "”": "”", "「": "」"}
# What the text begins with: one of the two, and all that are joined to it.
_JOINED = re.compile(r"\W*\b(?:yes|no)\b(?:(?:[^\w/&]*(?:[/&]|\b(?:and|or)\b))+[^\w/&]*\b(?:yes|no)\b)*")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LETTER = r"[a-z]"
_LEAD = r"(?:(?:the |my )?(?:final |correct |right |best )?(?:answer|option|choice)(?: is)?\s*:?\s*){0,2}"
_LETTER_ALONE = re.compile(rf"{_LEAD}\(?({_LETTER})[.):]?")
_LETTER_AND_TEXT = re.compile(
    rf"{_LEAD}(?:\((?P<bracketed>{_LETTER})\)|(?P<letter>{_LETTER})(?P<mark>[.):]|\s+[-–—]|(?=\s)))\s*(?P<text>.+)"
)
_OPTION = re.compile(r"(?:^|(?<=[\s,;|]))(?P<open>\(?)(?P<letter>[A-Za-z])(?P<close>\)|[.:](?=\s))\s*")


@lru_cache(maxsize=2**16)  # accepted answers and short predictions repeat
def normalize_text(text: str) -> str:
    """NFC, case-folded, whitespace collapsed, enclosing quotes and final punctuation dropped.

    What consists of nothing else ("?") is kept, so that two such texts stay different. Idempotent.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    text = " ".join(text.split())
    while True:
        shorter = text.rstrip(_FINAL_PUNCTUATION).rstrip()
        if _is_quotation(shorter):
            shorter = shorter[1:-1].strip()
        if not shorter or shorter == text:
            return text
        text = shorter


def _is_quotation(text: str) -> bool:
    """Whether one pair of quotes encloses the whole text; in '"A" and "B"' there are two."""
    closing = _QUOTES.get(text[:1])
    if closing is None or len(text) < 2 or not text.endswith(closing):
        return False
    # An apostrophe inside a word does not end a quotation: 'the surgeon's hand'.
    return re.search(rf"{closing}(?!\w)|(?<!\w){closing}", text[1:-1]) is None


def matches_text(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the normalised prediction equals any normalised accepted answer."""
    prediction = normalize_text(prediction)
    return any(prediction == normalize_text(answer) for answer in answers)


def read_yes_no(text: str) -> str | None:
    """ "yes", "no", or None for a text that says neither, or hedges.

    The first word if it is one of them and is not joined to the other by and, or, a slash; else the only
    one of the two that occurs as a whole word ("abnormal" is not "no").
    """
    text = unicodedata.normalize("NFC", text).casefold()
    words = re.findall(r"[^\W_]+", text)
    if words and words[0] in ("yes", "no"):
        joined = _JOINED.match(text.replace("_", " "))
        hedges = joined is not None and len(set(re.findall(r"\b(?:yes|no)\b", joined[0]))) > 1
        return None if hedges else words[0]
    said = {word for word in words if word in ("yes", "no")}
    return said.pop() if len(said) == 1 else None


def matches_yes_no(prediction: str, answers: Sequence[str]) -> bool:
    """Whether prediction and any accepted answer say the same of yes and no."""
    said = read_yes_no(prediction)
    if said is None:
        return False
    return any(said == read_yes_no(answer) for answer in answers)


def matches_count(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction states the same number as any accepted answer, exactly."""
    return matches_size(prediction, answers, 0.0)


def matches_size(prediction: str, answers: Sequence[str], tolerance: float) -> bool:
    """Whether the prediction states the same quantity as any accepted answer.

    Args:
        tolerance: relative to the accepted answer; there is no absolute tolerance.
    """
    return matches_text(prediction, answers) or any(
        matches_quantity(prediction, answer, tolerance) for answer in answers
    )


def parse_options(question: str) -> list[str]:
    """The texts of the lettered options in a question, in the order A, B, C...; [] where there are none.

    Read are `A) x B) y`, `(A) x (B) y`, `A. x` and `A: x`, on one line or several, at least two of them
    in one style, with the letters in order from A.
    """
    runs: dict[tuple[str, str, bool], list[re.Match]] = {}
    for match in _OPTION.finditer(question):
        style = (match["open"], match["close"], match["letter"].isupper())
        run = runs.setdefault(style, [])
        if ord(match["letter"].casefold()) - ord("a") == len(run):
            run.append(match)
    markers = max(runs.values(), key=len, default=[])
    if len(markers) < 2:
        return []
    ends = [marker.start() for marker in markers[1:]] + [len(question)]
    texts = [question[marker.end() : end] for marker, end in zip(markers, ends, strict=True)]
    if all("\n" in text for text in texts[:-1]):  # one a line: what follows the last line is no option
        texts[-1] = texts[-1].split("\n")[0]
    texts = [text.strip().rstrip(",;|").strip() for text in texts]
    texts = [re.sub(r"[,;]?\s+(?:or|and)$", "", text) for text in texts]
    return texts if all(texts) else []


def read_option(text: str, options: Sequence[str]) -> int | None:
    """Which option a text names, by its text, its letter (the options' order is A, B, C...) or both.

    A letter that comes with another option's text, or with a text of its own, names nothing.
    """
    plain = [normalize_text(option) for option in _without_letters(options)]
    text = normalize_text(normalize_text(text).strip("*"))  # "**B**" is Markdown for B
    for index, option in enumerate(plain):
        if text in (option, normalize_text(options[index])):
            return index
    letter = _LETTER_ALONE.fullmatch(text)
    if letter:
        return _letter_index(letter[1], plain)
    both = _LETTER_AND_TEXT.fullmatch(text)
    if both:
        index = _letter_index(both["bracketed"] or both["letter"], plain)
        return index if index is not None and plain[index] == normalize_text(both["text"]) else None
    lead = re.fullmatch(_LEAD + "(.+)", text)
    if lead and lead[1] != text and normalize_text(lead[1]) in plain:
        return plain.index(normalize_text(lead[1]))
    return None


def matches_option(prediction: str, answers: Sequence[str], options: Sequence[str] | None) -> bool:
    """Whether the prediction names the same option as any accepted answer, by text or by letter.

    Where the options' texts are not known (none are given, or letters alone), "(B)" and "B) oedema" agree
    with "B", and with "B. oedema" by what both have of letter and text.
    """
    if matches_text(prediction, answers):
        return True
    if not options or [normalize_text(option) for option in options] == list(_LETTERS[: len(options)]):
        named = _letter_and_text(prediction)
        return any(_agree(named, _letter_and_text(answer)) for answer in answers)
    named = read_option(prediction, options)
    return named is not None and any(named == read_option(answer, options) for answer in answers)


def _letter_and_text(text: str) -> tuple[str, str]:
    """The letter that a text marks as an option's ("(B)", "B. oedema") and the option's text; "" for none."""
    text = normalize_text(normalize_text(text).strip("*"))
    if letter := _LETTER_ALONE.fullmatch(text):
        return letter[1], ""
    both = _LETTER_AND_TEXT.fullmatch(text)
    if both and (both["bracketed"] or both["mark"]):  # "a nodule" marks no letter
        return both["bracketed"] or both["letter"], normalize_text(both["text"])
    return "", text


def _agree(predicted: tuple[str, str], gold: tuple[str, str]) -> bool:
    shared = [(left, right) for left, right in zip(predicted, gold, strict=True) if left and right]
    return bool(shared) and all(left == right for left, right in shared)


def _letter_index(letter: str, options: Sequence[str]) -> int | None:
    index = ord(letter) - ord("a")
    return index if 0 <= index < len(options) else None


def _without_letters(options: Sequence[str]) -> list[str]:
    """Options that carry their own letters ("A. oedema", "B. normal") without them."""
    found = [_LETTER_AND_TEXT.fullmatch(option.casefold()) for option in options]
    letters = [match and (match["bracketed"] or match["letter"]) for match in found]
    if letters == list(_LETTERS[: len(options)]):
        return [match["text"] for match in found if match]
    return list(options)
