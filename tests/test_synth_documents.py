"""Synthetic documents: the same from a seed, boxes on the ink, sums that add up, questions asked in vain."""

import random
import re
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.manifests import read_manifest
from vqa.preparation.synth import documents_main
from vqa.records import read_records
from vqa.synthesis.document_canvas import Canvas
from vqa.synthesis.documents import KINDS, Fonts, find_fonts, generate_document, write_documents
from vqa.synthesis.fonts import document_faces
from vqa.synthesis.paper import skew

SEED, COUNT = 3, 70
DEJAVU = Path("no fonts but DejaVu")


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return find_fonts(DEJAVU)


@pytest.fixture(scope="module")
def made(fonts):
    return [generate_document(SEED, index, fonts) for index in range(COUNT)]


def gray(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=np.int16)


def cents(text: str) -> int:
    return int(re.sub(r"[^0-9]", "", text))


def test_a_document_depends_on_seed_and_index_only(fonts, made):
    before = random.getstate()
    page, image, asked, spare = generate_document(SEED, 5, fonts)
    assert random.getstate() == before
    assert image.tobytes() == made[5][1].tobytes()
    assert (asked, spare) == made[5][2:]
    assert generate_document(SEED + 1, 5, fonts)[2] != asked
    assert {item[0].kind for item in made} == set(KINDS)


@settings(max_examples=40, deadline=None)
@given(
    st.text("ABCgjpqyQ|/.,-_ 0123456789€(", min_size=1, max_size=14).filter(str.strip),
    st.integers(10, 34),
    st.sampled_from(["left", "center", "right"]),
    st.booleans(),
)
def test_the_box_of_a_text_is_that_of_its_ink(text, size, align, bold):
    canvas = Canvas.blank((900, 120), random.Random(text).choice(document_faces(DEJAVU)), (255, 255, 255))
    box = canvas.text(450, 60, text, size, bold=bold, align=align)
    ink = canvas.image.convert("L").point(lambda value: 255 - value).getbbox()
    assert box == ink


@settings(max_examples=40, deadline=None)
@given(st.integers(), st.integers(0, 260), st.integers(0, 160), st.integers(4, 90), st.integers(4, 40))
def test_a_box_goes_where_its_ink_goes(seed, x, y, wide, high):
    sheet = Image.new("RGB", (360, 210), (255, 255, 255))
    ImageDraw.Draw(sheet).rectangle([x, y, x + wide - 1, y + high - 1], fill=(0, 0, 0))
    image, move = skew(random.Random(seed), sheet, 2.5, (255, 255, 255))
    box = move((x, y, x + wide, y + high))
    ink = image.convert("L").point(lambda value: 255 if value < 100 else 0).getbbox()
    assert all(type(value) is int for value in box)
    assert box[0] <= ink[0] and box[1] <= ink[1] and box[2] >= ink[2] and box[3] >= ink[3]
    assert max(ink[0] - box[0], ink[1] - box[1], box[2] - ink[2], box[3] - ink[3]) <= 2
    assert box[2] <= image.width and box[3] <= image.height


def test_on_the_clean_page_ink_is_in_every_box_and_none_around_it(made):
    for page, _, _, _ in made:
        pixels = gray(page.image)
        for item in page.fields:
            for x0, y0, x1, y1 in item.boxes:
                assert 0 <= x0 < x1 <= page.image.width and 0 <= y0 < y1 <= page.image.height
                inside = pixels[y0:y1, x0:x1]
                assert inside.max() - inside.min() > 90, (page.kind, item.value)
                if page.kind == "receipt":  # no lines or frames near the words
                    ring = np.concatenate(
                        [pixels[y0 - 1, x0:x1], pixels[y1, x0:x1], pixels[y0:y1, x0 - 1], pixels[y0:y1, x1]]
                    )
                    assert ring.max() - ring.min() <= 20, item.value


def test_no_two_boxes_of_a_page_overlap(made):
    for page, _, _, _ in made:
        taken = np.zeros((page.image.height, page.image.width), bool)
        for item in page.fields:
            for x0, y0, x1, y1 in item.boxes:
                assert not taken[y0:y1, x0:x1].any(), (page.kind, item.value)
                taken[y0:y1, x0:x1] = True


def test_the_scan_is_legible_where_the_boxes_are(made):
    for page, image, asked, _ in made:
        pixels = gray(image)
        for record in asked:
            for x0, y0, x1, y1 in record["boxes"]:
                assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
                dark, light = np.percentile(pixels[y0:y1, x0:x1], [3, 90])
                assert light - dark > 45, (page.kind, record["answers"])


def test_what_is_asked_in_vain_is_not_there_and_asked_in_the_same_words(made):
    answered, vain = defaultdict(set), defaultdict(set)
    for page, _, asked, spare in made:
        here, missing = {item.ask.key for item in page.fields}, {ask.key for ask, _ in page.absent}
        assert len(here) == len(page.fields) and len(missing) == len(page.absent)
        assert not here & missing
        assert not {record["question"] for record in asked} & {record["question"] for record in spare}
        for item in page.fields:
            answered[page.kind, item.ask.key].add(item.ask)
        for ask, reason in page.absent:
            vain[page.kind, ask.key].add(ask)
            assert reason
    both = answered.keys() & vain.keys()
    assert len(both) > 50
    assert all(answered[key] == vain[key] and len(answered[key]) == 1 for key in both)


