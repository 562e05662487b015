"""Files that are either whole or absent, and their hashes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vqa.errors import UserError

TEXT_CHUNK_BYTES = 16 * 2**20


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path` that takes its name only when the block ends without an error.

    Raises:
        UserError: no file can be made there.
    """
    path = Path(path)
    encoding = None if "b" in mode else "utf-8"
    if path.is_dir():
        raise UserError(f"{path}: cannot be written: is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def text_fault(path: str | Path) -> str | None:
    """Why a large text file is not to be read whole, found a chunk at a time; None where nothing is wrong.

    It holds a NUL, or a chunk without any line feed or quote, which is neither a table's nor JSON's.
    """
    if os.path.getsize(path) <= TEXT_CHUNK_BYTES:
        return None
    with open(path, "rb") as file:
        while chunk := file.read(TEXT_CHUNK_BYTES):
            if b"\0" in chunk:
                return "holds a NUL byte"
            if len(chunk) == TEXT_CHUNK_BYTES and b"\n" not in chunk and b'"' not in chunk:
                return f"holds a line or a text of more than {TEXT_CHUNK_BYTES // 2**20} MiB"
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. NaN and infinity are refused."""
    with atomic_write(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.write("\n")


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically, and return how many."""
    count = 0
    with atomic_write(path) as file:
        for row in rows:
            file.write(json_line(row))
            count += 1
    return count


def json_line(row: dict[str, Any]) -> str:
    """`row` as one line; half a surrogate pair, which UTF-8 cannot hold, stays the escape that it came as."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    return line.encode("utf-8", errors="backslashreplace").decode()


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
