"""TextVQA 0.5.1: 45,336 questions about the text in 28,408 photographs, ten answers each.

Schema: `TextVQA_0.5.1_{train,val,test}.json` of textvqa.org, `{"data": [{question_id, question, image_id,
image_width, image_height, image_classes, question_tokens, answers, set_name, ...}]}`, or the Parquet of
`lmms-lab/textvqa`, or its rows exported; and `TextVQA_Rosetta_OCR_v0.2_{split}.json`, `{"data": [{image_id,
ocr_tokens, ocr_info: [{word, bounding_box: {top_left_x, top_left_y, width, height, rotation, ...}}]}]}` with
boxes in fractions of the image. Images are `train_images/IMAGE_ID.jpg`, those of val among them, and
`test_images/IMAGE_ID.jpg`.

An annotator who found no answer wrote `unanswerable` or, more rarely, `not answerable`. "answering does not
require reading text in the image" is a remark on the question: neither an answer nor a vote for unanswerable.
The answers of the test split are withheld, so that its rows cannot become records.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vqa.answers import is_abstention
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.docvqa import WITHHELD
from vqa.datasets.layouts import (
    SPLITS,
    ImageFinder,
    SplitFile,
    find_files,
    image_name,
    image_size,
    in_split_order,
    parquet_files,
    publication_folder,
    relative,
)
from vqa.datasets.raw_tables import embedded_images, file_rows, published_rows
from vqa.datasets.row_values import number, texts_of
from vqa.datasets.text_evidence import Box, PageText, Word, clipped
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

EXPECTED = "TextVQA_0.5.1_train.json, TextVQA_0.5.1_val.json or the like"
REMARK = "answering does not require reading text in the image"
_SPLIT = "(train|val|validation|test)"
_QUESTIONS = re.compile(rf"(?:TextVQA_(?P<version>[\d.]+)_)?{_SPLIT}\.jsonl?", re.I)
_OCR = re.compile(rf"TextVQA_Rosetta_OCR_v(?P<version>[\d.]+)_{_SPLIT}\.jsonl?", re.I)
_IMAGE_FOLDERS = (
    "train_images",
    "test_images",
    "images",
    "train_val_images/train_images",
    "train_val_images",
    "",
)


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are question files in it."""
    return publication_folder(given, "TextVQA", EXPECTED, _question_files)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of train, validation and test, as published."""
    ocr_files = dict(_newest(root, _OCR))

    @lru_cache(maxsize=64)
    def size(image: str) -> tuple[int, int] | None:
        return image_size(options.image_root or root, image, options.max_pixels)

    for split, path in _question_files(root):
        ocr = read_ocr(ocr_files[split]) if split in ocr_files else {}
        beside = relative(root, path.parent)
        images = ImageFinder(root, [*_IMAGE_FOLDERS, *(f"{beside}/{name}" for name in _IMAGE_FOLDERS)])
        for index, raw in published_rows(root, [(split, path)], options.image_dir):
            row = raw.row
            if raw.reason:
                yield raw
                continue
            names = [name for field in ("image", "image_id") if (name := image_name(row, field))]
            verdict = vote(row.get("answers"))
            if not names:
                yield raw.rejected("image_id: missing")
            elif verdict is None:
                yield raw.rejected("answers: none is given" + WITHHELD.get(split, ""))
            else:
                image = images.find(*names)
                record = {
                    "id": f"textvqa/{split}/{row.get('question_id', f'row-{index}')}",
                    "images": [image],
                    "question": row.get("question"),
                    "answers": verdict,
                    "answerable": bool(verdict),
                    "question_type": "extractive",
                    "boxes": pixel_boxes(ocr.get(row.get("image_id"), []), verdict, partial(size, image)),
                    "meta": {key: value for key, value in row.items() if key not in ("question", "image")},
                }
                yield raw.made(record)


def vote(answers: Any) -> list[str] | None:
    """The distinct answers, the most frequent first; `[]` when most annotators call it unanswerable.

    Answers that differ in case only are one, in its most frequent spelling. None when there is no answer.
    """
    if not isinstance(answers, list):
        return None
    texts = texts_of(answers)
    spoken = [text for text in texts if not is_abstention(text) and text.casefold() != REMARK]
    if 2 * sum(map(is_abstention, texts)) > len(texts):
        return []
    spellings = Counter(spoken)
    votes = Counter(text.casefold() for text in spoken)
    # Counter.most_common keeps the order of first appearance among equals.
    return [
        next(text for text, _ in spellings.most_common() if text.casefold() == key)
        for key, _ in votes.most_common()
    ] or None


def read_ocr(path: Path) -> dict[str, list[tuple[str, Box]]]:
    """Image id -> its words and their boxes, in fractions of the image. Raises UserError.

    Words that are turned are left out: their four numbers describe no upright box.
    """
    words: dict[str, list[tuple[str, Box]]] = {}
    for place, row in file_rows(path):
        if isinstance(row, RowProblem) or not isinstance(row.get("image_id"), str):
            raise UserError(f"{path}: {place}: expected an object with an image_id")
        found = words[row["image_id"]] = []
        for item in row.get("ocr_info") or []:
            box = item.get("bounding_box") if isinstance(item, dict) else None
            if not isinstance(box, dict) or box.get("rotation") or not isinstance(item.get("word"), str):
                continue
            edges = [number(box.get(name)) for name in ("top_left_x", "top_left_y", "width", "height")]
            if None not in edges:
                x, y, width, height = edges
                found.append((item["word"], [x, y, x + width, y + height]))
    return words


def pixel_boxes(
    words: Sequence[tuple[str, Box]], answers: Sequence[str], size: Callable[[], tuple[int, int] | None]
) -> list[Box]:
    """The boxes of the words that hold an answer, in pixels; `size()` is (width, height), asked only then.

    Rosetta's words have no lines, so that each is a box of its own.
    """
    page = PageText(Word(text, box, index) for index, (text, box) in enumerate(words))
    fractions = page.boxes_of(answers)
    image_size = size() if fractions else None
    if image_size is None:
        return []
    pixels = [[value * image_size[axis % 2] for axis, value in enumerate(box)] for box in fractions]
    return [box for box in (clipped(box, image_size) for box in pixels) if box]


def _question_files(root: Path) -> list[SplitFile]:
    return parquet_files(root) or _newest(root, _QUESTIONS)


def _newest(root: Path, pattern: re.Pattern[str]) -> list[SplitFile]:
    """A file for each split, of the highest version, then nearest to the root."""
    chosen: dict[str, Path] = {}
    for path, match in sorted(find_files(root, pattern), key=lambda item: _version(item[1]), reverse=True):
        chosen.setdefault(SPLITS[match[2].lower()], path)
    return in_split_order(chosen.items())


def _version(match: re.Match[str]) -> list[int]:
    return [int(part) for part in (match["version"] or "").split(".") if part]


TEXTVQA = Converter(
    "textvqa", licence="CC-BY-4.0", find_input=find_input, rows=rows, writes_images=embedded_images
)
