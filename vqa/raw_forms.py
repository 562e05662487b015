"""Rows of JSON files read strictly, and the raw forms of a record renamed to the contract's fields.

Two steps, both without a look at any image: `iterate_rows` turns a JSONL file or a JSON array into
(line number, object) pairs, one at a time; `to_contract_fields` turns an object in any accepted form
into one with the names of the contract. What is missing is inferred later, in `record_checks`.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.answers import StructuredAnswer, parse_structured
from vqa.files import text_fault

MAX_LINE_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 2**30
MAX_DEPTH = 64

# The contract's fields, in the order in which they are written.
FIELDS = (
    "id", "images", "question", "answers", "answerable", "question_type", "answer_candidates", "boxes",
    "box_images", "caption", "reasoning", "source", "split", "image_sha256", "meta",
)  # fmt: skip
IMAGE_NAMES = ("images", "image", "image_filename", "image_path")
_HUGE_INTEGER = "not valid JSON: an integer of thousands of digits"
_ANSWER_NAMES = ("answer", "gold")


class RowProblem(ValueError):
    """Why a line is not a usable row: `field: reason`, or the reason alone where no field is at fault.

    Attributes:
        raw: the line's text or the array's element, where it could be read.
    """

    def __init__(self, reason: str, raw: Any = None) -> None:
        super().__init__(reason)
        self.raw = raw


def iterate_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    """Yield (line number from 1, object or problem) for every row of a JSONL file or a JSON array.

    The form is told by the first character: `[` opens an array. A JSONL file is read one line at a
    time and may be larger than memory. UTF-8, with or without a byte order mark. Blank lines are passed
    over. Refused: anything that is not an object, NaN and infinity, duplicate keys, nesting beyond
    `MAX_DEPTH`, lines beyond `MAX_LINE_BYTES`.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield 1, RowProblem("is UTF-16; records are UTF-8")
            return
        file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
        body = file.tell()
        while (first := file.read(1)).isspace():
            pass
        if not first:
            yield 1, RowProblem("the file is empty: no records")
            return
        file.seek(body)
        if first == b"[":
            if fault := text_fault(path):
                yield 1, RowProblem(fault)
                return
            yield from _array_rows(file.read(MAX_ARRAY_BYTES + 1))
            return
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                yield number, RowProblem(f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")
                while not line.endswith(b"\n") and (line := file.readline(MAX_LINE_BYTES)):
                    pass
            elif line.strip():
                yield number, _parse_line(line.rstrip(b"\r\n"))


def _parse_line(line: bytes) -> dict[str, Any] | RowProblem:
    raw = line.decode("utf-8", errors="backslashreplace")
    try:
        return _as_object(_DECODER.decode(_decode(line)))
    except RowProblem as problem:
        return RowProblem(str(problem), raw)
    except json.JSONDecodeError as error:
        return RowProblem(f"not valid JSON: {error.msg} (column {error.colno})", raw)
    except RecursionError:
        return RowProblem("not valid JSON: nested too deeply", raw)
    except ValueError:  # Python's limit, 4,300 digits unless it was changed
        return RowProblem(_HUGE_INTEGER, raw)


def _array_rows(content: bytes) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    """Decode the elements of a JSON array one by one, so that each has its line number."""
    if len(content) > MAX_ARRAY_BYTES:
        yield 1, RowProblem("a JSON array of more than 1 GiB; write one record a line (JSONL) instead")
        return
    try:
        text = _decode(content)
    except RowProblem as problem:
        yield 1, problem
        return
    whitespace = re.compile(r"\s*")
    position, line, counted = whitespace.match(text, text.index("[") + 1).end(), 1, 0
    if text[position : position + 1] == "]":
        yield 1, RowProblem("the array is empty: no records")
        return
    while True:
        line += text.count("\n", counted, position)
        counted = position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except RowProblem as problem:
            yield line, problem
            return
        except json.JSONDecodeError as error:
            yield error.lineno, RowProblem(f"not valid JSON: {error.msg} (column {error.colno})")
            return
        except RecursionError:
            yield line, RowProblem("not valid JSON: nested too deeply")
            return
        except ValueError:
            yield line, RowProblem(_HUGE_INTEGER)
            return
        try:
            yield line, _as_object(value)
        except RowProblem as problem:
            yield line, RowProblem(str(problem), value)
        position = whitespace.match(text, position).end()
        separator = text[position : position + 1]
        if separator == "]":
            if text[position + 1 :].strip():
                yield line, RowProblem("text follows the end of the array")
            return
        if separator != ",":
            line += text.count("\n", counted, position)
            what = "',' expected between the elements" if separator else "the array ends without ']'"
            yield line, RowProblem(f"not valid JSON: {what}")
            return
        position = whitespace.match(text, position + 1).end()


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{content[error.start]:02x} at {error.start + 1}"
        raise RowProblem(f"not valid UTF-8: {byte}") from error
    if "\0" in text:
        raise RowProblem("holds a NUL byte")
    return text


def _refuse_constant(name: str) -> float:
    raise RowProblem(f"not valid JSON: {name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RowProblem(f"not valid JSON: {text} is too large a number")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowProblem(f"{twice}: given twice in one object")
    return row


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys
)


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowProblem(f"a record is a JSON object, not {describe(value)}")
    return value


def describe(value: Any) -> str:
    """A JSON value's type in words, for messages."""
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def to_contract_fields(row: dict[str, Any]) -> dict[str, Any]:
    """A row in any accepted form under the contract's names; what no field holds is kept in `meta`.

    The forms are those of `docs/contract.md`. Boxes inside a structured `output` are 0-1000 of the
    image, as a model writes them; they are returned under `text_boxes`, to be converted once the
    image's size is known.

    Raises:
        RowProblem: two names for one field, or an `output` that is no structured answer.
    """
    fields = {name: row[name] for name in FIELDS if name in row}
    named = [name for name in IMAGE_NAMES if name in row]
    given = [name for name in named if row[name] is not None] or named
    if len(given) > 1 and row[given[1]] is not None:
        raise RowProblem(f"{given[1]}: the image is already given as {given[0]!r}")
    if given:
        fields["images"] = row[given[0]]
    extra = {name: value for name, value in row.items() if name not in FIELDS and name not in IMAGE_NAMES}
    structured = _structured_output(row)
    if structured is not None:
        fields.setdefault("caption", structured.caption)
        fields.setdefault("reasoning", structured.reasoning)
        if structured.boxes and not fields.get("boxes"):
            fields["text_boxes"] = structured.boxes
    if fields.get("answers") is None:
        for name in _ANSWER_NAMES:
            if row.get(name) is not None:
                fields["answers"] = extra.pop(name)
                break
        else:
            if structured is not None:
                fields["answers"] = structured.answer
    if fields.get("question") is None and "instruction" in row:
        fields["question"] = row.get("input") or row["instruction"]
    if extra:
        meta = fields.get("meta") if fields.get("meta") is not None else {}
        if isinstance(meta, dict):
            clash = next((name for name in extra if name in meta), None)
            if clash is not None:
                raise RowProblem(f"{clash}: given both in meta and beside it")
            fields["meta"] = {**meta, **extra}
    return fields


def _structured_output(row: dict[str, Any]) -> StructuredAnswer | None:
    """The structured answer in the `output` of an instruction form; None for a row of another form."""
    if "output" not in row or "instruction" not in row:
        return None
    output = row["output"]
    structured = parse_structured(output) if isinstance(output, str) else None
    if structured is None:
        raise RowProblem(
            'output: expected a JSON string {"caption": str, "reasoning": [str, ...], '
            '"boxes": [[x0, y0, x1, y1], ...], "answer": str}'
        )
    return structured
