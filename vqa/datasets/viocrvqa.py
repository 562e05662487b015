"""ViOCRVQA: 28,000 Vietnamese book covers, 120,000 questions about their text (Pham et al., 2024).

Schema from the Hugging Face data set huyhuy123/ViOCRVQA and the loaders of its archive:
`data/{train,dev,test}.json`, each {"images": [{"id", "filename"}], "annotations": [{"id", "image_id",
"question", "answers": [str]}]}, and the images in one folder beside them (`bf_all_img` in the archive,
`images` elsewhere). ViTextVQA has the same form; OpenViVQA's (`vlsp2023_train_data.json`), with objects keyed
by id and `answer`, is read as well, and so is a list of {image, question, answers}. The answers are text of
the image: the type is `extractive`.

Dirt: the answers of the published test split are withheld: every one is the placeholder "your answer".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import ImageFinder, folders, publication_folder, relative, split_files
from vqa.datasets.raw_json import read_json
from vqa.datasets.row_values import texts_of
from vqa.errors import UserError

PLACEHOLDER = "your answer"


def find_input(given: Path | None) -> Path:
    """The folder with `train.json` and the images: as given, or one below it such as `data`."""
    return publication_folder(given, "ViOCRVQA", "train.json, dev.json or test.json", split_files)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield one row per annotation, in the order of the files."""
    finder = ImageFinder(root, (relative(root, folder) for folder, _ in folders(root, depth=2)))
    for split, path in split_files(root):
        names, annotations = _parts(read_json(path), path)
        for index, row in enumerate(annotations):
            where = f"{path.name}: annotation {index}"
            yield _raw_row(split, row, where, names, finder, f"viocrvqa/{path.stem}/{index:06d}")


def _parts(value: Any, path: Path) -> tuple[dict[str, str] | None, list[Any]]:
    """File name by image id (None: rows name their image themselves), and the annotations."""
    if isinstance(value, list):
        return None, value
    annotations = value.get("annotations", value.get("data")) if isinstance(value, dict) else None
    if isinstance(annotations, dict):
        annotations = [
            {"id": key, **row} if isinstance(row, dict) else row for key, row in annotations.items()
        ]
    if not isinstance(annotations, list):
        raise UserError(f'{path}: expected {{"images": [...], "annotations": [...]}} or a list of questions')
    images = value.get("images")
    if images is None:
        return None, annotations
    if isinstance(images, dict):
        return {str(key): name for key, name in images.items() if isinstance(name, str)}, annotations
    if not isinstance(images, list):
        raise UserError(f"{path}: images: expected a list of {{id, filename}}")
    entries = [entry for entry in images if isinstance(entry, dict)]
    return {str(entry.get("id")): _name(entry) for entry in entries if _name(entry)}, annotations


def _name(entry: dict[str, Any]) -> str:
    given = (entry.get(key) for key in ("filename", "file_name", "image", "image_path"))
    return next((name for name in given if isinstance(name, str)), "")


def _raw_row(
    split: str, row: Any, where: str, names: dict[str, str] | None, finder: ImageFinder, identity: str
) -> RawRow:
    if not isinstance(row, dict):
        return RawRow(split, row, where, reason="expected an object with image_id, question and answers")
    name = _name(row) if names is None else names.get(str(row.get("image_id")), "")
    if not name:
        return RawRow(split, row, where, reason=f"image_id: {row.get('image_id')!r} is not among the images")
    answers = list(dict.fromkeys(texts_of(row.get("answers", row.get("answer")))))
    if answers == [PLACEHOLDER]:
        reason = f"answers: withheld by the publication ({PLACEHOLDER!r})"
        return RawRow(split, row, where, reason=reason)
    question = row.get("question")
    record = {
        "id": identity,
        "images": [finder.find(name)],
        "question": question.strip() if isinstance(question, str) else question,
        "answers": answers,
        "answerable": True,
        "question_type": "extractive",
        "meta": {key: value for key, value in row.items() if key not in ("question", "answers", "answer")},
    }
    return RawRow(split, row, where, record)


VIOCRVQA = Converter("viocrvqa", licence=None, find_input=find_input, rows=rows)
