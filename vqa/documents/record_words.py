"""Words that a record brings along, in `meta.ocr`: a list of {text, box, line?, confidence?, image?}.

`box` is [x0, y0, x1, y1] in pixels of the original image, `line` the number of the word's line on its page,
`confidence` 0 to 1 (1 where it is missing), `image` the index of the word's image (0 where it is missing).
Where all words of an image have a line, they stand in the order of their lines, and in a line as they are
listed; otherwise lines and order are found from the boxes.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

from vqa.documents.pages import OcrPage, Word
from vqa.documents.reading_order import arrange, join_neighbours
from vqa.errors import UserError
from vqa.images import ImageProblem, image_size
from vqa.record_checks import Record


def record_pages(record: Record) -> list[OcrPage]:
    """A page for each image of a record, without a look at the images' pixels.

    Raises:
        UserError: the record has no such words, or a word is not of that form.
    """
    listed = record["meta"].get("ocr")
    if not isinstance(listed, list):
        raise UserError(
            f"record {record['id']}: meta.ocr: no list of words; choose another OCR engine than 'record'"
        )
    sizes = _sizes(record)
    words: list[list[Word]] = [[] for _ in sizes]
    for index, entry in enumerate(listed):
        image, word = _word(entry, f"record {record['id']}: meta.ocr[{index}]", len(sizes))
        words[image].append(word)
    return [_page(found, size) for found, size in zip(words, sizes, strict=True)]


def _sizes(record: Record) -> list[tuple[int, int]]:
    """(width, height) of each image: as read with the record, else from its header."""
    if record.get("image_sizes"):
        return [(width, height) for width, height in record["image_sizes"]]
    try:
        return [image_size(path) for path in record["images"]]
    except ImageProblem as problem:
        raise UserError(f"record {record['id']}: an image {problem}") from problem


def _word(entry: Any, where: str, images: int) -> tuple[int, Word]:
    """The index of a word's image, and the word; its line is -1 where none is given."""
    try:
        text, image = entry["text"], int(entry.get("image", 0))
        x0, y0, x1, y1 = (float(edge) for edge in entry["box"])
        line, confidence = int(entry.get("line", -1)), float(entry.get("confidence", 1.0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where}: not of the form {{text, box, line?, confidence?, image?}}") from error
    if not isinstance(text, str) or not (x0 < x1 and y0 < y1) or not 0 <= confidence <= 1:
        raise UserError(f"{where}: text is a string, box has x0 < x1 and y0 < y1, confidence is from 0 to 1")
    if not 0 <= image < images:
        raise UserError(f"{where}: image {image}: the record has {images}")
    return image, Word(text, (x0, y0, x1, y1), confidence, line)


def _page(words: Sequence[Word], size: tuple[int, int]) -> OcrPage:
    if any(word.line < 0 for word in words):
        return arrange(join_neighbours(words), size)
    number = dict(zip(sorted({word.line for word in words}), count()))
    return OcrPage(
        tuple(
            Word(word.text, word.box, word.confidence, number[word.line])
            for word in sorted(words, key=lambda word: word.line)
        ),
        size,
    )