def test_most_fields_are_sometimes_missing(made):
    """No kind of field gives away by itself that it can be answered."""
    missing = {(page.kind, ask.key) for page, _, _, _ in made for ask, _ in page.absent}
    there = {(page.kind, item.ask.key) for page, _, _, _ in made for item in page.fields}
    always = {key for key in there - missing if "/" not in key[1]}
    assert always == {("receipt", "total"), ("invoice", "total")}


def test_records_are_complete_and_say_what_is_printed(made):
    for page, _, asked, spare in made:
        values = {item.ask.key: item.value for item in page.fields}
        for record in asked:
            assert record["answers"] == [values[record["meta"]["field"]]] and record["answerable"]
            assert record["boxes"] and len(record["box_images"]) == len(record["boxes"])
        for record in spare:
            assert (record["answers"], record["answerable"], record["boxes"]) == ([], False, [])
        for record in (*asked, *spare):
            assert record["caption"] and record["reasoning"] and record["question_type"] == "extractive"


def test_sums_add_up(made):
    checked = 0
    for page, _, _, _ in made:
        values = {item.ask.key: item.value for item in page.fields}
        prices = [cents(value) for key, value in values.items() if key.startswith("price/")]
        amounts = [cents(value) for key, value in values.items() if key.startswith("amount/")]
        rest = {key: cents(values[key]) for key in ("tax", "tip", "shipping", "vat") if key in values}
        if prices or amounts:
            due = sum(prices or amounts) + sum(rest.values()) - cents(values.get("discount", "0"))
            assert cents(values["total"]) == due
            assert cents(values.get("subtotal", str(sum(prices or amounts)))) == sum(prices or amounts)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("ratio", ["0", "0.2", "0.37", "0.5", "0.9"])
def test_the_share_of_unanswerable_questions_is_met_to_the_whole_number(tmp_path, fonts, ratio):
    count = write_documents(tmp_path, 5, 1, "train", Fraction(ratio), fonts)
    records = read_records(tmp_path / "train.jsonl")
    assert len(records) == count
    vain = sum(not record["answerable"] for record in records)
    assert abs(vain - Fraction(ratio) * count) <= Fraction(1, 2)
    assert count > 5


def test_the_same_files_for_any_number_of_processes(tmp_path, fonts):
    for number in (1, 2):
        write_documents(tmp_path / str(number), 5, 4, "test", Fraction("0.2"), fonts, number)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.*"))
    assert len(files) == 6
    assert [sha256_file(tmp_path / "1" / name) for name in files] == [
        sha256_file(tmp_path / "2" / name) for name in files
    ]


def test_the_command_writes_a_folder_that_says_what_it_is_made_of(tmp_path, capsys):
    (tmp_path / "fonts").mkdir()
    options = ["--output_dir", str(tmp_path / "out"), "--fonts_dir", str(tmp_path / "fonts")]
    documents_main([*options, "--num_images", "5", "--seed", "2"])
    documents_main([*options, "--num_images", "2", "--seed", "3", "--split", "test"])
    assert "all is set in DejaVu" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "out")
    splits = manifest["synthesis"]["splits"]
    assert manifest["synthesis"]["name"] == "documents"
    assert (splits["train"]["num_images"], splits["test"]["seed"]) == (5, 3)
    assert {name: value for name, value in splits["train"]["fonts"].items() if name == "DejaVuSans.ttf"} == {
        "DejaVuSans.ttf": sha256_file(document_faces(DEJAVU)[0].regular)
    }
    first = sha256_file(tmp_path / "out" / "train.jsonl")
    documents_main([*options, "--num_images", "7", "--seed", "9"])
    documents_main([*options, "--num_images", "5", "--seed", "2"])
    assert sha256_file(tmp_path / "out" / "train.jsonl") == first
    assert len(list((tmp_path / "out" / "images").glob("train-*"))) == 5
    rows = read_manifest(tmp_path / "out")["rows"]
    assert (
        rows["in"]
        == rows["records"]
        == len(read_records(tmp_path / "out" / "train.jsonl"))
        + len(read_records(tmp_path / "out" / "test.jsonl"))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unanswerable_ratio", "0.95"], "unanswerable_ratio 0.95: expected a number from 0 to 0.9"),
        (["--unanswerable_ratio", "nan"], "expected a number from 0 to 0.9"),
        (["--num_images", "0"], "at least 1"),
        (["--split", "../x"], "not a name for a split"),
        (["--split", "rejects"], "not a name for a split"),
        (["--fonts_dir", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_mistakes_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        documents_main(["--output_dir", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_another_data_set_is_not_overwritten(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="holds another data set"):
        documents_main(["--output_dir", str(tmp_path)])
    assert (tmp_path / "train.jsonl").read_text() == "{}\n"
