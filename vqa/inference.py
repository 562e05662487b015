"""How an answer is decided, and how sure the model is of it: one function for every caller.

1. The styles `structured` and `think` first write what stands before the answer, under its grammar.
2. Closed types are *scored*: every candidate's log p (canonical tokens and end token) given all that stands
   before; the highest wins and the softmax over the sums is the confidence.
3. Everything else is generated greedily, under a grammar where style or type has one; confidence is
   exp(mean log p) over the answer's tokens and the end token, of the unmasked distribution.

`decoding="free"` lifts it all: whatever the model writes, taken apart afterwards.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from vqa.answers import (
    THINK_CLOSE,
    UNANSWERABLE,
    complete_structured,
    complete_structured_head,
    complete_think_head,
    is_abstention,
    parse_answer,
)
from vqa.collators import EncodedPrompt, PromptEncoder
from vqa.constraints import (
    admit_unanswerable,
    json_answer_grammar,
    structured_head_grammar,
    think_head_grammar,
    untagged_grammar,
)
from vqa.generation import Generated, generate
from vqa.images import boxes_to_pixels
from vqa.prompts import question_text
from vqa.questions import QUESTION_TYPES
from vqa.scoring import score_completions

DECODINGS = ("constrained", "free")
MAX_NEW_TOKENS = {"short": 64, "structured": 512, "think": 512, "transcribe": 512}

Record = dict[str, Any]


@dataclass
class Decision:
    """One decided answer.

    Attributes:
        answer: the text; "" when abstained.
        confidence: in [0, 1]; None when the model wrote nothing at all.
        raw: the whole text: of a closed type in a plain style the chosen candidate; where a limit cut the text
            off, as it was closed.
        boxes: evidence, pixels of the original (first) image, inside it.
        valid_format: whether the style's format was kept; None where it has none.
        scores: of a closed type, log p of each candidate.
    """

    answer: str
    confidence: float | None
    raw: str
    caption: str | None = None
    reasoning: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    valid_format: bool | None = None
    abstained: bool = False
    scores: dict[str, float] | None = None


@dataclass(frozen=True)
class _Settings:
    model: nn.Module
    encoder: PromptEncoder
    style: str
    allow_unanswerable: bool
    box_format: str
    max_new_tokens: int


def decide(
    model: nn.Module,
    encoder: PromptEncoder,
    records: list[Record],
    style: str,
    *,
    decoding: str = "constrained",
    allow_unanswerable: bool = False,
    box_format: str = "norm1000",
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> list[Decision]:
    """Answer every record, in their order.

    Args:
        model: an image-text-to-text model; put into eval mode for the time.
        records: complete records (`vqa.records.read_records`); their answers are not looked at.
        style: one of `vqa.prompts.STYLES`.
        decoding: `constrained` or `free`.
        allow_unanswerable: whether constraints admit the word `unanswerable`: when the model was trained on it.
        box_format: coordinates in the model's text, `norm1000` or `pixels` of the resized image.
        max_new_tokens: limit for the answer, and another such limit for what stands before it;
            default: by style.
        batch_size: records a batch.
        progress: show a bar.
    """
    limit = MAX_NEW_TOKENS[style] if max_new_tokens is None else max_new_tokens
    settings = _Settings(model, encoder, style, allow_unanswerable, box_format, limit)
    decide_batch = {"constrained": _decide_constrained, "free": _decide_free}[decoding]
    decisions: list[Decision | None] = [None] * len(records)
    training = model.training
    model.eval()
    try:
        with tqdm(total=len(records), unit="q", disable=not progress) as bar:
            for indices in plan_batches(records, style, batch_size):
                batch = [records[index] for index in indices]
                for index, decision in zip(indices, decide_batch(settings, batch), strict=True):
                    decisions[index] = decision
                bar.update(len(indices))
    finally:
        model.train(training)
    return decisions


def plan_batches(records: list[Record], style: str, batch_size: int) -> list[list[int]]:
    """Indices of records, batch by batch: alike in how they are decided, and in length of prompt.

    Depends on the records alone, so the same file is always batched the same way.
    """

    def likeness(index: int) -> tuple:
        record = records[index]
        pixels = sum(width * height for width, height in record["image_sizes"])
        return not is_closed(record), len(record["images"]), pixels, len(question_text(record, style)), index

    order = sorted(range(len(records)), key=likeness)
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def is_closed(record: Record) -> bool:
    """Whether a record is decided by scoring its candidates."""
    return QUESTION_TYPES[record["question_type"]].scored and bool(record["answer_candidates"])


def candidates_of(record: Record, allow_unanswerable: bool) -> list[str]:
    """What a closed record may be answered with."""
    candidates = list(dict.fromkeys(record["answer_candidates"]))
    return candidates + [UNANSWERABLE] * (allow_unanswerable and UNANSWERABLE not in candidates)


def answer_rule(record: Record, allow_unanswerable: bool) -> str | None:
    """The grammar of a record's bare answer by its type; None: any text."""
    grammar = QUESTION_TYPES[record["question_type"]].answer_grammar(record)
    return admit_unanswerable(grammar) if grammar and allow_unanswerable else grammar


