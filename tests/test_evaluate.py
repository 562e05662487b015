"""evaluate.py as a user runs it: files written, table printed, faults named line by line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from tests.helpers import write_color_records
from vqa.benchmark_runs import find_benchmarks, is_predicted, predict_records
from vqa.cli import parse_arguments
from vqa.errors import InputErrors, UserError
from vqa.files import sha256_file
from vqa.predictions import read_predictions

ROOT = Path(__file__).parents[1]


def _evaluate(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """As a user does: slow, once or twice is enough."""
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def run_here(monkeypatch, capsys):
    """The script in this process: call with arguments, get what it printed (stdout, stderr)."""

    def call(*arguments: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        evaluate.main()
        return capsys.readouterr()

    return call


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


def test_tolerance_output_folder_and_config(tmp_path, run_here):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    config = tmp_path / "evaluate.yaml"
    config.write_text(f"predictions_file: {file}\nnumeric_tolerance: 0.01\n", encoding="utf-8")
    run_here("--config", config, "--output_dir", tmp_path / "judged" / "strict")
    metrics = json.loads((tmp_path / "judged" / "strict" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["by_question_type"]["size_numeric"]["accuracy"] == 0.0
    assert not (tmp_path / "metrics.json").exists()


def test_the_same_file_gives_the_same_bytes(tmp_path, run_here):
    file = _write(tmp_path / "predictions.jsonl", [row | {"images": [row["id"]]} for row in ROWS])
    written = []
    for _ in range(2):
        run_here("--predictions_file", file)
        written.append([(tmp_path / name).read_bytes() for name in ("metrics.json", "report.html")])
    assert written[0] == written[1]


def test_faults_are_named_and_nothing_is_written(tmp_path, run_here):
    rows = [
        ROWS[0],
        "{not json",
        {"id": "2", "qtype": "yes_no", "answers": ["no"]},
        {"id": "3", "pred": "x", "qtype": "guess", "answers": ["x"], "confidence": 1.5},
        {"id": "1", "pred": 3, "qtype": "mcq"},
        {"id": "6", "pred": "x", "qtype": "mcq", "answers": ["x"], "boxes": [[1, 2, 3]]},
        [1],
        ROWS[0] | {"id": ""},
    ]
    file = _write(tmp_path / "bad.jsonl", rows)
    with pytest.raises(InputErrors) as raised:
        run_here("--predictions_file", file)
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
        f"{file}:8: id: empty",
    ):
        assert expected in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions_file", "nothing.jsonl"], "no such prediction file"),
        ([], "--predictions_file"),
        (["--predictions_file", "FILE", "--compare", "FILE", "FILE"], "give one of"),
        (["--compare", "FILE"], "--compare takes two"),
        (["--run", "model"], "--benchmarks"),
        (["--predictions_file", "FILE", "--benchmarks", "docvqa"], "--run"),
        (["--run", "model", "--benchmarks", "nowhere"], "nowhere: no data/nowhere/test.jsonl or"),
        (["--run", "model", "--benchmarks", "../x"], "not a path"),
        (["--compare", "FILE", "FILE", "--roi_predictions", "FILE"], "--roi_predictions: 1 given for 2"),
        (["--predictions_file", "FILE", "--roi_predictions", "OTHER"], "not in the predictions"),
        (["--predictions_file", "FILE", "--numeric_tolerance", "five"], "--numeric_tolerance"),
        (["--predictions_file", "FILE", "--numeric_tolerance", "5"], "not a fraction"),
        (["--predictions_file", "FILE", "--max_gallery", "-1"], "--max_gallery"),
        (["--predictions_file", "FILE", "--image_root", "nowhere"], "no such folder"),
        (["--predictions_file", "FILE", "--format", "xml"], "--format xml"),
        (["--predictions_file", "FILE", "--synonyms", "legal"], "--synonyms legal"),
        (["--predictions_file", "FILE", "--unknown", "1"], "--unknown"),
    ],
)
def test_wrong_arguments_get_one_message(tmp_path, run_here, arguments, message):
    files = {
        "FILE": _write(tmp_path / "predictions.jsonl", ROWS),
        "OTHER": _write(tmp_path / "other.jsonl", [ROWS[0] | {"id": "99"}]),
    }
    with pytest.raises(UserError) as raised:
        run_here(*[files.get(argument, argument) for argument in arguments])
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_mistake_is_one_line_and_code_2(tmp_path):
    done = _evaluate("--predictions_file", tmp_path / "nothing.jsonl")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no such prediction file" in done.stderr


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path, run_here):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    (tmp_path / "folder").mkdir()
    for option, place in (("--output_dir", file / "results"), ("--sample_log", tmp_path / "folder")):
        with pytest.raises(UserError) as raised:
            run_here("--predictions_file", file, option, place)
        assert f"{place}" in str(raised.value) and "cannot be written" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_accepted_text_is_no_abstention_whatever_it_reads_like(tmp_path):
    options = {"qtype": "mcq", "answer_candidates": ["oedema", "Cannot be determined"], "answerable": True}
    rows = [
        options | {"id": "by text", "pred": "cannot be determined", "answers": ["B"]},
        options | {"id": "by letter", "pred": "B", "answers": ["Cannot be determined"]},
        options | {"id": "wrong", "pred": "cannot be determined", "answers": ["A"]},
        {"id": "form", "pred": "N/A", "qtype": "extractive", "answers": ["n/a"], "answerable": True},
        {"id": "none", "pred": "N/A", "qtype": "extractive", "answers": ["n/a"]},
    ]
    read = read_predictions(_write(tmp_path / "predictions.jsonl", rows))
    assert [row["abstained"] for row in read] == [False, False, True, False, True]
    assert [evaluate.judge(row) for row in read] == [True, True, False, True, True]


def test_an_empty_file_is_refused(tmp_path, run_here):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputErrors, match="the file is empty"):
        run_here("--predictions_file", tmp_path / "empty.jsonl")


def test_other_files_make_other_metrics(tmp_path, run_here):
    rows = [row | {"confidence": 0.9 - i / 10, "images": [row["id"]]} for i, row in enumerate(ROWS)]
    file = _write(tmp_path / "predictions.jsonl", rows)
    flipped = [row | {"pred": "no", "confidence": 0.5} for row in rows[:1]] + rows[1:]
    roi, random = _write(tmp_path / "roi.jsonl", flipped), _write(tmp_path / "random.jsonl", rows)
    arguments = ["--roi_predictions", roi, "--random_predictions", random, "--validation_predictions", file]
    run_here("--predictions_file", file, *arguments, "--sample_log", tmp_path / "log.jsonl")
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    # Right and there on all three: "1" (flips without its evidence), "3", "4" and the abstention "5".
    assert metrics["counterfactual"]["roi_flip_rate"] == 0.25
    assert metrics["counterfactual"]["faithfulness_gap"] == 0.25
    assert metrics["selective"]["effective_reliability"] == 0.5  # +1 -1 +1 +1 over four answerable records
    assert len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()) == len(ROWS)


def test_only_the_table_goes_where_a_program_reads_it(tmp_path, run_here):
    file = _write(tmp_path / "predictions.jsonl", ROWS)
    out, err = run_here("--predictions_file", file, "--format", "csv")
    lines = list(csv.DictReader(out.splitlines()))
    assert {"metric": "overall/accuracy", "value": "0.8"}.items() <= lines[0].items()
    assert "metrics.json" in err
    out, _ = run_here("--predictions_file", file, "--format", "markdown")
    assert out.startswith("| metric") and all(line.startswith("|") for line in out.splitlines())


def test_two_files_against_each_other(tmp_path, run_here):
    rows = [row | {"images": [row["id"]]} for row in ROWS]
    a = _write(tmp_path / "a.jsonl", rows)
    b = _write(
        tmp_path / "b.jsonl", [row | {"pred": "no"} if row["id"] == "2" else row for row in rows[::-1]]
    )
    out, _ = run_here("--compare", a, b, "--output_dir", tmp_path / "out")
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["overall"]["difference"] == pytest.approx(0.2)
    assert comparison["overall"]["p_value"] == 1.0 and comparison["overall"]["only_b"] == 1
    assert comparison["by_question_type"]["yes_no"]["accuracy_b"] == 1.0
    assert comparison["metrics"]["a"]["overall"]["accuracy"] == 0.8
    for name in ("comparison.html", "a/report.html", "b/metrics.json"):
        assert (tmp_path / "out" / name).is_file()
    assert "+20.0" in out
    out, _ = run_here("--compare", a, b, "--output_dir", tmp_path / "out", "--format", "csv")
    overall = list(csv.reader(out.splitlines()))[-1]
    assert overall[:2] == ["overall", "5"] and float(overall[4]) == pytest.approx(0.2)
    with pytest.raises(UserError, match=r"1 only in .*b\.jsonl: '99'"):
        run_here("--compare", a, _write(b, [*rows, ROWS[0] | {"id": "99"}]))


def test_caption_consistency_compares_question_and_caption(tmp_path, run_here, monkeypatch):
    class Encoder:
        def similarity(self, left, right):
            return [1.0 if a == b else 0.0 for a, b in zip(left, right, strict=True)]

    monkeypatch.setattr(evaluate, "SentenceEncoder", Encoder)
    texts = [("a shape?", "a shape?"), ("a shape?", "a dog"), ("a shape?", None), ("?", "")]
    rows = [
        row | {"question": q, "caption": c} for row, (q, c) in zip(ROWS[:3] + ROWS[4:], texts, strict=True)
    ]
    file = _write(tmp_path / "predictions.jsonl", rows)
    run_here("--predictions_file", file, "--caption_consistency", "true", "--synonyms", "medical")
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["caption_consistency"]["0.3"] == {"coverage": 0.5, "accuracy": 1.0}
    run_here("--predictions_file", file)
    assert json.loads((tmp_path / "metrics.json").read_text())["caption_consistency"] is None


# Stands for predict.py: answers every question "red", writes the manifest, counts how often it was called.
PREDICTOR = r"""
import json, sys
from pathlib import Path
sys.path.insert(0, "ROOT")
from vqa.files import sha256_file, write_jsonl
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
records, output = given["--records"], Path(given["--output_file"])
rows = [json.loads(line) for line in open(records)]
answered = {"pred": "red", "qtype": "color"}
write_jsonl(output, [answered | {"id": row["id"], "answers": row["answers"]} for row in rows])
config = {name[2:]: value for name, value in given.items()}
manifest = {"config": config, "data": {records: sha256_file(records)}}
output.with_suffix(".manifest.json").write_text(json.dumps(manifest))
print("predicted")
with open(Path(records).parent.parent / "calls", "a") as file:
    file.write("x")
