"""OCRBench's rule as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.ocrbench import ocrbench_match


class Ocrbench(base.Module):
    """Share of answers that contain an accepted answer.

    predictions: answers; references: lists of accepted answers, records without one left out.
    handwritten_math: all are formulas of HME100K, compared without white space and with case.
    Returns {"ocrbench"}.
    """

    def _compute(self, predictions, references, handwritten_math=False):
        pairs = base.answered(predictions, references)
        return {"ocrbench": base.mean(ocrbench_match(*pair, handwritten_math) for pair in pairs)}
