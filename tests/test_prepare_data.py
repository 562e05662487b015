"""prepare_data.py as it is run: conversion of easy-VQA, its books, the same bytes twice; synthetic shapes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import pytest
import yaml
from PIL import Image

import prepare_data as script
from vqa.cli import parse_arguments
from vqa.datasets import CONVERTERS
from vqa.datasets.conversion import ConvertOptions, RawRow, convert, portable_root
from vqa.errors import UserError
from vqa.files import write_jsonl
from vqa.manifests import reject_reasons, write_manifest
from vqa.preparation.balance import BalanceArguments, parse_caps
from vqa.preparation.convert import ConvertArguments
from vqa.preparation.counterfactuals import CounterfactualArguments
from vqa.preparation.dedup import DedupArguments
from vqa.preparation.review import ReviewArguments
from vqa.preparation.shares import parse_shares
from vqa.preparation.split import SplitArguments, parse_ratios
from vqa.preparation.stats import StatsArguments
from vqa.preparation.synth import QuestionsArguments
from vqa.preparation.traces import TraceArguments
from vqa.preparation.validate import ValidateArguments
from vqa.records import read_records, write_records
from vqa.synthesis.shapes import write_shapes

REPOSITORY = Path(__file__).resolve().parent.parent
TRAIN = [
    ["what is the red shape?", "triangle", 0],
    ["what color is the shape?", "teal", 0],
    ["is there a circle?", "no", 1],
    ["is there a purple shape?", "maybe", 1],
    ["half a row", "yes"],
    ["is its picture there?", "no", 7],
    ["is its picture whole?", "no", 2],
    ["", "yes", 1],
]
TEST = [["is there not a black shape in the image?", "yes", 0]]


@pytest.fixture
def publication(tmp_path):
    """easy-VQA in small, with the faults that a download can have."""
    root = tmp_path / "easy"
    for split, questions in (("train", TRAIN), ("test", TEST)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "questions.json").write_text(json.dumps(questions))
        for number in range(3):
            Image.effect_noise((64, 64), 20 + number).save(root / split / "images" / f"{number}.png")
    whole = root / "train" / "images" / "2.png"
    whole.write_bytes(whole.read_bytes()[:500])
    return root


def prepare_data(*arguments, cwd, code=0):
    command = [sys.executable, str(REPOSITORY / "prepare_data.py"), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert result.returncode == code, result.stderr
    return result


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_convert_easy_vqa(publication, tmp_path):
    arguments = ["convert", "--dataset", "easy_vqa", "--input", publication, "--output_dir"]
    result = prepare_data(*arguments, "out", cwd=tmp_path)
    assert "9 rows in = 4 records + 0 filtered + 5 rejects -> out" in result.stdout
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "rejects.jsonl",
        "test.jsonl",
        "train.jsonl",
    ]

    train = lines(out / "train.jsonl")
    image = publication / "train" / "images" / "0.png"
    assert train[0] == {
        "id": "easy_vqa/train/000000",
        "images": ["train/images/0.png"],
        "question": "what is the red shape?",
        "answers": ["triangle"],
        "answerable": True,
        "question_type": "mcq",
        "answer_candidates": ["circle", "rectangle", "triangle"],
        "boxes": [],
        "box_images": [],
        "caption": "a teal triangle",
        "reasoning": ["There is a teal triangle.", "Its shape is a triangle."],
        "source": "easy_vqa",
        "split": "train",
        "image_sha256": [hashlib.sha256(image.read_bytes()).hexdigest()],
        "meta": {"image_id": 0},
    }
    assert [(row["question_type"], len(row["answer_candidates"])) for row in train] == [
        ("mcq", 3),
        ("color", 8),
        ("yes_no", 2),
    ]

    rejects = lines(out / "rejects.jsonl")
    assert [reject["row"] for reject in rejects] == [TRAIN[index] for index in (3, 4, 7, 5, 6)]
    reasons = {reject["where"].rpartition(" ")[2]: reject["reason"] for reject in rejects}
    assert reasons["3"] == "answer: 'maybe' is none of the data set's 13"
    assert reasons["4"] == "expected [question, answer, image id]"
    assert reasons["5"] == "images[0]: 'train/images/7.png' does not exist"
    assert reasons["6"].startswith("images[0]: 'train/images/2.png' cannot be decoded")
    assert reasons["7"] == "question: empty"

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 9, "records": 4, "filtered": 0, "rejects": 5}
    assert manifest["counts"] == {
        "by_split": {"test": 1, "train": 3},
        "by_question_type": {"color": 1, "mcq": 1, "yes_no": 2},
        "by_source": {"easy_vqa": 4},
    }
    assert manifest["licence"] == "MIT" and "convert --dataset easy_vqa" in manifest["command"]
    assert set(manifest["versions"]) >= {"python", "pillow"} and set(manifest["git"]) == {"commit", "dirty"}
    for name in ("train.jsonl", "test.jsonl"):
        assert manifest["files"][name]["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()

    # Both lie under the working directory, so the two can be moved together.
    assert manifest["image_root"] == "../easy"
    (record,) = read_records(out / "test.jsonl")
    assert record["images"] == [str(publication / "test" / "images" / "0.png")]
    assert record["image_sizes"] == [[64, 64]]

    prepare_data(*arguments, "again", cwd=tmp_path)
    for name in ("train.jsonl", "test.jsonl", "rejects.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_splits_on_request(publication, tmp_path):
    easy_vqa, out = CONVERTERS["easy_vqa"], tmp_path / "out"
    manifest = convert(easy_vqa, publication, out, ConvertOptions(validation_images=3))
    # The last three of the images that train questions name: 1, 2 and 7; only 1 can be read.
    assert manifest["counts"]["by_split"] == {"test": 1, "train": 2, "validation": 1}
    assert [row["id"] for row in lines(out / "validation.jsonl")] == ["easy_vqa/train/000002"]
    assert lines(out / "validation.jsonl")[0]["split"] == "validation"
    manifest = convert(easy_vqa, publication, out, ConvertOptions(splits=("test",)))
    assert manifest["rows"] == {"in": 9, "records": 1, "filtered": 8, "rejects": 0}
    assert manifest["filtered"] == {"split": 8}
    assert sorted(path.name for path in out.glob("*.jsonl")) == ["rejects.jsonl", "test.jsonl"]
    with pytest.raises(UserError, match="--split dev: easy_vqa has no such split; it has test, train"):
        convert(easy_vqa, publication, out, ConvertOptions(splits=("dev",)))
    with pytest.raises(UserError, match="--validation_images 4: the train split has 4 images"):
        convert(easy_vqa, publication, out, ConvertOptions(validation_images=4))
    # What failed has left the folder as it was.
    assert json.loads((out / "manifest.json").read_text())["rows"]["in"] == 9


def test_a_conversion_killed_before_its_manifest_can_be_repeated(publication, tmp_path, monkeypatch):
    easy_vqa, out = CONVERTERS["easy_vqa"], tmp_path / "out"

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vqa.datasets.conversion.write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            convert(easy_vqa, publication, out, ConvertOptions())
    assert (out / "train.jsonl").exists()
    assert convert(easy_vqa, publication, out, ConvertOptions())["rows"]["records"] == 4


def test_files_of_others_are_not_touched(publication, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="holds mine.jsonl, which its manifest does not name"):
        convert(CONVERTERS["easy_vqa"], publication, out, ConvertOptions())
    assert [path.name for path in out.iterdir()] == ["mine.jsonl"]
    with pytest.raises(UserError, match="is the folder that is read"):
        convert(CONVERTERS["easy_vqa"], publication, publication, ConvertOptions())


def test_a_damaged_publication(publication, tmp_path):
    easy_vqa, out = CONVERTERS["easy_vqa"], tmp_path / "out"
    questions = publication / "test" / "questions.json"
    for content, message in {
        "{}": "expected a JSON array",
        "[": "not valid JSON",
        "[" * 100_000: "not valid JSON",
    }.items():
        questions.write_text(content)
        with pytest.raises(UserError, match=message):
            convert(easy_vqa, publication, out, ConvertOptions())
    questions.unlink()
    with pytest.raises(UserError, match="not easy-VQA"):
        convert(easy_vqa, publication, out, ConvertOptions())
    assert not list(out.glob("*.jsonl"))


def test_no_row_that_became_a_record(publication, tmp_path):
    for split in ("train", "test"):
        (publication / split / "questions.json").write_text('[["is it?", "perhaps", 0]]')
    with pytest.raises(
        UserError, match="no row became a record; the most frequent reason: answer: 'perhaps'"
    ):
        convert(CONVERTERS["easy_vqa"], publication, tmp_path / "out", ConvertOptions())


def test_all_rows_left_out_on_request(publication, tmp_path):
    (publication / "train.json").write_text('[{"img_name": "a.png", "question": "Q?", "q_lang": "en"}]')
    with pytest.raises(UserError, match="no row became a record: --language left all 1 out"):
        convert(CONVERTERS["slake"], publication, tmp_path / "out", ConvertOptions(language="zh"))


@pytest.mark.parametrize(("given", "kept"), [("validate", 1), ("val", 1), ("Dev", 1), ("train", 2)])
def test_a_split_by_any_of_its_published_names(given, kept, tmp_path):
    row = {"question": "Who?", "answer": "me", "images": []}
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/train.json").write_text(json.dumps([row, row]))
    (tmp_path / "raw/validate.json").write_text(json.dumps([row]))
    arguments = ["convert", "--dataset", "generic", "--input", "raw", "--output_dir", "out", "--split", given]
    assert (
        f"3 rows in = {kept} records + {3 - kept} filtered" in prepare_data(*arguments, cwd=tmp_path).stdout
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number, tmp_path):
    (tmp_path / "raw").mkdir()
    row = json.dumps({"question": "Who?", "answer": "me", "images": []}) + "\n"
    (tmp_path / "raw/train.jsonl").write_text(row * 300_000)
    command = [sys.executable, str(REPOSITORY / "prepare_data.py"), "convert", "--dataset", "generic"]
    process = subprocess.Popen(
        [*command, "--input", "raw", "--output_dir", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
    )
    try:
        while not list(tmp_path.glob("out/.train.jsonl.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in error and not list((tmp_path / "out").iterdir())


def test_duplicate_ids_are_rejected(tmp_path):
    record = {"id": "same", "images": [], "question": "Who?", "answers": ["me"]}

    def rows(root, options):
        for index, split in enumerate(("train", "train", "test")):
            yield RawRow(split, {"row": index}, f"row {index}", record)

    converter = CONVERTERS["easy_vqa"].__class__("twice", None, lambda given: tmp_path, rows)
    manifest = convert(converter, None, tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 3, "records": 2, "filtered": 0, "rejects": 1}
    (reject,) = lines(tmp_path / "out" / "rejects.jsonl")
    assert reject == {"where": "row 1", "reason": "id: 'same' is used twice", "row": {"row": 1}}


def test_kinds_of_reasons():
    reasons = [
        "images[0]: 'a.png' does not exist", "images[12]: \"it's.png\" does not exist", "answers[0]: empty",
        "/data/x y/1.json:3: not valid JSON", "id: 'a' is used twice; has 1,024x768 pixels",
    ]  # fmt: skip
    assert reject_reasons(reasons) == {
        "images[…]: … does not exist": 2,
        "answers[…]: empty": 1,
        "id: … is used twice; has …x… pixels": 1,
        "… … not valid JSON": 1,
    }
    assert list(reject_reasons([f"{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]))[-1] == "t"


def test_the_books_must_balance(tmp_path):
    write_records([{"images": [], "question": "Who?", "answers": ["me"]}], tmp_path / "train.jsonl")
    with pytest.raises(RuntimeError, match="3 rows in, but 1 records"):
        write_manifest(tmp_path, rows_in=3)
    manifest = write_manifest(
        tmp_path, rows_in=3, filtered={"language": 1}, rejects=[{"row": 1, "reason": "x"}]
    )
    assert manifest["rows"] == {"in": 3, "records": 1, "filtered": 1, "rejects": 1}
    assert manifest["reject_reasons"] == {"x": 1}


def test_image_root_outside_of_the_project_is_absolute(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert (
        portable_root(tmp_path / "project" / "venv" / "data", tmp_path / "project" / "out") == "../venv/data"
    )
    assert portable_root(tmp_path / "elsewhere", tmp_path / "project" / "out") == str(tmp_path / "elsewhere")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A project with a publication, records of it with boxes and captions, predictions, and a typeface."""
    monkeypatch.chdir(tmp_path)
    write_shapes("data", 4, seed=0, split="train")
    write_shapes("data", 2, seed=1, split="test")
    rows = lines(tmp_path / "data/test.jsonl")
    predictions = [
        {"id": row["id"], "pred": row["answers"][0], "qtype": row["question_type"], "gt": row["answers"][0]}
        for row in rows
        if row["answers"]
    ]
    write_jsonl("predictions.jsonl", ({**row, "confidence": 0.9} for row in predictions))
    Path("raw").mkdir()
    Image.new("RGB", (8, 8), "red").save("raw/a.png")
    Path("raw/train.json").write_text('[{"image": "a.png", "question": "What?", "answer": "red"}]')
    Path("fonts/handwriting").mkdir(parents=True)
    shutil.copy(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", "fonts/handwriting/a.ttf")
    return tmp_path


RECORDS = {"records": "data", "num_proc": 2}
DRAWN = {"num_images": 2, "seed": 3, "num_proc": 1}
CONFIGS = {
    "convert": {"dataset": "generic", "input": "raw", "split": ["train"], "max_pixels": 64, "num_proc": 2},
    "validate": {**RECORDS, "max_length": 50, "against": ["data/test.jsonl"], "fix": True},
    "balance": {
        **RECORDS, "max_blank_ratio": 0.5, "max_per_type": ["yes_no=3"], "max_type_ratio": ["color=1/2"]
    },
    "split": {**RECORDS, "ratios": ["train=0.5", "validation=0.5"], "seed": 3},
    "dedup": {**RECORDS, "max_distance": -1},
    "synth shapes": {**DRAWN, "split": "test"},
    "synth documents": {**DRAWN, "unanswerable_ratio": 0.5, "fonts_dir": "fonts"},
    "synth ui": {**DRAWN, "unanswerable_ratio": 0.5, "fonts_dir": "fonts"},
    "synth handwriting": {**DRAWN, "blank_ratio": 0.5, "fonts_dir": "fonts"},
    "counterfactuals": {**RECORDS, "records": "data/test.jsonl", "seed": 2},
    "review": {
        "records": "data/test.jsonl", "predictions": "predictions.jsonl", "export": True, "accept_above": 0.5,
        "reviewer": "A", "num_proc": 2,
    },
    "stats": {**RECORDS, "num_samples": 3, "model_name_or_path": None},
}  # fmt: skip


def prepare_in_process(monkeypatch, command, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *command.split(), *map(str, arguments)])
    return script.main()


