"""What training scripts share: styles, learning rates by part, the loss, and checks of the first batches."""

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED
from vqa.errors import UserError
from vqa.models import family_of
from vqa.prompts import BOX_FORMATS, STYLES, build_answer
from vqa.sampling import parse_weights


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
    image_token = encoder.image_token_id
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


def summarize(values: Sequence[str]) -> str:
    """Counts of values, most frequent first: `yes_no 12, color 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in Counter(values).most_common())
