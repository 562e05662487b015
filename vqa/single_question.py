"""One question, asked without a record file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS, ImageProblem, image_facts
from vqa.record_checks import Record, check_against_images, complete_record


def single_record(
    question: str,
    images: Sequence[str | Path] = (),
    question_type: str | None = None,
    candidates: Sequence[str] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Record:
    """A complete record without an answer; type and candidates are inferred where they are not given.

    Raises:
        UserError: an empty question, candidates that do not go with the type, an image that cannot be read.
    """
    row = {"question": question, "answers": [], "images": [Path(path).name for path in images]}
    if question_type:
        row["question_type"] = question_type
    if candidates:
        row["answer_candidates"] = list(candidates)
    record, problems = complete_record(row, default_id="question", source="question", split="none")
    if problems:
        raise UserError(f"the question: {'; '.join(problems)}")
    facts = []
    for path in images:
        try:
            facts.append(image_facts(path, max_pixels))
        except ImageProblem as problem:
            raise UserError(f"image {path}: {problem}") from problem
    check_against_images(record, facts)
    return record | {"images": [str(Path(path).resolve()) for path in images]}


def answer_text(line: dict[str, Any]) -> str:
    """A prediction for the eye: the answer, how sure, and what the style puts beside it."""
    sure = "" if line["confidence"] is None else f"   (confidence {line['confidence']:.1%}, {line['qtype']})"
    beside = [f"\n  {name}: {line[name]}" for name in ("caption", "reasoning", "boxes") if line[name]]
    return f"{line['pred'] or '[no answer]'}{sure}{''.join(beside)}"
