"""The one shape of an easy-VQA picture, found in its pixels.

The published pictures are 64x64: a flat light ground of any tint and one upright shape, 8 to 33 pixels wide,
drawn eight times larger and averaged, so that a pixel at its rim is a mixture of shape and ground.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

# The values with which the set was drawn.
COLORS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
# The share of a pixel that must be covered to be inside the box: as for the pictures of `synth shapes`.
VISIBLE = 0.25
_CONTRAST = 40  # the least difference of shape and ground in one channel, of 255
_NOISE_FACTOR = 4  # that difference in medians of the ground's own noise
_LEAST_SHARE = 0.003  # of the picture: 13 of 64x64 pixels
_LEAST_FILL = 0.2  # of its box: a slim rectangle on a slant fills no more
_UNMIXED = 0.9  # of the greatest contrast: pixels without a part of the ground
_COLOR_RADIUS = 60  # Euclidean distance in RGB within which a colour has its name
_SIDE = 160  # pixels: smaller shapes are enlarged so far before their outline is measured
_BLUR = 0.03  # of the longer side: takes the steps out of slanting edges
_LEAST_FRAMED = 0.85  # of its frame: the forms fill 0.9 and more, an ellipse at most 0.8


@dataclass(frozen=True)
class Shape:
    """What the pixels say.

    Attributes:
        box: [x0, y0, x1, y1] in pixels, x1 and y1 exclusive.
        image_size: (width, height) of the picture.
        form: circle, rectangle or triangle, on any slant; None where it is like none of them.
        color: one of `COLORS`; None where it is near none of them.
        ground: the background's colour, RGB.
    """

    box: list[int]
    image_size: tuple[int, int]
    form: str | None
    color: str | None
    ground: tuple[int, int, int]


def find_shape(image: Image.Image) -> Shape | None:
    """The shape of a picture in RGB; None where there is nothing, more than one thing, or only noise."""
    pixels = np.asarray(image, dtype=np.float32)
    ground = np.median(_border(pixels), axis=0)
    # Averaged over 3x3 pixels, since a palette's dithering and specks differ from the ground as a shape does.
    contrast = np.abs(cv2.blur(pixels, (3, 3), borderType=cv2.BORDER_REPLICATE) - ground).max(axis=2)
    far = contrast > max(_CONTRAST, _NOISE_FACTOR * float(np.median(_border(contrast))))
    labels, sizes = _parts(far)
    if (
        not sizes
        or sizes[0][0] < _LEAST_SHARE * far.size
        or (len(sizes) > 1 and 2 * sizes[1][0] > sizes[0][0])
    ):
        return None
    found = pixels[labels == sizes[0][1]]
    contrast = np.abs(found - ground).max(axis=1)
    own = np.median(found[contrast >= _UNMIXED * np.quantile(contrast, _UNMIXED)], axis=0)

    # A pixel's share of the shape: where it lies on the line from the ground's colour to the shape's.
    line = own - ground
    share = np.clip((pixels - ground) @ line / (line @ line), 0, 1)
    labels, sizes = _parts(share >= VISIBLE)
    rows, columns = ndimage.find_objects(labels)[sizes[0][1] - 1]
    box = [columns.start, rows.start, columns.stop, rows.stop]
    whole = image.size == (box[2] - box[0], box[3] - box[1])
    inside = share[rows, columns]
    if whole or inside.mean() < _LEAST_FILL:
        return None
    return Shape(box, image.size, _form(inside), _color(own), tuple(int(value) for value in ground))


def _border(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _parts(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The connected parts of a mask as labels, and their (size, label), the largest first."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return labels, sorted(((int(size), label) for label, size in enumerate(sizes, 1)), reverse=True)


def _color(rgb: Iterable[float]) -> str | None:
    distances = {name: float(np.linalg.norm(np.subtract(rgb, value))) for name, value in COLORS.items()}
    nearest = min(distances, key=distances.__getitem__)
    return nearest if distances[nearest] <= _COLOR_RADIUS else None


def _form(inside: np.ndarray) -> str | None:
    """The form whose tightest frame, on whatever slant, is filled the most."""
    scale = max(1, _SIDE // max(inside.shape))
    large = cv2.resize(np.pad(inside, 1), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(large, (0, 0), _BLUR * max(large.shape))
    outlines, _ = cv2.findContours((smooth >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea, default=None)
    if outline is None:
        return None
    _, sides, _ = cv2.minAreaRect(outline)
    _, radius = cv2.minEnclosingCircle(outline)
    frames = {
        "circle": np.pi * radius**2,
        "rectangle": sides[0] * sides[1],
        "triangle": cv2.minEnclosingTriangle(outline)[0],
    }
    best = min(frames, key=frames.__getitem__)
    return best if cv2.contourArea(outline) >= _LEAST_FRAMED * frames[best] else None
