"""UIT-HWDB, VinText, ViOCRVQA and folders of handwriting, in their published layouts with their dirt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset_fixtures import converted, picture, whole, write
from vqa.datasets.conversion import ConvertOptions, RawRow
from vqa.datasets.handwriting import HANDWRITING
from vqa.datasets.layouts import natural_key, split_of
from vqa.datasets.uit_hwdb import UIT_HWDB
from vqa.datasets.vintext import VINTEXT, _region
from vqa.datasets.viocrvqa import VIOCRVQA
from vqa.errors import UserError
from vqa.images import boxes_to_pixels


@pytest.fixture
def hwdb(tmp_path):
    root = tmp_path / "UIT_HWDB"
    line = root / "UIT_HWDB_line" / "UIT_HWDB_line"  # archives unpack nested
    for name in ("1.jpg", "2.jpg", "10.jpg", "11.jpg"):
        picture(line / "train_data" / "2" / name)
    picture(line / "train_data" / "2" / "12.png")
    labels = {"1.jpg": "Sự tổ chức", "2.jpg": " ", "10.jpg": 7, "12.jpg": "phối đủ ", "99.jpg": "vắng"}
    write(line / "train_data" / "2" / "label.json", labels)
    picture(line / "train_data" / "10" / "1.jpg")
    write(line / "train_data" / "11" / "label.json", "{broken")
    picture(line / "test_data" / "250" / "1.jpg")
    write(line / "test_data" / "250" / "label.json", {"1.jpg": "bo\u0302\u0323 to\u0323a"})
    picture(root / "UIT_HWDB_word" / "train_data" / "2" / "1.jpg")
    write(root / "UIT_HWDB_word" / "train_data" / "2" / "label.json", {"1.jpg": "Sự"})
    return root


def test_uit_hwdb(hwdb, tmp_path):
    records, rejects, manifest = converted(UIT_HWDB, hwdb, tmp_path / "out")
    folder = "UIT_HWDB_line/UIT_HWDB_line/train_data"
    assert records["uit_hwdb/train/line/2/1.jpg"] == whole(
        hwdb / folder / "2" / "1.jpg",
        {
            "id": "uit_hwdb/train/line/2/1.jpg",
            "images": [f"{folder}/2/1.jpg"],
            "question": "What text is written in the image?",
            "answers": ["Sự tổ chức"],
            "question_type": "transcription",
            "source": "uit_hwdb",
            "split": "train",
            "meta": {"writer": "2", "level": "line"},
        },
    )
    assert records["uit_hwdb/test/line/250/1.jpg"]["answers"] == ["bộ tọa"]  # NFC
    assert records["uit_hwdb/train/line/2/12.png"]["answers"] == ["phối đủ"]
    assert records["uit_hwdb/train/line/2/10.jpg"]["answers"] == ["7"]
    assert manifest["repairs"] == {"image has another suffix": 1}
    assert manifest["counts"]["by_split"] == {"test": 1, "train": 4}
    labels = f"{folder}/2/label.json"
    assert set(rejects) == {
        *(f"{labels}: {name}.jpg" for name in (2, 99, 11)),
        f"{folder}/10/label.json",
        f"{folder}/11/label.json",
    }
    assert rejects[f"{labels}: 2.jpg"] == "answers[0]: empty"
    assert rejects[f"{labels}: 99.jpg"].endswith("does not exist")
    assert rejects[f"{labels}: 11.jpg"] == "the image has no label"


def test_uit_hwdb_one_level(hwdb, tmp_path):
    records, _, manifest = converted(UIT_HWDB, hwdb, tmp_path / "out", level="word")
    assert list(records) == ["uit_hwdb/train/word/2/1.jpg"]
    assert manifest["filtered"] == {"level": 9}
    # The folder of one level alone is the same data set.
    alone = [row.record["id"] for row in UIT_HWDB.rows(hwdb / "UIT_HWDB_word", ConvertOptions())]
    assert alone == list(records)


def test_inputs_that_are_something_else(tmp_path):
    for converter in (UIT_HWDB, VINTEXT, VIOCRVQA, HANDWRITING):
        for wrong in (None, tmp_path, tmp_path / "nowhere"):
            with pytest.raises(UserError, match="--input"):
                converter.find_input(wrong)


@pytest.fixture
def vintext(tmp_path):
    root = tmp_path / "vietnamese"
    picture(root / "train_images" / "im0001.jpg", (200, 100))
    picture(root / "train_images" / "im0002.jpg")
    picture(root / "test_image" / "im1201.jpg", (200, 100))
    (picture(root / "unseen_test_images" / "im1501.jpg")).write_bytes(b"\xff\xd8\xff half")
    lines = (
        "\ufeff20,10,60,12,60,30,20,28,PHỞ,BÒ\r\n"
        "1,1,5,1,5,5,1,5,###\n"
        "-3,50,40,50,40,80,-3,80,Hà Nội\n"
        "1,2,3,4,SHORT\n\n"
        "300,10,320,10,320,20,300,20,OUT\n"
        "10,10,20,10,20,20,10,20,\n"
    )
    write(root / "labels" / "gt_1.txt", lines)
    write(root / "labels" / "gt_1201.txt", "0,0,200,0,200,100,0,100,CƠM\n")
    write(root / "labels" / "gt_1501.txt", "0,0,9,0,9,9,0,9,XE\n")
    write(root / "labels" / "gt_1300.txt", "0,0,9,0,9,9,0,9,XE\n")
    return root


def test_vintext(vintext, tmp_path):
    records, rejects, manifest = converted(VINTEXT, vintext.parent, tmp_path / "out")
    assert records["vintext/train/im0001/001"] == whole(
        vintext / "train_images" / "im0001.jpg",
        {
            "id": "vintext/train/im0001/001",
            "images": ["train_images/im0001.jpg"],
            "question": "What text is written in the box [100, 100, 300, 300]?",
            "answers": ["PHỞ,BÒ"],
            "question_type": "transcription",
            "boxes": [[20, 10, 60, 30]],
            "box_images": [0],
            "source": "vintext",
            "split": "train",
            "meta": {"polygon": [[20, 10], [60, 12], [60, 30], [20, 28]]},
        },
    )
    assert records["vintext/train/im0001/003"]["boxes"] == [[0, 50, 40, 80]]
    assert manifest["repairs"] == {"box cut to its image": 1}
    assert manifest["counts"]["by_split"] == {"test": 1, "train": 2}
    assert rejects["gt_1.txt: line 2"] == "###: the region cannot be read"
    assert rejects["gt_1.txt: line 4"] == "expected x1,y1,...,x4,y4,text"
    assert rejects["gt_1.txt: line 6"] == "boxes: [300, 10, 320, 20] has no area in the image"
    assert rejects["gt_1.txt: line 7"] == "answers[0]: empty"
    assert rejects["gt_1300.txt"] == "no image of number 1300"
    assert rejects["train_images/im0002.jpg"] == "no gt_2.txt in labels/"
    assert "is not an image" in rejects["gt_1501.txt: line 1"]
    assert len(rejects) == 7


@given(
    x=st.integers(-50, 399), y=st.integers(-50, 399), width=st.integers(0, 300), height=st.integers(0, 300),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20),
)  # fmt: skip
def test_vintext_regions(x, y, width, height, text):
    size = (400, 300)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    line = ",".join(map(str, corners)) + "," + text
    raw = _region(RawRow("train", {}, "here"), line, size, "im.jpg", "id")
    assert (raw.record is None) == bool(raw.reason)
    if raw.record:
        (box,) = raw.record["boxes"]
        assert 0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]
        assert raw.record["answers"] == [text.strip()]
        pointed = json.loads(raw.record["question"].removeprefix("What text is written in the box ")[:-1])
        (back,) = boxes_to_pixels([pointed], size, "norm1000")
        assert all(abs(a - b) <= 0.4 for a, b in zip(back, box, strict=True))


def test_viocrvqa(tmp_path):
    root = tmp_path / "data"
    picture(root / "bf_all_img" / "25670.jpg")
    picture(root / "bf_all_img" / "3.jpg")
    images = [{"id": 25670, "filename": "25670.jpg"}, {"id": 4, "filename": "4.jpg"}]
    rows = [
        {
            "id": 0,
            "image_id": 25670,
            "question": "ai đã sáng tác cuốn sách này",
            "answers": ["thích nhất hạnh "],
        },
        {"id": 1, "image_id": 4, "question": "tên sách?", "answers": ["a"]},
        {"id": 2, "image_id": 5, "question": "tên sách?", "answers": ["a"]},
        {"id": 3, "image_id": 25670, "question": "", "answers": ["a"]},
        {"id": 4, "image_id": 25670, "question": "tên sách?", "answers": []},
    ]
    write(root / "train.json", {"images": images, "annotations": rows})
    # The form of OpenViVQA: objects keyed by id, one answer.
    openvivqa = {"51": {"image_id": 7, "question": "ở đâu?", "answer": "ở Huế"}}
    write(root / "dev.json", {"images": {"7": "3.jpg"}, "annotations": openvivqa})
    hidden = {"id": 0, "image_id": 25670, "question": "nhà xuất bản?", "answers": ["your answer"]}
    write(root / "test.json", {"images": images, "annotations": [hidden]})
    records, rejects, manifest = converted(VIOCRVQA, tmp_path, tmp_path / "out")
    assert records["viocrvqa/train/000000"] == whole(
        root / "bf_all_img" / "25670.jpg",
        {
            "id": "viocrvqa/train/000000",
            "images": ["bf_all_img/25670.jpg"],
            "question": "ai đã sáng tác cuốn sách này",
            "answers": ["thích nhất hạnh"],
            "question_type": "extractive",
            "source": "viocrvqa",
            "split": "train",
            "meta": {"id": 0, "image_id": 25670},
        },
    )
    assert records["viocrvqa/dev/000000"]["images"] == ["bf_all_img/3.jpg"]
    assert records["viocrvqa/dev/000000"]["split"] == "validation"
    assert rejects["test.json: annotation 0"] == "answers: withheld by the publication ('your answer')"
    assert rejects["train.json: annotation 2"] == "image_id: 5 is not among the images"
    assert [where for where in rejects if where.startswith("train")] == [
        f"train.json: annotation {index}" for index in (2, 3, 4, 1)
    ]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("labels.tsv", "a.png\tXin chào, bạn\nb.png\t\"Ừ\" nhé\n", ["Xin chào, bạn", '"Ừ" nhé']),
        ("labels.csv", "\ufefffile_name,text\na.png,Xin chào, bạn\nb.png,\"Ừ, \"\"nhé\"\"\"\n",
         ["Xin chào, bạn", 'Ừ, "nhé"']),
        ("labels.csv", "a.png,Xin chào\r\n\r\nb.png,nhé\r\n", ["Xin chào", "nhé"]),
        ("labels.csv", "image;text\na.png;Xin chào, bạn\nb.png;nhé\n", ["Xin chào, bạn", "nhé"]),
        ("gt.txt", "a.png\tXin\tchào\nb.png\tnhé", ["Xin\tchào", "nhé"]),
        ("train_labels.txt", "a.png Xin chào\nb.png nhé\n", ["Xin chào", "nhé"]),
        ("labels.json", {"a.png": {"text": "Xin chào"}, "b.png": "nhé"}, ["Xin chào", "nhé"]),
        ("labels.json", {"a.png": "Xin chào", "b.png": "nhé"}, ["Xin chào", "nhé"]),
        ("label.json", [{"image": "a.png", "text": "Xin"}, {"image": "b.png", "label": "nhé"}],
         ["Xin", "nhé"]),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "Xin"}\n{"file_name": "b.png", "text": "nhé"}\n',
         ["Xin", "nhé"]),
    ],
)  # fmt: skip
def test_handwriting_tables(tmp_path, name, content, texts):
    for image in ("a.png", "b.png"):
        picture(tmp_path / "in" / image)
    write(tmp_path / "in" / name, content)
    records, rejects, _ = converted(HANDWRITING, tmp_path / "in", tmp_path / "out")
    assert [records[f"handwriting/{image}"]["answers"][0] for image in ("a.png", "b.png")] == texts
    assert not rejects and all(not record["meta"] for record in records.values())


def test_handwriting_rows_with_a_cell_too_many(tmp_path):
    for image in ("a.png", "b.png"):
        picture(tmp_path / "in" / image)
    write(tmp_path / "in/labels.tsv", "a.png\tXin chào\nb.png\tnhé\tAn\n")
    records, rejects, _ = converted(HANDWRITING, tmp_path / "in", tmp_path / "out")
    assert list(records) == ["handwriting/a.png"]
    assert rejects == {
        "labels.tsv: row 1": "3 cells under 2 columns", "b.png": "the image has no label"
    }  # fmt: skip


def test_handwriting_folders(tmp_path):
    root = tmp_path / "in"
    for name in ("train/images/1.png", "train/images/2.png", "val/3.jpg", "val/4.jpg", "5.png", "gt.png"):
        picture(root / name)
    write(root / "train" / "labels.csv", "image,text,writer\n1.png,Một,An\n9.png,Chín,An\n1.png,Hai,An\n")
    write(root / "val" / "3.txt", "dòng một\ndòng hai\n")
    (root / "val" / "4.txt").write_bytes(b"nul\0")
    write(root / "labels_test.json", {"5.png": "Năm"})
    write(root / "gt.txt", "Sáu")
    records, rejects, _ = converted(HANDWRITING, root, tmp_path / "out")
    assert records["handwriting/train/images/1.png"] == whole(
        root / "train" / "images" / "1.png",
        {
            "id": "handwriting/train/images/1.png",
            "images": ["train/images/1.png"],
            "question": "What text is written in the image?",
            "answers": ["Một"],
            "question_type": "transcription",
            "source": "handwriting",
            "split": "train",
            "meta": {"writer": "An"},
        },
    )
    assert {name: (record["split"], record["answers"][0]) for name, record in records.items()} == {
        "handwriting/train/images/1.png": ("train", "Một"),
        "handwriting/val/3.jpg": ("validation", "dòng một\ndòng hai"),
        "handwriting/5.png": ("test", "Năm"),
        "handwriting/gt.png": ("train", "Sáu"),
    }
    assert rejects["train/images/2.png"] == "the image has no label"
    assert rejects["train/labels.csv: row 1"].endswith("does not exist")
    assert rejects["train/labels.csv: row 2"] == "'train/images/1.png' has a label already"
    assert rejects["val/4.jpg"].endswith("holds a NUL byte")
    assert len(rejects) == 4


def test_handwriting_paths_stay_inside(tmp_path):
    picture(tmp_path / "secret.png")
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    write(tmp_path / "in" / "labels.tsv", "../secret.png\tx\nlink.png\ty\n/etc/passwd\tz\na.png\tok\n")
    records, rejects, _ = converted(HANDWRITING, tmp_path / "in", tmp_path / "out")
    assert list(records) == ["handwriting/a.png"]
    assert ["'..'" in rejects["labels.tsv: row 0"], "symlink" in rejects["labels.tsv: row 1"],
            "absolute" in rejects["labels.tsv: row 2"]] == [True] * 3  # fmt: skip


@given(st.lists(st.text("ab019.", max_size=6), max_size=6))
def test_natural_order_is_total(names):
    ordered = sorted(names, key=natural_key)
    assert sorted(reversed(ordered), key=natural_key) == ordered or len(set(names)) < len(names)
    ordered = ["02.jpg", "2.jpg", "10.jpg", "a1"]
    assert sorted(reversed(ordered), key=natural_key) == ordered


@given(st.text(max_size=30))
def test_split_names_are_file_names(name):
    split = split_of(name)
    assert split and "/" not in split and not split.startswith(".") and split not in ("rejects", "suspicious")
    assert split_of("ViTextVQA_dev") == split_of("val2017") == "validation"
    assert split_of("llava_v1_5", "train") == "train"
