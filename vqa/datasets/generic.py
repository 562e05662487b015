"""`generic`: JSON files in the raw forms of `docs/contract.md`; and what all sets of plain JSON files share.

The forms are told apart and renamed in `vqa/raw_forms.py`. A folder is read file by file, each a split by
its name; a row that names its own split keeps it. Images are relative to the folder.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import ImageFinder, files_inside, split_of
from vqa.datasets.raw_tables import published_rows
from vqa.errors import UserError
from vqa.manifests import NOT_RECORDS
from vqa.raw_forms import IMAGE_NAMES

SUFFIXES = (".json", ".jsonl")
NOT_DATA = ("manifest", "dataset_info", "dataset_infos", "state", *NOT_RECORDS)


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


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield every row of every file, in order; what a row lacks is inferred when it is checked."""
    images = ImageFinder(image_folder(root), ("",))
    for path in json_files(root):
        for index, raw in published_rows(path.parent, [(split_of(path.stem), path)]):
            row = raw.row
            if raw.reason:
                yield raw
                continue
            own = row.get("split")
            split = split_of(own) if isinstance(own, str) and own.strip() else raw.split
            named = {"id": row.get("id") or f"generic/{path.name}/{index:06d}", "split": split}
            found = {name: _found(row[name], images) for name in IMAGE_NAMES if name in row}
            yield replace(raw, split=split).made({**row, **named, **found})


def _found(value: Any, images: ImageFinder) -> Any:
    if isinstance(value, list):
        return [_found(item, images) for item in value]
    return images.find(value) if isinstance(value, str) and value else value


GENERIC = Converter("generic", licence=None, find_input=find_json_input, rows=rows)
