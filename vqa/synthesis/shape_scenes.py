"""Scenes of coloured shapes, words and numbers: what is drawn, where, and the picture itself.

Everything random comes from one `random.Random`, so that a scene depends on its seed alone.
"""

import random
from dataclasses import dataclass, field

from PIL import Image

from vqa.synthesis.shape_drawing import COLORS, RGB, draw_background, shade_of, shape_mask, text_mask

Box = list[int]

COMMON_COLORS = ["black", "gray", "red", "green", "blue", "teal", "brown", "yellow"]
BASIC_SHAPES = ["rectangle", "circle", "triangle"]
SHAPES = [*BASIC_SHAPES, "star", "cross", "ring", "ellipse", "pentagon", "heart", "arrow"]
# The font that comes with Pillow has no Vietnamese letters: words are plain ASCII.
WORDS = """
    cat dog sun sky map pen cup hat bus car key box egg ice jam leg net owl pig rat saw tea van web
    zoo ant bee cow fox hen arm ear eye lip toe bed bag can fan gun jet kit log mud nut oak pot rug
    sea tie up go no yes on off in out top new old hot cold warm open stop exit door fish bird frog
    duck lion bear wolf goat deer moon star wind rain snow fire rock sand tree leaf rose corn rice
    milk cake soup salt meat book desk lamp sofa fork bowl ship boat bike road town park shop bank
    farm king boy girl baby east west north south left right hello world apple grape lemon mango
    peach bread sugar water river ocean beach horse tiger mouse sheep table chair plate knife spoon
    clock phone radio music paper pencil school doctor nurse dose ward scan lung heart liver brain
    bone skin cell blood total tax cash date name room code page
""".split()


@dataclass
class Thing:
    """One drawn shape or text. `box` is the tight box of its visible pixels, x1 and y1 exclusive."""

    shape: str  # one of SHAPES, or "word", "number"
    color: str
    box: Box
    text: str = ""
    outlined: bool = False

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]

    @property
    def area(self) -> int:
        return self.width * self.height


@dataclass
class Scene:
    """A picture and all that is on it."""

    image: Image.Image
    background: str  # "light", "white", "dark", or the name of a colour
    things: list[Thing] = field(default_factory=list)
    texts: list[Thing] = field(default_factory=list)

    @property
    def avoided_colors(self) -> set[str]:
        """Colours of the background and of texts: asking whether a shape has them would be ambiguous."""
        background = {"light": "white", "dark": "black"}.get(self.background, self.background)
        return {background} | {text.color for text in self.texts}


