"""What all converters share: from a publication's rows to a checked record folder.

A data set yields a `RawRow` for every row of its publication, in order, with the record it makes of it
or the reason why it makes none. `convert` does the rest once for all of them: checks, images, a file per
split, rejects, manifest, and the sum that shows that no row was lost.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.errors import UserError
from vqa.files import atomic_write, write_json
from vqa.manifests import MANIFEST_FILE, NOT_RECORDS, read_manifest, record_files, write_manifest
from vqa.raw_forms import FIELDS
from vqa.record_checks import Record, complete_record
from vqa.record_reader import PROGRESS_DELAY, ROWS_PER_BLOCK, ImageChecker

_SPLIT_NAME = re.compile(rf"(?!(?:{'|'.join(NOT_RECORDS)})$)[\w][\w.+-]{{0,99}}")


@dataclass
class _Outcome:
    """The books of one conversion."""

    rows_in: int = 0
    filtered: Counter = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    splits_seen: set[str] = field(default_factory=set)
    repairs: Counter = field(default_factory=Counter)

    def reject(self, row: RawRow, reason: str) -> None:
        self.rejects.append({"where": row.where, "reason": reason, "row": row.row})


def convert(
    converter: Converter, input_dir: Path | None, output_dir: Path, options: ConvertOptions
) -> dict[str, Any]:
    """Write `<split>.jsonl`, `rejects.jsonl` and `manifest.json` and return the manifest.

    Image files are not copied: the manifest's `image_root` names the folder that holds them. The files of an
    earlier conversion in `output_dir` are replaced, and those of its splits that are no longer wanted go.

    Raises:
        UserError: the input is not there, a split does not exist, `output_dir` holds record files that
            no manifest accounts for, or no row became a record.
    """
    if options.validation_images and not converter.can_hold_out:
        raise UserError(
            f"--validation_images: {converter.name} has a validation split, or no images to spare"
        )
    root = converter.find_input(input_dir)
    if output_dir.resolve() in (root.resolve(), root.resolve().parent if root.is_file() else None):
        raise UserError(f"--output_dir {output_dir}: is the folder that is read; give another one")
    earlier = earlier_files(output_dir)
    image_root = output_dir if converter.writes_images(root) else root if root.is_dir() else root.parent
    options = replace(options, image_dir=output_dir / "images", image_root=image_root)
    outcome = _Outcome()
    with ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        rows = tqdm(
            _wanted(converter.rows(root, options), options.splits, outcome),
            desc=f"Converting {converter.name}",
            unit=" rows",
            delay=PROGRESS_DELAY,
            disable=None,
        )
        for record in _checked(rows, converter.name, image_root, options, outcome):
            split = record["split"]
            if split not in files:
                files[split] = stack.enter_context(atomic_write(output_dir / f"{split}.jsonl"))
            line = json.dumps({name: record[name] for name in FIELDS}, ensure_ascii=False, allow_nan=False)
            files[split].write(line + "\n")
        unknown = [split for split in options.splits if split not in outcome.splits_seen]
        if unknown:
            known = ", ".join(sorted(outcome.splits_seen))
            raise UserError(f"--split {unknown[0]}: {converter.name} has no such split; it has {known}")
        if not files:
            raise UserError(f"{root}: no row became a record{_why_none(outcome)}")
        written = [f"{split}.jsonl" for split in files]
        portable = portable_root(image_root, output_dir)
        # Should the run be killed before the manifest is written, the files are known as a conversion's.
        ours = dict.fromkeys([*written, *(path.name for path in earlier)], {})
        write_json(output_dir / MANIFEST_FILE, {"image_root": portable, "files": ours})
    for path in earlier:
        if path.name not in written:
            path.unlink()
    return write_manifest(
        output_dir,
        rows_in=outcome.rows_in,
        filtered=dict(outcome.filtered),
        rejects=outcome.rejects,
        files=written,
        image_root=portable,
        licence=converter.licence,
        details={"repairs": dict(sorted(outcome.repairs.items()))} if outcome.repairs else None,
    )


def _why_none(outcome: _Outcome) -> str:
    reasons = Counter(reject["reason"] for reject in outcome.rejects).most_common(1)
    if reasons:
        reason = reasons[0][0]
        shown = reason if len(reason) <= 300 else f"{reason[:200]} ... {reason[-95:]}"
        return f"; the most frequent reason: {shown}"
    options = " and ".join(f"--{name}" for name in outcome.filtered)
    return f": {options} left all {outcome.rows_in:,} out" if options else ", it holds none"


def _wanted(rows: Iterable[RawRow], splits: tuple[str, ...], outcome: _Outcome) -> Iterator[RawRow]:
    for row in rows:
        outcome.rows_in += 1
        outcome.splits_seen.add(row.split)
        if splits and row.split not in splits:
            outcome.filtered["split"] += 1
        elif row.filtered:
            outcome.filtered[row.filtered] += 1
        elif row.record is None:
            outcome.reject(row, row.reason)
        else:
            outcome.repairs.update(row.repairs)
            yield row


def _checked(
    rows: Iterable[RawRow], source: str, root: Path, options: ConvertOptions, outcome: _Outcome
) -> Iterator[Record]:
    """Complete the rows' records, block by block so that images are looked at in threads."""
    checker = ImageChecker(root, options.max_pixels, options.num_proc)
    seen: set[tuple[str, str]] = set()
    try:
        for block in _blocks(rows, ROWS_PER_BLOCK):
            completed = []
            for row in block:
                record, problems = complete_record(
                    row.record, default_id=f"{source}/{row.where}", source=source, split=row.split
                )
                if not problems and not _SPLIT_NAME.fullmatch(record["split"]):
                    problems = [f"split: {record['split']!r} is no name for a file of records"]
                if not problems and (row.split, record["id"]) in seen:
                    problems = [f"id: {record['id']!r} is used twice"]
                if problems:
                    outcome.reject(row, "; ".join(problems))
                else:
                    seen.add((row.split, record["id"]))
                    completed.append((row, record))
            checker.look_at([name for _, record in completed for name in record["images"]])
            for row, record in completed:
                names = record["images"]
                problems = checker.finish(record)
                if problems:
                    outcome.reject(row, "; ".join(problems))
                else:
                    yield {**record, "images": names}
    finally:
        checker.close()


