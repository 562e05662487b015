"""A model on a list of prepared sets: where their records lie, and their predictions, made where missing.

`predict.py` does the work in a process of its own, so that each set starts with an empty memory; it goes on
where an interrupted run was.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from vqa.abstention_file import ABSTENTION_FILE
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.prediction_runs import model_files

STDERR = 2  # its file descriptor
SPLITS = ("test", "validation")  # the first that a set has


def find_benchmarks(names: str, data_root: str | Path, split: str | None = None) -> dict[str, Path]:
    """The record file of each set: DATA_ROOT/NAME/SPLIT.jsonl.

    Args:
        names: of folders in `data_root`, separated by commas.
        split: which file; default: the first of `SPLITS` that is there.

    Raises:
        UserError: no names, or sets without such a file; all of them are named.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"--benchmarks {names!r}: names of prepared sets, separated by commas")
    found: dict[str, Path] = {}
    problems = []
    for name in wanted:
        if name in (".", "..") or "/" in name or "\\" in name:
            problems.append(f"{name}: the name of a folder in {data_root}, not a path")
            continue
        files = [Path(data_root) / name / f"{part}.jsonl" for part in ((split,) if split else SPLITS)]
        there = [file for file in files if file.is_file()]
        if there:
            found[name] = there[0]
        else:
            problems.append(f"{name}: no {' or '.join(map(str, files))}; prepare_data.py writes it")
    if problems:
        raise UserError("--benchmarks: " + "\n  ".join(problems))
    return found


def predict_records(
    script: Path, model: str, records: Path, output_file: Path, config: str | None = None
) -> bool:
    """Predict `records`, unless `output_file` holds this model's predictions of them already.

    Args:
        script: predict.py.
        model: hub name or folder.
        config: YAML file with further arguments of predict.py, or None.

    Returns:
        Whether anything had to be predicted.

    Raises:
        UserError: predict.py failed; it has said why.
    """
    settings = {"model_name_or_path": model, "records": str(records), "output_file": str(output_file)}
    if is_predicted(output_file, (_read_config(config) if config else {}) | settings):
        return False
    command = [sys.executable, str(script), *(["--config", config] if config else [])]
    for name, value in settings.items():
        command += [f"--{name}", value]
    # Its own output is no part of the table that this run prints: it goes to stderr.
    done = subprocess.run(command, stdout=STDERR, check=False)
    if done.returncode:
        raise UserError(f"{records}: predict.py failed with exit code {done.returncode}")
    return True


def is_predicted(output_file: Path, settings: dict[str, Any]) -> bool:
    """Whether a finished prediction file was made by these arguments, from these records and this model.

    The model's files, and the threshold kept with them if it was used, must not be newer than these.
    """
    manifest_file = output_file.with_suffix(".manifest.json")
    if not (output_file.is_file() and manifest_file.is_file()):
        return False
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{manifest_file}: not valid JSON; delete it to predict anew") from error
    made_with = manifest.get("config", {})
    if any(made_with.get(name) != value for name, value in settings.items()):
        return False
    if sha256_file(settings["records"]) not in manifest.get("data", {}).values():
        return False
    written = output_file.stat().st_mtime_ns
    folders = (settings["model_name_or_path"], settings.get("adapter"))
    if settings.get("target_risk") is not None:
        kept = Path(settings.get("abstention_file") or Path(folders[1] or folders[0]) / ABSTENTION_FILE)
        if not kept.is_file() or kept.stat().st_mtime_ns > written:
            return False
    return all(changed <= written for folder in folders for _, _, changed in model_files(folder))


def _read_config(path: str) -> dict[str, Any]:
    """The arguments that a YAML file gives; what is wrong with it predict.py will say."""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--predict_config {path}: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"--predict_config {path}: a config is a YAML mapping of 'key: value' lines")
    return {name: value for name, value in config.items() if name != "env"}
