"""Synthetic shapes: the same from a seed everywhere, true to the picture, boxes on the things."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from vqa.answers import UNANSWERABLE
from vqa.files import sha256_file
from vqa.questions import QUESTION_TYPES, is_correct
from vqa.records import read_records
from vqa.synthesis import shapes
from vqa.synthesis.shape_drawing import COLORS
from vqa.synthesis.shape_records import HOLDS, NEGATED
from vqa.synthesis.shape_scenes import SHAPES, Scene, draw_scene
from vqa.synthesis.shape_wordings import article, phrase, plural
from vqa.synthesis.shapes import generate_scene, write_shapes

SEED, COUNT = 21, 2500
_COLOR = re.compile(r"\b(" + "|".join(COLORS) + r")\b")
_SHAPE = re.compile(r"\b(" + "|".join(SHAPES) + r")(?:e?s)?\b")


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Scene, Image.Image, list[dict]]]:
    """Each scene as drawn, and the picture and records made of it."""
    made = []
    for index in range(COUNT):
        scene = draw_scene(random.Random(f"shapes/{SEED}/{index}"))
        made.append((scene, *generate_scene(SEED, index)))
    return made


@pytest.fixture(scope="module")
def records(scenes) -> list[dict]:
    return [record for _, _, found in scenes for record in found]


def by_kind(records: list[dict]) -> dict[str, list[dict]]:
    groups = defaultdict(list)
    for record in records:
        groups[record["meta"]["kind"]].append(record)
    return groups


def digest(index: int) -> str:
    image, records = generate_scene(SEED, index)
    return hashlib.sha256(image.tobytes() + json.dumps(records).encode()).hexdigest()


def test_a_scene_depends_on_seed_and_index_only():
    before = random.getstate()
    alone = digest(7)
    digest(8)
    assert digest(7) == alone
    assert random.getstate() == before
    assert len({digest(index) for index in range(50)}) == 50
    assert generate_scene(SEED + 1, 7)[1] != generate_scene(SEED, 7)[1]


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_another_process_makes_the_same_scene(hash_seed):
    code = f"""
import hashlib, json
from vqa.synthesis.shapes import generate_scene
for index in range(20):
    image, records = generate_scene({SEED}, index)
    print(hashlib.sha256(image.tobytes() + json.dumps(records).encode()).hexdigest())
