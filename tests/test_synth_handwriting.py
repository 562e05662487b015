"""Synthetic handwriting: real Vietnamese, in fonts that can write it, boxes on the ink, exact blanks."""

import random
import unicodedata
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.manifests import read_manifest
from vqa.preparation.synth import handwriting_main
from vqa.records import read_records
from vqa.synthesis.fonts import can_write, handwriting_fonts
from vqa.synthesis.handwriting import _write, generate_line, is_blank
from vqa.synthesis.vietnamese_sentences import SENTENCES
from vqa.synthesis.vietnamese_text import vietnamese_line

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
WITHOUT = "ếạộ"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of fonts: one with all letters and one that lacks a few."""
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "handwriting").mkdir()
    (folder / "handwriting" / "Whole.ttf").write_bytes((DEJAVU / "DejaVuSans.ttf").read_bytes())
    font = TTFont(DEJAVU / "DejaVuSerif.ttf")
    cutter = subset.Subsetter()
    cutter.populate(unicodes=set(font.getBestCmap()) - set(map(ord, WITHOUT)))
    cutter.subset(font)
    font.save(folder / "handwriting" / "Partly.ttf")
    return folder


@pytest.fixture(scope="module")
def fonts(folder) -> tuple[str, ...]:
    return handwriting_fonts(folder)


def test_lines_are_vietnamese_in_nfc_and_not_too_long():
    rng = random.Random(1)
    lines = [vietnamese_line(rng) for _ in range(3000)]
    assert max(map(len, lines)) <= 58 and min(map(len, lines)) >= 2
    assert all(line == unicodedata.normalize("NFC", line) == " ".join(line.split()) for line in lines)
    assert len(set(lines)) > 2000
    assert sum(not line.isascii() for line in lines) > 0.95 * len(lines)
    assert not {letter for line in lines for letter in line if unicodedata.combining(letter)}


def test_the_sentences_use_every_tone_and_letter():
    text = unicodedata.normalize("NFD", "".join(SENTENCES))
    assert {"\u0300", "\u0301", "\u0303", "\u0309", "\u0323", "\u0306", "\u0302", "\u031b", "đ"} <= set(text)
    assert len(SENTENCES) == len(set(SENTENCES)) > 130


def test_a_font_is_never_used_for_a_line_it_cannot_write(fonts):
    used = {"Whole.ttf": 0, "Partly.ttf": 0}
    for index in range(120):
        _, record = generate_line(0, index, fonts)
        (text,) = record["answers"]
        font = next(path for path in fonts if Path(path).name == record["meta"]["font"])
        assert can_write(font, text)
        assert not (record["meta"]["font"] == "Partly.ttf" and set(text) & set(WITHOUT))
        used[record["meta"]["font"]] += 1
    assert min(used.values()) > 10


def test_no_font_with_the_letters_is_a_mistake_with_a_name(tmp_path):
    font = TTFont(DEJAVU / "DejaVuSans.ttf")
    cutter = subset.Subsetter()
    cutter.populate(text="abc ")
    cutter.subset(font)
    font.save(tmp_path / "abc.ttf")
    with pytest.raises(UserError, match="none of the 1 fonts has the Vietnamese letters"):
        generate_line(0, 0, (str(tmp_path / "abc.ttf"),))


def test_a_line_depends_on_seed_and_index_only(fonts):
    before = random.getstate()
    image, record = generate_line(8, 3, fonts)
    generate_line(8, 4, fonts)
    again, same = generate_line(8, 3, fonts)
    assert random.getstate() == before
    assert image.tobytes() == again.tobytes() and record == same
    assert generate_line(9, 3, fonts)[1]["answers"] != record["answers"]


def test_the_clean_line_has_its_ink_in_the_box_alone(fonts):
    for seed in range(40):
        rng = random.Random(seed)
        image, box = _write(rng, vietnamese_line(rng), rng.choice(fonts), (255, 255, 255))
        gray = image.convert("L")
        ink = gray.point(lambda value: 255 if value < 150 else 0).getbbox()  # printed lines are paler
        assert box[0] <= ink[0] and box[1] <= ink[1] and box[2] >= ink[2] and box[3] >= ink[3]
        assert max(ink[0] - box[0], ink[1] - box[1], box[2] - ink[2], box[3] - ink[3]) <= 2
        assert 0 <= box[0] and 0 <= box[1] and box[2] <= image.width and box[3] <= image.height


def test_the_final_line_is_legible_and_a_blank_one_empty(fonts):
    for index in range(30):
        image, record = generate_line(2, index, fonts)
        (box,) = record["boxes"]
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
        part = np.asarray(image.convert("L"), dtype=np.int16)[y0:y1, x0:x1]
        assert np.percentile(part, 90) - np.percentile(part, 2) > 60, record["answers"]
        image, record = generate_line(2, index, fonts, blank=True)
        assert (record["answers"], record["answerable"], record["boxes"]) == ([], False, [])
        assert _write(random.Random(index), "", fonts[0], (255, 255, 255))[1] is None
        assert record["caption"] and record["reasoning"] and record["question_type"] == "transcription"


@given(st.fractions(0, 1, max_denominator=1000), st.integers(1, 300))
def test_blanks_are_met_to_the_whole_number(ratio, count):
    blank = sum(is_blank(index, ratio) for index in range(count))
    assert abs(blank - ratio * count) <= Fraction(1, 2)


def test_the_command_writes_the_same_files_for_any_number_of_processes(tmp_path, folder):
    for number in ("1", "2"):
        handwriting_main(
            ["--output_dir", str(tmp_path / number), "--fonts_dir", str(folder), "--num_images", "10"]
            + ["--blank_ratio", "0.3", "--num_proc", number]
        )
    records = read_records(tmp_path / "1" / "train.jsonl")
    assert [record["answerable"] for record in records].count(False) == 3
    assert {record["question_type"] for record in records} == {"transcription"}
    one, two = (sorted((tmp_path / number).rglob("*.jp*")) for number in ("1", "2"))
    assert len(one) == 10
    one, two = ([*paths, tmp_path / n / "train.jsonl"] for paths, n in ((one, "1"), (two, "2")))
    assert [sha256_file(path) for path in one] == [sha256_file(path) for path in two]
    made = read_manifest(tmp_path / "1")["synthesis"]["splits"]["train"]
    assert made["blank_ratio"] == 0.3 and set(made["fonts"]) == {"Whole.ttf", "Partly.ttf"}


def test_without_handwriting_fonts_the_message_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="handwriting: no TrueType files there; `make fonts`"):
        handwriting_main(["--output_dir", str(tmp_path / "out"), "--fonts_dir", str(tmp_path)])
    assert not (tmp_path / "out").exists()
