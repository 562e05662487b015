"""`split`: no image in two splits, types in proportion, published splits untouched, no record lost."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqa.errors import UserError
from vqa.preparation.folders import Folder
from vqa.preparation.groups import deal, record_groups
from vqa.preparation.split import divide, main, parse_ratios, splits_to_divide
from vqa.synthesis.shapes import generate_scene

RATIOS = {"train": Fraction(8, 10), "validation": Fraction(1, 10), "test": Fraction(1, 10)}
KINDS = ("yes_no", "color", "open_ended")


def row(name, images, kind="yes_no"):
    return {"id": name, "images": images, "question_type": kind}


def test_groups_join_through_duplicates_and_several_images():
    records = [
        row("a", ["1"]),
        row("b", ["2"]),
        row("c", ["3", "1"]),
        row("d", ["4"]),
        row("e", []),
        row("f", []),
    ]
    assert record_groups(records, [["2", "9"], ["9", "3"]]) == [[0, 1, 2], [3], [4], [5]]


IMAGES = st.integers(0, 30).map(str)


ROWS = st.lists(st.tuples(st.lists(IMAGES, max_size=3), st.sampled_from(KINDS)), min_size=2, max_size=80)


@given(
    ROWS,
    st.lists(st.lists(IMAGES, min_size=2, max_size=4), max_size=5),
    st.booleans(),
    st.integers(0, 5),
)
def test_no_image_is_in_two_splits_and_no_record_is_lost(rows, same, published_test, seed):
    records = [row(str(number), images, kind) for number, (images, kind) in enumerate(rows)]
    half = len(records) // 2 if published_test else 0
    files = {"train": records[half:], **({"test": records[:half]} if half else {})}
    division = divide(files, same, RATIOS, ["train"], False, seed)
    assert division == divide(files, same, RATIOS, ["train"], False, seed)
    written = [record["id"] for rows in division.files.values() for record in rows]
    assert len(set(written)) == len(written) == len(records) - division.left_out.total()
    if half:
        assert division.files["test"] == files["test"]
    splits: dict[str, set] = {}
    for split, members in division.files.items():
        for record in members:
            for image in record["images"]:
                splits.setdefault(image, set()).add(split)
    for names in [*same, *([name] for name in splits)]:
        assert len(set().union(*(splits.get(name, set()) for name in names))) <= 1
    # With conflicts kept, what shares an image with the test split is in training, never in validation.
    kept = divide(files, same, RATIOS, ["train"], True, seed)
    assert sum(map(len, kept.files.values())) == len(records)
    assert kept.files.get("validation") == division.files.get("validation")


def test_types_keep_the_ratios():
    kinds = [KINDS[0]] * 6 + [KINDS[1]] * 3 + [KINDS[2]]
    types, groups = [], []
    for number in range(200):  # every group has questions of one to ten kinds, rare ones in a tenth of them
        group = kinds[: 3 + number % 8]
        groups.append(range(len(types), len(types) + len(group)))
        types += group
    chosen = deal(groups, types, RATIOS, seed=1)
    total, held = Counter(types), {name: Counter() for name in RATIOS}
    for group, name in zip(groups, chosen, strict=True):
        held[name].update(types[index] for index in group)
    for name, ratio in RATIOS.items():
        for kind, count in total.items():
            assert held[name][kind] / count == pytest.approx(float(ratio), abs=max(0.02, 1 / count))


def test_a_group_that_is_too_large_goes_where_there_is_room():
    groups = [range(0, 70), *([index] for index in range(70, 100))]
    chosen = deal(groups, ["yes_no"] * 100, RATIOS, seed=0)
    assert Counter(name for group, name in zip(groups, chosen, strict=True) for _ in group) == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


def test_conflicts_are_left_out_or_kept_in_training():
    files = {
        "train": [row("a", ["1"]), row("b", ["2"]), row("c", ["3"])],
        "validation": [row("v", ["4"])],
        "test": [row("t", ["5"]), row("u", ["4"])],
    }
    same = [["1", "5"]]
    division = divide(files, same, RATIOS, ["train"], False, 0)
    assert division.left_out == {"near-duplicate of test": 1}
    assert [record["id"] for record in division.files["train"]] == ["b", "c"]
    assert division.files["validation"] == files["validation"] and division.files["test"] == files["test"]
    assert division.conflicts == [
        {"splits": ["test", "train"], "images": ["1", "5"]},
        {"splits": ["test", "validation"], "images": ["4"]},
    ]
    kept = divide(files, same, RATIOS, ["train"], True, 0)
    assert [record["id"] for record in kept.files["train"]] == ["a", "b", "c"]
    assert not kept.left_out and kept.conflicts == division.conflicts


def test_only_missing_splits_are_filled():
    files = {"train": [row(str(n), [str(n)]) for n in range(90)], "test": [row("t", ["t"])]}
    division = divide(files, [], RATIOS, ["train"], False, 0)
    assert {name: len(rows) for name, rows in division.files.items()} == {
        "train": 80,
        "validation": 10,
        "test": 1,
    }
    with pytest.raises(UserError, match="are there and stay"):
        divide(files, [], {"test": Fraction(1)}, ["train"], False, 0)


def test_what_has_no_split_yet_is_divided_and_what_has_stays():
    files = {
        "train": [row("a", ["a"])],
        "val": [row("v", ["v"])],
        "questions": [row(str(n), [str(n)]) for n in range(90)],
    }
    folder = Folder(Path("x"), files, Path("x"), {}, {})
    assert splits_to_divide([], folder) == ["questions"]
    assert splits_to_divide(["train"], folder) == ["train"]
    division = divide(files, [], RATIOS, ["questions"], False, 0)
    # `val` is a validation split under another name; the training split may grow.
    assert {name: len(rows) for name, rows in division.files.items()} == {"train": 81, "test": 10, "val": 1}
    published = Folder(Path("x"), {name: files[name] for name in ("train", "val")}, Path("x"), {}, {})
    assert splits_to_divide([], published) == ["train"]


def test_ratios_are_exact():
    assert parse_ratios(["train=0.8", "validation=0.1", "test=0.1"]) == RATIOS
    assert parse_ratios(["a=1/3", "b=2/3"]) == {"a": Fraction(1, 3), "b": Fraction(2, 3)}


@pytest.mark.parametrize(
    "text", ["train", "train=x", "train=0 test=1", "train=0.5 train=0.5", "train=0.5", "a=1/0", "=1", ""]
)
def test_ratios_that_are_none(text):
    with pytest.raises(UserError, match="--ratios"):
        parse_ratios(text.split())


@pytest.fixture
def scenes(tmp_path):
    """Forty pictures with their questions; picture 1 again as JPEG, picture 2 again byte for byte."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows = []
    for number in range(40):
        image, records = generate_scene(3, number)
        image.save(folder / f"{number}.png")
        rows += [
            record | {"images": [f"{number}.png"], "id": f"{number}-{index}"}
            for index, record in enumerate(records[:4])
        ]
    Image.open(folder / "1.png").save(folder / "1.jpg", quality=95)
    (folder / "2b.png").write_bytes((folder / "2.png").read_bytes())
    for name in ("1.jpg", "2b.png"):
        rows.append({"id": name, "images": [name], "question": "what is it?", "answers": ["a thing"]})
    for record in rows:
        record.pop("image_sha256", None)
        record.pop("split", None)
    (folder / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rows))
    return folder


