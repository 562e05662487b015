"""SLAKE and VQA-RAD together, from one folder that holds both publications."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vqa.datasets import slake, vqa_rad
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import folders, input_folder
from vqa.errors import UserError


def find_input(given: Path | None) -> Path:
    """The folder that holds both, each in a folder of its own (or both in this one)."""
    given = input_folder(given, "SLAKE and VQA-RAD", "each in a folder of its own, or both in one")
    _parts(given)
    return given


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield SLAKE's rows, then VQA-RAD's; splits of one name become one, `source` tells them apart."""
    for converter, folder in _parts(root):
        inside = folder.relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for row in converter.rows(folder, options):
            record = row.record
            if record is not None:
                images = [prefix + name for name in record["images"]]
                record = {**record, "images": images, "source": converter.name}
            yield replace(row, where=prefix + row.where, record=record)


def _parts(root: Path) -> list[tuple[Converter, Path]]:
    found = [
        (converter, next((folder for folder, _ in folders(root) if holds(folder)), None))
        for converter, holds in ((slake.SLAKE, slake.is_slake), (vqa_rad.VQA_RAD, vqa_rad.annotation_files))
    ]
    missing = [converter.name for converter, folder in found if folder is None]
    if missing:
        raise UserError(
            f"--input {root}: holds no {' and no '.join(missing)} (its JSON files with their images)"
        )
    return [(converter, folder) for converter, folder in found if folder is not None]


BOTH = Converter(
    "both",
    licence="CC-BY-4.0 (SLAKE), CC0-1.0 (VQA-RAD)",
    find_input=find_input,
    rows=rows,
)
