"""Colour schemes, and the parts that screens are put together from. Each part returns the box it fills."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from vqa.synthesis.document_canvas import Canvas
from vqa.synthesis.paper import RGB, Box

_ACCENTS = ((37, 99, 235), (22, 140, 80), (190, 60, 40), (120, 70, 200), (0, 125, 140), (200, 110, 10))


@dataclass(frozen=True)
class Scheme:
    """The colours of a screen."""

    back: RGB
    panel: RGB
    text: RGB
    muted: RGB
    line: RGB
    accent: RGB


def draw_scheme(rng: random.Random) -> Scheme:
    """Light two times in three, else dark; one of six accents."""
    accent = rng.choice(_ACCENTS)
    if rng.random() < 0.65:
        back = rng.choice([(243, 244, 247), (255, 255, 255), (248, 246, 242), (235, 240, 245)])
        return Scheme(back, (255, 255, 255), (25, 28, 36), (100, 106, 118), (208, 212, 220), accent)
    back = rng.choice([(24, 26, 31), (18, 18, 18), (28, 32, 42)])
    panel = tuple(value + 14 for value in back)
    light = tuple(min(255, value + 50) for value in accent)
    return Scheme(back, panel, (236, 238, 242), (156, 162, 174), (74, 78, 90), light)


@dataclass(frozen=True)
class Brush:
    """A canvas and the scheme and size of text that it is painted with."""

    canvas: Canvas
    scheme: Scheme
    size: int

    def words(
        self,
        x: float,
        y: float,
        text: str,
        size: int | None = None,
        *,
        bold: bool = False,
        align: str = "left",
        muted: bool = False,
        fill: RGB | None = None,
        width: float | None = None,
    ) -> Box:
        """A line of text on the baseline `y`, made smaller where it would be wider than `width`."""
        size = size or self.size
        if width is not None:
            size = self.canvas.fit(text, size, width, bold)
        color = fill or (self.scheme.muted if muted else self.scheme.text)
        return self.canvas.text(x, y, text, size, bold=bold, align=align, fill=color)

    def switch(self, right: float, middle: float, on: bool) -> Box:
        """A sliding switch that ends at `right`: coloured with the knob at the right when on."""
        high = round(self.size * 1.25)
        wide = round(high * 1.85)
        box = (round(right) - wide, round(middle) - high // 2, round(right), round(middle) - high // 2 + high)
        self.canvas.frame(box, fill=self.scheme.accent if on else self.scheme.muted, radius=high // 2)
        left = box[2] - high + 2 if on else box[0] + 2
        self.canvas.draw.ellipse([left, box[1] + 2, left + high - 5, box[3] - 3], fill=(250, 250, 250))
        return box[0], box[1], box[2] + 1, box[3] + 1

    def checkbox(self, x: float, middle: float, on: bool) -> Box:
        """A square, filled and ticked when on."""
        side = round(self.size * 1.05)
        left, top = round(x), round(middle) - side // 2
        box = (left, top, left + side, top + side)
        self.canvas.frame(
            box, fill=self.scheme.accent if on else self.scheme.panel, outline=self.scheme.muted, radius=3
        )
        if on:
            bend = (left + side * 0.42, top + side * 0.74)
            points = [(left + side * 0.2, top + side * 0.5), bend, (left + side * 0.8, top + side * 0.26)]
            self.canvas.draw.line(points, fill=(255, 255, 255), width=2)
        return left, top, left + side + 1, top + side + 1

    def dropdown(self, right: float, middle: float, text: str, wide: int = 190) -> Box:
        """A box with a value and an arrow; returns the box of the value's words."""
        high = round(self.size * 1.9)
        left, top = round(right) - wide, round(middle) - high // 2
        self.canvas.frame(
            [left, top, right, top + high], fill=self.scheme.panel, outline=self.scheme.line, radius=5
        )
        x, y = right - 18, middle
        self.canvas.draw.polygon([(x - 4, y - 2), (x + 4, y - 2), (x, y + 4)], fill=self.scheme.muted)
        return self.words(left + 10, middle + self.size * 0.36, text, width=wide - 40)

    def entry(self, x: float, top: float, wide: float, text: str) -> Box | None:
        """A line to type in; returns the box of what is typed in it, None when that is nothing."""
        high = round(self.size * 2.1)
        self.canvas.frame(
            [x, top, x + wide, top + high], fill=self.scheme.panel, outline=self.scheme.line, radius=5
        )
        return self.words(x + 10, top + high / 2 + self.size * 0.36, text, width=wide - 20) if text else None

    def segments(self, right: float, middle: float, options: Sequence[str], chosen: int) -> Box:
        """Options side by side, the chosen one filled; returns its box."""
        high, pad = round(self.size * 1.9), 11
        widths = [self.canvas.width(option, self.size - 1) + 2 * pad for option in options]
        left, top = round(right) - sum(widths), round(middle) - high // 2
        self.canvas.frame([left, top, right, top + high], outline=self.scheme.line, radius=5)
        result = (0, 0, 1, 1)
        for number, (option, wide) in enumerate(zip(options, widths, strict=True)):
            if number == chosen:
                result = (left, top, left + wide + 1, top + high + 1)
                self.canvas.frame([left, top, left + wide, top + high], fill=self.scheme.accent, radius=5)
            fill = (255, 255, 255) if number == chosen else self.scheme.text
            self.words(left + pad, middle + self.size * 0.36, option, self.size - 1, fill=fill)
            left += wide
        return result

    def button(self, right: float, top: float, text: str, look: str) -> Box:
        """A button that ends at `right`; `look` is `primary`, `plain` or `disabled`."""
        wide, high = self.canvas.width(text, self.size) + 34, round(self.size * 2.2)
        box = (round(right) - wide, round(top), round(right), round(top) + high)
        fill = {"primary": self.scheme.accent, "plain": self.scheme.panel, "disabled": self.scheme.line}[look]
        self.canvas.frame(box, fill=fill, outline=None if look == "primary" else self.scheme.line, radius=6)
        color = {"primary": (255, 255, 255), "plain": self.scheme.text, "disabled": self.scheme.muted}[look]
        self.words(box[0] + wide / 2, top + high / 2 + self.size * 0.36, text, align="center", fill=color)
        return box[0], box[1], box[2] + 1, box[3] + 1

    def bar(self, x: float, middle: float, wide: float, share: float) -> Box:
        """A bar filled to `share`."""
        box = (round(x), round(middle) - 4, round(x + wide), round(middle) + 4)
        self.canvas.frame(box, fill=self.scheme.line, radius=4)
        if share * wide >= 8:
            self.canvas.frame(
                [box[0], box[1], box[0] + share * wide, box[3]], fill=self.scheme.accent, radius=4
            )
        return box[0], box[1], box[2] + 1, box[3] + 1
