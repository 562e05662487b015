"""Every publication in small, and what downloading, unpacking and copying do to it: nothing is lost."""

import json
import re
import shutil

import pytest

from tests.dataset_fixtures import converted, picture, write
from vqa.datasets import CONVERTERS

BOX_LINE = "10,10,60,10,60,20,10,20,"


def slake(root):
    row = {"img_name": "xmlab1/source.jpg", "question": "Where is the liver?", "answer": "Left", "qid": 1}
    write(root / "train.json", [row | {"q_lang": "en", "answer_type": "OPEN"}])
    write(root / "imgs/xmlab1/detection.json", [{"Liver": [10, 10, 50, 10]}])
    picture(root / "imgs/xmlab1/source.jpg")


def vqa_rad(root):
    row = {"qid": "1", "phrase_type": "freeform", "qid_linked_id": "a", "image_name": "synpic1.jpg"}
    write(root / "VQA_RAD Dataset Public.json", [row | {"question": "Is it?", "answer": "Yes"}])
    picture(root / "VQA_RAD Image Folder/synpic1.jpg")


def both(root):
    slake(root / "Slake1.0")
    vqa_rad(root / "VQA-RAD")


def docvqa(root):
    row = {"questionId": 1, "question": "What?", "image": "documents/a_1.png", "answers": ["two words"]}
    write(root / "train_v1.0_withQT.json", {"dataset_name": "DocVQA", "data": [row]})
    line = {"boundingBox": [10, 10, 60, 10, 60, 20, 10, 20], "text": "two words"}
    write(root / "ocr_results/a_1.json", {"recognitionResults": [{"lines": [line]}]})
    picture(root / "documents/a_1.png")


def textvqa(root):
    row = {"question_id": 1, "question": "What?", "image_id": "ab", "answers": ["nokia"] * 10}
    write(root / "TextVQA_0.5.1_train.json", {"dataset_version": "0.5.1", "data": [row]})
    box = {"top_left_x": 0.05, "top_left_y": 0.1, "width": 0.25, "height": 0.1, "rotation": 0}
    words = [{"word": "NOKIA", "bounding_box": box}]
    write(root / "TextVQA_Rosetta_OCR_v0.2_train.json", {"data": [{"image_id": "ab", "ocr_info": words}]})
    picture(root / "train_images/ab.jpg")


def chartqa(root):
    row = {"imgname": "1.png", "query": "How many bars?", "label": "3"}
    write(root / "ChartQA Dataset/train/train_human.json", [row])
    picture(root / "ChartQA Dataset/train/png/1.png")


def funsd(root):
    key = {
        "id": 0,
        "label": "question",
        "text": "Date:",
        "box": [1, 1, 9, 9],
        "linking": [[0, 1]],
        "words": [],
    }
    value = key | {"id": 1, "label": "answer", "text": "May", "box": [10, 10, 60, 20]}
    write(root / "dataset/training_data/annotations/1.json", {"form": [key, value]})
    picture(root / "dataset/training_data/images/1.png")


def cord(root):
    quad = {"x1": 10, "y1": 10, "x2": 60, "y2": 10, "x3": 60, "y3": 20, "x4": 10, "y4": 20}
    line = {"words": [{"quad": quad, "is_key": 0, "text": "5,000"}], "category": "total.total_price"}
    truth = {"valid_line": [line | {"group_id": 1}], "gt_parse": {"total": {"total_price": "5,000"}}}
    write(root / "CORD/train/json/receipt_00000.json", truth)
    picture(root / "CORD/train/image/receipt_00000.png")


def sroie(root):
    write(root / "train/box/X1.txt", BOX_LINE + "TOTAL, RM 9.00\n")
    write(root / "train/entities/X1.txt", {"total": "9.00"})
    picture(root / "train/img/X1.jpg")


def kvasir_vqa(root):
    write(root / "metadata.csv", 'source,question,answer,img_id\nHyperKvasir,"Is it, or not?",yes,clb1\n')
    picture(root / "images/clb1.jpg")


def endovis18_vqa(root):
    write(root / "seq_2/vqa/Classification/frame000_QA.txt", "What organ is being operated?|kidney\n")
    picture(root / "seq_2/left_frames/frame000.png")


def easy_vqa(root):
    for split in ("train", "test"):
        write(root / f"data/{split}/questions.json", [["is there a circle?", "yes", 0]])
        picture(root / f"data/{split}/images/0.png")


