"""Finding one's way in a download: question files, image files and splits, in the layouts in circulation."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.datasets.raw_json import read_json
from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside
from vqa.images import image_size as header_size
from vqa.raw_forms import RowProblem, describe, iterate_rows

MAX_FOLDER_DEPTH = 3
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
SPLITS = {
    **dict.fromkeys(("train", "training", "training_data"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "validation_data"), "validation"),
    **dict.fromkeys(("test", "testing", "testing_data"), "test"),
}
SPLIT_ORDER = ("train", "validation", "test")
_TABLE = re.compile(r"(metadata|" + "|".join(SPLITS) + r")(?:-\d+-of-\d+)?\.jsonl?", re.I)


def folders(root: Path, depth: int = MAX_FOLDER_DEPTH) -> Iterator[tuple[Path, list[str]]]:
    """Yield (folder, names of its files) for `root` and those below it, sorted; links are not followed."""
    for current, names, files in os.walk(root):
        folder = Path(current)
        names[:] = sorted(names) if len(folder.relative_to(root).parts) < depth else []
        yield folder, sorted(files)


def find_files(root: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    """The files whose whole name `pattern` matches, those nearest to `root` first."""
    found = []
    for folder, names in folders(root):
        found += [(folder / name, match) for name in names if (match := pattern.fullmatch(name))]
    return sorted(found, key=lambda item: (len(item[0].parts), item[0]))


def input_folder(given: Path | None, name: str, expected: str) -> Path:
    """`given`, if it is a folder. Raises UserError that says what is `expected` in it."""
    if given is None:
        raise UserError(f"--input: give the folder of {name}, with {expected}")
    if not given.is_dir():
        raise UserError(f"--input {given}: is not a folder; {name} has {expected}")
    return given


def question_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    """Yield (number, object or problem) for the rows of a JSONL file, a JSON array or `{"data": [...]}`.

    Numbers count lines from 1 in JSONL and elements from 0 in JSON.

    Raises:
        UserError: the file cannot be read, or is none of these.
    """
    if path.suffix.lower() == ".jsonl":
        yield from iterate_rows(path)
        return
    value = read_json(path)
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise UserError(f'{path}: expected a JSON array of rows, or one under "data"')
    for number, row in enumerate(rows):
        yield number, row if isinstance(row, dict) else RowProblem(f"a row is an object, not {describe(row)}")


def image_name(row: dict[str, Any], *fields: str) -> str | None:
    """The image's file name in the first of `fields` with one; exports of `datasets` nest it in `path`."""
    for field in fields:
        value = row.get(field)
        if isinstance(value, dict):
            value = value.get("path")
        if isinstance(value, str) and value.strip():
            return value.strip().replace("\\", "/").removeprefix("./")
    return None


def find_image(root: Path, name: str, inside: Sequence[str]) -> str:
    """The path of image `name` relative to `root`, looked for in its folders `inside`, also by base name.

    A name without one of `IMAGE_SUFFIXES` is tried with each. What is not found, or would leave the root, is
    returned as it was given, for the check of images to name in its message.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        return name
    endings = ("",) if pure.suffix.lower() in IMAGE_SUFFIXES else IMAGE_SUFFIXES
    for folder in inside:
        for tail in dict.fromkeys((name, pure.name)):
            for ending in endings:
                candidate = (PurePosixPath(folder) / (tail + ending)).as_posix()
                if (root / candidate).is_file():
                    return candidate
    return name + endings[0]


def hold_out(items: Sequence[Any], number: int) -> set[Any]:
    """The last `number` of the training images. Raises UserError when there are not more than that."""
    if not 0 <= number < max(len(items), 1):
        raise UserError(f"--validation_images {number}: the train split has {len(items)} images")
    return set(items[len(items) - number :])


def image_size(root: Path, name: str, max_pixels: int) -> tuple[int, int] | None:
    """(width, height) in pixels; None for an unusable image: the check of its records will say why."""
    try:
        return header_size(resolve_inside(root, name), max_pixels)
    except ImageProblem:
        return None


def table_rows(root: Path) -> Iterator[tuple[str, Path, int, dict[str, Any] | RowProblem]]:
    """Yield (split, file, number, row) of `<split>.json[l]` and `<split>/metadata.jsonl`, as exported from
    Parquet or laid out for the `imagefolder` loader."""
    tables = []
    for path, match in find_files(root, _TABLE):
        word = match[1].lower()
        split = SPLITS.get(path.parent.name.lower() if word == "metadata" else word)
        if split:
            tables.append((SPLIT_ORDER.index(split), path, split))
    for _, path, split in sorted(tables):
        for number, row in question_rows(path):
            yield split, path, number, row


def relative(root: Path, path: Path) -> str:
    """`path` relative to `root` with `/`, for names of images and messages."""
    return path.relative_to(root).as_posix()
