"""`hub`: any data set that the `datasets` library reads, with a map from the record's fields to its columns.

`--input` is an id (`org/name`, `org/name:config`), or, without network, a folder or file: Parquet, Arrow as
`save_to_disk` writes it, JSON, CSV, or a folder of images. No code of a data set is run. In a config file:

    columns:
      question: query              # a column of the data set
      answers: label               # text, a list of texts, a number, a class label, true and false
      images: image                # several columns: "image_1, image_2"
      question_type: =extractive   # "=": the same value for all rows

Fields are those of the contract and `messages` (a conversation, see `conversation_turns`; or the `texts` of
{user, assistant} pairs that the_cauldron and FineVision have). Without a map, columns of the fields' names
are taken, and all columns of images. Of several annotators' answers the most frequent comes first; an answer
that is an index or a letter becomes the candidate it names.

Image files keep their bytes; they are written into the record folder, each once, under the hash of their
content. What no field takes is kept in `meta`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Image, LargeList, List
from datasets.exceptions import DatasetsError

from vqa.datasets.conversation_turns import Form, read_turns
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.hub_images import image_bytes, write_image
from vqa.datasets.hub_values import accepted_answers, as_boxes, plain
from vqa.datasets.layouts import folders, split_of
from vqa.errors import UserError
from vqa.files import text_fault
from vqa.images import ImageProblem
from vqa.raw_forms import RowProblem

_TEXTS = (".json", ".jsonl", ".csv", ".txt")
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv"}
# Field of the record -> columns that are taken for it when none is named.
_DEFAULTS = {
    "id": (),  # often that of an image, which several questions share
    "question": ("question",),
    "answers": ("answers", "answer"),
    "answerable": ("answerable",),
    "question_type": ("question_type",),
    "answer_candidates": ("answer_candidates",),
    "boxes": ("boxes",),
    "box_images": ("box_images",),
    "caption": ("caption",),
    "reasoning": ("reasoning",),
    "messages": ("messages", "conversations", "texts"),
    "images": ("images", "image"),
}
_ALIASES = {"answer": "answers", "image": "images"}
# Beside these, what fails in reading a data set that is not there or not whole.
_LOADING_ERRORS = (DatasetsError, OSError, ValueError, RuntimeError, KeyError, TypeError)


def find_input(given: Path | None) -> Path:
    """A file or folder that exists, or the id of a data set of the hub, as given. Raises UserError."""
    if given is None:
        raise UserError("--input: give the id of a data set (org/name), or the folder or file that holds it")
    if given.is_file() and given.suffix.lower() not in _BUILDERS:
        raise UserError(f"--input {given}: not one of {', '.join(_BUILDERS)}")
    if not given.exists() and (given.is_absolute() or len(given.parts) > 2 or given.parts[0] in (".", "..")):
        raise UserError(f"--input {given}: no such folder, and not an id of the form org/name")
    return given


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield a row per row of the data set; of a conversation, one per turn.

    Raises:
        UserError: the data set cannot be had or read, or the map names a field or column that is not there.
    """
    source = root.stem if root.is_file() else root.name if root.exists() else root.as_posix()
    for name, table in _load(root).items():
        split = split_of(name)
        if options.splits and split not in options.splits:
            yield from (RawRow(split, None, f"{name}: row {index}") for index in range(len(table)))
            continue
        reader = _Reader(table, root, options, source, split)
        for index, row in enumerate(reader.table):
            yield from reader.read(row, f"{name}: row {index}", f"{source}/{split}/{index:06d}")


def _load(root: Path) -> DatasetDict:
    for path in _text_files(root):
        if fault := text_fault(path):  # the library reads whole lines
            raise UserError(f"{path}: {fault}")
    try:
        if root.is_file():
            builder = _BUILDERS[root.suffix.lower()]
            loaded = datasets.load_dataset(builder, data_files={split_of(root.stem, "train"): str(root)})
        elif (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
            loaded = datasets.load_from_disk(str(root))
        elif root.exists():
            loaded = datasets.load_dataset(str(root))
        else:
            path, _, config = root.as_posix().partition(":")
            loaded = datasets.load_dataset(path, config or None)
    except _LOADING_ERRORS as error:
        why = " ".join(str(error).split())[:300] or type(error).__name__
        where = "" if root.exists() else ", and there is no such folder"
        raise UserError(f"--input {root}: cannot be loaded{where}: {why}") from error
    return loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)


def _text_files(root: Path) -> Iterator[Path]:
    found = [(root.parent, [root.name])] if root.is_file() else folders(root) if root.exists() else ()
    for folder, names in found:
        yield from (folder / name for name in names if Path(name).suffix.lower() in _TEXTS)


