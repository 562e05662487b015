"""FUNSD: 199 scanned forms, annotated with entities and their links; a question for each filled-in key.

Schema: the archive of guillaumejaume.github.io/FUNSD, `dataset/{training_data,testing_data}/` with
`annotations/NAME.json` and `images/NAME.png`. An annotation is `{"form": [{id, text, box: [x0, y0, x1, y1],
label: question|answer|header|other, words: [{text, box}], linking: [[id, id], ...]}]}`. A link joins a key
with its value or a header with its keys, and stands in the entities at both of its ends.

A row is a key (an entity labelled `question`); a form without any is one row. There is no validation split;
`--validation_images N` holds out the last N training forms.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import (
    SPLITS,
    ImageFinder,
    SplitFile,
    files_inside,
    folders,
    hold_out,
    image_size,
    in_split_order,
    publication_folder,
    relative,
)
from vqa.datasets.raw_json import read_json
from vqa.datasets.row_values import number, numbers
from vqa.datasets.text_evidence import clipped, corners_box
from vqa.errors import UserError

EXPECTED = "training_data/{annotations,images} and testing_data/{annotations,images}"
MAX_FORM_BYTES = 2**24

Entity = dict[str, Any]


def key_question(key: str, header: str | None = None) -> str:
    """The wording of the question for the value of a key, which a header tells apart from its namesakes."""
    return f'What is the value of "{key}"' + (f' under "{header}"?' if header else "?")


def clean_key(text: str) -> str:
    """A key as it is quoted: one line, without the colon or the dots that lead to its value."""
    return " ".join(text.split()).replace('"', "'").rstrip(" :._-").lstrip(" :._")


def find_input(given: Path | None) -> Path:
    """The folder as given, if there are annotations in it."""
    return publication_folder(given, "FUNSD", EXPECTED, _annotation_folders)


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the keys of all forms, training data first, forms by name and keys as published."""
    for split, folder in _annotation_folders(root):
        paths = files_inside(root, folder, (".json",))
        images = ImageFinder(root, (relative(root, folder.parent / "images"), relative(root, folder.parent)))
        held_out = hold_out(paths, options.validation_images) if split == "train" else set()
        for path in paths:
            where = relative(root, path)
            row_split = "validation" if path in held_out else split
            try:
                entities = read_entities(path)
            except UserError as error:
                yield RawRow(row_split, {"file": where}, where, reason=str(error))
                continue
            image = images.find(path.stem)
            size = image_size(root, image, options.max_pixels)
            yield from form_rows(entities, row_split, where, image, size)


def form_rows(
    entities: Sequence[Entity], split: str, where: str, image: str, size: tuple[int, int] | None
) -> Iterator[RawRow]:
    """Yield the keys of one form, or a reject when it has none."""
    by_id = {entity["id"]: entity for entity in entities}
    values, headers = _links(entities, by_id)
    keys = [entity for entity in entities if entity["label"] == "question"]
    if not keys:
        yield RawRow(split, {"file": where}, where, reason="no entity is labelled question")
    filled = [key for key in keys if any(clean(value["text"]) for value in values[key["id"]])]
    names = Counter(clean_key(key["text"]).casefold() for key in filled)
    under = Counter((clean_key(key["text"]).casefold(), headers.get(key["id"])) for key in filled)
    for key in keys:
        name = clean_key(key["text"])
        header = headers.get(key["id"]) if names[name.casefold()] > 1 else None
        answers = in_reading_order([value for value in values[key["id"]] if clean(value["text"])])
        reason = ""
        if not name:
            reason = "the key has no text"
        elif not answers:
            reason = "the key is linked to no answer with text"
        elif names[name.casefold()] > 1 and (header is None or under[name.casefold(), header] > 1):
            reason = f"ambiguous: {names[name.casefold()]} keys of this form read {name!r}"
        if reason:
            yield RawRow(split, key, f"{where}: key {key['id']}", reason=reason)
            continue
        boxes = [clipped(value["box"], size) for value in answers if value["box"]]
        record = {
            "id": f"funsd/{split}/{Path(where).stem}/{key['id']}",
            "images": [image],
            "question": key_question(name, header),
            "answers": [" ".join(clean(value["text"]) for value in answers)],
            "answerable": True,
            "question_type": "extractive",
            "boxes": [box for box in boxes if box],
            "meta": {
                "field": f"{header}.{name}" if header else name,
                "key": key["text"],
                "key_box": key["box"],
                "key_id": key["id"],
                "answer_ids": [value["id"] for value in answers],
            },
        }
        yield RawRow(split, key, f"{where}: key {key['id']}", record)


def read_entities(path: Path) -> list[Entity]:
    """The entities of a form; a box without area becomes None.

    Raises:
        UserError: the file cannot be read, or an entity has another form.
    """
    value = read_json(path, MAX_FORM_BYTES)
    form = value.get("form") if isinstance(value, dict) else None
    if not isinstance(form, list):
        raise UserError(f'{path}: expected {{"form": [entities]}}')
    entities = []
    for index, entity in enumerate(form):
        if not (
            isinstance(entity, dict)
            and type(number(entity.get("id"))) is int
            and isinstance(entity.get("text"), str)
            and isinstance(entity.get("label"), str)
            and isinstance(entity.get("linking"), list)
        ):
            raise UserError(f"{path}: entity {index}: expected id, text, label, box and linking")
        entities.append({**entity, "id": number(entity["id"]), "box": corners_box(entity.get("box"))})
    return entities


def _links(
    entities: Sequence[Entity], by_id: dict[int, Entity]
) -> tuple[dict[int, list[Entity]], dict[int, str]]:
    """The values of each key, and the header of each key that has one. A dangling link is passed over."""
    values: dict[int, list[Entity]] = defaultdict(list)
    headers: dict[int, str] = {}
    for entity in entities:
        for link in entity["linking"]:
            ends = {by_id[end]["label"]: by_id[end] for end in numbers(link, 2) or () if end in by_id}
            if ends.keys() == {"question", "answer"}:
                known = values[ends["question"]["id"]]
                if ends["answer"] not in known:
                    known.append(ends["answer"])
            elif ends.keys() == {"header", "question"} and clean_key(ends["header"]["text"]):
                headers.setdefault(ends["question"]["id"], clean_key(ends["header"]["text"]))
    return values, headers


def clean(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def in_reading_order(entities: Sequence[Entity]) -> list[Entity]:
    """By lines from the top, each from the left; those without a box last.

    An entity is on a line when its vertical centre lies within the line's first entity.
    """
    boxed = sorted((e for e in entities if e["box"]), key=lambda e: (e["box"][1] + e["box"][3], e["box"][0]))
    lines: list[list[Entity]] = []
    for entity in boxed:
        _, top, _, bottom = entity["box"]
        if lines and lines[-1][0]["box"][1] <= (top + bottom) / 2 <= lines[-1][0]["box"][3]:
            lines[-1].append(entity)
        else:
            lines.append([entity])
    ordered = [entity for line in lines for entity in sorted(line, key=lambda e: e["box"][0])]
    return ordered + [entity for entity in entities if not entity["box"]]


def _annotation_folders(root: Path) -> list[SplitFile]:
    found = [
        (SPLITS[folder.parent.name.lower()], folder)
        for folder, _ in folders(root)
        if folder.name == "annotations" and folder.parent.name.lower() in SPLITS
    ]
    return in_split_order(found)


FUNSD = Converter(
    "funsd", licence="non-commercial research", find_input=find_input, rows=rows, can_hold_out=True
)
