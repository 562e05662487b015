"""What training scripts share: the order of records, learning rates by part, the check of the first batch."""

import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.utils.data import Sampler

from vqa.collators import IGNORED, AnswerCollator
from vqa.errors import UserError
from vqa.models import family_of
from vqa.prompts import BOX_FORMATS, STYLES, build_answer


class EpochSampler(Sampler[int]):
    """Every record about `weight` times an epoch, in an order given by (seed, epoch) alone.

    A weight's whole part is kept each epoch and its fraction by chance, so with weights of 1 an epoch is a
    permutation. The weights are scaled to keep the epoch's length that of the data.

    Args:
        size: number of records.
        weights: one a record, or None for equal ones.
        seed: of the order.
        lengths: row lengths in any unit; given, rows of like length share a batch (less padding): runs of
            50 batches are sorted by length, then the batches are shuffled.
        batch_size: rows a batch, for that.
    """

    def __init__(
        self,
        size: int,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        batch_size: int = 1,
    ) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self.lengths = lengths
        self.batch_size = batch_size
        self.repeats = None
        if weights is not None:
            self.repeats = torch.tensor(weights, dtype=torch.float64)
            self.repeats *= size / self.repeats.sum()

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        order = self._draw(generator)
        return iter(order if self.lengths is None else self._batch_by_length(order, generator))

    def _draw(self, generator: torch.Generator) -> list[int]:
        if self.repeats is None:
            return torch.randperm(self.size, generator=generator).tolist()
        # Systematic sampling: one uniform offset, `size` draws, each record floor(w) or ceil(w) times.
        ticks = torch.arange(self.size) + torch.rand(1, generator=generator, dtype=torch.float64)
        order = torch.randperm(self.size, generator=generator)
        drawn = order[torch.searchsorted(self.repeats[order].cumsum(0), ticks).clamp(max=self.size - 1)]
        return drawn[torch.randperm(self.size, generator=generator)].tolist()

    def _batch_by_length(self, order: list[int], generator: torch.Generator) -> list[int]:
        run = 50 * self.batch_size
        order = [
            index
            for start in range(0, self.size, run)
            for index in sorted(order[start : start + run], key=self.lengths.__getitem__)
        ]
        batches = [order[start : start + self.batch_size] for start in range(0, self.size, self.batch_size)]
        last = [batches.pop()] if self.size % self.batch_size else []
        shuffled = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
        return [index for batch in shuffled + last for index in batch]


def parse_weights(option: str, values: list[str] | None) -> dict[str, float]:
    """`["docvqa=2", "funsd=0.5"]` as a dict.

    Raises:
        UserError: not of the form NAME=NUMBER, or a negative number.
    """
    weights = {}
    for value in values or []:
        name, _, number = value.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            name = ""
        if not name or not 0 <= weights[name] < math.inf:
            raise UserError(f"--{option} {value}: expected NAME=NUMBER, the number at least 0")
    return weights


def record_weights(
    sources: Sequence[str],
    types: Sequence[str],
    source_weights: dict[str, float],
    type_weights: dict[str, float],
) -> list[float] | None:
    """Each record's sampling weight: its source's times its type's (1 where none is given).

    Raises:
        UserError: a named source or type does not occur, or all weights are 0.
    """
    if not source_weights and not type_weights:
        return None
    for option, given, found in (
        ("source", source_weights, set(sources)),
        ("type", type_weights, set(types)),
    ):
        unknown = sorted(set(given) - found)
        if unknown:
            raise UserError(
                f"--{option}_weights: no record has the {option} '{unknown[0]}'; "
                f"found: {', '.join(sorted(found))}"
            )
    weights = [
        source_weights.get(source, 1.0) * type_weights.get(kind, 1.0)
        for source, kind in zip(sources, types, strict=True)
    ]
    if not any(weights):
        raise UserError("--source_weights, --type_weights: every record has weight 0")
    return weights


class StyleMix:
    """Which answer style a record is asked in: one for all, or shares decided by the record's id.

    Args:
        text: a style (`short`), or shares (`short=0.7,structured=0.3`).
    """

    def __init__(self, text: str) -> None:
        shares = parse_weights("answer_style", text.split(",")) if "=" in text else {text: 1.0}
        unknown = [style for style in shares if style not in STYLES]
        if unknown or not sum(shares.values()):
            raise UserError(f"--answer_style {text}: choose from {', '.join(STYLES)}")
        total = sum(shares.values())
        self.shares = {style: share / total for style, share in shares.items()}
        self.main = max(self.shares, key=self.shares.__getitem__)

    def __call__(self, record: dict[str, Any]) -> str:
        if len(self.shares) == 1:
            return self.main
        # A fixed, platform-independent hash: the same record gets the same style in every run.
        point = zlib.crc32(f"{record['id']}".encode()) / 2**32
        for style, share in self.shares.items():
            point -= share
            if point < 0:
                return style
        return self.main


