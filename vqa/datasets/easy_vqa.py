"""easy-VQA: 5,000 images of one coloured shape, 48,248 questions, 13 answers (Victor Zhou, MIT).

The PyPI package `easy-vqa` holds `data/{train,test}/{images/N.png,questions.json}`; a row of
`questions.json` is [question, answer, image id]. Three closed sets: yes and no, eight colours, three
shapes. There is no official validation split; `--validation_images N` holds out the last N training
images with all their questions.
"""

from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.easy_vqa_shapes import find_shape
from vqa.datasets.easy_vqa_texts import name, published_words, write_caption, write_reasoning
from vqa.datasets.layouts import ImageFinder, hold_out, inside, publication_folder
from vqa.datasets.raw_json import read_json
from vqa.errors import UserError
from vqa.images import ImageProblem, open_image, resolve_inside

YES_NO = ["yes", "no"]
COLORS = ["black", "blue", "brown", "gray", "green", "red", "teal", "yellow"]
SHAPES = ["circle", "rectangle", "triangle"]
_SETS = (("yes_no", YES_NO), ("color", COLORS), ("mcq", SHAPES))
TYPES_BY_ANSWER = {answer: (name, answers) for name, answers in _SETS for answer in answers}
SPLITS = ("train", "test")


class _Picture(NamedTuple):
    """What all records of a picture say of it; `name` is of its shape, as "teal circle"."""

    boxes: list[list[int]]
    caption: str | None
    name: str


def find_input(given: Path | None) -> Path:
    """The folder with `train/` and `test/`: as given or one below it, else that of the installed package."""
    if given is None:
        package = find_spec("easy_vqa")
        if package is None or package.origin is None:
            raise UserError("--input: give the folder of easy-VQA, or install it: pip install easy-vqa")
        given = Path(package.origin).parent / "data"
    expected = "train/questions.json and test/questions.json"
    return publication_folder(
        given,
        "easy-VQA",
        expected,
        lambda folder: all(_questions(folder, split).is_file() for split in SPLITS),
    )


def _questions(root: Path, split: str) -> Path:
    return root / split / "questions.json"


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of the train split, then those of the test split, as published."""
    find = ImageFinder(root, ("",)).find
    for published in SPLITS:
        questions = _read(inside(root, _questions(root, published)))
        images = sorted({row[2] for row in questions if _is_row(row)})
        held_out = hold_out(images, options.validation_images) if published == "train" else set()
        asked = defaultdict(list)
        for question, answer, image in filter(_is_row, questions):
            asked[image].append((question, answer))
        pictures: dict[int, _Picture] = {}
        for index, row in enumerate(questions):
            where = f"{published}/questions.json: row {index}"
            if not _is_row(row):
                yield RawRow(published, row, where, reason="expected [question, answer, image id]")
                continue
            question, answer, image = row
            split = "validation" if image in held_out else published
            if options.splits and split not in options.splits:
                yield RawRow(split, row, where)  # is filtered; its picture is not looked at
                continue
            if answer not in TYPES_BY_ANSWER:
                yield RawRow(split, row, where, reason=f"answer: {answer!r} is none of the data set's 13")
                continue
            kind, candidates = TYPES_BY_ANSWER[answer]
            path = find(f"{published}/images/{image}.png")
            if image not in pictures:
                pictures[image] = _look_at(root, path, published_words(asked[image]), options.max_pixels)
            picture = pictures[image]
            yield RawRow(
                split,
                row,
                where,
                {
                    "id": f"easy_vqa/{published}/{index:06d}",
                    "images": [path],
                    "question": question,
                    "answers": [answer],
                    "answerable": True,
                    "question_type": kind,
                    "answer_candidates": candidates,
                    "boxes": picture.boxes,
                    "caption": picture.caption,
                    "reasoning": write_reasoning(question, answer, picture.name),
                    "meta": {"image_id": image},
                },
            )


def _look_at(root: Path, path: str, words: tuple[set[str], set[str]], max_pixels: int) -> _Picture:
    try:
        shape = find_shape(open_image(resolve_inside(root, path), max_pixels))
    except ImageProblem:  # the check of the records will say which
        shape = None
    named = name(*words, shape)
    return _Picture([shape.box] if shape else [], write_caption(named, shape, path), named)


def _read(path: Path) -> list[Any]:
    questions = read_json(path)
    if not isinstance(questions, list):
        raise UserError(f"{path}: expected a JSON array of [question, answer, image id]")
    return questions


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and [type(value) for value in row] == [str, str, int]


EASY_VQA = Converter("easy_vqa", licence="MIT", find_input=find_input, rows=rows, can_hold_out=True)
