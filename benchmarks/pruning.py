"""A model cut to 70%, 50% and, in three rounds, 33% of its language model: what it costs and what comes back.

The model is the quickstart's with a new block behind each of its four, which starts as the identity (LLaMA
Pro, Wu et al. 2024, arXiv:2401.02415), after 300 more steps: embeddings would otherwise be a third of it.
Uncut, it is also the teacher of recovery (`--method dense`). Accuracy before, right after the cut and after
recovery; parameters, bytes of the file, new tokens a second. Beside it masks of 65% and 2:4, which only make
zeros.

    python -m benchmarks.pruning

What is there already is not made again. Writes OUTPUT/summary.json and prints a table in Markdown.
"""

import copy
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.medical import ROOT, script
from benchmarks.medical_figures import interval
from vqa.cli import option, parse_arguments, run
from vqa.files import write_json
from vqa.models import load_model, load_processor

DATA = ROOT / "data/easy_vqa"
TEACHER = ROOT / "outputs/quickstart/model"
NEW_BLOCKS = 1  # behind each of the quickstart's four
EVERYWHERE = ("--prune_dimensions", "ffn", "heads")
AT_ONCE = ("--prune", "structured", "--pruning_steps", 0, *EVERYWHERE)
ARMS = {
    "structured 30%": (*AT_ONCE, "--target_sparsity", 0.3),
    "structured 50%": (*AT_ONCE, "--target_sparsity", 0.5),
    "structured 67% at once": (*AT_ONCE, "--target_sparsity", 0.67),
    "structured 67%, 3 rounds": (*AT_ONCE, "--target_sparsity", 0.67, "--prune_rounds", 3),
    "structured 50%, gradual": (
        *("--prune", "structured", *EVERYWHERE, "--target_sparsity", 0.5),
        *("--pruning_steps", 0.5, "--pruning_frequency", 20),
    ),
    "unstructured 65%": ("--prune", "unstructured", "--pruning_steps", 0.5, "--pruning_frequency", 20),
    "2:4": ("--prune", "2:4", "--pruning_steps", 0.5, "--pruning_frequency", 20),
}


@dataclass
class PruningBenchmark:
    """Which runs."""

    arms: list[str] = option(list(ARMS), "what is cut")
    seeds: list[int] = option([0, 1, 2], "of data order; the cut itself is the same in all")
    steps: int = option(300, "of recovery, in all rounds together")
    test_records: int = option(2000, "held-out questions, the first so many")
    jobs: int = option(2, "runs side by side, one thread each")
    output_dir: str = option("outputs/pruning", "where runs and numbers go")


