"""CORD: 1,000 Indonesian receipts; a question for each leaf of the parse (`gt_parse`).

Schema: github.com/clovaai/cord and the Parquet files of `naver-clova-ix/cord-v1` and `cord-v2`. Either
`{train,dev,test}/{image,json}/receipt_NNNNN.{png,json}`, or rows of `{image, ground_truth}` (`file_name` in
a `metadata.jsonl`), where `ground_truth` is a JSON string. Both hold `valid_line: [{words: [{quad: {x1..y4},
is_key, row_id, text}], category: "menu.nm", group_id, sub_group_id}]`, `meta: {image_size, ...}` and, but for
the first release, `gt_parse: {menu: [{nm, price, sub: [...]}], sub_total: {...}, total: {...}}`; there the
parse is built from the lines. One item stands without its list, a value on several lines is a list.

A row is a leaf; a receipt without any is one row. Boxes are those of the valid line of that category and
text.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.cord_lines import EvidenceFinder, ValidLine, parse_of_lines, read_valid_lines
from vqa.datasets.cord_questions import Entry, entries
from vqa.datasets.layouts import (
    SPLITS,
    ImageFinder,
    SplitFile,
    files_inside,
    folders,
    image_name,
    image_size,
    in_split_order,
    parquet_files,
    publication_folder,
    relative,
    table_files,
)
from vqa.datasets.raw_json import parse_json, read_json
from vqa.datasets.raw_tables import embedded_images, file_rows
from vqa.datasets.text_evidence import clipped
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

EXPECTED = "{train,dev,test}/{image,json}, or <split>.jsonl with image and ground_truth"
MAX_RECEIPT_BYTES = 2**24
# Split, where, name, image, and the ground truth or why there is none.
_Receipt = tuple[str, str, str, str | None, dict[str, Any] | str]


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are receipts in it."""
    return publication_folder(
        given, "CORD", EXPECTED, lambda folder: _tables(folder) or any(_receipts_in_folders(folder))
    )


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the leaves of all receipts of train, validation and test."""
    for split, where, stem, image, truth in _receipts(root, options):
        if isinstance(truth, str):
            yield RawRow(split, {"file": where}, where, reason=truth)
            continue
        try:
            lines = read_valid_lines(truth.get("valid_line"))
            parse = truth.get("gt_parse")
            found = list(entries(parse if parse is not None else parse_of_lines(lines)))
        except RowProblem as problem:
            yield RawRow(split, {"file": where}, where, reason=str(problem))
            continue
        if not found:
            yield RawRow(split, {"file": where}, where, reason="gt_parse: has no leaves")
        elif image is None:
            yield RawRow(split, {"file": where}, where, reason="image: missing")
        else:
            size = image_size(options.image_root or root, image, options.max_pixels)
            yield from _leaf_rows(split, where, stem, image, found, lines, size)


def _leaf_rows(
    split: str,
    where: str,
    stem: str,
    image: str,
    found: list[Entry],
    lines: list[ValidLine],
    size: tuple[int, int] | None,
) -> Iterator[RawRow]:
    finder = EvidenceFinder(lines)
    for entry in found:
        evidence = finder.of_entry([(leaf.category, leaf.texts) for leaf in entry])
        for leaf, boxes in zip(entry, evidence, strict=True):
            row = {"path": leaf.path, "value": leaf.value}
            if not leaf.texts:
                yield RawRow(split, row, f"{where}: {leaf.path}", reason="the value is empty or no text")
                continue
            inside = [clipped(box, size) for box in boxes]
            record = {
                "id": f"cord/{split}/{stem}/{leaf.path}",
                "images": [image],
                "question": leaf.question,
                "answers": [" ".join(leaf.texts)],
                "answerable": True,
                "question_type": "extractive",
                "boxes": [box for box in inside if box],
                "meta": {"field": leaf.path, "value": leaf.value},
            }
            yield RawRow(split, row, f"{where}: {leaf.path}", record)


def _tables(root: Path) -> list[SplitFile]:
    return parquet_files(root) or table_files(root)


def _receipts(root: Path, options: ConvertOptions) -> Iterator[_Receipt]:
    if not parquet_files(root):
        yield from _receipts_in_folders(root)
    for split, path in _tables(root):
        beside = relative(root, path.parent)
        images = ImageFinder(root, (beside, f"{beside}/images", "images", split, ""))
        for place, row in file_rows(path, options.image_dir):
            where, stem = f"{relative(root, path)}: {place}", f"{path.stem}-{int(place.split()[1]):05d}"
            if isinstance(row, RowProblem):
                yield split, where, stem, None, str(row)
                continue
            name, truth = image_name(row, "image", "file_name"), row.get("ground_truth")
            if isinstance(truth, str):
                try:
                    truth = parse_json(truth, "ground_truth")
                except UserError as error:
                    truth = str(error)
            yield split, where, stem, images.find(name) if name else None, _checked(truth)


def _receipts_in_folders(root: Path) -> Iterator[_Receipt]:
    found = [
        (SPLITS[folder.parent.name.lower()], folder)
        for folder, _ in folders(root)
        if folder.name == "json" and folder.parent.name.lower() in SPLITS
    ]
    for split, folder in in_split_order(found):
        beside = relative(root, folder.parent)
        images = ImageFinder(root, (f"{beside}/image", f"{beside}/images", beside))
        for path in files_inside(root, folder, (".json",)):
            try:
                truth = read_json(path, MAX_RECEIPT_BYTES)
            except UserError as error:
                truth = str(error)
            yield split, relative(root, path), path.stem, images.find(path.stem), _checked(truth)


def _checked(truth: Any) -> dict[str, Any] | str:
    if isinstance(truth, str | dict):
        return truth
    return "ground_truth: expected an object with valid_line and gt_parse"


CORD = Converter("cord", licence="CC-BY-4.0", find_input=find_input, rows=rows, writes_images=embedded_images)
