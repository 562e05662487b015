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
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.medical_figures import draw, print_table, summarize
from vqa.cli import option, parse_arguments, run
from vqa.files import write_json

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"easy_vqa": "data/easy_vqa_splits", "brain_atlas": "data/brain_atlas"}
# What the first stage starts from, where that is not its config's model, and how often it is run.
SFT_STARTS = {"easy_vqa": (ROOT / "outputs/quickstart/model", 2), "brain_atlas": (None, 1)}


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
