"""What traces and OCR's boxes give a small student of documents: synthetic pages, two CPU cores.

Pages of three layouts to learn from; held-out pages of the same, and of a layout never seen. Gold-filtered
traces of the first. Two students of the same base, steps and pages: one learns the bare answers, one the
traces. Then their answers: bare; structured and free; with boxes that can only be OCR's; with answers from
these boxes too.

    python -m benchmarks.document_student

What is there already is not made again. Writes OUTPUT/summary.json and prints the table.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.medical import script
from vqa.cli import option, parse_arguments, run
from vqa.files import write_json, write_jsonl
from vqa.preparation.folders import read_folder
from vqa.sampling import spread

HELD_OUT_LAYOUT = "invoice"
# Name of the answers -> the student, and the options of predict.py.
ARMS = {
    "without traces": ("short", []),
    "traces, free": ("traces", ["--decoding", "free"]),
    "traces, constrained": ("traces", []),
    "traces, --ground ocr": ("traces", ["--ground", "ocr"]),
    "traces, --ground ocr --answer_from_ocr": ("traces", ["--ground", "ocr", "--answer_from_ocr", "true"]),
}
TEST_SETS = {"same_layouts": "held-out pages", "new_layout": "a layout never seen"}


@dataclass
class StudentArguments:
    """How much of it."""

    pages: int = option(320, "synthetic documents, of four layouts in about equal parts")
    test_pages: int = option(50, "held-out pages of each of the two kinds")
    test_questions: int = option(150, "of them, spread evenly over the pages")
    seed: int = option(0, "of the pages and of training")
    output_dir: str = option("outputs/document_student", "where data, students and numbers go")


def prepare(args: StudentArguments, output: Path) -> dict[str, Path]:
    """The record folders: `train`, its `traces`, and the two test sets."""
    documents, split = output / "documents", output / "split"
    if not (documents / "manifest.json").is_file():
        options = ("--num_images", args.pages, "--seed", args.seed, "--output_dir", documents)
        script(output / "synth.log", "prepare_data.py", "synth", "documents", *options)
    if not (split / "manifest.json").is_file():
        rows = [json.loads(line) for line in (documents / "train.jsonl").read_text("utf-8").splitlines()]
        layout = {row["images"][0]: row["meta"]["kind"] for row in rows}
        held_out = [image for image, kind in layout.items() if kind == HELD_OUT_LAYOUT][: args.test_pages]
        others = [image for image, kind in layout.items() if kind != HELD_OUT_LAYOUT]
        sets = {
            "train": others[args.test_pages :],
            "same_layouts": others[: args.test_pages],
            "new_layout": held_out,
        }
        for name, images in sets.items():
            chosen = [row for row in rows if row["images"][0] in set(images)]
            if name in TEST_SETS:
                chosen = [chosen[index] for index in spread(len(chosen), args.test_questions)]
            write_jsonl(split / f"{name}.jsonl", chosen)
        write_json(split / "manifest.json", {"image_root": os.path.relpath(documents, split)})
    traces = output / "traces"
    if not (traces / "manifest.json").is_file():
        options = ("--output_dir", traces, "--ocr_cache_dir", output / "ocr")
        script(output / "traces.log", "prepare_data.py", "traces", split / "train.jsonl", *options)
    return {"traces": traces / "train.jsonl", "short": split / "train.jsonl"} | {
        name: split / f"{name}.jsonl" for name in TEST_SETS
    }


def train(name: str, records: Path, args: StudentArguments, output: Path) -> Path:
    """A student, from its config."""
    folder = output / name
    if not (folder / "run.json").is_file():
        style = {"short": "short", "traces": "structured"}[name]
        script(
            folder / "log",
            "train_sft.py",
            *("--config", "configs/document/sft_small.yaml", "--train_files", records, "--seed", args.seed),
            *("--answer_style", style, "--output_dir", folder),
            *("--cache_vision_features", output / "features"),
        )
    return folder


def judge(arm: str, test: str, model: Path, records: Path, output: Path) -> dict[str, float | None]:
    """Answers of a student, and what they are worth."""
    options = ARMS[arm][1]
    folder = output / "answers" / f"{list(ARMS).index(arm)}_{test}"
    if not (folder / "metrics.json").is_file():
        asked = (
            "--model_name_or_path",
            model,
            "--records",
            records,
            "--output_file",
            folder / "answers.jsonl",
        )
        cached = ("--ocr_cache_dir", output / "ocr", "--cache_vision_features", output / "features")
        script(folder / "predict.log", "predict.py", *asked, *cached, *options)
        script(folder / "evaluate.log", "evaluate.py", "--predictions_file", folder / "answers.jsonl")
    metrics = json.loads((folder / "metrics.json").read_text())
    manifest = json.loads((folder / "answers.manifest.json").read_text())
    return {
        "questions": metrics["count"],
        "accuracy": metrics["overall"]["accuracy"],
        "anls": metrics["anls"],
        "acc_at_50": metrics["grounding"]["acc_at_50"],
        "mean_iou": metrics["grounding"]["mean_iou"],
        "valid_rate": metrics["format"]["valid_rate"],
        "hallucination_rate": metrics["abstention"]["hallucination_rate"],
        "questions_per_second": manifest["questions_per_second"],
        "stage_seconds": manifest["stage_seconds"],
    }


def main() -> None:
    """Make, train, answer, judge."""
    (args,) = parse_arguments(StudentArguments, description=__doc__)
    output = Path(args.output_dir).resolve()
    sets = prepare(args, output)
    students = {name: train(name, sets[name], args, output) for name in ("short", "traces")}
    summary: dict = {"train_questions": {name: len(read_folder(sets[name]).records) for name in students}}
    columns = ("", "questions", "accuracy", "ANLS", "Acc@0.5", "mean IoU", "questions a second")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for test, title in TEST_SETS.items():
        for arm, (student, _) in ARMS.items():
            row = judge(arm, test, students[student], sets[test], output)
            summary.setdefault(test, {})[arm] = row
            cells = [row[name] for name in ("accuracy", "anls", "acc_at_50", "mean_iou")]
            shown = " | ".join("" if value is None else f"{value:.1%}" for value in cells)
            print(f"| {title}: {arm} | {row['questions']} | {shown} | {row['questions_per_second']} |")
    write_json(output / "summary.json", summary)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
