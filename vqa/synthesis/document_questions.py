"""How the fields of a page are asked for, and the records that come of it."""

import random
from typing import Any

from vqa.synthesis.document_canvas import Ask, Field, Page
from vqa.synthesis.paper import Box, Move

Record = dict[str, Any]

_WORDINGS = (
    "What is the {noun}?",
    "What is the {noun} on this {kind}?",
    "What is the {noun} given on the {kind}?",
    "Which {noun} is printed on this {kind}?",
    "Which {noun} does the {kind} show?",
    "What does this {kind} state as the {noun}?",
    "Please read the {noun}.",
    "Read out the {noun} of this {kind}.",
    "Give the {noun}.",
    "Find the {noun} on the {kind}.",
    "Look for the {noun}. What does it say?",
    "I need the {noun}. What is it?",
    "Can you tell me the {noun}?",
    "{capital}?",
)


def ask_for(key: str, noun: str, kind: str, more: tuple[str, ...] = ()) -> Ask:
    """The question for a field in general words and in some of its own."""
    capital = noun[0].upper() + noun[1:]
    wordings = [text.format(noun=noun, kind=kind, capital=capital) for text in _WORDINGS]
    return Ask(key, (*wordings, *more, *more), noun)


def page_records(
    rng: random.Random, page: Page, move: Move, source: str
) -> tuple[list[Record], list[Record]]:
    """A record for every field of a page, and one for everything it could be asked for in vain.

    Args:
        page: as drawn.
        move: from a box on it to one on the final image.
        source: the records' source.

    Returns:
        (answerable, unanswerable), each in random order. `id`, `images`, `split` and `image_sha256` are
        still empty.
    """
    answerable = [
        _record(
            page,
            source,
            item.ask,
            rng.choice(item.ask.wordings),
            [item.value],
            [move(box) for box in item.boxes],
            list(item.reasoning),
        )
        for item in page.fields
    ]
    unanswerable = [
        _record(page, source, ask, rng.choice(ask.wordings), [], [], [reason]) for ask, reason in page.absent
    ]
    rng.shuffle(answerable)
    rng.shuffle(unanswerable)
    return answerable, unanswerable


def found(ask: Ask, value: str, boxes: list[Box], *reasoning: str) -> Field:
    """A field with the steps that lead to it."""
    return Field(ask, value, tuple(boxes), reasoning)


def _record(
    page: Page,
    source: str,
    ask: Ask,
    question: str,
    answers: list[str],
    boxes: list[Box],
    reasoning: list[str],
) -> Record:
    return {
        "id": "",
        "images": [],
        "question": question,
        "answers": answers,
        "answerable": bool(answers),
        "question_type": ask.question_type,
        "answer_candidates": list(ask.candidates) if ask.candidates else None,
        "boxes": [list(box) for box in boxes],
        "box_images": [0] * len(boxes),
        "caption": page.caption,
        "reasoning": reasoning,
        "source": source,
        "split": "",
        "image_sha256": [],
        "meta": {"kind": page.kind, "field": ask.key},
    }
