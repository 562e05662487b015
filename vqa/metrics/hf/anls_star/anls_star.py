"""ANLS* as a module of `evaluate`."""

from vqa.metrics.hf import base
from vqa.metrics.structured import anls_star


class AnlsStar(base.Module):
    """ANLS* of structures: objects key by key, lists by the best assignment, values by ANLS.

    predictions, references: texts that hold a JSON object or array; any other text is one value.
    Returns {"anls_star"}.
    """

    columns = {"predictions": base.TEXT, "references": base.TEXT}

    def _compute(self, predictions, references):
        return {"anls_star": base.mean(map(anls_star, predictions, references))}
