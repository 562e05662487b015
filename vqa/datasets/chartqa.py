"""ChartQA: 32,719 questions about 20,882 charts, by people (`human`) and generated (`augmented`).

Schema: the repository `vis-nlp/ChartQA`, `ChartQA Dataset/{train,val,test}/` with `<split>_human.json` and
`<split>_augmented.json`, each `[{imgname, query, label}]`, `png/IMGNAME` and `tables/NAME.csv`; rows exported
from the Parquet files of `HuggingFaceM4/ChartQA` (query, label as a list, human_or_machine 0 or 1) and
`lmms-lab/ChartQA` (question, answer, type) are read too, and these
files themselves.

The type of a question is inferred, unlike that of the other document sets: most answers are yes or no, a
count, a colour or a computed number, and stand nowhere in the image. A label such as "[Madagascar, Central
Europe]" is an answer of several parts; it is accepted as published and without its brackets.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vqa.datasets.conversion import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    SPLIT_ORDER,
    SPLITS,
    ImageFinder,
    find_files,
    image_name,
    parquet_files,
    publication_folder,
    relative,
)
from vqa.datasets.raw_tables import file_rows
from vqa.datasets.row_values import texts_of
from vqa.raw_forms import RowProblem

EXPECTED = "{train,val,test}/<split>_human.json and <split>_augmented.json"
_QUESTIONS = re.compile(r"(train|val|validation|test)(?:_(human|augmented))?\.jsonl?", re.I)
_ORIGINS = {0: "human", 1: "augmented", "human_test": "human", "augmented_test": "augmented"}
_LIST = re.compile(r"\[(.*,.*)\]", re.S)
_TAKEN = ("query", "question", "label", "answer", "image", "human_or_machine", "type")


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are question files in it."""
    return publication_folder(given, "ChartQA", EXPECTED, _question_files)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the rows of train, validation and test, of each those by people first."""
    count: Counter[tuple[str, str]] = Counter()
    for split, origin, path in _question_files(root):
        beside = relative(root, path.parent)
        images = ImageFinder(root, [f"{beside}/png", f"{beside}/images", beside, f"{beside}/{split}/png", ""])
        for place, row in file_rows(path, options.image_dir):
            where, number = f"{relative(root, path)}: {place}", count[split, origin]
            count[split, origin] += 1
            if isinstance(row, RowProblem):
                yield RawRow(split, row.raw, where, reason=str(row))
            else:
                yield _raw_row(root, beside, split, origin, number, row, where, images)


def _question_files(root: Path) -> list[tuple[str, str, Path]]:
    """(split, origin, file), training first, of a split those by people first."""
    files = [(split, "", path) for split, path in parquet_files(root)] or [
        (SPLITS[match[1].lower()], (match[2] or "").lower(), path)
        for path, match in find_files(root, _QUESTIONS)
    ]
    return sorted(files, key=lambda item: (SPLIT_ORDER.index(item[0]), item[1] != "human", item[1], item[2]))


def _raw_row(
    root: Path,
    beside: str,
    split: str,
    origin: str,
    number: int,
    row: dict[str, Any],
    where: str,
    images: ImageFinder,
) -> RawRow:
    mark = row.get("human_or_machine", row.get("type"))
    origin = origin or (_ORIGINS.get(mark, "") if isinstance(mark, int | str) else "")
    name = image_name(row, "imgname", "image")
    answers = accepted_labels(row.get("label", row.get("answer")))
    if name is None:
        return RawRow(split, row, where, reason="imgname: missing")
    if not answers:
        return RawRow(split, row, where, reason="label: missing")
    meta = {key: value for key, value in row.items() if key not in _TAKEN}
    if origin:
        meta["origin"] = origin
    table = PurePosixPath(beside) / "tables" / f"{PureWindowsPath(name).stem}.csv"
    if (root / table).is_file():
        meta["table"] = table.as_posix()
    record = {
        "id": f"chartqa/{split}/{origin + '/' if origin else ''}{number:06d}",
        "images": [images.find(name)],
        "question": row.get("query", row.get("question")),
        "answers": answers,
        "answerable": True,
        "meta": meta,
    }
    return RawRow(split, row, where, record)


def accepted_labels(label: Any) -> list[str]:
    """The accepted answers of a published label; `[]` where it holds none."""
    texts = texts_of(label)
    if len(texts) > 1:
        texts = [f"[{', '.join(texts)}]"]
    inner = _LIST.fullmatch(texts[0]) if texts else None
    return list(dict.fromkeys([*texts, inner[1].strip()] if inner else texts))


CHARTQA = Converter(
    "chartqa", licence="GPL-3.0", find_input=find_input, rows=rows, writes_images=parquet_files
)
