"""The OCR recipe: words and typefaces held out for good, its configs, tables, and all of it once, tiny."""

import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import matplotlib
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import ocr, ocr_data, pseudo_label_round_trip
from benchmarks.ocr_data import HELD_OUT_TYPEFACES, SOURCES, TRAINING, TYPEFACES, read_lines
from evaluate import EvaluationArguments
from tests.helpers import ROOT, run_script
from vqa.errors import UserError
from vqa.files import write_jsonl
from vqa.preparation import review
from vqa.preparation.synth import handwriting_main
from vqa.records import read_records
from vqa.synthesis.fonts import handwriting_fonts, typeface
from vqa.synthesis.handwriting import Writing, generate_line
from vqa.synthesis.vietnamese_pieces import is_held_out, piece_of, word_key

CONFIGS = ROOT / "configs" / "ocr"
RATES = {"count": 2, "exact": 0.5, "cer": 0.25, "wer": 0.5}


@pytest.fixture(scope="module")
def fonts_dir(tmp_path_factory) -> Path:
    """Every typeface of the recipe, by name: DejaVu under all of them, so that no package is needed."""
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "handwriting").mkdir()
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    cuts = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")
    for number, name in enumerate((*TYPEFACES, *HELD_OUT_TYPEFACES)):
        shutil.copy(dejavu / f"{cuts[number % 3]}.ttf", folder / "handwriting" / f"{name}_400Regular.ttf")
    return folder


@given(st.text("aăâbđeêoơuưxAĂĐƠ19", min_size=1), st.sampled_from(["{}", "{}.", "“{}”", "({}),", "{}:"]))
def test_case_and_punctuation_do_not_change_the_side_of_a_word(word, form):
    written = form.format(word.upper())
    assert word_key(written) == word_key(word) and is_held_out(written) == is_held_out(word)


@given(st.randoms(), st.text("aăbđe .,-19"), st.integers(1, 4), st.sampled_from(["all", "known", "held_out"]))
def test_a_piece_is_neighbouring_words_of_one_side(rng, line, longest, words):
    piece = piece_of(rng, line, longest, words)
    assert f" {piece} " in f" {' '.join(line.split())} " or piece == ""
    assert len(piece.split()) <= longest and all(map(word_key, piece.split()))
    if words != "all":
        assert {is_held_out(word) for word in piece.split()} <= {words == "held_out"}
    wanted = {"all": (True, False), "known": (False,), "held_out": (True,)}[words]
    found = [word for word in line.split() if word_key(word) and is_held_out(word) in wanted]
    assert bool(piece) == bool(found)


def test_a_fifth_of_the_words_is_held_out():
    words = [f"từ{number}" for number in range(4000)]
    assert 0.18 < sum(map(is_held_out, words)) / len(words) < 0.22


def test_training_shares_no_word_and_no_typeface_with_what_is_held_out(fonts_dir):
    fonts = handwriting_fonts(fonts_dir)
    seen = {"known": (set(), set()), "held_out": (set(), set())}
    for side, typefaces in (("known", TRAINING.typefaces), ("held_out", HELD_OUT_TYPEFACES)):
        chosen = tuple(path for path in fonts if typeface(path) in typefaces)
        for index in range(150):
            _, record = generate_line(3, index, chosen, False, Writing(2, side, 1.5))
            seen[side][0].update(map(word_key, record["answers"][0].split()))
            seen[side][1].add(record["meta"]["font"].split("_")[0])
    for known, held_out in zip(*seen.values(), strict=True):
        assert known and held_out and not known & held_out
    assert not set(TYPEFACES) & set(HELD_OUT_TYPEFACES) and TRAINING.words == "known"
    assert {sheets.words for name, sheets in SOURCES.items() if "words" in name} == {"held_out"}
    new = {sheets.typefaces for name, sheets in SOURCES.items() if "typefaces" in name}
    assert new == {HELD_OUT_TYPEFACES}


