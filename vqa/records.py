"""The record, one question with its images and accepted answers: read, checked, written.

The contract is in `docs/contract.md`. `read_records` gives plain dicts; `load_dataset` gives the same
as a memory-mapped `datasets.Dataset` for training on more than fits in memory. Both report every fault
of a file at once, as `FILE:LINE: field: reason`, and never return part of a faulty file.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Features, List, Value
from filelock import FileLock

from vqa.errors import InputErrors, UserError
from vqa.files import sha256_file, write_json, write_jsonl
from vqa.images import DEFAULT_MAX_PIXELS, ImageProblem, resolve_inside
from vqa.questions import QUESTION_TYPES
from vqa.raw_forms import FIELDS
from vqa.record_checks import Record, complete_record
from vqa.record_reader import RecordReader, find_image_root, raise_problems, record_file

FEATURES = Features(
    {
        "id": Value("string"),
        "images": List(Value("string")),
        "image_sizes": List(List(Value("int64"))),
        "question": Value("string"),
        "answers": List(Value("string")),
        "answerable": Value("bool"),
        "question_type": Value("string"),
        "answer_candidates": List(Value("string")),
        "boxes": List(List(Value("float64"))),
        "box_images": List(Value("int64")),
        "caption": Value("string"),
        "reasoning": List(Value("string")),
        "source": Value("string"),
        "split": Value("string"),
        "image_sha256": List(Value("string")),
        "meta": Value("string"),
    }
)


def read_records(
    path: str | Path,
    image_root: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    check_images: bool = True,
    limit: int | None = None,
) -> list[Record]:
    """Read a record file, or a file in one of the raw forms, into complete records.

    Args:
        path: JSONL or a JSON array.
        image_root: the folder image paths are relative to; default: the manifest's, else the file's folder.
        max_pixels: images of more pixels are refused, without being decoded.
        check_images: False leaves the images unopened, and `image_sizes` empty.
        limit: read the first `limit` rows only.

    Returns:
        dicts with all fields of the contract; `images` are absolute paths, and `image_sizes` holds
        [width, height] of each, EXIF orientation applied.

    Raises:
        InputErrors: every fault of the file, each naming file, line and field.
        UserError: no such file or image root.
    """
    reader = RecordReader(path, image_root, max_pixels, check_images, limit)
    records = [record for block in reader.blocks() for record in block]
    reader.raise_problems()
    return records


def load_dataset(
    paths: str | Path | Sequence[str | Path],
    image_root: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    check_images: bool = True,
) -> datasets.Dataset:
    """Record files as one memory-mapped dataset, in the order given, with the columns of `FEATURES`.

    `meta` is a JSON string. The Arrow file lies in the cache of `datasets`, keyed by the files' content
    and by this code, so that a second run, or another process of the same run, reads and checks
    nothing twice; it is made anew when an image has changed size or time since.

    Raises:
        InputErrors, UserError: as `read_records`, for all files together.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if not files:
        raise UserError("no record file is given")
    files = [record_file(file) for file in files]
    roots = [find_image_root(file, image_root) for file in files]
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "vqa_records"
    folder.mkdir(parents=True, exist_ok=True)
    arrow = folder / f"{_cache_key(files, roots, max_pixels, check_images)}.arrow"
    images = arrow.with_suffix(".images.json")
    with FileLock(arrow.with_suffix(".lock")):
        if not (arrow.is_file() and images.is_file() and _unchanged(images)):
            readers = [RecordReader(file, image_root, max_pixels, check_images) for file in files]
            _write_arrow(readers, arrow)
            write_json(images, _image_states(readers))
        return datasets.Dataset.from_file(str(arrow))


def _cache_key(files: list[Path], roots: list[Path], max_pixels: int, check_images: bool) -> str:
    """Everything the Arrow file depends on: content, default names, roots, limits, types and this code."""
    parts: list = [max_pixels, check_images, list(QUESTION_TYPES), datasets.__version__]
    for file, root in zip(files, roots, strict=True):
        parts.append([sha256_file(file), str(file.resolve()), str(root.resolve())])
    modules = "records record_reader record_checks raw_forms images questions answers".split()
    parts += [sha256_file(Path(__file__).with_name(f"{module}.py")) for module in modules]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _write_arrow(readers: list[RecordReader], target: Path) -> None:
    """Stream all records into one Arrow file that takes its name only when no fault was found."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as sink, pa.ipc.new_stream(sink, FEATURES.arrow_schema) as writer:
            for reader in readers:
                for block in reader.blocks():
                    rows = [_arrow_row(record) for record in block]
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=FEATURES.arrow_schema))
        raise_problems(readers)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _arrow_row(record: Record) -> Record:
    boxes = [[float(value) for value in box] for box in record["boxes"]]
    return {**record, "boxes": boxes, "meta": json.dumps(record["meta"], ensure_ascii=False)}


def _image_states(readers: list[RecordReader]) -> list[list]:
    paths = sorted({known[0] for reader in readers for known in reader.checker.known.values()})
    return [[path, *_state(path)] for path in paths]


def _state(path: str) -> tuple[int | None, int | None]:
    try:
        status = os.stat(path)
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def _unchanged(images: Path) -> bool:
    states = json.loads(images.read_text(encoding="utf-8"))
    return all(_state(path) == (size, modified) for path, size, modified in states)


def write_records(records: Iterable[Record], path: str | Path, image_root: str | Path | None = None) -> int:
    """Check, complete and write records as JSONL in the contract's form, atomically; return how many.

    The same records give the same bytes: NFC, fields in the contract's order, letters unescaped.

    Args:
        records: as `read_records` returns them, or with `images` relative to `image_root`.
        path: the file, `<split>.jsonl`.
        image_root: what the written image paths are relative to; default: the file's folder.

    Raises:
        InputErrors: every record that does not fit the contract; nothing is written then.
    """
    path = Path(path)
    root = Path(image_root) if image_root is not None else path.parent
    problems: list[str] = []
    hashes: dict[str, str] = {}

    def rows() -> Iterator[Record]:
        seen = set()
        for number, record in enumerate(records, 1):
            row = {**record, "images": [relative_image(image, root) for image in record.get("images") or []]}
            row.pop("image_sizes", None)
            complete, found = complete_record(
                row, default_id=f"{path.stem}/{number - 1:06d}", source=path.parent.name, split=path.stem
            )
            if not found and complete["id"] in seen:
                found = [f"id: {complete['id']!r} is used twice"]
            if not found and not complete["image_sha256"]:
                found = _add_hashes(complete, root, hashes)
            problems.extend(f"{path}:{number}: {text}" for text in found)
            if not found:
                seen.add(complete["id"])
                yield {field: complete[field] for field in FIELDS}
        if problems:
            raise InputErrors(problems)

    return write_jsonl(path, rows())


def _add_hashes(record: Record, root: Path, hashes: dict[str, str]) -> list[str]:
    for index, name in enumerate(record["images"]):
        if name not in hashes:
            try:
                hashes[name] = sha256_file(resolve_inside(root, name))
            except (ImageProblem, OSError) as error:
                return [f"images[{index}]: {name!r} cannot be hashed: {error}"]
    record["image_sha256"] = [hashes[name] for name in record["images"]]
    return []


def relative_image(image: str, root: Path) -> str:
    """An absolute path under `root` made relative to it; any other as it is, to be judged by the checks."""
    if not os.path.isabs(image):
        return image
    relative = os.path.relpath(os.path.realpath(image), os.path.realpath(root))
    return image if relative.startswith("..") else Path(relative).as_posix()
