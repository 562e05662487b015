"""Judge a prediction file: a table by question type, metrics.json and report.html.

    python evaluate.py --predictions_file outputs/quickstart/predictions.jsonl

With what other files allow: a threshold tuned on validation predictions, counterfactual flip rates, the
agreement of caption and question:
    python evaluate.py --predictions_file test.jsonl --validation_predictions validation.jsonl \
        --roi_predictions roi.jsonl --random_predictions random.jsonl --caption_consistency true

Two models on the same records, the difference with its interval and p-value:
    python evaluate.py --compare a.jsonl b.jsonl --output_dir outputs/compared

Predict and judge prepared sets (data/docvqa/test.jsonl, ...) in one go; run again it goes on where it was:
    python evaluate.py --run outputs/quickstart/model --benchmarks easy_vqa,slake

No GPU is needed. A line holds at least `id`, `pred`, `qtype` and `answers` (or `gt`); with other fields of
docs/contract.md there is more to measure. What is wrong with a file is said line by line.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.benchmark_runs import find_benchmarks, predict_records
from vqa.cli import option, parse_arguments
from vqa.cli import run as run_main
from vqa.embeddings import SentenceEncoder
from vqa.errors import UserError
from vqa.exports import TABLE_FORMATS, write_sample_log, write_table
from vqa.files import write_json
from vqa.metrics.paired import compare_predictions
from vqa.metrics.summary import summarize
from vqa.metrics.synonyms import expand_synonyms
from vqa.predictions import Prediction, read_predictions
from vqa.questions import DEFAULT_TOLERANCE, judge
from vqa.report import write_comparison, write_report
from vqa.tables import (
    BENCHMARK_COLUMNS,
    COLUMNS,
    PAIRED_COLUMNS,
    accuracy_rows,
    benchmark_row,
    paired_rows,
    print_rows,
)

FORMATS = ("table", *TABLE_FORMATS)
SYNONYMS = ("medical",)
PREDICT = Path(__file__).resolve().parent / "predict.py"


@dataclass
class EvaluationArguments:
    """What to judge, and how."""

    # One of these three
    predictions_file: str | None = option(None, "prediction file (JSONL), as predict.py writes it")
    compare: list[str] = option([], "two prediction files of the same records: the second less the first")
    run: str | None = option(None, "hub name or folder of a model: predict the --benchmarks, then judge them")

    # More to measure: one file, or with --compare one for each of the two
    validation_predictions: list[str] = option(
        [], "predictions of other records; the threshold of the effective reliability is tuned on them"
    )
    roi_predictions: list[str] = option([], "predictions on the images without their evidence")
    random_predictions: list[str] = option([], "predictions on the images without a random region")
    caption_consistency: bool = option(False, "compare question and caption with a sentence encoder")
    synonyms: str | None = option(None, "medical: with the other names of what question and caption name")
    numeric_tolerance: float = option(
        DEFAULT_TOLERANCE, "how far a size may be off, relative to the accepted one; counts are always exact"
    )

    # --run
    benchmarks: str | None = option(None, "names of prepared sets, separated by commas: docvqa,slake")
    data_root: str = option("data", "folder of the prepared sets: DATA_ROOT/NAME/test.jsonl")
    split: str | None = option(None, "split to judge; default: test, or validation where there is no test")
    predict_config: str | None = option(None, "YAML file with further arguments of predict.py")

    # Output
    output_dir: str | None = option(
        None,
        "where results go; default: beside the predictions, for --compare in comparison/ beside the second "
        "file, for --run in outputs/benchmarks/MODEL",
    )
    format: str = option("table", "of what is printed: table, csv or markdown")
    sample_log: str | None = option(None, "also write the samples as lmms-eval logs them, to this file")
    image_root: str | None = option(
        None, "folder that image paths start from; default: that of the predictions"
    )
    max_gallery: int = option(200, "failures shown in the report, at the most")
    seed: int = option(0, "of the bootstrap of the intervals")

    def __post_init__(self) -> None:
        if sum(map(bool, (self.predictions_file, self.compare, self.run))) != 1:
            raise UserError("give one of --predictions_file FILE, --compare A B and --run MODEL")
        if self.compare and len(self.compare) != 2:
            raise UserError(f"--compare takes two prediction files, not {len(self.compare)}")
        if bool(self.run) != bool(self.benchmarks):
            raise UserError("--run MODEL and --benchmarks NAME,NAME go together")
        files = 0 if self.run else len(self.compare) or 1
        for name in ("validation_predictions", "roi_predictions", "random_predictions"):
            given = len(vars(self)[name])
            if given and given != files:
                raise UserError(f"--{name}: {given} given for {files} prediction files")
        if self.sample_log and not self.predictions_file:
            raise UserError("--sample_log goes with --predictions_file")
        if self.format not in FORMATS:
            raise UserError(f"--format {self.format}: choose from {', '.join(FORMATS)}")
        if self.synonyms not in (None, *SYNONYMS):
            raise UserError(f"--synonyms {self.synonyms}: choose from {', '.join(SYNONYMS)}")
        if not 0 <= self.numeric_tolerance < 1:
            raise UserError(f"--numeric_tolerance {self.numeric_tolerance}: not a fraction, such as 0.05")
        if self.max_gallery < 0:
            raise UserError(f"--max_gallery {self.max_gallery}: 0 or more")
        if self.image_root is not None and not Path(self.image_root).is_dir():
            raise UserError(f"--image_root {self.image_root}: no such folder")


@dataclass
class Judged:
    """One prediction file, judged; `masked` are the predictions on masked images by kind."""

    file: Path
    predictions: list[Prediction]
    correct: list[bool]
    metrics: dict[str, Any]
    masked: dict[str, list[Prediction]]


def main() -> None:
    """Judge one file, two, or a model on prepared sets."""
    (args,) = parse_arguments(EvaluationArguments, description=__doc__, prog="evaluate.py")
    if args.run:
        run_benchmarks(args)
    elif args.compare:
        compare(args)
    else:
        judged = judge_file(Path(args.predictions_file), args)
        write_results(judged, Path(args.output_dir or judged.file.parent), args)
        if args.sample_log:
            write_sample_log(args.sample_log, judged.predictions, judged.correct)
        if args.format == "table":
            print_rows("type", COLUMNS, accuracy_rows(judged.metrics), args.format)
        else:
            print(write_table(judged.metrics, args.format), end="")


def judge_file(file: Path, args: EvaluationArguments, number: int = 0) -> Judged:
    """Read, judge and measure one prediction file, the `number`th of this run."""
    predictions = read_predictions(file)
    correct = [judge(row, args.numeric_tolerance) for row in predictions]
    others = {
        name: read_predictions(files[number])
        for name in ("validation", "roi", "random")
        if (files := vars(args)[f"{name}_predictions"])
    }
    validation = others.pop("validation", None)
    metrics = summarize(
        predictions,
        correct,
        validation=validation and (validation, [judge(row, args.numeric_tolerance) for row in validation]),
        roi_predictions=others.get("roi"),
        random_predictions=others.get("random"),
        similarities=caption_similarities(predictions, args.synonyms) if args.caption_consistency else None,
        tolerance=args.numeric_tolerance,
        seed=args.seed,
    )
    return Judged(file, predictions, correct, metrics, others)


def caption_similarities(predictions: Sequence[Prediction], synonyms: str | None) -> list[float | None]:
    """Cosine of each record's question and caption; None where it has no caption."""
    captioned = [index for index, row in enumerate(predictions) if row["caption"] and row["question"]]
    expand: Callable[[str], str] = expand_synonyms if synonyms else str
    texts = [[expand(predictions[index][name]) for index in captioned] for name in ("question", "caption")]
    similarities: list[float | None] = [None] * len(predictions)
    if captioned:
        for index, cosine in zip(captioned, SentenceEncoder().similarity(*texts), strict=True):
            similarities[index] = cosine
    return similarities


