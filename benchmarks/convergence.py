"""What grouping questions by image does to learning: accuracy against steps and against time.

The base model is fine-tuned on easy-VQA with as many questions a step, once with every question in a row of
its own, once with all of an image's questions in a row, once with at most three. Questions of one image say
less together than as many of different images, so a grouped step may teach less; it also costs less.

    python benchmarks/convergence.py
    python benchmarks/convergence.py --steps 1200 --eval_steps 150

Writes convergence.json into the output directory and docs/images/grouping_convergence.png.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from vqa.cli import option, parse_arguments, run
from vqa.files import write_json

ROOT = Path(__file__).resolve().parent.parent
ARMS = {
    "a row for each question": ["--group_by_image", "false"],
    "at most 3 of an image in a row": ["--group_by_image", "true", "--questions_per_image", "3"],
    "all of an image in a row": ["--group_by_image", "true"],
}


@dataclass
class ConvergenceArguments:
    """How long to train."""

    steps: int = option(800, "optimizer steps of each run")
    eval_steps: int = option(100, "steps between two measurements of accuracy")
    batch_size: int = option(64, "questions a step")
    sample: int = option(600, "test questions answered at each")
    seed: int = option(0, "of the order of questions")
    output_dir: str = option("outputs/benchmarks", "where runs and numbers go")
    picture: str = option("docs/images/grouping_convergence.png", "the plot")


def train(name: str, options: list[str], args: ConvergenceArguments) -> dict:
    """One run: steps, accuracies and training seconds (evaluations left out) at each measurement."""
    output = Path(args.output_dir) / "convergence" / name.replace(" ", "_")
    command = [
        *(sys.executable, "train_sft.py", "--config", "configs/quickstart/train.yaml", *options),
        *("--output_dir", output, "--max_steps", args.steps, "--seed", args.seed),
        *("--per_device_train_batch_size", args.batch_size, "--logging_steps", args.eval_steps),
        *("--validation_file", "data/easy_vqa/test.jsonl", "--validation_sample", args.sample),
        *("--eval_strategy", "steps", "--eval_steps", args.eval_steps),
    ]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    run_file = json.loads((ROOT / output / "run.json").read_text(encoding="utf-8"))
    evaluations = [entry for entry in run_file["log"] if "eval_accuracy" in entry]
    training = run_file["train_seconds"] - sum(entry["eval_runtime"] for entry in evaluations)
    return {
        "steps": [entry["step"] for entry in evaluations],
        "accuracy": [entry["eval_accuracy"] for entry in evaluations],
        "seconds": [training * entry["step"] / args.steps for entry in evaluations],
    }


def plot(results: dict[str, dict], picture: Path) -> None:
    """Accuracy against steps, and against seconds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for name, result in results.items():
        for axis, unit in zip(axes, ("steps", "seconds"), strict=True):
            axis.plot(
                result[unit], [100 * value for value in result["accuracy"]], marker="o", ms=3, label=name
            )
    for axis, label in zip(axes, ("steps", "seconds of training"), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test questions right, %")
    axes[0].legend(fontsize=8)
    figure.savefig(picture, dpi=130)


def main() -> None:
    """Train the three, plot them, print the last line of each."""
    (args,) = parse_arguments(ConvergenceArguments, description=__doc__)
    results = {name: train(name, options, args) for name, options in ARMS.items()}
    write_json(Path(args.output_dir) / "convergence.json", results)
    plot(results, ROOT / args.picture)
    for name, result in results.items():
        print(f"{name:<32}{result['accuracy'][-1]:.1%} after {result['seconds'][-1]:.0f} s")


if __name__ == "__main__":
    run(main)
