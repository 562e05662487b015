"""`handwriting`: a folder of text images with a table of labels, or a .txt beside each image.

There is no one publication; these are the layouts in circulation (own scans, TRDG, PaddleOCR, vietocr and
Hugging Face's imagefolder):

- `labels.tsv`, `.csv` (comma or semicolon), `.txt` (tab, or a space after the image's name), `.json` or
  `.jsonl`, also called label, gt, annotations or metadata, and with a split's name (`labels_test.json`); in
  any folder, for the images of that folder or its `images/`. Tables with a header or none (image, text);
  JSON {image: text}, {image: {text, ...}} or a list of objects.
- `NAME.txt` beside `NAME.jpg`, for images that no table names; it may have several lines.

The split is the row's own (`split` column), else named by the table's file or one of its folders (`train/`,
`val/`), else train. Rejected: images without a label, labels without an image, damaged tables.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    IMAGE_SUFFIXES,
    ImageFinder,
    folders,
    input_folder,
    natural_key,
    split_of,
)
from vqa.datasets.raw_json import read_json, read_lines
from vqa.datasets.raw_tables import file_rows
from vqa.datasets.row_values import texts_of
from vqa.datasets.uit_hwdb import QUESTION
from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside
from vqa.raw_forms import RowProblem

MAX_DEPTH = 6
_IMAGE_COLUMNS = ("image", "image_path", "file", "file_name", "filename", "path", "name", "img")
_TEXT_COLUMNS = ("text", "label", "transcription", "transcript", "ground_truth", "gt", "sentence", "words")
_SPLIT = r"(train(ing)?|val(id(ation)?)?|dev|test)"
_TABLE = re.compile(
    rf"({_SPLIT}[_-])?(labels?|gt|rec_gt|annotations?|metadata|transcriptions?)([_-]?{_SPLIT})?"
    r"\.(tsv|csv|txt|json|jsonl)",
    re.I,
)
COMMA = "comma in an unquoted text"


def find_input(given: Path | None) -> Path:
    """The folder as given. Raises UserError without one, or without an image in it."""
    given = input_folder(given, "handwriting", "images and their labels")
    if not any(path.suffix.lower() in IMAGE_SUFFIXES for path in _files(given)):
        raise UserError(f"--input {given}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return given


def _files(root: Path) -> list[Path]:
    """All files down to `MAX_DEPTH`, level by level."""
    return [
        folder / name for folder, names in folders(root, MAX_DEPTH) for name in sorted(names, key=natural_key)
    ]


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield one row per label of every table, then one per image that no table names."""
    files = _files(root)
    images = {path.relative_to(root).as_posix() for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    stems = {name.rpartition(".")[0] for name in images}
    named: set[str] = set()
    for path in files:
        name = path.relative_to(root).as_posix()
        # gt.txt beside gt.png is that image's text.
        if _TABLE.fullmatch(path.name) and not (path.suffix == ".txt" and name[:-4] in stems):
            for raw in _table_rows(root, path):
                named.update(raw.record["images"] if raw.record else ())
                yield raw
    for path in files:
        name = path.relative_to(root).as_posix()
        if name in images and name not in named:
            yield _row_beside(root, path, name)


def _row_beside(root: Path, image: Path, name: str) -> RawRow:
    split = _split_of_folders(name)
    text_name = f"{name.rpartition('.')[0]}.txt"
    if not (root / text_name).is_file():
        return RawRow(split, {"image": name}, name, reason="the image has no label")
    try:
        text = "\n".join(read_lines(resolve_inside(root, text_name))).strip()
    except (UserError, ImageProblem) as error:
        return RawRow(split, {"image": name}, name, reason=f"label: {error}")
    return RawRow(split, {"image": name, "text": text}, name, _record(name, [text], {}))


def _table_rows(root: Path, path: Path) -> Iterator[RawRow]:
    where = path.relative_to(root).as_posix()
    folder = path.parent.relative_to(root).as_posix()
    table_split = split_of(path.stem, _split_of_folders(where))
    finder = ImageFinder(root, [folder, f"{folder}/images", f"{folder}/imgs", "."])
    try:
        entries = _entries(resolve_inside(root, where))
    except (UserError, ImageProblem) as error:
        yield RawRow(table_split, {"table": where}, where, reason=str(error))
        return
    used: set[str] = set()
    for number, (row, image, text, repairs) in enumerate(entries):
        row_where = f"{where}: row {number}"
        split = table_split
        if isinstance(row, RowProblem):
            yield RawRow(split, row.raw, row_where, reason=str(row))
            continue
        if isinstance(row, dict) and isinstance(row.get("split"), str) and row["split"].strip():
            split = split_of(row["split"])
        if not isinstance(image, str) or not image.strip():
            yield RawRow(split, row, row_where, reason="names no image")
            continue
        name = finder.find(image.strip())
        if name in used:
            yield RawRow(split, row, row_where, reason=f"{name!r} has a label already")
            continue
        used.add(name)
        # {image: text} is a row too; pandas writes its index under no name.
        known = {*_IMAGE_COLUMNS, *_TEXT_COLUMNS, "split", image, ""}
        extra = {key: value for key, value in row.items() if key not in known}
        record = _record(name, texts_of(text) or [""], extra)
        yield RawRow(split, row, row_where, record, repairs=repairs)


def _entries(path: Path) -> list[tuple[Any, Any, Any, tuple[str, ...]]]:
    """(raw row, image, text, repairs) of each row of a table. Raises UserError."""
    if path.suffix.lower() == ".json":
        value = read_json(path)
        if isinstance(value, dict) and not isinstance(value.get("data"), list):
            return [({image: label}, image, _label_text(label), ()) for image, label in value.items()]
    if path.suffix.lower() in (".json", ".jsonl"):
        return [
            (row, None, None, ())
            if isinstance(row, RowProblem)
            else (row, _first(row, _IMAGE_COLUMNS), _first(row, _TEXT_COLUMNS), ())
            for _, row in file_rows(path)
        ]
    cells = _cells(path)
    if not cells:
        raise UserError(f"{path}: is empty")
    header = [cell.strip().lower() for cell in cells[0]]
    image_column = next((header.index(name) for name in _IMAGE_COLUMNS if name in header), None)
    text_column = next((header.index(name) for name in _TEXT_COLUMNS if name in header), None)
    has_header = Path(cells[0][0].strip()).suffix.lower() not in IMAGE_SUFFIXES
    if not has_header or (image_column is None and text_column is None):
        image_column, text_column, header = 0, 1, ["image", "text"]
    elif image_column is None or text_column is None or image_column == text_column:
        raise UserError(f"{path}:1: expected a column of {_IMAGE_COLUMNS} and one of {_TEXT_COLUMNS}")
    else:
        cells = cells[1:]
    entries = []
    for row in cells:
        repairs: tuple[str, ...] = ()
        if len(row) > len(header) and text_column == len(header) - 1 and path.suffix.lower() == ".csv":
            row, repairs = [*row[:text_column], ",".join(row[text_column:])], (COMMA,)
        if len(row) > len(header):
            problem = RowProblem(f"{len(row)} cells under {len(header)} columns", row)
            entries.append((problem, None, None, ()))
            continue
        row = row + [""] * (len(header) - len(row))
        raw = dict(zip(header, row, strict=True))
        entries.append((raw, row[image_column], row[text_column], repairs))
    return entries


def _cells(path: Path) -> list[list[str]]:
    lines = read_lines(path)
    if path.suffix.lower() == ".csv":
        delimiter = ";" if lines and "," not in lines[0] else ","
        reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
        try:
            return [[cell.strip("\r\n") for cell in row] for row in reader if any(row)]
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}: {error}") from error
    if path.suffix.lower() == ".txt":
        return [_image_and_text(line) for line in lines if line.strip()]
    return [[_unquoted(cell) for cell in line.split("\t")] for line in lines if line.strip()]


def _image_and_text(line: str) -> list[str]:
    """The cells of a line of a .txt: what lies after its first tab, or else first space, is the text."""
    image, space, text = line.partition(" ")
    if "\t" not in line and space and Path(image).suffix.lower() in IMAGE_SUFFIXES:
        return [image, text]
    return [_unquoted(cell) for cell in line.split("\t", 1)]


def _label_text(label: Any) -> Any:
    return _first(label, _TEXT_COLUMNS) if isinstance(label, dict) else label


def _unquoted(cell: str) -> str:
    """A cell as pandas quotes it, only where it holds a quote; a text in plain quotes keeps them."""
    quoted = re.fullmatch(r'"((?:[^"]|"")*)"', cell)
    return quoted[1].replace('""', '"') if quoted and '""' in quoted[1] else cell


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _split_of_folders(name: str) -> str:
    return next((split for part in Path(name).parts[:-1] if (split := split_of(part, ""))), "train")


def _record(image: str, texts: list[str], extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"handwriting/{image}",
        "images": [image],
        "question": QUESTION,
        "answers": texts,
        "answerable": True,
        "question_type": "transcription",
        "meta": extra,
    }


HANDWRITING = Converter("handwriting", licence=None, find_input=find_input, rows=rows)
