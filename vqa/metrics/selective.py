"""What confidence is worth: risk against coverage, calibration, abstention.

Risk-coverage after El-Yaniv and Wiener (2010) and Geifman et al. (2019); effective reliability after
Whitehead et al. (2022, "Reliable Visual Question Answering: Abstain Rather Than Answer Incorrectly");
calibration error after Naeini et al. (2015) and Guo et al. (2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CALIBRATION_BINS = 15
RISKS = (0.01, 0.05, 0.1)
Vector = Sequence[float] | np.ndarray
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RiskCoverage:
    """Risk among the most confident records, one point per distinct confidence, most confident first.

    Attributes:
        coverage: share of the records that are answered, in (0, 1]; the last is 1.
        risk: share of wrong ones among them.
        size: how many records share each point's confidence.
        confidence: of each point; answered is what has at least that.
    """

    coverage: np.ndarray
    risk: np.ndarray
    size: np.ndarray
    confidence: np.ndarray

    def aurc(self) -> float:
        """Area under the curve: the mean of the records' risks, each that of the whole tie it belongs to."""
        return float(np.average(self.risk, weights=self.size))

    def e_aurc(self) -> float:
        """AURC above that of the best order of the same answers: every right one before every wrong one."""
        count = int(self.size.sum())
        wrong = round(float(self.risk[-1]) * count)
        ranks = np.arange(1, count + 1)
        return self.aurc() - float(np.mean(np.maximum(ranks - (count - wrong), 0) / ranks))

    def coverage_at(self, risk: float) -> float:
        """The largest coverage whose risk is at most `risk`; 0 where none is."""
        allowed = self.coverage[self.risk <= risk + 1e-12]
        return float(allowed[-1]) if allowed.size else 0.0


