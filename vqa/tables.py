"""The tables that evaluate.py prints."""

import csv
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vqa.exports import flatten
from vqa.report.formatting import p_value, percent, points, shown

MAX_WIDTH = 1000

# Heading and how a value is shown.
Columns = Mapping[str, Callable[[Any], str]]
COLUMNS: Columns = {"count": str, "correct": str, "accuracy": percent, "low": percent, "high": percent}
BENCHMARK_METRICS = ("exact_match", "anls", "relaxed_accuracy", "cer")
BENCHMARK_METRICS += ("fields/f1", "nted", "grounding/mean_iou")
BENCHMARK_COLUMNS = COLUMNS | dict.fromkeys(BENCHMARK_METRICS, percent)
PAIRED_COLUMNS = {"count": str, "a": percent, "b": percent, "difference": points, "low": points}
PAIRED_COLUMNS |= {"high": points, "p": p_value}


def accuracy_rows(metrics: dict[str, Any]) -> dict[str, list]:
    """The cells of `COLUMNS` by question type; the overall row last."""
    rows = {f"by_question_type/{name}": row for name, row in metrics["by_question_type"].items()}
    rows["overall"] = metrics["overall"] | {"count": metrics["count"]}
    return {
        path.removeprefix("by_question_type/"): [row["count"], row["correct"], row["accuracy"]]
        + (metrics["intervals"][f"{path}/accuracy"] or [None, None])
        for path, row in rows.items()
    }


def benchmark_row(metrics: dict[str, Any]) -> list:
    """The cells of `BENCHMARK_COLUMNS`."""
    values = dict(flatten(metrics))
    return accuracy_rows(metrics)["overall"] + [values[path] for path in BENCHMARK_METRICS]


def paired_rows(comparison: dict[str, Any]) -> dict[str, list]:
    """The cells of `PAIRED_COLUMNS` by question type; the overall row last."""
    rows = {**comparison["by_question_type"], "overall": comparison["overall"]}
    return {
        name: [
            *(row["count"], row["accuracy_a"], row["accuracy_b"], row["difference"]),
            *(row["interval"] or (None, None)),
            row["p_value"],
        ]
        for name, row in rows.items()
    }


def print_rows(name: str, columns: dict[str, Callable], rows: dict[str, list], format: str) -> None:
    """Print rows of values by name: as `columns` says and without columns of nulls alone, or bare as CSV."""
    if format == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [[name, *columns], *([k, *v] for k, v in rows.items())]
        )
        return
    table = Table(box=box.MARKDOWN if format == "markdown" else box.HEAVY_HEAD)
    table.add_column(name)
    by_column = zip(columns.items(), zip(*rows.values(), strict=True), strict=True)
    kept = {head: map(show, cells) for (head, show), cells in by_column if any(c is not None for c in cells)}
    for heading in kept:
        table.add_column(heading, justify="right")
    for key, cells in zip(rows, zip(*kept.values(), strict=True), strict=True):
        table.add_row(Text(shown(key).replace("|", "\\|") if format == "markdown" else shown(key)), *cells)
    console = Console()
    # Numbers that are cut off are worse than a line that wraps.
    unbounded = console.options.update(max_width=MAX_WIDTH)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    with console.capture() as printed:
        console.print(table)
    # Markdown as rich writes it has lines of spaces around the table.
    print("\n".join(line for line in printed.get().splitlines() if line.strip()))
