"""VQA v2 and publications of its form (VQA v1, OK-VQA): questions with ten annotators' answers on COCO.

Schema: visualqa.org/download and the loaders of its API (GT-Vision-Lab/VQA):
`v2_OpenEnded_mscoco_train2014_questions.json`, {data_subtype, questions: [{image_id, question,
question_id}]}, and `v2_mscoco_train2014_annotations.json`, {annotations: [{question_id, image_id,
question_type, answer_type, multiple_choice_answer, answers: [{answer, answer_confidence, answer_id}]}]};
images are `train2014/COCO_train2014_000000000009.jpg`, or as in COCO since 2017 the number alone. Combined
files are read as well: an array of {question_id, question, image or image_id, answers or answer} named by its
split.

The majority's answer comes first, every other distinct one is accepted too, and all ten stay in
`meta.answers`. Of a question that the majority answers with yes or no, the majority alone is accepted:
otherwise a single dissenter would make any answer right. The whole of a split's annotations is held in
memory, about 2 GB for VQA v2's training split.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    ImageFinder,
    find_files,
    image_name,
    in_split_order,
    publication_folder,
    relative,
    split_files,
    split_of,
)
from vqa.datasets.raw_json import read_json
from vqa.datasets.raw_tables import published_rows
from vqa.datasets.row_values import texts_of
from vqa.errors import UserError

_SUBFOLDERS = ("", "annotations", "questions")
_SUBTYPE = re.compile(r"(?P<split>train|val|test)(?:-dev)?(?P<year>20\d\d)")
_QUESTIONS = re.compile(r".+_questions\.json", re.I)
_KIND = re.compile(r"(?:OpenEnded|MultipleChoice)_")
_NO_ANSWERS = "answers: the publication holds none for this question"


def question_files(root: Path) -> list[tuple[str, Path]]:
    """(split, file) of the question files, wherever their archives were unpacked; else of combined files."""
    paired = [(split_of(path.stem, "train"), path) for path, _ in find_files(root, _QUESTIONS)]
    combined = (item for name in _SUBFOLDERS if (root / name).is_dir() for item in split_files(root / name))
    return in_split_order(paired) or list(combined)


def find_input(given: Path | None) -> Path:
    """The folder with the question files, directly or below it."""
    expected = "*_questions.json and *_annotations.json, or train.json, val.json or test.json"
    return publication_folder(given, "VQA v2", expected, question_files)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield every question of every file, with its annotation where there is one."""
    for split, path in question_files(root):
        if not path.stem.endswith("_questions"):
            images = _finder(root, path, "")
            for index, raw in published_rows(root, [(split, path)]):
                yield raw if raw.reason else _to_record(raw, index, images, "")
            continue
        value = read_json(path)
        questions = value.get("questions") if isinstance(value, dict) else None
        if not isinstance(questions, list):
            raise UserError(f"{path}: expected an object with a list of questions")
        given = value.get("data_subtype")
        subtype = given if isinstance(given, str) and "/" not in given else path.stem
        match = _SUBTYPE.search(subtype)
        coco = f"{match['split']}{match['year']}" if match else ""
        images = _finder(root, path, coco)
        annotations = _annotations(root, path)
        for index, row in enumerate(questions):
            raw = RawRow(split, row, f"{path.name}: question {index}")
            if not isinstance(row, dict):
                yield raw.rejected("expected an object")
                continue
            whole = {**annotations.get(str(row.get("question_id")), {}), **row}
            yield _to_record(replace(raw, row=whole), index, images, coco)


def _annotations(root: Path, questions: Path) -> dict[str, dict[str, Any]]:
    """Question id -> annotation, of the file that belongs to the questions'; empty without one."""
    name = _KIND.sub("", questions.name.replace("_questions", "_annotations"))
    found = [path for path, _ in find_files(root, re.compile(re.escape(name), re.I)) if path != questions]
    if not found:
        return {}
    value = read_json(found[0])
    annotations = value.get("annotations") if isinstance(value, dict) else None
    if not isinstance(annotations, list):
        raise UserError(f"{found[0]}: expected an object with a list of annotations")
    return {str(item.get("question_id")): item for item in annotations if isinstance(item, dict)}


def _to_record(raw: RawRow, index: int, images: ImageFinder, coco: str) -> RawRow:
    row = raw.row
    image = _image(row, images, coco)
    if image is None:
        return raw.rejected("image_id: expected COCO's number, or image: a path")
    said = texts_of(row.get("answers", row.get("answer")))
    if not said:
        return raw.rejected(_NO_ANSWERS)
    agreed = row.get("multiple_choice_answer")
    counts = Counter(said)
    answers = sorted(counts, key=lambda text: (-counts[text], text != agreed, said.index(text)))
    meta = {name: value for name, value in row.items() if name not in ("question", "image", "answer")}
    record = {
        "id": f"vqav2/{raw.split}/{row.get('question_id', f'{index:06d}')}",
        "images": [image],
        "question": row.get("question"),
        "answers": answers,
        "meta": {**meta, "answers": said},
    }
    if answers[0] in ("yes", "no"):
        record |= {"answers": answers[:1], "question_type": "yes_no"}
    return raw.made(record)


def _finder(root: Path, path: Path, coco: str) -> ImageFinder:
    """Where the images of a question file may lie; those of COCO in the part that it belongs to."""
    inside = relative(root, path.parent)
    places = ("", inside, PurePosixPath(inside).parent.as_posix())
    names = (coco, f"images/{coco}", f"{coco}/{coco}", "images", "") if coco else ("", "images")
    return ImageFinder(root, [(PurePosixPath(place) / name).as_posix() for place in places for name in names])


def _image(row: dict[str, Any], images: ImageFinder, coco: str) -> str | None:
    """The image that a row names by its path, or by COCO's number."""
    path = image_name(row, "image")
    if path is not None:
        return images.find(path)
    number = row.get("image_id")
    if type(number) is not int or number < 0:
        return None
    # COCO's releases since 2017 leave the part out of the name.
    plain = f"{number:012d}.jpg"
    return images.find(f"COCO_{coco}_{plain}", plain) if coco else images.find(plain)


VQAV2 = Converter("vqav2", licence="CC-BY-4.0 (questions and answers)", find_input=find_input, rows=rows)
