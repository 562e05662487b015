"""How much ink an image holds, and when it counts as blank.

Ink is what stands out from the paper around it, dark on light or light on dark, in any colour. Two signs are
looked for on a copy of at most 512 pixels a side:

- strokes: a colour channel lies above its morphological opening, or below its closing, by a square wider
  than a pen stroke (top-hat transforms: Serra, Image Analysis and Mathematical Morphology, 1982, ch. XII).
  Shadows, folds and the edge between paper and scanner bed are wider than the square, and leave no trace;
- areas: what is no shadow of the paper, because its hue differs, it is darker by more than a shadow is, or it
  ends sharply on all sides.

Not counted: grain (measured in the image itself), lone specks, straight lines that cross the whole image
(ruled paper, borders of a table cell), black or white areas along a whole side (a scanner's bed) and the
outermost 2% of each side.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from vqa.images import DEFAULT_MAX_PIXELS, open_image

# Share of ink below which an image is blank. A crop of a word has 3 to 20%, a page with a lone number 0.015%.
DEFAULT_BLANK_INK = 0.0001
MAX_SIDE = 512
# Of 255 levels: a faint pencil differs from its paper by about 40, paper texture and JPEG noise by less.
CONTRAST = 24
# Of the typical deviation of the grain: what exceeds it is no grain.
GRAIN = 8.0
AREA_CONTRAST = 40
# A shadow keeps at least this share of the paper's light.
DARKEST_SHADOW = 0.35
MARGIN = 0.02
# Of the reduced image's pixels: what is smaller is dust.
SMALLEST_DOT = 5
_STROKE_SIDES = (9, 31)
_SMALLEST_AREA = (7, 7)
# A sharp edge is followed by paper within half of so many pixels.
_EDGE = 11
_EIGHT = np.ones((3, 3), bool)


def ink_share(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> float:
    """Share of an image file's area that is ink, from 0 to 1.

    Raises:
        ImageProblem: as `vqa.images.open_image`.
    """
    return ink_share_of(open_image(path, max_pixels))


def ink_share_of(image: Image.Image) -> float:
    """Share of an RGB image's area that is ink, from 0 to 1."""
    pixels = _small(image.convert("RGB"))
    ink = _strokes(pixels) | _areas(pixels)
    rows, columns = (max(1, round(side * MARGIN)) if side >= 8 else 0 for side in ink.shape)
    inner = ink[rows : ink.shape[0] - rows, columns : ink.shape[1] - columns]
    return float(inner.mean())


