"""Handwritten lines of Vietnamese with their transcription, and paper without any: made from a seed alone.

image, record = generate_line(seed=0, index=5, fonts=handwriting_fonts(folder), blank=False)
"""

import random
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw

from vqa.errors import UserError
from vqa.synthesis.document_canvas import ink_box
from vqa.synthesis.document_questions import Record
from vqa.synthesis.document_writing import write_set
from vqa.synthesis.fonts import can_write, load_font
from vqa.synthesis.paper import RGB, Box, encode_jpeg, skew, weather
from vqa.synthesis.vietnamese_pieces import piece_of
from vqa.synthesis.vietnamese_text import vietnamese_line

QUESTIONS = (
    "What is written here?",
    "Transcribe the handwritten line.",
    "Write out the text in the image.",
    "Read the handwriting.",
    "What does the handwritten line say?",
    "Which words are written on the paper?",
    "Dòng chữ trong ảnh viết gì?",
    "Hãy chép lại dòng chữ viết tay này.",
    "Đọc nội dung chữ viết tay trong ảnh.",
)
_MAX_DEGREES = 1.6
_TRIES = 60
_PAPERS = ((255, 255, 255), (252, 251, 244), (246, 243, 232), (243, 246, 250), (250, 246, 246))
_INKS = ((22, 34, 120), (30, 50, 150), (20, 20, 24), (48, 48, 56), (120, 24, 30))


@dataclass(frozen=True)
class Writing:
    """What stands on a sheet, and its form.

    max_words: most words of a line, of which a piece is written then; None: the whole line.
    words: `all`, or only the `known` or the `held_out` ones (`vietnamese_pieces`), with `max_words`.
    aspect: width over height of every sheet, reached by more paper: models that squash images to a square
        then see letters of one shape. None: as wide as the writing.
    """

    max_words: int | None = None
    words: str = "all"
    aspect: float | None = None

    @property
    def blank_width(self) -> tuple[int, int]:
        """Least and greatest width of blank paper, in the heights of letters: as if it were written on."""
        return (8, 22) if self.max_words is None else (1, 3 * self.max_words)


LINES = Writing()


def is_blank(index: int, ratio: Fraction) -> bool:
    """Whether line number `index` is a blank one: of the first n, as near to n * ratio as can be."""
    half = Fraction(1, 2)
    return (ratio * (index + 1) + half).__floor__() > (ratio * index + half).__floor__()


def generate_line(
    seed: int, index: int, fonts: tuple[str, ...], blank: bool = False, writing: Writing = LINES
) -> tuple[Image.Image, Record]:
    """Line number `index` of the collection `seed`.

    Args:
        fonts: font files; one that lacks a glyph of the line is not used for it.
        blank: leave the paper empty; the question is unanswerable then.
        writing: how much of a line, which words, on what sheet.

    Returns:
        the RGB image of one line, and its record; `id`, `split`, `images` and `image_sha256` still empty.

    Raises:
        UserError: no font holds every letter of a line.
    """
    # A line that none of the fonts can write, or without a word that is wanted, is replaced by another.
    rng = random.Random(f"handwriting/{seed}/{index}")
    for _ in range(_TRIES):
        text = vietnamese_line(rng)
        if writing.max_words is not None:
            text = piece_of(rng, text, writing.max_words, writing.words)
        able = [path for path in fonts if text and can_write(path, text)]
        if able:
            break
    else:
        raise UserError(
            f"none of the {len(fonts)} fonts has the Vietnamese letters; `make fonts` fetches some"
        )
    font = rng.choice(able)
    paper = rng.choice(_PAPERS)
    image, box = _write(rng, "" if blank else text, font, paper, writing)
    image, move = skew(rng, image, _MAX_DEGREES, paper)
    image = weather(rng, image)
    boxes = [] if box is None else [list(move(box))]
    count = len(text.split())
    return image, {
        "id": "",
        "images": [],
        "question": rng.choice(QUESTIONS),
        "answers": [] if blank else [text],
        "answerable": not blank,
        "question_type": "transcription",
        "answer_candidates": None,
        "boxes": boxes,
        "box_images": [0] * len(boxes),
        "caption": "A sheet of paper without writing." if blank else "One line of Vietnamese handwriting.",
        "reasoning": ["No word stands on the paper."]
        if blank
        else [f"The line has {count} word{'s' * (count > 1)}, read from left to right."],
        "source": "handwriting",
        "split": "",
        "image_sha256": [],
        "meta": {"kind": "blank" if blank else "line", "font": None if blank else Path(font).name},
    }


