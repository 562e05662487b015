"""Mini-LLaVA from real weights, stage by stage, and what each choice is worth.

DINOv2-small (frozen), a new connector, SmolLM2-135M-Instruct. Stage 1 trains the connector on captions of
easy-VQA; stage 2 on its questions and those about synthetic screens, a part of them unanswerable; stage 3
goes on with easy-VQA alone, the last two blocks whole. Arms of stage 2: connector alone, LoRA of rank 8 and
16, LoRA beside two whole blocks, a Perceiver resampler in place of the MLP, no unanswerable questions.

    make smollm offline-weights
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa
    python -m benchmarks.mini_llava

What is there already is not made again. Writes OUTPUT/summary.json and prints tables in Markdown.
"""

import json
import math
import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from benchmarks.medical import ROOT, script
from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json, write_jsonl

EASY = ROOT / "data/easy_vqa"
ABSENT_PER_PICTURE = 2
MODEL = {
    "vision_name": "dinov2-small",
    "llm_name": "smollm2-135m",
    "vision_feature_layer": [6],  # colours are plain there (docs/base_model.md)
    "image_size": 112,
}
CONNECTORS = {"mlp": {"connector": "mlp"}, "perceiver": {"connector": "perceiver", "num_latents": 32}}
TRAINING = {
    "answer_style": "short",
    "freeze": ["vision"],
    "group_by_image": True,
    "questions_per_image": 8,
    "bf16": True,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "logging_steps": 5,
    "save_strategy": "no",
}
WARM_UP = {"freeze": ["vision", "llm"], "per_device_train_batch_size": 12, "learning_rate": 2e-3}
INSTRUCTIONS = {
    "per_device_train_batch_size": 32,
    "learning_rate": 5e-4,
    "connector_learning_rate": 1e-3,
}
LORA = {"lora_rank": 16, "lora_alpha": 32, "lora_whole_parts": ["connector"], "merge_adapter": True}
# Name -> the connector, and what differs from INSTRUCTIONS and LORA.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA 16": ("mlp", {}),
    "connector alone": ("mlp", {"lora_rank": 0, "freeze": ["vision", "llm"], "learning_rate": 1e-3}),
    "LoRA 8": ("mlp", {"lora_rank": 8, "lora_alpha": 16}),
    "LoRA 16, two blocks whole": ("mlp", {"lora_top_blocks": 2}),
    "Perceiver, LoRA 16": ("perceiver", {}),
    "LoRA 16, nothing unanswerable": ("mlp", {}),
}
MAIN, ANSWERABLE_ONLY = "LoRA 16", "LoRA 16, nothing unanswerable"
SPECIALISE = {
    "lora_rank": 8,
    "lora_alpha": 16,
    "lora_top_blocks": 2,
    "learning_rate": 2e-4,
    "connector_learning_rate": 2e-4,
}
TESTS = ("shapes", "screens")


@dataclass
class MiniLlavaBenchmark:
    """Which runs, and how long they are."""

    arms: list[str] = option(list(ARMS), "of stage 2")
    seed: int = option(0, "of data and training")
    warm_up_steps: int = option(150, "of stage 1, 12 captions each")
    instruction_steps: int = option(200, "of stage 2, 32 questions each")
    specialise_steps: int = option(60, "of stage 3, 32 questions each")
    train_pictures: int = option(1500, "of easy-VQA, the first")
    train_screens: int = option(600, "drawn")
    test_pictures: int = option(40, "of easy-VQA, the first, and as many new screens")
    test_records: int = option(450, "of each test file, the first")
    jobs: int = option(1, "runs side by side, one thread each")
    output_dir: str = option("outputs/mini_llava/study", "where data, runs and numbers go")


