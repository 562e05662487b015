"""Tesseract as an OCR engine: the program of that name, which needs no Python package."""

import csv
import os
import subprocess
from collections.abc import Sequence
from io import BytesIO
from itertools import groupby

import cv2
import numpy as np
from PIL import Image

from vqa.documents.ocr_engines import Piece
from vqa.documents.pages import Word
from vqa.errors import UserError

# Its own codes of languages, by ISO 639-1; others are asked for by its code ("lat").
CODES = {
    "ar": "ara", "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita", "ja": "jpn", "ko": "kor",
    "nl": "nld", "pl": "pol", "pt": "por", "ru": "rus", "vi": "vie", "zh": "chi_sim",
}  # fmt: skip
# Measured on forms, receipts, tables and screens: pages as small as these are read better twice as large,
# and the default segmentation of pages is as good as others.
SMALL_SIDE = 1000
ENLARGED = 2
SECONDS = 600


class Tesseract:
    """Tesseract 5; each page is read by a process of its own, so that threads can read several at once."""

    name = "tesseract"
    short_side = 2480
    legible = 0.6
    parallel = True

    def __init__(self, languages: Sequence[str] = (), threads: int = 1) -> None:
        self.languages = tuple(languages) or ("en",)
        self._threads = str(threads)
        codes = [CODES.get(language, language) for language in self.languages]
        installed = self._run(["--list-langs"]).split("\n")[1:]
        for code in codes:
            if code not in installed:
                raise UserError(
                    f"OCR engine tesseract: language {code} is not installed; run `apt install "
                    f"tesseract-ocr-{code.replace('_', '-')}`"
                )
        self.version = self._run(["--version"]).split("\n")[0]
        self._options = ["-l", "+".join(codes), "tsv"]

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        factor = ENLARGED if min(pixels.shape[:2]) < SMALL_SIDE else 1
        if factor > 1:
            pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        image = BytesIO()
        Image.fromarray(pixels).save(image, "PNG", compress_level=1)
        table = self._run(["stdin", "stdout", *self._options], image.getvalue())
        rows = list(csv.DictReader(table.split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE))
        rows = [row for row in rows if row["level"] == "5" and row["text"].strip()]
        lines = groupby(rows, key=lambda row: (row["block_num"], row["par_num"], row["line_num"]))
        return [[_word(row, factor) for row in line] for _, line in lines]

    def _run(self, arguments: Sequence[str], data: bytes = b"") -> str:
        """What the program prints.

        Raises:
            UserError: it is not installed, fails or takes too long.
        """
        environment = os.environ | {"OMP_THREAD_LIMIT": self._threads}
        try:
            done = subprocess.run(
                ["tesseract", *arguments], input=data, capture_output=True, check=True, timeout=SECONDS,
                env=environment,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise UserError(
                "OCR engine tesseract: not installed; run `apt install tesseract-ocr tesseract-ocr-vie`"
            ) from error
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.decode(errors="replace").split())[-200:]
            raise UserError(f"OCR engine tesseract: failed: {reason}") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(f"OCR engine tesseract: no answer within {SECONDS} s for one image") from error
        return done.stdout.decode()


def _word(row: dict[str, str], factor: int) -> Word:
    left, top, width, height = (float(row[name]) / factor for name in ("left", "top", "width", "height"))
    confidence = min(max(float(row["conf"]) / 100, 0.0), 1.0)
    return Word(row["text"], (left, top, left + width, top + height), confidence, -1)
