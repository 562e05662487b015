"""Small readings that several publications need: rows, splits, answers, and what a closed question offers."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vqa.datasets.layouts import SPLITS
from vqa.datasets.raw_json import files_inside, read_json, read_table
from vqa.errors import UserError
from vqa.raw_forms import RowProblem, describe, iterate_rows

_SPLIT_AT_END = re.compile(rf"(?:^|[_\-. ])({'|'.join(SPLITS)})(?:set)?$", re.I)
# What comes after the first comma or colon: "..., heart or lung?", "...,left,top or upper left?"
_OFFER = re.compile(r"[,:，：]\s*(?P<list>.+?)\s*[?？]?\s*$", re.S)
_BETWEEN = re.compile(r"\s*[,，、]\s*(?:or\s+)?|\s+or\s+|还是", re.I)
# In Chinese also before the question word: 图中肺、心脏和肝脏哪个更大?
_WHICH = re.compile(r"(?:^|中)(?P<list>[^中]+?)哪个")
_JOINED = re.compile(r"[,，、]|和|或者|还是")
_ASKS = re.compile(r"\b(?:which|what|where|how)\b|[\u4e00-\u9fff]", re.I)
_LAST = re.compile(r"\s+or\s+|还是", re.I)
_MOST_WORDS = 4

# Answers of Chinese yes-no questions: the closed set of the form, and the spelling that is trained on.
_CHINESE_PAIRS = (
    ("是的", "不是"), ("包含", "不包含"), ("有", "没有"), ("可以", "不可以"), ("存在", "不存在"),
    ("包括", "不包括"), ("正常", "不正常"),
)  # fmt: skip
_CHINESE_SPELLINGS = {"是": "是的", "否": "不是"}


def input_folder(given: Path | None, what: str) -> Path:
    """The user's `--input`. Raises UserError where it is not given or no folder, saying what it should be."""
    if given is None:
        raise UserError(f"--input: give {what}")
    if not given.is_dir():
        raise UserError(f"--input {given}: no such folder; give {what}")
    return given


def with_subfolders(folder: Path) -> list[Path]:
    """The folder and those directly in it: archives are often unpacked into one more."""
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]


def split_name(text: str) -> str:
    """A split under the name that records use: `validate`, `valid`, `val`, `dev` are `validation`."""
    text = text.strip()
    return SPLITS.get(text.casefold(), text)


def split_files(folder: Path, suffixes: Iterable[str] = (".json", ".jsonl")) -> list[tuple[str, Path]]:
    """(split, file) of the files whose names end in a split's: `train.json`, `testset.json`, `x1-val.jsonl`.

    Training first, then validation, then test. Raises UserError for a link that leads out of `folder`.
    """
    found = []
    for path in files_inside(folder, folder, suffixes):
        ending = _SPLIT_AT_END.search(path.stem)
        if ending:
            found.append((split_name(ending[1]), path))
    order = ("train", "validation", "test")
    return sorted(found, key=lambda item: (order.index(item[0]), item[1].name))


def published_rows(path: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield (where, row, reason) for each row of a JSON array, `{"data": [...]}`, JSONL, CSV or TSV.

    The reason says why a row is no object; it is "" for those that are. Of a line of JSONL that cannot be
    read there is no row. Raises UserError when the file as a whole cannot be read.
    """
    if path.suffix.lower() == ".jsonl":
        for line, row in iterate_rows(path):
            problem = isinstance(row, RowProblem)
            yield f"{path.name}:{line}", None if problem else row, str(row) if problem else ""
        return
    value = read_json(path) if path.suffix.lower() == ".json" else read_table(path)
    if isinstance(value, dict):
        value = value.get("data")
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a JSON array of rows")
    for index, row in enumerate(value):
        reason = "" if isinstance(row, dict) else f"a row is a JSON object, not {describe(row)}"
        yield f"{path.name}: row {index}", row, reason


def begins_with_key(path: Path, key: str) -> bool:
    """Whether a JSON file names `key` within its first 4 KiB: a cheap look at which publication it is."""
    try:
        with open(path, "rb") as file:
            return f'"{key}"'.encode() in file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def folder_of_images(root: Path, names: Iterable[str]) -> str:
    """The first of these folders that exists under `root`, ready to stand before a file's name; else ""."""
    return next((f"{name}/" for name in names if (root / name).is_dir()), "")


def answer_text(value: Any) -> tuple[Any, tuple[str, ...]]:
    """An answer as text, and what was mended: a bare number, stray spaces. Other types stay as they are."""
    if type(value) in (int, float):
        return str(value), ("number as answer",)
    if isinstance(value, str) and value != " ".join(value.split()):
        return " ".join(value.split()), ("stray space in an answer",)
    return value, ()


def alternatives(question: str) -> list[str]:
    """What a question offers after its first comma: "Which is bigger, heart or lung?" -> heart, lung.

    [] where it ends otherwise, or may have begun its list before the comma ("Is this a CT, MRI or X-ray?").
    In Chinese the last two are joined by 还是, or all stand before 哪个.
    """
    offer, which = _OFFER.search(question), _WHICH.search(question)
    if offer is not None and _LAST.search(offer["list"]) and _ASKS.search(question[: offer.start()]):
        options = [option.strip() for option in _BETWEEN.split(offer["list"])]
    elif which is not None:
        options = [option.strip() for option in _JOINED.split(which["list"])]
    else:
        return []
    distinct = {option.casefold() for option in options}
    short = all(0 < len(option.split()) <= _MOST_WORDS for option in options)
    return options if short and len(options) == len(distinct) > 1 else []


def closed_fields(question: Any, answer: Any) -> dict[str, Any]:
    """Fields of a question that its publication calls closed: type and candidates where they can be told.

    Yes and no in English are inferred later. A Chinese pair such as 是的 and 不是 is an `mcq`: the rule of
    `yes_no` reads English. {} where the question names no alternatives, or its answer is none of them.
    """
    if not isinstance(question, str) or not isinstance(answer, str):
        return {}
    spelling = _CHINESE_SPELLINGS.get(answer, answer)
    for pair in _CHINESE_PAIRS:
        if spelling in pair:
            accepted = [answer] if spelling == answer else [spelling, answer]
            return {"question_type": "mcq", "answer_candidates": list(pair), "answers": accepted}
    options = alternatives(question)
    if answer.casefold() in (option.casefold() for option in options):
        return {"question_type": "mcq", "answer_candidates": options}
    return {}
