"""Kvasir-VQA and x1, EndoVis-18-VQA and VQA v2 as published, in small; a record of each compared whole."""

import json

import pytest

from tests.dataset_fixtures import json_lines, picture, whole, write
from vqa.datasets.conversion import ConvertOptions, convert
from vqa.datasets.surgical import ENDOVIS18_VQA, KVASIR_VQA, STATES
from vqa.datasets.vqav2 import VQAV2
from vqa.errors import UserError

METADATA = """source,question,answer,img_id
HyperKvasir-Polyps,What color is the abnormality? If more than one separate with ;,pink;red ; white,clb1
HyperKvasir-Polyps,Have all polyps been removed?,Not relevant,clb1
HyperKvasir-Polyps,Is there text?,yes,clb1
HyperKvasir-Polyps,What is the size of the polyp?,11-20mm,clb1
HyperKvasir-Polyps,How many polyps are in the image?,2,clb1
Kvasir-Instrument,What type of polyp is present?,none,clb1
Kvasir-Instrument,"Are there any instruments in the image? Check all that are present.",,clb1
Kvasir-Instrument,Is there a green/black box artefact?,No,missing
Kvasir-Instrument,Is there text?,yes,../clb1
"""


def test_kvasir_vqa(tmp_path):
    write(tmp_path / "in/metadata.csv", METADATA)
    image = picture(tmp_path / "in/images/clb1.jpg")
    manifest = convert(KVASIR_VQA, tmp_path / "in", tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 9, "records": 6, "filtered": 0, "rejects": 3}
    assert manifest["licence"] == "CC-BY-NC-4.0"
    records = json_lines(tmp_path / "out/train.jsonl")
    shared = {
        "images": ["images/clb1.jpg"],
        "split": "train",
        "source": "kvasir_vqa",
    }
    assert records[0] == whole(
        image,
        shared
        | {
            "id": "kvasir_vqa/train/000000",
            "question": "What color is the abnormality? If more than one separate with ;",
            "answers": ["pink; red; white"],
            "answerable": True,
            "question_type": "open_ended",
            "answer_candidates": None,
            "meta": {"img_id": "clb1", "source": "HyperKvasir-Polyps"},
        },
    )
    assert records[1] == whole(
        image,
        shared
        | {
            "id": "kvasir_vqa/train/000001",
            "question": "Have all polyps been removed?",
            "answers": [],
            "answerable": False,
            "question_type": "yes_no",
            "answer_candidates": ["yes", "no"],
            "meta": {"img_id": "clb1", "source": "HyperKvasir-Polyps", "answer": "Not relevant"},
        },
    )
    assert [(row["question_type"], row["answers"]) for row in records[2:]] == [
        ("yes_no", ["yes"]),
        ("mcq", ["11-20mm"]),
        ("count_numeric", ["2"]),
        ("mcq", ["none"]),
    ]
    assert records[3]["answer_candidates"] == ["<5mm", "5-10mm", "11-20mm", ">20mm", "none"]
    reasons = [reject["reason"] for reject in json_lines(tmp_path / "out/rejects.jsonl")]
    assert [reason.split(":")[0] for reason in reasons] == ["answers[0]", "images[0]", "images[0]"]


def test_kvasir_vqa_x1(tmp_path):
    row = {
        "img_id": "clb1",
        "complexity": 2,
        "question": "What is seen and where?",
        "answer": "A polyp in the centre",
        "original": '[{"q": "Where in the image is the abnormality?", "a": "center"}]',
        "question_class": '["polyp_type", "abnormality_location"]',
        "image": {"bytes": None, "path": "x.jpg"},
    }
    write(tmp_path / "in/Kvasir-VQA-x1-train.json", [row, row | {"img_id": 7}, row | {"original": "[{"}])
    talk = [{"role": "user", "content": "<image>Is it?"}, {"role": "assistant", "content": "yes"}]
    chat = {"messages": talk, "images": ["/data/Kvasir-VQA-x1/images/clb1.jpg"]}
    short = {"messages": talk[:1], "images": []}
    write(tmp_path / "in/Kvasir-VQA-x1-test.jsonl", f"{json.dumps(chat)}\n{json.dumps(short)}\nno json\n")
    image = picture(tmp_path / "in/images/clb1.jpg")
    manifest = convert(KVASIR_VQA, tmp_path / "in", tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 6, "records": 3, "filtered": 0, "rejects": 3}
    first, second = json_lines(tmp_path / "out/train.jsonl")
    assert first == whole(
        image,
        {
            "id": "kvasir_vqa/x1/train/000000",
            "images": ["images/clb1.jpg"],
            "question": "What is seen and where?",
            "answers": ["A polyp in the centre"],
            "question_type": "open_ended",
            "source": "kvasir_vqa",
            "split": "train",
            "meta": {
                "img_id": "clb1",
                "complexity": 2,
                "original": [{"q": "Where in the image is the abnormality?", "a": "center"}],
                "question_class": ["polyp_type", "abnormality_location"],
            },
        },
    )
    assert second["meta"]["original"] == "[{"
    (test,) = json_lines(tmp_path / "out/test.jsonl")
    assert (test["question"], test["answers"], test["images"]) == ("Is it?", ["yes"], ["images/clb1.jpg"])


