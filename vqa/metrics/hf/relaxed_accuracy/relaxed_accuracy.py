"""The relaxed accuracy of charts as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.relaxed import relaxed_match, relaxed_match_strict


class RelaxedAccuracy(base.Module):
    """Numbers within 5% of an accepted answer, other texts equal.

    predictions: answers; references: lists of accepted answers, records without one left out.
    Returns {"relaxed_accuracy"}, ChartQA's formula, and {"relaxed_accuracy_strict"}, which reads separators,
    % and currencies and takes years and zero at their word.
    """

    def _compute(self, predictions, references):
        pairs = base.answered(predictions, references)
        return {
            "relaxed_accuracy": base.mean(relaxed_match(*pair) for pair in pairs),
            "relaxed_accuracy_strict": base.mean(relaxed_match_strict(*pair) for pair in pairs),
        }
