"""What a policy's answer owes to the region it points at, measured while the policy is trained.

For each completion with boxes: the probability of its answer under the image, under the image without the
boxes, and under that without a random region of the same area and shape. Nothing is generated, and the answer
is asked for under the `short` prompt, so that the completion's own caption cannot give it away.
"""

import copy
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from vqa.answers import StructuredAnswer
from vqa.confidences import answer_confidences
from vqa.counterfactuals import covers, pixel_boxes, random_regions, remove_regions
from vqa.encoding import PromptEncoder
from vqa.images import boxes_to_pixels
from vqa.rollouts import as_record

Row = dict[str, Any]
_NOTHING = "nothing"  # the image of the question that a process asks when it has fewer batches than others


@dataclass
class _Question:
    """One question about one image, and the answers whose probability is wanted."""

    record: Row
    answers: dict[str, float] = field(default_factory=dict)


class LiveCounterfactuals:
    """Measures both differences for completions of a policy.

    Args:
        encoder: of the policy.
        allow_unanswerable: whether the policy was trained to say so.
        method: how regions are filled, one of `vqa.counterfactuals.METHODS`.
        seed: draws random regions: the same ones for the same boxes of an image, whenever they come up.
        batch_size: questions a forward.
        max_bytes: of masked images kept; the least recently used go first.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        *,
        allow_unanswerable: bool,
        method: str = "telea",
        seed: int = 0,
        batch_size: int = 16,
        max_bytes: int = 2**29,
    ) -> None:
        self.encoder = copy.copy(encoder)
        self._open_file = encoder.open
        self.encoder.open = self._open
        self.allow_unanswerable = allow_unanswerable
        self.method = method
        self.seed = seed
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self._masked: OrderedDict[str, Image.Image] = OrderedDict()
        self._blank = {
            **{"images": [_NOTHING], "question": "?", "question_type": "open_ended"},
            **{"answers": [], "answer_candidates": None},
        }

    @torch.no_grad()
    def differences(
        self,
        model: nn.Module,
        rows: Sequence[Row],
        answers: Sequence[StructuredAnswer | None],
        accelerator: Accelerator,
    ) -> tuple[list[float], list[float]]:
        """p(a | x) - p(a | x without the boxes), and the same of a random region, for each completion.

        Every process runs as many forwards as the one that has most to ask, since weights may be sharded.

        Args:
            model: the policy, not wrapped by DDP.
            rows: of `vqa.rollouts.rollout_rows`, one a completion.
            answers: the completions, read; None where one cannot be.

        Returns:
            0 and 0 where there is nothing to compare: no readable completion, no boxes or no image, boxes
            over nearly all of the image, or no room for a random region.
        """
        questions: dict[tuple[str, str], _Question] = {}
        asked = [self._ask(row, read, questions) for row, read in zip(rows, answers, strict=True)]
        self._answer(model, list(questions.values()), accelerator)
        self._forget()
        roi, rand = [], []
        for three, read in zip(asked, answers, strict=True):
            values = [question.answers[read.answer.strip()] for question in three] or [0.0] * 3
            roi.append(values[0] - values[1])
            rand.append(values[0] - values[2])
        return roi, rand

    def _ask(
        self, row: Row, read: StructuredAnswer | None, questions: dict[tuple[str, str], _Question]
    ) -> list[_Question]:
        """The completion's question about its three images, added to `questions` where they are new."""
        if read is None or not read.boxes or not row["images"]:
            return []
        image = row["images"][0]
        in_pixels = boxes_to_pixels(read.boxes, image.size, row["box_format"], row["resized_size"])
        boxes = pixel_boxes(in_pixels, image.size)
        source = f"{self.seed}/{row['image_sha256'][0]}/{boxes}"
        regions = random_regions(image.size, boxes, random.Random(source))
        if covers(image.size, boxes) or regions is None:
            return []
        first, *others = row["image_paths"]
        names = [first, self._without(first, image, boxes), self._without(first, image, regions)]
        three = []
        for name in names:
            question = questions.setdefault((row["id"], name), _Question(as_record(row, [name, *others])))
            question.answers[read.answer.strip()] = 0.0
            three.append(question)
        return three

    def _without(self, path: str, image: Image.Image, regions: Sequence[Sequence[int]]) -> str:
        """The name of a masked image, which `_open` knows."""
        name = f"{path} without {regions}"
        if name not in self._masked:
            self._masked[name] = remove_regions(image, regions, self.method)
        self._masked.move_to_end(name)
        return name

    def _open(self, name: str) -> Image.Image:
        if name == _NOTHING:
            return Image.new("RGB", (64, 64), "white")
        return self._masked[name] if name in self._masked else self._open_file(name)

    def _forget(self) -> None:
        kept = sum(image.width * image.height * 3 for image in self._masked.values())
        while kept > self.max_bytes:
            _, image = self._masked.popitem(last=False)
            kept -= image.width * image.height * 3

    def _answer(self, model: nn.Module, questions: list[_Question], accelerator: Accelerator) -> None:
        batches = [questions[i : i + self.batch_size] for i in range(0, len(questions), self.batch_size)]
        most = accelerator.gather(torch.tensor([len(batches)], device=accelerator.device)).max().item()
        training = model.training
        model.eval()
        for batch in batches + [[_Question(self._blank, {"": 0.0})]] * (most - len(batches)):
            found = answer_confidences(
                model,
                self.encoder,
                [question.record for question in batch],
                [list(question.answers) for question in batch],
                allow_unanswerable=self.allow_unanswerable,
            )
            for question, values in zip(batch, found, strict=True):
                question.answers = dict(zip(question.answers, values, strict=True))
        model.train(training)
