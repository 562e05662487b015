"""Results for other programs: a table as CSV or Markdown, and sample logs as lmms-eval writes them."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa.answers import UNANSWERABLE
from vqa.errors import UserError
from vqa.files import write_jsonl

TABLE_FORMATS = ("csv", "markdown")
COLUMNS = ("metric", "value", "low", "high", "correct", "count")
# Of these metrics each name has a row for its accuracy, with the count beside it; a source that is read more.
GROUPED = ("by_question_type", "by_source")
_DOC_FIELDS = ("id", "question", "answers", "answerable", "qtype", "answer_candidates", "source", "images")

Row = dict[str, Any]


def write_table(metrics: Mapping[str, Any], format: str) -> str:
    """The metrics as a table, one row a metric, named by its path in metrics.json.

    Columns: metric, value, the ends of its 95% interval, and for accuracies how many were right of how
    many. CSV (RFC 4180 but for its line ends) holds every metric at full precision, nothing where one is
    null; Markdown is for reading: null metrics are left out and numbers rounded to four decimals.

    Raises:
        UserError: `format` is not one of `TABLE_FORMATS`.
    """
    if format not in TABLE_FORMATS:
        raise UserError(f"--format {format}: one of {', '.join(TABLE_FORMATS)}")
    rows = [_with_interval(row, metrics["intervals"]) for row in _rows(metrics)]
    return _csv(rows) if format == "csv" else _markdown(rows)


def write_sample_log(
    path: str | Path, predictions: Sequence[Mapping[str, Any]], correct: Sequence[bool]
) -> int:
    """Write one JSON line a prediction with the fields of lmms-eval's `--log_samples`; returns how many.

    The fields are those of lmms-eval 0.7.2 (docs/getting-started/commands.md, "Log Samples Output Format")
    and the ones that its earlier versions wrote and its log viewer still knows (`doc`, `arguments`,
    `prompt_hash`, `target_hash`). Its own files are named `{datetime}_samples_{task}.jsonl`.

    | field | holds |
    |---|---|
    | `doc_id` | number of the line, from 0 |
    | `doc` | the record: id, question, answers, type, candidates, source, images |
    | `input`, `arguments` | the question; a list of it |
    | `target` | the first accepted answer, "unanswerable" where there is none |
    | `resps` | [[the model's text]] |
    | `filtered_resps` | [the answer that was judged]; "unanswerable" for an abstention |
    | `doc_hash`, `prompt_hash`, `target_hash` | hex sha256 of the JSON of `doc`, of `input`, of `target` |
    | `score` | 1.0 or 0.0, by the rule of the question's type |

    Args:
        path: of the JSONL file, written atomically.
        predictions: complete lines of a prediction file.
        correct: whether each is right.
    """
    pairs = zip(predictions, correct, strict=True)
    return write_jsonl(path, (_sample(number, row, right) for number, (row, right) in enumerate(pairs)))


def _sample(number: int, row: Mapping[str, Any], right: bool) -> Row:
    doc = {field: row[field] for field in _DOC_FIELDS}
    target = UNANSWERABLE if row["gt"] is None else row["gt"]
    answer = UNANSWERABLE if row["abstained"] else row["pred"]
    return {
        "doc_id": number,
        "doc": doc,
        "input": row["question"],
        "target": target,
        "arguments": [row["question"]],
        "resps": [[row["raw"] or answer]],
        "filtered_resps": [answer],
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(row["question"]),
        "target_hash": _sha256(target),
        "score": float(right),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="backslashreplace")).hexdigest()


def _rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    overall = metrics["overall"]
    yield {
        "metric": "overall/accuracy",
        "value": overall["accuracy"],
        "correct": overall["correct"],
        "count": metrics["count"],
    }
    for key in GROUPED:
        for name, group in metrics[key].items():
            counts = {"correct": group["correct"], "count": group["count"]}
            yield {"metric": f"{key}/{name}/accuracy", "value": group["accuracy"], **counts}
            for rate in (rate for rate in ("exact_match", "cer", "wer") if rate in group):
                yield {"metric": f"{key}/{name}/{rate}", "value": group[rate]}
    rest = {
        key: value for key, value in metrics.items() if key not in (*GROUPED, "overall", "count", "intervals")
    }
    for path, value in flatten(rest):
        yield {"metric": path, "value": value}


def flatten(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf of nested dictionaries, keys joined by a slash."""
    for key, item in value.items():
        name = f"{path}/{key}" if path else key
        if isinstance(item, Mapping):
            yield from flatten(item, name)
        else:
            yield name, item


def _with_interval(row: Row, intervals: Mapping[str, Any]) -> Row:
    low, high = intervals.get(row["metric"]) or (None, None)
    return row | {"low": low, "high": high}


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: Sequence[Row]) -> str:
    table = [COLUMNS] + [
        [_cell(row.get(column)) for column in COLUMNS] for row in rows if row["value"] is not None
    ]
    widths = [max(len(line[index]) for line in table) for index in range(len(COLUMNS))]
    lines = ["| " + " | ".join(_pad(cell, widths, i) for i, cell in enumerate(line)) + " |" for line in table]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]) + "\n"


def _pad(cell: str, widths: Sequence[int], index: int) -> str:
    return cell.rjust(widths[index]) if index else cell.ljust(widths[0])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    # A name from the data must neither end its cell nor its line, nor be read as markup.
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, "\\" + mark) if isinstance(value, str) and mark not in "_" else text
    return " ".join(text.split())
