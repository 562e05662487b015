"""What may be answered to a record, and what a decided answer consists of. No model is needed here."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vqa.answers import THINK_CLOSE, UNANSWERABLE, is_abstention, parse_answer
from vqa.constraints import admit_unanswerable, candidates_grammar, structured_grammar, think_grammar
from vqa.page_boxes import boxes_from_text
from vqa.prompts import question_text
from vqa.questions import QUESTION_TYPES

MAX_NEW_TOKENS = {"short": 64, "structured": 512, "think": 512, "transcribe": 512}

Record = dict[str, Any]


@dataclass
class Decision:
    """One decided answer.

    Attributes:
        answer: the text; "" when abstained.
        confidence: in [0, 1]; None when the model wrote nothing at all.
        raw: the whole text: of a closed type in a plain style the chosen candidate, and of a text that a
            limit cut off what was made of it.
        boxes: evidence, pixels of the original images, inside them.
        box_images: the index of each box's image.
        valid_format: whether the style's format was kept; None where it has none.
        scores: of a closed type, log p of each candidate.
    """

    answer: str
    confidence: float | None
    raw: str
    caption: str | None = None
    reasoning: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    box_images: list[int] = field(default_factory=list)
    valid_format: bool | None = None
    abstained: bool = False
    scores: dict[str, float] | None = None


def plan_batches(
    records: list[Record], style: str, batch_size: int, group_by_image: bool = True
) -> list[list[int]]:
    """Indices of records, batch by batch: alike in length of prompt and in how they are decided.

    Records about the same images stand in one batch, or in as few as hold them. Depends on the records alone,
    so the same file is always batched the same way.
    """
    groups: dict[Any, list[int]] = {}
    for index, record in enumerate(records):
        shared = group_by_image and record["images"]
        groups.setdefault(tuple(record["images"]) if shared else index, []).append(index)

    def likeness(index: int) -> tuple:
        return not is_closed(records[index]), len(question_text(records[index], style)), index

    def group_likeness(group: list[int]) -> tuple:
        record = records[group[0]]
        pixels = sum(width * height for width, height in record["image_sizes"])
        alone = len(group) == 1
        # Prompts alone in their group are batched with others decided as they are.
        return alone, alone and not is_closed(record), len(record["images"]), pixels, *likeness(group[0])

    batches: list[list[int]] = [[]]
    for group in sorted((sorted(group, key=likeness) for group in groups.values()), key=group_likeness):
        if len(batches[-1]) + len(group) > batch_size and batches[-1] and len(group) > 1:
            batches.append([])
        for index in group:
            if len(batches[-1]) == batch_size:
                batches.append([])
            batches[-1].append(index)
    return batches if records else []


def questions_per_image(images: Iterable[Sequence[str]]) -> float:
    """Records that share their images, on average, over the records that have some; 0 without any."""
    grouped = [tuple(paths) for paths in images if paths]
    return len(grouped) / len(set(grouped)) if grouped else 0.0


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


def completion_grammar(
    record: Record, style: str, allow_unanswerable: bool, box_format: str, box_rule: str | None = None
) -> str | None:
    """The grammar of everything a model writes for a record, for engines that generate in one go.

    `box_rule` is that of `vqa.constraints.structured_grammar`.
    """
    if is_closed(record):
        rule = candidates_grammar(candidates_of(record, allow_unanswerable))
    else:
        rule = answer_rule(record, allow_unanswerable)
    if style == "structured":
        return structured_grammar(
            rule, box_format=box_format, box_rule=box_rule, images=len(record["images"])
        )
    return think_grammar(rule) if style == "think" else rule


def read_decision(
    record: Record,
    style: str,
    text: str,
    confidence: float | None,
    *,
    box_format: str,
    resized_sizes: list[tuple[int, int]],
    scores: dict[str, float] | None = None,
) -> Decision:
    """A model's text as a decision.

    Args:
        text: all that the model wrote.
        confidence, scores: as in `Decision`.
        box_format: of the coordinates in the text.
        resized_sizes: (width, height) of the record's images as the model sees them.
    """
    parsed = parse_answer(text, style)
    # An abstaining phrase that the question itself offers ("cannot tell") is an answer.
    abstained = is_abstention(parsed.answer) and parsed.answer not in (record["answer_candidates"] or ())
    boxes, box_images = [], []
    if parsed.boxes and record["image_sizes"]:
        sizes = record["image_sizes"]
        found = zip(*boxes_from_text(parsed.boxes, sizes, box_format, resized_sizes), strict=True)
        placed = [(clipped, page) for box, page in found for clipped in _inside([box], sizes[page])]
        boxes, box_images = [box for box, _ in placed], [page for _, page in placed]
    return Decision(
        answer="" if abstained else parsed.answer,
        confidence=confidence,
        raw=text,
        caption=parsed.caption,
        reasoning=parsed.reasoning,
        boxes=boxes,
        box_images=box_images,
        valid_format=parsed.valid_format,
        abstained=abstained,
        scores=scores,
    )


def _inside(boxes: list[list[float]], size: list[int]) -> list[list[float]]:
    width, height = size
    clipped = [[min(x0, width), min(y0, height), min(x1, width), min(y1, height)] for x0, y0, x1, y1 in boxes]
    return [[round(value, 2) for value in box] for box in clipped if box[0] < box[2] and box[1] < box[3]]


_ANSWER_START = {"structured": re.compile(r'"answer"\s*:\s*"'), "think": re.compile(re.escape(THINK_CLOSE))}


def first_answer_token(ids: list[int], style: str, decode: Callable[[list[int]], str]) -> int:
    """Index of the first token with text of the answer; 0 where style or text has nothing before it."""
    if style not in _ANSWER_START:
        return 0
    starts = [match.end() for match in _ANSWER_START[style].finditer(decode(ids))]
    if not starts:
        return 0
    low, high = 0, len(ids) - 1
    while low < high:  # the first token after which the text is longer than the head
        middle = (low + high) // 2
        low, high = (low, middle) if len(decode(ids[: middle + 1])) > starts[-1] else (middle + 1, high)
    return low


def mean_probability(log_probs: list[float]) -> float | None:
    """exp(mean log p) over tokens; None of none."""
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else None