def risk_coverage(confidences: Vector, correct: Sequence[bool] | np.ndarray) -> RiskCoverage:
    """The risk-coverage curve. Records of equal confidence are answered together or not at all.

    Raises:
        ValueError: no records.
    """
    if len(confidences) == 0:
        raise ValueError("a risk-coverage curve needs at least one record")
    scores = np.asarray(confidences, dtype=float)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    wrong = np.cumsum(~np.asarray(correct, dtype=bool)[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return RiskCoverage(
        coverage=(ends + 1) / len(ranked),
        risk=wrong[ends] / (ends + 1),
        size=np.diff(ends, prepend=-1),
        confidence=ranked[ends],
    )


def reliability_threshold(
    confidences: Vector, correct: Sequence[bool] | np.ndarray, cost: float = 1.0
) -> float:
    """The confidence from which on to answer, so that the effective reliability of these records is largest.

    Of equally good thresholds the lowest, which answers most. Infinity where it is best to answer nothing.

    Raises:
        ValueError: no records.
    """
    curve = risk_coverage(confidences, correct)
    gain = curve.coverage * (1 - (1 + cost) * curve.risk)  # per record: right answers - cost * wrong ones
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[-1])  # equal gains differ in their last bits
    return float(curve.confidence[best]) if gain[best] > -1e-12 else float("inf")


def reliability_values(
    confidences: Vector, correct: Sequence[bool] | np.ndarray, threshold: float, cost: float = 1.0
) -> np.ndarray:
    """Each record's part of the effective reliability, whose mean it is (Phi_c of Whitehead et al. 2022).

    1 for a right answer, -`cost` for a wrong one, 0 for one less confident than `threshold`: it is withheld.
    """
    right = np.asarray(correct, dtype=bool)
    return np.where(np.asarray(confidences, dtype=float) >= threshold, np.where(right, 1.0, -cost), 0.0)


@dataclass(frozen=True)
class CalibrationBin:
    """Records whose confidence lies in (low, high]; the lowest bin holds 0 too."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    accuracy: float


def calibration_bins(
    confidences: Vector, correct: Sequence[bool] | np.ndarray, bins: int = CALIBRATION_BINS
) -> list[CalibrationBin]:
    """Equal-width bins of confidence; empty ones are left out."""
    scores, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    index = bin_numbers(scores, bins)
    count = np.bincount(index, minlength=bins)
    filled = np.flatnonzero(count)
    means = [np.bincount(index, weights=w, minlength=bins)[filled] / count[filled] for w in (scores, right)]
    return [
        CalibrationBin(i / bins, (i + 1) / bins, int(count[i]), float(confidence), float(accuracy))
        for i, confidence, accuracy in zip(filled.tolist(), *means, strict=True)
    ]


def bin_numbers(confidences: np.ndarray, bins: int) -> np.ndarray:
    """Each confidence's bin, from 0."""
    # The tiny step keeps a confidence of 0.2 in the bin that ends at 0.2, whatever 0.2 * 15 rounds to.
    return np.clip(np.ceil(confidences * bins - 1e-9).astype(int) - 1, 0, bins - 1)


def expected_calibration_error(
    confidences: Vector, correct: Sequence[bool] | np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance of confidence and accuracy over equal-width bins, weighted by their records."""
    filled = calibration_bins(confidences, correct, bins)
    total = sum(item.count for item in filled)
    return sum(item.count * abs(item.confidence - item.accuracy) for item in filled) / total


def brier_score(confidences: Vector, correct: Sequence[bool] | np.ndarray) -> float:
    """Mean squared distance of confidence and correctness (1 or 0)."""
    scores, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    return float(np.mean((scores - right) ** 2))


def abstention_ratios(
    abstained: Sequence[bool], answerable: Sequence[bool]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Precision, recall and F1 of abstaining (the positive class), and the two ways of failing.

    Returns:
        name -> (each record's part of the numerator, and of the denominator): `precision` over abstained
        records, `recall` and `hallucination_rate` (answered all the same) over unanswerable ones,
        `over_abstention_rate` over answerable ones, and `f1`, 2 TP / (abstained + unanswerable).
    """
    held_back, cannot = np.asarray(abstained, dtype=bool), ~np.asarray(answerable, dtype=bool)
    hits = held_back & cannot
    return {
        "precision": (hits, held_back),
        "recall": (hits, cannot),
        "f1": (2 * hits, held_back.astype(int) + cannot),
        "hallucination_rate": (cannot & ~held_back, cannot),
        "over_abstention_rate": (held_back & ~cannot, ~cannot),
    }


def abstention_rates(abstained: Sequence[bool], answerable: Sequence[bool]) -> dict[str, float | None]:
    """`abstention_ratios` divided; None where there are no such records."""
    ratios = abstention_ratios(abstained, answerable)
    return {name: _ratio(int(above.sum()), int(below.sum())) for name, (above, below) in ratios.items()}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def with_confidence(
    predictions: Rows, correct: Sequence[bool], answerable_only: bool
) -> tuple[list[float], list[bool]] | None:
    """Confidences and verdicts of the records that a confidence metric is taken over.

    None where there are none, or where one of them has no confidence: a curve over those that happen to
    have one would be another data set's. An abstention on an answerable question is wrong.
    """
    chosen = [
        (row["confidence"], right)
        for row, right in zip(predictions, correct, strict=True)
        if row["answerable"] or not answerable_only
    ]
    if not chosen or any(confidence is None for confidence, _ in chosen):
        return None
    return [confidence for confidence, _ in chosen], [right for _, right in chosen]


def selective_summary(
    predictions: Rows, correct: Sequence[bool], validation: tuple[Rows, Sequence[bool]] | None
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """The `selective` entry of metrics.json but for the effective reliability, and the latter's columns.

    All of it over answerable records, if all have a confidence; the effective reliability if those of
    `validation` have one too. The columns are each record's part and whether it counts, all 0 where
    there is no value.
    """
    chosen = with_confidence(predictions, correct, answerable_only=True)
    curve = risk_coverage(*chosen) if chosen else None
    summary = {
        "aurc": curve.aurc() if curve else None,
        "e_aurc": curve.e_aurc() if curve else None,
        "coverage_at_risk": {f"{risk:g}": curve.coverage_at(risk) if curve else None for risk in RISKS},
    }
    tuned = with_confidence(*validation, answerable_only=True) if validation else None
    values, mask = np.zeros(len(predictions)), np.zeros(len(predictions), dtype=bool)
    if chosen and tuned:
        mask = np.array([row["answerable"] for row in predictions])
        values[mask] = reliability_values(*chosen, reliability_threshold(*tuned))
    return summary, (values, mask)


def calibration_summary(predictions: Rows, correct: Sequence[bool]) -> dict[str, float | None]:
    """The `calibration` entry of metrics.json, over all records, if all have a confidence."""
    chosen = with_confidence(predictions, correct, answerable_only=False)
    if chosen is None:
        return {"ece": None, "brier": None}
    return {"ece": expected_calibration_error(*chosen), "brier": brier_score(*chosen)}
