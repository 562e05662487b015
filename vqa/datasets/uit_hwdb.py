"""UIT-HWDB: Vietnamese handwriting of 255 writers, as words, lines and paragraphs (Nguyen et al., RIVF 2022).

Schema from github.com/hieunghia-pat/UIT-HWDB-dataset and the loaders that read its archives:
`UIT_HWDB_{word,line,paragraph}[_v2]/{train_data,test_data}/WRITER/{label.json, N.jpg}`, where `label.json` is
{"1.jpg": "text", ...}; `UIT_HWDB_line_syn/N/` has such folders without a split and is training data. Archives
unpack with that folder once or twice nested; any of these folders may be given. Dirt: writers without
label.json, labels whose image is missing or has another suffix than the label says, images that no label
names, empty labels.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import IMAGE_SUFFIXES, folders, input_folder, natural_key, relative, split_of
from vqa.datasets.raw_json import read_json
from vqa.datasets.row_values import texts_of
from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside

QUESTION = "What text is written in the image?"
LABELS = "label.json"
EXPECTED = f"UIT_HWDB_line or UIT_HWDB_word, and in it WRITER/{LABELS}"
MAX_DEPTH = 5
_SPLIT_FOLDER = re.compile(r"(train|test|val|dev)(_data)?", re.I)
_LEVEL_FOLDER = re.compile(r"(?:.*_)?((?:word|line|paragraph)(?:_v\d+|_syn)?)", re.I)


def find_input(given: Path | None) -> Path:
    """The folder with `UIT_HWDB_line` and the like in it, or one of these. Raises UserError."""
    root = input_folder(given, "UIT-HWDB", EXPECTED)
    if not any((writer / LABELS).is_file() for _, _, writer in _writers(root)):
        raise UserError(f"--input {root}: not UIT-HWDB: no {EXPECTED}")
    return root


def _writers(root: Path) -> list[tuple[str, str, Path]]:
    """(level, split, folder) of each writer: a folder with label.json, or with images and without it.

    The level is `line`, `word_v2`, ... or "" where no folder says so.
    """
    found = []
    for folder, names in folders(root, MAX_DEPTH):
        if LABELS in names or any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            above = [root.resolve().name, *folder.relative_to(root).parts[:-1]]
            levels = [match[1].lower() for name in above if (match := _LEVEL_FOLDER.fullmatch(name))]
            splits = [split_of(name) for name in above if _SPLIT_FOLDER.fullmatch(name)]
            found.append((levels[-1] if levels else "", splits[-1] if splits else "train", folder))
    return sorted(found, key=lambda item: (item[0], item[1] != "train", natural_key(str(item[2]))))


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield one row per label, level by level, writer by writer; and one per image that no label names."""
    for level, split, writer in _writers(root):
        left_out = "level" if options.level not in ("all", level.partition("_")[0] or options.level) else ""
        yield from _writer_rows(root, level, split, writer, left_out)


def _writer_rows(root: Path, level: str, split: str, writer: Path, left_out: str) -> Iterator[RawRow]:
    folder = relative(root, writer)
    where = (Path(folder) / LABELS).as_posix()
    try:
        labels = read_json(resolve_inside(root, where))
    except (UserError, ImageProblem) as error:
        yield RawRow(split, {"writer": writer.name}, where, reason=f"{LABELS}: {error}", filtered=left_out)
        return
    if not isinstance(labels, dict):
        yield RawRow(split, labels, where, reason="expected an object {image: text}", filtered=left_out)
        return
    _, names = next(folders(writer, depth=0))
    images = {name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES}
    by_stem = {Path(name).stem: name for name in sorted(images, reverse=True)}
    named = set()
    meta: dict[str, Any] = {"writer": writer.name, **({"level": level} if level else {})}
    for name, text in labels.items():
        row, repairs = {name: text}, ()
        if name not in images and Path(name).stem in by_stem:
            name, repairs = by_stem[Path(name).stem], ("image has another suffix",)
        named.add(name)
        record = {
            "id": f"uit_hwdb/{split}/{level + '/' if level else ''}{writer.name}/{name}",
            "images": [(Path(folder) / name).as_posix()],
            "question": QUESTION,
            "answers": texts_of(text) or [""],
            "answerable": True,
            "question_type": "transcription",
            "meta": meta,
        }
        yield RawRow(split, row, f"{where}: {name}", record, filtered=left_out, repairs=repairs)
    for name in sorted(images - named, key=natural_key):
        yield RawRow(split, {name: None}, f"{where}: {name}", reason="the image has no label",
                     filtered=left_out)  # fmt: skip


UIT_HWDB = Converter("uit_hwdb", licence=None, find_input=find_input, rows=rows)
