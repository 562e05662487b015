"""A folder of DICOM files with a table of questions.

The table (`--questions`, or `questions.{csv,tsv,json,jsonl}` in the folder) has a row for each question:
`file` (or `image`, `path`), relative to the folder; `question`; `answer`, or `answers`: a list in JSON,
joined by `|` in CSV. It may have `id`, `split` (default train), `question_type` and `answerable`; other
columns go to `meta`, but for those whose names speak of a patient.

The pixels (PS3.3 of the DICOM standard, read by pydicom) are windowed as the file says and written as 8-bit
PNG, once a file. Nothing that identifies a patient is taken over from a header. Pixels are as they are: text
burnt into them stays (`meta.burned_in_annotation` says so where the file does), and so do the files' names.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.dicom_pixels import DicomProblem, read_picture
from vqa.datasets.layouts import input_folder, inside, split_of
from vqa.datasets.raw_tables import file_rows
from vqa.datasets.row_values import answer_text
from vqa.errors import UserError
from vqa.files import atomic_write
from vqa.images import ImageProblem, resolve_inside
from vqa.raw_forms import RowProblem

FILE_COLUMNS = ("file", "image", "path", "dicom")
TABLE_NAMES = tuple(f"questions.{suffix}" for suffix in ("csv", "tsv", "json", "jsonl"))
_OF_THE_RECORD = ("id", "question", "answer", "answers", "split", "question_type", "answerable")
_IDENTIFIES = re.compile(
    r"patient|birth|accession|physician|operator|mrn|uid|date|address|phone|institution|(^|_)name$", re.I
)
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def find_input(given: Path | None) -> Path:
    """The folder that the table's file names are relative to."""
    return input_folder(given, "DICOM files", f"{TABLE_NAMES[0]} or --questions TABLE")


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield a record for each row of the table; pictures are written into `options.image_dir`."""
    beside = (inside(root, root / name) for name in TABLE_NAMES if (root / name).is_file())
    table = options.questions or next(beside, None)
    if table is None:
        raise UserError(
            f"--questions: dicom needs a table with file, question and answer (or {TABLE_NAMES[0]})"
        )
    if options.image_dir is None:
        raise ValueError("dicom writes images: options.image_dir is needed")
    pictures = _Pictures(root, options.image_dir, options.max_pixels)
    for index, (place, raw) in enumerate(file_rows(table)):
        where = f"{table.name}: {place}"
        # What may identify a patient goes neither into records nor into rejects.
        if isinstance(raw, RowProblem):
            yield RawRow("train", None, where, reason=str(raw))
            continue
        row = {name: value for name, value in raw.items() if not _IDENTIFIES.search(name)}
        split = split_of(str(row.get("split") or "train"))
        name = next((row[column] for column in FILE_COLUMNS if row.get(column)), None)
        if not isinstance(name, str):
            yield RawRow(split, row, where, reason=f"file: missing; a column of {', '.join(FILE_COLUMNS)}")
            continue
        try:
            image, meta, repairs = pictures.get(name.replace("\\", "/"))
        except (DicomProblem, ImageProblem) as problem:
            yield RawRow(split, row, where, reason=f"file: {name!r} {problem}")
            continue
        record, mended = _record(row, index, split, image, meta)
        yield RawRow(split, row, where, record, repairs=repairs + mended)


def _record(
    row: dict[str, Any], index: int, split: str, image: str, meta: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    other = {name: value for name, value in row.items() if name not in (*_OF_THE_RECORD, *FILE_COLUMNS)}
    answers, repairs = _answers(row)
    record = {
        "id": str(row.get("id") or f"dicom/{split}/{index:06d}"),
        "images": [image],
        "question": row.get("question"),
        "answers": answers,
        "meta": {**other, **meta},
    }
    if row.get("question_type"):
        record["question_type"] = row["question_type"]
    answerable = row.get("answerable")
    if answerable not in (None, ""):
        record["answerable"] = _TRUTH.get(str(answerable).strip().casefold(), answerable)
    return record, repairs


def _answers(row: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    several = row.get("answers")
    if isinstance(several, str) and several:
        several = [part for part in several.split("|") if part.strip()]
    given = (
        several
        if isinstance(several, list)
        else [row["answer"]]
        if row.get("answer") not in (None, "")
        else []
    )
    texts = [answer_text(value) for value in given]
    mended = tuple(dict.fromkeys(repair for _, repairs in texts for repair in repairs))
    # None is "missing" to the record's check, unless the row says that there is no answer.
    return [text for text, _ in texts] or None, mended


class _Pictures:
    """Converts each DICOM file once, to `NAME.png` under the same folders."""

    def __init__(self, root: Path, image_dir: Path, max_pixels: int) -> None:
        self.root = root
        self.image_dir = image_dir
        self.max_pixels = max_pixels
        self._known: dict[str, tuple[str, dict[str, Any], tuple[str, ...]] | str] = {}

    def get(self, name: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
        """(image name, meta, repairs). Raises ImageProblem or DicomProblem, the same at every call."""
        path = resolve_inside(self.root, name)
        inside = path.relative_to(self.root.resolve()).as_posix()
        if inside not in self._known:
            self._known[inside] = self._convert(path, inside)
        known = self._known[inside]
        if isinstance(known, str):
            raise DicomProblem(known)
        return known

    def _convert(self, path: Path, inside: str) -> tuple[str, dict[str, Any], tuple[str, ...]] | str:
        if not os.path.isfile(path):
            return "does not exist"
        try:
            picture = read_picture(path, self.max_pixels)
        except DicomProblem as problem:
            return str(problem)
        # The suffix is added, not replaced: IM1 and IM1.dcm may lie in one folder.
        with atomic_write(self.image_dir / f"{inside}.png", "wb") as file:
            picture.image.save(file, format="PNG")
        return f"images/{inside}.png", picture.meta, picture.repairs


DICOM = Converter("dicom", licence=None, find_input=find_input, rows=rows, writes_images=lambda root: True)
