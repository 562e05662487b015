"""How a model is fed in training: records become rows, and rows a batch with labels on the answers only."""

from collections.abc import Sequence
from typing import Any

import torch

from vqa.branches import BranchedRow, batch_rows, branch
from vqa.encoding import EncodedPrompt, PromptEncoder
from vqa.errors import UserError
from vqa.prompts import build_answer
from vqa.teacher_cache import TeacherCache

Record = dict[str, Any]
EncodedRow = tuple[
    list[EncodedPrompt], list[list[int]]
]  # prompts that share a row, and their answers' tokens


class AnswerCollator:
    """Records to training batches: loss on the answer's tokens and its end token only.

    Args:
        encoder: the model's prompt encoder.
        style: a function from record to answer style.
        box_format: coordinates in the text, `norm1000` or `pixels`.
        max_length: longest prompt with its answer, in tokens; None: no limit.
        group_by_image: questions of the same images share a row (vqa/branches.py).

    Attributes:
        filler: a prompt with an image, added with nothing supervised to batches that have no image. With
            several processes every one must run the vision tower as often as the others, or they wait for
            each other.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        style,
        box_format: str = "norm1000",
        max_length: int | None = None,
        group_by_image: bool = False,
    ):
        self.filler: EncodedPrompt | None = None
        self.encoder = encoder
        self.style = style
        self.box_format = box_format
        self.max_length = max_length
        self.group_by_image = group_by_image

    def __call__(self, records: list[Record] | list[list[list[Record]]]) -> dict[str, torch.Tensor]:
        """One batch.

        Args:
            records: records, or one planned batch (`vqa.rows`): its rows, each a list of records.

        Returns:
            As `PromptEncoder.batch`, or as `vqa.branches.batch_rows` where some row holds several questions.

        Raises:
            UserError: a row is longer than `max_length`; cutting it would cut the answer or the image.
        """
        return self.join(self.encode(self.rows(records)))

    def rows(self, records: list[Record] | list[list[list[Record]]]) -> list[list[Record]]:
        """The rows of a batch: those planned, or made of records here."""
        if isinstance(records[0], list):
            (rows,) = records
            return rows
        return self.rows_of(records) if self.group_by_image else [[record] for record in records]

    def encode(self, rows: list[list[Record]]) -> list[EncodedRow]:
        """Prompts and answers of each row."""
        return [self._encode(row) for row in rows]

    def join(self, encoded: list[EncodedRow]) -> dict[str, torch.Tensor]:
        """Encoded rows as one batch, its supervised tokens in the order of rows and of records in them."""
        if self.filler is not None and not any(prompts[0].image_inputs for prompts, _ in encoded):
            encoded = [*encoded, ([self.filler], [[]])]
        if all(len(prompts) == 1 for prompts, _ in encoded):
            prompts, completions = zip(
                *((prompts[0], answers[0]) for prompts, answers in encoded), strict=True
            )
            return self.encoder.batch(list(prompts), list(completions))
        return batch_rows(self.encoder, [self._row(*row) for row in encoded])

    def rows_of(self, records: Sequence[Record]) -> list[list[Record]]:
        """Records that can share a row, together: those about the same images, in the same style."""
        rows: dict[Any, list[Record]] = {}
        for number, record in enumerate(records):
            rows.setdefault(row_key(record["images"], self.style(record)) or number, []).append(record)
        return list(rows.values())

    def _encode(self, records: list[Record]) -> EncodedRow:
        """Prompts and answers of one row, whose records have one style."""
        style = self.style(records[0])
        prompts = self.encoder.encode(records, style)
        answers = []
        for record, prompt in zip(records, prompts, strict=True):
            text = build_answer(record, style, self.box_format, prompt.resized_sizes)
            answers.append(self.encoder.answer_ids(text))
            length = len(prompt.input_ids) + len(answers[-1])
            if self.max_length is not None and length > self.max_length:
                raise UserError(
                    f"record {record['id']}: {length} tokens are more than max_length {self.max_length}; "
                    "raise it, or lower --max_pixels"
                )
        return prompts, answers

    def _row(self, prompts: list[EncodedPrompt], answers: list[list[int]]) -> BranchedRow:
        if answers == [[]]:  # the filler: all of it is prefix
            return BranchedRow(prompts[0].input_ids, [], prompts[0].image_inputs)
        return branch(prompts, answers)


def row_key(images: Sequence[str], style: str) -> tuple | None:
    """What records of one row have in common; None for a text-only record, which has a row of its own."""
    return (style, *images) if images else None


class TaughtCollator(AnswerCollator):
    """Batches with what a teacher said of their supervised tokens, out of its cache.

    Attributes:
        cache: its `batch` is asked for the records whose field `place` says where they stand in it; records
            without that field (validation) come without a teacher.
    """

    cache: TeacherCache

    def __call__(self, records: list[Record] | list[list[list[Record]]]) -> dict[str, torch.Tensor]:
        rows = self.rows(records)
        encoded = self.encode(rows)
        batch = self.join(encoded)
        asked = [record for row in rows for record in row]
        if not all("place" in record for record in asked):
            return batch
        lengths = [len(answer) for _, answers in encoded for answer in answers]
        return batch | self.cache.batch([record["place"] for record in asked], lengths)