# Constrained decoding


def _decide_constrained(settings: _Settings, records: list[Record]) -> Iterator[Decision]:
    encoded = settings.encoder.encode(records, settings.style)
    heads = _write_heads(settings, encoded)
    closed = [index for index, record in enumerate(records) if is_closed(record)]
    opened = [index for index, record in enumerate(records) if not is_closed(record)]
    decided: dict[int, tuple] = {}
    for indices, method in ((closed, _score), (opened, _generate_answers)):
        if indices:
            chosen = ([rows[index] for index in indices] for rows in (records, encoded, heads))
            decided |= zip(indices, method(settings, *chosen), strict=True)
    for index, record in enumerate(records):
        yield _decision(settings, record, encoded[index], *decided[index])


def _write_heads(settings: _Settings, encoded: list[EncodedPrompt]) -> list[str]:
    """The text before each answer: thoughts, or the object up to its answer; closed where the limit cut it off."""
    grammars = {"structured": lambda: structured_head_grammar(box_format=settings.box_format), "think": think_head_grammar}
    if settings.style not in grammars:
        return [""] * len(encoded)
    grammar = grammars[settings.style]()
    written = generate(settings.model, settings.encoder, encoded, [grammar] * len(encoded), settings.max_new_tokens)
    complete = complete_structured_head if settings.style == "structured" else complete_think_head
    return [complete(_text(settings.encoder, row.ids)) for row in written]


def _score(settings: _Settings, records: list[Record], encoded: list[EncodedPrompt], heads: list[str]) -> Iterator[tuple]:
    encoder = settings.encoder
    prompts, completions, texts = [], [], []
    for record, prompt, head in zip(records, encoded, heads, strict=True):
        written = {
            candidate: head + (json.dumps(candidate, ensure_ascii=False)[1:] + "}" if _in_json(settings) else candidate)
            for candidate in candidates_of(record, settings.allow_unanswerable)
        }
        ids = [encoder.answer_ids(text) for text in written.values()]
        # A head's tokens belong to the prompt, but for the last few, which may merge with the answer's.
        shared = _shared_tokens([encoder.answer_ids(head)[:-1], *ids])
        prompts.append(replace(prompt, input_ids=prompt.input_ids + ids[0][:shared]))
        completions.append([row[shared:] for row in ids])
        texts.append(written)
    for written, sums in zip(texts, score_completions(settings.model, encoder, prompts, completions), strict=True):
        probabilities = torch.tensor(sums, dtype=torch.float64).softmax(0).tolist()
        best = max(range(len(sums)), key=sums.__getitem__)
        candidate = list(written)[best]
        yield written[candidate], probabilities[best], dict(zip(written, sums, strict=True))


