"""The medical recipe at small size, over several seeds: what GRPO adds to SFT, and what each reward is for.

SFT; from its checkpoint, for every seed, GRPO with all rewards, then once without each; greedy free
answers of every model on held-out records, on the same without their evidence and without a random region;
metrics of each, and a page that compares before and after. Then means over the seeds with intervals, the
change of the flip-rate gap with a paired one, and the reward curves.

    python -m benchmarks.medical --dataset easy_vqa
    python -m benchmarks.medical --dataset brain_atlas --ablations ""

What is there already is not made again. Writes OUTPUT/DATASET/summary.json and docs/images/grpo_DATASET.png.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy import stats

from vqa.cli import option, parse_arguments, run
from vqa.files import write_json
from vqa.metrics.bootstrap import cluster_numbers, image_cluster, resampled_counts
from vqa.metrics.counterfactual import flips, joined_by_id
from vqa.predictions import read_predictions
from vqa.questions import judge

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"easy_vqa": "data/easy_vqa_splits", "brain_atlas": "data/brain_atlas"}
# What the first stage starts from, where that is not its config's model, and how often it is run.
SFT_STARTS = {"easy_vqa": (ROOT / "outputs/quickstart/model", 2), "brain_atlas": (None, 1)}
METRICS = {
    "valid JSON": ("format", "valid_rate"),
    "accuracy": ("overall", "accuracy"),
    "Acc@0.5": ("grounding", "acc_at_50"),
    "ROI flips": ("counterfactual", "roi_flip_rate"),
    "random flips": ("counterfactual", "random_flip_rate"),
    "gap": ("counterfactual", "faithfulness_gap"),
}


@dataclass
class MedicalArguments:
    """Which runs."""

    dataset: str = option("easy_vqa", f"one of {', '.join(FOLDERS)}")
    seeds: list[int] = option([0, 1, 2], "of data order, initial adapters, sampling")
    ablations: str | None = option(None, "rewards to leave out, one at a time; default: each, '' for none")
    ablation_seeds: list[int] = option([0], "seeds of the runs without a reward")
    test_records: int = option(600, "held-out questions answered by each model, the first so many")
    jobs: int = option(2, "runs side by side, one thread each")
    output_dir: str = option("outputs/medical", "where runs and numbers go")


def script(log: Path, name: str, *arguments: Any) -> None:
    """Run one of the project's scripts with one thread, its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, name, *map(str, arguments)]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed, see {log}")


