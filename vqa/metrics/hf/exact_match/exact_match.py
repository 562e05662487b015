"""Exact match of normalised texts as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.matching import matches_text


class ExactMatch(base.Module):
    """Share of answers equal to an accepted one, but for case, white space, quotes and final punctuation.

    predictions: answers; references: lists of accepted answers, records without one left out.
    Returns {"exact_match"}.
    """

    def _compute(self, predictions, references):
        pairs = base.answered(predictions, references)
        return {"exact_match": base.mean(matches_text(said, accepted) for said, accepted in pairs)}
