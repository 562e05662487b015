"""SROIE (ICDAR 2019, task 3): 973 scanned receipts; company, date, address and total of each.

Schema: the RRC challenge "Scanned Receipts OCR and Information Extraction". A receipt has an image, a text
file of lines `x1,y1,x2,y2,x3,y3,x4,y4,TEXT`, in which the text may hold commas, and a JSON object `{company,
date, address, total}`. Layouts: `{train,test}/{img,box,entities}/X.{jpg,txt,txt}`; the challenge's folders
`0325updated.task1train(626p)` (images, lines), `0325updated.task2train(626p)` (entities),
`text.task1&2-test(361p)`, `SROIE_test_{images,gt}_task_3`; `{img,box,key}/N.{jpg,csv,json}`;
rows of `{key, image, words, bboxes, entities}` in Parquet or exported from it. Texts are UTF-8, some Latin-1.

A row is an entity; a receipt without any, such as the copies `X(1).jpg` in the challenge's archive, is one
row. There is no validation split; `--validation_images N` holds out the last N training receipts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    IMAGE_SUFFIXES,
    SPLITS,
    ImageFinder,
    files_inside,
    folders,
    hold_out,
    image_name,
    image_size,
    parquet_files,
    publication_folder,
    relative,
    table_files,
)
from vqa.datasets.raw_json import parse_json, read_lines
from vqa.datasets.raw_tables import embedded_images, file_rows
from vqa.datasets.row_values import texts_of
from vqa.datasets.sroie_evidence import Line, parse_line, value_boxes
from vqa.datasets.text_evidence import clipped, corners_box
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

EXPECTED = "{train,test}/{img,box,entities} or the challenge's folders such as 0325updated.task2train(626p)"
QUESTIONS = {
    "company": "What is the name of the company?",
    "date": "What is the date of the receipt?",
    "address": "What is the address of the company?",
    "total": "What is the total amount?",
}
UNREADABLE_LINE = "line of the box file unreadable, left out"
_IMAGES = {"img", "imgs", "image", "images"}
_BOXES = {"box", "boxes"}
_ENTITIES = {"entities", "entity", "key", "keys"}
_CHALLENGE = re.compile(r"task_?\d|fulltext_test", re.I)
_CHALLENGE_ENTITIES = re.compile(r"task_?2.?train|gt_task_?3|task_?3.?test", re.I)
_COPY = re.compile(r".+\(\d+\)")


@dataclass
class _Receipt:
    """The files of one receipt, or what a row of a table says of it."""

    image: str
    where: str = ""
    boxes: Path | None = None
    entities: Path | None = None
    row: dict[str, Any] = field(default_factory=dict)
    problem: RowProblem | None = None


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are entities in it."""
    return publication_folder(given, "SROIE", EXPECTED, _has_entities)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the entities of all receipts, those of the training data first, receipts by name."""
    for published, receipts in sorted(_receipts(root, options).items(), reverse=True):
        names = sorted(receipts)
        held_out = hold_out(names, options.validation_images) if published == "train" else set()
        for name in names:
            split = "validation" if name in held_out else published
            yield from _entity_rows(root, split, name, receipts[name], options)


def _entity_rows(
    root: Path, split: str, name: str, receipt: _Receipt, options: ConvertOptions
) -> Iterator[RawRow]:
    if receipt.problem:
        yield RawRow(split, receipt.problem.raw, receipt.where, reason=str(receipt.problem))
        return
    where = receipt.where or (relative(root, receipt.entities) if receipt.entities else receipt.image)
    try:
        entities = _entities(name, receipt)
        lines, repairs = _lines(receipt)
    except UserError as error:
        yield RawRow(split, {"file": where}, where, reason=str(error))
        return
    size = image_size(options.image_root or root, receipt.image, options.max_pixels)
    for entity, value in entities.items():
        row = {"receipt": name, "entity": entity, "value": value}
        text = " ".join(" ".join(texts_of(value)).split())
        if entity not in QUESTIONS:
            yield RawRow(
                split, row, f"{where}: {entity}", reason=f"entity: not one of {', '.join(QUESTIONS)}"
            )
        elif not text:
            yield RawRow(split, row, f"{where}: {entity}", reason="the value is empty or no text")
        else:
            boxes = [clipped(box, size) for box in value_boxes(lines, text)]
            record = {
                "id": f"sroie/{split}/{name}/{entity}",
                "images": [receipt.image],
                "question": QUESTIONS[entity],
                "answers": [text],
                "answerable": True,
                "question_type": "extractive",
                "boxes": [box for box in boxes if box],
                "meta": {"receipt": name, "field": entity},
            }
            yield RawRow(split, row, f"{where}: {entity}", record, repairs=repairs)


def _entities(name: str, receipt: _Receipt) -> dict[str, Any]:
    if receipt.row:
        value = receipt.row.get("entities")
    elif receipt.entities:
        text = "\n".join(read_lines(receipt.entities, fallback="latin-1"))
        value = parse_json(text, receipt.entities.name)
    else:
        copy = ": its name is that of a copy" if _COPY.fullmatch(name) else ""
        raise UserError(f"no entities are published for it{copy}")
    if not isinstance(value, dict) or not value:
        raise UserError("entities: expected an object with company, date, address and total")
    return value


def _lines(receipt: _Receipt) -> tuple[list[Line], tuple[str, ...]]:
    """The receipt's lines of text, and the note that some could not be read."""
    if receipt.row:
        words, boxes = receipt.row.get("words") or [], receipt.row.get("bboxes") or []
        found = [(text, corners_box(box)) for text, box in zip(words, boxes, strict=False)]
        lines = [(text, box) for text, box in found if isinstance(text, str) and box]
        return lines, () if len(lines) == max(len(words), len(boxes)) else (UNREADABLE_LINE,)
    if not receipt.boxes:
        return [], ()
    texts = [text for text in read_lines(receipt.boxes, fallback="latin-1") if text.strip()]
    parsed = [parse_line(text) for text in texts]
    return [line for line in parsed if line], (UNREADABLE_LINE,) if None in parsed else ()


