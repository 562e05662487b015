"""What a reviewer decided, one JSON line each, on disk before the page moves on.

The first line says which predictions were reviewed; a later one holds a decision, or takes the one before it
back. Nothing is ever rewritten, so a kill costs at most the line it cut short, which reading passes over.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from vqa.errors import UserError

LOG_FILE = "decisions.log"
DECISIONS = ("accepted", "edited", "rejected")
_UNDONE = "undone"


@dataclass(frozen=True)
class Decision:
    """One decision about one prediction.

    Attributes:
        id: of the record.
        decision: one of `DECISIONS`.
        text: the answer as decided; "" says that the image does not hold it. Nothing for `rejected`.
        reviewer: who decided.
    """

    id: str
    decision: str
    text: str
    reviewer: str


class DecisionsLog:
    """The decisions of one review; `current` holds those that stand, by record id.

    Args:
        path: the file; `open` makes it.
        predictions: sha256 of the prediction file that is reviewed.
    """

    def __init__(self, path: str | Path, predictions: str) -> None:
        self.path = Path(path)
        self.current: dict[str, Decision] = {}
        self._header = _line({"predictions": predictions})
        self._standing: list[tuple[Decision, Decision | None]] = []  # each with the one it took the place of
        self._length = 0
        self._file: IO[bytes] | None = None
        self._lock = FileLock(f"{self.path}.lock", timeout=0)

    def read(self) -> None:
        """Take in what the file holds; nothing when there is none.

        Raises:
            UserError: the file belongs to other predictions, or a line of it is damaged.
        """
        if not self.path.is_file():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            where = f"{self.path}:{number}"
            last = number == len(lines)
            if number == 1:
                if last and line != self._header and self._header.startswith(line):
                    return
                self._check_header(line, where)
            else:
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError) as error:
                    if last:  # cut short; the next decision takes its place
                        return
                    raise UserError(f"{where}: not valid JSON: {error}") from error
                if not line.endswith(b"\n"):
                    return
                self._replay(content, where)
            self._length += len(line)

    def open(self) -> None:
        """Read, and make ready to add decisions, which one process at a time can. Raises UserError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UserError(f"{self.path}: another review is writing to it; end that one first") from error
        self.read()
        self._file = open(self.path, "ab", buffering=0)
        self._file.truncate(self._length)
        if self._length == 0:
            self._append(self._header)

    def close(self) -> None:
        """Let another process write."""
        if self._file is not None:
            self._file.close()
            self._lock.release()

    def add(self, decision: Decision) -> None:
        """Note a decision; it is on disk when this returns. Raises OSError, and nothing is noted then."""
        self._append(_line({"time": _now(), **asdict(decision)}))
        self._put(decision)

    def undo(self) -> Decision | None:
        """Take the last decision back and return it; None when none stands. Raises OSError."""
        if not self._standing:
            return None
        self._append(_line({"time": _now(), "id": self._standing[-1][0].id, "decision": _UNDONE}))
        return self._pop()

    def _put(self, decision: Decision) -> None:
        self._standing.append((decision, self.current.get(decision.id)))
        self.current[decision.id] = decision

    def _pop(self) -> Decision:
        decision, earlier = self._standing.pop()
        if earlier is None:
            del self.current[decision.id]
        else:
            self.current[decision.id] = earlier
        return decision

    def _check_header(self, line: bytes, where: str) -> None:
        if not line.startswith(b'{"predictions": "') or not line.endswith(b"\n"):
            raise UserError(f"{where}: not the decisions of a review")
        if line != self._header:
            raise UserError(
                f"{self.path}: was begun with other predictions; name another --output_dir for these"
            )

    def _replay(self, content: Any, where: str) -> None:
        fields = content if isinstance(content, dict) else {}
        kind, identity = fields.get("decision"), fields.get("id")
        if kind == _UNDONE and self._standing and self._standing[-1][0].id == identity:
            self._pop()
            return
        values = [identity, kind, fields.get("text"), fields.get("reviewer")]
        if kind not in DECISIONS or not all(isinstance(value, str) for value in values):
            raise UserError(f"{where}: not a decision")
        self._put(Decision(*values))

    def _append(self, line: bytes) -> None:
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._length)
            raise
        self._length += len(line)


def _line(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
