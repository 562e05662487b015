"""What happens to a sheet of paper before and while it is scanned: skew, stains, folds, uneven light, noise.

Everything random comes from the `random.Random` given, and boxes go where their words go.
"""

import io
import math
import random
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Box = tuple[int, int, int, int]
Move = Callable[[Box], Box]
RGB = tuple[int, int, int]


def skew(
    rng: random.Random, image: Image.Image, degrees: float, around: RGB | None = None
) -> tuple[Image.Image, Move]:
    """Turn and shear a sheet a little, as one that lies badly on the glass.

    Args:
        degrees: the most it is turned either way; sheared by half as much.
        around: colour beside the sheet; default: that of its corner.

    Returns:
        the larger image, and a function that gives a box of the sheet as the axis-aligned box around it in
        that image, in whole pixels and inside of it.
    """
    turn, lean = (
        math.radians(rng.uniform(-degrees, degrees)),
        rng.uniform(-1, 1) * math.radians(degrees / 2),
    )
    # Forward, sheet to image: a rotation after a shear along x.
    a, c = math.cos(turn), math.sin(turn)
    b, d = -math.sin(turn) + lean * math.cos(turn), math.cos(turn) + lean * math.sin(turn)
    corners = [(a * x + b * y, c * x + d * y) for x in (0, image.width) for y in (0, image.height)]
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    width = math.ceil(max(x for x, _ in corners) - left)
    height = math.ceil(max(y for _, y in corners) - top)
    determinant = a * d - b * c
    inverse = (d / determinant, -b / determinant, -c / determinant, a / determinant)
    matrix = (
        *(inverse[0], inverse[1], inverse[0] * left + inverse[1] * top),
        *(inverse[2], inverse[3], inverse[2] * left + inverse[3] * top),
    )
    turned = image.transform(
        (width, height),
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BICUBIC,
        fillcolor=around if around is not None else image.getpixel((0, 0)),
    )

    def move(box: Box) -> Box:
        points = [(a * x + b * y - left, c * x + d * y - top) for x in box[::2] for y in box[1::2]]
        return (
            max(0, math.floor(min(x for x, _ in points))),
            max(0, math.floor(min(y for _, y in points))),
            min(width, math.ceil(max(x for x, _ in points))),
            min(height, math.ceil(max(y for _, y in points))),
        )

    return turned, move


def weather(rng: random.Random, image: Image.Image) -> Image.Image:
    """Stains, folds, uneven light, faint ink, blur and noise, each present now and then; still legible."""
    if rng.random() < 0.4:  # faint ink
        image = Image.blend(image, Image.new("RGB", image.size, (238, 236, 230)), rng.uniform(0.05, 0.3))
    if rng.random() < 0.5:
        image = ImageChops.multiply(image, _stains(rng, image.size))
    if rng.random() < 0.35:
        image = ImageChops.multiply(image, _folds(rng, image.size))
    if rng.random() < 0.6:
        image = ImageChops.multiply(image, _light(rng, image.size))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6)))
    return _noise(rng, image, rng.randint(6, 40))


def encode_jpeg(rng: random.Random, image: Image.Image) -> bytes:
    """The file a scanner would save: JPEG of varying quality."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=rng.randint(60, 90))
    return buffer.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """A screenshot's file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _stains(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Rings of cups and blots, as what remains of the light; never darker than two thirds."""
    layer = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(layer)
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        tint = (rng.randint(200, 235), rng.randint(185, 215), rng.randint(165, 190))
        if rng.random() < 0.5:
            radius, thick = rng.uniform(45, 110), rng.randint(3, 9)
            for shift in range(3):  # a cup leaves more than one line
                edge = radius - shift * thick * 0.8
                start = rng.uniform(0, 360)
                circle = [x - edge, y - edge, x + edge, y + edge]
                draw.arc(circle, start, start + rng.uniform(150, 360), fill=tint, width=thick)
        else:
            for _ in range(rng.randint(2, 7)):
                dx, dy, radius = rng.gauss(0, 18), rng.gauss(0, 14), rng.uniform(4, 26)
                draw.ellipse([x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius], fill=tint)
    return layer.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 3.0)))


def _folds(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Lines where the sheet was folded."""
    layer = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(layer)
    for _ in range(rng.randint(1, 2)):
        gray = rng.randint(190, 225)
        if rng.random() < 0.7:
            y, tilt = rng.uniform(0.25, 0.75) * size[1], rng.uniform(-6, 6)
            draw.line([0, y, size[0], y + tilt], fill=(gray, gray, gray), width=2)
        else:
            x, tilt = rng.uniform(0.3, 0.7) * size[0], rng.uniform(-6, 6)
            draw.line([x, 0, x + tilt, size[1]], fill=(gray, gray, gray), width=2)
    return layer.filter(ImageFilter.GaussianBlur(1.2))


def _light(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Light that falls differently on the four corners."""
    corners = Image.new("L", (2, 2))
    corners.putdata([rng.randint(190, 255) for _ in range(4)])
    return corners.resize(size, Image.Resampling.BILINEAR).convert("RGB")


def _noise(rng: random.Random, image: Image.Image, strength: int) -> Image.Image:
    """Grain: every pixel shifted by up to half of `strength` (of 255), evenly distributed."""
    grain = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height))
    grain = grain.point([value * strength // 255 for value in range(256)])
    return ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), 1, -(strength // 2))


def photograph(rng: random.Random, image: Image.Image) -> Image.Image:
    """What a camera makes of a screen: uneven light, a little blur, grain."""
    image = ImageChops.multiply(image, _light(rng, image.size))
    return _noise(rng, image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6))), rng.randint(6, 24))
