"""Grounding as a module of `evaluate`."""

from vqa.metrics.grounding import best_iou
from vqa.metrics.hf import base


class BoxIou(base.Module):
    """Whether predicted boxes lie where the evidence is: IoU of a record's best pair of boxes.

    predictions, references: lists of boxes [x0, y0, x1, y1] of one image; records without a box in references
    left out; no predicted box, or one without area, scores 0.
    Returns {"mean_iou", "acc_at_50"}, the latter the share with an IoU of at least 0.5.
    """

    columns = {"predictions": base.BOXES, "references": base.BOXES}

    def _compute(self, predictions, references):
        pairs = zip(predictions, references, strict=True)
        ious = [best_iou(boxes, gold) for boxes, gold in pairs if gold]
        return {"mean_iou": base.mean(ious), "acc_at_50": base.mean(iou >= 0.5 for iou in ious)}
