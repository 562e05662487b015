"""DocVQA (single page, Task 1): 50,000 questions on 12,767 pages of industry documents.

Schema: `{train,val}_v1.0[_withQT].json` and `test_v1.0.json` of the RRC challenge "Document Visual Question
Answering", each `{"data": [{questionId, question, question_types, image: "documents/NAME.png", docId,
ucsf_document_id, ucsf_document_page_no, answers, data_split}]}`; the same rows exported from the
`lmms-lab/DocVQA` Parquet as JSON or JSONL are read too, and its Parquet files. Images lie in `documents/`,
`<split>/documents/` or `spdocvqa_images/`; OCR of Microsoft's Read API in `spdocvqa_ocr/` or
`<split>/ocr_results/`, a JSON a page, with `recognitionResults[0].lines[].{boundingBox, text, words}`, boxes
of eight numbers.

The answers of the test split are withheld, so that its rows cannot become records.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    SPLITS,
    ImageFinder,
    SplitFile,
    find_files,
    folders,
    image_name,
    in_split_order,
    inside,
    parquet_files,
    publication_folder,
    relative,
)
from vqa.datasets.raw_json import read_json
from vqa.datasets.raw_tables import embedded_images, published_rows
from vqa.datasets.row_values import texts_of
from vqa.datasets.text_evidence import PageText, Word, clipped, corners_box
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

EXPECTED = "train_v1.0_withQT.json, val_v1.0_withQT.json or the like"
_QUESTIONS = re.compile(r"(?:spdocvqa_)?(train|val|validation|test)(?:_v\d+\.\d+)?(_withQT)?\.jsonl?", re.I)
_OCR_FOLDERS = {"spdocvqa_ocr", "ocr_results", "ocr"}
_IMAGE_FOLDERS = ("spdocvqa_images", "documents", "images")
MAX_OCR_BYTES = 2**25
WITHHELD = {"test": " (those of the test split are withheld)"}
UNREADABLE_OCR = "OCR file unreadable, no boxes"


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are question files in it."""
    return publication_folder(given, "DocVQA", EXPECTED, _question_files)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of train, validation and test, as published."""
    ocr = _Ocr(root)
    for split, path in _question_files(root):
        beside = relative(root, path.parent)
        published = [name for name, meaning in SPLITS.items() if meaning == split]
        places = [
            "",
            beside,
            *_IMAGE_FOLDERS,
            *(f"{folder}/{name}" for folder in published for name in ("", *_IMAGE_FOLDERS)),
            *(f"{beside}/{name}" for name in _IMAGE_FOLDERS),
        ]
        images = ImageFinder(root, places)
        for number, raw in published_rows(root, [(split, path)], options.image_dir):
            yield raw if raw.reason else _to_record(raw, f"row-{number}", images, ocr)


def _to_record(raw: RawRow, number: str, images: ImageFinder, ocr: "_Ocr") -> RawRow:
    row = raw.row
    name = image_name(row, "image", "image_path", "file_name")
    answers = list(dict.fromkeys(texts_of(row.get("answers"))))
    if name is None:
        return raw.rejected("image: missing")
    if not answers:
        return raw.rejected("answers: none is given" + WITHHELD.get(raw.split, ""))
    page, repairs = ocr.page(PureWindowsPath(name).stem)
    record = {
        "id": f"docvqa/{raw.split}/{row.get('questionId', number)}",
        "images": [images.find(name, PureWindowsPath(name).name)],
        "question": row.get("question"),
        "answers": answers,
        "answerable": True,
        "question_type": "extractive",
        "boxes": page.boxes_of(answers) if page else [],
        "meta": {key: value for key, value in row.items() if key not in ("question", "answers", "image")},
    }
    return raw.made(record, repairs)


def _question_files(root: Path) -> list[SplitFile]:
    """A file for each split; of two with the same questions the one with question types, then the nearest."""
    chosen: dict[str, Path] = {}
    for path, _ in sorted(find_files(root, _QUESTIONS), key=lambda item: item[1][2] is None):
        chosen.setdefault(SPLITS[_QUESTIONS.fullmatch(path.name)[1].lower()], path)
    return parquet_files(root) or in_split_order(chosen.items())


class _Ocr:
    """The OCR files of a download, by the name of the page."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = [folder for folder, _ in folders(root) if folder.name.lower() in _OCR_FOLDERS]
        self.page = lru_cache(maxsize=256)(self._page)

    def _page(self, stem: str) -> tuple[PageText | None, tuple[str, ...]]:
        """The words of a page, None where there is no usable file, and the note that it is unusable."""
        for folder in self._folders:
            path = folder / f"{stem}.json"
            if os.path.isfile(path):
                try:
                    return PageText(read_words(read_json(inside(self._root, path), MAX_OCR_BYTES))), ()
                except (UserError, RowProblem):
                    return None, (UNREADABLE_OCR,)
        return None, ()


def read_words(result: Any) -> list[Word]:
    """The words of the first page in a result of Microsoft's Read API (version 2), in reading order.

    A line without words, or a word without a usable box, is represented by the line's box.

    Raises:
        RowProblem: it has another form.
    """
    pages = result.get("recognitionResults") if isinstance(result, dict) else None
    if not isinstance(pages, list) or not pages or not isinstance(pages[0], dict):
        raise RowProblem("recognitionResults: missing")
    size = (pages[0].get("width"), pages[0].get("height"))
    size = size if all(type(value) in (int, float) and value > 0 for value in size) else None
    words: list[Word] = []
    for number, line in enumerate(pages[0].get("lines") or []):
        if not isinstance(line, dict):
            raise RowProblem("lines: expected objects")
        whole = corners_box(line.get("boundingBox"))
        for part in line.get("words") or [line]:
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise RowProblem("words: expected objects with text")
            box = corners_box(part.get("boundingBox")) or whole
            box = clipped(box, size) if box else None
            if box:
                words.append(Word(part["text"], box, number))
    return words


DOCVQA = Converter("docvqa", licence=None, find_input=find_input, rows=rows, writes_images=embedded_images)
