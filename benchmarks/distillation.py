"""Teacher and students on one data set: every way of learning from the teacher, over several seeds.

The student is the base model with 40% of its language model cut away, before training (`untrained`) and
after it learnt from answers (`ce`), from the teacher's answers (`traces`), its whole distributions
(`dense`), samples of them (`rs`, `gumbel_ht`, `topk`); all with the same steps, seeds and order of
questions. `on_policy` goes on from `ce`, as is usual. Accuracy and calibration on held-out questions,
seconds a step, peak memory, bytes a token in the teacher's cache.

    python -m benchmarks.distillation --dataset easy_vqa
    python -m benchmarks.distillation --dataset brain_atlas

What is there already is not made again. Writes OUTPUT/DATASET/summary.json and prints a table in Markdown.
"""

import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.medical import ROOT, script
from benchmarks.medical_figures import interval
from vqa.cli import option, parse_arguments, run
from vqa.files import write_json, write_jsonl
from vqa.models import load_model

TEACHERS = {"easy_vqa": "outputs/quickstart/model", "brain_atlas": "outputs/medical/brain_atlas/sft"}
ARMS = {
    "untrained": ("--method", "traces", "--max_steps", 1, "--learning_rate", 1e-12),
    "ce": ("--method", "traces"),
    "traces": ("--method", "traces"),
    "dense": ("--method", "dense"),
    "rs": ("--method", "sparse", "--sparse_method", "rs"),
    "gumbel_ht": ("--method", "sparse", "--sparse_method", "gumbel_ht"),
    "topk": ("--method", "sparse", "--sparse_method", "topk"),
    "on_policy": ("--method", "on_policy", "--max_steps", 60, "--learning_rate", 3e-4),
}
BASE = ROOT / "models/tiny-vqa-base"
CUT = ("--prune", "structured", "--pruning_steps", 0, "--target_sparsity", 0.4)


@dataclass
class DistillationArguments:
    """Which runs."""

    dataset: str = option("easy_vqa", f"one of {', '.join(TEACHERS)}")
    arms: list[str] = option(list(ARMS)[1:], "ways of learning")
    seeds: list[int] = option([0, 1, 2], "of data order; the student starts from the same weights")
    steps: int = option(600, "of training")
    test_records: int = option(2000, "held-out questions, the first so many")
    jobs: int = option(2, "runs side by side, one thread each")
    output_dir: str = option("outputs/distill", "where runs and numbers go")


