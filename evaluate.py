"""Judge a prediction file: a table by question type, metrics.json and report.html.

    python evaluate.py --predictions_file outputs/quickstart/predictions.jsonl

Sizes within 10% instead of 5%, results elsewhere, images found under a folder of their own:

    python evaluate.py --predictions_file predictions.jsonl --numeric_tolerance 0.1 \
        --output_dir outputs/judged --image_root data/surgical/images

Needs neither a GPU nor the model. A line needs `id`, `pred`, `qtype` and `answers` (or `gt`); with the other
fields of docs/contract.md there is more to measure. What is wrong with a file is said line by line.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vqa.cli import parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json
from vqa.metrics.summary import summarize
from vqa.predictions import read_predictions
from vqa.questions import DEFAULT_TOLERANCE, judge
from vqa.report import percent, shown, write_report


@dataclass
class EvaluationArguments:
    """What to judge, and how."""

    predictions_file: str = field(metadata={"help": "prediction file (JSONL), as predict.py writes it"})
    output_dir: str | None = field(
        default=None,
        metadata={"help": "where metrics.json and report.html go; default: beside the predictions"},
    )
    numeric_tolerance: float = field(
        default=DEFAULT_TOLERANCE,
        metadata={"help": "how far a size may be off, relative to the accepted one; counts are always exact"},
    )
    image_root: str | None = field(
        default=None,
        metadata={"help": "folder that image paths start from; default: that of the predictions"},
    )
    max_gallery: int = field(default=200, metadata={"help": "failures shown in the report, at the most"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap of the intervals"})

    def __post_init__(self) -> None:
        if not 0 <= self.numeric_tolerance < 1:
            raise UserError(f"--numeric_tolerance {self.numeric_tolerance}: not a fraction, such as 0.05")
        if self.max_gallery < 0:
            raise UserError(f"--max_gallery {self.max_gallery}: 0 or more")
        if self.image_root is not None and not Path(self.image_root).is_dir():
            raise UserError(f"--image_root {self.image_root}: no such folder")


def main() -> None:
    (arguments,) = parse_arguments(EvaluationArguments, description=__doc__, prog="evaluate.py")
    predictions_file = Path(arguments.predictions_file)
    output_dir = Path(arguments.output_dir or predictions_file.parent)

    predictions = read_predictions(predictions_file)
    correct = [judge(prediction, arguments.numeric_tolerance) for prediction in predictions]
    metrics = summarize(predictions, correct, seed=arguments.seed)

    write_json(output_dir / "metrics.json", metrics)
    write_report(
        output_dir / "report.html",
        predictions,
        correct,
        metrics,
        title=f"{predictions_file.parent.resolve().name}/{predictions_file.name}",
        image_root=arguments.image_root or predictions_file.parent,
        max_gallery=arguments.max_gallery,
    )
    Console().print(results_table(metrics))
    print(f"{output_dir / 'metrics.json'}\n{output_dir / 'report.html'}")


def results_table(metrics: dict) -> Table:
    """Type, count, correct, accuracy and interval; the overall row last."""
    table = Table()
    table.add_column("type")
    for heading in ("count", "correct", "accuracy", "95% interval"):
        table.add_column(heading, justify="right")
    rows = [(name, row, f"by_question_type/{name}") for name, row in metrics["by_question_type"].items()]
    for name, row, path in rows:
        table.add_row(Text(shown(name)), *_cells(row["count"], row, metrics["intervals"][f"{path}/accuracy"]))
    table.add_section()
    cells = _cells(metrics["count"], metrics["overall"], metrics["intervals"]["overall/accuracy"])
    table.add_row("overall", *cells, style="bold")
    return table


def _cells(count: int, row: dict, interval: list[float] | None) -> tuple[str, str, str, str]:
    spread = f"{percent(interval[0])} - {percent(interval[1])}" if interval else ""
    return str(count), str(row["correct"]), percent(row["accuracy"]), spread


if __name__ == "__main__":
    run(main)