def _has_entities(root: Path) -> bool:
    receipts = (receipt for named in _receipts_in_folders(root).values() for receipt in named.values())
    if parquet_files(root) or any(receipt.entities for receipt in receipts):
        return True
    rows = (row for _, path in table_files(root) for _, row in file_rows(path))
    return any(not isinstance(row, RowProblem) and row.get("entities") is not None for row in rows)


def _receipts(root: Path, options: ConvertOptions) -> dict[str, dict[str, _Receipt]]:
    """Split -> name -> receipt, whatever the layout."""
    tables = parquet_files(root)
    found = {} if tables else _receipts_in_folders(root)
    for split, path in tables or table_files(root):
        beside = relative(root, path.parent)
        images = ImageFinder(root, (beside, f"{beside}/images", "images", split, ""))
        for place, row in file_rows(path, options.image_dir):
            where = f"{relative(root, path)}: {place}"
            if isinstance(row, RowProblem):
                found.setdefault(split, {})[where] = _Receipt("", where, problem=row)
                continue
            image = image_name(row, "image", "file_name", "key")
            name = Path(image_name(row, "key", "file_name", "image") or place).stem
            found.setdefault(split, {})[name] = _Receipt(images.find(image) if image else "", where, row=row)
    return found


def _receipts_in_folders(root: Path) -> dict[str, dict[str, _Receipt]]:
    found: dict[str, dict[str, _Receipt]] = {}

    def receipt(split: str, name: str) -> _Receipt:
        return found.setdefault(split, {}).setdefault(name, _Receipt(image=f"{name}.jpg"))

    for folder, _ in folders(root):
        kind, split = folder.name.lower(), SPLITS.get(folder.parent.name.lower(), "train")
        roles = kind in _IMAGES, kind in _BOXES, kind in _ENTITIES
        if not any(roles) and _CHALLENGE.search(kind):
            entities = bool(_CHALLENGE_ENTITIES.search(kind))
            roles, split = (True, not entities, entities), "train" if "train" in kind else "test"
        if roles[0]:
            for path in files_inside(root, folder, IMAGE_SUFFIXES):
                receipt(split, path.stem).image = relative(root, path)
        if roles[1] or roles[2]:
            for path in files_inside(root, folder, (".txt", ".json") if roles[2] else (".txt", ".csv")):
                if roles[2]:
                    receipt(split, path.stem).entities = path
                else:
                    receipt(split, path.stem).boxes = path
    return found


SROIE = Converter(
    "sroie",
    licence="CC-BY-4.0",
    find_input=find_input,
    rows=rows,
    writes_images=embedded_images,
    can_hold_out=True,
)
