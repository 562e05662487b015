"""Where the files of a publication lie: its folder, its question files, their splits, and its images."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside
from vqa.images import image_size as header_size
from vqa.manifests import MANIFEST_FILE, NOT_RECORDS, REJECTS_FILE

MAX_FOLDER_DEPTH = 3
# What macOS adds to the archives and folders that it writes.
_NOT_PUBLISHED = "__MACOSX"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
SPLITS = {
    **dict.fromkeys("train training trainset training_data".split(), "train"),
    **dict.fromkeys("val valid validate validation dev valset validation_data".split(), "validation"),
    **dict.fromkeys("test testing testset testing_data".split(), "test"),
}
SPLIT_ORDER = ("train", "validation", "test")
SplitFile = tuple[str, Path]
_TABLE = re.compile(r"(metadata|" + "|".join(SPLITS) + r")(?:-\d+-of-\d+)?\.jsonl?", re.I)
_PARQUET = re.compile(r".+\.parquet", re.I)


def folders(root: Path, depth: int = MAX_FOLDER_DEPTH) -> Iterator[tuple[Path, list[str]]]:
    """Yield (folder, names of its files) for `root` and those below it, level by level, sorted.

    Links to folders are not followed; hidden entries, `__MACOSX` and record folders below `root` are passed
    over. Raises UserError for a folder that may not be read.
    """
    level = [root]
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                raise UserError(f"{folder}: cannot be read: {error.strerror}") from error
            kept = [entry for entry in entries if not entry.name.startswith((".", _NOT_PUBLISHED))]
            if folder != root and {MANIFEST_FILE, REJECTS_FILE} <= {entry.name for entry in kept}:
                continue
            yield folder, [entry.name for entry in kept if not entry.is_dir()]
            below += [folder / entry.name for entry in kept if entry.is_dir(follow_symlinks=False)]
        level = below


def input_folder(given: Path | None, name: str, expected: str) -> Path:
    """The user's `--input`. Raises UserError that says what is `expected` in it, where it is no folder."""
    if given is None:
        raise UserError(f"--input: give the folder of {name}, with {expected}")
    if not given.is_dir():
        raise UserError(f"--input {given}: no such folder; give the folder of {name}, with {expected}")
    return given


def publication_folder(given: Path | None, name: str, expected: str, holds: Callable[[Path], Any]) -> Path:
    """The folder that `holds` a publication: as given, or the nearest below it, as archives unpack.

    Raises:
        UserError: not a folder, or no folder of it holds what is `expected`.
    """
    root = input_folder(given, name, expected)
    for folder, _ in folders(root):
        if holds(folder):
            return folder
    raise UserError(f"--input {root}: not {name}: no {expected}")


def inside(root: Path, path: Path) -> Path:
    """`path` itself. Raises UserError where it is a link that leads out of `root`."""
    try:
        resolve_inside(root, relative(root, path))
    except ImageProblem as problem:
        raise UserError(f"{path}: {problem}") from problem
    return path


