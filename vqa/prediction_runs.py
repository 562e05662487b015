"""A prediction file in the making: shards that survive a kill, the finished file, its manifest.

Every process appends to a shard of its own beside the output (`PREDICTIONS.jsonl.partial`,
`PREDICTIONS.jsonl.partial-1`, ...): first a line with what the run depends on, then one line per finished
batch, each written at once. A line that a kill cut short is dropped and its batch computed again.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vqa import runs
from vqa.abstention_file import ABSTENTION_FILE
from vqa.decisions import Decision
from vqa.errors import UserError
from vqa.files import sha256_file, write_json, write_jsonl

Line = dict[str, Any]
FINGERPRINT = "run"
# Of a record's `meta`: what each annotator said, for the VQA accuracy; what was removed, for the report; the
# field of the document that is asked for, for F1 and the trees.
KEPT_META = ("answers", "counterfactual", "field")


def prediction_line(record: dict[str, Any], decision: Decision) -> Line:
    """A record and what was decided, as docs/contract.md has it."""
    line = {
        "id": record["id"],
        "pred": decision.answer,
        "gt": record["answers"][0] if record["answers"] else None,
        "qtype": record["question_type"],
        "answers": record["answers"],
        "answerable": record["answerable"],
        "source": record["source"],
        "confidence": decision.confidence,
        "abstained": decision.abstained,
        "boxes": decision.boxes,
        "gt_boxes": record["boxes"],
        "answer_candidates": record["answer_candidates"],
        "caption": decision.caption,
        "reasoning": decision.reasoning,
        "valid_format": decision.valid_format,
        "raw": decision.raw,
        "images": record["images"],
        "question": record["question"],
    }
    kept = {name: value for name, value in read_meta(record).items() if name in KEPT_META}
    # A record without `box_images` has all its boxes on the first image.
    owners = {"box_images": decision.box_images, "gt_box_images": record.get("box_images") or []}
    kept |= {name: images for name, images in owners.items() if any(images)}
    return line | ({"meta": kept} if kept else {})


def read_meta(record: dict[str, Any]) -> dict[str, Any]:
    """A record's `meta`, which a row of `load_dataset` holds as JSON text."""
    return json.loads(record["meta"]) if isinstance(record["meta"], str) else record["meta"]


def check_confidence(lines: list[dict[str, Any]]) -> None:
    """Refuse numbers that are none: the model overflowed."""
    for line in lines:
        if line["confidence"] is not None and not math.isfinite(line["confidence"]):
            raise UserError(
                f"record {line['id']}: the model's output is not a number; try --dtype bfloat16 or float32"
            )


