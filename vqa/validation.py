"""Accuracy while training: the validation records answered as `predict.py` answers them."""

import torch
from accelerate import Accelerator
from torch import nn

from vqa.collators import AnswerCollator
from vqa.inference import decide
from vqa.questions import is_correct
from vqa.record_checks import Record


def answer_accuracy(
    model: nn.Module, collator: AnswerCollator, records: list[Record], accelerator: Accelerator, sharded: bool
) -> float:
    """Share of records answered right, from 0 to 1; the same number on every process.

    Args:
        collator: its encoder, main style and box format are those of the answers.
        sharded: each process holds a part of the weights only: they are gathered by all processes together,
            so all must run the same forwards. Else the processes share the records.
    """
    mine = records if sharded else records[accelerator.process_index :: accelerator.num_processes]
    decisions = decide(model, collator.encoder, mine, collator.style.main, box_format=collator.box_format)
    right = sum(
        is_correct(
            record["question_type"],
            decision.answer,
            record["answers"],
            record["answer_candidates"],
            answerable=record["answerable"],
        )
        for record, decision in zip(mine, decisions, strict=True)
    )
    totals = torch.tensor([right, len(mine)], device=accelerator.device, dtype=torch.float64)
    right, count = (totals if sharded else accelerator.reduce(totals)).tolist()
    return right / count