def find_files(root: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    """The files whose whole name `pattern` matches, those nearest to `root` first.

    Raises:
        UserError: one is a symbolic link that leads out of `root`.
    """
    return [
        (inside(root, folder / name), match)
        for folder, names in folders(root)
        for name in names
        if (match := pattern.fullmatch(name))
    ]


def files_inside(root: Path, folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files directly in `folder` with one of these suffixes (lower case, any case on disk), by name.

    Raises:
        UserError: one is a symbolic link that leads out of `root`.
    """
    _, names = next(folders(folder, depth=0))
    wanted = set(suffixes)
    return [inside(root, folder / name) for name in names if Path(name).suffix.lower() in wanted]


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


def in_split_order(files: Iterable[SplitFile]) -> list[SplitFile]:
    """Training first, then validation, then test; of a split by path."""
    return sorted(files, key=lambda item: (SPLIT_ORDER.index(item[0]), item[1]))


def split_files(folder: Path, suffixes: Iterable[str] = (".json", ".jsonl")) -> list[SplitFile]:
    """(split, file) of the files whose names tell a split: `train.json`, `testset.json`, `x1-val.jsonl`.

    Raises UserError for a link that leads out of `folder`.
    """
    found = ((split_of(path.stem, ""), path) for path in files_inside(folder, folder, suffixes))
    return in_split_order(item for item in found if item[0])


def table_files(root: Path) -> list[SplitFile]:
    """`<split>.json[l]` and `<split>/metadata.jsonl`, as exported from Parquet or for `imagefolder`."""
    found = []
    for path, match in find_files(root, _TABLE):
        word = match[1].lower()
        split = SPLITS.get(path.parent.name.lower() if word == "metadata" else word)
        if split:
            found.append((split, path))
    return in_split_order(found)


def parquet_files(root: Path) -> list[SplitFile]:
    """The Parquet files of a copy from the hub, `data/train-00000-of-00004-HASH.parquet`.

    A name without a split's is train. A folder that has such files is read from these alone.
    """
    found = find_files(root, _PARQUET) if root.is_dir() else []
    return in_split_order(
        (split_of(path.stem, split_of(path.parent.name, "train")), path) for path, _ in found
    )


def relative(root: Path, path: Path) -> str:
    """`path` relative to `root` with `/`, for names of images and messages."""
    return path.relative_to(root).as_posix()


def natural_key(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts `2.jpg` before `10.jpg`, and `02.jpg`, the same number, before `2.jpg`."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part], name


def hold_out(items: Sequence[Any], number: int) -> set[Any]:
    """The last `number` of the training images. Raises UserError when there are not more than that."""
    if not 0 <= number < max(len(items), 1):
        raise UserError(f"--validation_images {number}: the train split has {len(items)} images")
    return set(items[len(items) - number :])


def image_name(row: dict[str, Any], *fields: str) -> str | None:
    """The image's file name in the first of `fields` with one; exports of `datasets` nest it in `path`."""
    for field in fields:
        value = row.get(field)
        if isinstance(value, dict):
            value = value.get("path")
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def image_size(root: Path, name: str, max_pixels: int) -> tuple[int, int] | None:
    """(width, height) in pixels; None for an unusable image: the check of its records will say why."""
    try:
        return header_size(resolve_inside(root, name), max_pixels)
    except ImageProblem:
        return None


class ImageFinder:
    """Finds image files whose folder or suffix a publication leaves to its readers; each name once.

    Args:
        root: the image root.
        folders: relative to it, tried in this order; "" is the root itself.
    """

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        self.root = root
        self.folders = list(dict.fromkeys(folders))
        self.find = lru_cache(maxsize=2**16)(self._find)

    def _find(self, *names: str) -> str:
        """The path relative to the root of the first of `names` that is found.

        Windows' backslashes, another case of the suffix, and an absolute path into the root are understood; a
        name without one of `IMAGE_SUFFIXES` is tried with each. What is not found, or would leave the root,
        is returned as it was given first, for the check of images to name in its message.
        """
        for name in names:
            for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
                pure = PurePosixPath(spelling)
                if pure.is_relative_to(self.root.absolute().as_posix()):
                    pure = pure.relative_to(self.root.absolute().as_posix())
                if pure.is_absolute() or ".." in pure.parts or "\0" in name:
                    return names[0]
                for folder in self.folders:
                    for candidate in _spellings(PurePosixPath(folder) / pure):
                        # Unlike Path.is_file, this takes any name, however long.
                        if os.path.isfile(self.root / candidate):
                            return candidate
        return names[0]


def _spellings(path: PurePosixPath) -> Iterator[str]:
    yield path.as_posix()
    if path.suffix.lower() in IMAGE_SUFFIXES:
        stem, suffixes = path.as_posix()[: -len(path.suffix)], (path.suffix,)
    else:
        stem, suffixes = path.as_posix(), IMAGE_SUFFIXES
    for suffix in suffixes:
        yield from (stem + suffix.lower(), stem + suffix.upper())
