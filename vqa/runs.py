"""What every run leaves behind, so that its numbers can be traced and its checkpoints used alike.

`run.json` in the output directory, and beside the weights of each checkpoint, holds the resolved
arguments, commit, versions, hardware, data hashes and seeds, and what prediction must repeat: answer
style, box format, pixel limits. The environment is not dumped and no secret is written.
"""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.files import sha256_file, write_json

RUN_FILE = "run.json"
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch torchvision transformers trl peft accelerate datasets tokenizers safetensors "
    "deepspeed bitsandbytes xgrammar"
).split()
SECRET_WORDS = ("token", "secret", "password", "api_key")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    found = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": platform.python_version(), **found}


def git_commit() -> dict[str, Any]:
    """`{"commit": sha or None, "dirty": bool or None}` of this repository."""
    command = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(
            [*command, "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in bytes and accelerators of this machine."""
    import torch  # here, so that scripts without a model start in a second

    return {
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


def describe_run(
    arguments: dict[str, Any], data_files: list[str], prediction: dict[str, Any]
) -> dict[str, Any]:
    """The content of a run file.

    Args:
        arguments: resolved arguments by group; those whose name speaks of a secret are left out.
        data_files: record files the run reads; their sha256 is noted.
        prediction: what `predict.py` must repeat (`answer_style`, `box_format`, `min_pixels`, ...).
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **prediction,
        "git": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "data": {path: sha256_file(path) for path in data_files},
        "arguments": {group: _without_secrets(values) for group, values in arguments.items()},
    }


def _without_secrets(values: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        if any(word in name.lower() for word in SECRET_WORDS) and not isinstance(value, (int, float, bool)):
            continue
        kept[name] = (
            value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)
        )
    return kept


def write_run_file(output_dir: str | Path, run: dict[str, Any]) -> None:
    """Write `run.json` into a run's folder or a checkpoint's."""
    write_json(Path(output_dir) / RUN_FILE, run)


def read_run_file(model_dir: str | Path) -> dict[str, Any]:
    """The run file beside a checkpoint's weights or one folder up; empty where there is none.

    Raises:
        UserError: the file is not valid JSON.
    """
    for folder in (Path(model_dir), Path(model_dir).parent):
        path = folder / RUN_FILE
        if path.is_file():
            try:
                return json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{path}: not valid JSON: {error}") from error
    return {}


def outcome(state: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """What a finished run adds to its file: steps, seconds, losses, best checkpoint, peak memory."""
    return {
        "steps": state.global_step,
        "train_seconds": metrics["train_runtime"],
        "train_loss": metrics["train_loss"],
        "best_metric": state.best_metric,
        "best_checkpoint": state.best_model_checkpoint,
        "peak_memory_bytes": peak_memory_bytes(),
        "log": state.log_history,
    }


def is_finished(output_dir: str | Path) -> bool:
    """Whether a run's folder holds a model that was trained to its end."""
    return "train_seconds" in read_run_file(output_dir) and (Path(output_dir) / RUN_FILE).is_file()


def complete_checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoints of a run that can be resumed, oldest first.

    transformers writes a checkpoint in place and its `trainer_state.json` last, so one that was cut off
    lacks it or has half of it; one whose deletion was cut off lacks other files.
    """
    found = []
    for folder in Path(output_dir).glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if number.isdigit() and _is_complete(folder):
            found.append((int(number), folder))
    return [folder for _, folder in sorted(found)]


def _is_complete(folder: Path) -> bool:
    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    has_weights = (
        any(folder.glob("*.safetensors"))
        or any(folder.glob("pytorch_model_fsdp*"))
        or any(folder.glob("global_step*"))
    )
    return has_weights and (folder / "scheduler.pt").is_file() and any(folder.glob("rng_state*"))


def find_checkpoint(output_dir: str | Path, wanted: str | None) -> str | None:
    """The folder to resume from: a path as given, or for `latest` the newest complete one (None if none).

    Raises:
        UserError: the path is no complete checkpoint.
    """
    if wanted is None:
        return None
    if wanted == "latest":
        checkpoints = complete_checkpoints(output_dir)
        return str(checkpoints[-1]) if checkpoints else None
    if not _is_complete(Path(wanted)):
        raise UserError(f"--resume_from_checkpoint {wanted}: not a complete checkpoint")
    return wanted


def peak_memory_bytes() -> int:
    """Peak memory of this process: of the GPU where there is one, else resident memory."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
