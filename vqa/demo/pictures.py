"""Pictures for the eye: at a size that can be looked at, with boxes drawn on them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

EVIDENCE, REMOVED = (225, 29, 72), (71, 85, 105)
SIDE = 640  # pixels of the longer side as shown
_LINE, _DASH = 4, 12  # pixels of the shown picture

Box = Sequence[float]


def draw_boxes(
    image: Image.Image, evidence: Sequence[Box] = (), removed: Sequence[Box] = (), side: int = SIDE
) -> Image.Image:
    """The picture with its evidence outlined and what was removed from it outlined in dashes.

    Args:
        image: RGB.
        evidence, removed: [x0, y0, x1, y1] each, pixels of `image`.
        side: the longer side of the result in pixels; small pictures are enlarged.
    """
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    shown = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(shown)
    for box in removed:
        _dashed(pen, _outline(box, scale, size))
    for box in evidence:
        pen.rectangle(_outline(box, scale, size), outline=EVIDENCE, width=_LINE)
    return shown


def _outline(box: Box, scale: float, size: Sequence[int]) -> tuple[int, int, int, int]:
    """Around a box, not over it, as far as the picture has room."""
    x0, y0 = (max(0, round(value * scale) - _LINE) for value in box[:2])
    x1, y1 = (
        min(length - 1, round(value * scale) + _LINE - 1) for value, length in zip(box[2:], size, strict=True)
    )
    return x0, y0, max(x0, x1), max(y0, y1)


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = box
    inner = _LINE - 1
    for x in range(x0, x1, 2 * _DASH):
        for y in (y0, y1 - inner):
            pen.rectangle((x, y, min(x + _DASH, x1), max(y, y + inner)), fill=REMOVED)
    for y in range(y0, y1, 2 * _DASH):
        for x in (x0, x1 - inner):
            pen.rectangle((x, y, max(x, x + inner), min(y + _DASH, y1)), fill=REMOVED)
