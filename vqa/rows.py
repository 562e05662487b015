"""Which questions share a row and which rows a batch, when questions are grouped by their image.

An epoch draws every question as often as it would ungrouped (`vqa.sampling`), in an order given by
(seed, epoch) alone; questions that fall to the same image are put in one row, up to a limit, and rows of
like length in one batch, up to a budget of tokens or questions.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from vqa.collators import row_key
from vqa.decisions import questions_per_image
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.image_tokens import image_token_counter
from vqa.prompts import build_answer, question_text
from vqa.sampling import EpochSampler, order_seed

# Grouping is on by default where images have so many questions on average.
GROUPED_FROM = 2

Record = dict[str, Any]
Row = list[int]  # indices of records
NEEDED = [
    *("id", "image_sizes", "question", "question_type", "answers", "answer_candidates", "answerable"),
    *("caption", "reasoning", "boxes", "box_images"),
]
# Rows are sorted by length within runs of this many batches: little padding, and still a random order.
BATCHES_PER_RUN = 50


@dataclass(frozen=True)
class RowLimits:
    """What fits in a row and in a batch.

    Attributes:
        questions: in a batch; None: no limit.
        tokens: in a batch, padding and all; None: no limit.
        questions_per_image: in a row; None: all that are drawn.
    """

    questions: int | None
    tokens: int | None
    questions_per_image: int | None


class RowSampler(Sampler[list[Row]]):
    """One planned batch after the other: its rows, each a list of record indices.

    Every epoch has the same number of batches, a multiple of `num_processes`, since the trainer counts on it:
    the budget gives way by some percent where an epoch draws longer rows, and batches are halved where one is
    missing. A question is drawn twice for it only where every batch has a single one.

    Args:
        records: draws an epoch's record indices.
        keys: of each record; records with the same key may share a row, None shares with none.
        prefix_lengths, branch_lengths: tokens of each record's image part, and of its question and answer.
        limits: of rows and batches.
        num_processes: batches are dealt to these in turn.
    """

    def __init__(
        self,
        records: EpochSampler,
        keys: Sequence[Hashable | None],
        prefix_lengths: Sequence[int],
        branch_lengths: Sequence[int],
        limits: RowLimits,
        num_processes: int = 1,
    ) -> None:
        self.records = records
        self.keys = keys
        self.prefix_lengths = prefix_lengths
        self.branch_lengths = branch_lengths
        self.limits = limits
        self.epoch = 0
        self._plan: tuple[int, list[list[Row]]] | None = None
        count = len(self._pack(self._rows(0), limits.tokens))
        self.num_batches = -(-count // num_processes) * num_processes

    @property
    def shares_rows(self) -> bool:
        """Whether some questions share a row."""
        return any(key is not None for key in self.keys)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Row]]:
        return iter(self.plan(self.epoch))

    def plan(self, epoch: int) -> list[list[Row]]:
        """The epoch's batches."""
        if self._plan is None or self._plan[0] != epoch:
            rows = self._rows(epoch)
            tokens, batches = self.limits.tokens, self._pack(rows, self.limits.tokens)
            while len(batches) > self.num_batches and tokens is not None:
                tokens += -(-tokens // 100)
                batches = self._pack(rows, tokens)
            self._plan = epoch, self._shuffled(self._fit(batches), epoch)
        return self._plan[1]

    def tokens(self) -> tuple[int, int]:
        """Tokens of the first epoch, padding and all; and with a row for each question, without."""
        batches = self.plan(0)
        computed = sum(len(batch) * max(map(self.length, batch)) for batch in batches)
        drawn = [index for batch in batches for row in batch for index in row]
        return computed, sum(self.prefix_lengths[index] + self.branch_lengths[index] for index in drawn)

    def length(self, row: Row) -> int:
        """Tokens of a row."""
        return self.prefix_lengths[row[0]] + sum(self.branch_lengths[index] for index in row)

    def _rows(self, epoch: int) -> list[Row]:
        self.records.set_epoch(epoch)
        rows: list[Row] = []
        open_rows: dict[Hashable, Row] = {}  # of each key, the row that still takes questions
        for index in self.records:
            key = self.keys[index]
            row = None if key is None else open_rows.get(key)
            if row is None or not self._takes(row, index):
                row = []
                rows.append(row)
                if key is not None:
                    open_rows[key] = row
            row.append(index)
        return rows

    def _takes(self, row: Row, index: int) -> bool:
        limits = self.limits
        caps = [cap for cap in (limits.questions, limits.questions_per_image) if cap is not None]
        if caps and len(row) >= min(caps):
            return False
        return limits.tokens is None or self.length(row) + self.branch_lengths[index] <= limits.tokens

    def _pack(self, rows: list[Row], tokens: int | None) -> list[list[Row]]:
        """Rows of like length in batches within the budget; the order of rows decides which meet."""
        mean_questions = sum(map(len, rows)) / len(rows)
        if tokens is None:
            per_batch = max(1, self.limits.questions / mean_questions)
        else:
            per_batch = max(1, tokens / (sum(map(self.length, rows)) / len(rows)))
        run = int(BATCHES_PER_RUN * per_batch)
        batches: list[list[Row]] = []
        for start in range(0, len(rows), run):
            batch: list[Row] = []
            for row in sorted(rows[start : start + run], key=self.length):
                # Sorted: the newest row is the longest, and all are padded to it.
                full = tokens is not None and (len(batch) + 1) * self.length(row) > tokens
                if self.limits.questions is not None:
                    full = full or sum(map(len, batch)) + len(row) > self.limits.questions
                if batch and full:
                    batches.append(batch)
                    batch = []
                batch.append(row)
            batches.append(batch)
        return batches

    def _fit(self, batches: list[list[Row]]) -> list[list[Row]]:
        """Exactly `num_batches` of them: the fullest are halved, or two of the smallest joined."""
        batches = sorted(batches, key=_questions)
        while len(batches) > self.num_batches:
            batches = sorted([batches[0] + batches[1], *batches[2:]], key=_questions)
        while len(batches) < self.num_batches:
            *rest, fullest = batches
            if _questions(fullest) == 1:  # nothing to halve: the first are drawn twice
                return batches + [batches[n % len(batches)] for n in range(self.num_batches - len(batches))]
            batches = sorted([*rest, *_halves(fullest)], key=_questions)
        return batches

    def _shuffled(self, batches: list[list[Row]], epoch: int) -> list[list[Row]]:
        generator = torch.Generator().manual_seed(hash((self.records.seed, epoch, 1)) % 2**63)
        return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def _questions(batch: list[Row]) -> int:
    return sum(map(len, batch))


def _halves(batch: list[Row]) -> tuple[list[Row], list[Row]]:
    if len(batch) > 1:
        return batch[: len(batch) // 2], batch[len(batch) // 2 :]
    (row,) = batch
    return [row[: len(row) // 2]], [row[len(row) // 2 :]]


class PlannedBatches(Dataset):
    """Records by planned batch: `batches[plan]` is the plan with records for indices.

    Args:
        records: a `datasets.Dataset` of records.
    """

    def __init__(self, records: Any) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, plan: list[Row]) -> list[list[dict[str, Any]]]:
        return [[self.records[index] for index in row] for row in plan]


def plan_rows(
    records: Any,
    style: Callable[[Record], str],
    encoder: PromptEncoder,
    args: Any,
    weights: Sequence[float] | None,
) -> RowSampler | None:
    """Rows and batches for a training run; None where every question has a row and the batches a fixed size.

    Args:
        records: a `datasets.Dataset` of records.
        args: training arguments with `group_by_image`, `questions_per_image` and `tokens_per_batch`.
        weights: of the records in an epoch.

    Raises:
        UserError: a question alone is more than `tokens_per_batch`.
    """
    keys = [row_key(row["images"], style(row)) for row in records.select_columns(["id", "images"])]
    grouped = args.group_by_image
    if grouped is None:
        grouped = questions_per_image(records["images"]) >= GROUPED_FROM
    by_length = args.train_sampling_strategy == "group_by_length"
    if not (grouped or by_length or args.tokens_per_batch):
        return None
    limits = RowLimits(
        None if args.tokens_per_batch else args.per_device_train_batch_size,
        args.tokens_per_batch,
        args.questions_per_image,
    )
    prefixes, branches = row_lengths(records, style, encoder)
    for index, (prefix, branch) in enumerate(zip(prefixes, branches, strict=True)):
        if args.tokens_per_batch and prefix + branch > args.tokens_per_batch:
            raise UserError(
                f"record {records[index]['id']}: {prefix + branch} tokens are more than "
                f"--tokens_per_batch {args.tokens_per_batch}"
            )
    keys = keys if grouped else [None] * len(keys)
    sampler = EpochSampler(len(records), weights, order_seed(args))
    return RowSampler(sampler, keys, prefixes, branches, limits, args.world_size)


def sample_rows(batches: list[list[Row]], count: int = 2, questions: int = 8) -> list[Row]:
    """A few rows of several questions each, none of more than `questions`; empty if there are none."""
    shared = [row[:questions] for batch in batches for row in batch if len(row) > 1]
    return shared[:count]


def row_lengths(
    records: Any, style: Callable[[Record], str], encoder: PromptEncoder
) -> tuple[list[int], list[int]]:
    """Tokens of each record's prefix (system line and images), and of its question with the answer.

    Images are counted by their size, texts by the tokenizer; the template around them is measured once.

    Args:
        records: a `datasets.Dataset` of records.

    Raises:
        UserError: an image that the model's family refuses.
    """
    count = image_token_counter(encoder)
    prefixes, texts, answers = [], [], []
    for record in records.select_columns(NEEDED):
        try:
            prefixes.append(sum(count(*size) for size in record["image_sizes"]))
        except ValueError as error:
            raise UserError(f"record {record['id']}: {error}") from error
        texts.append(question_text(record, style(record)))
        answers.append(build_answer(record, style(record)))
    probe = {**records[0], "images": []}
    whole = len(encoder.encode([probe], style(probe))[0].input_ids)
    template = whole - len(encoder.tokenizer(texts[0], add_special_tokens=False)["input_ids"])
    questions, written = (_token_counts(encoder, rows) for rows in (texts, answers))
    return (
        [prefix + template for prefix in prefixes],
        [question + answer + 1 for question, answer in zip(questions, written, strict=True)],
    )


def _token_counts(encoder: PromptEncoder, texts: list[str]) -> list[int]:
    return [len(ids) for ids in encoder.tokenizer(texts, add_special_tokens=False)["input_ids"]]
