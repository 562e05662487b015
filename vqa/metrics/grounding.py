"""Whether predicted boxes lie where the evidence is."""

from collections.abc import Sequence

Box = Sequence[float]  # x0, y0, x1, y1 in pixels of the original image


def is_degenerate(box: Box) -> bool:
    """Whether a box encloses no area."""
    return not (box[0] < box[2] and box[1] < box[3])


def box_iou(left: Box, right: Box) -> float:
    """Intersection over union; 0 where either box is degenerate, even if the two are equal."""
    if is_degenerate(left) or is_degenerate(right):
        return 0.0
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(left) + _area(right) - shared)


def best_iou(boxes: Sequence[Box], gold_boxes: Sequence[Box]) -> float:
    """IoU of the best pair of a predicted and a gold box; 0 where nothing was predicted."""
    return max((box_iou(box, gold) for box in boxes for gold in gold_boxes), default=0.0)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
