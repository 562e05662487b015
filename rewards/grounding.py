"""`grounding`: the boxes lie where the evidence is."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from rewards.completions import Column, Completion, filled, frames, read_answers
from vqa.errors import UserError
from vqa.images import boxes_to_pixels
from vqa.metrics.grounding import Box, box_iou


def grounding_reward(
    completions: Sequence[Completion],
    *,
    boxes: Column = None,
    image_size: Column = None,
    resized_size: Column = None,
    box_format: Column = None,
    **_,
) -> list[float | None]:
    """IoU of the completion's boxes with the accepted ones, matched one to one; 0 without a box.

    >>> said = '{{"caption": "", "reasoning": [], "boxes": {}, "answer": "yes"}}'.format
    >>> texts = [said("[[0, 0, 500, 500]]"), said("[[0, 0, 500, 250]]"), said("[]"), said("[]")]
    >>> gold = [[[0, 0, 32, 24]], [[0, 0, 32, 24]], [[0, 0, 32, 24]], []]
    >>> grounding_reward(texts, boxes=gold, image_size=[[64, 48]] * 4)
    [1.0, 0.5, 0.0, None]

    Args:
        boxes: the evidence, [x0, y0, x1, y1] each, in pixels of the original image.
        image_size: [width, height] of the original image in pixels.
        resized_size, box_format: what the completion's boxes are measured in (`rewards.completions.frames`).

    Returns:
        None without accepted boxes.

    Raises:
        UserError: accepted boxes, and no size of the image they lie in.
    """
    count = len(completions)
    rows = zip(
        read_answers(completions),
        filled(boxes, count, default=[]),
        filled(image_size, count),
        filled(box_format, count, default="norm1000"),
        frames(count, image_size, box_format, resized_size),
        strict=True,
    )
    rewards: list[float | None] = []
    for answer, gold, size, kind, frame in rows:
        if answer is None:
            rewards.append(0.0)
        elif not gold:
            rewards.append(None)
        elif size is None:
            raise UserError(
                "reward grounding: needs the column image_size, [width, height], where boxes are given"
            )
        else:
            rewards.append(matched_iou(boxes_to_pixels(answer.boxes, size, kind, frame), gold))
    return rewards


def matched_iou(boxes: Sequence[Box], gold: Sequence[Box]) -> float:
    """Sum of the IoUs of the best one-to-one matching / number of boxes on the side that has more.

    With one box on each side it is the IoU. The metric takes the best pair; as a reward that would be won by
    strewing boxes over the image.

    >>> one, other = [0, 0, 10, 10], [20, 0, 30, 10]
    >>> matched_iou([one], [one]), matched_iou([one, other], [one]), matched_iou([one, one], [one, other])
    (1.0, 0.5, 0.5)
    """
    if not boxes or not gold:
        return 0.0
    ious = np.array([[box_iou(box, accepted) for accepted in gold] for box in boxes])
    matched = ious[linear_sum_assignment(ious, maximize=True)]
    return float(matched.sum()) / max(ious.shape)