def _shared_tokens(rows: list[list[int]]) -> int:
    count = 0
    for tokens in zip(*rows, strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count


def _generate_answers(
    settings: _Settings, records: list[Record], encoded: list[EncodedPrompt], heads: list[str]
) -> Iterator[tuple]:
    encoder = settings.encoder
    prompts, grammars = [], []
    for record, prompt, head in zip(records, encoded, heads, strict=True):
        rule = answer_rule(record, settings.allow_unanswerable)
        if settings.style == "structured":
            rule = json_answer_grammar(rule)
        elif settings.style == "think" and rule is None:
            rule = untagged_grammar()
        head_ids = encoder.answer_ids(head)[:-1] if head else []
        prompts.append(replace(prompt, input_ids=prompt.input_ids + head_ids))
        grammars.append(rule)
    for head, row in zip(heads, generate(settings.model, encoder, prompts, grammars, settings.max_new_tokens), strict=True):
        text = head + _text(encoder, row.ids)
        if _in_json(settings) and not row.finished:
            text = complete_structured(text)
        yield text, _mean_probability(row.log_probs), None


def _in_json(settings: _Settings) -> bool:
    return settings.style == "structured"


# Free decoding


def _decide_free(settings: _Settings, records: list[Record]) -> Iterator[Decision]:
    encoder = settings.encoder
    encoded = encoder.encode(records, settings.style)
    rows = generate(settings.model, encoder, encoded, [None] * len(records), settings.max_new_tokens, free=True)
    for record, prompt, row in zip(records, encoded, rows, strict=True):
        first = _first_answer_token(encoder, row, settings.style)
        confidence = _mean_probability(row.log_probs[first:])
        yield _decision(settings, record, prompt, _text(encoder, row.ids), confidence, None)


_ANSWER_START = {"structured": re.compile(r'"answer"\s*:\s*"'), "think": re.compile(re.escape(THINK_CLOSE))}


def _first_answer_token(encoder: PromptEncoder, row: Generated, style: str) -> int:
    """Index of the first token with text of the answer; 0 where the style has no head, or the text lacks it."""
    if style not in _ANSWER_START:
        return 0
    starts = [match.end() for match in _ANSWER_START[style].finditer(_text(encoder, row.ids))]
    if not starts:
        return 0
    low, high = 0, len(row.ids) - 1
    while low < high:  # the first token after which the text is longer than the head
        middle = (low + high) // 2
        low, high = (low, middle) if len(_text(encoder, row.ids[: middle + 1])) > starts[-1] else (middle + 1, high)
    return low


# Text to decision


def _decision(
    settings: _Settings,
    record: Record,
    prompt: EncodedPrompt,
    text: str,
    confidence: float | None,
    scores: dict[str, float] | None,
) -> Decision:
    parsed = parse_answer(text, settings.style)
    # An abstaining phrase that the question itself offers ("cannot tell") is an answer.
    abstained = is_abstention(parsed.answer) and parsed.answer not in (record["answer_candidates"] or ())
    boxes = []
    if parsed.boxes and record["image_sizes"]:
        size = record["image_sizes"][0]
        boxes = _inside(boxes_to_pixels(parsed.boxes, size, settings.box_format, prompt.resized_sizes[0]), size)
    return Decision(
        answer="" if abstained else parsed.answer,
        confidence=confidence,
        raw=text,
        caption=parsed.caption,
        reasoning=parsed.reasoning,
        boxes=boxes,
        valid_format=parsed.valid_format,
        abstained=abstained,
        scores=scores,
    )


def _inside(boxes: list[list[float]], size: list[int]) -> list[list[float]]:
    width, height = size
    clipped = [[min(x0, width), min(y0, height), min(x1, width), min(y1, height)] for x0, y0, x1, y1 in boxes]
    return [[round(value, 2) for value in box] for box in clipped if box[0] < box[2] and box[1] < box[3]]


def _mean_probability(log_probs: list[float]) -> float | None:
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else None


def _text(encoder: PromptEncoder, ids: list[int]) -> str:
    return encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
