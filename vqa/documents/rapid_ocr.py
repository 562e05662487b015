"""The default OCR engine: PP-OCRv6 small by rapidocr, which brings its weights along."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vqa.documents.ocr_engines import Piece, check_languages, package_version, required, word_spans
from vqa.documents.pages import Word
from vqa.documents.word_boxes import cut_out, fit_words, line_size
from vqa.errors import UserError

INSTALL = "pip install 'faithful-vqa[ocr]'"
WEIGHTS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")
# Of the image that the detector sees: its border and smallest side in pixels; and by how much a small one is
# enlarged, until which shorter or longer side.
BORDER = 16
SMALLEST = 128
ENLARGED, ENLARGED_SHORT, ENLARGED_LONG = 2.0, 736, 2200
# Width over height below which a line may stand on end.
TALL = 0.75


class RapidOcr:
    """PP-OCRv6 small, detection and recognition, by onnxruntime; the weights lie in the package.

    Reads English, Chinese and the Latin letters of western Europe; Vietnamese letters lose their marks.
    """

    name = "rapidocr"
    short_side = 1414
    legible = 0.85
    parallel = False

    def __init__(self, languages: Sequence[str] = (), threads: int = 0) -> None:
        required(self.name, "onnxruntime", INSTALL)
        package = required(self.name, "rapidocr", INSTALL)
        check_languages(self.name, languages, ("en", "de", "es", "fr", "it", "pt", "zh", "ja"))
        self.languages = ()
        self.version = package_version("rapidocr")
        # By their files: weights asked for by name would be looked for on the network if they were missing.
        weights = [Path(package.__file__).parent / "models" / name for name in WEIGHTS]
        for path in weights:
            if not path.is_file():
                raise UserError(f"OCR engine rapidocr: {path} is missing; run `{INSTALL} --force-reinstall`")
        self._engine = package.RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.model_path": str(weights[0]),
                "Rec.model_path": str(weights[1]),
                "Global.max_side_len": 100_000,
                "Global.use_vertical_padding": False,
                "Det.limit_side_len": 32,
                "Global.return_word_box": True,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1,
            }
        )

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        quads = self._detect(pixels)
        # A lone digit is taller than wide, as is a line of vertical text: it is read in both ways.
        tall = [index for index, quad in enumerate(quads) if np.divide(*line_size(quad)) < TALL]
        turned = [np.roll(quads[index], -1, axis=0) for index in tall]
        texts = self._recognise(pixels, quads + turned)
        for index, quad, text in zip(tall, turned, texts[len(quads) :], strict=True):
            if text.score > texts[index].score:
                quads[index], texts[index] = quad, text
        pieces = [text.words(pixels, quad) for quad, text in zip(quads, texts, strict=False)]
        return [piece for piece in pieces if piece]

    def _detect(self, pixels: np.ndarray) -> list[np.ndarray]:
        """The outlines of lines, 4 x 2 each, from top left around clockwise."""
        height, width = pixels.shape[:2]
        # The detector misses what touches the border, and text that fills its image.
        above, beside = (max(BORDER, (SMALLEST - side + 1) // 2) for side in (height, width))
        image = cv2.copyMakeBorder(pixels, above, above, beside, beside, cv2.BORDER_REPLICATE)
        sides = image.shape[:2]
        scale = max(1.0, min(ENLARGED, ENLARGED_SHORT / min(sides), ENLARGED_LONG / max(sides)))
        if scale > 1:
            image = cv2.resize(image, None, fx=scale, fy=scale)
        found = self._engine(image[:, :, ::-1], use_det=True, use_cls=False, use_rec=False)
        border = np.array([beside, above], np.float32)
        return [] if found.boxes is None else list(found.boxes / np.float32(scale) - border)

    def _recognise(self, pixels: np.ndarray, quads: Sequence[np.ndarray]) -> list["_CtcText"]:
        if not quads:
            return []
        result = self._engine.recognize_txt([cut_out(pixels, quad)[0][:, :, ::-1] for quad in quads])
        found = zip(result.txts, result.scores, result.word_results, strict=True)
        texts = []
        for text, score, info in found:
            columns = [column for word in info.word_cols for column in word]
            texts.append(_CtcText(text, score, [(c + 0.5) / info.line_txt_len for c in columns], info.confs))
        return texts


@dataclass(frozen=True)
class _CtcText:
    """What was read in a line: the place of each visible character along it, 0 to 1, and how sure all are."""

    text: str
    score: float
    places: list[float]
    confidences: list[float]

    def words(self, pixels: np.ndarray, quad: np.ndarray) -> Piece:
        """Its words, with boxes; none where nothing was read."""
        pitch = float(np.median(np.diff(self.places))) if len(self.places) > 1 else 1.0
        words, spans, sure = [], [], []
        seen = 0  # visible characters before the word
        for start, end in word_spans(self.text):
            places = self.places[seen : seen + end - start]
            seen += end - start
            words.append(self.text[start:end])
            spans.append((max(places[0] - pitch / 2, 0.0), min(places[-1] + pitch / 2, 1.0)))
            sure.append(float(np.mean(self.confidences[start:end])))
        boxes = fit_words(pixels, quad, spans) if words else []
        return [Word(*parts, -1) for parts in zip(words, boxes, sure, strict=True)]
