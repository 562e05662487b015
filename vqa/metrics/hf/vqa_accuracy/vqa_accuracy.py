"""The VQA accuracy as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.vqa_accuracy import vqa_accuracy


class VqaAccuracy(base.Module):
    """min(1, agreeing annotators / 3), averaged over leaving each annotator out in turn.

    predictions: answers; references: what each annotator answered, ten as a rule; records without left out.
    Returns {"vqa_accuracy"}.
    """

    def _compute(self, predictions, references):
        pairs = base.answered(predictions, references)
        return {"vqa_accuracy": base.mean(vqa_accuracy(said, answers) for said, answers in pairs)}
