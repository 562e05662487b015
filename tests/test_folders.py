"""Record folders read and written by the commands: whole or not at all, no row lost, nothing overwritten."""

import json

import pytest
from PIL import Image

from vqa.errors import InputErrors, UserError
from vqa.files import sha256_file
from vqa.preparation.folders import check_synth_dir, read_folder, write_folder


def make_folder(folder, splits):
    """Records of one red picture: split -> number of records."""
    folder.mkdir()
    Image.new("RGB", (20, 10), "red").save(folder / "red.png")
    for split, count in splits.items():
        rows = [
            {
                "id": f"{split}-{number}",
                "images": ["red.png"],
                "question": f"what color is spot {number}?",
                "answers": ["red"],
                "boxes": [[1, 2, 5, 6]],
            }
            for number in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write(output_dir, files, source, **options):
    rows = options.pop("rows_in", sum(map(len, files.values())))
    return write_folder(
        output_dir, files, source.image_root, command="copy", rows_in=rows, source=source, **options
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_read_by_split(tmp_path):
    folder = read_folder(make_folder(tmp_path / "in", {"test": 2, "train": 3}))
    assert list(folder.files) == ["train", "test"]
    assert [record["id"] for record in folder.records] == [
        "train-0",
        "train-1",
        "train-2",
        "test-0",
        "test-1",
    ]
    assert folder.records[0]["images"] == [str((tmp_path / "in" / "red.png").resolve())]
    assert folder.records[0]["image_sizes"] == [[20, 10]]
    assert folder.sha256["test.jsonl"] == sha256_file(tmp_path / "in" / "test.jsonl")


def test_a_file_with_a_split_field_is_read_by_split(tmp_path):
    rows = [{"question": "a?", "answer": "b", "images": [], "split": split} for split in ("test", "train")]
    (tmp_path / "raw.json").write_text(json.dumps(rows))
    assert {split: len(rows) for split, rows in read_folder(tmp_path / "raw.json").files.items()} == {
        "train": 1,
        "test": 1,
    }


def test_faults_of_all_files_are_reported_together(tmp_path):
    folder = make_folder(tmp_path / "in", {"train": 1, "test": 1})
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text('{"question": "", "answers": ["a"], "images": []}\n')
    with pytest.raises(InputErrors) as caught:
        read_folder(folder)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        f"{folder}/test.jsonl:1",
        f"{folder}/train.jsonl:1",
    ]


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match="holds no record file"):
        read_folder(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_folder(tmp_path / "absent")


def test_written_records_read_back(tmp_path):
    source = read_folder(make_folder(tmp_path / "in", {"train": 2, "test": 1}))
    manifest = write(
        tmp_path / "out",
        {"train": source.files["train"][:1], "validation": source.files["test"]},
        source,
        rows_in=3,
        filtered={"blank": 1},
        details={"seed": 3},
    )
    back = read_folder(tmp_path / "out")
    assert [record["id"] for record in back.records] == ["train-0", "test-0"]
    assert back.files["validation"][0] == source.files["test"][0] | {"split": "validation"}
    assert manifest["rows"] == {"in": 3, "records": 2, "filtered": 1, "rejects": 0}
    assert manifest["copy"] == {"seed": 3}
    assert manifest["made_from"] == {"command": None, "sha256": source.sha256}
    assert not (tmp_path / "out" / "red.png").exists()


def test_rerun_writes_the_same_bytes_and_drops_what_is_no_longer_wanted(tmp_path):
    source = read_folder(make_folder(tmp_path / "in", {"train": 2, "test": 1}))
    write(tmp_path / "out", source.files, source)
    first = contents(tmp_path / "out")
    write(tmp_path / "out", source.files, source)
    assert contents(tmp_path / "out") == first
    write(tmp_path / "out", {"train": source.files["train"], "test": []}, source)
    assert sorted(contents(tmp_path / "out")) == ["manifest.json", "rejects.jsonl", "train.jsonl"]


def test_a_lost_row_is_a_fault_of_the_program(tmp_path):
    source = read_folder(make_folder(tmp_path / "in", {"train": 2}))
    with pytest.raises(RuntimeError, match="3 rows in, but 2 records"):
        write(tmp_path / "out", source.files, source, rows_in=3)


def test_a_faulty_record_leaves_the_earlier_files(tmp_path):
    source = read_folder(make_folder(tmp_path / "in", {"train": 2}))
    write(tmp_path / "out", source.files, source)
    first = contents(tmp_path / "out")
    twice = source.files["train"] + source.files["train"][:1]
    with pytest.raises(InputErrors, match="used twice"):
        write(tmp_path / "out", {"train": twice}, source)
    assert contents(tmp_path / "out") == first


@pytest.mark.parametrize("split", ["../train", "rejects", "suspicious", "a/b", "", ".hidden"])
def test_a_split_whose_name_is_no_file_name(tmp_path, split):
    source = read_folder(make_folder(tmp_path / "in", {"train": 1}))
    with pytest.raises(UserError, match="cannot name a record file"):
        write(tmp_path / "out", {split: source.files["train"]}, source)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_written_into(tmp_path):
    source = read_folder(make_folder(tmp_path / "in", {"train": 1}))
    with pytest.raises(UserError, match="is the folder that is read"):
        write(tmp_path / "in" / ".." / "in", source.files, source)
    other = make_folder(tmp_path / "other", {"train": 1})
    with pytest.raises(UserError, match="holds train.jsonl, which its manifest does not name"):
        write(other, source.files, source)
    manifest = {"files": {"train.jsonl": {}}, "convert": {}}
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="were not written by 'copy'"):
        write(other, source.files, source)
    with pytest.raises(UserError, match="is a file"):
        write(other / "red.png", source.files, source)
    with pytest.raises(UserError, match="no record is left"):
        write(tmp_path / "out", {"train": []}, source, rows_in=0)
    assert not (tmp_path / "out").exists()


def test_drawn_records_are_added_to_their_own_kind_only(tmp_path):
    check_synth_dir(tmp_path / "new", "ui")
    (tmp_path / "manifest.json").write_text('{"files": {"train.jsonl": {}}, "synthesis": {"name": "ui"}}')
    (tmp_path / "train.jsonl").write_text("{}\n")
    check_synth_dir(tmp_path, "ui")
    with pytest.raises(UserError, match="holds another data set"):
        check_synth_dir(tmp_path, "shapes")
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="holds mine.jsonl, which its manifest does not name"):
        check_synth_dir(tmp_path, "ui")
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="holds another data set"):
        check_synth_dir(tmp_path, "ui")
