"""evaluate.py as a user runs it: files written, table printed, faults named line by line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqa.errors import InputErrors
from vqa.predictions import read_predictions

ROOT = Path(__file__).parents[1]


def _evaluate(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _write(path: Path, rows: list) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


ROWS = [
    {"id": "1", "pred": "Yes, a polyp.", "qtype": "yes_no", "answers": ["yes"]},
    {"id": "2", "pred": "yes or no", "qtype": "yes_no", "answers": ["no"]},
    {"id": "3", "pred": "10.4 mm", "qtype": "size_numeric", "gt": "1 cm"},
    {"id": "4", "pred": "B", "qtype": "mcq", "answers": ["dog"], "question": "Which? A) cat B) dog"},
    {"id": "5", "pred": "", "qtype": "extractive", "gt": None, "abstained": True},
]


def test_metrics_report_and_table(tmp_path):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    done = _evaluate("--predictions_file", file)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["count"] == 5 and metrics["overall"] == {"correct": 4, "accuracy": 0.8}
    assert metrics["by_question_type"]["yes_no"] == {"count": 2, "correct": 1, "accuracy": 0.5}
    assert metrics["abstention"]["recall"] == 1.0 and metrics["anls"] is None
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    rows = [line.replace("│", " ").split() for line in done.stdout.splitlines()]
    assert ["yes_no", "2", "1", "50.0%"] in [row[:4] for row in rows]
    table = [row for row in rows if len(row) > 3 and row[1].isdigit()]
    assert table[-1][:4] == ["overall", "5", "4", "80.0%"]


def test_tolerance_output_folder_and_config(tmp_path):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    config = tmp_path / "evaluate.yaml"
    config.write_text(f"predictions_file: {file}\nnumeric_tolerance: 0.01\n", encoding="utf-8")
    done = _evaluate("--config", config, "--output_dir", tmp_path / "judged" / "strict", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "judged" / "strict" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["by_question_type"]["size_numeric"]["accuracy"] == 0.0
    assert not (tmp_path / "metrics.json").exists()


def test_the_same_file_gives_the_same_bytes(tmp_path):
    file = _write(tmp_path / "predictions.jsonl", [row | {"images": [row["id"]]} for row in ROWS])
    written = []
    for _ in range(2):
        assert _evaluate("--predictions_file", file).returncode == 0
        written.append([(tmp_path / name).read_bytes() for name in ("metrics.json", "report.html")])
    assert written[0] == written[1]


def test_faults_are_named_and_nothing_is_written(tmp_path):
    rows = [
        ROWS[0],
        "{not json",
        {"id": "2", "qtype": "yes_no", "answers": ["no"]},
        {"id": "3", "pred": "x", "qtype": "guess", "answers": ["x"], "confidence": 1.5},
        {"id": "1", "pred": 3, "qtype": "mcq"},
        {"id": "6", "pred": "x", "qtype": "mcq", "answers": ["x"], "boxes": [[1, 2, 3]]},
        [1],
    ]
    file = _write(tmp_path / "bad.jsonl", rows)
    done = _evaluate("--predictions_file", file)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for expected in (
        f"{file}:2: not valid JSON",
        f"{file}:3: pred: missing",
        f"{file}:4: qtype: unknown type 'guess'",
        f"{file}:4: confidence: 1.5 is not between 0 and 1",
        f"{file}:5: pred: expected a string, not an integer",
        f"{file}:5: answers: missing",
        f"{file}:5: id: '1' is that of line 1 already",
        f"{file}:6: boxes: expected a list of [x0, y0, x1, y1]",
        f"{file}:7: a record is a JSON object",
    ):
        assert expected in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions_file", "nothing.jsonl"], "no such prediction file"),
        ([], "--predictions_file"),
        (["--predictions_file", "FILE", "--numeric_tolerance", "five"], "--numeric_tolerance"),
        (["--predictions_file", "FILE", "--numeric_tolerance", "5"], "not a fraction"),
        (["--predictions_file", "FILE", "--max_gallery", "-1"], "--max_gallery"),
        (["--predictions_file", "FILE", "--image_root", "nowhere"], "no such folder"),
        (["--predictions_file", "FILE", "--unknown", "1"], "--unknown"),
    ],
)
def test_wrong_arguments_get_one_line(tmp_path, arguments, message):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    done = _evaluate(*[str(file) if argument == "FILE" else argument for argument in arguments])
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    done = _evaluate("--predictions_file", tmp_path / "empty.jsonl")
    assert done.returncode == 2 and "the file is empty" in done.stderr


def test_what_is_missing_is_filled_in(tmp_path):
    file = _write(
        tmp_path / "p.jsonl",
        [
            {"id": "1", "pred": "N/A", "qtype": "extractive", "gt": "x", "images": "a.png"},
            {"id": "2", "pred": "N/A", "qtype": "extractive", "answers": ["n/a", "none"]},
            {"id": "3", "pred": "x", "qtype": "extractive", "answers": ["unanswerable"]},
            {"id": "4", "pred": None, "qtype": "mcq", "answers": [], "abstained": True, "answerable": False},
        ],
    )
    first, literal, unanswerable, abstained = read_predictions(file)
    assert first["abstained"] and first["answers"] == ["x"] and first["images"] == ["a.png"]
    assert first["confidence"] is None and first["source"] == "unknown" and first["gt_boxes"] == []
    assert literal["answerable"] and not literal["abstained"]  # the form does say "n/a"
    assert not unanswerable["answerable"] and unanswerable["gt"] is None and not unanswerable["abstained"]
    assert abstained["pred"] == "" and abstained["abstained"] and not abstained["answerable"]


def test_an_answerable_record_needs_an_answer(tmp_path):
    row = {"id": "1", "pred": "x", "qtype": "mcq", "answers": [], "answerable": True}
    file = _write(tmp_path / "p.jsonl", [row])
    with pytest.raises(InputErrors, match="answers: empty, but answerable is true"):
        read_predictions(file)


def test_it_starts_without_loading_torch():
    code = "import sys, evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