def test_sheets_have_the_form_asked_for_and_boxes_move_along(fonts_dir):
    fonts = handwriting_fonts(fonts_dir)
    for index in range(20):
        image, record = generate_line(1, index, fonts, False, Writing(1, "all", 1.5))
        assert 1.4 < image.width / image.height < 1.6  # skew adds a little
        ((x0, y0, x1, y1),) = record["boxes"]
        assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
        assert len(record["answers"][0].split()) == 1
        cut = image.crop((x0, y0, x1, y1)).convert("L").getextrema()
        assert cut[1] - cut[0] > 60, record["answers"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max_words", "0"], "--max_words 0: 1 or more"),
        (["--words", "known"], "goes with --max_words"),
        (["--max_words", "1", "--words", "new"], "--words new: choose"),
        (["--aspect", "0"], "--aspect 0.0"),
        (["--typefaces", "Mali", "Comic"], "--typefaces Comic: no such handwriting; there are Charm"),
    ],
)
def test_options_that_cannot_be_are_said_before_anything_is_drawn(options, said, fonts_dir, tmp_path):
    with pytest.raises(UserError, match=said):
        handwriting_main(["--output_dir", str(tmp_path / "out"), "--fonts_dir", str(fonts_dir), *options])
    assert not (tmp_path / "out").exists()


def test_configs_are_of_the_recipe():
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    training = {name: config for name, config in configs.items() if "train_files" in config}
    assert set(configs) - set(training) == {"predict", "evaluate"} and len(training) == 3
    assert {config["answer_style"] for config in training.values()} == {"transcribe"}
    assert len({config["output_dir"] for config in training.values()}) == 3
    plain, unsloth = training["sft_qwen2_5_vl_7b"], training["sft_qwen2_5_vl_7b_unsloth"]
    assert unsloth["backend"] == "unsloth" and "backend" not in plain
    assert plain["vision_learning_rate"] < plain["connector_learning_rate"] < plain["learning_rate"]
    assert configs["predict"]["model_name_or_path"] == training["sft_handwriting_small"]["output_dir"]
    assert configs["evaluate"]["predictions_file"] == configs["predict"]["output_file"]


def test_evaluation_takes_every_key_of_its_config():
    keys = yaml.safe_load((CONFIGS / "evaluate.yaml").read_text())
    assert set(keys) <= {field.name for field in fields(EvaluationArguments)}


def test_rates_are_by_source_and_of_blank_paper_only_whether_it_stays_unread(tmp_path):
    def line(number, source, pred, answers):
        blank = not answers
        return {
            "id": str(number), "pred": pred, "qtype": "transcription", "answers": answers, "source": source,
            "answerable": not blank, "abstained": pred == "", "question": "?", "images": [f"{number}.jpg"],
        }  # fmt: skip

    rows = [
        line(0, "known", "Hà Nội", ["Hà Nội"]), line(1, "known", "Hué", ["Huế"]),
        line(2, "new_words", "", ["trăng"]), line(3, "blank", "", []), line(4, "blank", "x", []),
    ]  # fmt: skip
    write_jsonl(tmp_path / "p.jsonl", rows)
    rates = ocr.by_source(tmp_path / "p.jsonl")
    assert (rates["known"]["cer"], rates["known"]["wer"], rates["known"]["exact"]) == (1 / 9, 1 / 3, 0.5)
    assert (rates["new_words"]["cer"], rates["new_words"]["exact"]) == (1.0, 0.0)
    assert (rates["blank"]["cer"], rates["blank"]["exact"], rates["blank"]["count"]) == (None, 0.5, 2)


def test_the_table_has_a_cell_a_source_and_a_note_for_what_is_not_installed():
    results = {"model": dict.fromkeys(SOURCES, RATES) | {"blank": RATES | {"cer": None, "wer": None}}}
    rows = ocr.table(results | {"trueocr": "not measured: it is not installed"}).splitlines()
    cells = [row.strip("|").split("|") for row in rows]
    assert {len(row) for row in cells} == {len(SOURCES) + 1}
    assert cells[0][4].strip() == "new typefaces and words"
    assert [cell.strip() for cell in cells[2]] == ["model", *["25.0 / 50.0 / 50.0"] * 4, "50.0"]
    assert "not measured" in rows[3]


