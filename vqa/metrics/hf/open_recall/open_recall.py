"""Recall of the accepted answer's words as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.text import token_recall


class OpenRecall(base.Module):
    """Share of an accepted answer's words that the answer holds, counted as often as they are accepted.

    predictions: answers; references: lists of accepted answers, records without a word left out.
    Returns {"open_recall"}.
    """

    def _compute(self, predictions, references):
        recalls = [token_recall(said, accepted) for said, accepted in base.answered(predictions, references)]
        return {"open_recall": base.mean(recall for recall in recalls if recall is not None)}