class Study:
    """The runs on one data set, each in a folder of its own."""

    def __init__(self, args: DistillationArguments) -> None:
        self.args = args
        self.data = ROOT / "data" / args.dataset
        self.teacher = ROOT / TEACHERS[args.dataset]
        self.output = ROOT / args.output_dir / args.dataset

    def predict(self, model: Path, records: Path, output: Path, *more: Any) -> None:
        """Answers of a model in the short style."""
        if not output.is_file():
            script(
                output.with_suffix(".log"),
                "predict.py",
                *("--model_name_or_path", model, "--records", records, "--output_file", output),
                *("--answer_style", "short", "--cache_vision_features", self.data / "features", *more),
            )

    def judge(self, model: Path, folder: Path) -> dict[str, Any]:
        """Metrics of a model on the held-out questions."""
        answers = folder / "test.jsonl"
        self.predict(model, self.data / "test.jsonl", answers, "--limit", self.args.test_records)
        if not (folder / "metrics.json").is_file():
            options = ("--predictions_file", answers, "--output_dir", folder)
            script(folder / "evaluate.log", "evaluate.py", *options)
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))

    def make_traces(self) -> Path:
        """The training questions with the teacher's answers in place of the true ones."""
        folder = self.output / "traces"
        if not (folder / "train.jsonl").is_file():
            self.predict(self.teacher, self.data / "train.jsonl", folder / "answers.jsonl")
            lines = (self.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
            answers = (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()
            rows = []
            for record, answer in zip(map(json.loads, lines), map(json.loads, answers), strict=True):
                said = not answer["abstained"]
                rows.append(record | {"answers": [answer["pred"]] if said else [], "answerable": said})
            root = json.loads((self.data / "manifest.json").read_text(encoding="utf-8")).get(
                "image_root", "."
            )
            write_json(
                folder / "manifest.json",
                {"image_root": os.path.relpath((self.data / root).resolve(), folder)},
            )
            write_jsonl(folder / "train.jsonl", rows)
        return folder / "train.jsonl"

    def train(self, arm: str, seed: int) -> None:
        """One student, and its metrics."""
        folder = self.output / f"seed{seed}" / arm
        if not (folder / "run.json").is_file():
            records = self.output / "traces" if arm == "traces" else self.data
            start = (folder.with_name("ce"),) if arm == "on_policy" else (BASE, *CUT)
            script(
                folder / "log",
                "train_distill.py",
                *("--config", "configs/distill/easy_vqa.yaml", "--model_name_or_path", *start),
                *("--max_steps", self.args.steps),
                *("--teacher_model_name_or_path", self.teacher, *ARMS[arm]),
                *("--train_files", records / "train.jsonl", "--seed", seed, "--output_dir", folder),
                *("--cache_vision_features", self.data / "features"),
                *("--cache_teacher", self.output / f"cache_{arm}_seed{seed}"),
            )
        self.judge(folder, folder)

    def run(self) -> dict[str, Any]:
        """All runs, and their sums."""
        found = {"teacher": [self.row(self.teacher, self.output / "teacher")]}
        self.train("untrained", 0)
        found["untrained"] = [self.row(self.output / "seed0/untrained", self.output / "untrained")]
        if "traces" in self.args.arms:
            self.make_traces()
        with ThreadPoolExecutor(self.args.jobs) as pool:
            runs = [pool.submit(self.train, arm, seed) for seed in self.args.seeds for arm in self.args.arms]
            for done in runs:
                done.result()
        for arm in self.args.arms:
            folders = [self.output / f"seed{seed}" / arm for seed in self.args.seeds]
            found[arm] = [self.row(folder, folder) for folder in folders]
        return found

    def row(self, model: Path, folder: Path) -> dict[str, float]:
        """The numbers of one run."""
        metrics = self.judge(model, folder)
        run_file = (
            json.loads((model / "run.json").read_text("utf-8")) if (model / "run.json").is_file() else {}
        )
        row = {
            "accuracy": metrics["overall"]["accuracy"],
            "ece": metrics["calibration"]["ece"],
            "parameters": load_model(str(model)).num_parameters(),
        }
        if folder == model:
            row["step_seconds"] = run_file["train_seconds"] / run_file["steps"]
            row["peak_bytes"] = run_file["peak_memory_bytes"]
            row |= {f"cache_{name}": value for name, value in run_file.get("teacher_cache", {}).items()}
        return row


def print_table(summary: dict[str, list[dict[str, float]]]) -> None:
    """Means over seeds with 95% intervals, in Markdown."""
    print("| student learns from | accuracy | ECE | s a step | peak GiB | tokens, bytes a position |")
    print("|---|---|---|---|---|---|")
    for arm, rows in summary.items():
        cells = [arm]
        for name in ("accuracy", "ece"):
            values = [row[name] for row in rows]
            mean, half = interval(values)
            cells.append(f"{100 * mean:.1f}%" + (f" ± {100 * half:.1f}" if half is not None else ""))
        if "step_seconds" in rows[0]:
            cells.append(f"{statistics.mean(row['step_seconds'] for row in rows):.3f}")
            cells.append(f"{max(row['peak_bytes'] for row in rows) / 2**30:.2f}")
        else:
            cells += ["", ""]
        kept = [row for row in rows if "cache_bytes_per_position" in row]
        cells.append(
            f"{kept[0]['cache_kept_per_position']:.1f}, {kept[0]['cache_bytes_per_position']:.1f}"
            if kept
            else ""
        )
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Make what is missing, then sum up."""
    (args,) = parse_arguments(DistillationArguments, description=__doc__)
    study = Study(args)
    summary = study.run()
    write_json(study.output / "summary.json", summary)
    print_table(summary)


if __name__ == "__main__":
    run(main)
