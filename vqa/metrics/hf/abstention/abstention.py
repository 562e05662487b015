"""Abstention as a module of `evaluate`."""

from vqa.answers import is_abstention
from vqa.metrics.hf import base
from vqa.metrics.selective import abstention_rates


class Abstention(base.Module):
    """Whether answers are withheld where, and only where, the image does not hold them.

    predictions: answers; a text that says so ("", "unanswerable", "N/A") abstains. references: whether each
    question is answerable.
    Returns {"precision", "recall", "f1", "hallucination_rate", "over_abstention_rate"} of abstaining.
    """

    columns = {"predictions": base.TEXT, "references": base.FLAG}

    def _compute(self, predictions, references):
        return abstention_rates([is_abstention(said) for said in predictions], references)