sys.exit(3 if given["--model_name_or_path"] == "broken" else 0)
"""


@pytest.fixture
def predictor(tmp_path, monkeypatch):
    script = tmp_path / "predictor.py"
    script.write_text(PREDICTOR.replace("ROOT", str(ROOT)))
    monkeypatch.setattr(evaluate, "PREDICT", script)
    return script


def test_benchmarks_are_predicted_once_and_judged(tmp_path, run_here, predictor):
    for name, split in (("one", "test"), ("two", "validation")):
        write_color_records(tmp_path / name).rename(tmp_path / name / f"{split}.jsonl")
    arguments = ["--run", "org/model", "--benchmarks", "one,two", "--data_root", tmp_path]
    arguments += ["--output_dir", tmp_path / "out", "--format", "csv"]
    table = [["one", "16", "4", "0.25"], ["two", "16", "4", "0.25"]]
    for _ in range(2):
        out, _ = run_here(*arguments)
        assert [line[:4] for line in csv.reader(out.splitlines())][1:] == table
    assert (tmp_path / "calls").read_text() == "xx"  # not again
    assert json.loads((tmp_path / "out" / "benchmarks.json").read_text())["one"]["count"] == 16
    assert (tmp_path / "out" / "two" / "report.html").is_file()


def test_predictions_are_made_anew_when_something_changed(tmp_path, predictor):
    records = write_color_records(tmp_path / "set")
    model = tmp_path / "model"
    model.mkdir()
    weights = model / "model.safetensors"
    weights.touch()
    output = tmp_path / "out" / "predictions.jsonl"
    assert predict_records(predictor, str(model), records, output)
    assert not predict_records(predictor, str(model), records, output)
    later = output.stat().st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    assert predict_records(predictor, str(model), records, output)
    os.utime(output, ns=(later + 1, later + 1))
    assert not predict_records(predictor, str(model), records, output)
    before = sha256_file(records)
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:-1]))
    assert sha256_file(records) != before
    assert predict_records(predictor, str(model), records, output)
    config = tmp_path / "predict.yaml"
    config.write_text("decoding: free\n")
    assert predict_records(predictor, str(model), records, output, str(config))
    manifest = output.with_suffix(".manifest.json")
    made = json.loads(manifest.read_text())
    settings = made["config"] | {"target_risk": 0.1}
    manifest.write_text(json.dumps(made | {"config": settings}))
    kept = model / "abstention.json"
    os.utime(output, ns=(later + 10**10, later + 10**10))
    assert not is_predicted(output, settings)
    for seconds in (-1, 1):
        kept.touch()
        os.utime(kept, ns=(output.stat().st_mtime_ns + seconds * 10**9,) * 2)
        assert is_predicted(output, settings) == (seconds < 0)
    with pytest.raises(UserError, match="exit code 3"):
        predict_records(predictor, "broken", records, tmp_path / "other.jsonl")


def test_benchmarks_are_found_by_split(tmp_path):
    for name in ("test", "validation", "train"):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / f"{name}.jsonl").touch()
    assert find_benchmarks("set", tmp_path)["set"].name == "test.jsonl"
    assert find_benchmarks(" set, set", tmp_path, "train") == {"set": tmp_path / "set" / "train.jsonl"}
    with pytest.raises(UserError, match=r"(?s)a: no .*b: no "):
        find_benchmarks("a,set,b", tmp_path)
    with pytest.raises(UserError, match="separated by commas"):
        find_benchmarks(" , ", tmp_path)


def test_the_medical_recipe_is_read(tmp_path):
    recipe = ROOT / "configs" / "medical" / "evaluate.yaml"
    (args,) = parse_arguments(evaluate.EvaluationArguments, argv=["--config", str(recipe)])
    assert len(args.compare) == len(args.roi_predictions) == len(args.validation_predictions) == 2
    assert args.caption_consistency is True and args.synonyms == "medical"


def test_ten_annotations_are_found(tmp_path):
    ten = ["cat"] * 6 + ["dog"] * 4
    row = {"id": "1", "pred": "cat", "qtype": "extractive", "answers": ten}
    rows = [
        row,
        row | {"id": "2", "answers": ["cat"], "meta": {"answers": ten}},
        row | {"id": "3", "answers": ["cat"], "meta": {"answers": ["cat"]}},
        row | {"id": "4", "answers": [], "answerable": False, "meta": {"answers": ["unanswerable"] * 10}},
        row | {"id": "5", "answers": [""], "qtype": "transcription", "pred": ""},
    ]
    lines = read_predictions(_write(tmp_path / "p.jsonl", rows))
    assert [line["annotations"] for line in lines] == [ten, ten, None, ["unanswerable"] * 10, None]
    assert lines[4]["gt"] == "" and not lines[4]["answerable"] and lines[4]["abstained"]


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
