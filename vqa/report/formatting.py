"""Texts and numbers as the pages show them."""

import re
from typing import Any

TEXT_LIMIT = 600  # characters of a question or an answer that are shown

# What turns the direction of text around or is not to be seen: shown by its code point instead.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """A text as the page shows it: cut to a limit, control characters by their code point."""
    text = text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text)} characters)"
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def percent(rate: float | None) -> str:
    """A fraction as a percentage with one decimal, a dash for None."""
    return "–" if rate is None else f"{100 * rate:.1f}%"


def points(difference: float | None) -> str:
    """A difference of fractions in percentage points, with its sign."""
    if difference is None:
        return "–"
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def number(value: Any) -> str:
    """A metric's value for the table of all metrics."""
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def coordinate(value: float) -> str:
    """A coordinate in pixels to a tenth, without needless zeros."""
    return f"{value:.1f}".removesuffix(".0")


def p_value(value: float | None) -> str:
    """A p-value with three decimals, "<0.001" below them."""
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
