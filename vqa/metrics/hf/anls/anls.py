"""ANLS as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.text import ANLS_THRESHOLD, anls


class Anls(base.Module):
    """Average normalised Levenshtein similarity to the nearest accepted answer.

    predictions: answers; references: lists of accepted answers, records without one left out.
    threshold: a similarity below it is 0 (default 0.5).
    Returns {"anls"}.
    """

    def _compute(self, predictions, references, threshold=ANLS_THRESHOLD):
        pairs = base.answered(predictions, references)
        return {"anls": base.mean(anls(said, accepted, threshold) for said, accepted in pairs)}
