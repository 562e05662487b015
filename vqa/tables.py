"""The tables that evaluate.py prints."""

import csv
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vqa.report.formatting import p_value, percent, points, shown

MAX_WIDTH = 1000

# Heading and how a value is shown.
Columns = Mapping[str, Callable[[Any], str]]
COLUMNS: Columns = {"count": str, "correct": str, "accuracy": percent, "low": percent, "high": percent}
BENCHMARK_COLUMNS = COLUMNS | dict.fromkeys(("exact_match", "anls", "relaxed_accuracy", "cer"), percent)
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
    others = list(BENCHMARK_COLUMNS)[len(COLUMNS) :]
    return accuracy_rows(metrics)["overall"] + [metrics[name] for name in others]


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
    """Print rows of values by name: shown as `columns` says, or bare as CSV."""
    if format == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [[name, *columns], *([k, *v] for k, v in rows.items())]
        )
        return
    table = Table(box=box.MARKDOWN if format == "markdown" else box.HEAVY_HEAD)
    table.add_column(name)
    for heading in columns:
        table.add_column(heading, justify="right")
    for key, values in rows.items():
        cells = (show(value) for show, value in zip(columns.values(), values, strict=True))
        table.add_row(Text(shown(key).replace("|", "\\|") if format == "markdown" else shown(key)), *cells)
    console = Console()
    # Numbers that are cut off are worse than a line that wraps.
    unbounded = console.options.update(max_width=MAX_WIDTH)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    with console.capture() as printed:
        console.print(table)
    # Markdown as rich writes it has lines of spaces around the table.
    print("\n".join(line for line in printed.get().splitlines() if line.strip()))
