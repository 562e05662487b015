"""The rows of a publication's file, whatever its form: JSON, JSON Lines, CSV, TSV or Parquet.

A row that cannot be used comes as a `RowProblem`, for the rejects; a file that cannot be read is a UserError.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from vqa.datasets.converter import RawRow
from vqa.datasets.hub_images import write_image
from vqa.datasets.hub_values import plain
from vqa.datasets.layouts import parquet_files
from vqa.datasets.raw_json import MAX_JSON_BYTES, check_file, read_json, read_text
from vqa.errors import UserError
from vqa.images import ImageProblem
from vqa.raw_forms import RowProblem, describe, iterate_rows

Row = dict[str, Any] | RowProblem
DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLE_SUFFIXES = (".json", ".jsonl", *DELIMITERS)
# Keys under which the rows of a whole file are wrapped.
_WRAPPERS = ("data", "rows", "records", "samples", "examples")
_ROWS_PER_BATCH = 32
# An image as `datasets` stores it.
_IMAGE = {"bytes", "path"}


def file_rows(path: Path, image_dir: Path | None = None) -> Iterator[tuple[str, Row]]:
    """Yield (place, object or problem) for each row of a file.

    JSON is an array, or an object with one under `data` or the like; JSON Lines are told by their form, since
    `datasets` writes them with the suffix `.json`. Values of CSV and TSV are strings, with `""` for cells
    that a short row lacks. Places are `row N`, from 0, or `line N`, from 1.

    Args:
        path: `.json`, `.jsonl`, `.csv`, `.tsv` or `.parquet`.
        image_dir: where the images in Parquet's cells are written; the row then names `images/HASH.SUFFIX`.

    Raises:
        UserError: the file as a whole cannot be read or has another form.
    """
    suffix = path.suffix.lower()
    check_file(path, None if suffix in (".jsonl", ".parquet") else MAX_JSON_BYTES)
    if suffix == ".parquet":
        yield from _parquet_rows(path, image_dir)
    elif suffix in DELIMITERS:
        yield from _delimited_rows(path, DELIMITERS[suffix])
    elif suffix == ".json" and (elements := _json_list(path)) is not None:
        for index, row in enumerate(elements):
            problem = RowProblem(f"a row is a JSON object, not {describe(row)}", row)
            yield f"row {index}", row if isinstance(row, dict) else problem
    elif suffix in (".json", ".jsonl"):
        for line, row in iterate_rows(path):
            yield f"line {line}", row
    else:
        raise UserError(f"{path}: a table is {', '.join(TABLE_SUFFIXES)}, not {suffix or 'without suffix'}")


def published_rows(
    root: Path, files: Iterable[tuple[str, Path]], image_dir: Path | None = None
) -> Iterator[tuple[int, RawRow]]:
    """Yield (number within its split, row) of `files`, (split, path) each; with a reason if it is no object.

    Raises:
        UserError: as `file_rows`.
    """
    numbers: Counter[str] = Counter()
    for split, path in files:
        shown = path.relative_to(root).as_posix()
        for place, row in file_rows(path, image_dir):
            raw = RawRow(split, row, f"{shown}: {place}")
            broken = isinstance(row, RowProblem)
            yield numbers[split], replace(raw, row=row.raw, reason=str(row)) if broken else raw
            numbers[split] += 1


def _json_list(path: Path) -> list[Any] | None:
    """The rows of an array, or of an object around one; None for JSON Lines that only have another suffix."""
    with open(path, "rb") as file:
        array = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if array:
        return read_json(path)
    _, first = next(iterate_rows(path))
    value = read_json(path) if isinstance(first, RowProblem) else first
    lists = [value[key] for key in _WRAPPERS if isinstance(value, dict) and isinstance(value.get(key), list)]
    if lists:
        return lists[0]
    if isinstance(first, RowProblem):
        raise UserError(f"{path}: expected a JSON array of rows, JSONL, or an array under {_WRAPPERS[0]!r}")
    return None


def _delimited_rows(path: Path, delimiter: str) -> Iterator[tuple[str, Row]]:
    reader = csv.reader(io.StringIO(read_text(path, MAX_JSON_BYTES), newline=""), delimiter=delimiter)
    columns: list[str] | None = None
    index = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = [cell.strip() for cell in cells]
                if "" in columns or len(set(columns)) < len(columns):
                    raise UserError(f"{path}:1: the header has a column without a name or two of one name")
                continue
            if len(cells) > len(columns):
                problem = RowProblem(f"{len(cells)} cells under {len(columns)} columns", cells)
                yield f"row {index}", problem
            else:
                cells += [""] * (len(columns) - len(cells))
                yield f"row {index}", dict(zip(columns, cells, strict=True))
            index += 1
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}") from error
    if columns is None:
        raise UserError(f"{path}: is empty: a header with the columns' names is needed")


def embedded_images(root: Path) -> bool:
    """Whether the Parquet files of a folder hold the images too, in columns of {bytes, path}.

    Raises:
        UserError: one of them cannot be read.
    """
    for _, path in parquet_files(root):
        try:
            columns = [column.type for column in parquet.read_schema(path)]
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        if any(pa.types.is_struct(kind) and _IMAGE == {field.name for field in kind} for kind in columns):
            return True
    return False


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a Parquet file that can be read: {str(error)[:200]}")


def _parquet_rows(path: Path, image_dir: Path | None) -> Iterator[tuple[str, Row]]:
    if image_dir is None:
        raise ValueError("the images of a Parquet file are written: options.image_dir is needed")
    index = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                try:
                    values = {name: _cell(value, image_dir) for name, value in row.items()}
                except ImageProblem as problem:
                    yield f"row {index}", RowProblem(str(problem), plain(row))
                else:
                    yield f"row {index}", values
                index += 1
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _cell(value: Any, image_dir: Path) -> Any:
    """A cell as JSON has it; an image as `datasets` stores it becomes the name of its file."""
    if isinstance(value, dict) and value.keys() == _IMAGE:
        return write_image(value["bytes"], image_dir) if value["bytes"] else value["path"]
    return plain(value)