class Study:
    """The runs, each in a folder of its own."""

    def __init__(self, args: MiniLlavaBenchmark) -> None:
        self.args = args
        self.output = ROOT / args.output_dir
        self.data = self.output / "data"

    def make_data(self) -> None:
        """Folders `easy`, `absent`, both together (`shapes`), `screens`; `captions`; `screens_answerable`."""
        if (self.data / "manifest.json").is_file():
            return
        if not (EASY / "manifest.json").is_file():
            raise UserError(
                f"{EASY}: not there; python prepare_data.py convert --dataset easy_vqa (see --help)"
            )
        pictures = {"train": self.args.train_pictures, "test": self.args.test_pictures}
        screens = {"train": self.args.train_screens, "test": self.args.test_pictures}
        for split in ("train", "test"):
            rows = list(first_pictures(EASY / f"{split}.jsonl", pictures[split]))
            self.write("easy", split, rows)
            absent = absent_questions(rows, self.args.seed)
            self.write("absent", split, absent)
            self.write("shapes", split, sorted(rows + absent, key=lambda row: row["meta"]["image_id"]))
            script(
                self.data / f"screens_{split}.log",
                *("prepare_data.py", "synth", "ui", "--output_dir", self.data / "screens", "--split", split),
                *("--num_images", screens[split], "--unanswerable_ratio", 0.3),
                *("--seed", self.args.seed + (split == "test") * 1000),
            )
        screens_train = (self.data / "screens/train.jsonl").read_text(encoding="utf-8").splitlines()
        answerable = [row for row in map(json.loads, screens_train) if row["answerable"]]
        write_jsonl(self.data / "screens_answerable/train.jsonl", answerable)
        write_json(self.data / "screens_answerable/manifest.json", {"image_root": "../screens"})
        script(
            self.data / "captions.log",
            *("-m", "vqa.preparation.captions", self.data / "easy", "--output_dir", self.data / "captions"),
        )
        write_json(self.data / "manifest.json", {"pictures": pictures, "screens": screens})

    def write(self, name: str, split: str, rows: list[dict[str, Any]]) -> None:
        """Records about easy-VQA's pictures."""
        root = json.loads((EASY / "manifest.json").read_text(encoding="utf-8"))["image_root"]
        folder = self.data / name
        write_json(folder / "manifest.json", {"image_root": os.path.relpath((EASY / root).resolve(), folder)})
        write_jsonl(folder / f"{split}.jsonl", rows)

    def train(
        self, name: str, connector: str, start: Path | None, files: list[str], options: dict[str, Any]
    ) -> Path:
        """A run of train_sft.py from a model, or from the parts, where it has not been made."""
        folder = self.output / folder_name(name)
        if not (folder / "run.json").is_file():
            config = {**TRAINING, **options, "seed": self.args.seed, "output_dir": str(folder)}
            config["train_files"] = [str(self.data / f"{file}/train.jsonl") for file in files]
            # A cache knows how many tokens an image takes, which differs between connectors.
            config["cache_vision_features"] = str(self.output / f"features_{connector}")
            if start is not None:
                config["model_name_or_path"] = str(start)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            script(folder / "train.log", "train_sft.py", "--config", folder / "config.yaml")
        return folder / "merged" if options.get("merge_adapter") else folder

    def judge(self, name: str, model: Path) -> dict[str, Any]:
        """Of each test file, metrics.json of a model."""
        found = {}
        for test in TESTS:
            folder = self.output / "answers" / folder_name(name) / test
            answers = folder / "test.jsonl"
            if not answers.is_file():
                script(
                    folder / "predict.log",
                    *("predict.py", "--model_name_or_path", model, "--answer_style", "short"),
                    *("--records", self.data / test / "test.jsonl", "--output_file", answers),
                    *("--limit", self.args.test_records, "--dtype", "bfloat16"),  # as in training
                )
            if not (folder / "metrics.json").is_file():
                options = ("--predictions_file", answers, "--output_dir", folder)
                script(folder / "evaluate.log", "evaluate.py", *options)
            found[test] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return found

    def warm_up(self, connector: str) -> Path:
        """Stage 1."""
        steps = {"max_steps": self.args.warm_up_steps}
        return self.train(
            f"warm-up {connector}",
            connector,
            None,
            ["captions"],
            {**MODEL, **CONNECTORS[connector], **WARM_UP, **steps},
        )

    def arm(self, name: str) -> Path:
        """Stage 2."""
        connector, differs = ARMS[name]
        options = {**INSTRUCTIONS, **LORA, "max_steps": self.args.instruction_steps, **differs}
        if not options["lora_rank"]:
            options = {key: value for key, value in options.items() if key not in LORA}
        files = ["easy", "screens_answerable"] if name == ANSWERABLE_ONLY else ["easy", "absent", "screens"]
        return self.train(name, connector, self.warm_up(connector), files, options)

    def run(self) -> dict[str, dict[str, Any]]:
        """All runs: name -> its numbers."""
        self.make_data()
        self.warm_up("mlp")
        with ThreadPoolExecutor(self.args.jobs) as pool:
            models = dict(zip(self.args.arms, pool.map(self.arm, self.args.arms), strict=True))
        models["untrained"] = self.output / "warm_up_mlp/start"
        models["stage 1: captions"] = self.output / "warm_up_mlp"
        options = {**INSTRUCTIONS, **LORA, **SPECIALISE, "max_steps": self.args.specialise_steps}
        models["stage 3: specialised"] = self.train(
            "specialised", "mlp", models[MAIN], ["easy", "absent"], options
        )
        with ThreadPoolExecutor(self.args.jobs) as pool:
            judged = dict(zip(models, pool.map(self.judge, models, models.values()), strict=True))
        return {name: self.row(model, judged[name]) for name, model in models.items()}

    def row(self, model: Path, metrics: dict[str, Any]) -> dict[str, Any]:
        """The numbers of one model, and of its training if it had one."""
        shapes, screens = metrics["shapes"], metrics["screens"]
        row = {
            "accuracy": shapes["by_source"]["easy_vqa"]["accuracy"],
            "interval": shapes["intervals"]["by_source/easy_vqa/accuracy"],
            "by_type": {kind: value["accuracy"] for kind, value in shapes["by_question_type"].items()},
            "abstention": shapes["abstention"],
            "selective": shapes["selective"],
            "screens": screens["overall"]["accuracy"],
            "abstention_screens": screens["abstention"],
        }
        folder = model.parent if model.name == "merged" else model
        if not (folder / "run.json").is_file():
            return row
        run_file = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        losses = [line["loss"] for line in run_file["log"] if "loss" in line]
        return row | {
            "run": f"{folder.relative_to(self.output)}/run.json",
            "commit": run_file["git"]["commit"][:7],
            "loss_first": sum(losses[:4]) / len(losses[:4]),
            "loss_last": sum(losses[-4:]) / len(losses[-4:]),
            "steps": run_file["steps"],
            "train_seconds": run_file["train_seconds"],
            "peak_bytes": run_file["peak_memory_bytes"],
            "trained": trained_parameters(folder),
        }


