"""Selective prediction as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.selective import reliability_values, risk_coverage


class RiskCoverage(base.Module):
    """What confidence is worth for leaving out wrong answers; records of equal confidence stay together.

    predictions: confidences; references: whether each answer is right.
    risks: to give the coverage at (default 0.01, 0.05, 0.1); threshold: confidence from which on to answer,
    tuned on other records, and cost of a wrong answer (default 1), for the effective reliability.
    Returns {"aurc", "e_aurc", "coverage_at_risk": {RISK: coverage}, "effective_reliability"}.
    """

    columns = {"predictions": base.NUMBER, "references": base.FLAG}

    def _compute(self, predictions, references, risks=(0.01, 0.05, 0.1), threshold=None, cost=1.0):
        curve = risk_coverage(predictions, references) if predictions else None
        values = [] if threshold is None else reliability_values(predictions, references, threshold, cost)
        return {
            "aurc": curve.aurc() if curve else None,
            "e_aurc": curve.e_aurc() if curve else None,
            "coverage_at_risk": {f"{risk:g}": curve.coverage_at(risk) if curve else None for risk in risks},
            "effective_reliability": base.mean(values),
        }
