"""Tables and sample logs for other programs: complete, escaped, and with the fields of lmms-eval."""

import csv
import hashlib
import io
import json

import pytest

from tests.test_report import _line
from vqa.errors import UserError
from vqa.exports import COLUMNS, write_sample_log, write_table
from vqa.metrics.summary import summarize

NASTY = 'a|b, "c"\n=1+1 `x` <b>'


@pytest.fixture(scope="module")
def metrics():
    lines = [_line(i, images=[f"{i}.png"], source=NASTY if i % 2 else "plain") for i in range(8)]
    return summarize(lines, [i < 3 for i in range(8)])


def test_csv_holds_every_metric_at_full_precision(metrics):
    rows = list(csv.DictReader(io.StringIO(write_table(metrics, "csv"))))
    assert tuple(rows[0]) == COLUMNS
    by_name = {row["metric"]: row for row in rows}
    assert len(by_name) == len(rows)
    overall = by_name["overall/accuracy"]
    assert float(overall["value"]) == metrics["overall"]["accuracy"] == 3 / 8
    assert (overall["correct"], overall["count"]) == ("3", "8")
    assert [float(overall["low"]), float(overall["high"])] == metrics["intervals"]["overall/accuracy"]
    assert float(by_name[f"by_source/{NASTY}/accuracy"]["value"]) == 1 / 4
    assert by_name["cer"]["value"] == "" and by_name["selective/coverage_at_risk/0.01"]["value"] != ""
    assert not any(row["metric"].startswith(("=", "+", "-", "@")) for row in rows)  # no formulas


def test_markdown_is_a_table_of_what_was_measured(metrics):
    lines = write_table(metrics, "markdown").splitlines()
    cells = [line.replace("\\|", "").count("|") for line in lines]
    assert set(cells) == {len(COLUMNS) + 1}
    assert set(lines[1]) <= set("| -:")
    assert any("overall/accuracy" in line and "0.3750" in line for line in lines)
    assert not any("cer" in line.split("|")[1] for line in lines)
    (nasty,) = [line for line in lines if "=1+1" in line]
    assert "a\\|b" in nasty and "\\`x\\`" in nasty and "\\<b\\>" in nasty


def test_an_unknown_format_is_refused(metrics):
    with pytest.raises(UserError, match="csv, markdown"):
        write_table(metrics, "xml")


def test_a_sample_log_has_the_fields_of_lmms_eval(tmp_path):
    lines = [
        _line(0, pred="wrong", raw="<think>hm</think>wrong", question="Gì?"),
        _line(1, pred="", abstained=True, answers=[], gt=None, answerable=False, raw=""),
    ]
    assert write_sample_log(tmp_path / "log.jsonl", lines, [False, True]) == 2
    first, second = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines())
    assert first["doc_id"] == 0 and second["doc_id"] == 1
    assert first["input"] == "Gì?" and first["arguments"] == ["Gì?"]
    assert first["target"] == "right" and second["target"] == "unanswerable"
    assert first["resps"] == [["<think>hm</think>wrong"]] and first["filtered_resps"] == ["wrong"]
    assert second["resps"] == [["unanswerable"]] and second["filtered_resps"] == ["unanswerable"]
    assert (first["score"], second["score"]) == (0.0, 1.0)
    assert first["doc"]["id"] == "r0" and first["doc"]["answers"] == ["right"]
    # Hashes as lmms-eval takes them: sha256 of the text, of the document its indented JSON.
    assert first["prompt_hash"] == hashlib.sha256("Gì?".encode()).hexdigest()
    text = json.dumps(first["doc"], indent=2, ensure_ascii=False)
    assert first["doc_hash"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_sample_log_needs_a_verdict_for_each(tmp_path):
    with pytest.raises(ValueError):
        write_sample_log(tmp_path / "log.jsonl", [_line(0)], [])
    assert not (tmp_path / "log.jsonl").exists()
