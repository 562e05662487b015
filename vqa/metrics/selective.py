"""What confidence is worth: risk against coverage, calibration, abstention.

Risk-coverage after El-Yaniv and Wiener (2010) and Geifman et al. (2019); calibration error after Naeini
et al. (2015) and Guo et al. (2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CALIBRATION_BINS = 15
Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class RiskCoverage:
    """Risk among the most confident records, one point per distinct confidence, most confident first.

    Attributes:
        coverage: share of the records that are answered, in (0, 1]; the last is 1.
        risk: share of wrong ones among them.
        size: how many records share each point's confidence.
    """

    coverage: np.ndarray
    risk: np.ndarray
    size: np.ndarray

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
        coverage=(ends + 1) / len(ranked), risk=wrong[ends] / (ends + 1), size=np.diff(ends, prepend=-1)
    )


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
    # The tiny step keeps a confidence of 0.2 in the bin that ends at 0.2, whatever 0.2 * 15 rounds to.
    index = np.clip(np.ceil(scores * bins - 1e-9).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = np.flatnonzero(count)
    means = [np.bincount(index, weights=w, minlength=bins)[filled] / count[filled] for w in (scores, right)]
    return [
        CalibrationBin(i / bins, (i + 1) / bins, int(count[i]), float(confidence), float(accuracy))
        for i, confidence, accuracy in zip(filled.tolist(), *means, strict=True)
    ]


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


def abstention_rates(abstained: Sequence[bool], answerable: Sequence[bool]) -> dict[str, float | None]:
    """Precision, recall and F1 of abstaining (the positive class), and the two ways of failing.

    Returns:
        `precision` over abstained records, `recall` and `hallucination_rate` (answered all the same) over
        unanswerable ones, `over_abstention_rate` over answerable ones, `f1`; None where there are none.
    """
    held_back, can = np.asarray(abstained, dtype=bool), np.asarray(answerable, dtype=bool)
    true_positive = int((held_back & ~can).sum())
    positives, predicted = int((~can).sum()), int(held_back.sum())
    return {
        "precision": _ratio(true_positive, predicted),
        "recall": _ratio(true_positive, positives),
        "f1": _ratio(2 * true_positive, predicted + positives),
        "hallucination_rate": _ratio(positives - true_positive, positives),
        "over_abstention_rate": _ratio(predicted - true_positive, len(can) - positives),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
