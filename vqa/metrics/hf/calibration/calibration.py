"""Calibration of confidences as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.selective import CALIBRATION_BINS, brier_score, expected_calibration_error


class Calibration(base.Module):
    """How near confidence comes to the chance of being right.

    predictions: confidences; references: whether each answer is right.
    bins: of equal width, for the ECE (default 15).
    Returns {"ece", "brier"}.
    """

    columns = {"predictions": base.NUMBER, "references": base.FLAG}

    def _compute(self, predictions, references, bins=CALIBRATION_BINS):
        if not predictions:
            return {"ece": None, "brier": None}
        return {
            "ece": expected_calibration_error(predictions, references, bins),
            "brier": brier_score(predictions, references),
        }
