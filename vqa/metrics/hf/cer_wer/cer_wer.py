"""Character and word error rates as a module of `evaluate`."""

from vqa.metrics.error_rates import character_error_rate, word_error_rate
from vqa.metrics.hf import base


class CerWer(base.Module):
    """Edits over the length of all references, in characters and in words, on NFC text.

    predictions: texts read; references: the texts that are there.
    Returns {"cer", "wer"}.
    """

    columns = {"predictions": base.TEXT, "references": base.TEXT}

    def _compute(self, predictions, references):
        return {
            "cer": character_error_rate(predictions, references),
            "wer": word_error_rate(predictions, references),
        }
