"""The log of finished traces: appended to as they come, so that a run that ends early loses none.

A folder with `traces.jsonl`, a trace a line, and `settings.json`, what the traces depend on. A line that was
cut short is dropped.
"""

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vqa.documents.traces import FAILED, Trace
from vqa.errors import UserError
from vqa.files import json_line, write_json, write_jsonl

TRACES_FILE, SETTINGS_FILE = "traces.jsonl", "settings.json"


class TraceLog:
    """Traces of a run, on disk when `add` returns. One run at a time writes to a log.

    Args:
        folder: of the log; made when the first trace is added.
        settings: what the traces depend on (JSON values).

    Raises:
        UserError: the log is of a run with other settings, or is no such log.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / TRACES_FILE
        self.settings = settings
        self.traces: dict[str, Trace] = {}
        self._whole_bytes = 0
        self._file: FileIO | None = None
        self._lock = threading.Lock()
        # Of all threads; the system gives it back when a process is killed.
        self._run = FileLock(folder / ".lock", timeout=0, thread_local=False)
        if self.path.exists():
            self._check(folder / SETTINGS_FILE)
            self._read()

    @property
    def finished(self) -> dict[str, Trace]:
        """By record: those that need not be made again. A failed one is tried anew."""
        return {key: trace for key, trace in self.traces.items() if trace.outcome != FAILED}

    def add(self, key: str, trace: Trace) -> None:
        """Write a trace. From any thread.

        Raises:
            UserError: it cannot be written; those before it are safe.
        """
        with self._lock:
            if self._file is None:
                self._open()
            self._append(_row(key, trace))
            self.traces[key] = trace

    def close(self, order: Iterable[str]) -> None:
        """Close the log, and put it into the records' order where traces were added."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        keys = dict.fromkeys([*(key for key in order if key in self.traces), *self.traces])
        write_jsonl(self.path, (_row(key, self.traces[key]) for key in keys))
        self._run.release(force=True)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._run.acquire()
        except Timeout as error:
            raise UserError(f"{self.path}: another run writes to it") from error
        write_json(self.path.with_name(SETTINGS_FILE), self.settings)
        try:
            # Without a buffer, which would be written once more when a failed write is given up.
            self._file = open(self.path, "r+b" if self.path.exists() else "w+b", buffering=0)
            self._file.truncate(self._whole_bytes)
            self._file.seek(self._whole_bytes)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _append(self, row: dict[str, Any]) -> None:
        line = memoryview(json_line(row).encode())
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.close()
            self._file = None
            self._whole_bytes = sum(map(len, self._whole_lines()))
            raise UserError(
                f"{self.path}: cannot be written: {error.strerror}; finished traces are kept, run it again"
            ) from error

    def _read(self) -> None:
        for number, line in enumerate(self._whole_lines(), 1):
            try:
                row = json.loads(line)
                key = row.pop("key")
                self.traces[key] = Trace(**row)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.path}:{number}: not a trace; delete the file, or give another --output_dir"
                ) from error
            self._whole_bytes += len(line)

    def _whole_lines(self) -> list[bytes]:
        lines = self.path.read_bytes().splitlines(keepends=True)
        return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]

    def _check(self, path: Path) -> None:
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read; give another --output_dir") from error
        changed = sorted(
            name
            for name in settings.keys() | self.settings.keys()
            if settings.get(name) != self.settings.get(name)
        )
        if changed:
            raise UserError(
                f"{self.path}: holds traces made with another {', '.join(changed)}; "
                "give another --output_dir, or delete the log to pay for them again"
            )


def _row(key: str, trace: Trace) -> dict[str, Any]:
    return {"key": key, **asdict(trace)}
