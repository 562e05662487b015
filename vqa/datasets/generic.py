"""`generic`: JSON files in the raw forms of `docs/contract.md`; and what all sets of plain JSON files share.

The forms are told apart and renamed in `vqa/raw_forms.py`. A folder is read file by file, each a split by
its name; a row that names its own split keeps it. Images are relative to the folder.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.datasets.conversion import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import SPLITS
from vqa.datasets.raw_json import files_inside, read_json
from vqa.errors import UserError
from vqa.manifests import NOT_RECORDS
from vqa.raw_forms import RowProblem, iterate_rows

SUFFIXES = (".json", ".jsonl")
NOT_DATA = ("manifest", "dataset_info", "dataset_infos", "state", *NOT_RECORDS)
# Keys under which a whole file is wrapped.
_WRAPPERS = ("data", "rows", "records", "samples", "examples")


def split_of(name: str, default: str | None = None) -> str:
    """The split that a file, a folder or a column names: `ViTextVQA_dev` and `val2017` are `validation`.

    Args:
        name: without suffix.
        default: where no word in it is a split's; None: the name itself, made fit for a file name.
    """
    words = re.findall(r"[a-z]+", name.lower())
    known = next((SPLITS[word] for word in words if word in SPLITS), default)
    if known is not None:
        return known
    safe = re.sub(r"[^\w.-]+", "_", name).strip("._") or "train"
    return f"{safe}_rows" if safe in NOT_RECORDS else safe


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sorts `2.jpg` before `10.jpg`."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def find_json_input(given: Path | None) -> Path:
    """A JSON or JSONL file, or a folder that holds some.

    Raises:
        UserError: nothing given, or nothing there.
    """
    if given is None:
        raise UserError("--input: give a .json or .jsonl file, or the folder that holds such files")
    if given.is_file() and given.suffix.lower() in SUFFIXES:
        return given
    if not given.is_dir():
        raise UserError(f"--input {given}: no such folder, and no .json or .jsonl file")
    json_files(given)
    return given


def json_files(root: Path) -> list[Path]:
    """The data files of a folder, by name, or the one file that `root` is. Raises UserError without any."""
    if root.is_file():
        return [root]
    found = [path for path in files_inside(root, root, SUFFIXES) if path.stem not in NOT_DATA]
    if not found:
        raise UserError(f"{root}: holds no .json or .jsonl file")
    return found


def image_folder(root: Path) -> Path:
    """What image paths are relative to: the folder that was given, or that of the file that was given."""
    return root if root.is_dir() else root.parent


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | RowProblem]]:
    """Yield (where, object or problem) for each row of a JSON array, of JSONL, or of `{"data": [...]}`.

    Raises:
        UserError: a JSON array that is damaged: what follows the damage cannot be told.
    """
    with open(path, "rb") as file:
        array = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if not array and path.suffix.lower() == ".json":
        wrapped = _wrapped(path)
        if wrapped is not None:
            for index, row in enumerate(wrapped):
                problem = RowProblem("a record is a JSON object")
                yield f"{path.name}: row {index}", row if isinstance(row, dict) else problem
            return
    for index, (line, row) in enumerate(iterate_rows(path)):
        if array and isinstance(row, RowProblem) and not str(row).startswith("a record is"):
            raise UserError(f"{path}:{line}: {row}")
        # An array often stands on a single line.
        yield f"{path.name}: {f'row {index}' if array else f'line {line}'}", row


def _wrapped(path: Path) -> list[Any] | None:
    """The rows of a file that is one object around them; None for JSONL that only has another suffix."""
    _, first = next(iterate_rows(path))
    value = read_json(path) if isinstance(first, RowProblem) else first
    lists = [value[key] for key in _WRAPPERS if isinstance(value, dict) and isinstance(value.get(key), list)]
    if lists:
        return lists[0]
    if isinstance(first, RowProblem):
        raise UserError(f"{path}: expected an array of objects, JSONL, or an array under {_WRAPPERS[0]!r}")
    return None


class ImageFinder:
    """Finds image files whose folder a publication leaves to its readers.

    Args:
        root: the image root.
        folders: relative to it, tried in this order, that of the last hit first.
    """

    def __init__(self, root: Path, folders: list[str]) -> None:
        self.root = root
        self.first = folders[0]
        self.folders = list(folders)

    def find(self, name: str) -> str:
        """The path relative to the root, in the first folder that has it; under the first one if none has."""
        pure = PurePosixPath(name)
        if pure.is_absolute() and pure.is_relative_to(self.root.absolute().as_posix()):
            return pure.relative_to(self.root.absolute().as_posix()).as_posix()
        spellings = [name, name.replace("\\", "/")] if "\\" in name else [name]
        for folder in self.folders:
            for spelling in spellings:
                # Unlike Path.is_file, this takes any name, however long.
                if os.path.isfile(self.root / folder / spelling):
                    if folder != self.folders[0]:
                        self.folders.sort(key=lambda other, hit=folder: other != hit)
                    return (PurePosixPath(folder) / spelling).as_posix()
        return name if pure.is_absolute() else (PurePosixPath(self.first) / name).as_posix()


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield every row of every file, in order; what a row lacks is inferred when it is checked."""
    for path in json_files(root):
        for index, (where, row) in enumerate(json_rows(path)):
            split = split_of(path.stem)
            if isinstance(row, RowProblem):
                yield RawRow(split, row.raw, where, reason=str(row))
                continue
            if isinstance(row.get("split"), str) and row["split"].strip():
                split = split_of(row["split"])
            named = {"id": row.get("id") or f"generic/{path.name}/{index:06d}", "split": split}
            yield RawRow(split, row, where, {**row, **named})


GENERIC = Converter("generic", licence=None, find_input=find_json_input, rows=rows)