class _Reader:
    """Reads the rows of one split.

    Attributes:
        table: the split, its images left as the bytes they are stored as.
    """

    def __init__(self, table: Dataset, root: Path, options: ConvertOptions, source: str, split: str) -> None:
        self.root, self.options, self.source, self.split = root, options, source, split
        self.image_columns = [name for name, feature in table.features.items() if _holds_images(feature)]
        for name in self.image_columns:
            bare = Image(decode=False)
            feature = table.features[name]
            table = table.cast_column(name, bare if isinstance(feature, Image) else List(bare))
        self.table = table
        self.columns, self.constants = self._map()
        labels = table.features.get(self.columns.get("answers", [""])[0])
        self.labels = labels if isinstance(labels, ClassLabel) else None

    def _map(self) -> tuple[dict[str, list[str]], dict[str, Any]]:
        """Columns of each field, and the values that are the same for all rows."""
        names = self.table.column_names
        columns: dict[str, list[str]] = {}
        constants: dict[str, Any] = {}
        for given, column in self.options.columns.items():
            field = _ALIASES.get(given, given)
            if field not in _DEFAULTS:
                raise UserError(f"columns: {given}: no such field; fields are {', '.join(_DEFAULTS)}")
            if column.startswith("="):
                constants[field] = column[1:].strip()
                continue
            columns[field] = [part.strip() for part in column.split(",")] if field == "images" else [column]
            missing = [part for part in columns[field] if part not in names]
            if missing:
                shown = ", ".join(names)
                raise UserError(
                    f"columns: {given}: {self.source} has no column {missing[0]!r}; it has {shown}"
                )
        for field, usual in _DEFAULTS.items():
            found = [name for name in usual if name in names]
            if field == "images":
                found = self.image_columns or found
            taken = columns.keys() | constants.keys()
            if found and field not in taken and not (field == "messages" and "question" in taken):
                columns[field] = found if field == "images" else found[:1]
        if not {"question", "messages"} & (columns.keys() | constants.keys()):
            raise UserError(
                f"columns: say which column is the question (or the messages); {self.source} has "
                f"{', '.join(names)}"
            )
        return columns, constants

    def read(self, row: dict[str, Any], where: str, identity: str) -> Iterator[RawRow]:
        """The rows that one row of the table makes: a record, several turns, or a reject."""
        shown = {name: plain(value) for name, value in row.items()}
        try:
            images = [
                write_image(content, self.options.image_dir)
                for name in self.columns.get("images", [])
                for content in image_bytes(row[name], self.root, self.options.max_pixels)
            ]
            records = self._records(row, images, identity)
        except (RowProblem, ImageProblem) as problem:
            yield RawRow(self.split, shown, where, reason=str(problem))
            return
        used = {name for names in self.columns.values() for name in names} | {*self.image_columns}
        meta = {name: value for name, value in shown.items() if name not in used}
        for turn, record in enumerate(records):
            turn_where = f"{where}, turn {turn}" if len(records) > 1 else where
            if isinstance(record, str):
                yield RawRow(self.split, shown, turn_where, reason=record)
            else:
                record["meta"] = meta | record.get("meta", {})
                yield RawRow(self.split, shown, turn_where, {"source": self.source, **record})

    def _records(self, row: dict[str, Any], images: list[str], identity: str) -> list[dict[str, Any] | str]:
        """Records, or why a turn makes none."""
        fields = dict(self.constants)
        for field, names in self.columns.items():
            if field not in ("images", "messages"):
                fields[field] = row[names[0]]
        fields["id"] = identity if fields.get("id") is None else str(fields["id"])
        if "messages" in self.columns:
            messages = _listed(row[self.columns["messages"][0]])
            turns, rest = read_turns({"messages": messages, "images": images}, Form(alpaca=False))
            return [
                turn.reason
                or {
                    "id": f"{fields['id']}-{turn.index}",
                    "images": list(turn.images),
                    "question": turn.question,
                    "answers": [turn.answer],
                    "meta": rest | {"turn": turn.index, "turns": len(turns)},
                }
                for turn in turns
            ]
        candidates = fields.get("answer_candidates")
        fields["answers"] = accepted_answers(fields.get("answers"), candidates, self.labels)
        if "boxes" in fields:
            fields["boxes"] = as_boxes(fields["boxes"])
        if fields.get("answerable") in (0, 1):
            fields["answerable"] = bool(fields["answerable"])
        if isinstance(fields.get("reasoning"), str):
            fields["reasoning"] = [fields["reasoning"]]
        given = {field: plain(value) for field, value in fields.items() if value is not None}
        return [{**given, "images": images}]


def _holds_images(feature: Any) -> bool:
    inner = feature.feature if isinstance(feature, List | LargeList) else feature
    return isinstance(inner, Image)


def _listed(messages: Any) -> Any:
    """Pairs {user, assistant} as messages; anything else as it is."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) and "user" in m for m in messages):
        return messages
    return [{"role": role, "content": pair.get(role)} for pair in messages for role in ("user", "assistant")]


HUB = Converter("hub", licence=None, find_input=find_input, rows=rows, writes_images=lambda root: True)
