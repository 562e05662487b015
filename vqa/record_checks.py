"""One row becomes one record: fields typed, text normalised to NFC, what is missing inferred.

Pure functions on plain values. Every fault of a row is found, not only the first, and each is a phrase
`field: reason` that the reader prefixes with file and line.
"""

import unicodedata
from typing import Any

from vqa.answers import is_abstention
from vqa.images import ImageFacts
from vqa.page_boxes import boxes_from_text
from vqa.questions import QUESTION_TYPES, build_candidates, infer_question_type, is_correct
from vqa.raw_forms import IMAGE_NAMES, MAX_DEPTH, RowProblem, describe, to_contract_fields

# Annotation tools round: a box may lie this many pixels outside of its image.
BOX_TOLERANCE = 1.0
# No page holds so much; what does is damage, or meant to harm.
MAX_TEXT = 1_000_000

Record = dict[str, Any]


def complete_record(
    row: dict[str, Any], *, default_id: str, source: str, split: str
) -> tuple[Record, list[str]]:
    """Check and complete one row in any accepted form, without a look at its images.

    Returns:
        the record with all fields of the contract (`images` still relative to the image root;
        `text_boxes` beside them where boxes wait for the image's size), and its problems. A record with
        problems is not to be used.
    """
    problems = _Problems()
    normal = {}
    for name, value in row.items():
        try:
            # A file's name is the bytes it has on disk; normalising it could lose the file.
            normal[normalised(name, 0)] = normalised(value, 1, nfc=name not in IMAGE_NAMES)
        except RowProblem as problem:
            problems.add(ascii(name)[1:-1], str(problem))
    if problems.found:
        return {}, problems.found
    try:
        fields = to_contract_fields(normal)
    except RowProblem as problem:
        return {}, [str(problem)]
    record: Record = {
        "id": problems.text(fields.get("id", default_id), "id"),
        "images": _images(fields, problems),
        "question": problems.text(fields.get("question"), "question"),
    }
    _answers(fields, record, problems)
    candidates = _candidates(fields, problems)
    _type_and_candidates(fields, record, candidates, problems)
    _boxes(fields, record, problems)
    caption = fields.get("caption")
    record["caption"] = None if caption is None else problems.text(caption, "caption", may_be_empty=True)
    record["reasoning"] = problems.texts(fields.get("reasoning") or [], "reasoning")
    record["source"] = problems.text(fields.get("source", source), "source")
    record["split"] = problems.text(fields.get("split", split), "split")
    hashes = problems.texts(fields.get("image_sha256") or [], "image_sha256")
    if hashes and len(hashes) != len(record["images"]):
        problems.add("image_sha256", f"{len(hashes)} hashes for {len(record['images'])} images")
    record["image_sha256"] = [value.lower() for value in hashes]
    meta = fields.get("meta")
    if meta is not None and not isinstance(meta, dict):
        problems.add("meta", f"expected an object, not {describe(meta)}")
    record["meta"] = meta or {}
    if "text_boxes" in fields:
        record["text_boxes"] = fields["text_boxes"]
    return record, problems.found


def check_against_images(record: Record, facts: list[ImageFacts]) -> list[str]:
    """Finish a record with what its images say, in place, and return the problems found.

    Sets `image_sizes`, `image_sha256` where absent, and `boxes` from `text_boxes`. Faults: a hash that
    is not that of the file's bytes, a box outside of its image.
    """
    problems = []
    record["image_sizes"] = [[fact.width, fact.height] for fact in facts]
    hashes = [fact.sha256 for fact in facts]
    for index, (given, actual) in enumerate(zip(record["image_sha256"], hashes, strict=False)):
        if given != actual:
            problems.append(f"image_sha256[{index}]: the image's bytes have another hash ({actual[:12]}...)")
    record["image_sha256"] = hashes
    text_boxes = record.pop("text_boxes", None)
    if text_boxes:
        found = boxes_from_text(text_boxes, record["image_sizes"], "norm1000")
        record["boxes"], record["box_images"] = found
    for index, (box, owner) in enumerate(zip(record["boxes"], record["box_images"], strict=True)):
        width, height = record["image_sizes"][owner]
        low, high = -BOX_TOLERANCE, BOX_TOLERANCE
        if box[0] < low or box[1] < low or box[2] > width + high or box[3] > height + high:
            problems.append(f"boxes[{index}]: {box} lies outside of the image of {width}x{height}")
    return problems


