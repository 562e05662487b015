"""Whether predicted boxes lie where the evidence is, and whether answers have their form and a box."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqa.answers import THINK_OPEN

Box = Sequence[float]  # x0, y0, x1, y1 in pixels of the original image
Rows = Sequence[Mapping[str, Any]]  # predictions


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


def pointing_iou(row: Mapping[str, Any]) -> float:
    """IoU of the best pair of a prediction's and its gold boxes that are on the same image."""
    predicted, gold = _by_image(row, "boxes", "box_images"), _by_image(row, "gt_boxes", "gt_box_images")
    return max((best_iou(predicted[image], gold[image]) for image in predicted.keys() & gold), default=0.0)


def _by_image(row: Mapping[str, Any], boxes: str, owners: str) -> dict[int, list[Box]]:
    """The boxes on each image; all on the first where the row does not say."""
    found: dict[int, list[Box]] = {}
    for box, image in zip(row[boxes], row.get(owners) or [0] * len(row[boxes]), strict=True):
        found.setdefault(image, []).append(box)
    return found


def could_point(predictions: Rows) -> bool:
    """Whether answers of this style hold boxes at all: where they cannot, a missing box is no failure.

    They do where one has a box, or where answers have a format that is not that of thoughts.
    """
    formatted = any(row["valid_format"] is not None for row in predictions)
    thinks = any(row["raw"].lstrip().startswith(THINK_OPEN) for row in predictions)
    return (formatted and not thinks) or any(row["boxes"] for row in predictions)


def pointing_columns(predictions: Rows) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Box rate and grounding record by record: path in metrics.json -> (score, whether the record counts).

    The box rate is over records whose style has a format (all of them where none has one), mean IoU and
    Acc@0.5 over records with gold boxes, where one without a predicted box scores 0. No record counts where
    answers of this style hold no boxes.
    """
    points = could_point(predictions)
    formatted = np.array([row["valid_format"] is not None for row in predictions])
    boxed = np.array([bool(row["boxes"]) for row in predictions])
    gold = np.array([bool(row["gt_boxes"]) for row in predictions]) & points
    ious = np.array([pointing_iou(row) for row in predictions])
    counted = (formatted | ~formatted.any()) & points
    return {
        "format/box_rate": (boxed & counted, counted),
        "grounding/mean_iou": (ious, gold),
        "grounding/acc_at_50": ((ious >= 0.5) & gold, gold),
    }


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
