"""Images with a part removed: the evidence, or for comparison a random region of the same size.

An answer that rests on its evidence changes when the evidence is gone and stays when something else is. Pure
functions on images; who skips what, and what is written, is in `vqa/preparation/counterfactuals.py`.
"""

import math
import random
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

METHODS = ("telea", "blur", "mean")
# From here on an image counts as covered: hardly anything is left to fill a region from.
COVERED_SHARE = 0.9
# Telea's method continues what lies along the rim of the mask into it. Boxes are often tight: their last row
# may be counted as outside, edges are antialiased, JPEG rings. Such a rim would paint the region in the
# colour of what was to be removed, so the mask is wider by this many pixels on each side.
DILATION = 2
# Free pixels between a random region and the evidence: masks stay apart when both are dilated.
GAP = 2 * DILATION + 1
_RADIUS = 3  # of the neighbourhood Telea's method averages
_MARGIN = 8  # pixels around the mask that can influence the result; more changes nothing
_MAX_BLUR = 2001  # pixels; OpenCV's sums of a wider filter overflow
_ATTEMPTS = 8  # draws, where several regions could stand in each other's way

Box = Sequence[float]
PixelBox = tuple[int, int, int, int]


def pixel_boxes(boxes: Sequence[Box], image_size: Sequence[int]) -> list[PixelBox]:
    """Boxes as whole pixels, x1 and y1 exclusive: every pixel a box touches, inside the image, at least one.

    Args:
        boxes: [x0, y0, x1, y1] each, pixels, fractions allowed.
        image_size: (width, height).
    """
    whole = []
    for box in boxes:
        low = [min(max(math.floor(box[axis]), 0), image_size[axis] - 1) for axis in (0, 1)]
        high = [min(max(math.ceil(box[axis + 2]), low[axis] + 1), image_size[axis]) for axis in (0, 1)]
        whole.append((*low, *high))
    return whole


def covers(image_size: Sequence[int], boxes: Sequence[Box], share: float = COVERED_SHARE) -> bool:
    """Whether the boxes together cover at least `share` of the image; removing them then says nothing.

    Args:
        image_size: (width, height) in pixels.
        boxes: [x0, y0, x1, y1] each, pixels; what overlaps counts once.
        share: of the image's area, 0 to 1.
    """
    return bool(boxes) and bool(_mask(image_size, pixel_boxes(boxes, image_size)).mean() >= share)


