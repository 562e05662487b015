"""Scanned forms, receipts, invoices and tables with a question for every field: made from a seed alone.

page, image, answerable, unanswerable = generate_document(seed=0, index=5, fonts=find_fonts(folder))
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from PIL import Image

from vqa.synthesis.document_canvas import Page
from vqa.synthesis.document_forms import draw_form
from vqa.synthesis.document_invoices import draw_invoice
from vqa.synthesis.document_questions import Record, page_records
from vqa.synthesis.document_receipts import draw_receipt
from vqa.synthesis.document_tables import draw_table
from vqa.synthesis.document_writing import write_set
from vqa.synthesis.fonts import PRINTED, Face, document_faces, handwriting_fonts
from vqa.synthesis.paper import Move, encode_jpeg, skew, weather

KINDS: dict[str, Callable[[random.Random, Face, tuple[str, ...]], Page]] = {
    "form": draw_form,
    "receipt": draw_receipt,
    "invoice": draw_invoice,
    "table": draw_table,
}
MAX_DEGREES = 2.5
_DESKS = ((60, 58, 55), (200, 200, 198), (120, 96, 72), (235, 235, 235))


@dataclass(frozen=True)
class Fonts:
    """The typefaces documents are set in, and the handwritings forms are filled with."""

    faces: tuple[Face, ...]
    handwriting: tuple[str, ...] = ()

    def files(self) -> list[str]:
        """Every font file that may be used."""
        return [path for face in self.faces for path in (face.regular, face.bold)] + list(self.handwriting)


def find_fonts(folder: Path) -> Fonts:
    """DejaVu and what `folder` holds. Raises UserError when a file there is not a font."""
    return Fonts(document_faces(folder), handwriting_fonts(folder, PRINTED))


def draw_page(rng: random.Random, fonts: Fonts) -> Page:
    """A clean page of a kind drawn at random; receipts are mostly printed with a mono-spaced face."""
    kind = rng.choice(list(KINDS))
    mono = [face for face in fonts.faces if face.kind == "mono"]
    others = [face for face in fonts.faces if face.kind != "mono"]
    printed = rng.random() < (0.8 if kind == "receipt" else 0.08)
    return KINDS[kind](rng, rng.choice(mono if printed else others), fonts.handwriting)


def scan(rng: random.Random, page: Page) -> tuple[Image.Image, Move]:
    """The page as a scanner sees it, and where its boxes went."""
    image, move = skew(rng, page.image, MAX_DEGREES, rng.choice([None, rng.choice(_DESKS)]))
    return weather(rng, image), move


def generate_document(
    seed: int, index: int, fonts: Fonts
) -> tuple[Page, Image.Image, list[Record], list[Record]]:
    """Document number `index` of the collection `seed`.

    Returns:
        the clean page, its scan (RGB, 400 to 900 pixels wide), a record for every field, and records for
        what could be asked in the same words and is not there. `id`, `split`, `images` and
        `image_sha256` are still empty. All depend on seed, index and fonts only.
    """
    # Seeding with a string hashes it: near seeds give unrelated pages, the same ones on every platform.
    rng = random.Random(f"documents/{seed}/{index}")
    page = draw_page(rng, fonts)
    image, move = scan(rng, page)
    return page, image, *page_records(rng, page, move, "documents")


def write_documents(
    output_dir: Path, num_images: int, seed: int, split: str, ratio: Fraction, fonts: Fonts, num_proc: int = 1
) -> int:
    """Write a split of documents (see `write_set`) and return how many records it has."""
    return write_set(output_dir, split, num_images, partial(_make, seed, fonts), ratio, num_proc)


def _make(seed: int, fonts: Fonts, index: int) -> tuple[bytes, str, list[Record], list[Record]]:
    _, image, answerable, spare = generate_document(seed, index, fonts)
    return encode_jpeg(random.Random(f"documents/{seed}/{index}/jpeg"), image), ".jpg", answerable, spare