def model_files(folder: str | None) -> list[list]:
    """Name, size and time of a model's files, to see whether it changed. Empty for hub names."""
    if folder is None or not Path(folder).is_dir():
        return []
    paths = [path for path in Path(folder).iterdir() if path.suffix in (".safetensors", ".json", ".jinja")]
    # Written anew while the weights stay: the run file when training ends, the threshold when it is chosen.
    paths = [path for path in paths if path.name not in (runs.RUN_FILE, ABSTENTION_FILE)]
    return sorted([path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths)


def describe(
    config: dict[str, Any], records: str, peak_memory: int, stages: Mapping[str, float]
) -> dict[str, Any]:
    """What PREDICTIONS.manifest.json says beside the timing.

    Args:
        config: the arguments, with what they resolved to; the model and adapter among them.
        records: the record file.
        peak_memory: bytes, of the process that took most.
        stages: seconds by stage, of the first process in its last attempt.
    """
    return {
        "model": config["model_name_or_path"],
        "adapter": config["adapter"],
        "config": config,
        "data": {records: sha256_file(records)},
        "git": runs.git_commit(),
        "versions": runs.versions(),
        "hardware": runs.hardware(),
        "peak_memory_bytes": peak_memory,
        "stage_seconds": {name: round(seconds, 3) for name, seconds in stages.items()},
    }


@dataclass
class PartialPredictions:
    """What is finished of a prediction file, by all processes and earlier attempts.

    Args:
        output_file: the prediction file to be.
        fingerprint: everything the predictions depend on (JSON values); a partial file of another is refused.
    """

    output_file: Path
    fingerprint: dict[str, Any]
    lines: dict[int, Line] = field(default_factory=dict)
    seconds: float = 0.0
    _shard: IO[bytes] | None = None
    _shard_lengths: dict[Path, int] = field(default_factory=dict)

    def read(self) -> None:
        """Read all shards. Every process does, before any writes.

        Raises:
            UserError: a shard belongs to a run with other arguments, other data or another model.
        """
        self.lines, self.seconds = {}, 0.0
        for path in self._shards():
            spent = 0.0
            for position, content in enumerate(self._whole_lines(path)):
                if position == 0:
                    self._check(path, content[FINGERPRINT])
                    continue
                spent += content["seconds"]
                self.lines |= zip(content["indices"], content["predictions"], strict=True)
            self.seconds = max(self.seconds, spent)  # shards are written side by side

    def open_shard(self, rank: int) -> None:
        """Open this process's shard for appending, without the line that a kill cut short."""
        path = self.output_file.with_name(f"{self.output_file.name}.partial" + (f"-{rank}" if rank else ""))
        length = self._shard_lengths.get(path, 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._shard = open(path, "r+b" if path.exists() else "w+b")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from error
        self._shard.truncate(length)
        self._shard.seek(length)
        if length == 0:
            self._append({FINGERPRINT: self.fingerprint})

    def add(self, indices: list[int], predictions: list[Line], seconds: float) -> None:
        """Note one finished batch; it is on disk when this returns."""
        self._append({"indices": indices, "seconds": seconds, "predictions": predictions})

    def all_lines(self, count: int) -> list[Line]:
        """Read all shards again: the lines of all processes, in the records' order.

        Raises:
            RuntimeError: predictions are missing.
        """
        self.read()
        missing = [index for index in range(count) if index not in self.lines]
        if missing:
            raise RuntimeError(f"{len(missing)} predictions are missing, the first at record {missing[0]}")
        return [self.lines[index] for index in range(count)]

    def finish(self, lines: list[Line], manifest: dict[str, Any]) -> None:
        """Write the file and its manifest, and remove the shards. One process does."""
        write_jsonl(self.output_file, lines)
        rate = round(len(lines) / self.seconds, 3) if self.seconds else None
        timing = {"count": len(lines), "seconds": round(self.seconds, 3), "questions_per_second": rate}
        write_json(self.output_file.with_suffix(".manifest.json"), timing | manifest)
        self.discard()

    def discard(self) -> None:
        """Remove the shards."""
        for path in self._shards():
            path.unlink()

    def close(self) -> None:
        """Close this process's shard."""
        if self._shard is not None:
            self._shard.close()

    def _shards(self) -> list[Path]:
        name = f"{self.output_file.name}.partial"
        found = self.output_file.parent.glob("*.partial*")
        return sorted(path for path in found if path.name == name or path.name.startswith(f"{name}-"))

    def _whole_lines(self, path: Path) -> list[dict[str, Any]]:
        found, length = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                found.append(json.loads(line))
            except ValueError:  # a crash of the machine can leave zeros
                break
            length += len(line)
        self._shard_lengths[path] = length
        return found

    def _check(self, path: Path, other: dict[str, Any]) -> None:
        differing = [name for name, value in self.fingerprint.items() if other.get(name) != value]
        if differing:
            raise UserError(
                f"{path}: was begun with another {', '.join(differing)}; "
                "delete it to start over, or name another --output_file"
            )

    def _append(self, content: dict[str, Any]) -> None:
        line = json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
        self._shard.write(line.encode())
        self._shard.flush()
        os.fsync(self._shard.fileno())
