"""benchmarks/results.json: the newest measurement under each name, written by whatever measured it.

    record("train_22q", ours=21.5, baseline=2.4, unit="questions/s", prefix_tokens=162)

adds `{name, ours, baseline, ratio, unit, machine, commit}` and whatever else is given to the list in the
file, in place of an older entry of that name. `ratio` is ours / baseline.
"""

import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vqa.files import write_json
from vqa.runs import git_commit

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results.json"


def record(name: str, ours: float, baseline: float, unit: str, path: Path = RESULTS, **extra: Any) -> dict:
    """Put a measurement into the file, which is whole at any time, and return it."""
    commit = measured_commit()
    entry = {
        "name": name,
        "ours": rounded(ours),
        "baseline": rounded(baseline),
        "ratio": rounded(ours / baseline),
        "unit": unit,
        "machine": machine(),
        "commit": commit["commit"],
        "dirty": commit["dirty"],
        **extra,
    }
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    kept = {old["name"]: old for old in entries} | {name: entry}
    write_json(path, [kept[key] for key in sorted(kept)])
    return entry


@cache
def measured_commit() -> dict[str, Any]:
    """The commit that is measured, once: writing a result makes the tree another."""
    return git_commit()


def rounded(value: float) -> float:
    """To four digits that count."""
    return float(f"{value:.4g}")


def machine() -> str:
    """GPU, processor, cores this process may use, memory."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{len(os.sched_getaffinity(0))} cores"
    return ", ".join([*gpus, _processor(), cores, f"{gibibytes:.0f} GiB"])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
