"""Endoscopy and surgery: Kvasir-VQA, Kvasir-VQA-x1 and EndoVis-18-VQA.

Kvasir-VQA (SimulaMet-HOST/Kvasir-VQA, Gautam et al. 2024): 6,500 images, 58,849 questions. Schema from
datasets.simula.no/kvasir-vqa, which tells how to save it: `metadata.csv` with source, question, answer,
img_id and `images/IMG_ID.jpg`; the hub's copy is Parquet (`data/00029.parquet`), the image beside these. One
split (`raw` on the hub), called train here. An answer is yes, no, a number, "none", a colour, a place, or
several joined by ";". "Not relevant" says that the question does not apply to the image: such a question is
not answerable, the published word stays in `meta.answer`.

Kvasir-VQA-x1 (SimulaMet/Kvasir-VQA-x1, 2025): files named by split, JSON, JSONL or CSV, with {img_id,
complexity, question, answer, original, question_class}; also the {messages, images} that its README writes.

EndoVis-18-VQA (Seenivasan et al., MICCAI 2022; schema from lalithjets/Surgical_VQA): `seq_N/left_frames/
frame000.png` and `seq_N/vqa/{Classification,Sentence}/frame000_QA.txt`, a line each `question|answer`;
sequences 1, 5 and 16 are validation. `vqla/label/*.txt` of Surgical-VQLA (longbai1006/Surgical-VQLAPlus) has
a third part, `x1, y1, x2, y2`, counted from 1: it becomes the evidence box.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from vqa.datasets.conversation_turns import Form, read_turns
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    ImageFinder,
    files_inside,
    image_name,
    natural_key,
    parquet_files,
    publication_folder,
    relative,
    split_files,
)
from vqa.datasets.raw_json import parse_json, read_lines
from vqa.datasets.raw_tables import embedded_images, published_rows
from vqa.datasets.row_values import answer_text
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

# Options as the paper lists them, for questions with one choice; "none" where the image has no polyp.
KVASIR_CHOICES = {
    "what type of procedure is the image taken from?": ["capsule endoscopy", "colonoscopy", "gastroscopy"],
    "what type of polyp is present?": ["paris ip", "paris iia", "paris is", "none"],
    "what is the size of the polyp?": ["<5mm", "5-10mm", "11-20mm", ">20mm", "none"],
}
NOT_RELEVANT = "not relevant"
PLACES = ["left-top", "right-top", "left-bottom", "right-bottom"]
STATES = [
    "Idle", "Grasping", "Retraction", "Tissue_Manipulation", "Tool_Manipulation", "Cutting", "Cauterization",
    "Suction", "Looping", "Suturing", "Clipping", "Staple", "Ultrasound_Sensing",
]  # fmt: skip
VALIDATION_SEQUENCES = (1, 5, 16)
_SEQUENCE = re.compile(r"seq_?(\d+)", re.I)
QA_FOLDERS = ("vqa/Classification", "vqa/Sentence", "vqla/label")
FRAME_FOLDERS = ("left_frames", "left_fr", "images", "")
_X1_FORMS = (".json", ".jsonl", ".csv")


def find_kvasir(given: Path | None) -> Path:
    """The folder with `metadata.csv`, or with the train and test files of x1: as given, or one below it."""
    expected = "metadata.csv and images/, or the train and test files of x1"
    return publication_folder(given, "Kvasir-VQA", expected, _kvasir_files)


def kvasir_rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of `metadata.csv`, then those of the x1 files."""
    images = ImageFinder(root, ("images", "imgs", ""))
    for number, raw in published_rows(root, _kvasir_files(root), options.image_dir):
        yield raw if raw.reason else _kvasir_record(raw, number, images)


def _kvasir_files(root: Path) -> list[tuple[str, Path]]:
    copies = parquet_files(root)
    tables = files_inside(root, root, (".csv",))
    metadata = [("train", path) for path in tables if path.name.lower() == "metadata.csv"]
    return copies or metadata + split_files(root, _X1_FORMS)


