"""Questions of an image in one row, against a row for each question: training and prediction, on processors.

    python -m benchmarks.grouping                    all of it, 6 minutes on two cores
    python -m benchmarks.grouping --only train_22q predict_22q
    python -m benchmarks.grouping --only scaling     1 to 32 questions an image, and the chart of it

Training is compared with TRL's `SFTTrainer` and its own collator: the same messages, questions a step,
weights and frozen parts, float32. Prediction is compared with `generate`, in batches of 16 and one by one.
Each arm is a process of its own, warmed up and run in windows that take turns; what counts is the median. No
vision features are cached. Figures go to benchmarks/results.json, the chart to
docs/images/grouping_speedup.png.
"""

import subprocess
import sys
from dataclasses import dataclass

import torch

from benchmarks.arms import predict_ours, predict_stock, train_ours, train_stock
from benchmarks.results import ROOT, record, rounded
from benchmarks.windows import Arm, Summary, alternate
from benchmarks.workloads import QWEN_29M, STYLE, Workload, qwen_model, qwen_processor, write_records
from vqa.branches import shared_length
from vqa.cli import option, parse_arguments, run
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.models import count_parameters, load_model, load_processor
from vqa.prompts import build_answer
from vqa.records import read_records

FOLDER = ROOT / "outputs/benchmarks/grouping"
CHART = ROOT / "docs/images/grouping_speedup.png"
EASY_VQA = ROOT / "data/easy_vqa"
NAMES = ("train_22q", "predict_22q", "train_easy_vqa", "predict_easy_vqa", "scaling")
SCALE = ((1,), (2, 4), (8, 16, 32))  # questions an image, and which are measured at a time
QUESTIONS_A_STEP = 32
IMAGE_SIZE = 336
GENERATE_BATCH = 16  # rows of `generate`
SAMPLE = 500  # records whose tokens are counted
OUR_BATCH = 64  # questions; predict.py's own choice where images have several


@dataclass
class GroupingArguments:
    """What to measure."""

    only: list[str] = option(list(NAMES), f"which of {', '.join(NAMES)}")
    windows: int = option(3, "measured windows of each arm")


