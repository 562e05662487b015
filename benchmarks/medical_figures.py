"""What the runs of `benchmarks/medical.py` come to: means with intervals, the gap, curves, a table."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy import stats

from vqa.metrics.bootstrap import cluster_numbers, image_cluster, resampled_counts
from vqa.metrics.counterfactual import flips, joined_by_id
from vqa.predictions import read_predictions
from vqa.questions import judge

if TYPE_CHECKING:
    from benchmarks.medical import Recipe

METRICS = {
    "valid JSON": ("format", "valid_rate"),
    "accuracy": ("overall", "accuracy"),
    "Acc@0.5": ("grounding", "acc_at_50"),
    "ROI flips": ("counterfactual", "roi_flip_rate"),
    "random flips": ("counterfactual", "random_flip_rate"),
    "gap": ("counterfactual", "faithfulness_gap"),
}


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


def summarize(recipe: "Recipe") -> dict[str, Any]:
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


def draw(recipe: "Recipe", picture: Path) -> None:
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
