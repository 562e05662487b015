"""ChartQA: 32,719 questions about 20,882 charts, by people (`human`) and generated (`augmented`).

Schema: the repository `vis-nlp/ChartQA`, `ChartQA Dataset/{train,val,test}/` with `<split>_human.json` and
`<split>_augmented.json`, each `[{imgname, query, label}]`, `png/IMGNAME` and `tables/NAME.csv`; the Parquet
files of `HuggingFaceM4/ChartQA` (`data/val-*.parquet`: query, label as a list, human_or_machine 0 or 1) and
`lmms-lab/ChartQA` (question, answer, type) are read too, and their rows exported.

The type of a question is inferred, unlike that of the other document sets: most answers are yes or no, a
count, a colour or a computed number, and stand nowhere in the image. A label such as "[Madagascar, Central
Europe]" is an answer of several parts; it is accepted as published and without its brackets.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
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
from vqa.datasets.raw_tables import embedded_images, published_rows
from vqa.datasets.row_values import texts_of

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
    for (split, origin), paths in _question_files(root).items():
        places = [relative(root, path.parent) for path in paths]
        folders = [f"{place}/{name}" for place in places for name in ("png", "images", ".", f"{split}/png")]
        images = ImageFinder(root, [*folders, ""])
        for number, raw in published_rows(root, [(split, path) for path in paths], options.image_dir):
            yield raw if raw.reason else _to_record(raw, root, origin, number, images)


def _question_files(root: Path) -> dict[tuple[str, str], list[Path]]:
    """(split, origin) -> files, training first, of a split those by people first."""
    files = [((split, ""), path) for split, path in parquet_files(root)] or [
        ((SPLITS[match[1].lower()], (match[2] or "").lower()), path)
        for path, match in find_files(root, _QUESTIONS)
    ]
    found: dict[tuple[str, str], list[Path]] = {}
    for key, path in sorted(
        files, key=lambda item: (SPLIT_ORDER.index(item[0][0]), item[0][1] != "human", item)
    ):
        found.setdefault(key, []).append(path)
    return found


def _to_record(raw: RawRow, root: Path, origin: str, number: int, images: ImageFinder) -> RawRow:
    row = raw.row
    mark = row.get("human_or_machine", row.get("type"))
    origin = origin or (_ORIGINS.get(mark, "") if isinstance(mark, int | str) else "")
    name = image_name(row, "imgname", "image")
    answers = accepted_labels(row.get("label", row.get("answer")))
    if name is None:
        return raw.rejected("imgname: missing")
    if not answers:
        return raw.rejected("label: missing")
    image = images.find(name)
    meta = {key: value for key, value in row.items() if key not in _TAKEN}
    if origin:
        meta["origin"] = origin
    table = PurePosixPath(image).parent.parent / "tables" / f"{PurePosixPath(image).stem}.csv"
    if os.path.isfile(root / table):
        meta["table"] = table.as_posix()
    record = {
        "id": f"chartqa/{raw.split}/{origin + '/' if origin else ''}{number:06d}",
        "images": [image],
        "question": row.get("query", row.get("question")),
        "answers": answers,
        "answerable": True,
        "meta": meta,
    }
    return raw.made(record)


def accepted_labels(label: Any) -> list[str]:
    """The accepted answers of a published label; `[]` where it holds none."""
    texts = texts_of(label)
    if len(texts) > 1:
        texts = [f"[{', '.join(texts)}]"]
    inner = _LIST.fullmatch(texts[0]) if texts else None
    return list(dict.fromkeys([*texts, inner[1].strip()] if inner else texts))


CHARTQA = Converter(
    "chartqa", licence="GPL-3.0", find_input=find_input, rows=rows, writes_images=embedded_images
)