"""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    root = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [digest(index) for index in range(20)]


def test_scenes_are_mixed(scenes):
    sizes = Counter(image.size == (64, 64) and len(scene.things) == 1 for scene, image, _ in scenes)
    assert 0.45 < sizes[True] / COUNT < 0.57
    assert all(64 <= side <= 160 for _, image, _ in scenes for side in image.size)
    assert {thing.shape for scene, _, _ in scenes for thing in scene.things} == set(SHAPES)
    assert {thing.color for scene, _, _ in scenes for thing in scene.things} == set(COLORS)
    assert {len(scene.things) for scene, _, _ in scenes} == {0, 1, 2, 3, 4, 5}
    assert all(6 <= len(records) <= 12 for _, _, records in scenes)


def test_every_type_is_asked_and_few_are_unanswerable(records):
    assert {record["question_type"] for record in records} == set(QUESTION_TYPES)
    share = sum(not record["answerable"] for record in records) / len(records)
    assert 0.02 < share < 0.06
    assert all(bool(record["answers"]) == record["answerable"] for record in records)


def test_statements_hold_and_are_negated_as_often_in_each_kind(records):
    asked = [record for record in records if record["question_type"] == "yes_no"]
    assert abs(sum(record["meta"]["negated"] for record in asked) / len(asked) - NEGATED) < 0.03
    for kind, group in by_kind(asked).items():
        for negated in (False, True):
            holds = [
                (record["answers"] == ["yes"]) != negated
                for record in group
                if record["meta"]["negated"] == negated
            ]
            # Three standard deviations of the coin, and three points for questions dropped as repeated.
            assert abs(sum(holds) / len(holds) - HOLDS) < 1.5 / len(holds) ** 0.5 + 0.03, (kind, negated)


def test_half_of_the_questions_are_in_lower_case_and_some_lack_the_mark(records):
    plain = [record["question"] for record in records if record["meta"]["kind"] not in ("choose", "says")]
    assert 0.45 < sum(question == question.lower() for question in plain) / len(plain) < 0.55
    assert 0.25 < sum(question[-1] not in "?." for question in plain) / len(plain) < 0.45


def test_each_kind_is_worded_in_many_ways(records):
    for kind, group in by_kind(records).items():
        if kind in ("choose", "unanswerable"):
            continue
        for negated in {record["meta"].get("negated") for record in group}:
            wordings = {
                _SHAPE.sub("S", _COLOR.sub("C", re.sub('".*"', "T", record["question"].lower()))).rstrip("?.")
                for record in group
                if record["meta"].get("negated") == negated
            }
            assert len(wordings) >= 12, (kind, negated)


def test_answers_are_candidates_and_judged_right(records):
    for record in records:
        candidates, kind = record["answer_candidates"], record["question_type"]
        assert (candidates is not None) == (kind in ("yes_no", "color", "mcq"))
        if candidates is not None:
            assert len(set(candidates)) == len(candidates) >= 2
            if record["answerable"]:
                assert record["answers"][0] in candidates
        answer = record["answers"][0] if record["answerable"] else UNANSWERABLE
        assert is_correct(kind, answer, record["answers"], candidates, answerable=record["answerable"])


def test_lettered_options_are_in_the_question(records):
    lettered = [record for record in by_kind(records)["choose"] if record["answer_candidates"][0] == "A"]
    assert len(lettered) > 100
    for record in lettered:
        chosen = re.escape(record["answers"][0])
        option = record["reasoning"][-1].split(" is option ")[0]
        assert re.search(rf"(?<![A-Za-z])\(?{chosen}[.:)] {re.escape(option)}", record["question"])


def test_records_explain_themselves(records):
    for record in records:
        assert 1 <= len(record["reasoning"]) <= 3 and all(record["reasoning"])
        assert record["caption"].endswith("background") and record["caption"].isascii()


def test_written_folders_do_not_depend_on_the_number_of_processes(tmp_path):
    counts = write_shapes(tmp_path / "one", 12, seed=3, split="train")
    assert write_shapes(tmp_path / "two", 12, seed=3, split="train", num_workers=2) == counts
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    records = read_records(tmp_path / "one" / "train.jsonl")
    assert len(records) == counts["records"] == sum(counts["by_question_type"].values())
    assert counts["images"] == 12 == len(list((tmp_path / "one" / "images").iterdir()))
    assert len({record["id"] for record in records}) == len(records)
    for record in records:
        assert record["source"] == "shapes" and record["split"] == "train"
        assert record["image_sha256"] == [sha256_file(record["images"][0])]
    with Image.open(records[0]["images"][0]) as image:
        assert image.tobytes() == generate_scene(3, 0)[0].tobytes()


def test_an_interrupted_run_leaves_no_record_file_and_can_be_repeated(tmp_path, monkeypatch):
    def interrupt(seed: int, index: int):
        if index == 3:
            raise KeyboardInterrupt
        return generate_scene(seed, index)

    monkeypatch.setattr(shapes, "generate_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "out", 6)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        "images",
        *(f"train-00000{index}.png" for index in range(3)),
    ]
    monkeypatch.undo()
    write_shapes(tmp_path / "out", 6)
    write_shapes(tmp_path / "whole", 6)
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == (
        tmp_path / "whole" / "train.jsonl"
    ).read_bytes()


def test_phrases_choose_fill_and_end():
    said = {phrase(random.Random(seed), ["[a [b|c]|d] {x}"], x="[E]") for seed in range(200)}
    assert {text.rstrip("?").lower() for text in said} == {"a b [e]", "a c [e]", "d [e]"}
    assert {phrase(random.Random(seed), ["name it"])[-1] for seed in range(50)} == {"t", "."}
    assert (article("orange star"), article("red star")) == ("an orange star", "a red star")
    assert (plural("red cross"), plural("star")) == ("red crosses", "stars")