def write_lines(
    output_dir: Path,
    num_images: int,
    seed: int,
    split: str,
    blank_ratio: Fraction,
    fonts: tuple[str, ...],
    num_proc: int = 1,
    writing: Writing = LINES,
) -> int:
    """Write a split of lines (see `write_set`) and return how many records it has."""
    make = partial(_make, seed, fonts, blank_ratio, writing)
    return write_set(output_dir, split, num_images, make, Fraction(0), num_proc)


def _make(
    seed: int, fonts: tuple[str, ...], blank_ratio: Fraction, writing: Writing, index: int
) -> tuple[bytes, str, list[Record], list[Record]]:
    image, record = generate_line(seed, index, fonts, is_blank(index, blank_ratio), writing)
    return encode_jpeg(random.Random(f"handwriting/{seed}/{index}/jpeg"), image), ".jpg", [record], []


def _write(
    rng: random.Random, text: str, path: str, paper: RGB, writing: Writing = LINES
) -> tuple[Image.Image, Box | None]:
    """A sheet with the text on it, word by word on a line that is not quite straight; the box of its ink."""
    size = rng.randint(34, 56)
    places, x = [], 0.0
    drift = rng.uniform(-0.02, 0.02)
    for word in text.split():
        font = load_font(path, size + rng.randint(-1, 1))
        places.append((word, font, x, drift * x + rng.uniform(-0.035, 0.035) * size))
        x += font.getlength(word) + size * rng.uniform(0.24, 0.45)
    boxes = [font.getbbox(word, anchor="ls") for word, font, _, _ in places]
    edges = [
        (left + bx[0], top + bx[1], left + bx[2], top + bx[3])
        for (_, _, left, top), bx in zip(places, boxes, strict=True)
    ] or [(0, -size, rng.randint(*writing.blank_width) * size, size * 0.3)]
    x0, y0 = min(edge[0] for edge in edges), min(edge[1] for edge in edges)
    x1, y1 = max(edge[2] for edge in edges), max(edge[3] for edge in edges)
    left, top = rng.randint(14, 46) - x0, rng.randint(10, 26) - y0
    sheet = (round(left + x1) + rng.randint(14, 60), round(top + y1) + rng.randint(10, 26))
    if aspect := writing.aspect:
        wide = max(sheet[0], round(aspect * sheet[1])), max(sheet[1], round(sheet[0] / aspect))
        left, top = left + rng.randint(0, wide[0] - sheet[0]), top + rng.randint(0, wide[1] - sheet[1])
        sheet = wide
    image = Image.new("RGB", sheet, paper)
    _rule(rng, image, top, size)
    draw, ink, found = ImageDraw.Draw(image), rng.choice(_INKS), []
    for word, font, word_x, word_y in places:
        at = (round(left + word_x), round(top + word_y))
        draw.text(at, word, font=font, fill=ink, anchor="ls")
        found.append(ink_box(at, word, font, "ls"))
    if not found:
        return image, None
    corners = list(zip(*found, strict=True))
    return image, (min(corners[0]), min(corners[1]), max(corners[2]), max(corners[3]))


def _rule(rng: random.Random, image: Image.Image, base: float, size: int) -> None:
    """The paper's print: none, lines, or squares as in school books; one line lies under the words."""
    draw, kind = ImageDraw.Draw(image), rng.choice(["plain", "lines", "lines", "squares"])
    pale: RGB = rng.choice([(196, 212, 236), (214, 214, 214), (232, 204, 204)])
    base += round(size * 0.08)
    step = size * (1.9 if kind == "lines" else 0.5)
    if kind != "plain":
        first = base - (base // step) * step
        for number in range(int(image.height / step) + 1):
            y = round(first + number * step)
            draw.line([0, y, image.width, y], fill=pale)
    if kind == "squares":
        for number in range(int(image.width / step) + 1):
            draw.line([round(number * step), 0, round(number * step), image.height], fill=pale)
