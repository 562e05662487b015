"""`format`: the completion is the structured object, strictly, with its boxes inside the image."""

from collections.abc import Sequence

from rewards.completions import Column, Completion, frames, text_of
from vqa.answers import STRUCTURED_KEYS, is_field, read_fields


def format_reward(
    completions: Sequence[Completion],
    *,
    image_size: Column = None,
    resized_size: Column = None,
    box_format: Column = None,
    partial_credit: bool = False,
    **_,
) -> list[float]:
    """1 for exactly the object that the prompt asks for, else 0.

    Exactly: one JSON object and nothing around it; the keys caption, reasoning, boxes, answer, in this order,
    each once; text, a list of texts, boxes, text; at most 32 boxes of four integers, x0 < x1 and y0 < y1,
    inside the image. It is what `valid_format` of a prediction asks for, and that boxes lie inside.

    >>> good = '{"caption": "a lung", "reasoning": [], "boxes": [[0, 0, 500, 1000]], "answer": "yes"}'
    >>> outside = good.replace("1000", "1001")
    >>> format_reward([good, outside, good + " Done."])
    [1.0, 0.0, 0.0]
    >>> format_reward([good, outside, good + " Done."], partial_credit=True)
    [1.0, 0.75, 0.0]

    Args:
        image_size, resized_size, box_format: where boxes may lie (`rewards.completions.frames`).
        partial_credit: an object that deviates earns fields that are right and in their place / fields, of
            which there are at least four. Text that is no object, or has something around it, earns 0.

    Raises:
        UserError: boxes in pixels, and no column of sizes.
    """
    rewards = []
    places = frames(len(completions), image_size, box_format, resized_size)
    for completion, frame in zip(completions, places, strict=True):
        share = _share_right(text_of(completion), frame)
        rewards.append(share if partial_credit else float(share == 1))
    return rewards


def _share_right(text: str, frame: tuple[int, int] | None) -> float:
    fields = read_fields(text) or []
    # Keys that are missing or too many stand against None, which no field is.
    right = sum(
        key == expected and is_field(key, value) and (key != "boxes" or are_inside(value, frame))
        for (key, value), expected in zip(fields, STRUCTURED_KEYS, strict=False)
    )
    return right / max(len(fields), len(STRUCTURED_KEYS))


def are_inside(boxes: list[list[int]], frame: tuple[int, int] | None) -> bool:
    """Whether all boxes end inside `frame`, (width, height) in their own unit; None: there is no image.

    >>> are_inside([[0, 0, 10, 10]], (10, 9)), are_inside([], None)
    (False, True)
    """
    return all(frame is not None and x1 <= frame[0] and y1 <= frame[1] for _, _, x1, y1 in boxes)
