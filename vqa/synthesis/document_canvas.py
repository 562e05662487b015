"""A sheet or screen to write on: every text drawn gives the box of its ink, and fields remember theirs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from vqa.synthesis.fonts import Face, load_font
from vqa.synthesis.paper import RGB, Box


@dataclass(frozen=True)
class Ask:
    """Something that can be asked of a page, whether the page holds it or not.

    Attributes:
        key: what is asked for, unique on a page: `due_date`, `price/Green tea`.
        wordings: questions for it, complete; which one is used does not depend on the page.
        noun: what to call it in the reasoning.
        question_type: of the contract.
        candidates: the closed set of a closed type.
    """

    key: str
    wordings: tuple[str, ...]
    noun: str
    question_type: str = "extractive"
    candidates: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Field:
    """An `Ask` that the page answers: as printed, where, and how one finds it."""

    ask: Ask
    value: str
    boxes: tuple[Box, ...]
    reasoning: tuple[str, ...]


@dataclass
class Page:
    """A drawn page: the clean image, what it holds and what it does not.

    Attributes:
        absent: what could be asked in the same words and is not there, with a sentence that says so.
    """

    image: Image.Image
    kind: str
    caption: str
    fields: list[Field] = field(default_factory=list)
    absent: list[tuple[Ask, str]] = field(default_factory=list)


@dataclass
class Canvas:
    """Where a page is drawn. Coordinates in pixels; texts stand on a baseline `y`."""

    image: Image.Image
    face: Face
    ink: RGB = (20, 20, 24)

    def __post_init__(self) -> None:
        self.draw = ImageDraw.Draw(self.image)

    @classmethod
    def blank(cls, size: tuple[int, int], face: Face, paper: RGB, ink: RGB = (20, 20, 24)) -> "Canvas":
        """An empty sheet of `size` (width, height)."""
        return cls(Image.new("RGB", size, paper), face, ink)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        *,
        bold: bool = False,
        align: str = "left",
        fill: RGB | None = None,
        font: str | None = None,
    ) -> Box:
        """Write one line and return the box of its ink.

        Args:
            x: its left end, middle or right end, as `align` says.
            font: another font's file, such as a handwriting.
        """
        loaded = load_font(font or (self.face.bold if bold else self.face.regular), size)
        anchor = {"left": "ls", "center": "ms", "right": "rs"}[align]
        place = (round(x), round(y))
        self.draw.text(place, text, font=loaded, fill=fill or self.ink, anchor=anchor)
        return ink_box(place, text, loaded, anchor)

    def width(self, text: str, size: int, bold: bool = False, font: str | None = None) -> int:
        """How wide a line would be."""
        return round(load_font(font or (self.face.bold if bold else self.face.regular), size).getlength(text))

    def fit(self, text: str, size: int, width: float, bold: bool = False, font: str | None = None) -> int:
        """The largest size up to `size` at which `text` is no wider than `width`; at least 10."""
        while size > 10 and self.width(text, size, bold, font) > width:
            size -= 1
        return size

    def rule(
        self, x0: float, y0: float, x1: float, y1: float, fill: RGB = (90, 90, 95), wide: int = 1
    ) -> None:
        """A straight line."""
        self.draw.line([round(x0), round(y0), round(x1), round(y1)], fill=fill, width=wide)

    def frame(
        self, box: Sequence[float], fill: RGB | None = None, outline: RGB | None = None, radius: int = 0
    ) -> None:
        """A rectangle, with round corners where `radius` is given."""
        self.draw.rounded_rectangle([round(value) for value in box], radius, fill=fill, outline=outline)


def ink_box(place: tuple[int, int], text: str, font: ImageFont.FreeTypeFont, anchor: str) -> Box:
    """The pixels that a text drawn at `place` touches; Pillow's own box reaches to the baseline."""
    mask, (x, y) = font.getmask2(text, "L", anchor=anchor)
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    return place[0] + x + left, place[1] + y + top, place[0] + x + right, place[1] + y + bottom


def dark_ink(rng: random.Random) -> RGB:
    """A dark ink: black, blue-black or dark grey."""
    return rng.choice([(16, 16, 18), (16, 16, 18), (30, 34, 60), (48, 48, 52)])