def text_lengths(rows, style: "StyleMix") -> list[int]:
    """Characters of text in each record's row, a measure of its length that costs no tokenizer."""
    lengths = []
    for record in rows.remove_columns(["images", "image_sizes", "image_sha256", "meta"]):
        length = len(record["question"]) + sum(map(len, record["answer_candidates"] or []))
        length += len((record["answers"] or [""])[0])
        if style(record) in ("think", "structured"):
            length += sum(map(len, record["reasoning"]))
        if style(record) == "structured":
            length += 60 + len(record["caption"] or "") + 24 * len(record["boxes"])
        lengths.append(length)
    return lengths


def check_box_format(box_format: str) -> None:
    """Refuse an unknown coordinate convention."""
    if box_format not in BOX_FORMATS:
        raise UserError(f"--box_format {box_format}: choose from {', '.join(BOX_FORMATS)}")


def split_by_part(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, rates: dict[str, float | None]
) -> None:
    """Divide the optimizer's groups so that each part of the model learns at its own rate.

    Args:
        rates: learning rate of a part, None for the optimizer's own.
    """
    family = family_of(model.config)
    part = {id(parameter): family.part_of(name) for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        for name, rate in rates.items():
            members = [parameter for parameter in group["params"] if part[id(parameter)] == name]
            if members:
                groups.append(group | {"params": members, "lr": group["lr"] if rate is None else rate})
    optimizer.param_groups = groups


def supervised_columns(labels: torch.Tensor) -> torch.Tensor:
    """Positions whose next token is supervised in some row of (batch, length) labels; never empty."""
    columns = (labels[:, 1:] != IGNORED).any(dim=0).nonzero().squeeze(1)
    return columns if len(columns) else columns.new_zeros(1)


def supervised_loss(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Summed cross-entropy of the supervised tokens, how many were the likeliest one, and how many there are.

    Args:
        inputs: a batch with `labels` (batch, length).
        columns: from `supervised_columns`: the positions whose logits are needed.
    """
    labels = inputs["labels"][:, columns + 1]
    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**prompt, use_cache=False, logits_to_keep=columns).logits
    supervised = labels != IGNORED
    logits, targets = logits[supervised].float(), labels[supervised]
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    return loss, (logits.argmax(-1) == targets).sum(), supervised.sum()


def supervised_example(collator: AnswerCollator, record: dict[str, Any]) -> str:
    """One training row decoded, its supervised part between >>> and <<<; runs of one token are shortened."""
    batch = collator([record])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    tokenizer = collator.encoder.tokenizer
    pieces, inside, index = [], False, 0
    while index < len(ids):
        if (labels[index] != IGNORED) != inside:
            inside = not inside
            pieces.append(" >>>" if inside else "<<< ")
        run = index
        while run < len(ids) and ids[run] == ids[index]:
            run += 1
        if run - index > 3:
            pieces.append(f"{tokenizer.decode([ids[index]])}*{run - index}")
            index = run
            continue
        end = index + 1
        while end < len(ids) and (labels[end] != IGNORED) == inside and ids[end] != ids[end - 1]:
            end += 1
        pieces.append(tokenizer.decode(ids[index:end]))
        index = end
    return "".join(pieces) + ("<<<" if inside else "")


def check_supervision(collator: AnswerCollator, records: list[dict[str, Any]]) -> None:
    """Refuse to train where the supervised tokens are not the answer and its end token.

    Raises:
        UserError: a record without a supervised token, with a supervised image token, or whose supervised
            tokens decode to something other than its answer.
    """
    encoder = collator.encoder
    image_token = encoder.processor.image_token_id
    for record in records:
        batch = collator([record])
        labels = batch["labels"][0]
        supervised = labels[labels != IGNORED].tolist()
        if not supervised:
            raise UserError(f"record {record['id']}: no supervised token, so nothing would be learnt from it")
        if image_token in supervised:
            raise UserError(f"record {record['id']}: an image token is supervised; the labels are wrong")
        # Labels stand at the positions of their tokens: the model shifts them itself.
        if not torch.equal(batch["input_ids"][0][labels != IGNORED], labels[labels != IGNORED]):
            raise UserError(f"record {record['id']}: labels are shifted against the input")
        style = collator.style(record)
        sizes = encoder.encode([record], style)[0].resized_sizes
        expected = encoder.answer_ids(build_answer(record, style, collator.box_format, sizes))
        if supervised != expected:
            decode = encoder.tokenizer.decode
            raise UserError(
                f"record {record['id']}: supervised tokens decode to {decode(supervised)!r}, "
                f"not to the answer {decode(expected)!r}"
            )


def allow_fsdp_on_cpu() -> None:
    """Let FSDP2 shard on CPU processes, which accelerate 1.15 would quietly train with DDP instead."""
    cpu_processes = PartialState().distributed_type == DistributedType.MULTI_CPU
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and cpu_processes:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def spread(size: int, count: int) -> list[int]:
    """`count` indices spread evenly over `range(size)`."""
    return [index * size // count for index in range(min(size, count))]


def summarize(values: Sequence[str]) -> str:
    """Counts of values, most frequent first: `yes_no 12, color 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in Counter(values).most_common())