def remove_regions(image: Image.Image, boxes: Sequence[Box], method: str = "telea") -> Image.Image:
    """The image, as RGB, with the regions filled; all other pixels as they were.

    telea: inpainted by Telea (2004), "An image inpainting technique based on the fast marching method", with
        the mask wider by `DILATION`. Structure and colour of the region are gone.
    blur: each box blurred from the original by three box filters as wide as its shorter side. Text and detail
        are gone, the dominant colour stays.
    mean: the mean colour of everything outside the regions.

    Args:
        image: any mode that converts to RGB.
        boxes: [x0, y0, x1, y1] each, pixels of this image; none leaves it as it is.
        method: one of `METHODS`.

    Raises:
        ValueError: an unknown method, or nothing lies outside of the regions (ask `covers` before).
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, not {method!r}")
    pixels = np.array(image.convert("RGB"))
    regions = pixel_boxes(boxes, image.size)
    if not regions:
        return Image.fromarray(pixels)
    mask = _mask(image.size, regions)
    if mask.all():
        raise ValueError("the regions cover the whole image")
    if method == "telea":
        _inpaint(pixels, regions, mask)
    elif method == "blur":
        _blur(pixels, regions)
    else:
        pixels[mask] = np.round(cv2.mean(pixels, (~mask).astype(np.uint8))[:3])
    return Image.fromarray(pixels)


def random_regions(
    image_size: Sequence[int], boxes: Sequence[Box], rng: random.Random
) -> list[PixelBox] | None:
    """For each box a region of its size elsewhere in the image, `GAP` pixels or more away from every box.

    The boxes move together, so that shape and covered area stay those of the evidence; if no place holds
    them all, each group of boxes that are nearer than `GAP` to each other moves on its own, and groups do not
    touch each other. Every free place is equally likely.

    Args:
        image_size: (width, height) in pixels.
        boxes: the evidence, [x0, y0, x1, y1] each, pixels.
        rng: the same state gives the same regions.

    Returns:
        regions in the order of `boxes`, whole pixels, or None where no such place was found.
    """
    evidence = pixel_boxes(boxes, image_size)
    if not evidence:
        return None
    together = [list(range(len(evidence)))]
    apart = _groups(evidence)
    plans = [together] if len(apart) == 1 else [together] + [apart] * _ATTEMPTS
    for plan in plans:
        regions = _place(image_size, evidence, plan, rng)
        if regions is not None:
            return regions
    return None


def _place(
    image_size: Sequence[int], evidence: list[PixelBox], plan: list[list[int]], rng: random.Random
) -> list[PixelBox] | None:
    """Every group of the plan moved to a free place of its own, the largest first."""
    outlines = {number: _outline([evidence[index] for index in group]) for number, group in enumerate(plan)}
    taken = list(evidence)
    regions: list[PixelBox] = list(evidence)
    for number in sorted(outlines, key=lambda number: -_area(outlines[number])):
        x0, y0, x1, y1 = outlines[number]
        corner = _free_corner(image_size, (x1 - x0, y1 - y0), taken, rng)
        if corner is None:
            return None
        dx, dy = corner[0] - x0, corner[1] - y0
        for index in plan[number]:
            left, top, right, bottom = evidence[index]
            regions[index] = (left + dx, top + dy, right + dx, bottom + dy)
            taken.append(regions[index])
    return regions


def _free_corner(
    image_size: Sequence[int], size: tuple[int, int], taken: list[PixelBox], rng: random.Random
) -> tuple[int, int] | None:
    """A top left corner for a region of `size`, drawn evenly from all that keep `GAP` from what is taken.

    What is taken rules out a rectangle of corners each; their edges cut the plane into cells that are
    wholly free or wholly ruled out.
    """
    ends = [image_size[axis] - size[axis] + 1 for axis in (0, 1)]  # corners are 0 <= x < ends[0]
    ruled_out = np.array(
        [[box[axis] - size[axis] - GAP + 1, box[axis + 2] + GAP] for box in taken for axis in (0, 1)]
    ).reshape(-1, 2, 2)  # (boxes, axes, [first, end])
    cuts = [np.unique(np.clip([0, ends[axis], *ruled_out[:, axis].flat], 0, ends[axis])) for axis in (0, 1)]
    free = np.ones((len(cuts[0]) - 1, len(cuts[1]) - 1), dtype=bool)
    for rectangle in ruled_out:
        clipped = [np.clip(rectangle[axis], 0, ends[axis]) for axis in (0, 1)]
        (left, right), (top, bottom) = (np.searchsorted(cuts[axis], clipped[axis]) for axis in (0, 1))
        free[left:right, top:bottom] = False
    corners = np.outer(np.diff(cuts[0]), np.diff(cuts[1])) * free
    total = int(corners.sum())
    if total == 0:
        return None
    cell = int(np.searchsorted(corners.ravel().cumsum(), rng.randrange(total), side="right"))
    column, row = divmod(cell, free.shape[1])
    x = rng.randrange(int(cuts[0][column]), int(cuts[0][column + 1]))
    return x, rng.randrange(int(cuts[1][row]), int(cuts[1][row + 1]))


def _groups(boxes: list[PixelBox]) -> list[list[int]]:
    """Indices of boxes, those together that a chain of gaps below `GAP` connects."""
    left, groups = list(range(len(boxes))), []
    while left:
        group = [left.pop(0)]
        for member in group:  # grows while it is read
            x0, y0, x1, y1 = boxes[member]
            near = [
                index
                for index in left
                if boxes[index][0] < x1 + GAP
                and x0 < boxes[index][2] + GAP
                and boxes[index][1] < y1 + GAP
                and y0 < boxes[index][3] + GAP
            ]
            group += near
            left = [index for index in left if index not in near]
        groups.append(sorted(group))
    return groups


def _outline(boxes: list[PixelBox]) -> PixelBox:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _area(box: PixelBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _mask(image_size: Sequence[int], boxes: Sequence[PixelBox], wider: int = 0) -> np.ndarray:
    """Bool, (height, width): True inside of a box that is `wider` on each side."""
    mask = np.zeros((image_size[1], image_size[0]), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(y0 - wider, 0) : y1 + wider, max(x0 - wider, 0) : x1 + wider] = True
    return mask


def _inpaint(pixels: np.ndarray, regions: list[PixelBox], mask: np.ndarray) -> None:
    height, width = mask.shape
    wider = _mask((width, height), regions, DILATION)
    if not wider.all():  # a tiny image: better a rim that shows something than nothing to fill from
        mask = wider
    x0, y0, x1, y1 = _outline(regions)
    reach = DILATION + _MARGIN
    window = np.s_[max(y0 - reach, 0) : y1 + reach, max(x0 - reach, 0) : x1 + reach]
    # OpenCV leaves the outermost pixels of a mask at the image's edge as they are (its issue 25389): it gets
    # an edge more, masked, that is cut off again.
    framed = cv2.copyMakeBorder(pixels[window], 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    holes = cv2.copyMakeBorder(mask[window].astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    filled = cv2.inpaint(framed, holes, _RADIUS, cv2.INPAINT_TELEA)[1:-1, 1:-1]
    pixels[window][mask[window]] = filled[mask[window]]


def _blur(pixels: np.ndarray, regions: list[PixelBox]) -> None:
    original = pixels.copy()
    for x0, y0, x1, y1 in regions:
        side = min(min(x1 - x0, y1 - y0) // 2 * 2 + 3, _MAX_BLUR)  # odd, and at least 3
        reach = 3 * (side // 2)
        left, top = max(x0 - reach, 0), max(y0 - reach, 0)
        part = original[top : y1 + reach, left : x1 + reach]
        for _ in range(3):
            part = cv2.blur(part, (side, side))
        pixels[y0:y1, x0:x1] = part[y0 - top : y1 - top, x0 - left : x1 - left]
