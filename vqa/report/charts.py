"""What the charts of the pages show, as plain numbers; the templates draw them as inline SVG."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqa.metrics.matching import normalize_text, read_option, read_yes_no
from vqa.metrics.selective import CalibrationBin, calibration_bins, risk_coverage, with_confidence
from vqa.questions import QUESTION_TYPES, candidates_of

CURVE_POINTS = 300
CALIBRATION_BINS = 10
RISKS = (0.01, 0.05, 0.1)
LABELS = 12  # rows and columns of a confusion table, before the rest is one label
REST, ABSTAINED, NOT_ANSWERABLE, NO_OPTION = "(others)", "(abstained)", "(not answerable)", "(none of them)"
_SPECIAL = (ABSTAINED, NOT_ANSWERABLE, NO_OPTION)

Prediction = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Risk against coverage, thinned for drawing.

    Attributes:
        points: (coverage, risk), coverage rising to 1.
        best: the same of the best order of the same answers: every right one before every wrong one.
        marks: (allowed risk, the largest coverage within it, the risk there).
    """

    points: list[tuple[float, float]]
    best: list[tuple[float, float]]
    marks: list[tuple[float, float, float]]


@dataclass(frozen=True)
class Confusion:
    """How often each accepted answer (rows) was answered by what (columns).

    Attributes:
        qtype: the question type.
        gold, predicted: labels of rows and columns; predicted ones begin with the same labels as gold.
        counts: one row a gold label.
    """

    qtype: str
    gold: list[str]
    predicted: list[str]
    counts: list[list[int]]


def rows_with_intervals(metrics: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Name, count, correct, accuracy and interval of every group of `metrics[key]`."""
    intervals = metrics["intervals"]
    return [
        {"name": name, "interval": intervals.get(f"{key}/{name}/accuracy"), **row}
        for name, row in metrics[key].items()
    ]


def risk_curve(predictions: Sequence[Prediction], correct: Sequence[bool]) -> Curve | None:
    """The risk-coverage curve over answerable records; None where one of them has no confidence."""
    chosen = with_confidence(predictions, correct, answerable_only=True)
    if chosen is None:
        return None
    curve = risk_coverage(*chosen)
    kept = _thinned(len(curve.coverage))
    count = len(chosen[0])
    right = count - round(float(curve.risk[-1]) * count)
    ranks = _thinned(count) + 1
    allowed = [(risk, curve.coverage_at(risk)) for risk in RISKS]
    at = dict(zip(curve.coverage.tolist(), curve.risk.tolist(), strict=True))
    return Curve(
        points=[(float(curve.coverage[i]), float(curve.risk[i])) for i in kept],
        best=[(rank / count, max(0, rank - right) / rank) for rank in ranks.tolist()],
        marks=[(risk, coverage, at[coverage]) for risk, coverage in allowed if coverage > 0],
    )


def reliability(predictions: Sequence[Prediction], correct: Sequence[bool]) -> list[CalibrationBin]:
    """The bins of the calibration plot over all records; [] where one of them has no confidence."""
    chosen = with_confidence(predictions, correct, answerable_only=False)
    return calibration_bins(*chosen, bins=CALIBRATION_BINS) if chosen else []


def confusions(predictions: Sequence[Prediction], correct: Sequence[bool]) -> list[Confusion]:
    """A table for every closed type: one whose answers are scored over candidates."""
    tables = []
    for name, question_type in QUESTION_TYPES.items():
        pairs = [
            (row, right) for row, right in zip(predictions, correct, strict=True) if row["qtype"] == name
        ]
        if question_type.scored and pairs:
            tables.append(_confusion(name, pairs))
    return tables


def _confusion(qtype: str, pairs: list[tuple[Prediction, bool]]) -> Confusion:
    sets = [candidates_of(row) or [] for row, _ in pairs]
    # Options that differ from question to question have only their places in common: A, B, C...
    by_place = qtype == "mcq" and len({tuple(map(normalize_text, options)) for options in sets}) > 1
    cells: Counter[tuple[str, str]] = Counter()
    for (row, right), options in zip(pairs, sets, strict=True):
        gold = _label(row["answers"][0], options, qtype, by_place) if row["answerable"] else NOT_ANSWERABLE
        if row["abstained"]:
            predicted = ABSTAINED
        else:
            predicted = gold if right else _label(row["pred"], options, qtype, by_place)
        cells[gold, predicted] += 1
    known = Counter(name for pair in cells.elements() for name in pair if name not in _SPECIAL)
    frequent = [name for name, _ in known.most_common(LABELS)]
    shown = (
        sorted(frequent, key=lambda name: (name != "yes", name)) if qtype == "yes_no" else sorted(frequent)
    )
    return _table(qtype, shown, cells)


def _table(qtype: str, labels: list[str], cells: Counter[tuple[str, str]]) -> Confusion:
    merged: Counter[tuple[str, str]] = Counter()
    for pair, count in cells.items():
        merged[tuple(name if name in labels or name in _SPECIAL else REST for name in pair)] += count
    used_gold, used_predicted = {gold for gold, _ in merged}, {predicted for _, predicted in merged}
    gold = [*labels, *(name for name in (REST, NO_OPTION, NOT_ANSWERABLE) if name in used_gold)]
    predicted = [*labels, *(name for name in (REST, NO_OPTION, ABSTAINED) if name in used_predicted)]
    return Confusion(qtype, gold, predicted, [[merged[row, column] for column in predicted] for row in gold])


def _label(text: str, options: list[str], qtype: str, by_place: bool) -> str:
    if qtype == "yes_no":
        return read_yes_no(text) or NO_OPTION
    if qtype == "color":
        return normalize_text(text).replace("grey", "gray")
    index = read_option(text, options) if options else None
    if by_place:
        return NO_OPTION if index is None else chr(ord("A") + index) if index < 26 else f"option {index + 1}"
    return normalize_text(text if index is None else options[index])


def _thinned(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).round().astype(int))
