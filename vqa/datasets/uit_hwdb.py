"""UIT-HWDB: Vietnamese handwriting of 255 writers, as words, lines and paragraphs (Nguyen et al., RIVF 2022).

Schema from github.com/hieunghia-pat/UIT-HWDB-dataset and the loaders that read its archives:
`UIT_HWDB_{word,line,paragraph}[_v2|_syn]/{train_data,test_data}/WRITER/{label.json, N.jpg}`, where
`label.json` is {"1.jpg": "text", ...}. Archives unpack with that folder once or twice nested; a single one of
these folders may be given too. Dirt: writers without label.json, labels whose image is missing or has another
suffix than the label says, images that no label names, empty labels.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vqa.datasets.conversion import Converter, ConvertOptions, RawRow
from vqa.datasets.generic import natural_key, split_of
from vqa.datasets.raw_json import read_json
from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside

QUESTION = "What text is written in the image?"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
LABELS = "label.json"
_SPLIT_FOLDER = re.compile(r"(train|test)(_data)?", re.IGNORECASE)
_LEVEL = re.compile(r"(word|line|paragraph)(_\w+)?$", re.IGNORECASE)


def find_input(given: Path | None) -> Path:
    """The folder with `UIT_HWDB_line` and the like in it, or one of these. Raises UserError."""
    if given is None:
        raise UserError("--input: give the folder that holds UIT_HWDB_line or UIT_HWDB_word")
    if not given.is_dir() or not _parts(given):
        wanted = "UIT_HWDB_{line,word}/{train_data,test_data}"
        raise UserError(f"--input {given}: not UIT-HWDB: no {wanted} in it")
    return given


def _parts(root: Path) -> list[tuple[str, Path]]:
    """(line, word_v2, ...; folder `train_data` or `test_data`) in a fixed order."""
    found, level_by_level = [], [root]
    for _ in range(3):
        level_by_level = [
            child
            for folder in level_by_level
            for child in sorted(folder.iterdir())
            if child.is_dir() and not child.is_symlink()
        ]
        matched = [folder for folder in level_by_level if _SPLIT_FOLDER.fullmatch(folder.name)]
        for folder in matched:
            level = _LEVEL.search(folder.parent.resolve().name)
            if level:
                found.append((level[0].lower(), folder))
        level_by_level = [folder for folder in level_by_level if folder not in matched]
    return sorted(found, key=lambda part: (part[0], split_of(part[1].name) != "train"))


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield one row per label, level by level, writer by writer; and one per image that no label names."""
    for part, folder in _parts(root):
        left_out = "level" if options.level not in ("all", part.partition("_")[0]) else ""
        for writer in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
            if writer.is_dir():
                yield from _writer_rows(root, part, split_of(folder.name), writer, left_out)


def _writer_rows(root: Path, part: str, split: str, writer: Path, left_out: str) -> Iterator[RawRow]:
    relative = writer.relative_to(root).as_posix()
    where = f"{relative}/{LABELS}"
    try:
        labels = read_json(resolve_inside(root, where))
    except (UserError, ImageProblem) as error:
        yield RawRow(split, {"writer": writer.name}, where, reason=f"{LABELS}: {error}", filtered=left_out)
        return
    if not isinstance(labels, dict):
        yield RawRow(split, labels, where, reason="expected an object {image: text}", filtered=left_out)
        return
    images = {path.name for path in writer.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    by_stem = {Path(name).stem: name for name in sorted(images, reverse=True)}
    named = set()
    for name, text in labels.items():
        row, repairs = {name: text}, ()
        if name not in images and Path(name).stem in by_stem:
            name, repairs = by_stem[Path(name).stem], ("image has another suffix",)
        named.add(name)
        record = {
            "id": f"uit_hwdb/{split}/{part}/{writer.name}/{name}",
            "images": [f"{relative}/{name}"],
            "question": QUESTION,
            "answers": [text.strip()] if isinstance(text, str) else text,
            "answerable": True,
            "question_type": "transcription",
            "meta": {"writer": writer.name, "level": part},
        }
        yield RawRow(split, row, f"{where}: {name}", record, filtered=left_out, repairs=repairs)
    for name in sorted(images - named, key=natural_key):
        yield RawRow(split, {name: None}, f"{where}: {name}", reason="the image has no label",
                     filtered=left_out)  # fmt: skip


UIT_HWDB = Converter("uit_hwdb", licence=None, find_input=find_input, rows=rows)
