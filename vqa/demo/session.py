"""A question about one picture, and the same question with a part of the picture removed. No page is needed.

Whatever is at fault in what a visitor gives is a `UserError` whose message says so in plain words, without
the path that the picture has on the server.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from torch import nn

from vqa.answer_settings import AnswerSettings
from vqa.confidences import softmax
from vqa.counterfactuals import covers, pixel_boxes, random_regions, remove_regions
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.images import ImageProblem, check_image, open_image
from vqa.inference import decide
from vqa.prediction_runs import Line, check_confidence, prediction_line
from vqa.questions import is_correct
from vqa.single_question import single_record

MAX_QUESTION = 2_000  # characters, of the question and of its candidates
MAX_CANDIDATES = 64
MAX_BOXES = 32
_NUMBER = r"\s*(-?[0-9]{1,7}(?:\.[0-9]{1,6})?)\s*"
_BOX = re.compile(rf"\[?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]?")

Record = dict[str, Any]
Box = Sequence[float]


@dataclass(frozen=True)
class Turn:
    """One question that was answered.

    Attributes:
        record: what was asked.
        line: the prediction, as docs/contract.md has it.
        shares: of a closed type, the probability of each candidate, most probable first.
        removed: regions that were taken out of the picture before it was asked about, whole pixels.
    """

    record: Record
    line: Line
    shares: dict[str, float]
    removed: list[Box]


@dataclass(frozen=True)
class Asker:
    """A checkpoint that is asked as it was trained.

    Attributes:
        max_image_pixels: pictures of more are refused without being decoded.
        max_new_tokens: limit for an answer, and for what stands before it; None: by style.
    """

    model: nn.Module
    encoder: PromptEncoder
    answers: AnswerSettings
    max_image_pixels: int
    max_new_tokens: int | None = None

    def ask(self, picture: str | None, question: str, question_type: str = "", candidates: str = "") -> Turn:
        """Answer a question about a picture's file.

        Args:
            question_type: "" to infer it.
            candidates: what may be answered, separated by commas; "" where nothing is given.

        Raises:
            UserError: no picture, one that cannot be used, or a question that cannot be asked.
        """
        self.check(picture)
        if max(len(question), len(candidates)) > MAX_QUESTION:
            raise UserError(f"question and candidates: at most {MAX_QUESTION:,} characters")
        texts = list(dict.fromkeys(text.strip() for text in candidates.split(",") if text.strip()))
        if len(texts) > MAX_CANDIDATES:
            raise UserError(f"candidates: at most {MAX_CANDIDATES}")
        record = single_record(question, [picture], question_type or None, texts, self.max_image_pixels)
        return self._answer(record, [])

    def ask_without(
        self, turn: Turn, boxes: Sequence[Box], method: str = "telea", elsewhere: bool = False
    ) -> tuple[Turn, Image.Image]:
        """The same question about the picture without some boxes, or without as much somewhere else.

        Args:
            boxes: [x0, y0, x1, y1] each, pixels.
            method: how they are filled, one of `vqa.counterfactuals.METHODS`.
            elsewhere: leave the boxes as they are and remove random regions of their size.

        Returns:
            The new turn, and the picture that was asked about.

        Raises:
            UserError: no boxes, nothing would be left to see, or there is no room elsewhere.
        """
        if not boxes:
            raise UserError("there is no box to remove: the model gave none, so type one (x0, y0, x1, y1)")
        try:
            image = open_image(turn.record["images"][0], self.max_image_pixels)
        except ImageProblem as problem:
            raise UserError(f"the picture {problem}; give it again") from problem
        if covers(image.size, boxes):
            raise UserError("the boxes cover the picture: nothing would be left to look at")
        regions = pixel_boxes(boxes, image.size)
        if elsewhere:
            regions = random_regions(image.size, boxes, random.Random())
        if regions is None:
            raise UserError("there is no room for as much elsewhere")
        without = remove_regions(image, regions, method)
        with TemporaryDirectory(prefix="vqa-demo-") as folder:
            path = Path(folder) / "without.png"
            without.save(path, compress_level=1)
            return self._answer(turn.record | {"images": [str(path)]}, regions), without

    def check(self, picture: str | None) -> None:
        """Raise a `UserError` where a picture's file cannot be used."""
        if picture is None:
            raise UserError("there is no picture yet: upload one or choose an example")
        try:
            check_image(picture, self.max_image_pixels)
        except ImageProblem as problem:
            raise UserError(f"the picture {problem}") from problem

    def _answer(self, record: Record, removed: Sequence[Box]) -> Turn:
        try:
            (decision,) = decide(
                self.model,
                self.encoder,
                [record],
                self.answers.style,
                allow_unanswerable=self.answers.allow_unanswerable,
                box_format=self.answers.box_format,
                max_new_tokens=self.max_new_tokens,
            )
        except UserError as error:  # a shape that the model cannot take
            raise UserError(str(error).replace(record["images"][0], "the picture")) from error
        line = prediction_line(record, decision)
        check_confidence([line])
        scores = decision.scores or {}
        shares = dict(zip(scores, softmax(list(scores.values())), strict=True)) if scores else {}
        shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
        return Turn(record, line, shares, list(removed))


def is_withheld(line: Line, abstain_below: float) -> bool:
    """Whether an answer is not given: the model abstained, or is less sure than `abstain_below` (0 to 1)."""
    return line["abstained"] or line["confidence"] is None or line["confidence"] < abstain_below


def answer_changed(before: Line, after: Line) -> bool:
    """Whether the second answer is another one by the rule of the question's type; to abstain is one too."""
    if before["abstained"] or after["abstained"]:
        return before["abstained"] != after["abstained"]
    return not is_correct(before["qtype"], after["pred"], [before["pred"]], before["answer_candidates"])


def parse_boxes(text: str, image_size: Sequence[int]) -> list[list[float]]:
    """Boxes as typed, "x0, y0, x1, y1" in pixels, one a line or parted by semicolons; cut to the image.

    Raises:
        UserError: a box that is none, or lies outside of the image; too many.
    """
    parts = [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]
    if len(parts) > MAX_BOXES:
        raise UserError(f"boxes: at most {MAX_BOXES}")
    return [_parse_box(part, image_size) for part in parts]


def _parse_box(part: str, image_size: Sequence[int]) -> list[float]:
    match = _BOX.fullmatch(part)
    if match is None:
        raise UserError(f"box {part[:40]!r}: four numbers x0, y0, x1, y1 in pixels are needed")
    x0, y0, x1, y1 = (float(value) for value in match.groups())
    width, height = image_size
    if x0 >= x1 or y0 >= y1:
        raise UserError(f"box {part!r}: x0 < x1 and y0 < y1 are needed")
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise UserError(f"box {part!r} lies outside of the picture of {width}x{height}")
    return [max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))]


def write_boxes(boxes: Sequence[Box]) -> str:
    """What `parse_boxes` reads, one box a line."""
    return "\n".join(", ".join(f"{value:.6g}" for value in box) for box in boxes)
