"""`counterfactual`: the right answer rests on the region that the completion points at."""

import math
from collections.abc import Sequence
from typing import Any

from rewards.answer import answer_reward
from rewards.completions import Column, Completion, filled, frames, read_answers
from vqa.counterfactuals import covers

# From here on no region of the same shape lies apart: there is nothing to compare with.
MOST_COVERED = 0.5


def counterfactual_reward(
    completions: Sequence[Completion],
    *,
    delta_cf_roi: Column = None,
    delta_cf_rand: Column = None,
    image_size: Column = None,
    resized_size: Column = None,
    box_format: Column = None,
    **columns: Any,
) -> list[float | None]:
    """How much more a right answer suffers without its evidence than without a random region, from 0 to 1.

    delta_cf_roi = p(a | x) - p(a | x without the boxes), delta_cf_rand = p(a | x) - p(a | x without a random
    region of the same area and shape). A right answer earns delta_cf_roi - delta_cf_rand, clipped to [0, 1];
    a wrong one earns 0, and so does one whose boxes cover half of the image or more. Recorded differences, of
    confidence or of being right (0 or 1), serve as well as those of the policy that is trained.

    >>> said = '{{"caption": "", "reasoning": [], "boxes": [{}], "answer": "{}"}}'.format
    >>> here, everywhere = "[100, 100, 300, 300]", "[0, 0, 1000, 1000]"
    >>> texts = [said(here, "yes"), said(here, "no"), said(everywhere, "yes"), said(here, "yes")]
    >>> columns = {"answers": [["yes"]] * 4, "question_type": ["yes_no"] * 4}
    >>> roi, random = [0.75, 0.75, 0.75, None], [0.25] * 4
    >>> counterfactual_reward(texts, delta_cf_roi=roi, delta_cf_rand=random, **columns)
    [0.5, 0.0, 0.0, None]

    Args:
        image_size, resized_size, box_format: what boxes are measured in (`rewards.completions.frames`).
        columns: those of `answer_reward`, which says what is right.

    Returns:
        None where the differences were not measured, or nobody knows what is right.
    """
    count = len(completions)
    rows = zip(
        read_answers(completions),
        answer_reward(completions, **columns),
        filled(delta_cf_roi, count),
        filled(delta_cf_rand, count),
        frames(count, image_size, box_format, resized_size),
        strict=True,
    )
    rewards: list[float | None] = []
    for answer, right, roi, rand, frame in rows:
        if answer is None:
            rewards.append(0.0)
        elif right is None or not _is_measured(roi):
            rewards.append(None)
        elif not right or _covers_too_much(answer.boxes, frame):
            rewards.append(0.0)
        elif not _is_measured(rand):
            rewards.append(None)
        else:
            rewards.append(min(max(float(roi - rand), 0.0), 1.0))
    return rewards


def _is_measured(delta: float | None) -> bool:
    return delta is not None and math.isfinite(delta)


def _covers_too_much(boxes: list[list[int]], frame: tuple[int, int] | None) -> bool:
    return bool(boxes) and (frame is None or covers(frame, boxes, MOST_COVERED))
