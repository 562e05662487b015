"""SLAKE: 642 radiology images, 14,028 questions in English and Chinese, boxes of organs and findings.

Schema: the publication (Liu et al., ISBI 2021, med-vqa.com/slake), its copy on the HuggingFace hub
(BoKelvin/SLAKE, `imgs.zip` beside the JSON) and the `Slake1.0` folder of xiaoman-zhang/PMC-VQA, whose JSON
files were read: `{train,validate,test}.json` are arrays of {img_id, img_name, question, answer, q_lang,
location, modality, answer_type, base_type, content_type, triple, qid}; `imgs/xmlabN/` holds source.jpg,
mask.png, question.json and detection.json, [{label: [x, y, width, height]}, ...] in pixels. The copy names
`validation.json`.

Evidence boxes are those of the objects that a question or its answer names. `--language en|zh` keeps one
language. Closed Chinese questions are `mcq` over their pair of answers (是的, 不是).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import ImageFinder, folders, publication_folder, relative, split_files
from vqa.datasets.raw_json import begins_with_key
from vqa.datasets.raw_tables import published_rows
from vqa.datasets.row_values import answer_text, closed_fields
from vqa.datasets.slake_boxes import corners, mentioned, read_objects
from vqa.errors import UserError
from vqa.images import ImageProblem, image_size, resolve_inside

LANGUAGES = ("en", "zh")
_USED = ("img_name", "question", "answer")


def is_slake(folder: Path) -> bool:
    """Whether the folder holds SLAKE's JSON files."""
    return any(begins_with_key(path, "img_name") for _, path in split_files(folder, (".json",)))


def find_input(given: Path | None) -> Path:
    """The folder with `train.json` and `imgs/`: as given, or one below it."""
    return publication_folder(given, "SLAKE", "train.json with img_name, beside imgs/", is_slake)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the questions of the train, validation and test files, as published."""
    if options.language not in (*LANGUAGES, "all"):
        raise UserError(f"--language {options.language}: SLAKE has {', '.join(LANGUAGES)}; or all")
    images = _Images(root)
    for index, raw in published_rows(root, split_files(root, (".json",))):
        if raw.reason:
            yield raw
        elif options.language not in ("all", _language(raw.row)):
            yield replace(raw, filtered="language")
        else:
            yield _to_record(raw, index, images)


def _to_record(raw: RawRow, index: int, images: "_Images") -> RawRow:
    row = raw.row
    name, question = row.get("img_name"), row.get("question")
    if not isinstance(name, str):
        return raw.rejected("img_name: expected a path, such as xmlab1/source.jpg")
    answer, repairs = answer_text(row.get("answer"))
    image = images.find(name)
    boxes, labels, whole = images.evidence(image, f"{question} ; {answer}")
    if not whole:
        repairs += ("entries of detection.json left out",)
    record = {
        "id": f"slake/{raw.split}/{row.get('qid', f'{index:06d}')}",
        "images": [image],
        "question": question,
        "answers": [answer],
        "boxes": boxes,
        "meta": {key: value for key, value in row.items() if key not in _USED},
    }
    if labels:
        record["meta"]["box_labels"] = labels
    if str(row.get("answer_type")).strip().upper() == "CLOSED":
        record |= closed_fields(question, answer)
    return raw.made(record, repairs)


def _language(row: dict[str, Any]) -> str:
    """`q_lang`, or in copies without it the script of the question."""
    given = row.get("q_lang")
    if isinstance(given, str):
        return given.strip().casefold()
    return "zh" if any("\u4e00" <= letter <= "\u9fff" for letter in str(row.get("question"))) else "en"


class _Images:
    """The image folders of the publication; each `detection.json` and header is read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # An archive that was unpacked into a folder of its own name holds it twice.
        others = (relative(root, folder) for folder, _ in folders(root, depth=1))
        self.find = ImageFinder(root, ("imgs", "imgs/imgs", "images", "", *others)).find
        self._objects: dict[str, tuple[list[tuple[str, list[float]]], bool]] = {}

    def evidence(self, name: str, text: str) -> tuple[list[list[float]], list[str], bool]:
        """The boxes of the objects that `text` names, their labels, and whether detection.json was whole."""
        if name not in self._objects:
            self._objects[name] = self._read(name)
        objects, whole = self._objects[name]
        if not objects:
            return [], [], whole
        named = mentioned([label for label, _ in objects], text)
        found = [(label, box) for label, box in objects if label in named]
        return [box for _, box in found], [label for label, _ in found], whole

    def _read(self, name: str) -> tuple[list[tuple[str, list[float]]], bool]:
        try:
            image = resolve_inside(self.root, name)
            detection = resolve_inside(self.root, str(Path(name).parent / "detection.json"))
        except ImageProblem:
            return [], True  # the image's own check rejects the row
        objects, whole = read_objects(detection)
        try:
            size = image_size(image) if objects else None
        except ImageProblem:
            return [], True
        clipped = [(label, corners(box, size)) for label, box in objects]
        kept = [(label, box) for label, box in clipped if box is not None]
        return kept, whole and len(kept) == len(objects)


SLAKE = Converter("slake", licence="CC-BY-4.0", find_input=find_input, rows=rows)
