"""Records read for `validate`: the sound ones, every fault of the others, the text as the files have it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.manifests import read_manifest, record_files
from vqa.preparation.folders import Folder
from vqa.preparation.hashing import ImageHasher, open_records
from vqa.preparation.suspicions import Suspicion
from vqa.preparation.suspicions_text import check_unicode
from vqa.raw_forms import RowProblem, iterate_rows
from vqa.record_checks import Record, normalised
from vqa.record_reader import RecordReader, find_image_root


@dataclass(frozen=True)
class Readings:
    """What there is to be checked.

    Attributes:
        folder: the records that can be read.
        errors: what is wrong with the others.
        unicode: findings in the raw text, which reading has mended.
        rows: how many rows the files have.
        rejects: the erroneous rows, whole, with their reasons.
    """

    folder: Folder
    errors: list[Suspicion]
    unicode: list[Suspicion]
    rows: int
    rejects: list[dict[str, Any]]


def read_with_errors(
    records: str | Path, image_root: str | None, max_image_pixels: int, num_proc: int, hasher: ImageHasher
) -> Readings:
    """Read a record folder or file, keeping the sound records and every fault.

    Args:
        records, image_root, max_image_pixels: as for `read_folder`.
        num_proc: images looked at at a time.
        hasher: takes the hashes of the images.

    Raises:
        UserError: nothing there, or no record file in the folder.
    """
    path = Path(records)
    found = record_files(path) if path.is_dir() else [path]
    if not found:
        raise UserError(f"{path}: holds no record file (<split>.jsonl)")
    files: dict[str, list[Record]] = {}
    errors: list[Suspicion] = []
    unicode: list[Suspicion] = []
    rejects: list[dict[str, Any]] = []
    rows = 0
    for file in found:
        reader = open_records(file, image_root, max_image_pixels, num_proc=num_proc, hasher=hasher)
        sound = set()
        for block in reader.blocks():
            for record in block:
                files.setdefault(record["split"], []).append(record)
                sound.add(record["id"])
        rows += _look_at_raw_rows(reader, sound, errors, unicode, rejects)
    folder = path if path.is_dir() else path.parent
    hashes = {file.name: sha256_file(file) for file in found}
    root = find_image_root(found[0], image_root)
    return Readings(
        Folder(folder, files, root, read_manifest(folder), hashes), errors, unicode, rows, rejects
    )


def _look_at_raw_rows(
    reader: RecordReader,
    sound: set[str],
    errors: list[Suspicion],
    unicode: list[Suspicion],
    rejects: list[dict[str, Any]],
) -> int:
    """Go through a file's rows again: the faults of those without a record, the raw text of the others."""
    file, rows = reader.path, 0
    faults: dict[int, list[str]] = {}
    for line, problem in reader.problems:
        faults.setdefault(line, []).append(problem)
    told: set[int] = set()
    source = file.resolve().parent.name or "records"
    for index, (line, row) in enumerate(iterate_rows(file)):
        rows += 1
        fields = {} if isinstance(row, RowProblem) else row
        # The names that `RecordReader` gives to rows without their own.
        name = _text(fields.get("id"), f"{source}/{file.stem}/{index:06d}")
        split = _text(fields.get("split"), file.stem)
        if name in sound and not isinstance(row, RowProblem):
            sound.remove(name)  # a second row of that id is a fault
            unicode += check_unicode(name, split, fields)
            continue
        where, reasons = f"{file.name}:{line}", faults.get(line, [])
        rejects.append({"where": where, "reason": "; ".join(reasons), "row": _writable(row)})
        if line not in told:  # an array may have all its rows on one line
            errors += [Suspicion(name, split, "error", reason, {"where": where}) for reason in reasons]
            told.add(line)
    return rows


def _text(value: Any, default: str) -> str:
    """`value` as reading takes it, where it is a usable string."""
    try:
        return normalised(value, 0) if isinstance(value, str) and value.strip() else default
    except RowProblem:
        return default


def _writable(row: dict[str, Any] | RowProblem) -> Any:
    """A raw row as UTF-8 JSON can hold it; nothing for a line that was no JSON object."""
    if isinstance(row, RowProblem):
        return None
    try:
        return normalised(row, 0, nfc=False)
    except RowProblem:
        return ascii(row)