@pytest.mark.parametrize("command", [name for name in script.COMMANDS if name != "traces"])
def test_every_command_takes_a_config(command, workplace, monkeypatch):
    config = Path("config.yaml")
    config.write_text(yaml.safe_dump({**CONFIGS[command], "output_dir": "out"}))
    assert not prepare_in_process(monkeypatch, command, "--config", config)
    assert list(Path("out").rglob("*.json"))
    if "num_proc" in CONFIGS[command] and not command.startswith("synth"):
        # An option overrides the file, and this one changes nothing.
        again = ["--config", config, "--num_proc", 1, "--output_dir", "again"]
        prepare_in_process(monkeypatch, command, *again)
        assert contents("again") == contents("out")
    config.write_text(config.read_text() + "no_such_key: 1\n")
    with pytest.raises(UserError) as caught:
        prepare_in_process(monkeypatch, command, "--config", config)
    assert str(caught.value) == "config.yaml: unknown key: no_such_key"


@pytest.mark.parametrize(
    ("command", "options", "name"),
    [
        ("validate", ["--fix"], "data_fixed"),
        ("balance", ["--max_blank_ratio", 0.3], "data_balanced"),
        ("split", ["--divide", "train"], "data_split"),
        ("dedup", [], "data_dedup"),
    ],
)
def test_records_of_records_lie_beside_them(command, options, name, workplace, monkeypatch):
    before = contents("data")
    assert not prepare_in_process(monkeypatch, command, "data", *options)
    assert lines(workplace / name / "train.jsonl") and contents("data") == before
    assert not prepare_in_process(monkeypatch, command, "data/train.jsonl", *options)  # replaces it
    assert not (workplace / name / "test.jsonl").exists() or command == "split"