def _kvasir_record(raw: RawRow, number: int, images: ImageFinder) -> RawRow:
    row = raw.row
    image, question, answer = row.get("img_id"), row.get("question"), row.get("answer")
    if "messages" in row:
        try:
            image, question, answer = _from_messages(row)
        except RowProblem as problem:
            return raw.rejected(str(problem))
    if not isinstance(image, str) or not image.strip():
        return raw.rejected("img_id: expected the image's id")
    answer, repairs = answer_text(answer)
    if isinstance(answer, str) and ";" in answer:
        answer = "; ".join(part.strip() for part in answer.split(";") if part.strip())
    meta = {key: _parsed(value) for key, value in row.items() if key in _KVASIR_META}
    record: dict[str, Any] = {
        "id": f"kvasir_vqa/{'x1/' if row.keys() & _OF_X1 else ''}{raw.split}/{number:06d}",
        "images": [images.find(*filter(None, (image_name(row, "image"), image.strip())))],
        "question": question,
        "answers": [answer],
        "meta": {"img_id": image.strip(), **meta},
    }
    if isinstance(answer, str) and answer.casefold() == NOT_RELEVANT:
        record |= {"answers": [], "answerable": False}
        record["meta"]["answer"] = answer
    elif isinstance(question, str) and isinstance(answer, str):
        options = KVASIR_CHOICES.get(question.strip().casefold(), [])
        if answer.casefold() in options:
            record |= {"question_type": "mcq", "answer_candidates": options, "answers": [answer.casefold()]}
    return raw.made(record, repairs)


_OF_X1 = {"complexity", "original", "question_class", "messages"}
_KVASIR_META = ("source", "complexity", "original", "question_class")


def _parsed(value: Any) -> Any:
    """`original` and `question_class` are JSON texts in some exports; what is none stays a text."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return parse_json(value, "")
    except UserError:
        return value


def _from_messages(row: dict[str, Any]) -> tuple[str, str, str]:
    """(image id, question, answer) of a row {messages: [user, assistant], images: [path]}.

    Raises:
        RowProblem: it is no such conversation.
    """
    (first, *others), _ = read_turns(row, Form(alpaca=False))
    if others or first.reason or len(first.images) != 1:
        raise RowProblem(first.reason or "messages: expected one question about one image, and its answer")
    return PureWindowsPath(first.images[0]).stem, first.question, first.answer


def find_endovis(given: Path | None) -> Path:
    """The folder with `seq_1`, `seq_2`, ...: as given, or one below it."""
    expected = "seq_N/vqa/Classification or seq_N/vqa/Sentence"
    return publication_folder(given, "EndoVis-18-VQA", expected, _question_folders)


def endovis_rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield every line of every question file, by sequence, kind of answer and frame."""
    for number, folder in _question_folders(root):
        split = "validation" if number in VALIDATION_SEQUENCES else "train"
        sequence, kind = folder.parent.parent, folder.name.casefold()
        images = ImageFinder(root, [f"{sequence.name}/{name}" for name in FRAME_FOLDERS])
        for path in files_inside(root, folder, (".txt",)):
            frame = path.stem.split("_")[0]
            try:
                lines = read_lines(path)
            except UserError as error:
                yield RawRow(split, {"file": relative(root, path)}, relative(root, path), reason=str(error))
                continue
            for index, line in enumerate(lines):
                if line.strip():
                    raw = RawRow(split, line, f"{relative(root, path)}:{index + 1}")
                    fields = {
                        "id": f"endovis18_vqa/{sequence.name}/{kind}/{frame}/{index:02d}",
                        "images": [images.find(frame)],
                        "meta": {"sequence": number, "frame": frame, "answer_form": kind},
                    }
                    yield _endovis_record(raw, fields)


def _question_folders(root: Path) -> list[tuple[int, Path]]:
    """(number of the sequence, folder of its question files), by number and kind of answer."""
    found = []
    for path in sorted(root.iterdir(), key=lambda path: natural_key(path.name)):
        match = _SEQUENCE.fullmatch(path.name)
        found += [(int(match[1]), path / name) for name in QA_FOLDERS if match and (path / name).is_dir()]
    return found


def _endovis_record(raw: RawRow, fields: dict[str, Any]) -> RawRow:
    question, *rest = (part.strip() for part in raw.row.split("|"))
    if len(rest) not in (1, 2) or not question or not rest[0]:
        return raw.rejected("expected question|answer")
    answer = rest[0]
    record = {**fields, "question": question, "answers": [answer]}
    if len(rest) == 2:
        corners = re.findall(r"\d+", rest[1])
        if len(corners) != 4:
            return raw.rejected(f"box: expected x1, y1, x2, y2, not {rest[1]!r}")
        x0, y0, x1, y1 = map(int, corners)
        record["boxes"] = [[x0 - 1, y0 - 1, x1, y1]]
    for options in (PLACES, STATES):
        if answer in options:
            record |= {"question_type": "mcq", "answer_candidates": options}
    return raw.made(record)


KVASIR_VQA = Converter(
    "kvasir_vqa",
    licence="CC-BY-NC-4.0",
    find_input=find_kvasir,
    rows=kvasir_rows,
    writes_images=embedded_images,
)
ENDOVIS18_VQA = Converter("endovis18_vqa", licence=None, find_input=find_endovis, rows=endovis_rows)