class _Problems:
    """Collects faults while values are checked; a faulty value comes back as an empty one."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, field: str, reason: str) -> None:
        self.found.append(f"{field}: {reason}")

    def text(self, value: Any, field: str, may_be_empty: bool = False) -> str:
        if value is None:
            self.add(field, "missing")
        elif not isinstance(value, str):
            self.add(field, f"expected a string, not {describe(value)}")
        elif not may_be_empty and not value.strip():
            self.add(field, "empty")
        elif len(value) > MAX_TEXT:
            self.add(field, f"longer than {MAX_TEXT:,} characters")
        else:
            return value
        return ""

    def texts(self, value: Any, field: str) -> list[str]:
        if not isinstance(value, list):
            self.add(field, f"expected a list of strings, not {describe(value)}")
            return []
        return [self.text(item, f"{field}[{index}]") for index, item in enumerate(value)]


def normalised(value: Any, depth: int, nfc: bool = True) -> Any:
    """`value` with every string in NFC. Raises RowProblem for what UTF-8 JSON cannot carry on."""
    if isinstance(value, str):
        if value.isascii():
            if "\0" in value:
                raise RowProblem("holds a NUL character (\\u0000)")
            return value
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowProblem(f"holds half a surrogate pair (\\u{ord(value[error.start]):04x})") from error
        return unicodedata.normalize("NFC", value) if nfc else value
    if depth > MAX_DEPTH:
        raise RowProblem(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [normalised(item, depth + 1, nfc) for item in value]
    if isinstance(value, dict):
        return {normalised(key, depth): normalised(item, depth + 1, nfc) for key, item in value.items()}
    return value


def _images(fields: dict[str, Any], problems: _Problems) -> list[str]:
    if "images" not in fields:
        problems.add("images", "missing (give [] for a question without an image)")
        return []
    value = fields["images"]
    if value is None:
        return []
    names = problems.texts([value] if isinstance(value, str) else value, "images")
    return [name for name in names if name]


def _answers(fields: dict[str, Any], record: Record, problems: _Problems) -> None:
    """`answers` and `answerable`; where only one is given, it decides the other."""
    answerable = fields.get("answerable")
    if answerable is not None and not isinstance(answerable, bool):
        problems.add("answerable", f"expected true or false, not {describe(answerable)}")
        answerable = None
    value = fields.get("answers")
    if value is None and answerable is False:
        value = []
    if value is None:
        problems.add("answers", "missing")
        answers = []
    elif answerable is False and isinstance(value, str | list):
        values = [value] if isinstance(value, str) else value
        given = [text for text in values if text != ""]  # as good as none
        answers = [text for text in problems.texts(given, "answers") if not is_abstention(text)]
        if answers:
            problems.add("answers", "must be empty when answerable is false")
    else:
        answers = problems.texts([value] if isinstance(value, str) else value, "answers")
    if answerable is None:
        answerable = not all(is_abstention(answer) for answer in answers)
    elif answerable and value == []:
        problems.add("answers", "empty, but answerable is true")
    record["answers"] = answers if answerable else []
    record["answerable"] = answerable


def _candidates(fields: dict[str, Any], problems: _Problems) -> list[str] | None:
    candidates = problems.texts(fields.get("answer_candidates") or [], "answer_candidates")
    for index, candidate in enumerate(candidates):
        if candidate and candidate in candidates[:index]:
            problems.add(f"answer_candidates[{index}]", f"{candidate!r} is given twice")
    return candidates or None


def _type_and_candidates(
    fields: dict[str, Any], record: Record, candidates: list[str] | None, problems: _Problems
) -> None:
    """`question_type` and `answer_candidates`; a closed type must hold the answer it is trained on."""
    question, answers = record["question"], record["answers"]
    name = fields.get("question_type")
    inferred = name is None
    if not inferred and not isinstance(name, str):
        problems.add("question_type", f"expected a string, not {describe(name)}")
    elif not inferred and name not in QUESTION_TYPES:
        problems.add("question_type", f"unknown type {name!r}; known are {', '.join(QUESTION_TYPES)}")
    if problems.found:
        return  # nothing sound to infer from
    if inferred:
        name = infer_question_type(question, answers, candidates)
    closed = QUESTION_TYPES[name].scored
    if candidates is not None and not closed:
        problems.add("answer_candidates", f"a question of type {name} has none; its type would be mcq")
    if closed and candidates is None:
        candidates = build_candidates(name, question, answers)
    if closed:
        possible = candidates and _holds_answer(name, candidates, answers)
        if not possible and inferred and fields.get("answer_candidates") in (None, []):
            name, candidates = "open_ended", None
        elif not candidates:
            problems.add("answer_candidates", f"missing, and none can be built for this {name} question")
        elif not possible:
            shown = ", ".join(candidates[:12])
            problems.add("answers", f"{answers[0]!r} is not among the answer_candidates of {name}: {shown}")
    record["question_type"] = name
    record["answer_candidates"] = candidates if closed and name != "open_ended" else None


def _holds_answer(name: str, candidates: list[str], answers: list[str]) -> bool:
    if not answers or answers[0] in candidates:
        return True
    return any(is_correct(name, candidate, answers, candidates) for candidate in candidates)


def _boxes(fields: dict[str, Any], record: Record, problems: _Problems) -> None:
    """`boxes` and `box_images`: types, order of corners, an owner for each box."""
    boxes = fields.get("boxes") or fields.get("text_boxes") or []
    if not isinstance(boxes, list):
        problems.add("boxes", f"expected a list of [x0, y0, x1, y1], not {describe(boxes)}")
        boxes = []
    for index, box in enumerate(boxes):
        if not isinstance(box, list) or [type(value) in (int, float) for value in box] != [True] * 4:
            problems.add(f"boxes[{index}]", f"expected four numbers [x0, y0, x1, y1], not {box!r:.40}")
        elif box[0] >= box[2] or box[1] >= box[3]:
            problems.add(f"boxes[{index}]", f"{box} is degenerate; x0 < x1 and y0 < y1 are needed")
    number, images = len(boxes), len(record["images"])
    if number and not images:
        problems.add("boxes", "given, but the record has no image")
    owners = fields.get("box_images")
    if owners is None or (owners == [] and number):
        owners = [0] * number
    if not isinstance(owners, list) or not all(type(owner) is int for owner in owners):
        problems.add("box_images", "expected a list of image numbers")
    elif len(owners) != number:
        problems.add("box_images", f"{len(owners)} entries for {number} boxes")
    elif images and not all(0 <= owner < images for owner in owners):
        problems.add("box_images", f"{owners} names an image that is not there; there are {images}")
    record["boxes"], record["box_images"] = boxes, owners