def _blocks(rows: Iterable[RawRow], size: int) -> Iterator[list[RawRow]]:
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def earlier_files(output_dir: Path, command: str | None = None) -> list[Path]:
    """The record files that an earlier run left in an output folder, which this one may replace.

    Args:
        output_dir: a folder, or nothing yet.
        command: the entry that the manifest of such a run has; None: any that names the files will do.

    Raises:
        UserError: the folder is a file, or holds records that may be the user's own or another command's.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output_dir {output_dir}: is a file")
    found, manifest = record_files(output_dir), read_manifest(output_dir)
    foreign = [path.name for path in found if path.name not in (manifest.get("files") or {})]
    if foreign:
        raise UserError(
            f"--output_dir {output_dir}: holds {', '.join(foreign)}, which its manifest does not name; "
            "give another folder"
        )
    if found and command is not None and command not in manifest:
        raise UserError(
            f"--output_dir {output_dir}: its records were not written by '{command}'; give another folder"
        )
    return found


def portable_root(root: Path, output_dir: Path) -> str:
    """The image root as the manifest names it.

    Relative to the record folder where both lie under the working directory, a project that may be
    moved as a whole; else absolute.
    """
    root, folder, project = root.resolve(), output_dir.resolve(), Path.cwd().resolve()
    if root == folder:
        return "."
    if root.is_relative_to(project) and folder.is_relative_to(project):
        return Path(os.path.relpath(root, folder)).as_posix()
    return str(root)
