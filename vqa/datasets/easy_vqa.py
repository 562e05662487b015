"""easy-VQA: 5,000 images of one coloured shape, 48,248 questions, 13 answers (Victor Zhou, MIT).

The PyPI package `easy-vqa` holds `data/{train,test}/{images/N.png,questions.json}`; a row of
`questions.json` is [question, answer, image id]. Three closed sets: yes and no, eight colours, three
shapes. There is no official validation split; `--validation_images N` holds out the last N training
images with all their questions.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import ImageFinder, hold_out, inside, publication_folder
from vqa.datasets.raw_json import read_json
from vqa.errors import UserError

YES_NO = ["yes", "no"]
COLORS = ["black", "blue", "brown", "gray", "green", "red", "teal", "yellow"]
SHAPES = ["circle", "rectangle", "triangle"]
_SETS = (("yes_no", YES_NO), ("color", COLORS), ("mcq", SHAPES))
TYPES_BY_ANSWER = {answer: (name, answers) for name, answers in _SETS for answer in answers}
SPLITS = ("train", "test")


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
        for index, row in enumerate(questions):
            where = f"{published}/questions.json: row {index}"
            if not _is_row(row):
                yield RawRow(published, row, where, reason="expected [question, answer, image id]")
                continue
            question, answer, image = row
            split = "validation" if image in held_out else published
            if answer not in TYPES_BY_ANSWER:
                yield RawRow(split, row, where, reason=f"answer: {answer!r} is none of the data set's 13")
                continue
            name, candidates = TYPES_BY_ANSWER[answer]
            yield RawRow(
                split,
                row,
                where,
                {
                    "id": f"easy_vqa/{published}/{index:06d}",
                    "images": [find(f"{published}/images/{image}.png")],
                    "question": question,
                    "answers": [answer],
                    "answerable": True,
                    "question_type": name,
                    "answer_candidates": candidates,
                    "meta": {"image_id": image},
                },
            )


def _read(path: Path) -> list[Any]:
    questions = read_json(path)
    if not isinstance(questions, list):
        raise UserError(f"{path}: expected a JSON array of [question, answer, image id]")
    return questions


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and [type(value) for value in row] == [str, str, int]


EASY_VQA = Converter("easy_vqa", licence="MIT", find_input=find_input, rows=rows, can_hold_out=True)
