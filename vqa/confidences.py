"""How sure a model is of answers that are given to it, from forward passes alone."""

import math

import torch
from torch import nn

from vqa.answers import UNANSWERABLE, is_abstention
from vqa.decisions import Record, candidates_of, is_closed
from vqa.encoding import PromptEncoder
from vqa.prefixes import prefill
from vqa.prompts import spelt_as_target
from vqa.scoring import score_completions


def answer_confidences(
    model: nn.Module,
    encoder: PromptEncoder,
    records: list[Record],
    answers: list[list[str]],
    *,
    allow_unanswerable: bool = False,
) -> list[list[float]]:
    """The confidence that `decide` would give to each of some answers in the style `short`, from 0 to 1.

    Nothing is generated: two forwards answer for all records, one of the prompts and one of the answers.

    Args:
        model: in eval mode.
        records: run as one batch; those about the same images share them.
        answers: of each record, as they would stand in a prediction.
        allow_unanswerable: whether the word `unanswerable` is among the candidates of closed types.

    Returns:
        p of each answer. An answer to a closed type that is none of the candidates has 0: it cannot be given.
    """
    prompts = prefill(model, encoder, encoder.encode(records, "short"))
    wanted = [[_option(record, text) for text in row] for record, row in zip(records, answers, strict=True)]
    options = [
        candidates_of(record, allow_unanswerable) if is_closed(record) else list(dict.fromkeys(row))
        for record, row in zip(records, wanted, strict=True)
    ]
    ids = [[encoder.answer_ids(text) for text in row] for row in options]
    scores = score_completions(model, encoder, prompts, ids, max_cache_bytes=None)
    confidences = []
    for record, row, texts, tokens, sums in zip(records, wanted, options, ids, scores, strict=True):
        if is_closed(record):
            values = softmax(sums)
        else:
            values = [math.exp(total / len(text)) for total, text in zip(sums, tokens, strict=True)]
        known = dict(zip(texts, values, strict=True))
        confidences.append([known.get(text, 0.0) for text in row])
    return confidences


def softmax(sums: list[float]) -> list[float]:
    """Shares of 1 in double precision, of sums of log probabilities."""
    return torch.tensor(sums, dtype=torch.float64).softmax(0).tolist()


def _option(record: Record, answer: str) -> str:
    """Of a closed type the candidate that an answer means, or the word for abstaining; else the answer."""
    if is_closed(record) and is_abstention(answer) and answer not in record["answer_candidates"]:
        return UNANSWERABLE
    return spelt_as_target(record, answer)