def _small(image: Image.Image) -> np.ndarray:
    """At most `MAX_SIDE` pixels a side, each the mean of a block less its extremes, which are often dust.

    Returns height x width x 3.
    """
    if max(image.size) > 4 * MAX_SIDE:
        image = image.reduce(-(-max(image.size) // (4 * MAX_SIDE)))
    pixels, factor = np.asarray(image), -(-max(image.size) // MAX_SIDE)
    if factor == 1:
        return pixels
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    blocks = [
        pixels[row::factor, column::factor][:height, :width]
        for row in range(min(factor, pixels.shape[0]))
        for column in range(min(factor, pixels.shape[1]))
    ]
    total, low, high = blocks[0].astype(np.uint16), blocks[0], blocks[0]
    for block in blocks[1:]:
        total, low, high = total + block, np.minimum(low, block), np.maximum(high, block)
    return ((total - low - high) // (len(blocks) - 2)).astype(np.uint8) if len(blocks) > 2 else low


def _strokes(pixels: np.ndarray) -> np.ndarray:
    """Pixels of lines, letters and dots, thinner than the square."""
    height, width, _ = pixels.shape
    side = min(max(min(height, width) // 3, _STROKE_SIDES[0]), _STROKE_SIDES[1])
    inside = (slice(side, -side), slice(side, -side))
    ink = np.zeros((height, width), bool)
    for channel in np.ascontiguousarray(np.moveaxis(pixels, 2, 0)):
        channel = _without_specks(channel).astype(np.int16)
        padded = np.pad(channel, side, mode="edge")  # else the closing would see beyond the edge
        dark = _stands_out((ndimage.grey_closing(padded, size=side) - padded)[inside])
        light = _stands_out((padded - ndimage.grey_opening(padded, size=side))[inside])
        # Gaps between dark strokes stand out as light, but are no lighter than paper; and the reverse.
        level = _median(np.arange(256), np.bincount(channel.ravel(), minlength=256))
        if level >= 128:
            light &= channel > level + CONTRAST
        else:
            dark &= channel < level - CONTRAST
        ink |= dark | light
    ink = _without_crossing_lines(ink)
    labels, _ = ndimage.label(ink, structure=_EIGHT)
    return ink & (np.bincount(labels.ravel()) >= SMALLEST_DOT)[labels]


def _stands_out(height: np.ndarray) -> np.ndarray:
    """Where a top-hat exceeds both the contrast of ink and the grain of this image."""
    levels, counts = np.arange(256), np.bincount(height.ravel(), minlength=256)
    typical = _median(levels, counts)
    deviation = 1.4826 * _median(np.abs(levels - typical), counts)
    return height > typical + max(CONTRAST, GRAIN * deviation)


def _median(values: np.ndarray, counts: np.ndarray) -> float:
    """The median of `values`, each as often as `counts` says: faster than to sort the pixels."""
    order = np.argsort(values)
    until = np.cumsum(counts[order])
    middle = np.searchsorted(until, [(until[-1] - 1) // 2, until[-1] // 2], side="right")
    return float(values[order][middle].mean())


def _without_crossing_lines(mask: np.ndarray) -> np.ndarray:
    """Less the straight lines, up to one pixel aslant, that cross at least 95% of the width or height."""
    kept = mask.copy()
    for axis in (0, 1):
        thick = ndimage.maximum_filter1d(mask, 3, axis=1 - axis)
        crossing = thick.mean(axis=axis, keepdims=True) >= 0.95
        kept &= ~crossing
    return kept


def _without_specks(channel: np.ndarray) -> np.ndarray:
    """Less salt, pepper and dust: no pixel beyond the second lowest and highest of its eight neighbours.

    A line of one pixel's width stays, since each of its pixels has two neighbours like itself.
    """
    height, width = channel.shape
    padded = np.pad(channel, 1, mode="edge")
    lowest, low = np.full((2, height, width), 255, channel.dtype)
    highest, high = np.zeros((2, height, width), channel.dtype)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        neighbour = padded[row : row + height, column : column + width]
        low = np.minimum(low, np.maximum(lowest, neighbour))
        lowest = np.minimum(lowest, neighbour)
        high = np.maximum(high, np.minimum(highest, neighbour))
        highest = np.maximum(highest, neighbour)
    return np.clip(channel, low, high)


def _areas(pixels: np.ndarray) -> np.ndarray:
    """Pixels of larger areas in another hue than the paper, or too dark or bright to be paper in shadow."""
    channels = np.moveaxis(pixels, 2, 0).astype(np.float32)
    smooth = np.stack([ndimage.uniform_filter(channel, 5, mode="nearest") for channel in channels])
    paper = np.array([max(np.median(channel), 16.0) for channel in smooth], np.float32)[:, None, None]
    # The share of the paper's light that explains a pixel best.
    light = (smooth * paper).sum(axis=0) / (paper * paper).sum()
    hue = np.abs(smooth - light * paper).max(axis=0) > AREA_CONTRAST
    difference = np.abs(smooth - paper).max(axis=0)
    away = difference > AREA_CONTRAST
    extreme = away & ((light < DARKEST_SHADOW) | (light > 1 / DARKEST_SHADOW))
    # The scanner's bed and its lid are grey and lie along a whole side of the image.
    labels, _ = ndimage.label(extreme & ~hue, structure=_EIGHT)
    sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    bed = {label for side in sides for label in np.unique(side) if label and np.mean(side == label) > 0.9}
    areas = _opened(hue | (extreme & ~np.isin(labels, list(bed))))
    return areas | _drawn(_opened(away), areas, difference)


def _opened(mask: np.ndarray) -> np.ndarray:
    """The mask less what is smaller than `_SMALLEST_AREA`."""
    return ndimage.grey_opening(mask.view(np.uint8), _SMALLEST_AREA, mode="constant").view(bool)


def _drawn(mask: np.ndarray, known: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Of areas unlike the paper and not `known` as ink, those that end sharply and reach no two sides.

    A shadow fades, or falls in from outside and lies over a corner; a shape that was drawn does neither.
    """
    labels, count = ndimage.label(mask, structure=_EIGHT)
    if not count:
        return mask
    # What is paper a few pixels beyond the edge.
    ends = ndimage.minimum_filter(difference, _EDGE, mode="nearest") < AREA_CONTRAST / 2
    edge = mask & (ndimage.minimum_filter(mask.view(np.uint8), 3, mode="nearest") == 0)
    numbers = np.arange(1, count + 1)
    sharp = ndimage.mean(ends[edge], labels[edge], numbers) > 0.8
    height, width = mask.shape
    sides = np.array([
        (rows.start == 0) + (columns.start == 0) + (rows.stop == height) + (columns.stop == width)
        for rows, columns in ndimage.find_objects(labels)
    ])  # fmt: skip
    new = ~np.isin(numbers, labels[known])
    return np.isin(labels, numbers[sharp & new & (sides < 2)])
