"""The manifest of a record folder: where it came from, what is in it, and that no row was lost."""

import json
import platform
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.files import sha256_file, write_json, write_jsonl
from vqa.runs import git_commit

MANIFEST_FILE = "manifest.json"
REJECTS_FILE = "rejects.jsonl"
NOT_RECORDS = ("rejects", "suspicious")
# What is particular about a reason: quoted names, paths, numbers.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S+|\d+(?:[,.]\d+)*")
MOST_REASONS, LONGEST_REASON = 20, 120
PACKAGES = ("faithful-vqa", "pillow", "numpy", "datasets")


def manifest_image_root(folder: Path) -> Path:
    """The image root that a record folder's manifest names, or the folder itself without one.

    Raises:
        UserError: the manifest is not a JSON object, or its `image_root` is not a string.
    """
    root = read_manifest(folder).get("image_root", ".")
    if not isinstance(root, str):
        raise UserError(f"{folder / MANIFEST_FILE}: image_root: expected a string")
    return folder / root


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a record folder; empty where there is none. Raises UserError when it is damaged."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: a manifest is a JSON object")
    return manifest


def record_files(folder: Path) -> list[Path]:
    """The record files of a folder, by name."""
    return sorted(path for path in folder.glob("*.jsonl") if path.stem not in NOT_RECORDS)


def write_manifest(
    folder: str | Path,
    *,
    rows_in: int,
    filtered: dict[str, int] | None = None,
    rejects: Iterable[dict[str, Any]] = (),
    files: Iterable[str] | None = None,
    image_root: str = ".",
    licence: str | None = None,
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `rejects.jsonl` and `manifest.json` for the record files in `folder`, and return the manifest.

    The counts are taken from the files as they are on disk, so the sum is a check of what was written.

    Args:
        folder: holds the record files.
        rows_in: raw rows that were read for `files`.
        filtered: rows left out on request, by reason.
        rejects: raw rows that did not become a record: `{"row": ..., "reason": ..., "where": ...}`.
        files: the record files this command wrote; default: all in the folder. Those that an earlier
            command wrote keep their entry, and their records count as rows that came in.
        image_root: what image paths are relative to, relative to `folder` or absolute.
        licence: of the source, where known.
        details: further entries, such as options or the generator's counts.

    Raises:
        RuntimeError: rows in are not records + filtered + rejects: a fault of the converter.
    """
    folder = Path(folder)
    filtered = dict(filtered or {})
    written = sorted(files if files is not None else (path.name for path in record_files(folder)))
    rejects = list(rejects)
    rejected = write_jsonl(folder / REJECTS_FILE, rejects)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    entries = {name: {"sha256": sha256_file(folder / name), "command": command, **_count(folder / name)}
               for name in written}  # fmt: skip
    records, left_out = sum(entry["records"] for entry in entries.values()), sum(filtered.values())
    if rows_in != records + left_out + rejected:
        raise RuntimeError(
            f"{folder}: {rows_in} rows in, but {records} records + {left_out} filtered + {rejected} rejects"
        )
    kept = {
        name: entry
        for name, entry in read_manifest(folder).get("files", {}).items()
        if name not in written and (folder / name).is_file()
    }
    earlier = sum(entry["records"] for entry in kept.values())
    entries = dict(sorted({**kept, **entries}.items()))
    manifest = {
        "command": command,
        "versions": versions(),
        "git": git_commit(),
        "image_root": image_root,
        "licence": licence,
        "rows": {
            "in": rows_in + earlier,
            "records": records + earlier,
            "filtered": left_out,
            "rejects": rejected,
        },
        "filtered": filtered,
        "reject_reasons": reject_reasons(reject["reason"] for reject in rejects),
        "counts": {key: _sum(entry[key] for entry in entries.values()) for key in _COUNTED},
        "files": entries,
        **(details or {}),
    }
    write_json(folder / MANIFEST_FILE, manifest)
    return manifest


def reject_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """How often each kind of reason was given, most often first: `images[…]: … does not exist`."""
    kinds = Counter(_PARTICULAR.sub("…", reason)[:LONGEST_REASON] for reason in reasons)
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS])


_COUNTED = {"by_split": "split", "by_question_type": "question_type", "by_source": "source"}


def _count(path: Path) -> dict[str, Any]:
    counters: dict[str, Counter] = {key: Counter() for key in _COUNTED}
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            for key, field in _COUNTED.items():
                counters[key][record[field]] += 1
    by_name = {key: dict(sorted(counter.items())) for key, counter in counters.items()}
    return {"records": counters["by_split"].total(), **by_name}


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a record folder, where installed."""
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    found = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": platform.python_version(), **found}
