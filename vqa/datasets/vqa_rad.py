"""VQA-RAD: 315 radiology images, 2,248 questions asked and answered by clinicians (CC0).

Schema: Lau et al., Scientific Data 2018 (osf.io/89kps), `VQA_RAD Dataset Public.json`, an array of {qid,
phrase_type, qid_linked_id, image_case_url, image_name, image_organ, evaluation, question,
question_rephrase, question_relation, question_frame, question_type, answer, answer_type} with the images in
`VQA_RAD Image Folder/`. The test split are the phrase types `test_freeform` and `test_para`.

The derived forms are read as well: `trainset.json` and `testset.json` of MEVF and PubMedCLIP with the same
fields, `train.json` and `test.json` with {image, question, answer} as saved from the HuggingFace copy
(flaviagiammarino/vqa-rad), its Parquet files with these columns, and LLaVA-Med's with `conversations`.

A training row whose `qid_linked_id` a test row has is a paraphrase of a test question: it is rejected.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    ImageFinder,
    files_inside,
    image_name,
    parquet_files,
    publication_folder,
    split_files,
)
from vqa.datasets.raw_json import begins_with_key
from vqa.datasets.raw_tables import embedded_images, published_rows
from vqa.datasets.row_values import answer_text, closed_fields

LEAKS = "qid_linked_id: a paraphrase of this question is in the test split"
ANSWER_TYPES = ("CLOSED", "OPEN")
QUESTION_TYPES = (
    "ABN", "ATTRIB", "COLOR", "COUNT", "MODALITY", "ORGAN", "OTHER", "PLANE", "POS", "PRES", "SIZE",
)  # fmt: skip
IMAGE_FOLDERS = ("VQA_RAD Image Folder", "VQA_RAD_Image_Folder", "images", "imgs")
_USED = ("image_name", "image", "question", "answer", "conversations")


def annotation_files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) of VQA-RAD's files in a folder; the split of the public file is "": its rows tell it."""
    found = files_inside(folder, folder, (".json",))
    public = [path for path in found if re.fullmatch(r"VQA.?RAD.*Public", path.stem)]
    if public:
        return [("", public[0])]
    files = split_files(folder)
    return [item for item in files if not begins_with_key(item[1], "img_name")]


def find_input(given: Path | None) -> Path:
    """The folder with the public JSON, or with a derived train and test file: as given or one below it."""
    expected = "'VQA_RAD Dataset Public.json', trainset.json or train.json"
    return publication_folder(
        given, "VQA-RAD", expected, lambda folder: annotation_files(folder) or parquet_files(folder)
    )


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of the public file, or of the derived training and test files, in their order."""
    files = parquet_files(root) or annotation_files(root)
    found = [
        (index, replace(raw, split=raw.split or _split(raw.row)))
        for index, raw in published_rows(root, files, options.image_dir)
    ]
    tested = {_linked(raw.row) for _, raw in found if raw.split == "test"} - {""}
    images = ImageFinder(root, (*IMAGE_FOLDERS, ""))
    for index, raw in found:
        if raw.reason:
            yield raw
        elif raw.split != "test" and _linked(raw.row) in tested:
            yield raw.rejected(LEAKS)
        else:
            yield from _to_records(raw, index, images)


def _to_records(raw: RawRow, index: int, images: ImageFinder) -> Iterator[RawRow]:
    row = raw.row
    image = image_name(row, "image_name", "image")
    if image is None:
        yield raw.rejected("image_name: expected the name of an image file")
        return
    name = row.get("qid", f"{index:06d}") if "phrase_type" in row else f"{index:06d}"
    meta, repairs = _mended({key: value for key, value in row.items() if key not in _USED})
    turns = _turns(row)
    if not turns:
        yield raw.rejected("conversations: no question with an answer")
    for number, (question, answer) in enumerate(turns):
        answer, mended = answer_text(answer)
        record = {
            "id": f"vqa_rad/{raw.split}/{name}" + (f"-{number}" if len(turns) > 1 else ""),
            "images": [images.find(image)],
            "question": question.strip() if isinstance(question, str) else question,
            "answers": [answer],
            "meta": meta,
        }
        if meta.get("answer_type") == "CLOSED":
            record |= closed_fields(question, answer)
        yield raw.made(record, repairs + mended)


def _split(row: Any) -> str:
    phrase = str(row.get("phrase_type")).strip().casefold() if isinstance(row, dict) else ""
    return "test" if phrase.startswith("test_") else "train"


def _linked(row: Any) -> str:
    """The id that paraphrases of one question share; "" for none."""
    value = str(row.get("qid_linked_id") or "").strip() if isinstance(row, dict) else ""
    return "" if value.upper() == "NULL" else value


def _turns(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The row's questions with their answers: one, or as many as a conversation has."""
    if "conversations" not in row:
        return [(row.get("question"), row.get("answer"))]
    talk = row["conversations"] if isinstance(row["conversations"], list) else []
    texts = [turn.get("value") if isinstance(turn, dict) else None for turn in talk]
    asked = [text.replace("<image>", "").strip() if isinstance(text, str) else None for text in texts[::2]]
    return list(zip(asked, texts[1::2], strict=False))


def _mended(meta: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields with `answer_type` spelt OPEN or CLOSED and `question_type` as a list of known types."""
    repairs = []
    kind = meta.get("answer_type")
    if isinstance(kind, str):
        meta["answer_type"] = _known(kind.strip(), ANSWER_TYPES)
        if meta["answer_type"] != kind:
            repairs.append("misspelt answer type")
    types = meta.get("question_type")
    if isinstance(types, str):
        given = [part for part in re.split(r"[\s,;/&]+", types) if part]
        meta["question_type"] = [_known(part, QUESTION_TYPES) for part in given]
        if any(known != part for known, part in zip(meta["question_type"], given, strict=True)):
            repairs.append("misspelt question type")
        if len(given) > 1:
            repairs.append("several question types")
    return meta, tuple(repairs)


def _known(name: str, names: Sequence[str]) -> str:
    """PRES for PRSE, CLOSED for Closd; a name that resembles none stays as it is, in capitals."""
    close = get_close_matches(name.upper(), names, n=1, cutoff=0.7)
    return close[0] if close else name.upper()


VQA_RAD = Converter(
    "vqa_rad", licence="CC0-1.0", find_input=find_input, rows=rows, writes_images=embedded_images
)
