"""What all rewards share: completions read, columns filled up, a line of a prediction file made of each."""

from collections.abc import Sequence
from typing import Any

from vqa.answers import StructuredAnswer, is_abstention, parse_structured
from vqa.errors import UserError
from vqa.images import text_frame
from vqa.questions import infer_question_type

Completion = str | list[dict[str, Any]]
# One value a completion, or one text for all of them; None: the records have no such column.
Column = Sequence[Any] | str | None


def text_of(completion: Completion) -> str:
    """All that the assistant wrote: the contents of its messages, strings or lists of parts, joined.

    >>> text_of([{"role": "assistant", "content": "red"}])
    'red'
    >>> text_of([{"role": "assistant", "content": [{"type": "text", "text": "red"}]}])
    'red'
    """
    if isinstance(completion, str):
        return completion
    written = (message for message in completion if message.get("role", "assistant") == "assistant")
    contents = [message.get("content") or "" for message in written]
    return "".join(
        content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
        for content in contents
    )


def read_answers(completions: Sequence[Completion]) -> list[StructuredAnswer | None]:
    """Each completion's structured answer; None for one that deviates from the form in anything."""
    return [parse_structured(text_of(completion)) for completion in completions]


def filled(column: Column, count: int, default: Any = None) -> list[Any]:
    """A column of `count` values, `default` where there is none.

    >>> filled(None, 2), filled([1, None], 2, default=0), filled("pixels", 2)
    ([None, None], [1, 0], ['pixels', 'pixels'])
    """
    if column is None or isinstance(column, str):
        return [column or default] * count
    return [default if value is None else value for value in column]


def frames(
    count: int, image_size: Column, box_format: Column, resized_size: Column
) -> list[tuple[int, int] | None]:
    """The (width, height) that each completion's boxes are measured in; None where there is no image.

    1000 x 1000 for `norm1000`. For `pixels` it is the size of the image as the model saw it, `resized_size`,
    or `image_size` where images are resized beforehand.

    Raises:
        UserError: `pixels` without a column of sizes.
    """
    formats = filled(box_format, count, default="norm1000")
    if "pixels" in formats and image_size is None and resized_size is None:
        raise UserError(
            "box_format pixels: the rewards need a column image_size, [width, height] of each image"
        )
    seen = [
        resized or size
        for resized, size in zip(filled(resized_size, count), filled(image_size, count), strict=True)
    ]
    return [
        None if kind == "pixels" and not size else text_frame(kind, size)
        for kind, size in zip(formats, seen, strict=True)
    ]


def prediction_lines(
    completions: Sequence[Completion],
    *,
    answers: Column = None,
    answerable: Column = None,
    question_type: Column = None,
    answer_candidates: Column = None,
    question: Column = None,
    **_: Any,
) -> list[dict[str, Any] | None]:
    """Each completion as its line in a prediction file (docs/contract.md), as far as judging looks at it.

    What is missing is inferred as it is when records are read: the type from question and answers,
    `answerable` from the answers; it is None where neither is known. An unreadable completion is None.
    """
    count = len(completions)
    rows = zip(
        read_answers(completions),
        *(filled(column, count) for column in (answers, answerable, question_type, answer_candidates)),
        filled(question, count, default=""),
        strict=True,
    )
    lines = []
    for read, accepted, can_be_answered, kind, candidates, asked in rows:
        if read is None:
            lines.append(None)
            continue
        if can_be_answered is None and accepted is not None:
            can_be_answered = not all(is_abstention(answer) for answer in accepted)
        line = {
            "pred": read.answer.strip(),
            "qtype": kind or infer_question_type(asked, accepted or [], candidates),
            "answers": accepted or [],
            "answerable": can_be_answered,
            "answer_candidates": candidates,
            "question": asked,
        }
        lines.append(line)
    return lines
