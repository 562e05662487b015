"""Boxes on the images of a record, in the model's text: pages stand one below another.

The second page begins where the first one ends: in `norm1000` its y coordinates run from 1000 to 2000, in
`pixels` from the height of the first page as the model sees it. With one image nothing changes.
"""

from collections.abc import Sequence
from itertools import accumulate

from vqa.images import boxes_to_pixels, boxes_to_text_coordinates, text_frame

Size = Sequence[int]


def page_tops(box_format: str, images: int, resized_sizes: Sequence[Size] | None = None) -> list[int]:
    """Where each page begins in the text's y coordinates, and after them where the last one ends."""
    sizes = resized_sizes or [None] * images
    return [0, *accumulate(text_frame(box_format, size)[1] for size in sizes)]


def boxes_to_text(
    boxes: Sequence[Sequence[float]],
    box_images: Sequence[int],
    image_sizes: Sequence[Size],
    box_format: str,
    resized_sizes: Sequence[Size] | None = None,
) -> list[list[int]]:
    """Boxes in pixels of their images as the integers a model writes.

    Args:
        boxes: [x0, y0, x1, y1] each.
        box_images: the index of each box's image; empty: all on the first.
        image_sizes: (width, height) of each image.
        box_format: `norm1000` or `pixels`.
        resized_sizes: (width, height) of each image as the model sees it; needed for `pixels`.
    """
    tops = page_tops(box_format, len(image_sizes), resized_sizes)
    written = []
    for box, page in zip(boxes, box_images or [0] * len(boxes), strict=True):
        resized = resized_sizes[page] if resized_sizes else None
        (x0, y0, x1, y1) = boxes_to_text_coordinates([box], image_sizes[page], box_format, resized)[0]
        written.append([x0, y0 + tops[page], x1, y1 + tops[page]])
    return written


def boxes_from_text(
    boxes: Sequence[Sequence[int]],
    image_sizes: Sequence[Size],
    box_format: str,
    resized_sizes: Sequence[Size] | None = None,
) -> tuple[list[list[float]], list[int]]:
    """The inverse: boxes in pixels, and the index of each one's image.

    A box belongs to the page that its upper edge is on, and may reach beyond it.
    """
    tops = page_tops(box_format, len(image_sizes), resized_sizes)
    found, owners = [], []
    for x0, y0, x1, y1 in boxes:
        page = max((n for n, top in enumerate(tops[:-1]) if top <= y0), default=0)
        resized = resized_sizes[page] if resized_sizes else None
        moved = [x0, y0 - tops[page], x1, y1 - tops[page]]
        found += boxes_to_pixels([moved], image_sizes[page], box_format, resized)
        owners.append(page)
    return found, owners
