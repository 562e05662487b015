"""Screens, settings pages, dialogs and dashboards, with a question for every part: made from a seed alone.

page, image, answerable, unanswerable = generate_screen(seed=0, index=5, faces=document_faces(folder))
"""

import random
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

from PIL import Image

from vqa.synthesis.document_canvas import Page
from vqa.synthesis.document_questions import Record, page_records
from vqa.synthesis.document_writing import write_set
from vqa.synthesis.fonts import Face
from vqa.synthesis.paper import Move, encode_jpeg, encode_png, photograph, skew
from vqa.synthesis.ui_dashboards import draw_dashboard
from vqa.synthesis.ui_dialogs import draw_dialog
from vqa.synthesis.ui_settings import draw_settings

KINDS: tuple[Callable[[random.Random, Face], Page], ...] = (draw_settings, draw_dialog, draw_dashboard)
PHOTOGRAPHED = 0.3
_MAX_DEGREES = 2.0


def draw_screen(rng: random.Random, faces: tuple[Face, ...]) -> Page:
    """A clean screen of a kind drawn at random, in a typeface without serifs."""
    return rng.choice(KINDS)(rng, rng.choice([face for face in faces if face.kind == "sans"]))


def capture(rng: random.Random, page: Page) -> tuple[Image.Image, Move, bool]:
    """A screenshot, or a photograph of the screen; where boxes went; whether it is a photograph."""
    if rng.random() >= PHOTOGRAPHED:
        return page.image, lambda box: box, False
    image, move = skew(rng, page.image, _MAX_DEGREES, (34, 34, 36))
    return photograph(rng, image), move, True


def generate_screen(
    seed: int, index: int, faces: tuple[Face, ...]
) -> tuple[Page, Image.Image, list[Record], list[Record]]:
    """Screen number `index` of the collection `seed`.

    Returns:
        the clean screen, its picture (RGB; a photograph three times in ten), a record for every part, and
        records for what could be asked in the same words and is not there. `id`, `split`, `images` and
        `image_sha256` are still empty. All depend on seed, index and typefaces only.
    """
    rng = random.Random(f"ui/{seed}/{index}")
    page = draw_screen(rng, faces)
    image, move, photo = capture(rng, page)
    answerable, unanswerable = page_records(rng, page, move, "ui")
    for record in (*answerable, *unanswerable):
        record["meta"]["photograph"] = photo
    return page, image, answerable, unanswerable


def write_screens(
    output_dir: Path,
    num_images: int,
    seed: int,
    split: str,
    ratio: Fraction,
    faces: tuple[Face, ...],
    num_proc: int = 1,
) -> int:
    """Write a split of screens (see `write_set`) and return how many records it has."""
    return write_set(output_dir, split, num_images, partial(_make, seed, faces), ratio, num_proc)


def _make(seed: int, faces: tuple[Face, ...], index: int) -> tuple[bytes, str, list[Record], list[Record]]:
    _, image, answerable, spare = generate_screen(seed, index, faces)
    if answerable[0]["meta"]["photograph"]:
        return encode_jpeg(random.Random(f"ui/{seed}/{index}/jpeg"), image), ".jpg", answerable, spare
    return encode_png(image), ".png", answerable, spare