def contents(folder):
    """The bytes of every file but the manifests, which name the command."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.stem != "manifest")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


SHIPPED = {
    "counterfactuals": CounterfactualArguments,
    "convert": ConvertArguments,
    "validate": ValidateArguments,
    "balance": BalanceArguments,
    "split": SplitArguments,
    "dedup": DedupArguments,
    "synth": QuestionsArguments,
    "review": ReviewArguments,
    "stats": StatsArguments,
    "traces": TraceArguments,
}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs/data").glob("*.yaml")), ids=lambda path: path.stem
)
def test_configs_that_ship(path):
    text = path.read_text(encoding="utf-8")
    (args,) = parse_arguments(SHIPPED[path.stem], argv=["--config", str(path)])
    for name, value in yaml.safe_load(text).items():
        assert vars(args)[name] == value
    assert all("#" in line for line in text.splitlines() if line.strip())
    name = "synth documents" if path.stem == "synth" else path.stem
    assert f"# python prepare_data.py {name} --config configs/data/{path.name}\n" in text


def test_what_the_shipped_configs_ask_for_is_sound():
    texts = {name: (REPOSITORY / f"configs/data/{name}.yaml").read_text() for name in SHIPPED}
    asked = {name: yaml.safe_load(text) for name, text in texts.items()}
    assert parse_caps(asked["balance"]["max_per_type"]) == {"open_ended": 5000}
    assert parse_shares("max_type_ratio", asked["balance"]["max_type_ratio"]) == {"yes_no": Fraction(2, 5)}
    assert sum(parse_ratios(asked["split"]["ratios"]).values()) == 1
    assert asked["convert"]["dataset"] in CONVERTERS


def test_a_reader_that_has_seen_enough(tmp_path):
    command = [sys.executable, str(REPOSITORY / "prepare_data.py"), "--help"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait(60) == 141


def test_help_lists_the_commands(tmp_path):
    text = prepare_data("--help", cwd=tmp_path).stdout
    assert "\n  convert  " in text and "\n  synth shapes  " in text
    assert "--validation_images" in prepare_data("convert", "--help", cwd=tmp_path).stdout


def test_synth_shapes(tmp_path):
    arguments = ["synth", "shapes", "--num_images", 6, "--output_dir"]
    prepare_data(*arguments, "shapes", "--seed", 1, "--split", "train", cwd=tmp_path)
    prepare_data(*arguments, "shapes", "--seed", 2, "--split", "test", cwd=tmp_path)
    prepare_data(*arguments, "again", "--seed", 1, "--split", "train", cwd=tmp_path)
    shapes = tmp_path / "shapes"
    assert (shapes / "train.jsonl").read_bytes() == (tmp_path / "again" / "train.jsonl").read_bytes()
    assert (shapes / "test.jsonl").read_bytes() != (shapes / "train.jsonl").read_bytes()
    train, test = read_records(shapes / "train.jsonl"), read_records(shapes / "test.jsonl")
    assert (
        len({record["images"][0] for record in train}) == len({record["images"][0] for record in test}) == 6
    )
    manifest = json.loads((shapes / "manifest.json").read_text())
    assert manifest["counts"]["by_split"] == {"test": len(test), "train": len(train)}
    assert manifest["rows"]["in"] == manifest["rows"]["records"] == len(test) + len(train)
    assert set(manifest["files"]) == {"train.jsonl", "test.jsonl"} and manifest["image_root"] == "."


@pytest.mark.skipif(find_spec("easy_vqa") is None, reason="easy-vqa is not installed")
def test_the_published_counts_of_easy_vqa(tmp_path):
    manifest = convert(CONVERTERS["easy_vqa"], None, tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 48_248, "records": 48_248, "filtered": 0, "rejects": 0}
    assert manifest["counts"]["by_split"] == {"test": 9_673, "train": 38_575}
    assert manifest["counts"]["by_question_type"]["yes_no"] == 28_407 + 7_136