def test_an_unlabelled_record_tells_nothing_of_its_answer():
    row = {"id": "1", "answers": ["Huế"], "answerable": True, "boxes": [[0, 0, 9, 9]], "box_images": [0],
           "caption": "c", "reasoning": ["r"], "meta": {"font": "Mali"}, "question": "?"}  # fmt: skip
    (hidden,) = ocr_data.unlabelled([row])
    assert "Huế" not in json.dumps(hidden, ensure_ascii=False) and hidden["meta"]["label"] == {"by": "nobody"}
    assert not hidden["answerable"] and not hidden["boxes"] and hidden["question"] == "?"


def test_confident_readings_of_unlabelled_sheets_become_labels(fonts_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(pseudo_label_round_trip, "FONTS", fonts_dir)
    counts = {"labelled": 3, "unlabelled": 6, "test": 2}
    truth = pseudo_label_round_trip.draw_handwriting(tmp_path / "data", counts, 0, 0.5)
    labelled, waiting, test = (read_records(tmp_path / f"data/{name}.jsonl") for name in counts)
    assert [record["answers"] for record in labelled + test] == [[truth[r["id"]]] for r in labelled + test]
    assert all(not record["answers"] and not record["answerable"] for record in waiting)
    assert sum(truth[record["id"]] is None for record in waiting) == 3  # blank sheets
    written = [record for record in waiting if truth[record["id"]]]
    readings = [(written[0], truth[written[0]["id"]], 0.9), (written[1], "sai", 0.9), (written[2], "x", 0.1)]
    readings += [(record, "", 0.9) for record in waiting if truth[record["id"]] is None]
    write_jsonl(tmp_path / "readings.jsonl", [
        {"id": record["id"], "pred": text, "abstained": not text, "confidence": confidence,
         "qtype": "transcription", "answers": [], "answerable": False, "question": record["question"]}
        for record, text, confidence in readings
    ])  # fmt: skip
    options = ["--predictions", tmp_path / "readings.jsonl", "--output_dir", tmp_path / "added", "--export"]
    command = [tmp_path / "data/unlabelled.jsonl", *options, "--accept_above", 0.5]
    review.main([str(part) for part in command])
    judged = pseudo_label_round_trip.judge_labels(tmp_path / "added/unlabelled.jsonl", truth)
    assert judged == {"count": 5, "right": 4, "by_person": 0, "by_model": 5}
    assert {record["answerable"] for record in read_records(tmp_path / "added/unlabelled.jsonl")} == {
        True,
        False,
    }


def test_the_benchmark_end_to_end_and_what_is_there_is_not_made_again(
    fonts_dir, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "ocr"
    options = ["--train_images", "20", "--test_images", "2", "--max_steps", "2", "--batch_size", "4"]
    options += ["--fonts_dir", str(fonts_dir), "--output_dir", str(output), "--engines", "trueocr"]
    result = run_script("-m", "benchmarks.ocr", *options, timeout=900)
    assert result.returncode == 0, result.stderr
    summary = json.loads((output / "summary.json").read_text())
    assert list(summary["results"]) == [ocr.BEFORE, ocr.AFTER, "trueocr"]
    for reader in (ocr.BEFORE, ocr.AFTER):
        counts = {source: rates["count"] for source, rates in summary["results"][reader].items()}
        assert counts == dict.fromkeys(SOURCES, 2), reader
    train = read_records(output / "balanced" / "train.jsonl")
    assert summary["train_records"] == len(train) < 20 and summary["training"]["steps"] == 2
    assert sum(record["answerable"] for record in train) == 16  # of the 20, 4 are blank
    sources = [row["source"] for row in read_lines(output / "test" / "test.jsonl")]
    assert sources == [source for source in SOURCES for _ in range(2)]

    def nothing(log, *command):
        pytest.fail(f"{command} ran again")

    monkeypatch.setattr(ocr, "script", nothing)
    monkeypatch.setattr(ocr_data, "logged", nothing)
    monkeypatch.setattr(sys, "argv", ["ocr.py", *options])
    ocr.main()
    assert capsys.readouterr().out == result.stdout
    assert json.loads((output / "summary.json").read_text()) == summary


def test_an_engine_that_does_not_exist_is_said_at_the_start(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["ocr.py", "--engines", "abbyy", "--output_dir", str(tmp_path / "o")])
    with pytest.raises(UserError, match="--engines abbyy: choose from"):
        ocr.main()
    assert not (tmp_path / "o").exists()
