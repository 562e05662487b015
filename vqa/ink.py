"""How much ink an image holds, and when it counts as blank.

Ink is what stands out from the paper around it, dark on light or light on dark, in any colour. Two signs are
looked for on a copy of at most 512 pixels a side:

- strokes: a colour channel lies above its morphological opening, or below its closing, by a square wider
  than a pen stroke (top-hat transforms: Serra, Image Analysis and Mathematical Morphology, 1982, ch. XII).
  Shadows, folds and the edge between paper and scanner bed are wider than the square, and leave no trace;
- areas: what is no shadow of the paper, because its hue differs or it is darker by more than a shadow is.

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
    for channel in np.moveaxis(pixels, 2, 0).astype(np.int16):
        channel = _without_specks(channel)
        padded = np.pad(channel, side, mode="edge")  # else the closing would see beyond the edge
        dark = _stands_out((ndimage.grey_closing(padded, size=side) - padded)[inside])
        light = _stands_out((padded - ndimage.grey_opening(padded, size=side))[inside])
        # Gaps between dark strokes stand out as light, but are no lighter than paper; and the reverse.
        level = np.median(channel)
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
    typical = float(np.median(height))
    deviation = 1.4826 * float(np.median(np.abs(height - typical)))
    return height > typical + max(CONTRAST, GRAIN * deviation)


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
    offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    around = np.stack([padded[row : row + height, column : column + width] for row, column in offsets])
    around.partition((1, 6), axis=0)
    return np.clip(channel, around[1], around[6])


def _areas(pixels: np.ndarray) -> np.ndarray:
    """Pixels of larger areas in another hue than the paper, or too dark or bright to be paper in shadow."""
    smooth = ndimage.uniform_filter(pixels.astype(np.float32), (5, 5, 1), mode="nearest")
    paper = np.maximum(np.median(smooth.reshape(-1, 3), axis=0), 16.0)
    light = (smooth @ paper) / (paper @ paper)  # the share of the paper's light that explains a pixel best
    hue = np.abs(smooth - light[:, :, None] * paper).max(axis=2) > AREA_CONTRAST
    away = np.abs(smooth - paper).max(axis=2) > AREA_CONTRAST
    extreme = away & ((light < DARKEST_SHADOW) | (light > 1 / DARKEST_SHADOW))
    # The scanner's bed and its lid are grey and lie along a whole side of the image.
    labels, _ = ndimage.label(extreme & ~hue, structure=_EIGHT)
    sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    bed = {label for side in sides for label in np.unique(side) if label and np.mean(side == label) > 0.9}
    areas = hue | (extreme & ~np.isin(labels, list(bed)))
    return ndimage.binary_opening(areas, np.ones(_SMALLEST_AREA, bool))
