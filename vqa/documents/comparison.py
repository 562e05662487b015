"""Text as GroundAnswer compares it: what counts as the same, and how far OCR may have misread it.

A text is cut into tokens, numbers and runs of letters; case, compatibility forms, spaces and punctuation
between tokens do not count, so that `Total:$5.00` holds the tokens of "Total: $5.00". Numbers are compared by
their digits, exactly; in letters, some may differ.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

# A shorter text is never taken for another one ("Sales" for "Salem").
SHORTEST_FUZZY = 6
# A longer word may not be missing ("Dr." may).
LONGEST_MISSING = 3
# Signs that belong to what they stand by; other punctuation only parts.
_SYMBOLS = r"%°$€£¥₫₹+#&@=<>≤≥±×÷"
_TOKEN = re.compile(
    r"(?P<number>(?:(?<![\w)\]])-)?\d+(?:[.:/-]\d+|,\d{1,3}(?!\d))*)"
    rf"|(?P<letters>[^\W\d_]+)|(?P<symbol>[{_SYMBOLS}])"
)
_CHARACTER = re.compile(r".[\u0300-\u036f]*", re.DOTALL)
_DASHES = str.maketrans("−–—‐‑‒", "------")
# What OCR takes for one another, by what stands beside it.
_CONFUSED = (
    (re.compile(r"(?<=[^\W\d_])0|(?<!\d)0(?=[^\W\d_])"), "O"),
    (re.compile(r"(?<=\d)[Oo](?=\d)"), "0"),
    (re.compile(r"(?<=\d)[lI](?=\d)"), "1"),
    (re.compile(r"(?<![^\W_])S(?=\d)"), "$"),
    (re.compile(r"(?<=[^\W\d_]/)[1I|](?!\w)"), "l"),  # g/l
)
_GROUPED = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d{1,3}(?:[.,]\d{3})+[.,]\d{1,2}")


@dataclass(frozen=True)
class Token:
    """A piece of a word.

    Attributes:
        text: as it is compared; of a number without marks between thousands, with a decimal point.
        start, end: where it stands.
        is_number: whether it is one.
    """

    text: str
    start: int
    end: int
    is_number: bool


def tokens(text: str, offset: int = 0) -> list[Token]:
    """The tokens of a text, in order; `offset` is where the text itself begins."""
    places = [
        (plain, found.span())
        for found in _CHARACTER.finditer(text)
        for plain in unicodedata.normalize("NFKC", found[0]).translate(_DASHES)
    ]
    plain = "".join(character for character, _ in places)
    for pattern, meant in _CONFUSED:
        plain = pattern.sub(meant, plain)
    found = []
    for match in _TOKEN.finditer(plain):
        for start, end in _humps(plain, *match.span()) if match["letters"] else [match.span()]:
            piece = plain[start:end]
            compared = _number(piece) if match["number"] else piece.casefold()
            first, last = places[start][1][0], places[end - 1][1][1]
            found.append(Token(compared, offset + first, offset + last, bool(match["number"])))
    return found


def similarity(answer: Sequence[Token], span: Sequence[Token], threshold: float) -> float:
    """Normalised Levenshtein similarity of two texts, from `threshold` to 1; 0 where they are not the same.

    1 - distance / length of the longer text, as in ANLS, a similarity of `threshold` counting; spaces are not
    compared, since OCR loses them. They are not the same, however similar, where

    - the numbers of the answer are not those of the span, digit by digit;
    - the answer has less than `SHORTEST_FUZZY` characters, and any differs;
    - a word of either differs in more than 1 - `threshold` of its letters from its counterpart in the other:
      "Alice Park" is not "Alice Patel". Of words that the other lacks altogether, only short ones may be.
    """
    wanted, read = _joined(answer), _joined(span)
    if wanted == read:
        return 1.0
    if len(wanted) < SHORTEST_FUZZY or (_digits(answer) and _digits(answer) != _digits(span)):
        return 0.0
    longer = max(len(wanted), len(read))
    enough = int((1 - threshold) * longer) + 1  # beyond it the distance need not be known
    likeness = 1 - Levenshtein.distance(wanted, read, score_cutoff=enough) / longer
    if likeness < threshold or not _words_agree(answer, span, threshold):
        return 0.0
    return likeness


def _joined(parts: Sequence[Token]) -> str:
    return "".join(part.text for part in parts)


def _digits(parts: Sequence[Token]) -> str:
    return "".join(part.text for part in parts if part.is_number)


def _words_agree(answer: Sequence[Token], span: Sequence[Token], threshold: float) -> bool:
    """Whether no word of either has too many letters that are not those of the other."""
    edits = Levenshtein.editops(_joined(answer), _joined(span))
    missing = {edit.src_pos: edit.tag == "delete" for edit in edits if edit.tag != "insert"}
    added = {edit.dest_pos: edit.tag == "insert" for edit in edits if edit.tag != "delete"}
    for parts, wrong in ((answer, missing), (span, added)):
        for letters in _word_positions(parts, apart=bool(_digits(answer))):
            found = [wrong[position] for position in letters if position in wrong]
            lacking = len(found) == len(letters) <= LONGEST_MISSING and all(found)
            if 1 - len(found) / len(letters) < threshold and not lacking:
                return False
    return True


def _word_positions(parts: Sequence[Token], apart: bool) -> Iterator[range]:
    """Where the words stand in the joined text.

    Args:
        apart: whether tokens that touch are words of their own ("5" and "kg"); else a digit among letters is
            one of them misread.
    """
    start = end = 0
    for index, part in enumerate(parts):
        end += len(part.text)
        if apart or index + 1 == len(parts) or parts[index + 1].start != part.end:
            yield range(start, end)
            start = end


def _number(text: str) -> str:
    """A number without the marks between its thousands, where they are certain: "1,234.50" is "1234.50"."""
    if not _GROUPED.fullmatch(text):
        return text.replace(",", ".")
    marks = [mark for mark in text if mark in ".,"]
    decimal = len(set(marks)) > 1 or not re.search(r"[.,]\d{3}$", text)
    whole, _, fraction = text.rpartition(marks[-1]) if decimal else (text, "", "")
    whole = re.sub("[.,]", "", whole)
    return f"{whole}.{fraction}" if decimal else whole


def _humps(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where words begin and end that were joined with their capitals kept: "NamePaul"."""
    cuts = [place for place in range(start + 1, end) if text[place - 1].islower() and text[place].isupper()]
    return list(zip([start, *cuts], [*cuts, end], strict=True))
