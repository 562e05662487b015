"""Bootstrap intervals of what is no mean over records: the risk-coverage figures and the calibration error.

The risk-coverage curve is found anew for every resample of images, many at once: the order of the records by
confidence stays, only how often each was drawn changes.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from vqa.metrics.bootstrap import RESAMPLES, cluster_numbers, percentile_interval, resampled_counts
from vqa.metrics.selective import CALIBRATION_BINS, RISKS, bin_numbers, with_confidence


def confidence_intervals(
    predictions: Sequence[Mapping[str, Any]],
    correct: Sequence[bool],
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """95% intervals of AURC, E-AURC, coverage at risk, ECE and Brier score, by their path in metrics.json.

    None where the metric has no value, and with fewer than two images. The resamples are those of
    `vqa.metrics.bootstrap.clustered_intervals`.
    """
    paths = ["selective/aurc", "selective/e_aurc", "calibration/ece", "calibration/brier"]
    intervals = dict.fromkeys(paths + [f"selective/coverage_at_risk/{risk:g}" for risk in RISKS])
    index = cluster_numbers(clusters)
    size = int(index.max(initial=-1)) + 1
    answerable = np.array([row["answerable"] for row in predictions], dtype=bool)
    chosen = with_confidence(predictions, correct, answerable_only=True)
    everything = with_confidence(predictions, correct, answerable_only=False)
    samples: dict[str, list[np.ndarray]] = {}
    curve = _Curve(*chosen, index[answerable]) if chosen and len(set(index[answerable])) > 1 else None
    errors = _calibration_sums(*everything, index) if everything and size > 1 else None
    if curve is None and errors is None:
        return intervals
    for times_drawn in resampled_counts(size, resamples, seed, width=len(predictions)):
        measured = curve.measure(times_drawn) if curve else {}
        if errors is not None:
            sums = times_drawn.astype(float) @ errors
            measured["calibration/ece"] = np.abs(sums[:, 2:]).sum(axis=1) / sums[:, 0]
            measured["calibration/brier"] = sums[:, 1] / sums[:, 0]
        for path, values in measured.items():
            samples.setdefault(path, []).append(values)
    return intervals | {path: percentile_interval(np.concatenate(v)) for path, v in samples.items()}


class _Curve:
    """Records in the order of their confidence, to be weighted by how often their images are drawn."""

    def __init__(self, confidences: Sequence[float], correct: Sequence[bool], index: np.ndarray) -> None:
        scores = np.asarray(confidences, dtype=float)
        order = np.argsort(-scores, kind="stable")
        self.index = index[order]
        self.wrong = ~np.asarray(correct, dtype=bool)[order]
        self.ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))

    def measure(self, times_drawn: np.ndarray) -> dict[str, np.ndarray]:
        """Each figure of `vqa.metrics.selective.RiskCoverage`, for each resample with a record in it."""
        weights = times_drawn[:, self.index].astype(np.int32)
        kept = weights.cumsum(axis=1, dtype=np.int32)[:, self.ends]
        wrong = (weights * self.wrong).cumsum(axis=1, dtype=np.int32)[:, self.ends]
        kept, wrong = kept[kept[:, -1] > 0], wrong[kept[:, -1] > 0]
        count, mistakes = kept[:, -1], wrong[:, -1]
        risk = wrong / np.maximum(kept, 1)
        aurc = (np.diff(kept, axis=1, prepend=0) * risk).sum(axis=1) / count
        harmonic = np.append(0, np.cumsum(1 / np.arange(1, count.max(initial=0) + 1)))
        right = count - mistakes
        best = (mistakes - right * (harmonic[count] - harmonic[right])) / count
        figures = {"selective/aurc": aurc, "selective/e_aurc": aurc - best}
        for limit in RISKS:
            covered = np.where(risk <= limit + 1e-12, kept, 0).max(axis=1, initial=0) / count
            figures[f"selective/coverage_at_risk/{limit:g}"] = covered
        return figures


def _calibration_sums(confidences: Sequence[float], correct: Sequence[bool], index: np.ndarray) -> np.ndarray:
    """By image: records, squared errors, and in each bin confidence less correctness."""
    scores, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    bins, size = bin_numbers(scores, CALIBRATION_BINS), int(index.max()) + 1
    columns = [np.ones(len(scores)), (scores - right) ** 2]
    columns += [(scores - right) * (bins == number) for number in range(CALIBRATION_BINS)]
    return np.stack([np.bincount(index, weights=column, minlength=size) for column in columns], axis=1)
