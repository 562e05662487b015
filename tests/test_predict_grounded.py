"""`predict.py --ground ocr`: what the user gets, what it costs, and what is refused."""

import json

import pytest
from PIL import Image, ImageDraw, ImageFont

import predict
from tests.helpers import run_main, run_script, save_structured_model, write_structured_records
from vqa.errors import UserError

# Two words a page, in pixels of a 32x32 picture.
WORDS = [
    {"text": "blue", "box": [2, 2, 14, 10], "line": 0},
    {"text": "No.7", "box": [4, 16, 30, 26], "line": 1},
]


@pytest.fixture(scope="module")
def model_and_records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounded")
    path = write_structured_records(folder)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row |= {"question_type": "extractive", "answer_candidates": None, "meta": {"ocr": WORDS}}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return save_structured_model(path, folder), path


def answers(model_and_records, output, *arguments):
    model, records = model_and_records
    asked = ("--model_name_or_path", model, "--records", records, "--output_file", output)
    run_main(predict, *asked, *arguments)
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_boxes_are_words_and_answers_stand_in_them(model_and_records, tmp_path):
    options = ("--ground", "ocr", "--answer_from_ocr", "true", "--ocr_engine", "record")
    lines = answers(model_and_records, tmp_path / "p.jsonl", *options)
    for line in lines:
        assert line["valid_format"] and line["boxes"]
        # Coordinates are written in thousandths.
        pointed = [
            word["text"]
            for box in line["boxes"]
            for word in WORDS
            if box == pytest.approx(word["box"], abs=0.1)
        ]
        assert len(pointed) == len(line["boxes"]) and line["pred"] in " ".join(dict.fromkeys(pointed))
    manifest = json.loads((tmp_path / "p.manifest.json").read_text())
    assert manifest["stage_seconds"]["grammar"] > 0 and manifest["config"]["ocr_engine"] == "record"
    free = answers(model_and_records, tmp_path / "f.jsonl")
    assert [line["boxes"] for line in free] != [line["boxes"] for line in lines]


def test_use_constrained_decoding_false_is_free_decoding(model_and_records, tmp_path):
    free = answers(model_and_records, tmp_path / "a.jsonl", "--decoding", "free")
    lifted = answers(model_and_records, tmp_path / "b.jsonl", "--use_constrained_decoding", "false")
    assert free == lifted


def test_a_benchmark_says_how_fast_and_where_the_time_goes(model_and_records, capsys):
    model, records = model_and_records
    options = ("--ground", "ocr", "--ocr_engine", "record", "--batch_size", 4)
    asked = ("--model_name_or_path", model, "--records", records)
    run_main(predict, *asked, "--benchmark", 10, *options, "--json", "true")
    found = json.loads(capsys.readouterr().out)
    assert found["questions"] == 10 and found["questions_per_second"] > 0 and found["peak_memory_bytes"] > 0
    assert {"ocr", "prefill", "grammar", "before the answer", "answer"} <= found["stages"].keys()
    assert sum(found["stages"].values()) == pytest.approx(found["seconds"] / 10, rel=0.01)


def test_one_picture_is_read_by_the_real_engine(model_and_records, tmp_path):
    picture = Image.new("RGB", (400, 120), "white")
    ImageDraw.Draw(picture).text((20, 40), "Invoice 4711", "black", ImageFont.load_default(size=36))
    picture.save(tmp_path / "page.png")
    done = run_script(
        *("predict.py", "--model_name_or_path", model_and_records[0], "--image", tmp_path / "page.png"),
        *("--question", "what color is it?", "--question_type", "extractive", "--answer_style", "structured"),
        *(
            "--ground",
            "ocr",
            "--answer_from_ocr",
            "true",
            "--ocr_cache_dir",
            tmp_path / "ocr",
            "--json",
            "true",
        ),
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["pred"] in ("Invoice", "4711", "Invoice 4711") or not line["boxes"]
    assert all(0 <= x0 < x1 <= 400 and 20 < y0 < y1 < 100 for x0, y0, x1, y1 in line["boxes"])
    assert list((tmp_path / "ocr").glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--answer_from_ocr", "true"), "--answer_from_ocr goes with --ground ocr"),
        (("--ground", "words"), "--ground words: choose from ocr"),
        (("--ground", "ocr", "--decoding", "free"), "leave out --decoding free"),
        (("--ground", "ocr", "--answer_style", "short"), "hold no boxes"),
        (("--ground", "ocr", "--ocr_engine", "eyes"), "--ocr_engine eyes"),
        (("--benchmark", "0"), "--benchmark 0: 1 or more"),
    ],
)
def test_what_does_not_go_together_is_named(model_and_records, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        answers(model_and_records, tmp_path / "p.jsonl", *arguments)
    assert not (tmp_path / "p.jsonl").exists()