def draw_scene(rng: random.Random) -> Scene:
    """Draw one scene: half the time one shape on 64x64 pixels, else several shapes, words or numbers."""
    kind = rng.choices(["plain", "single", "several", "text"], [34, 16, 34, 16])[0]
    if kind in ("plain", "single"):
        width = height = 64
    else:
        width, height = rng.randint(64, 160), rng.randint(64, 160)
        if rng.random() < 0.5:
            height = width
    scene = Scene(*draw_background(rng, width, height, light=kind == "plain" or rng.random() < 0.4))
    if kind == "plain":
        _add_shape(rng, scene, BASIC_SHAPES, 8, 34, upright=True)
    elif kind == "single":
        _add_shape(rng, scene, BASIC_SHAPES * 3 + ["star", "cross", "ring"], 8, 44)
    elif kind == "several":
        low, high = max(10, min(width, height) // 9), int(min(width, height) / 2.4)
        palette = rng.sample(list(COLORS), rng.choice([2, 3, 12]))  # few colours: several shapes share one
        for _ in range(rng.randint(2, 5)):
            _add_shape(rng, scene, BASIC_SHAPES + SHAPES, low, high, palette=palette)
    else:
        for _ in range(rng.choice([1, 1, 1, 2])):
            _add_text(rng, scene)
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            _add_shape(rng, scene, SHAPES, 12, min(width, height) // 3)
    if not scene.things and not scene.texts:  # nothing fitted: very rare
        return draw_scene(rng)
    return scene


def _pick_color(
    rng: random.Random, scene: Scene, around: tuple[int, int], palette: list[str]
) -> tuple[str, RGB]:
    """A colour that stands out from the picture at a point."""
    ground = scene.image.getpixel(around)
    for attempt in range(40):
        color = rng.choice(palette if attempt < 20 else COMMON_COLORS)
        shade = shade_of(rng, color)
        distance = sum((a - b) ** 2 for a, b in zip(shade, ground, strict=True)) ** 0.5
        if distance > 110 and color not in scene.avoided_colors:
            return color, shade
    return ("black", (0, 0, 0)) if sum(ground) > 380 else ("white", (255, 255, 255))


def _place(rng: random.Random, scene: Scene, width: int, height: int, gap: int) -> tuple[int, int] | None:
    """A top left corner where a box fits beside everything else, or None."""
    free_x, free_y = scene.image.width - width, scene.image.height - height
    if free_x < 0 or free_y < 0:
        return None
    for _ in range(40):
        x, y = rng.randint(0, free_x), rng.randint(0, free_y)
        if all(
            x + width + gap <= b[0] or b[2] + gap <= x or y + height + gap <= b[1] or b[3] + gap <= y
            for b in (thing.box for thing in scene.things + scene.texts)
        ):
            return x, y
    return None


def _add_shape(
    rng: random.Random,
    scene: Scene,
    shapes: list[str],
    low: int,
    high: int,
    upright: bool = False,
    palette: list[str] | None = None,
) -> None:
    """Draw one shape of `low` to `high` pixels where there is room; drawing nothing when there is none."""
    shape = rng.choice(shapes)
    upright = upright or rng.random() < 0.45
    width = height = rng.randint(low, high)
    if shape == "rectangle":
        height = rng.randint(low, high) if upright else max(low, int(width * rng.uniform(0.35, 1)))
    elif shape == "triangle" and upright:
        height = max(low - 1, round(width * 0.87)) if rng.random() < 0.7 else rng.randint(low, high)
    elif shape == "ellipse":
        height = max(7, int(width * rng.uniform(0.4, 0.62)))
    elif shape not in ("circle", "rectangle", "triangle"):
        width = height = max(width, 14)
    angle = 0.0 if upright else rng.uniform(0, 360)
    if upright and shape == "ellipse" and rng.random() < 0.5:
        angle = 90.0
    outlined = (
        not upright
        and shape in ("rectangle", "triangle", "star", "heart", "pentagon")
        and width >= 20
        and rng.random() < 0.2
    )
    mask = shape_mask(shape, width, height, angle, smooth=upright or rng.random() < 0.7, outlined=outlined)
    spot = _place(rng, scene, mask.width, mask.height, gap=3)
    if spot is None:
        return
    color, shade = _pick_color(
        rng,
        scene,
        (spot[0] + mask.width // 2, spot[1] + mask.height // 2),
        palette or rng.choice([COMMON_COLORS, list(COLORS)]),
    )
    scene.image.paste(shade, spot, mask)
    box = [spot[0], spot[1], spot[0] + mask.width, spot[1] + mask.height]
    scene.things.append(Thing(shape, color, box, outlined=outlined))


def _add_text(rng: random.Random, scene: Scene) -> None:
    """Write a short word or a number of one to four digits, in Pillow's own font."""
    kinds = {text.shape for text in scene.texts}
    shape = rng.choice([kind for kind in ("word", "word", "number") if kind not in kinds])
    if shape == "number":
        text = str(rng.randint(0, 10 ** rng.randint(1, 4) - 1))
    else:
        text = rng.choice(WORDS)
        text = rng.choice([text, text, text.upper(), text.capitalize()])
    size = int(scene.image.height * rng.uniform(0.2, 0.5))
    mask = text_mask(text, size, scene.image.width - 4)
    spot = _place(rng, scene, mask.width, mask.height, gap=4)
    if spot is None:
        return
    color, shade = _pick_color(
        rng, scene, spot, ["black", "black", "red", "blue", "green", "purple", "white"]
    )
    scene.image.paste(shade, spot, mask)
    box = [spot[0], spot[1], spot[0] + mask.width, spot[1] + mask.height]
    scene.texts.append(Thing(shape, color, box, text=text))