def vqav2(root):
    question = {"image_id": 9, "question": "What is it?", "question_id": 9000}
    write(root / "v2_OpenEnded_mscoco_train2014_questions.json", {"questions": [question]})
    annotation = {"question_id": 9000, "answers": [{"answer": "dog"}] * 10}
    write(root / "v2_mscoco_train2014_annotations.json", {"annotations": [annotation]})
    picture(root / "train2014/COCO_train2014_000000000009.jpg")


def uit_hwdb(root):
    write(root / "UIT_HWDB_line/train_data/2/label.json", {"1.jpg": "Sự tổ chức"})
    picture(root / "UIT_HWDB_line/train_data/2/1.jpg")


def vintext(root):
    write(root / "vietnamese/labels/gt_1.txt", BOX_LINE + "PHỞ,BÒ\n")
    picture(root / "vietnamese/train_images/im0001.jpg")


def viocrvqa(root):
    row = {"id": 0, "image_id": 1, "question": "tên sách?", "answers": ["a"]}
    write(root / "data/train.json", {"images": [{"id": 1, "filename": "1.jpg"}], "annotations": [row]})
    picture(root / "data/bf_all_img/1.jpg")


def handwriting(root):
    write(root / "labels.tsv", "1.png\tXin chào\n")
    write(root / "2.txt", "bạn\n")
    for name in ("1.png", "2.png"):
        picture(root / name)


def llava(root):
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a wall"}]
    write(root / "train.json", [{"id": "1", "image": "coco/1.jpg", "conversations": talk}])
    picture(root / "coco/1.jpg")


def generic(root):
    write(root / "train.jsonl", json.dumps({"image": "a/1.png", "question": "What?", "answer": "x"}) + "\n")
    picture(root / "a/1.png")


BUILDERS = {
    build.__name__: build
    for build in (
        slake, vqa_rad, both, docvqa, textvqa, chartqa, funsd, cord, sroie, kvasir_vqa, endovis18_vqa,
        easy_vqa, vqav2, uit_hwdb, vintext, viocrvqa, handwriting, llava, generic,
    )
} | {"sharegpt": llava, "llamafactory": llava}  # fmt: skip
TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt")
# The root itself is what the images of these are relative to.
PLAIN = ("generic", "llava", "sharegpt", "llamafactory")


def files(root):
    return [path for path in sorted(root.rglob("*")) if path.is_file()]


def windows_text(root):
    """A byte order mark, and lines that end as on Windows."""
    for path in files(root):
        if path.suffix in TEXTS:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


def nested(root):
    """Unpacked into a folder of the archive's name, twice."""
    shutil.move(root, root.with_name("moved"))
    shutil.copytree(root.with_name("moved"), root / "download-main" / "publication")


def litter(root):
    """What macOS and Windows leave in folders and archives, and notebooks in folders of data."""
    for path in files(root):
        for other in (path.with_name(f"._{path.name}"), root / "__MACOSX" / path.relative_to(root)):
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(b"\0\5\26\7")
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (path.parent / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    shutil.copytree(root, root.with_name("copy"))
    shutil.move(root.with_name("copy"), root / ".ipynb_checkpoints")


def shouting_suffixes(root):
    """`1.JPG` where the annotation says `1.jpg`."""
    for path in files(root):
        if path.suffix in (".jpg", ".png"):
            path.rename(path.with_suffix(path.suffix.upper()))


def windows_paths(root):
    """Annotations that were written on Windows."""
    for path in files(root):
        if path.suffix in (".json", ".jsonl"):
            write(path, re.sub(r"(\w)/(\w+\.(?:jpg|png))", r"\1\\\\\2", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("dirt", [windows_text, nested, litter, shouting_suffixes, windows_paths])
@pytest.mark.parametrize("name", BUILDERS)
def test_nothing_is_lost(name, dirt, tmp_path):
    root = tmp_path / "raw"
    BUILDERS[name](root)
    clean, rejects, _ = converted(CONVERTERS[name], root, tmp_path / "clean")
    assert clean and not rejects
    if dirt is nested and name in PLAIN:
        return
    dirt(root)
    found, rejects, _ = converted(CONVERTERS[name], root, tmp_path / "out")
    assert not rejects
    without_place = [
        [
            {key: value for key, value in record.items() if key not in ("id", "images", "meta")}
            for record in records
        ]
        for records in (clean.values(), found.values())
    ]
    assert without_place[0] == without_place[1]


@pytest.mark.parametrize("name", BUILDERS)
def test_records_within_the_publication_are_not_read_again(name, tmp_path):
    root = tmp_path / "raw"
    BUILDERS[name](root)
    first, _, _ = converted(CONVERTERS[name], root, root / "records")
    again, rejects, _ = converted(CONVERTERS[name], root, root / "records")
    assert first == again and not rejects
