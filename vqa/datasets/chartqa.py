"""ChartQA: 32,719 questions about 20,882 charts, by people (`human`) and generated (`augmented`).

Schema: the repository `vis-nlp/ChartQA`, `ChartQA Dataset/{train,val,test}/` with `<split>_human.json` and
`<split>_augmented.json`, each `[{imgname, query, label}]`, `png/IMGNAME` and `tables/NAME.csv`; rows exported
from the Parquet files of `HuggingFaceM4/ChartQA` (query, label as a list, human_or_machine 0 or 1) and
`lmms-lab/ChartQA` (question, answer, type) are read too.

The type of a question is inferred, unlike that of the other document sets: most answers are yes or no, a
count, a colour or a computed number, and stand nowhere in the image. A label such as "[Madagascar, Central
Europe]" is an answer of several parts; it is accepted as published and without its brackets.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.datasets.conversion import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    SPLIT_ORDER,
    SPLITS,
    find_files,
    find_image,
    image_name,
    input_folder,
    question_rows,
    relative,
)
from vqa.errors import UserError
from vqa.raw_forms import RowProblem

EXPECTED = "{train,val,test}/<split>_human.json and <split>_augmented.json"
_QUESTIONS = re.compile(r"(train|val|validation|test)(?:_(human|augmented))?\.jsonl?", re.I)
_ORIGINS = {0: "human", 1: "augmented", "human_test": "human", "augmented_test": "augmented"}
_LIST = re.compile(r"\[(.*,.*)\]", re.S)
_TAKEN = ("query", "question", "label", "answer", "image", "human_or_machine", "type")


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are question files in it."""
    root = input_folder(given, "ChartQA", EXPECTED)
    if not find_files(root, _QUESTIONS):
        raise UserError(f"--input {root}: not ChartQA: no {EXPECTED}")
    return root


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of train, validation and test, of each those by people first."""
    files = [(SPLITS[match[1].lower()], match[2] or "", path) for path, match in find_files(root, _QUESTIONS)]
    files.sort(key=lambda item: (SPLIT_ORDER.index(item[0]), item[1] != "human", item[1], item[2]))
    for split, origin, path in files:
        for number, row in question_rows(path):
            where = f"{relative(root, path)}: row {number}"
            if isinstance(row, RowProblem):
                yield RawRow(split, row.raw, where, reason=str(row))
            else:
                yield _raw_row(root, path, split, origin.lower(), number, row, where)


def _raw_row(
    root: Path, path: Path, split: str, origin: str, number: int, row: dict[str, Any], where: str
) -> RawRow:
    beside = relative(root, path.parent)
    mark = row.get("human_or_machine", row.get("type"))
    origin = origin or (_ORIGINS.get(mark, "") if isinstance(mark, int | str) else "")
    name = image_name(row, "imgname", "image")
    answers = accepted_labels(row.get("label", row.get("answer")))
    if name is None:
        return RawRow(split, row, where, reason="imgname: missing")
    if not answers:
        return RawRow(split, row, where, reason="label: missing")
    image = find_image(root, name, [f"{beside}/png", f"{beside}/images", beside, f"{beside}/{split}/png", ""])
    meta = {key: value for key, value in row.items() if key not in _TAKEN}
    if origin:
        meta["origin"] = origin
    table = PurePosixPath(beside) / "tables" / f"{PurePosixPath(name).stem}.csv"
    if (root / table).is_file():
        meta["table"] = table.as_posix()
    record = {
        "id": f"chartqa/{split}/{origin + '/' if origin else ''}{number:06d}",
        "images": [image],
        "question": row.get("query", row.get("question")),
        "answers": answers,
        "answerable": True,
        "meta": meta,
    }
    return RawRow(split, row, where, record)


def accepted_labels(label: Any) -> list[str]:
    """The accepted answers of a published label; `[]` where it holds none."""
    values = label if isinstance(label, list) else [label]
    texts = [str(value).strip() for value in values if type(value) in (str, int, float)]
    texts = [text for text in texts if text]
    if len(texts) > 1:
        texts = [f"[{', '.join(texts)}]"]
    inner = _LIST.fullmatch(texts[0]) if texts else None
    return list(dict.fromkeys([*texts, inner[1].strip()] if inner else texts))


CHARTQA = Converter("chartqa", licence="GPL-3.0", find_input=find_input, rows=rows)
