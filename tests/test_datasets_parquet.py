"""Copies of publications on the hub: Parquet files with the images in their cells, read as published."""

import io
import json

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tests.dataset_fixtures import converted, picture, write
from vqa.datasets import CONVERTERS
from vqa.datasets.layouts import parquet_files
from vqa.errors import UserError

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
BUFFER = io.BytesIO()
Image.new("L", (200, 100), 90).save(BUFFER, "PNG")
PNG = BUFFER.getvalue()


def save(path, rows):
    """Rows with an `image` as `datasets` stores it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    cells = [{"bytes": row["image"], "path": "a.png"} for row in rows]
    parquet.write_table(pa.table(columns | {"image": pa.array(cells, IMAGE)}), path)


QUAD = {"x1": 10, "y1": 10, "x2": 60, "y2": 10, "x3": 60, "y3": 20, "x4": 10, "y4": 20}
WORD = {"quad": QUAD, "is_key": 0, "text": "5,000"}
LINE = {"words": [WORD], "category": "total.total_price", "group_id": 1}
TRUTH = {"valid_line": [LINE], "gt_parse": {"total": {"total_price": "5,000"}}}
CASES = {
    # name: (file, row, question and answers, boxes)
    "cord": ("data/train-00000-of-00004-b4aaeceff1d90ecb.parquet", {"ground_truth": json.dumps(TRUTH)},
             ("What is the total price?", ["5,000"]), [[10, 10, 60, 20]]),
    "chartqa": ("data/val-00000-of-00001-0f11003c77497969.parquet",
                {"query": "How many bars?", "label": ["3"], "human_or_machine": 1},
                ("How many bars?", ["3"]), []),
    "docvqa": ("DocVQA/validation-00000-of-00006.parquet",
               {"questionId": "49153", "question": "What?", "question_types": ["form"], "docId": 14465,
                "ucsf_document_id": "pybv0228", "ucsf_document_page_no": "81", "answers": ["1/8/93"]},
               ("What?", ["1/8/93"]), []),
    "textvqa": ("data/validation-00000-of-00003.parquet",
                {"image_id": "ab", "question_id": 1, "question": "What?", "answers": ["nokia"] * 10},
                ("What?", ["nokia"]), []),
    "vqa_rad": ("data/test-00000-of-00001-e5bc3d208bb4deeb.parquet", {"question": "is it?", "answer": "yes"},
                ("is it?", ["yes"]), []),
    "kvasir_vqa": ("data/00029.parquet",
                   {"source": "HyperKvasir", "question": "Is it?", "answer": "yes", "img_id": "clb1"},
                   ("Is it?", ["yes"]), []),
    "sroie": ("data/test-00000-of-00001.parquet",
              {"key": "X51005230605", "words": ["TOTAL 9.00"], "bboxes": [[10, 10, 60, 20]],
               "entities": {"total": "9.00"}},
              ("What is the total amount?", ["9.00"]), [[10, 10, 60, 20]]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_copy_in_parquet(name, tmp_path):
    file, row, question, boxes = CASES[name]
    later = {"questionId": "49154", "question_id": 2, "key": "X51005230606"}
    second = row | {key: value for key, value in later.items() if key in row}
    save(
        tmp_path / "raw" / file, [row | {"image": PNG}, row | {"image": b"no image"}, second | {"image": PNG}]
    )
    write(tmp_path / "raw/train.json", [])  # where there is Parquet, nothing else is read
    records, rejects, manifest = converted(CONVERTERS[name], tmp_path / "raw", tmp_path / "out")
    assert rejects == {
        f"{where}: row 1": "images: the bytes are of no known image format" for where in [file]
    }
    assert len(records) == 2 and manifest["image_root"] == "."
    (image,) = (tmp_path / "out/images").iterdir()
    assert image.read_bytes() == PNG
    for record in records.values():
        assert record["images"] == [f"images/{image.name}"] and record["source"] == name
        assert (record["question"], record["answers"], record["boxes"]) == (*question, boxes)
    split = "validation" if "val" in file else "test" if "test" in file else "train"
    assert manifest["counts"]["by_split"] == {split: 2}


def test_parquet_beside_a_folder_of_images(tmp_path):
    root = tmp_path / "raw"
    row = {"img_id": "clb1", "complexity": 1, "question": "Is it?", "answer": "It is."}
    (root / "data").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist([row]), root / "data/train-00000-of-00001.parquet")
    picture(root / "images/clb1.jpg")
    records, rejects, manifest = converted(CONVERTERS["kvasir_vqa"], root, tmp_path / "out")
    assert not rejects and manifest["image_root"] == str(root)
    assert [record["images"] for record in records.values()] == [["images/clb1.jpg"]]


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/train.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match="train.parquet: not a Parquet file that can be read"):
        converted(CONVERTERS["cord"], tmp_path / "raw", tmp_path / "out")


def test_shards_are_read_in_order_of_split_and_number(tmp_path):
    names = ["data/test-00000-of-00001.parquet", "data/train-00001-of-00002.parquet", "train/00000.parquet",
             "data/train-00000-of-00002.parquet", "data/val-00000-of-00001.parquet"]  # fmt: skip
    for name in names:
        write(tmp_path / name, "")
    found = [(split, path.relative_to(tmp_path).as_posix()) for split, path in parquet_files(tmp_path)]
    assert found == [("train", names[3]), ("train", names[1]), ("train", names[2]),
                     ("validation", names[4]), ("test", names[0])]  # fmt: skip
