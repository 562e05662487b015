"""Synthetic screens: the same from a seed, states as drawn, boxes on the parts, questions asked in vain."""

import random
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.manifests import read_manifest
from vqa.preparation.synth import ui_main
from vqa.records import read_records
from vqa.synthesis.document_canvas import Canvas
from vqa.synthesis.fonts import document_faces
from vqa.synthesis.ui import generate_screen, write_screens
from vqa.synthesis.ui_widgets import Brush, draw_scheme

SEED, COUNT = 5, 120
FACES = document_faces(Path("no fonts but DejaVu"))


@pytest.fixture(scope="module")
def made():
    return [generate_screen(SEED, index, FACES) for index in range(COUNT)]


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_a_screen_depends_on_seed_and_index_only(made):
    before = random.getstate()
    _, image, asked, spare = generate_screen(SEED, 7, FACES)
    assert random.getstate() == before
    assert image.tobytes() == made[7][1].tobytes()
    assert (asked, spare) == made[7][2:]
    assert {item[0].kind for item in made} == {"settings page", "dialog", "dashboard"}


def test_boxes_lie_on_something_and_inside_of_the_picture(made):
    for page, image, asked, _ in made:
        clean, final = pixels(page.image), pixels(image)
        for item in page.fields:
            for x0, y0, x1, y1 in item.boxes:
                assert 0 <= x0 < x1 <= page.image.width and 0 <= y0 < y1 <= page.image.height
                part = clean[y0:y1, x0:x1].reshape(-1, 3)
                # An empty checkbox is a frame in a muted colour; words and filled parts stand out more.
                assert np.ptp(part, axis=0).max() > 50, (page.kind, item.ask.key)
        for record in asked:
            for x0, y0, x1, y1 in record["boxes"]:
                assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
                part = final[y0:y1, x0:x1].reshape(-1, 3)
                assert np.ptp(part, axis=0).max() > 40, (page.kind, record["question"])


def test_no_two_fields_of_different_parts_overlap(made):
    for page, _, _, _ in made:
        taken = np.zeros((page.image.height, page.image.width), bool)
        for item in page.fields:
            for x0, y0, x1, y1 in item.boxes:
                assert not taken[y0:y1, x0:x1].any(), (page.kind, item.ask.key)
                taken[y0:y1, x0:x1] = True


def asks_for_on(question: str) -> bool:
    words = ("off?", "disabled?", "unticked?", "empty?", "unchecked?")
    return not question.endswith(words)


def test_switches_and_boxes_are_drawn_as_answered(made):
    """Read the state from the clean picture: where the knob is, whether the square is filled."""
    checked = Counter()
    for page, _, asked, _ in made:
        clean = pixels(page.image)
        records = {record["meta"]["field"]: record for record in asked}
        for item in page.fields:
            if item.ask.question_type != "yes_no" or not item.ask.key.startswith("state/"):
                continue
            x0, y0, x1, y1 = item.boxes[0]
            middle = (y0 + y1) // 2
            if page.kind == "dialog":
                center = clean[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].reshape(-1, 3)
                on = np.ptp(center, axis=0).max() > 60  # the tick on its filling
            else:
                left, right = clean[middle, x0 + (y1 - y0) // 2], clean[middle, x1 - (y1 - y0) // 2]
                on = right.min() == 250 and left.min() != 250
            record = records[item.ask.key]
            assert record["answers"] == ["yes" if on == asks_for_on(record["question"]) else "no"]
            checked[on, record["answers"][0]] += 1
    assert len(checked) == 4 and min(checked.values()) > 15


def test_yes_and_no_are_balanced(made):
    answers = Counter(
        record["answers"][0]
        for *_, asked, _ in made
        for record in asked
        if record["question_type"] == "yes_no"
    )
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_choices_hold_the_answer_and_say_nothing_about_it(made):
    options = defaultdict(set)
    for page, _, asked, spare in made:
        for record in (*asked, *spare):
            candidates = record["answer_candidates"]
            assert (candidates is None) == (record["question_type"] == "extractive")
            if record["answerable"] and candidates:
                assert record["answers"][0] in candidates
            if record["question_type"] == "mcq" and record["meta"]["field"].startswith("choice/"):
                options[page.kind, record["meta"]["field"]].add(tuple(candidates))
    assert options and all(len(found) == 1 for found in options.values())


def test_what_is_asked_in_vain_is_not_there_and_asked_in_the_same_words(made):
    answered, vain = defaultdict(set), defaultdict(set)
    for page, _, asked, spare in made:
        here, missing = {item.ask.key for item in page.fields}, {ask.key for ask, _ in page.absent}
        assert not here & missing and len(missing) == len(page.absent) and len(here) == len(page.fields)
        for item in page.fields:
            answered[page.kind, item.ask.key].add(item.ask.wordings)
        for ask, _ in page.absent:
            vain[page.kind, ask.key].add(ask.wordings)
        for record in spare:
            assert (record["answers"], record["answerable"], record["boxes"]) == ([], False, [])
        assert all(record["caption"] and record["reasoning"] for record in (*asked, *spare))
    both = answered.keys() & vain.keys()
    assert len(both) > 80
    # A state is asked for either way, so that a name may have two sets of wordings.
    assert all(answered[key] & vain[key] or len(answered[key] | vain[key]) == 2 for key in both)
    whole = {key for key in answered if "/" not in key[1]}
    assert whole - vain.keys() == {("settings page", "open section")}


def test_a_switch_shows_its_state():
    for seed in range(20):
        rng = random.Random(seed)
        brush = Brush(Canvas.blank((200, 60), FACES[0], (90, 90, 90)), draw_scheme(rng), rng.randint(15, 18))
        on, off = brush.switch(90, 30, True), brush.switch(190, 30, False)
        picture = pixels(brush.canvas.image)
        assert tuple(picture[30, on[0] + 6]) == brush.scheme.accent
        assert tuple(picture[30, off[2] - 7]) == brush.scheme.muted


def test_the_folder_is_the_same_for_any_number_of_processes_and_its_ratio_exact(tmp_path):
    for number in (1, 2):
        write_screens(tmp_path / str(number), 7, 1, "train", Fraction("0.3"), FACES, number)
    one, two = (sorted(path for path in (tmp_path / str(n)).rglob("*.*")) for n in (1, 2))
    assert [sha256_file(path) for path in one] == [sha256_file(path) for path in two]
    records = read_records(tmp_path / "1" / "train.jsonl")
    vain = sum(not record["answerable"] for record in records)
    assert abs(vain - Fraction("0.3") * len(records)) <= Fraction(1, 2)


def test_the_command_writes_a_folder(tmp_path):
    (tmp_path / "fonts").mkdir()
    options = ["--fonts_dir", str(tmp_path / "fonts"), "--output_dir", str(tmp_path / "out")]
    ui_main([*options, "--num_images", "4"])
    manifest = read_manifest(tmp_path / "out")
    assert set(manifest["counts"]["by_question_type"]) == {"extractive", "mcq", "yes_no"}
    assert set(manifest["synthesis"]["splits"]["train"]["fonts"]) == {"DejaVuSans.ttf", "DejaVuSans-Bold.ttf"}
    with pytest.raises(UserError, match="unanswerable_ratio -1"):
        ui_main([*options, "--unanswerable_ratio", "-1"])
