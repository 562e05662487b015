"""A record file read row by row: parsed, completed, its images checked, every fault remembered.

The reader holds one block of rows at a time, so a file may be larger than memory; what stays for the
whole file are the ids and a few numbers per distinct image.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from vqa.cli import is_main_process
from vqa.errors import InputErrors, UserError
from vqa.images import ImageFacts, ImageProblem, image_facts, resolve_inside
from vqa.manifests import manifest_image_root, record_files
from vqa.raw_forms import RowProblem, iterate_rows
from vqa.record_checks import Record, check_against_images, complete_record

ROWS_PER_BLOCK = 512
# Bars appear only where the work is long, in seconds.
PROGRESS_DELAY = 2.0


class ImageChecker:
    """Checks each distinct image of a root once, in threads, and remembers the result.

    Args:
        root: the folder that image names are relative to and may not leave.
        max_pixels: images of more are refused without being decoded.
        threads: images checked at a time; decoding and hashing leave the interpreter's lock.
    """

    def __init__(self, root: Path, max_pixels: int, threads: int | None = None) -> None:
        self.root = root
        self.max_pixels = max_pixels
        self.known: dict[str, tuple[str, ImageFacts] | str] = {}  # (absolute path, facts) or the problem
        self._threads = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def look_at(self, names: Sequence[str]) -> None:
        """Check those of `names` that are not known yet."""
        new = [name for name in dict.fromkeys(names) if name not in self.known]
        self.known.update(zip(new, self._threads.map(self._check, new), strict=True))

    def _check(self, name: str) -> tuple[str, ImageFacts] | str:
        try:
            path = resolve_inside(self.root, name)
            return str(path), image_facts(path, self.max_pixels)
        except ImageProblem as problem:
            return f"{name!r} {problem}"

    def finish(self, record: Record) -> list[str]:
        """Complete a record in place from its images, which become absolute paths; return its problems."""
        results = [self.known[name] for name in record["images"]]
        problems = [f"images[{i}]: {result}" for i, result in enumerate(results) if isinstance(result, str)]
        if problems:
            return problems
        record["images"] = [path for path, _ in results]
        return check_against_images(record, [facts for _, facts in results])


class RecordReader:
    """Reads one record file; `problems` is complete when `blocks` has been read to its end.

    Args:
        path: JSONL or a JSON array, in any accepted form.
        image_root: overrides that of the manifest beside the file (default: the file's folder).
        max_pixels: the limit for images.
        check_images: False leaves the images unopened: `image_sizes` is then empty. Records whose boxes
            are written in text coordinates are checked all the same, since they need the size.
        limit: read the first `limit` rows only.

    Raises:
        UserError: no such file, a folder, or an image root that does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        image_root: str | Path | None,
        max_pixels: int,
        check_images: bool = True,
        limit: int | None = None,
    ) -> None:
        self.path = record_file(path)
        self.check_images = check_images
        self.limit = limit
        self.problems: list[tuple[int, str]] = []
        self.checker = ImageChecker(find_image_root(self.path, image_root), max_pixels)
        self._lines_of_ids: dict[str, int] = {}

    def blocks(self) -> Iterator[list[Record]]:
        """Yield lists of complete, checked records in file order; faulty rows go to `problems`."""
        block: list[tuple[int, Record]] = []
        rows = tqdm(
            iterate_rows(self.path),
            desc=f"Reading {self.path.name}",
            unit=" rows",
            delay=PROGRESS_DELAY,
            disable=None if is_main_process() else True,
        )
        try:
            for index, (line, row) in enumerate(rows):
                if index == self.limit:
                    break
                record = self._complete(index, line, row)
                if record is not None:
                    block.append((line, record))
                if len(block) == ROWS_PER_BLOCK:
                    yield self._with_images(block)
                    block = []
            if block:
                yield self._with_images(block)
        finally:
            self.checker.close()
            rows.close()

    def raise_problems(self) -> None:
        """Raise InputErrors naming file, line and field of every fault found so far, in line order."""
        raise_problems([self])

    def lines(self) -> list[str]:
        """The faults as lines `FILE:LINE: field: reason`, in the order of the file."""
        in_order = sorted(self.problems, key=lambda item: item[0])
        return [f"{self.path}:{line}: {text}" for line, text in in_order]

    def _complete(self, index: int, line: int, row: dict | RowProblem) -> Record | None:
        if isinstance(row, RowProblem):
            self.problems.append((line, str(row)))
            return None
        source, split = self.path.resolve().parent.name or "records", self.path.stem
        record, problems = complete_record(
            row, default_id=f"{source}/{split}/{index:06d}", source=source, split=split
        )
        name = record.get("id")
        if name:
            first = self._lines_of_ids.setdefault(name, line)
            if first != line:
                problems.append(f"id: {name!r} is already used on line {first}")
        self.problems += [(line, text) for text in problems]
        if problems and record.get("images"):
            # The row is lost, but what is wrong with its images should be in the same report.
            self.checker.look_at(record["images"] if self.check_images else [])
            known = self.checker.known
            found = [(i, known.get(name)) for i, name in enumerate(record["images"])]
            self.problems += [(line, f"images[{i}]: {text}") for i, text in found if isinstance(text, str)]
        return None if problems else record

    def _with_images(self, block: list[tuple[int, Record]]) -> list[Record]:
        opened = [record for _, record in block if self.check_images or "text_boxes" in record]
        self.checker.look_at([name for record in opened for name in record["images"]])
        finished = []
        for line, record in block:
            if self.check_images or "text_boxes" in record:
                problems = self.checker.finish(record)
            else:
                problems = self._only_paths(record)
            self.problems += [(line, text) for text in problems]
            if not problems:
                finished.append(record)
        return finished

    def _only_paths(self, record: Record) -> list[str]:
        problems, paths = [], []
        for index, name in enumerate(record["images"]):
            try:
                paths.append(str(resolve_inside(self.checker.root, name)))
            except ImageProblem as problem:
                problems.append(f"images[{index}]: {name!r} {problem}")
        record["images"], record["image_sizes"] = paths, []
        return problems


def raise_problems(readers: Sequence[RecordReader]) -> None:
    """Raise one InputErrors for the faults of several files together; return when there is none."""
    lines = [line for reader in readers for line in reader.lines()]
    if lines:
        raise InputErrors(lines)


def record_file(path: str | Path) -> Path:
    """`path` when it is a readable file. Raises UserError; for a folder it names the files to choose from."""
    path = Path(path)
    if path.is_dir():
        files = [file.name for file in record_files(path)]
        advice = f"name one of its record files: {', '.join(files)}" if files else "it holds no record file"
        raise UserError(f"{path}: is a folder; {advice}")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: permission denied")
    return path


def find_image_root(path: Path, image_root: str | Path | None) -> Path:
    """The folder that a record file's images are relative to: as given, the manifest's, or the file's own."""
    root = Path(image_root) if image_root is not None else manifest_image_root(path.parent)
    if not root.is_dir():
        given = "image_root" if image_root is not None else f"image_root of {path.parent / 'manifest.json'}"
        raise UserError(f"{given}: {root}: no such folder")
    return root
