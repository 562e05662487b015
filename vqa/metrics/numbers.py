"""Quantities in text: number words, decimal commas, units, comparators, intervals.

`read_quantity` answers "which one quantity does this text state?", with words around it or not, and says
None when it states none or several: "3 or 4" is a hedge, "3-4" is an interval.
"""

import functools
import math
import re
import unicodedata
from dataclasses import dataclass

from vqa.metrics.units import NO_NUMBER, conversion, read_unit

_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
        " sixteen seventeen eighteen nineteen".split()
    )
}
_WORDS |= {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}

# "1,234,567" and "1.234.567" are grouped; "1,5" and "0,125" are decimal commas; "1,234" is grouped, since
# a size to the thousandth is rarer than a thousand. "3,4" is 3.4, while "3, 4" is two numbers, and
# "3,4,5" and "10.12.2020" are none at all.
_DIGITS = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+"
    r"|[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}(?![0-9])"
    r"|[1-9][0-9]{0,2}(?:[\u00a0\u202f\u2009][0-9]{3})+(?![0-9])"
    r"|[0-9]+[.,][0-9]+|[0-9]+|\.[0-9]+)(?![.,]?[0-9])"
)
_ANY_WORD = "|".join([*_WORDS, *_SCALES])
_PART = "[ -](?:half|halves|thirds?|quarters?|fifths?|tenths?)"  # "two-thirds" is no 2
# A pronoun is no number: "the larger one", "which one", "no one".
_PRONOUN = "".join(
    rf"(?<!\b{word} )" for word in ("the", "this", "that", "no", "each", "which", "another", "any")
)
_NUMBER = re.compile(
    rf"(?P<digits>(?<![\w.,])(?P<sign>[-+−](?=[0-9.]))?(?:{_DIGITS})(?:e[-+]?[0-9]{{1,3}}(?!\w))?)"
    rf"|{_PRONOUN}\b(?P<words>(?:{_ANY_WORD})(?:(?:[ -]+(?:and[ -]+)?)(?:{_ANY_WORD}))*)\b(?!{_PART}\b)",
)
_SCALE_AFTER = re.compile(rf" (?P<scale>{'|'.join(_SCALES)})\b")
_HALF_AFTER = re.compile(r" and (?:a |one[ -])?half\b")
_FRACTION = re.compile("(?<![0-9])([0-9]{0,9}) ?([¼-¾⅐-⅞])")
_MINUS = re.compile(r"\bminus (?=[0-9.])")
_SPELLINGS = str.maketrans("μ‐‑‒―＜＞", "µ--–—<>")
_PLAIN = re.compile(rf"[-+−]?{_DIGITS}(?:e[-+]?[0-9]{{1,3}})?")
_BETWEEN = re.compile(r"\s*(?:-|–|—|−|~|\.\.\.?|…|\bto\b)\s*(?=[-+−]?[0-9.]|[a-z])")
_AND = re.compile(r"\s*and\s+")
_BETWEEN_BEFORE = re.compile(r"\bbetween\s*\S+(?: ?[^\W\d_]+)?$")
_COMPARATORS = [
    ("<=", r"<=|=<|≤|⩽|(?:less|smaller|fewer) than or equal to|up to|at most|maximum of"),
    ("<=", r"(?:no|not) (?:more|larger|greater) than"),
    (">=", r">=|=>|≥|⩾|(?:more|greater|larger) than or equal to|at least|minimum of"),
    (">=", r"(?:no|not) (?:less|smaller|fewer) than"),
    ("<", r"<|(?:less|smaller|fewer|shorter|lower) than|under|below"),
    (">", r">|(?:more|greater|larger|longer|bigger|higher) than|over|above|exceed(?:s|ing)?"),
]
_APPROXIMATELY = r"(?:(?:about|around|approximately|approx\.?|roughly|circa|ca\.|~|≈)\s*)?"
_BEFORE = [
    (sign, re.compile(rf"(?:^|(?<=\W)|(?=[<>=≤≥⩽⩾]))(?:{words})\s*{_APPROXIMATELY}$"))
    for sign, words in _COMPARATORS
]
_AFTER = [
    ("<=", re.compile(r"\s*or (?:less|smaller|fewer|below|under|shorter)\b")),
    (">=", re.compile(r"\s*or (?:more|larger|greater|above|over|longer|bigger)\b|\s*\+(?!\s*[0-9])")),
]


@dataclass(frozen=True)
class Quantity:
    """One stated amount: a number (`low == high`) or an interval.

    Attributes:
        low, high: in `unit`; equal but for an interval.
        comparator: "" or one of `<`, `<=`, `>`, `>=`.
        unit: canonical name, or None where the text gives none.
    """

    low: float
    high: float
    comparator: str = ""
    unit: str | None = None


@functools.lru_cache(maxsize=1 << 12)  # accepted answers repeat, and short predictions
def read_quantity(text: str) -> Quantity | None:
    """The one quantity that a text states, or None.

    Words around it do not matter ("There are 3 polyps"), nor does saying the same amount twice
    ("3 (three)", "10 mm (1 cm)"). Two amounts that form no interval are none.
    """
    text = re.sub(r"[ \t\r\n]+", " ", text.casefold().translate(_SPELLINGS))
    text = _MINUS.sub("-", text)
    text = _FRACTION.sub(lambda found: f"{int(found[1] or 0) + unicodedata.numeric(found[2])}", text)
    found: list[Quantity] = []
    position = 0
    while (number := _read_number(text, position)) is not None:
        start, quantity, position = number
        found.append(_with_comparator(text, start, quantity, position))
    alike = bool(found) and all(quantities_agree(found[0], other, 0.0) for other in found[1:])
    return found[0] if alike else None


