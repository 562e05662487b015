"""A record becomes chat messages and a target text, in one of four answer styles.

What all questions of an image share, the system line and the image, comes first, so that it can be
computed once for all of them.
"""

from typing import Any

from vqa.answers import UNANSWERABLE, StructuredAnswer, write_structured, write_think
from vqa.page_boxes import boxes_to_text
from vqa.questions import is_correct

SYSTEM_LINES = {
    "short": "Answer with only the final answer.",
    "structured": "Answer with one JSON object: caption, reasoning, boxes, answer.",
    "think": "Think inside <think></think>, then give only the final answer.",
    "transcribe": "Write down the text in the image, and nothing else.",
}
STYLES = tuple(SYSTEM_LINES)
BOX_FORMATS = ("norm1000", "pixels")


def question_text(record: dict[str, Any], style: str) -> str:
    """The user's text: the question with its type and, for a closed set, the valid answers."""
    if style == "transcribe":
        return record["question"]
    lines = [f"Question type: {record['question_type']}", f"Question: {record['question']}"]
    if record["answer_candidates"]:
        lines.append(f"Valid answers: {', '.join(record['answer_candidates'])}")
    return "\n".join(lines)


def build_prompt(record: dict[str, Any], style: str) -> list[dict[str, Any]]:
    """Chat messages that ask the record's question: a system line, the images, the text."""
    parts = [{"type": "image"} for _ in record["images"]]
    parts.append({"type": "text", "text": question_text(record, style)})
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_LINES[style]}]},
        {"role": "user", "content": parts},
    ]


def build_answer(
    record: dict[str, Any],
    style: str,
    box_format: str = "norm1000",
    resized_sizes: list[tuple[int, int]] | None = None,
) -> str:
    """The text the model is trained to write.

    Args:
        record: in the contract's form, with `image_sizes` ([width, height] of each image) where it has boxes.
        style: one of `STYLES`.
        box_format: `norm1000`, or `pixels` of the resized image (Qwen2.5-VL).
        resized_sizes: (width, height) of each image as the model sees it; needed for `pixels`.
    """
    answer = spelt_as_target(record, record["answers"][0]) if record["answerable"] else UNANSWERABLE
    if style in ("short", "transcribe"):
        return answer
    if style == "think":
        return write_think(record["reasoning"], answer)
    return write_structured(
        StructuredAnswer(
            caption=record["caption"] or "",
            reasoning=list(record["reasoning"]),
            boxes=_text_boxes(record, box_format, resized_sizes),
            answer=answer,
        )
    )


def spelt_as_target(record: dict[str, Any], answer: str) -> str:
    """An answer, of a closed type in the spelling of the candidate that it means: what scoring looks for."""
    candidates = record["answer_candidates"] or []
    if answer in candidates:
        return answer
    kind = record["question_type"]
    return next((text for text in candidates if is_correct(kind, text, [answer], candidates)), answer)


def _text_boxes(
    record: dict[str, Any], box_format: str, resized_sizes: list[tuple[int, int]] | None
) -> list[list[int]]:
    if not record["boxes"]:
        return []
    sizes = record["image_sizes"]
    return boxes_to_text(record["boxes"], record["box_images"], sizes, box_format, resized_sizes)
