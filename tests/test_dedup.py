"""dedup: what is one record, which of the two stays, and that contradictions are never merged."""

import json

import pytest
from PIL import Image

from tests.test_image_hashes import photograph
from vqa.errors import UserError
from vqa.files import write_jsonl
from vqa.image_hashes import BLANK
from vqa.preparation.dedup import main, merge_duplicates


def record(name, image, question="What is it?", answers=("cat",), split="train", **more):
    return {
        "id": name, "split": split, "images": [image], "question": question, "answers": list(answers),
        "answerable": True, "question_type": "open_ended", "answer_candidates": None, "image_sha256": [image],
    } | more  # fmt: skip


LOOKS = 7 << 64 | 0b1111
HASHES = {
    "a": ("a", LOOKS),
    "copy of a": ("a", LOOKS),
    "near a": ("n", LOOKS ^ 0b11),
    "near that": ("o", LOOKS ^ 0xFF00003),
    "b": ("b", 7 << 64 | 0xFFFF0000FFFF0000),
    "blank": ("w", BLANK),
    "other blank": ("v", BLANK),
}


def merged(*records, max_distance=8):
    files = {}
    for item in records:
        files.setdefault(item["split"], []).append(item)
    result = merge_duplicates(files, HASHES, max_distance)
    left = [item["id"] for items in result.files.values() for item in items]
    return left, {(entry["id"], entry["same_as"], entry["distance"]) for entry in result.merged}, result


def test_equal_and_near_images_with_the_same_question_and_answers():
    left, gone, _ = merged(
        record("1", "a"),
        record("2", "copy of a", question="what  is it"),
        record("3", "near a", answers=["Cat"]),
        record("4", "b"),
        record("5", "a", question="Where is it?"),
    )
    assert left == ["1", "4", "5"] and gone == {("2", "1", 0), ("3", "1", 2)}
    assert merged(record("1", "a"), record("2", "near a"), max_distance=-1)[0] == ["1", "2"]


def test_a_chain_of_near_images_is_not_one_image():
    # The third is near to the second, not to the first, which stays.
    left, gone, _ = merged(record("1", "a"), record("2", "near a"), record("3", "near that"))
    assert left == ["1", "3"] and gone == {("2", "1", 2)}


def test_blank_images_are_the_same_only_byte_for_byte():
    assert merged(record("1", "blank"), record("2", "other blank"))[0] == ["1", "2"]
    assert merged(record("1", "blank"), record("2", "blank"))[0] == ["1"]


def test_another_answer_is_a_conflict_and_stays():
    left, gone, result = merged(
        record("1", "a"), record("2", "copy of a", answers=["dog"]), record("3", "a", answers=["dog"]),
        record("4", "a", answers=["cat", "feline"]), record("5", "a", answers=[], answerable=False),
    )  # fmt: skip
    assert left == ["1", "2", "4", "5"] and gone == {("3", "2", 0)}
    found = [(entry["id"], entry["same_as"], entry["other_answers"]) for entry in result.conflicts]
    # "cat" is among what 4 accepts: no conflict with 1, one with 2.
    assert found == [("2", "1", ["cat"]), ("4", "2", ["dog"]), ("5", "1", ["cat"])]


def test_evaluation_splits_win_over_training():
    left, gone, _ = merged(
        record("train", "a"),
        record("validation", "a", split="validation"),
        record("test", "a", split="test"),
        record("own", "b"),
    )
    assert left == ["own", "test"] and gone == {("train", "test", 0), ("validation", "test", 0)}


def test_answers_are_compared_as_matching_does_and_text_alone_counts_too():
    left, gone, _ = merged(
        record("1", "a"), record("2", "a", answers=["Cat."]), record("3", "a", answers=["cats"])
    )
    assert left == ["1", "3"] and gone == {("2", "1", 0)}
    text = {"images": [], "image_sha256": []}
    left, gone, _ = merged(record("1", "a"), record("2", "", **text), record("3", "", **text))
    assert left == ["1", "2"] and gone == {("3", "2", 0)}


def test_options_are_part_of_a_choice_and_case_of_a_transcription():
    choice = {"question_type": "mcq"}
    left, *_ = merged(
        record("1", "a", answer_candidates=["cat", "dog"], **choice),
        record("2", "a", answer_candidates=["dog", "cat"], **choice),
        record("3", "a", answer_candidates=["cat", "cow"], **choice),
    )
    assert left == ["1", "3"]
    text = {"question_type": "transcription"}
    assert merged(record("1", "a", **text), record("2", "a", answers=["CAT"], **text))[0] == ["1", "2"]


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    (source / "images").mkdir(parents=True)
    picture = photograph(1, 96)
    picture.save(source / "images/a.png")
    picture.save(source / "images/b.jpg", quality=70)
    Image.new("RGB", (40, 40), "white").save(source / "images/c.png")

    def row(number, image, answer):
        return {"id": str(number), "images": [f"images/{image}"], "question": "What?", "answers": [answer]}

    write_jsonl(source / "train.jsonl", [row(1, "a.png", "x"), row(2, "b.jpg", "y"), row(3, "c.png", "x")])
    write_jsonl(source / "test.jsonl", [row(4, "b.jpg", "x")])
    return source


def test_command_writes_records_and_books(folder, tmp_path, capsys):
    out = tmp_path / "out"
    main([str(folder), "--output_dir", str(out)])
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["2", "3"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 4, "records": 3, "filtered": 1, "rejects": 0}
    assert manifest["filtered"] == {"duplicate": 1}
    assert manifest["dedup"] == {"max_distance": 8, "conflicts": 1}
    books = json.loads((out / "merged.json").read_text())
    (gone,), (conflict,) = books["merged"], books["conflicts"]
    assert (gone["id"], gone["split"], gone["same_as"], gone["same_as_split"]) == ("1", "train", "4", "test")
    assert 1 <= gone["distance"] <= 8 and len(gone["phash"][0]) == 16
    assert gone["image_sha256"] != gone["same_as_sha256"]
    assert (conflict["id"], conflict["same_as"], conflict["distance"]) == ("2", "4", 0)
    assert (conflict["answers"], conflict["other_answers"]) == (["y"], ["x"])
    assert "1 merged, 1 conflicting answers kept" in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    main([str(folder), "--output_dir", str(out), "--num_proc", "1"])
    before.pop("manifest.json")  # names the command
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in before} == before


def test_mistakes(folder):
    for argv, message in (
        ([], "--records"),
        ([str(folder), "--output_dir", str(folder)], "the folder that is read"),
        ([str(folder), "--output_dir", "x", "--max_distance", "40"], "0 to 20"),
        ([str(folder / "none.jsonl"), "--output_dir", "x"], "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            main(argv)
