"""Record folders in and out: what every command that makes records out of records begins and ends with.

A command never changes what it reads. It writes a folder of its own, whose manifest says what became of
every record that was read and which files, by their sha256, it was made from.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.datasets.conversion import earlier_files, portable_root
from vqa.errors import UserError
from vqa.files import sha256_file, write_json
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.manifests import MANIFEST_FILE, NOT_RECORDS, read_manifest, record_files, write_manifest
from vqa.preparation.hashing import ImageHasher, open_records
from vqa.record_checks import Record
from vqa.record_reader import find_image_root, raise_problems
from vqa.records import write_records

USUAL_SPLITS = ("train", "validation", "test")
_SPLIT_NAME = re.compile(r"[\w][\w.+-]{0,99}")


@dataclass(frozen=True)
class Folder:
    """Records as they were read.

    Attributes:
        path: the folder, also when one file of it was named.
        files: split -> its records, with absolute image paths, in their order; training split first.
        image_root: the folder that holds the images.
        manifest: of the folder; empty where there is none.
        sha256: name of each file that was read -> hash of its bytes.
    """

    path: Path
    files: dict[str, list[Record]]
    image_root: Path
    manifest: dict[str, Any]
    sha256: dict[str, str]

    @property
    def records(self) -> list[Record]:
        """All records, split after split."""
        return [record for records in self.files.values() for record in records]


def read_folder(
    records: str | Path,
    image_root: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    check_images: bool = True,
    num_proc: int | None = None,
    hasher: ImageHasher | None = None,
) -> Folder:
    """Read a record folder, or one file in any accepted form.

    A record belongs to the split it names; without one, to that of its file's name.

    Args:
        records: the folder or the file.
        image_root: overrides the manifest's.
        max_pixels: images of more are refused, without being decoded.
        check_images: False leaves the images unopened, and `image_sizes` empty.
        num_proc: images looked at at a time; default: one a core, eight at most.
        hasher: takes the hashes of the images, which are then decoded once for both.

    Raises:
        InputErrors: every fault of every file.
        UserError: nothing there, or no record file in the folder.
    """
    path = Path(records)
    found = record_files(path) if path.is_dir() else [path]
    if not found:
        raise UserError(f"{path}: holds no record file (<split>.jsonl)")
    readers = [open_records(file, image_root, max_pixels, check_images, num_proc, hasher) for file in found]
    files: dict[str, list[Record]] = {}
    for reader in readers:
        for block in reader.blocks():
            for record in block:
                files.setdefault(record["split"], []).append(record)
    raise_problems(readers)
    ordered = [name for name in USUAL_SPLITS if name in files]
    files = {name: files[name] for name in [*ordered, *(name for name in files if name not in ordered)]}
    folder = path if path.is_dir() else path.parent
    hashes = {file.name: sha256_file(file) for file in found}
    return Folder(folder, files, find_image_root(found[0], image_root), read_manifest(folder), hashes)


def default_output(records: str | Path, name: str) -> Path:
    """Beside the folder of the records: data/slake_NAME for data/slake and the files in it."""
    path = Path(records)
    folder = (path if path.is_dir() else path.parent).resolve()
    return folder.with_name(f"{folder.name}_{name}")


def check_output_dir(
    output_dir: str | Path, command: str, source: Folder | str | Path | None = None
) -> list[Path]:
    """The record files that an earlier run of `command` left in `output_dir`, which may be replaced.

    Call it before long work, so that a mistake shows at once.

    Args:
        output_dir: the folder that is to be written.
        command: name of the subcommand, which has an entry in the manifest of its own runs.
        source: what is read: a folder or a file of one.

    Raises:
        UserError: it is a file or the folder that is read, or holds records that another command wrote.
    """
    folder = Path(output_dir)
    if isinstance(source, Folder):
        source = source.path
    elif source is not None and not Path(source).is_dir():
        source = Path(source).parent
    if source is not None and folder.resolve() == Path(source).resolve():
        raise UserError(f"--output_dir {folder}: is the folder that is read; give another one")
    return earlier_files(folder, command)


def check_synth_dir(output_dir: str | Path, kind: str) -> None:
    """Refuse an output folder of `synth KIND` that holds anything but splits of that kind.

    Raises:
        UserError: it is a file, or holds records of another command, of another kind, or of the user.
    """
    folder = Path(output_dir)
    manifest = read_manifest(folder)
    if manifest.get("synthesis", {}).get("name") != kind and (manifest or record_files(folder)):
        raise UserError(f"--output_dir {folder}: holds another data set; give another folder")
    earlier_files(folder)


def write_folder(
    output_dir: str | Path,
    files: Mapping[str, Sequence[Record]],
    image_root: Path,
    *,
    command: str,
    rows_in: int,
    filtered: Mapping[str, int] | None = None,
    rejects: Iterable[dict[str, Any]] = (),
    details: Mapping[str, Any] | None = None,
    licence: str | None = None,
    source: Folder | None = None,
) -> dict[str, Any]:
    """Write `<split>.jsonl`, `rejects.jsonl` and `manifest.json` and return the manifest.

    The files appear together, when all of them are written and checked; those of an earlier run of the
    same command are replaced, and those of its splits that are no longer wanted go. A split without
    records gets no file. Images are not copied.

    Args:
        output_dir: the folder to write.
        files: split -> records, as read; each record's `split` becomes the key.
        image_root: the folder that holds the images.
        command: name of the subcommand; its entry in the manifest holds `details`.
        rows_in: records that were read.
        filtered: reason -> records that were left out on request.
        rejects: `{"where", "reason", "row"}` of each record that could not be kept.
        details: the command's options and results, for the manifest.
        licence: of the publication; default: what the manifest of `source` says.
        source: what was read; it may not be `output_dir`.

    Raises:
        UserError: as `check_output_dir`, a split's name is no file name, or no record is left.
        InputErrors: a record does not fit the contract, or an id is used twice in a split.
    """
    output_dir = Path(output_dir)
    earlier = check_output_dir(output_dir, command, source)
    files = {split: records for split, records in files.items() if records}
    if not files:
        raise UserError(f"{output_dir}: not written, no record is left")
    for split in files:
        if not _SPLIT_NAME.fullmatch(split) or split in NOT_RECORDS:
            raise UserError(f"split: {split!r} cannot name a record file")
    written = [f"{split}.jsonl" for split in files]
    root = portable_root(image_root, output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".unfinished-") as staging:
        for split, records in files.items():
            rows = ({**record, "split": split} for record in records)
            write_records(rows, Path(staging) / f"{split}.jsonl", image_root)
        # Should the run be killed before the last line, the files are known as this command's.
        ours: dict[str, Any] = dict.fromkeys([*written, *(path.name for path in earlier)], {})
        write_json(output_dir / MANIFEST_FILE, {"image_root": root, "files": ours, command: {}})
        for name in written:
            os.replace(Path(staging) / name, output_dir / name)
    for path in earlier:
        if path.name not in written:
            path.unlink()
    origin = {}
    if source is not None:
        licence = licence or source.manifest.get("licence")
        origin = {"made_from": {"command": source.manifest.get("command"), "sha256": source.sha256}}
    return write_manifest(
        output_dir,
        rows_in=rows_in,
        filtered=dict(filtered or {}),
        rejects=rejects,
        files=written,
        image_root=root,
        licence=licence,
        details={command: dict(details or {}), **origin},
    )
