"""How backgrounds, shapes and texts are drawn: colours, grey masks, supersampled or with hard edges.

Everything random comes from the `random.Random` given.
"""

import math
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]

# The first anchor of a colour is the one that carries its name in PIL and CSS; the others are its relatives.
COLORS: dict[str, list[RGB]] = {
    "black": [(0, 0, 0), (22, 22, 24)],
    "gray": [(128, 128, 128), (112, 112, 112), (145, 145, 148)],
    "red": [(255, 0, 0), (228, 24, 34), (240, 50, 45)],
    "green": [(0, 255, 0), (0, 128, 0), (40, 180, 60), (60, 210, 40)],
    "blue": [(0, 0, 255), (30, 70, 215), (50, 100, 235)],
    "teal": [(0, 128, 128), (20, 145, 140), (10, 110, 115)],
    "brown": [(165, 42, 42), (139, 69, 19), (115, 60, 30)],
    "yellow": [(255, 255, 0), (242, 222, 30), (255, 240, 60)],
    "orange": [(255, 165, 0), (255, 135, 20)],
    "purple": [(128, 0, 128), (115, 45, 185)],
    "pink": [(255, 150, 200), (255, 105, 180)],
    "white": [(255, 255, 255), (248, 248, 248)],
}
_SUPERSAMPLING = 4


def _light(rng: random.Random) -> RGB:
    low = rng.choice([215, 230, 230, 230])
    return rng.randint(low, 255), rng.randint(low, 255), rng.randint(low, 255)


def draw_background(rng: random.Random, width: int, height: int, light: bool) -> tuple[Image.Image, str]:
    """A picture without anything on it, and what to call it: "light", "white", "dark" or a colour's name."""
    size = (width, height)
    style = "light" if light else rng.choice(["white", "dark", "noise", "noise", "gradient", "grid", "color"])
    if style == "white":
        return Image.new("RGB", size, (255, 255, 255)), "white"
    if style == "dark":
        return Image.new("RGB", size, tuple(rng.randint(0, 35) for _ in range(3))), "dark"
    if style == "color":
        color = rng.choice(
            ["gray", "red", "green", "blue", "teal", "brown", "yellow", "orange", "purple", "pink"]
        )
        return Image.new("RGB", size, shade_of(rng, color)), color
    image = Image.new("RGB", size, _light(rng))
    if style == "noise":
        noise = Image.frombytes("RGB", size, rng.randbytes(3 * width * height))
        image = Image.blend(image, noise, rng.uniform(0.04, 0.16))
    elif style == "gradient":
        ramp = Image.linear_gradient("L").resize(size)
        if rng.random() < 0.5:
            ramp = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(size)
        image = Image.composite(
            image, Image.new("RGB", size, tuple(rng.randint(190, 245) for _ in range(3))), ramp
        )
    elif style == "grid":
        draw, step, line = ImageDraw.Draw(image), rng.randint(6, 20), (205, 210, 215)
        for x in range(rng.randrange(step), width, step):
            draw.line([x, 0, x, height], fill=line)
        for y in range(rng.randrange(step), height, step):
            draw.line([0, y, width, y], fill=line)
    return image, "light"


def shade_of(rng: random.Random, color: str) -> RGB:
    """The colour's own value half of the time, else one near it that still deserves the name."""
    if rng.random() < 0.5:
        return COLORS[color][0]
    anchor = rng.choice(COLORS[color])
    if color in ("black", "gray", "white"):
        shift = rng.randint(-8, 8)
        shifts = (shift, shift, shift)
    else:
        shifts = (rng.randint(-14, 14), rng.randint(-14, 14), rng.randint(-14, 14))
    return tuple(min(255, max(0, value + shift)) for value, shift in zip(anchor, shifts, strict=True))


def shape_mask(
    shape: str, width: int, height: int, angle: float, smooth: bool, outlined: bool
) -> Image.Image:
    """A grey mask, cut to the shape's visible pixels, of a shape turned by `angle` degrees."""
    scale = _SUPERSAMPLING if smooth else 1
    side = math.ceil(math.hypot(width, height)) + 4
    mask = Image.new("L", (side * scale, side * scale), 0)
    draw = ImageDraw.Draw(mask)
    turn, center = math.radians(angle), side * scale / 2
    cosine, sine = math.cos(turn), math.sin(turn)

    # Shrunk about its centre of mass, a hole leaves an even rim: a triangle's lies below the middle.
    middle = 1 / 3 if shape == "triangle" else 0.0

    def put(points: list[tuple[float, float]], shrink: float = 1.0, fill: int = 255) -> None:
        # The unit square [-1, 1] x [-1, 1], scaled to width x height, turned, moved to the middle.
        scaled = [
            (x * shrink * width * scale / 2, (middle + (y - middle) * shrink) * height * scale / 2)
            for x, y in points
        ]
        draw.polygon(
            [
                (round(center + x * cosine - y * sine), round(center + x * sine + y * cosine))
                for x, y in scaled
            ],
            fill=fill,
        )

    outline = _outline(shape)
    put(outline)
    if shape == "ring":
        put(outline, 0.55, 0)
    elif outlined:
        put(outline, 0.6, 0)
    if smooth:
        mask = mask.reduce(scale)
    return mask.crop(mask.point(_visible).getbbox())


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape in the square [-1, 1] x [-1, 1], y pointing down."""
    if shape == "rectangle":
        return [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if shape == "triangle":
        return [(0, -1), (1, 1), (-1, 1)]
    if shape == "cross":
        arm = 0.32
        return [
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
        ]
    if shape == "arrow":
        return [(-1, -0.28), (0.1, -0.28), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.28), (-1, 0.28)]
    if shape in ("star", "pentagon"):
        corners = 10 if shape == "star" else 5
        radii = [1, 0.42] if shape == "star" else [1]
        return [
            (
                radii[i % len(radii)] * math.sin(math.tau * i / corners),
                -radii[i % len(radii)] * math.cos(math.tau * i / corners),
            )
            for i in range(corners)
        ]
    if shape == "heart":
        steps = [math.tau * i / 36 for i in range(36)]
        return [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
            )
            for t in steps
        ]
    return [(math.cos(math.tau * i / 48), math.sin(math.tau * i / 48)) for i in range(48)]  # round ones


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def text_mask(text: str, size: int, max_width: int) -> Image.Image:
    """A grey mask, cut to the visible pixels, of a text in Pillow's own font; smaller than `size` to fit."""
    while True:
        left, _, right, bottom = (int(edge) for edge in _font(size).getbbox(text))
        if right - left < max_width or size <= 10:
            break
        size -= 2
    mask = Image.new("L", (right + 4, bottom + 4), 0)
    ImageDraw.Draw(mask).text((1, 1), text, font=_font(size), fill=255)
    return mask.crop(mask.point(_visible).getbbox())


def _visible(value: int) -> int:
    # Pixels that are barely touched would make the box larger than what the eye sees.
    return 255 if value >= 64 else 0