def test_kvasir_refuses_what_it_cannot_read(tmp_path):
    with pytest.raises(UserError, match="not Kvasir-VQA"):
        KVASIR_VQA.find_input(tmp_path)
    write(tmp_path / "metadata.csv", "img_id,question,answer\na\0b,q,a\n")
    with pytest.raises(UserError, match=r"metadata\.csv: holds a NUL byte"):
        convert(KVASIR_VQA, tmp_path, tmp_path / "out", ConvertOptions())


def write_endovis(root):
    write(
        root / "seq_2/vqa/Classification/frame000_QA.txt",
        "What organ is being operated?|kidney\n\n"
        "What is the state of bipolar_forceps?|Tissue_Manipulation\n"
        "Where is bipolar_forceps located?|left-top\r\nno answer here\nempty?|\n",
    )
    write(
        root / "seq_2/vqa/Sentence/frame000_QA.txt",
        "What organ is being operated?|organ being operated is kidney",
    )
    write(root / "seq_16/vqa/Classification/frame149_QA.txt", "What organ is being operated?|kidney")
    write(
        root / "seq_5/vqla/label/frame010_QA.txt", "Where is it?|left-top|1, 1, 30, 20\nWhere?|left-top|1, 2"
    )
    for name in (
        "seq_2/left_frames/frame000.png",
        "seq_16/left_fr/frame149.png",
        "seq_5/left_frames/frame010.png",
    ):
        picture(root / name)
    (root / "seq_9").mkdir()


def test_endovis18_vqa(tmp_path):
    root = tmp_path / "raw/EndoVis-18-VQA"
    write_endovis(root)
    manifest = convert(ENDOVIS18_VQA, tmp_path / "raw", tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 9, "records": 6, "filtered": 0, "rejects": 3}
    assert manifest["counts"]["by_split"] == {"train": 4, "validation": 2}
    train, validation = (
        json_lines(tmp_path / "out/train.jsonl"),
        json_lines(tmp_path / "out/validation.jsonl"),
    )
    assert train[1] == whole(
        root / "seq_2/left_frames/frame000.png",
        {
            "id": "endovis18_vqa/seq_2/classification/frame000/02",
            "images": ["seq_2/left_frames/frame000.png"],
            "question": "What is the state of bipolar_forceps?",
            "answers": ["Tissue_Manipulation"],
            "question_type": "mcq",
            "answer_candidates": STATES,
            "source": "endovis18_vqa",
            "split": "train",
            "meta": {"sequence": 2, "frame": "frame000", "answer_form": "classification"},
        },
    )
    assert [row["answers"][0] for row in train] == [
        "kidney",
        "Tissue_Manipulation",
        "left-top",
        "organ being operated is kidney",
    ]
    assert train[2]["answer_candidates"] == ["left-top", "right-top", "left-bottom", "right-bottom"]
    assert validation[0]["boxes"] == [[0, 0, 30, 20]]  # sequence 5; counted from 1 in the publication
    assert validation[1]["images"] == ["seq_16/left_fr/frame149.png"]
    reasons = [reject["reason"] for reject in json_lines(tmp_path / "out/rejects.jsonl")]
    assert sorted(reasons) == [
        "box: expected x1, y1, x2, y2, not '1, 2'",
        "expected question|answer",
        "expected question|answer",
    ]
    with pytest.raises(UserError, match="not EndoVis-18-VQA"):
        ENDOVIS18_VQA.find_input(root / "seq_2")


