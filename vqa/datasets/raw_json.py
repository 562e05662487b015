"""Files of a publication read whole, within limits: JSON and lines of text.

Every file that a converter opens comes through here or `raw_tables`. Each fault is a `UserError` that names
the file, so that a converter can stop, or reject what that one file describes and go on.
"""

import json
import math
import stat
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.files import text_fault

MAX_JSON_BYTES = 2**30
MAX_TEXT_BYTES = 64 * 2**20
MAX_JSON_DEPTH = 200


def read_json(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file: UTF-8, with or without a byte order mark.

    `NaN` and numbers beyond a float, which Python and pandas write though JSON has no such thing, become
    None. Of a key given twice the last value counts, as in Python.

    Raises:
        UserError: missing, larger than `max_bytes`, not UTF-8, a NUL in it, not JSON, nested deeper than
            `MAX_JSON_DEPTH`, or text that cannot be written back as UTF-8.
    """
    return parse_json(read_text(Path(path), max_bytes), str(path))


def parse_json(text: str, where: str) -> Any:
    """`read_json` of a text, such as the JSON string in a column of a table; `where` begins the message."""
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite_or_none)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise UserError(f"{where}: not valid JSON: nested too deeply") from error
    except ValueError as error:  # Python's limit, 4,300 digits unless it was changed
        raise UserError(f"{where}: not valid JSON: an integer of thousands of digits") from error
    _check_depth(value, where)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: holds half of a surrogate pair, which is no character") from error
    return value


def read_lines(path: str | Path, fallback: str | None = None, max_bytes: int = MAX_TEXT_BYTES) -> list[str]:
    """The lines of a text file without their ends; only line feeds separate, as in most editors.

    Args:
        path: the file, UTF-8.
        fallback: encoding of files that are not UTF-8, such as `latin-1`; None: they are refused.
        max_bytes: a larger file is refused.

    Raises:
        UserError: missing, too large, undecodable, or a NUL in it.
    """
    text = read_text(Path(path), max_bytes, fallback)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def begins_with_key(path: Path, key: str) -> bool:
    """Whether a JSON file names `key` within its first 4 KiB: a cheap look at which publication it is."""
    try:
        with open(path, "rb") as file:
            return f'"{key}"'.encode() in file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def check_file(path: Path, max_bytes: int | None) -> None:
    """Raise UserError unless `path` is a regular file of at most `max_bytes` (None: of any size)."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: cannot be read") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: is not a file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise UserError(f"{path}: is larger than {max_bytes / 2**20:,.0f} MiB")


def read_text(path: Path, max_bytes: int, fallback: str | None = None) -> str:
    """The whole text of a file, as `read_lines` reads it. Raises UserError."""
    check_file(path, max_bytes)
    try:
        if fault := text_fault(path):
            raise UserError(f"{path}: {fault}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: is UTF-16; UTF-8 is needed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if fallback is None:
            byte = f"byte 0x{content[error.start]:02x} at {error.start + 1}"
            raise UserError(f"{path}: not valid UTF-8: {byte}") from error
        text = content.decode(fallback, errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: holds a NUL byte")
    return text


def _finite_or_none(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _check_depth(value: Any, where: str) -> None:
    """Level by level, without recursion: Python's own limit differs between versions."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_JSON_DEPTH):
        if not level:
            return
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    if level:
        raise UserError(f"{where}: not valid JSON: nested deeper than {MAX_JSON_DEPTH} levels")