def many_questions(questions: int, batch: int) -> Workload:
    """A Qwen2-VL of 29M parameters and pictures with so many questions each."""
    model = FOLDER / "qwen2_vl_29m"
    if not (model / "config.json").is_file():
        processor = qwen_processor(IMAGE_SIZE)
        qwen_model(processor, QWEN_29M).save_pretrained(model)
        processor.save_pretrained(model)
    pictures = max(40, 20 * batch // questions)
    records = write_records(FOLDER / f"{questions}q", pictures, questions, IMAGE_SIZE)
    return Workload(records, model, batch, max_new_tokens=2)  # a word and the end token


def easy_vqa(split: str) -> Workload:
    """The first 3,000 questions of easy-VQA and this project's base model, its vision tower frozen."""
    records = EASY_VQA / f"{split}.jsonl"
    if not records.is_file():
        command = ["prepare_data.py", "convert", "--dataset", "easy_vqa", "--output_dir", str(EASY_VQA)]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return Workload(records, ROOT / "models/tiny-vqa-base", 32, ("vision",), limit=3000)


# What is measured


def train(name: str, workload: Workload, steps: tuple[int, int], windows: int) -> None:
    """Our trainer against TRL's.

    Args:
        steps: in a window, ours and TRL's.
    """
    arms = {"ours": Arm(train_ours, workload, True), "stock": Arm(train_stock, workload)}
    done = alternate(arms, dict(zip(arms, steps, strict=True)), windows)
    report(name, done["ours"], done["stock"], describe(workload))


def predict(name: str, workload: Workload, pictures: tuple[int, int, int], windows: int) -> None:
    """Our prediction against `generate` in batches, and one by one.

    Args:
        pictures: in a window, of each of the three.
    """
    arms = {
        "ours": Arm(predict_ours, workload, OUR_BATCH),
        "batches": Arm(predict_stock, workload, GENERATE_BATCH),
        "single": Arm(predict_stock, workload, 1),
    }
    done = alternate(arms, dict(zip(arms, pictures, strict=True)), windows)
    facts = describe(workload)
    report(name, done["ours"], done["batches"], facts | {"baseline_batch_size": GENERATE_BATCH})
    report(f"{name}_single", done["ours"], done["single"], facts | {"baseline_batch_size": 1})


def scaling(windows: int) -> None:
    """Training with 1 to 32 questions an image, 32 a step, against TRL's, for which that is all the same."""
    entries = []
    for counts in SCALE:
        workloads = {count: many_questions(count, QUESTIONS_A_STEP) for count in counts}
        arms = {f"{count}": Arm(train_ours, workload, True) for count, workload in workloads.items()}
        steps = {f"{count}": max(1, count // 4) for count in counts} | {"stock": 1, "ungrouped": 1}
        arms["stock"] = Arm(train_stock, workloads[counts[0]])
        if 1 in counts:
            arms["ungrouped"] = Arm(train_ours, workloads[1], False)
        done = alternate(arms, steps, windows)
        for count, workload in workloads.items():
            ours, stock = done[f"{count}"], done["stock"]
            facts = describe(workload) | predicted(workload, count, ours, stock)
            entries.append(report(f"scaling_{count}q", ours, stock, facts))
        if 1 in counts:
            report("grouping_of_single_questions", done["1"], done["ungrouped"], describe(workloads[1]))
    plot(entries)


def describe(workload: Workload) -> dict[str, float]:
    """Questions an image; tokens that all begin with, and of a question with its answer on average."""
    encoder = PromptEncoder(load_processor(str(workload.model)))
    records = read_records(workload.records, limit=workload.limit)
    prompts = [prompt.input_ids for prompt in encoder.encode(records[:SAMPLE], STYLE)]
    answers = [encoder.answer_ids(build_answer(record, STYLE)) for record in records[:SAMPLE]]
    prefix = shared_length(prompts)
    return {
        "questions_per_image": rounded(len(records) / len({record["images"][0] for record in records})),
        "prefix_tokens": prefix,
        "question_tokens": rounded(sum(map(len, [*prompts, *answers])) / len(prompts) - prefix),
    }


def report(name: str, ours: Summary, baseline: Summary, facts: dict) -> dict:
    """Record a comparison and print it."""
    for kind, summary in (("ours", ours), ("baseline", baseline)):
        facts |= {
            f"{kind}_windows": [rounded(rate) for rate in summary.rates],
            f"{kind}_tokens_per_question": rounded(summary.tokens_per_question),
            f"{kind}_peak_memory": summary.peak_memory,
        }
    facts |= {
        "cpu_time_ratio": rounded(ours.cpu_rate / baseline.cpu_rate),
        "threads": torch.get_num_threads(),
    }
    entry = record(name, ours.rate, baseline.rate, "questions/s", **facts)
    print(
        f"{name}: {entry['ours']} against {entry['baseline']} questions/s, {entry['ratio']} times "
        f"({facts['cpu_time_ratio']} in processor time); {facts['ours_tokens_per_question']} against "
        f"{facts['baseline_tokens_per_question']} tokens a question, {ours.peak_memory / 2**30:.1f} against "
        f"{baseline.peak_memory / 2**30:.1f} GiB",
        flush=True,
    )
    return entry


# What it should be


def predicted(workload: Workload, questions: int, ours: Summary, stock: Summary) -> dict[str, float]:
    """The speed-up that token counts give, if all multiplications take the same time.

    A token is multiplied with each weight that it passes and, in attention, twice with each token of its row.
    Tokens are those that were computed, padding and all: the language model has prefixes and questions, the
    tower the patches of images, the connector their tokens. Optimizer, reading and collating are left out.
    """
    model = load_model(str(workload.model))
    weights = {part: count["total"] for part, count in count_parameters(model).items()}
    text, vision = model.config.text_config, model.config.vision_config
    image_tokens = (IMAGE_SIZE // 28) ** 2
    patches = 4 * image_tokens  # of 14 pixels
    image = patches * (weights["vision"] + 2 * vision.depth * vision.embed_dim * patches)
    image += image_tokens * weights["connector"]
    dense = weights["llm"] - model.get_input_embeddings().weight.numel()

    def cost(summary: Summary, shared_by: int) -> float:
        row = summary.tokens_per_question * shared_by
        per_token = dense + 2 * text.num_hidden_layers * text.hidden_size * row
        return image / shared_by + summary.tokens_per_question * per_token

    return {
        "predicted_ratio": rounded(cost(stock, 1) / cost(ours, questions)),
        "predicted_ratio_of_language_model": rounded(stock.tokens_per_question / ours.tokens_per_question),
    }


def plot(entries: list[dict]) -> None:
    """Speed-up by questions an image: measured, and as token counts predict."""
    import matplotlib.pyplot as plt  # here: the tests import this file and draw nothing

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    curves = {
        "predicted_ratio": ("predicted from all tokens", "--", "0.35"),
        "predicted_ratio_of_language_model": ("predicted from the language model's alone", ":", "0.6"),
        "ratio": ("measured", "o-", "tab:blue"),
    }
    counts = [count for group in SCALE for count in group]
    for key, (label, line, color) in curves.items():
        axes.plot(counts, [entry[key] for entry in entries], line, color=color, label=label)
    for count, entry in zip(counts, entries, strict=True):
        axes.annotate(
            f"{entry['ratio']:.1f}", (count, entry["ratio"]), xytext=(4, -12), textcoords="offset points"
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{count}" for count in counts])
    axes.set(
        xlabel="questions an image",
        ylabel="times as many questions a second",
        title="Training with grouped questions against TRL's SFTTrainer",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(CHART, dpi=130)


def main() -> None:
    """Measure what is asked for."""
    (args,) = parse_arguments(GroupingArguments, description=__doc__)
    unknown = sorted(set(args.only) - set(NAMES))
    if unknown:
        raise UserError(f"--only {unknown[0]}: choose from {', '.join(NAMES)}")
    if "train_22q" in args.only:
        train("train_22q", many_questions(22, 22), (5, 1), args.windows)
    if "predict_22q" in args.only:
        predict("predict_22q", many_questions(22, 22), (20, 4, 2), args.windows)  # some 7 s each
    if "train_easy_vqa" in args.only:
        train("train_easy_vqa", easy_vqa("train"), (15, 5), args.windows)
    if "predict_easy_vqa" in args.only:
        predict("predict_easy_vqa", easy_vqa("test"), (30, 10, 3), args.windows)
    if "scaling" in args.only:
        scaling(args.windows)


if __name__ == "__main__":
    run(main)