def folder_name(name: str) -> str:
    """The folder of a run."""
    return re.sub(r"\W+", "_", name).strip("_").lower()


def first_pictures(path: Path, count: int) -> Iterator[dict[str, Any]]:
    """The records of a file about its first pictures."""
    with path.open(encoding="utf-8") as lines:
        pictures = groupby(map(json.loads, lines), key=lambda record: record["images"])
        for _, (_, records) in zip(range(count), pictures, strict=False):
            yield from records


def absent_questions(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Of each picture a few questions about a shape or colour that it does not show, asked of others."""
    drawn = random.Random(seed)
    named = re.compile(r"\b(circle|rectangle|triangle|red|blue|green|black|teal|brown|yellow|gray)\b")
    asked = [row for row in rows if not row["question_type"] == "yes_no" and named.search(row["question"])]
    found = []
    for _images, records in groupby(rows, key=lambda record: record["images"]):
        picture = next(records)
        missing = [row for row in asked if named.search(row["question"])[0] not in picture["caption"]]
        for number, row in enumerate(drawn.sample(missing, ABSENT_PER_PICTURE)):
            about = {key: picture[key] for key in ("images", "caption", "split", "image_sha256", "meta")}
            nothing = {"answers": [], "answerable": False, "boxes": [], "box_images": [], "reasoning": []}
            identity = {"id": f"{picture['id']}/absent{number}", "source": "absent"}
            found.append(row | about | nothing | identity)
    return found


def trained_parameters(folder: Path) -> int:
    """Of an adapter and what trained whole beside it; else of the connector, which then trained alone."""
    path = folder / "adapter_model.safetensors"
    path = path if path.is_file() else folder / "model.safetensors"
    with safe_open(path, "pt") as weights:
        return sum(
            math.prod(weights.get_slice(name).get_shape())
            for name in weights.keys()  # noqa: SIM118
            if path.name.startswith("adapter") or "multi_modal_projector" in name
        )


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Training and test of each model, in Markdown."""
    heads = (
        "", "trains", "steps", "loss, first and last 20", "easy-VQA", "answers what is not there",
        "withholds what is", "AURC", "screens", "answers what is not there", "minutes", "peak GiB", "run",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in rows.items():
        low, high = row["interval"]
        training = ("", "", "")
        cost = ("", "", "")
        if "run" in row:
            losses = f"{row['loss_first']:.2f}, {row['loss_last']:.2f}"
            training = (f"{row['trained'] / 1e6:.2f}M", str(row["steps"]), losses)
            minutes, memory = row["train_seconds"] / 60, row["peak_bytes"] / 2**30
            cost = (f"{minutes:.1f}", f"{memory:.1f}", f"`{row['run']}`, {row['commit']}")
        tested = (
            f"{row['accuracy']:.1%} ({100 * low:.1f} to {100 * high:.1f})",
            f"{row['abstention']['hallucination_rate']:.1%}",
            f"{row['abstention']['over_abstention_rate']:.1%}",
            f"{row['selective']['aurc']:.3f}",
            f"{row['screens']:.1%}",
            f"{row['abstention_screens']['hallucination_rate']:.1%}",
        )
        lines.append(f"| {' | '.join((name, *training, *tested, *cost))} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, then print."""
    (args,) = parse_arguments(MiniLlavaBenchmark, description=__doc__)
    study = Study(args)
    rows = study.run()
    write_json(study.output / "summary.json", rows)
    print(table(rows))


if __name__ == "__main__":
    run(main)