def test_a_link_out_of_the_publication_is_refused(tmp_path):
    root = tmp_path / "raw"
    write_endovis(root)
    write(tmp_path / "secret.txt", "question|answer")
    (root / "seq_2/vqa/Sentence/frame001_QA.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UserError, match="frame001_QA.txt: leaves the image root through a symlink"):
        convert(ENDOVIS18_VQA, root, tmp_path / "out", ConvertOptions())


def annotation(number, answers, kind="other", agreed=None):
    said = [{"answer": text, "answer_confidence": "yes", "answer_id": i} for i, text in enumerate(answers, 1)]
    return {
        "question_type": "what",
        "multiple_choice_answer": agreed or answers[0],
        "answers": said,
        "image_id": 9,
        "answer_type": kind,
        "question_id": number,
    }


def test_vqav2(tmp_path):
    root = tmp_path / "in"
    questions = [
        {"image_id": 9, "question": "What is it?", "question_id": 9000},
        {"image_id": 9, "question": "Is it one?", "question_id": 9001},
        {"image_id": 9, "question": "No annotation?", "question_id": 9002},
        {"image_id": "9", "question": "No number?", "question_id": 9003},
        {"image_id": 10, "question": "No image?", "question_id": 9004},
    ]
    fours = ["a dog"] * 4 + ["dog"] * 4 + ["cat", " puppy"]
    annotations = [
        annotation(9001, ["yes"] * 7 + ["no"] * 3, "yes/no"),
        annotation(9000, fours, agreed="dog"),
        annotation(9003, ["x"]),
        annotation(9004, ["x"]),
    ]
    write(
        root / "v2_OpenEnded_mscoco_train2014_questions.json",
        {"data_subtype": "train2014", "questions": questions},
    )
    write(root / "v2_mscoco_train2014_annotations.json", {"annotations": annotations})
    write(root / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {"questions": questions[:1]})
    image = picture(root / "train2014/COCO_train2014_000000000009.jpg")
    manifest = convert(VQAV2, root, tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 6, "records": 2, "filtered": 0, "rejects": 4}
    first, second = json_lines(tmp_path / "out/train.jsonl")
    assert first == whole(
        image,
        {
            "id": "vqav2/train/9000",
            "images": ["train2014/COCO_train2014_000000000009.jpg"],
            "question": "What is it?",
            "answers": ["dog", "a dog", "cat", "puppy"],
            "question_type": "open_ended",
            "source": "vqav2",
            "split": "train",
            "meta": {
                "image_id": 9,
                "question_id": 9000,
                "question_type": "what",
                "multiple_choice_answer": "dog",
                "answer_type": "other",
                "answers": ["a dog"] * 4 + ["dog"] * 4 + ["cat", "puppy"],
            },
        },
    )
    assert (second["question_type"], second["answers"]) == ("yes_no", ["yes"])
    assert second["meta"]["answers"] == ["yes"] * 7 + ["no"] * 3
    rejects = json_lines(tmp_path / "out/rejects.jsonl")
    reasons = sorted(reject["reason"].partition(":")[0] for reject in rejects)
    assert reasons == ["answers", "answers", "image_id", "images[0]"]


def test_vqav2_combined_file(tmp_path):
    rows = [
        {"question_id": 1, "question": "What?", "image": "val2014/a.jpg", "answer": ["cat", "cat", "dog"]},
        {"question_id": 2, "question": "What?", "image": "a.jpg", "answers": [{"answer": "fox"}]},
        {"question_id": 3, "question": "What?", "image": "../a.jpg", "answer": "cat"},
    ]
    write(tmp_path / "in/vqa_val.json", rows)
    picture(tmp_path / "in/val2014/a.jpg")
    picture(tmp_path / "in/images/a.jpg")
    manifest = convert(VQAV2, tmp_path / "in", tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 3, "records": 2, "filtered": 0, "rejects": 1}
    first, second = json_lines(tmp_path / "out/validation.jsonl")
    assert (first["answers"], first["images"]) == (["cat", "dog"], ["val2014/a.jpg"])
    assert (second["answers"], second["images"]) == (["fox"], ["images/a.jpg"])
    with pytest.raises(UserError, match="no .*_questions.json"):
        VQAV2.find_input(tmp_path / "in" / "images")
