"""What the tests of the converters share: small publications are written, converted and compared whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image

from vqa.datasets.conversion import Converter, ConvertOptions, convert

EMPTY = {
    "answerable": True,
    "answer_candidates": None,
    "boxes": [],
    "box_images": [],
    "caption": None,
    "reasoning": [],
}


def write(path: Path, value: Any) -> Path:
    """Write a text as it is, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def picture(path: Path, size: tuple[int, int] = (200, 100)) -> Path:
    """Write an image of (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 30).save(path)
    return path


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def converted(
    converter: Converter, root: Path | None, out: Path, **options: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, str], dict[str, Any]]:
    """(records by id, reasons of rejects by place, manifest); no row may be lost on the way."""
    manifest = convert(converter, root, out, ConvertOptions(**options))
    records = [record for name in manifest["files"] for record in json_lines(out / name)]
    rejects = json_lines(out / "rejects.jsonl")
    rows = {"records": len(records), "filtered": sum(manifest["filtered"].values()), "rejects": len(rejects)}
    assert manifest["rows"] == {"in": sum(rows.values()), **rows}
    by_id = {record["id"]: record for record in records}
    by_place = {reject["where"]: reject["reason"] for reject in rejects}
    assert (len(by_id), len(by_place)) == (len(records), len(rejects))
    return by_id, by_place, manifest


def whole(image: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """A record as it must be: its `fields`, the hash of its image's file, and nothing in the rest."""
    return EMPTY | {"image_sha256": [hashlib.sha256(image.read_bytes()).hexdigest()]} | fields