class Recipe:
    """The runs on one data set, each in a folder of its own."""

    def __init__(self, args: MedicalArguments) -> None:
        self.args = args
        self.data = ROOT / FOLDERS[args.dataset]
        self.output = ROOT / args.output_dir / args.dataset
        self.sets: dict[str, Path] = {}
        config = yaml.safe_load((ROOT / f"configs/medical/grpo_{args.dataset}.yaml").read_text("utf-8"))
        self.weights: dict[str, float] = config["weights"]

    def prepare(self) -> None:
        """The held-out records: the first of the test split that have boxes, and their masked copies."""
        manifest = json.loads((self.data / "manifest.json").read_text(encoding="utf-8"))
        held_out = self.output / "held_out"
        if not (held_out / "test.jsonl").is_file():
            held_out.mkdir(parents=True, exist_ok=True)
            lines = (self.data / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (held_out / "test.jsonl").write_text("".join(lines[: self.args.test_records]), encoding="utf-8")
            root = os.path.relpath((self.data / manifest.get("image_root", ".")).resolve(), held_out)
            write_json(held_out / "manifest.json", {"image_root": root})
        masked = self.output / "held_out_masked"
        if not (masked / "random" / "test.jsonl").is_file():
            shutil.rmtree(masked, ignore_errors=True)
            options = ("--records", held_out / "test.jsonl", "--output_dir", masked)
            script(self.output / "masked.log", "prepare_data.py", "counterfactuals", *options)
        self.sets = {
            "test": held_out / "test.jsonl",
            "roi": masked / "roi" / "test.jsonl",
            "random": masked / "random" / "test.jsonl",
        }

    @property
    def start(self) -> Path:
        """The first stage, from which all others start."""
        return self.output / "sft"

    def sft(self) -> None:
        """The first stage, in one round or two, the second from what came of the first; and its answers."""
        config = f"configs/medical/sft_{self.args.dataset}.yaml"
        records = ("--train_files", self.data / "train.jsonl")
        model, rounds = SFT_STARTS[self.args.dataset]
        for folder in [self.output / "sft_round1", self.start][-rounds:]:
            if not (folder / "run.json").is_file():
                start = ("--model_name_or_path", model) if model else ()
                options = (*records, *start, "--output_dir", folder)
                script(folder / "log", "train_sft.py", "--config", config, *options)
            model = folder
        self.judge(self.start)

    def grpo(self, seed: int, arm: str) -> None:
        """One run of the second stage and its answers."""
        folder = self.output / f"seed{seed}" / arm
        if not (folder / "run.json").is_file():
            script(
                folder / "log",
                "train_grpo.py",
                *("--config", f"configs/medical/grpo_{self.args.dataset}.yaml", "--seed", seed),
                *("--train_files", self.data / "train.jsonl"),
                *("--sft_checkpoint", self.start, "--output_dir", folder, "--weights", self.arms()[arm]),
                *("--validation_file", self.data / "validation.jsonl"),
                *("--eval_on_start", "true" if arm == "grpo" else "false"),  # what SFT alone earns
            )
        self.judge(folder)

    def compare(self, seed: int) -> None:
        """The page of before and after."""
        pair = (self.start, self.output / f"seed{seed}" / "grpo")
        files = {
            option: [folder / f"{name}.jsonl" for folder in pair]
            for option, name in (
                ("--compare", "test"),
                ("--roi_predictions", "roi"),
                ("--random_predictions", "random"),
            )
        }
        options = [part for option, names in files.items() for part in (option, *names)]
        page = self.output / f"seed{seed}" / "comparison"
        script(page / "log", "evaluate.py", *options, "--caption_consistency", "true", "--output_dir", page)

    def arms(self) -> dict[str, str]:
        """Name of each GRPO run -> its weights; a reward that is left out is still logged."""
        arms = {"grpo": self.weights}
        left_out = self.weights if self.args.ablations is None else self.args.ablations.split(",")
        for name in filter(None, left_out):
            arms[f"without_{name}"] = self.weights | {name: 0.0}
        return {name: ",".join(f"{k}={v:g}" for k, v in weights.items()) for name, weights in arms.items()}

    def seeds(self, arm: str) -> list[int]:
        """The seeds of an arm's runs."""
        return self.args.ablation_seeds if arm.startswith("without_") else self.args.seeds

    def judge(self, model: Path) -> None:
        """Answers and metrics of a model."""
        if (model / "metrics.json").is_file():
            return
        for name, records in self.sets.items():
            answers = ("--records", records, "--output_file", model / f"{name}.jsonl", "--decoding", "free")
            # All models have one frozen tower: the first to be judged fills the cache.
            cache = ("--cache_vision_features", self.output / "features")
            # Answers have 75 tokens at most; on a picture without its shape some would go on for hundreds.
            limit = ("--max_new_tokens", 96)
            script(
                model / f"{name}.log", "predict.py", "--model_name_or_path", model, *answers, *cache, *limit
            )
        script(
            model / "evaluate.log",
            "evaluate.py",
            *("--predictions_file", model / "test.jsonl", "--output_dir", model),
            *("--roi_predictions", model / "roi.jsonl", "--random_predictions", model / "random.jsonl"),
        )


def interval(values: list[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its 95% interval by Student's t over the seeds; None for a single one."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    spread = statistics.stdev(values) / len(values) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread


def gap_parts(folder: Path) -> dict[str, np.ndarray]:
    """Of each held-out record: whether it counts for the gap (right, in both masked files), and its part.

    `gap in form` takes a change for one only where there is an answer still: text that breaks down on a
    picture without evidence differs from the answer too.
    """
    rows = read_predictions(folder / "test.jsonl")
    roi, random = (
        joined_by_id(rows, read_predictions(folder / f"{name}.jsonl"), name) for name in ("roi", "random")
    )
    counts = np.array(
        [judge(row) and a is not None and b is not None for row, a, b in zip(rows, roi, random, strict=True)]
    )
    changed = [np.array(flips(rows, masked), dtype=float) for masked in (roi, random)]
    formed = [np.array([bool(row and row["valid_format"]) for row in masked]) for masked in (roi, random)]
    return {
        "clusters": cluster_numbers([image_cluster(row) for row in rows]),
        "counts": counts.astype(float),
        "gap": counts * (changed[0] - changed[1]),
        "gap in form": counts * (changed[0] * formed[0] - changed[1] * formed[1]),
    }


def gap_change(pairs: list[tuple[Path, Path]], gap: str = "gap", resamples: int = 4000) -> dict[str, Any]:
    """Gap after less gap before, mean over the seeds, with a bootstrap interval over whole images.

    The same images are drawn for both models and all seeds: the interval is paired.
    """
    sums = []
    for before, after in pairs:
        for folder in (before, after):
            found = gap_parts(folder)
            sums += [np.bincount(found["clusters"], found[name]) for name in (gap, "counts")]
    totals = np.concatenate(
        [drawn.astype(float) @ np.stack(sums, 1) for drawn in resampled_counts(len(sums[0]), resamples, 0)]
    )

    def changes(totals: np.ndarray) -> np.ndarray:
        gaps = totals[..., ::2] / totals[..., 1::2]
        return (gaps[..., 1::2] - gaps[..., ::2]).mean(-1)

    low, high = np.percentile(changes(totals), [2.5, 97.5])
    return {"change": float(changes(np.stack(sums, 1).sum(0))), "interval": [float(low), float(high)]}


def summarize(recipe: Recipe) -> dict[str, Any]:
    """Every figure of every arm: one value a seed, mean and half-width of the interval."""
    summary: dict[str, Any] = {"seeds": recipe.args.seeds, "records": recipe.args.test_records, "arms": {}}
    for arm in ("sft", *recipe.arms()):
        values: dict[str, list[float]] = {}
        folders = [recipe.output / f"seed{seed}" for seed in recipe.seeds(arm)]
        for folder in folders:
            model = recipe.start if arm == "sft" else folder / arm
            metrics = json.loads((model / "metrics.json").read_text(encoding="utf-8"))
            if arm != "sft" or folder == folders[0]:  # all seeds start from one model
                for name, (group, key) in METRICS.items():
                    values.setdefault(name, []).append(metrics[group][key])
                found = gap_parts(model)
                values.setdefault("gap in form", []).append(
                    found["gap in form"].sum() / found["counts"].sum()
                )
            # Rewards before training are those of the first evaluation of the run with all rewards.
            run_file = json.loads((folder / ("grpo" if arm == "sft" else arm) / "run.json").read_text())
            evaluations = [entry for entry in run_file["log"] if "eval_reward" in entry]
            entry = evaluations[0 if arm == "sft" else -1]
            total = 0.0
            for name, weight in recipe.weights.items():
                mean = entry[f"eval_rewards/{name}/mean"]
                values.setdefault(f"reward {name}", []).append(mean)
                total += weight * mean
            values.setdefault("reward", []).append(total)
            values.setdefault("tokens", []).append(entry["eval_completions/mean_length"])
        summary["arms"][arm] = {
            name: {"values": row, "mean": interval(row)[0], "half_width": interval(row)[1]}
            for name, row in values.items()
        }
        if arm != "sft":
            pairs = [(recipe.start, folder / arm) for folder in folders]
            summary["arms"][arm]["gap_change"] = gap_change(pairs)
            summary["arms"][arm]["gap_in_form_change"] = gap_change(pairs, "gap in form")
            steps = [entry for entry in run_file["log"] if "seconds/update" in entry]
            seconds = {
                name.removeprefix("seconds/"): statistics.fmean(entry[name] for entry in steps)
                for name in steps[0]
                if name.startswith("seconds/")
            }
            summary["arms"][arm]["seconds"] = seconds
    return summary


def draw(recipe: Recipe, picture: Path) -> None:
    """The curves of the runs with all rewards: total and each reward, the seeds and their mean."""
    names = ["reward", *(f"rewards/{name}/mean" for name in recipe.weights)]
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 2.8), layout="constrained")
    for axis, name in zip(axes, names, strict=True):
        curves = []
        for seed in recipe.args.seeds:
            run_file = json.loads((recipe.output / f"seed{seed}" / "grpo" / "run.json").read_text())
            log = [entry for entry in run_file["log"] if "loss" in entry]
            steps = [entry["step"] for entry in log]
            curves.append([entry[name] for entry in log])
            axis.plot(steps, curves[-1], color="tab:blue", alpha=0.3, linewidth=1)
        axis.plot(steps, np.mean(curves, axis=0), color="tab:blue", linewidth=2)
        title = {"reward": "total"}.get(name, name.removeprefix("rewards/").removesuffix("/mean"))
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def print_table(summary: dict[str, Any], rewards: Iterable[str]) -> None:
    """Markdown: a row an arm, mean and half-width over the seeds."""
    names = ["reward", *METRICS, "gap in form", *(f"reward {name}" for name in rewards), "tokens"]
    print(f"| | {' | '.join(names)} | change of the gap | of that in form |\n|{'---|' * (len(names) + 3)}")
    for arm, row in summary["arms"].items():
        cells = [
            f"{row[name]['mean']:.3f}"
            + (f" ± {row[name]['half_width']:.3f}" if len(row[name]["values"]) > 1 else "")
            for name in names
        ]
        for change in ("gap_change", "gap_in_form_change"):
            if change in row:
                low, high = row[change]["interval"]
                cells.append(f"{row[change]['change']:+.3f} ({low:+.3f} to {high:+.3f})")
        print(f"| {arm} | {' | '.join(cells)} |")
    for arm, row in summary["arms"].items():
        if "seconds" in row:
            print(arm, "seconds a step:", {name: round(value, 2) for name, value in row["seconds"].items()})


def main() -> None:
    """Run what is missing, then sum up."""
    (args,) = parse_arguments(MedicalArguments, description=__doc__)
    recipe = Recipe(args)
    recipe.prepare()
    recipe.sft()
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(recipe.grpo, seed, arm) for arm in recipe.arms() for seed in recipe.seeds(arm)]
        for done in runs:
            done.result()
    for seed in args.seeds:
        recipe.compare(seed)
    summary = summarize(recipe)
    write_json(recipe.output / "summary.json", summary)
    draw(recipe, ROOT / "docs/images" / f"grpo_{args.dataset}.png")
    print_table(summary, recipe.weights)


if __name__ == "__main__":
    run(main)