class Study:
    """The runs, each in a folder of its own."""

    def __init__(self, args: PruningBenchmark) -> None:
        self.args = args
        self.output = ROOT / args.output_dir
        self.large = self.output / "large"

    def folder(self, name: str, seed: int) -> Path:
        """Where the runs of an arm go."""
        return self.output / f"seed{seed}" / re.sub(r"\W+", "_", name)

    def distill(self, start: Path, teacher: Path, folder: Path, *more: Any) -> None:
        """A run of train_distill.py, where it has not been made."""
        if not (folder / "run.json").is_file():
            script(
                folder / "log",
                "train_distill.py",
                *("--config", "configs/distill/easy_vqa.yaml", "--method", "dense", "--output_dir", folder),
                *("--model_name_or_path", start, "--teacher_model_name_or_path", teacher, *more),
            )

    def accuracy(self, model: Path) -> float:
        """On the held-out questions."""
        if not (model / "metrics.json").is_file():
            answers = model / "test.jsonl"
            script(
                model / "predict.log",
                "predict.py",
                *("--model_name_or_path", model, "--records", DATA / "test.jsonl", "--output_file", answers),
                *("--limit", self.args.test_records, "--cache_vision_features", DATA / "features"),
            )
            script(
                model / "evaluate.log", "evaluate.py", "--predictions_file", answers, "--output_dir", model
            )
        return json.loads((model / "metrics.json").read_text(encoding="utf-8"))["overall"]["accuracy"]

    def arm(self, name: str, seed: int) -> dict[str, Any]:
        """One way of cutting: the numbers right after the cut, and after recovery."""
        folder = self.folder(name, seed)
        options = ARMS[name]
        rounds = 3 if "--prune_rounds" in options else 1
        steps = ("--max_steps", self.args.steps // rounds, "--learning_rate", 1e-3, "--seed", seed)
        self.distill(self.large, self.large, folder / "recovered", *options, *steps)
        row = {"recovered": self.accuracy(folder / "recovered"), **size(folder / "recovered")}
        if options[:4] == AT_ONCE[:4] and rounds == 1 and seed == self.args.seeds[0]:
            # A rate of next to nothing leaves the cut model as it is.
            self.distill(
                self.large, self.large, folder / "cut", *options, "--max_steps", 1, "--learning_rate", 1e-12
            )
            row["after_cut"] = self.accuracy(folder / "cut")
        return row

    def run(self) -> dict[str, list[dict[str, Any]]]:
        """All runs."""
        if not (self.output / "start/config.json").is_file():
            add_blocks(str(TEACHER), self.output / "start")
        self.distill(self.output / "start", TEACHER, self.large, "--max_steps", 300, "--learning_rate", 1e-3)
        found: dict[str, list[dict[str, Any]]] = {
            "before": [{"recovered": self.accuracy(self.large), **size(self.large)}]
        }
        with ThreadPoolExecutor(self.args.jobs) as pool:
            runs = {
                name: [pool.submit(self.arm, name, seed) for seed in self.args.seeds]
                for name in self.args.arms
            }
            found |= {name: [done.result() for done in rows] for name, rows in runs.items()}
        for name, rows in found.items():
            folder = self.large
            if name != "before":
                folder = self.folder(name, self.args.seeds[0]) / "recovered"
            rows[0]["tokens_per_second"] = speed(folder)
        return found


def add_blocks(source: str, folder: Path) -> None:
    """A model with NEW_BLOCKS copies behind each block, which add nothing to the residual stream yet."""
    model, processor = load_model(source), load_processor(source)
    text, deeper = model.config.text_config, []
    for layer in model.model.language_model.layers:
        deeper.append(layer)
        for _ in range(NEW_BLOCKS):
            block = copy.deepcopy(layer)
            nn.init.zeros_(block.self_attn.o_proj.weight)
            nn.init.zeros_(block.mlp.down_proj.weight)
            deeper.append(block)
    for index, layer in enumerate(deeper):
        layer.self_attn.layer_idx = index
    model.model.language_model.layers = nn.ModuleList(deeper)
    text.num_hidden_layers, text.layer_types = len(deeper), text.layer_types * (1 + NEW_BLOCKS)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def size(folder: Path) -> dict[str, int]:
    """Parameters and bytes on disk of a checkpoint; `llm` without the vision tower and connector."""
    model = load_model(str(folder))
    llm = sum(parameter.numel() for parameter in model.model.language_model.parameters())
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return {"parameters": model.num_parameters(), "llm": llm, "bytes": files}


@torch.no_grad()
def speed(folder: Path, new_tokens: int = 64, batch: int = 8) -> float:
    """New tokens a second of the language model, greedy, one thread, the best of three."""
    torch.set_num_threads(1)
    model = load_model(str(folder))
    ids = torch.randint(10, 4000, (batch, 32), generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(4):
        begun = time.perf_counter()
        model.generate(input_ids=ids, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False)
        seconds.append(time.perf_counter() - begun)
    return batch * new_tokens / min(seconds[1:])


def print_table(found: dict[str, list[dict[str, Any]]]) -> None:
    """Means over seeds with 95% intervals, in Markdown."""
    print("| | language model | file | new tokens/s | accuracy after the cut | after recovery |")
    print("|---|---|---|---|---|---|")
    for name, rows in found.items():
        cut = [f"{100 * row['after_cut']:.1f}%" for row in rows if "after_cut" in row]
        mean, half = interval([row["recovered"] for row in rows])
        recovered = f"{100 * mean:.1f}%" + (f" ± {100 * half:.1f}" if half is not None else "")
        row = rows[0]
        print(
            f"| {name} | {row['llm'] / 1e6:.2f}M | {row['bytes'] / 1e6:.1f} MB "
            f"| {row['tokens_per_second']:.0f} "
            f"| {', '.join(cut)} | {recovered} |"
        )


def main() -> None:
    """Make what is missing, then print."""
    (args,) = parse_arguments(PruningBenchmark, description=__doc__)
    study = Study(args)
    found = study.run()
    write_json(study.output / "summary.json", found)
    print_table(found)


if __name__ == "__main__":
    run(main)
