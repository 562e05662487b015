"""How closely training on two processes follows training in one, by strategy, and how long it takes.

A tiny LLaVA is trained by `train_sft.py` on records of which half have no image: in one process, then on the
CPU twins of `accelerate_configs/` with half the batch in each of two processes. Every optimiser step sees the
same records, so the losses should agree up to rounding.

    python benchmarks/scale_out.py
    python benchmarks/scale_out.py --strategies ddp fsdp2 --steps 20

Prints a table and writes scale_out.json and scale_out.png into the output directory.
"""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json
from vqa.runs import hardware, versions
from vqa.synthesis.shapes import generate_scene
from vqa.tiny_models import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent
SINGLE = "single"
TWO_MACHINES = "two_machines"
# Strategy: the launch config that serves it.
CONFIGS = {
    SINGLE: "single_cpu",
    "ddp": "ddp_cpu",
    TWO_MACHINES: "multi_node_cpu",
    "fsdp2": "fsdp2_cpu",
    "zero1": "zero1_cpu",
    "zero2": "zero2_cpu",
    "zero3": "zero3_cpu",
}
RECORDS = 16
STEPS = 6
# torchrun kills its own workers on SIGTERM, after at most 30 s; killed itself, it would leave them behind.
GRACE_SECONDS = 45


@dataclass
class ScaleOutArguments:
    """What to compare."""

    strategies: list[str] = option(list(CONFIGS)[1:], "which to compare with one process")
    steps: int = option(STEPS, "optimiser steps of each run, two records each")
    timeout: float = option(900.0, "seconds after which a run counts as hanging")
    output_dir: str = option("outputs/benchmarks", "where the runs, the JSON and the plot go")


@dataclass(frozen=True)
class Inputs:
    """A saved tiny model and the records to train it on."""

    model: Path
    records: Path


def write_inputs(folder: Path) -> Inputs:
    """Save a tiny LLaVA and `RECORDS` records, every other one without an image, in `folder`."""
    model, processor = build_tiny_model("llava")
    inputs = Inputs(folder / "model", folder / "records" / "train.jsonl")
    inputs.records.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(inputs.model)
    processor.save_pretrained(inputs.model)
    rows = []
    for number in range(RECORDS):
        image, records = generate_scene(0, number)
        row = records[0] | {"id": f"r{number}", "split": "train", "images": [f"{number}.png"]}
        del row["image_sha256"]
        if number % 2:
            row |= {"images": [], "boxes": [], "box_images": []}
        else:
            image.save(inputs.records.parent / f"{number}.png")
        rows.append(row)
    inputs.records.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return inputs


def train(strategy: str, inputs: Inputs, output: Path, steps: int = STEPS, timeout: float = 900) -> float:
    """Train under a strategy (a key of `CONFIGS`) with two records a step; prints go to `output`.log.

    Returns:
        Seconds from launch to end, imports included.

    Raises:
        RuntimeError: a process failed; the message has the end of its output.
        TimeoutError: the run took longer than `timeout` seconds; its processes are stopped.
    """
    in_all = 1 if strategy == SINGLE else 2
    commands = [_command(strategy, inputs, output, steps, 2 // in_all)]
    if strategy == TWO_MACHINES:
        port = _free_port()
        commands = [
            _command(strategy, inputs, output, steps, 1, "--machine_rank", rank, "--main_process_port", port)
            for rank in (0, 1)
        ]
    started = time.monotonic()
    output.parent.mkdir(parents=True, exist_ok=True)
    log = output.with_name(f"{output.name}.log")
    with open(log, "w", encoding="utf-8") as file:
        processes = [
            subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=file, stderr=subprocess.STDOUT)
            for command in commands
        ]
        try:
            codes = [process.wait(max(0.0, started + timeout - time.monotonic())) for process in processes]
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{strategy}: no end after {timeout:.0f} s: {_tail(log)}") from error
        finally:
            _stop(processes)
    if any(codes):
        raise RuntimeError(f"{strategy}: exit codes {codes}: {_tail(log)}")
    return time.monotonic() - started


def _command(
    strategy: str, inputs: Inputs, output: Path, steps: int, batch_size: int, *launch: str | int
) -> list[str]:
    config = ROOT / "accelerate_configs" / f"{CONFIGS[strategy]}.yaml"
    if not launch:
        launch = ("--main_process_port", 0)  # any free port
    arguments = [
        *(
            sys.executable,
            "-m",
            "accelerate.commands.accelerate_cli",
            "launch",
            "--config_file",
            config,
            *launch,
        ),
        *("train_sft.py", "--model_name_or_path", inputs.model, "--train_files", inputs.records),
        *("--output_dir", output, "--per_device_train_batch_size", batch_size, "--max_steps", steps),
        *("--learning_rate", "1e-3", "--logging_steps", 1),
    ]
    return [str(argument) for argument in arguments]


def _environment() -> dict[str, str]:
    # DeepSpeed looks for `ninja` by name, and for a GPU unless told not to.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    fixed = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PATH": path}
    return os.environ | fixed | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _stop(processes: list[subprocess.Popen]) -> None:
    """End the launches that still run, and with them their workers."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(log: Path, characters: int = 4000) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-characters:]


def losses(output: Path) -> list[float]:
    """The loss of every step, from the run file."""
    log = json.loads((output / "run.json").read_text(encoding="utf-8"))["log"]
    return [entry["loss"] for entry in log if "loss" in entry]


def largest_difference(one: list[float], other: list[float]) -> float:
    """The largest absolute difference between two runs' losses at the same step."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main() -> None:
    """Run all, print the table, write JSON and plot."""
    (args,) = parse_arguments(ScaleOutArguments, description=__doc__)
    unknown = sorted(set(args.strategies) - set(CONFIGS))
    if unknown:
        raise UserError(f"--strategies {unknown[0]}: choose from {', '.join(list(CONFIGS)[1:])}")
    folder = Path(args.output_dir).resolve()
    inputs = write_inputs(folder / "scale_out")
    rows = []
    print(f"{'strategy':14}{'max |loss - single|':>22}{'seconds':>10}")
    for strategy in [SINGLE, *(name for name in args.strategies if name != SINGLE)]:
        output = folder / "scale_out" / strategy
        seconds = train(strategy, inputs, output, args.steps, args.timeout)
        row = {"strategy": strategy, "losses": losses(output), "seconds": round(seconds, 1)}
        reference = rows[0] if rows else row
        row["largest_difference"] = largest_difference(row["losses"], reference["losses"])
        rows.append(row)
        print(f"{strategy:14}{row['largest_difference']:>22.1e}{seconds:>10.1f}", flush=True)
    report = {"steps": args.steps, "global_batch": 2, "hardware": hardware(), "versions": versions()}
    write_json(folder / "scale_out.json", report | {"runs": rows})
    _plot(rows, folder / "scale_out.png")


def _plot(rows: list[dict], path: Path) -> None:
    import matplotlib.pyplot as plt  # here: the tests import this file and draw nothing

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for row in rows:
        axes.plot(range(1, len(row["losses"]) + 1), row["losses"], label=row["strategy"], alpha=0.6)
    axes.set(xlabel="optimiser step", ylabel="loss", title="Two processes against one, the same global batch")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    run(main)
