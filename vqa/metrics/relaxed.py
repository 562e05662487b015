"""Relaxed accuracy of answers about charts: numbers within 5%, anything else as it stands."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from vqa.metrics.matching import normalize_text
from vqa.metrics.numbers import parse_number

TOLERANCE = 0.05
YEARS = range(1800, 2101)  # four digits in this range, and nothing else, are read as a year

_CURRENCIES = {"us$": "$", "usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "vnd": "₫", "đ": "₫", "inr": "₹"}
_CURRENCY = r"us\$|[^\W\d_]{1,3}|[^\w\s]"
_AMOUNT = re.compile(
    rf"(?P<sign>[-+−])?\s*(?P<before>{_CURRENCY})?\s*(?P<number>[-+−]?[0-9.](?:.*[0-9.])?)"
    rf"\s*(?P<percent>%)?\s*(?P<after>{_CURRENCY})?"
)


def relaxed_match(prediction: str, answers: Sequence[str]) -> bool:
    """The formula that ChartQA's numbers are published with, letter by letter.

    |prediction - gold| / |gold| <= 0.05 where both texts are numbers to Python ("12%" is 0.12) and the
    gold is not 0; else equality but for case (Masry et al. 2022; code: `relaxed_correctness` in
    google-research/pix2struct, Apache-2.0). Any accepted answer serves.
    """
    return any(_reference_match(prediction, answer) for answer in answers)


def _reference_match(prediction: str, answer: str) -> bool:
    predicted, gold = _reference_number(prediction), _reference_number(answer)
    if predicted is not None and gold:
        return abs(predicted - gold) / abs(gold) <= TOLERANCE
    return prediction.lower() == answer.lower()


def _reference_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Amount:
    value: float
    percent: bool = False
    currency: str = ""
    year: bool = False


def relaxed_match_strict(prediction: str, answers: Sequence[str]) -> bool:
    """Our reading of the same rule, which takes numbers as they are written and years at their word.

    Thousands separators, decimal commas, `%` and currencies are read; a sign of currency or `%` that one
    side lacks is taken from the other ("12%" meets 12 and also 0.12), different currencies differ. A gold of
    0 is met by 0 only. A gold that is a year (four digits from 1800 to 2100) is met by that year only.
    Anything else is compared as text (`normalize_text`).
    """
    prediction = normalize_text(prediction)
    return any(_strict_match(prediction, normalize_text(answer)) for answer in answers)


def _strict_match(prediction: str, answer: str) -> bool:
    if prediction == answer:
        return True
    predicted = _read_amount(prediction)
    gold = _read_amount(answer) if predicted else None
    if predicted is None or gold is None:
        return False
    if predicted.currency and gold.currency and predicted.currency != gold.currency:
        return False
    if predicted.percent == gold.percent:
        return _close(predicted.value, gold.value, gold.year)
    if gold.year:
        return False
    return any(_close(predicted.value * factor, gold.value) for factor in _percent_factors(predicted))


def _percent_factors(predicted: _Amount) -> tuple[float, float]:
    """What a prediction may be multiplied with where one side alone has a percent sign."""
    return (1.0, 0.01) if predicted.percent else (1.0, 100.0)


def _close(predicted: float, gold: float, exact: bool = False) -> bool:
    tolerance = 0.0 if exact else TOLERANCE
    # The second term only absorbs the rounding of decimal fractions: 1.05 is within 5% of 1.
    return abs(predicted - gold) <= tolerance * abs(gold) + 1e-9 * abs(gold)


def _read_amount(text: str) -> _Amount | None:
    """The number that a whole normalised text is, with its currency or percent sign; None for any other."""
    match = _AMOUNT.fullmatch(text)
    if match is None or (match["before"] and match["after"]):
        return None
    currency = _currency(match["before"] or match["after"] or "")
    value = parse_number(match["number"])
    if value is None or currency is None or (currency and match["percent"]):
        return None
    if match["sign"]:
        if match["number"][0] in "-+−":
            return None
        value = -value if match["sign"] != "+" else value
    year = re.fullmatch(r"[0-9]{4}", match[0]) is not None and value in YEARS
    return _Amount(value, bool(match["percent"]), currency, year)


def _currency(mark: str) -> str | None:
    """The sign of a currency, "" for none, None for a mark that is none."""
    if not mark or mark in _CURRENCIES:
        return _CURRENCIES.get(mark, "")
    return mark if len(mark) == 1 and unicodedata.category(mark) == "Sc" else None
