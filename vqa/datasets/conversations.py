"""Conversations about images: `sharegpt`, `llamafactory`, `llava`. Each question with its answer is a record.

Schemas from github.com/hiyouga/LLaMA-Factory (data/README.md, dataset_info.json), haotian-liu/LLaVA
(docs/Finetune_Custom_Data.md) and TRL's vision examples: JSON arrays or JSONL of objects with
`conversations` ({from: human|gpt, value}) or `messages` ({role: user|assistant, content}), and `image` or
`images`. A content may be a list of parts (text, image). LLaMA-Factory's alpaca form (instruction, input,
output, history) and its preference rows (`chosen` is the answer) are read too, and where a
`dataset_info.json` lies in the folder, its files, columns and tags are what is read.

A record is one question, so earlier turns are not carried: `meta.turn` and `meta.turns` say which turn it
was, and a turn that only makes sense after another ("and the left one?") cannot be told from the rest. System
prompts are in `meta.system`. `<image>` tags say which images a turn has seen; they are removed at the edges
of a question, and become "image 1", "image 2" where one stands within it.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vqa.datasets.conversation_turns import Form, Turn, read_turns
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.generic import SUFFIXES, find_json_input, image_folder, json_files
from vqa.datasets.layouts import ImageFinder, files_inside, inside, split_of
from vqa.datasets.raw_json import read_json
from vqa.datasets.raw_tables import published_rows
from vqa.errors import UserError
from vqa.images import ImageProblem, resolve_inside
from vqa.raw_forms import RowProblem

INFO_FILE = "dataset_info.json"


def rows(root: Path, options: ConvertOptions, *, name: str) -> Iterator[RawRow]:
    """Yield a row per question of every file; one for an object that gives none."""
    folder = image_folder(root)
    finder = ImageFinder(folder, ["", "images"])
    for path in json_files(root):
        yield from _file_rows(path, path.relative_to(folder).as_posix(), name, Form(), finder)


def llamafactory_rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """As `rows`, reading what `dataset_info.json` describes where there is one."""
    folder = image_folder(root)
    if not (folder / INFO_FILE).is_file():
        yield from rows(root, options, name="llamafactory")
        return
    finder = ImageFinder(folder, ["", "images"])
    described = 0
    for entry, description in _descriptions(inside(folder, folder / INFO_FILE)):
        file_name = description.get("file_name")
        if not isinstance(file_name, str) or not os.path.exists(folder / file_name):
            continue  # a data set of the hub, or one that is not downloaded
        try:
            path = resolve_inside(folder, file_name)
        except ImageProblem as problem:
            raise UserError(f"{folder / INFO_FILE}: {entry}: file_name: {problem}") from problem
        if root.is_file() and path != root.resolve():
            continue
        described += 1
        paths = files_inside(path, path, SUFFIXES) if path.is_dir() else [path]
        readable = [path for path in paths if path.suffix.lower() in SUFFIXES]
        if not readable:
            reason = "only .json and .jsonl files are read here; for others there is --dataset hub"
            yield RawRow("train", description, f"{INFO_FILE}: {entry}", reason=reason)
        for file in readable:
            yield from _file_rows(file, f"{entry}/{file.name}", "llamafactory", _form(description), finder)
    if not described:
        raise UserError(f"{folder / INFO_FILE}: none of its data sets has its file in this folder")


def _descriptions(path: Path) -> list[tuple[str, dict[str, Any]]]:
    info = read_json(path)
    if not isinstance(info, dict) or not all(isinstance(entry, dict) for entry in info.values()):
        raise UserError(f"{path}: expected an object of data set descriptions")
    return list(info.items())


def _form(description: dict[str, Any]) -> Form:
    """Where the fields of a described data set lie. Raises UserError for a description that is none."""
    columns, tags = description.get("columns") or {}, description.get("tags") or {}
    if not isinstance(columns, dict) or not isinstance(tags, dict):
        raise UserError(f"{INFO_FILE}: columns and tags: expected objects")
    alpaca = description.get("formatting", "alpaca") == "alpaca"
    return Form.described(alpaca, columns, tags)


def _file_rows(path: Path, shown: str, name: str, form: Form, finder: ImageFinder) -> Iterator[RawRow]:
    for index, raw in published_rows(path.parent, [(split_of(path.stem, "train"), path)]):
        if raw.reason:
            yield raw
            continue
        try:
            turns, rest = read_turns(raw.row, form)
        except RowProblem as problem:
            yield raw.rejected(str(problem))
            continue
        for turn in turns:
            of_turn = replace(raw, where=f"{raw.where}, turn {turn.index}") if len(turns) > 1 else raw
            if turn.reason:
                yield of_turn.rejected(turn.reason)
                continue
            identity = f"{name}/{shown}/{index:06d}-{turn.index}"
            yield of_turn.made(_record(turn, identity, len(turns), rest, finder))


def _record(
    turn: Turn, identity: str, turns: int, rest: dict[str, Any], finder: ImageFinder
) -> dict[str, Any]:
    return {
        "id": identity,
        "images": [finder.find(image) for image in turn.images],
        "question": turn.question,
        "answers": [turn.answer],
        "meta": {**rest, "turn": turn.index, "turns": turns},
    }


def _converter(name: str) -> Converter:
    return Converter(name, licence=None, find_input=find_json_input, rows=partial(rows, name=name))


SHAREGPT, LLAVA = _converter("sharegpt"), _converter("llava")
LLAMAFACTORY = Converter("llamafactory", licence=None, find_input=find_json_input, rows=llamafactory_rows)
