"""Pages of images -> words with boxes.

    reader = build_page_reader(OcrArguments(ocr_engine="rapidocr", ocr_cache_dir=".cache/ocr"))
    pages = read_pages(["page-1.png", "page-2.png"], reader)

What an engine read is kept on disk, a JSON file a page, under the sha256 of the image and everything else
that the result depends on. The confidence threshold is applied to what comes out of it.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vqa.cli import option
from vqa.documents.ocr_engines import EasyOcr, Engine, PaddleOcr, TrueOcr
from vqa.documents.pages import OcrPage
from vqa.documents.rapid_ocr import RapidOcr
from vqa.documents.record_words import record_pages
from vqa.documents.tesseract_ocr import Tesseract
from vqa.documents.whole_pages import read_page
from vqa.errors import UserError
from vqa.files import atomic_write, sha256_file
from vqa.images import DEFAULT_MAX_PIXELS, ImageProblem, open_image
from vqa.record_checks import Record

DEFAULT_ENGINE = "rapidocr"
ENGINES: dict[str, Callable[..., Engine]] = {
    engine.name: engine for engine in (RapidOcr, PaddleOcr, EasyOcr, Tesseract, TrueOcr)
}
RECORD_ENGINE = "record"
"""Not an engine: the words that records bring along, in `meta.ocr`."""
# Raised when the code here makes other words or boxes of an image: older files are passed over.
READING_VERSION = 1


def build_engine(name: str = DEFAULT_ENGINE, languages: Sequence[str] = (), threads: int = 0) -> Engine:
    """The engine of a name, its weights loaded.

    Args:
        name: one of `ENGINES`.
        languages: ISO 639-1 codes; () leaves an engine its own.
        threads: processor cores it may use; 0 leaves it its own number.

    Raises:
        UserError: an unknown name or language, or what is needed for it is not installed; says what to do.
    """
    if name not in ENGINES:
        raise UserError(f"--ocr_engine {name}: choose from {', '.join((*ENGINES, RECORD_ENGINE))}")
    return ENGINES[name](languages, threads)


@dataclass
class OcrArguments:
    """How pages are read."""

    ocr_engine: str = option(
        DEFAULT_ENGINE, "rapidocr, paddleocr, easyocr, tesseract, trueocr; record: meta.ocr"
    )
    ocr_languages: list[str] = option([], "languages of tesseract and easyocr, as en or vi; default: en")
    ocr_threads: int = option(0, "processor cores an engine may use at a time; 0: the engine's own number")
    ocr_confidence_threshold: float = option(0.0, "words the engine is less sure of (0 to 1) are dropped")
    ocr_cache_dir: str = option(".cache/ocr", "folder where pages that were read are kept; empty: nowhere")


class WordsOfRecords:
    """The pages of records that bring their words along."""

    def __init__(self, confidence_threshold: float = 0.0) -> None:
        self.confidence_threshold = confidence_threshold

    def read_record(self, record: Record) -> list[OcrPage]:
        """A page for each image of a record. Raises UserError naming record and word."""
        return [sure_words(page, self.confidence_threshold) for page in record_pages(record)]


class PageReader:
    """An engine that reads images, and its cache. One reader may serve several threads.

    An engine that cannot do so itself reads one image at a time; what was read meanwhile is then found in the
    cache. Two readers share a folder, in two processes too: files there are whole or absent.

    Args:
        engine: what reads.
        cache_dir: where pages are kept; None: nowhere.
        confidence_threshold: words that the engine is less sure of are dropped.
        max_pixels: images of more pixels are refused.
    """

    def __init__(
        self,
        engine: Engine,
        cache_dir: str | Path | None = None,
        confidence_threshold: float = 0.0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.engine = engine
        self.cache_dir = Path(cache_dir) if cache_dir else None
        self.confidence_threshold = confidence_threshold
        self.max_pixels = max_pixels
        self._turn: AbstractContextManager = nullcontext() if engine.parallel else threading.Lock()

    def read_record(self, record: Record) -> list[OcrPage]:
        """A page for each image of a record. Raises UserError as `read`."""
        return read_pages(record["images"], self)

    def read(self, image: str | Path | Image.Image) -> OcrPage:
        """The page in an image file, or in an image as it is seen (its EXIF orientation is not looked at).

        Raises:
            UserError: the image cannot be used, the engine fails, or the cache cannot be written.
        """
        path = self._cache_file(image) if self.cache_dir else None
        page = _cached(path) if path else None
        if page is None:
            with self._turn:
                # The thread whose turn it was may have read this very page.
                page = _cached(path) if path else None
                if page is None:
                    page = read_page(self.engine, self._pixels(image))
                    if path:
                        _store(path, page)
        return sure_words(page, self.confidence_threshold)

    def _pixels(self, image: str | Path | Image.Image) -> np.ndarray:
        if isinstance(image, Image.Image):
            return np.asarray(image.convert("RGB"))
        try:
            return np.asarray(open_image(image, self.max_pixels))
        except ImageProblem as problem:
            raise UserError(f"image {image}: {problem}") from problem

    def _cache_file(self, image: str | Path | Image.Image) -> Path:
        """Where the page is kept: `IMAGE_SHA256-READING.json`."""
        settings = [self.engine.name, self.engine.version, list(self.engine.languages), READING_VERSION]
        reading = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        return self.cache_dir / f"{_image_sha256(image)}-{reading}.json"


def build_page_reader(
    arguments: OcrArguments, max_pixels: int = DEFAULT_MAX_PIXELS
) -> PageReader | WordsOfRecords:
    """The reader that the arguments describe, its weights loaded.

    Raises:
        UserError: as `build_engine`, or a threshold that is none.
    """
    threshold = arguments.ocr_confidence_threshold
    if not 0 <= threshold <= 1:
        raise UserError(f"--ocr_confidence_threshold {threshold}: not from 0 to 1")
    if arguments.ocr_engine == RECORD_ENGINE:
        return WordsOfRecords(threshold)
    engine = build_engine(arguments.ocr_engine, arguments.ocr_languages, arguments.ocr_threads)
    return PageReader(engine, arguments.ocr_cache_dir, threshold, max_pixels)


def read_pages(images: Iterable[str | Path | Image.Image], reader: PageReader) -> list[OcrPage]:
    """The page in each image, in their order. Raises UserError as `PageReader.read`."""
    return [reader.read(image) for image in images]


def sure_words(page: OcrPage, threshold: float) -> OcrPage:
    """A page without the words whose confidence is below a threshold; line numbers stay."""
    return replace(page, words=tuple(word for word in page.words if word.confidence >= threshold))


def _image_sha256(image: str | Path | Image.Image) -> str:
    if isinstance(image, Image.Image):
        rgb = image.convert("RGB")
        return hashlib.sha256(repr(rgb.size).encode() + rgb.tobytes()).hexdigest()
    try:
        return sha256_file(image)
    except OSError as error:
        raise UserError(f"image {image}: cannot be read: {error.strerror}") from error


def _cached(path: Path) -> OcrPage | None:
    """The page in a file; None where there is none, or a damaged one."""
    try:
        return OcrPage.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(path: Path, page: OcrPage) -> None:
    """Write a page. Raises UserError where that fails, as on a full disk; nothing is left behind."""
    try:
        with atomic_write(path) as file:
            json.dump(page.to_json(), file, ensure_ascii=False, allow_nan=False)
    except OSError as error:
        raise UserError(
            f"OCR cache {path.parent}: cannot be written: {error.strerror}; "
            "free some space or name another --ocr_cache_dir"
        ) from error