def write_results(judged: Judged, folder: Path, args: EvaluationArguments) -> None:
    """metrics.json and report.html."""
    write_json(folder / "metrics.json", judged.metrics)
    write_report(
        folder / "report.html",
        judged.predictions,
        judged.correct,
        judged.metrics,
        title=f"{judged.file.parent.resolve().name}/{judged.file.name}",
        image_root=args.image_root or judged.file.parent,
        max_gallery=args.max_gallery,
        counterfactual={kind: {row["id"]: row for row in rows} for kind, rows in judged.masked.items()},
        tolerance=args.numeric_tolerance,
    )
    say_written(args, folder / "metrics.json", folder / "report.html")


def say_written(args: EvaluationArguments, *files: Path) -> None:
    """Name the files that were written, apart from a table that another program reads."""
    print(*files, sep="\n", file=sys.stdout if args.format == "table" else sys.stderr)


def compare(args: EvaluationArguments) -> None:
    """Both files judged each for itself, in a/ and b/, and against each other, record by record."""
    a, b = (judge_file(Path(file), args, number) for number, file in enumerate(args.compare))
    names = (str(a.file), str(b.file))
    comparison = compare_predictions(
        (a.predictions, b.predictions), (a.correct, b.correct), names, seed=args.seed
    )
    comparison |= {"a": names[0], "b": names[1], "metrics": {"a": a.metrics, "b": b.metrics}}
    folder = Path(args.output_dir or b.file.parent / "comparison")
    for name, judged in (("a", a), ("b", b)):
        write_results(judged, folder / name, args)
    write_json(folder / "comparison.json", comparison)
    write_comparison(
        folder / "comparison.html",
        a.predictions,
        b.predictions,
        comparison,
        correct_a=a.correct,
        correct_b=b.correct,
        names=names,
        image_root=args.image_root or a.file.parent,
        max_gallery=args.max_gallery,
    )
    say_written(args, folder / "comparison.json", folder / "comparison.html")
    print_rows("type", PAIRED_COLUMNS, paired_rows(comparison), args.format)


def run_benchmarks(args: EvaluationArguments) -> None:
    """Predict what is not predicted yet, judge it, and sum it up."""
    records = find_benchmarks(args.benchmarks, args.data_root, args.split)
    folder = Path(args.output_dir or Path("outputs/benchmarks") / Path(args.run).resolve().name)
    metrics, cells = {}, {}
    for name, file in records.items():
        predictions_file = folder / name / "predictions.jsonl"
        predict_records(PREDICT, args.run, file, predictions_file, args.predict_config)
        judged = judge_file(predictions_file, args)
        write_results(judged, folder / name, args)
        metrics[name] = judged.metrics
        cells[name] = benchmark_row(judged.metrics)
    write_json(folder / "benchmarks.json", metrics)
    print_rows("benchmark", BENCHMARK_COLUMNS, cells, args.format)


if __name__ == "__main__":
    run_main(main)