def split_of_images(folder):
    found = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            for name in json.loads(line)["images"]:
                found.setdefault(name, set()).add(path.stem)
    return found


def test_split_of_a_raw_file(scenes, tmp_path, capsys):
    command = [str(scenes / "questions.jsonl"), "--seed", "2", "--output_dir"]
    main([*command, str(tmp_path / "out")])
    found = split_of_images(tmp_path / "out")
    assert all(len(splits) == 1 for splits in found.values())
    assert found["1.jpg"] == found["1.png"] and found["2b.png"] == found["2.png"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 162, "records": 162, "filtered": 0, "rejects": 0}
    counts = manifest["counts"]["by_split"]
    assert counts["train"] / 162 == pytest.approx(0.8, abs=0.03) and set(counts) == set(RATIOS)
    assert manifest["split"]["divided"] == ["questions"] and manifest["split"]["groups"] == 40
    assert "records, and share of the type" in capsys.readouterr().out
    # The same again, from what was written: nothing moves; by two threads, nothing changes.
    main([str(tmp_path / "out"), "--output_dir", str(tmp_path / "again")])
    assert split_of_images(tmp_path / "again") == found
    main(
        [
            str(scenes / "questions.jsonl"),
            "--seed",
            "2",
            "--num_proc",
            "2",
            "--output_dir",
            str(tmp_path / "two"),
        ]
    )
    assert (tmp_path / "two" / "train.jsonl").read_bytes() == (tmp_path / "out" / "train.jsonl").read_bytes()


def test_records_that_would_leak_are_left_out(scenes, tmp_path, capsys):
    rows = [json.loads(line) for line in (scenes / "questions.jsonl").read_text().splitlines()]
    (scenes / "questions.jsonl").unlink()
    published = [record for record in rows if record["id"] in ("1.jpg", "2b.png")]
    (scenes / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in published))
    rest = [record for record in rows if record not in published]
    (scenes / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rest))
    main([str(scenes), "--output_dir", str(tmp_path / "out")])
    found = split_of_images(tmp_path / "out")
    assert "1.png" not in found and "2.png" not in found
    assert {name for name, splits in found.items() if splits == {"test"}} == {"1.jpg", "2b.png"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["filtered"] == {"near-duplicate of test": 8}
    assert manifest["split"]["conflicts_listed"] == [
        {"splits": ["test", "train"], "images": ["1.jpg", "1.png"]},
        {"splits": ["test", "train"], "images": ["2.png", "2b.png"]},
    ]
    assert "2 image groups are in several published splits (test+train: 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--conflicts", "move"], "leave_out or keep"),
        (["--max_distance", "21"], "from 0 to 20"),
        (["--num_proc", "0"], "at least 1"),
        (["--divide", "train"], "has questions"),
    ],
)
def test_mistakes(scenes, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([str(scenes), "--output_dir", str(tmp_path / "out"), *options])


def test_it_must_be_clear_what_is_divided(tmp_path):
    for split in ("a", "b"):
        (tmp_path / f"{split}.jsonl").write_text('{"question": "a?", "answers": ["b"], "images": []}\n')
    with pytest.raises(UserError, match="has the splits a, b; say which to divide"):
        main([str(tmp_path), "--output_dir", str(tmp_path / "out")])
    main([str(tmp_path), "--divide", "a", "b", "--ratios", "b=1", "--output_dir", str(tmp_path / "out")])
    assert len((tmp_path / "out" / "b.jsonl").read_text().splitlines()) == 2