def quantities_agree(predicted: Quantity, gold: Quantity, tolerance: float) -> bool:
    """Same comparator, both an interval or neither, and ends within `tolerance` relative to the gold's.

    A unit that one side lacks is taken from the other; units of the same dimension are converted. A gold
    of 0 is met by 0 only (no absolute tolerance).
    """
    if predicted.comparator != gold.comparator:
        return False
    if (predicted.low == predicted.high) != (gold.low == gold.high):
        return False
    factor = 1.0
    if predicted.unit and gold.unit:
        factor = conversion(predicted.unit, gold.unit)
        if factor is None:
            return False
    return _close(predicted.low * factor, gold.low, tolerance) and _close(
        predicted.high * factor, gold.high, tolerance
    )


def matches_quantity(prediction: str, answer: str, tolerance: float) -> bool:
    """Whether both texts state one quantity each, and these agree (see `quantities_agree`)."""
    predicted, gold = read_quantity(prediction), read_quantity(answer)
    return predicted is not None and gold is not None and quantities_agree(predicted, gold, tolerance)


def _close(predicted: float, gold: float, tolerance: float) -> bool:
    # The second term only absorbs the rounding of unit conversion and of decimal fractions.
    return abs(predicted - gold) <= tolerance * abs(gold) + 1e-9 * max(abs(predicted), abs(gold))


def _read_number(text: str, position: int) -> tuple[int, Quantity, int] | None:
    """The next number or interval from `position` on: (where it starts, quantity, where it ends)."""
    while (match := _NUMBER.search(text, position)) is not None:
        value, end = _value(text, match)
        unit, end = read_unit(text, match.start(), end)
        if value is None or unit == NO_NUMBER:
            position = max(end, match.end())
            continue
        interval = _read_interval_end(text, value, unit, end)
        if interval is not None:
            return match.start(), *interval
        return match.start(), Quantity(value, value, "", unit), end
    return None


def _read_interval_end(
    text: str, low: float, low_unit: str | None, position: int
) -> tuple[Quantity, int] | None:
    between = _BETWEEN.match(text, position)
    if between is None and _BETWEEN_BEFORE.search(text, max(0, position - 60), position):
        between = _AND.match(text, position)
    if between is None:
        return None
    start = between.end()
    match = _NUMBER.match(text, start) or _NUMBER_AFTER_DASH.match(text, start)
    if match is None:
        return None
    value, end = _value(text, match)
    unit, end = read_unit(text, match.start(), end)
    if value is None or unit == NO_NUMBER:
        return None
    factor = conversion(low_unit, unit) if low_unit and unit else 1.0
    if factor is None or low * factor >= value:
        return None
    return Quantity(low * factor, value, "", unit or low_unit), end


# After the dash of an interval no look-behind may refuse the number ("5-10": the dash is no sign).
_NUMBER_AFTER_DASH = re.compile(rf"(?P<digits>(?P<sign>(?!))?(?:{_DIGITS}))|(?P<words>(?!))")


def parse_number(text: str) -> float | None:
    """The value of a text that is one number in digits and nothing else: "1,234.5" is 1234.5."""
    match = _PLAIN.fullmatch(text.strip())
    return _digits_value(match[0]) if match else None


def _value(text: str, match: re.Match) -> tuple[float | None, int]:
    """What a number and the words that go on with it ("1.5 million", "two and a half") come to; its end."""
    if match["words"]:
        value = _words_value(re.split(r"[ -]+", match["words"]))
    else:
        value = _digits_value(match["digits"])
    end = match.end()
    if value is not None and match["digits"] and (scale := _SCALE_AFTER.match(text, end)):
        value, end = value * _SCALES[scale["scale"]], scale.end()
    if value is not None and (half := _HALF_AFTER.match(text, end)):
        value, end = value + 0.5, half.end()
    return value, end


def _digits_value(digits: str) -> float | None:
    mantissa, exponent, power = digits.replace("−", "-").partition("e")
    value = float(_plain_decimal(mantissa) + exponent + power)
    return value if math.isfinite(value) else None


def _plain_decimal(digits: str) -> str:
    digits = re.sub(r"[\u00a0\u202f\u2009]", "", digits)
    if "," in digits and "." in digits:
        group = "," if digits.index(",") < digits.index(".") else "."
        return digits.replace(group, "").replace(",", ".")
    if digits.count(".") > 1:
        return digits.replace(".", "")
    if digits.count(",") > 1 or re.fullmatch(r"[-+]?[1-9][0-9]{0,2},[0-9]{3}", digits):
        return digits.replace(",", "")
    return digits.replace(",", ".")


def _words_value(words: list[str]) -> float | None:
    """ "two hundred and five" is 205; None for words that form no one number ("two three")."""
    total = group = 0
    ceiling = math.inf  # what the next word must stay below
    previous = ""
    for word in words:
        if word == "and":
            if previous not in _SCALES:
                return None
        elif word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                group, ceiling = (group or 1) * 100, 100
            else:
                total, group, ceiling = total + (group or 1) * scale, 0, math.inf
        else:
            value = _WORDS[word]
            if value >= ceiling:
                return None
            group, ceiling = group + value, 10 if value >= 20 else 0
        previous = word
    return float(total + group)


def _with_comparator(text: str, start: int, quantity: Quantity, end: int) -> Quantity:
    if quantity.low != quantity.high:
        return quantity
    before, after = text[max(0, start - 60) : start], text[end : end + 20]
    for sign, pattern in _BEFORE:
        if pattern.search(before):
            return Quantity(quantity.low, quantity.high, sign, quantity.unit)
    for sign, pattern in _AFTER:
        if pattern.match(after):
            return Quantity(quantity.low, quantity.high, sign, quantity.unit)
    return quantity
