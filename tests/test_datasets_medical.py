"""SLAKE and VQA-RAD as published, in small: every kind of dirt, a record of each form compared whole."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset_fixtures import json_lines, picture, whole, write
from vqa.datasets.conversion import ConvertOptions, convert
from vqa.datasets.medical import BOTH
from vqa.datasets.row_values import alternatives, closed_fields
from vqa.datasets.slake import SLAKE
from vqa.datasets.slake_boxes import corners, mentioned, read_objects
from vqa.datasets.vqa_rad import VQA_RAD
from vqa.errors import UserError


def slake_row(qid, question, answer, image="xmlab1/source.jpg", **other):
    fields = {"img_id": 1, "img_name": image, "question": question, "answer": answer, "q_lang": "en"}
    rest = {"location": "Lung", "modality": "CT", "answer_type": "OPEN", "base_type": "vqa"}
    return fields | rest | {"triple": ["vhead", "_", "_"], "qid": qid, "content_type": "Organ"} | other


DETECTION = [
    {"Left Lung": [30, 5, 40.0, 20]},
    {"Right Lung": [-2, 5, 20, 20]},
    {"Lung Cancer": [35, 6, 5, 5]},
]


def write_slake(root, validation="validate.json"):
    train = [
        slake_row(0, "Which is bigger in this image,lung or heart?", "Lung", answer_type="CLOSED"),
        slake_row(1, "Does the picture contain liver?", ""),
        slake_row(2, "Is the lung healthy?", "No", answer_type="CLOSED", q_lang="en"),
        slake_row(3, "图片中包含肺癌吗?", "是", answer_type="CLOSED", q_lang="zh"),
        slake_row(4, "Is it there?", "Yes", image="xmlab9/source.jpg"),
        slake_row(5, "Is it outside?", "Yes", image="../../outside.jpg"),
        slake_row(6, "How many organs?", 2, image="xmlab2/source.jpg"),
        {"qid": 7, "question": "whose image?", "answer": "none"},
        "half a row",
    ]
    write(root / "train.json", train)
    write(root / validation, [slake_row(8, "Where is the nodule?", "Lower Left  Lung")])
    write(
        root / "test.json", [slake_row(9, "图中肺和心脏哪个更大?", "肺", answer_type="CLOSED", q_lang="zh")]
    )
    for number in (1, 2):
        picture(root / f"imgs/xmlab{number}/source.jpg", (60, 40))
    write(root / "imgs/xmlab1/detection.json", DETECTION)
    write(root / "imgs/xmlab2/detection.json", "[{")


def test_slake(tmp_path):
    write_slake(tmp_path / "Slake1.0")
    out = tmp_path / "out"
    manifest = convert(SLAKE, tmp_path, out, ConvertOptions())  # one folder above the publication
    assert manifest["rows"] == {"in": 11, "records": 6, "filtered": 0, "rejects": 5}
    assert manifest["repairs"] == {
        "entries of detection.json left out": 1,
        "number as answer": 1,
        "stray space in an answer": 1,
    }
    train = json_lines(out / "train.jsonl")
    image = tmp_path / "Slake1.0/imgs/xmlab1/source.jpg"
    assert train[0] == whole(
        image,
        {
            "id": "slake/train/0",
            "images": ["imgs/xmlab1/source.jpg"],
            "question": "Which is bigger in this image,lung or heart?",
            "answers": ["Lung"],
            "question_type": "mcq",
            "answer_candidates": ["lung", "heart"],
            "boxes": [[30, 5, 60, 25], [0, 5, 18, 25]],
            "box_images": [0, 0],
            "source": "slake",
            "split": "train",
            "meta": {
                "img_id": 1,
                "q_lang": "en",
                "location": "Lung",
                "modality": "CT",
                "answer_type": "CLOSED",
                "base_type": "vqa",
                "triple": ["vhead", "_", "_"],
                "qid": 0,
                "content_type": "Organ",
                "box_labels": ["Left Lung", "Right Lung"],
            },
        },
    )
    assert (train[1]["question_type"], train[1]["answers"]) == ("yes_no", ["No"])
    chinese = train[2]
    assert chinese["answers"] == ["是的", "是"] and chinese["answer_candidates"] == ["是的", "不是"]
    assert chinese["question_type"] == "mcq" and chinese["meta"]["box_labels"] == ["Lung Cancer"]
    assert (train[3]["answers"], train[3]["boxes"]) == (["2"], [])

    (validation,) = json_lines(out / "validation.jsonl")
    assert validation["answers"] == ["Lower Left Lung"]
    assert validation["meta"]["box_labels"] == ["Left Lung"] and validation["boxes"] == [[30, 5, 60, 25]]
    (test,) = json_lines(out / "test.jsonl")
    assert test["answer_candidates"] == ["肺", "心脏"] and len(test["boxes"]) == 2
    rejects = [
        (reject["reason"].split(":")[0], reject["row"]) for reject in json_lines(out / "rejects.jsonl")
    ]
    written = json.loads((tmp_path / "Slake1.0/train.json").read_text(encoding="utf-8"))
    expected = [
        ("a row is a JSON object, not a string", "half a row"),
        ("answers[0]", written[1]),
        ("images[0]", written[4]),
        ("images[0]", written[5]),
        ("img_name", written[7]),
    ]
    assert sorted(rejects, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("language, records, filtered", [("en", 4, 2), ("zh", 2, 8)])
def test_slake_language(tmp_path, language, records, filtered):
    write_slake(tmp_path / "in", validation="validation.json")
    manifest = convert(SLAKE, tmp_path / "in", tmp_path / "out", ConvertOptions(language=language))
    rows = manifest["rows"]
    assert (rows["records"], rows["filtered"]) == (records, filtered)
    assert rows["in"] == 11 == rows["records"] + rows["filtered"] + rows["rejects"]


def test_slake_refuses_other_languages_and_other_folders(tmp_path):
    write_slake(tmp_path / "in")
    with pytest.raises(UserError, match="--language fr: SLAKE has en, zh"):
        convert(SLAKE, tmp_path / "in", tmp_path / "out", ConvertOptions(language="fr"))
    with pytest.raises(UserError, match=r"^--input: give the folder of SLAKE"):
        SLAKE.find_input(None)
    with pytest.raises(UserError, match="no such folder; give the folder of SLAKE"):
        SLAKE.find_input(tmp_path / "none")
    with pytest.raises(UserError, match="not SLAKE"):
        SLAKE.find_input(tmp_path / "in" / "imgs")
    write(tmp_path / "in" / "train.json", '["img_name"' + "[" * 10_000)
    with pytest.raises(UserError, match=r"train\.json.*not valid JSON"):
        convert(SLAKE, tmp_path / "in", tmp_path / "out", ConvertOptions())


@pytest.mark.parametrize(
    "text, found",
    [
        ("Is there lung cancer?", {"Lung Cancer"}),
        ("Are the lungs healthy?", {"Left Lung", "Right Lung"}),
        ("lung cancer in the LEFT LUNG", {"Lung Cancer", "Left Lung"}),
        ("Is the plunger in the flung lung-shaped bowel?", {"Left Lung", "Right Lung"}),
        ("left, lung", {"Left Lung", "Right Lung"}),
        ("Brain Non-enhancing Tumor", {"Brain Non-enhancing Tumor"}),
        ("增强型脑肿瘤,非增强型脑肿瘤", {"Brain Enhancing Tumor", "Brain Non-enhancing Tumor"}),
        ("左下肺有气胸吗", {"Left Lung", "pneumothorax"}),
        ("图中的大肠", set()),
        ("", set()),
    ],
)
def test_names_of_objects(text, found):
    tumors = ["Brain Enhancing Tumor", "Brain Non-enhancing Tumor"]
    labels = ["Left Lung", "Right Lung", "Lung Cancer", "pneumothorax", "Colon", *tumors]
    assert mentioned(labels, text) == found


@given(st.lists(st.text(string.ascii_letters + " -", min_size=1), max_size=5), st.text())
def test_a_label_is_named_by_itself_and_nothing_else_is_invented(labels, text):
    assert mentioned(labels, text) <= set(labels)
    for label in labels:
        assert not any(letter.isalnum() for letter in label) or label in mentioned([label], f"a {label}?")


@given(*[st.integers(-50, 150)] * 4)
def test_corners_stay_inside(x, y, width, height):
    box = corners([x, y, width, height], (100, 80))
    if box is None:
        assert width <= 0 or height <= 0 or x >= 100 or y >= 80 or x + width <= 0 or y + height <= 0
    else:
        assert 0 <= box[0] < box[2] <= 100 and 0 <= box[1] < box[3] <= 80
        assert box[0] >= x and box[2] <= x + width and box[1] >= y and box[3] <= y + height


def test_detection_forms(tmp_path):
    path = tmp_path / "detection.json"
    write(path, {"Liver": [1, 2, 3, 4], "Nodule": [[5, 6, 7, 8], [9, 10, 11, 12]]})
    boxes = [("Liver", [1, 2, 3, 4]), ("Nodule", [5, 6, 7, 8]), ("Nodule", [9, 10, 11, 12])]
    assert read_objects(path) == (boxes, True)
    write(path, [{"Liver": [1, 2, 3, 4]}, {"Heart": [1, 2]}, {"Lung": ["1", 2, "3.5", 4]}, 7])
    assert read_objects(path) == ([("Liver", [1, 2, 3, 4]), ("Lung", [1, 2, 3.5, 4])], False)
    assert read_objects(tmp_path / "none.json") == ([], True)


@pytest.mark.parametrize(
    "question, options",
    [
        ("Which organ is abnormal, heart or lung?", ["heart", "lung"]),
        ("Where is the liver in this image,left,top or upper left?", ["left", "top", "upper left"]),
        ("What is it: the head, the chest, or the pelvis ?", ["the head", "the chest", "the pelvis"]),
        ("Is this a CT, MRI or X-ray?", []),
        ("扫描的是图像的哪个平面,横断面还是冠状面?", ["横断面", "冠状面"]),
        ("肺或者心脏哪个是异常的?", ["肺", "心脏"]),
        ("Is it one or two?", []),
        ("In this image, is the heart of the man that stands there or the lung abnormal?", []),
        ("Which is it, left or left?", []),
        ("图中异常是哪个?", []),
    ],
)
def test_alternatives(question, options):
    assert alternatives(question) == options


def test_closed_fields_never_give_the_answer_away():
    pairs = [
        closed_fields("这是肺吗?", answer)["answer_candidates"] for answer in ("是", "否", "是的", "不是")
    ]
    assert pairs == [["是的", "不是"]] * 4
    assert closed_fields("Which organ is abnormal, heart or lung?", "Both") == {}
    assert closed_fields(None, 3) == {}


def rad_row(qid, phrase, linked, question, answer, **other):
    return {
        "qid": qid,
        "phrase_type": phrase,
        "qid_linked_id": linked,
        "image_case_url": "https://medpix.nlm.nih.gov/case?id=1",
        "image_name": "synpic1.jpg",
        "image_organ": "HEAD",
        "evaluation": "not evaluated",
        "question": question,
        "question_rephrase": "NULL",
        "question_relation": "NULL",
        "question_frame": "NULL",
        "question_type": "PRES",
        "answer": answer,
        "answer_type": "CLOSED",
    } | other


def write_rad(root, name="VQA_RAD Dataset Public.json"):
    rows = [
        rad_row("0", "freeform", "a1", "Is there a mass? ", "\tYes", answer_type="CLOSED "),
        rad_row("1", "para", "b2", "Is a bleed seen?", "no"),
        rad_row("2", "test_freeform", "b2", "Is there a bleed?", "no"),
        rad_row("3", "freeform", "c3", "How many lesions?", 2, question_type="COUNT", answer_type="Opne"),
        rad_row("4", "freeform", "NULL", "What is seen?", "a cyst", question_type="PRSE, ATRIB"),
        rad_row("5", "test_para", "NULL", "Which modality is it, CT or MRI?", "CT", question_type="Other"),
        rad_row("6", "freeform", "d4", "And here?", "yes", image_name="synpic7.jpg"),
        rad_row("7", "freeform", "e5", "No answer?", None),
        rad_row("8", "freeform", "e5", "No image?", "yes", image_name=None),
    ]
    write(root / name, rows)
    picture(root / "VQA_RAD Image Folder" / "synpic1.jpg")


def test_vqa_rad_public(tmp_path):
    write_rad(tmp_path / "in")
    manifest = convert(VQA_RAD, tmp_path / "in", tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 9, "records": 5, "filtered": 0, "rejects": 4}
    assert manifest["repairs"] == {
        "misspelt answer type": 2,
        "misspelt question type": 2,
        "number as answer": 1,
        "several question types": 1,
        "stray space in an answer": 1,
    }
    train, test = json_lines(tmp_path / "out/train.jsonl"), json_lines(tmp_path / "out/test.jsonl")
    image = tmp_path / "in/VQA_RAD Image Folder/synpic1.jpg"
    assert train[0] == whole(
        image,
        {
            "id": "vqa_rad/train/0",
            "images": ["VQA_RAD Image Folder/synpic1.jpg"],
            "question": "Is there a mass?",
            "answers": ["Yes"],
            "question_type": "yes_no",
            "answer_candidates": ["yes", "no"],
            "source": "vqa_rad",
            "split": "train",
            "meta": {
                "qid": "0",
                "phrase_type": "freeform",
                "qid_linked_id": "a1",
                "image_case_url": "https://medpix.nlm.nih.gov/case?id=1",
                "image_organ": "HEAD",
                "evaluation": "not evaluated",
                "question_rephrase": "NULL",
                "question_relation": "NULL",
                "question_frame": "NULL",
                "question_type": ["PRES"],
                "answer_type": "CLOSED",
            },
        },
    )
    assert [row["meta"]["answer_type"] for row in train] == ["CLOSED", "OPEN", "CLOSED"]
    assert [row["meta"]["question_type"] for row in train] == [["PRES"], ["COUNT"], ["PRES", "ATTRIB"]]
    assert [row["question_type"] for row in train] == ["yes_no", "count_numeric", "open_ended"]
    assert [row["answers"] for row in test] == [["no"], ["CT"]]
    assert test[1]["answer_candidates"] == ["CT", "MRI"] and test[1]["meta"]["question_type"] == ["OTHER"]
    reasons = {
        reject["row"]["qid"]: reject["reason"] for reject in json_lines(tmp_path / "out/rejects.jsonl")
    }
    assert reasons["1"] == "qid_linked_id: a paraphrase of this question is in the test split"
    assert reasons["6"].endswith("does not exist") and reasons["7"] == "answers[0]: missing"
    assert reasons["8"] == "image_name: expected the name of an image file"


def test_vqa_rad_derived_forms(tmp_path):
    mevf = tmp_path / "data_RAD"
    write(mevf / "trainset.json", [rad_row(1, "para", "b2", "Is a bleed seen?", "no")])
    write(mevf / "testset.json", [rad_row(2, "test_freeform", "c3", "Is there a bleed?", "no")])
    picture(mevf / "images/synpic1.jpg")
    convert(VQA_RAD, mevf, tmp_path / "a", ConvertOptions())
    assert [row["id"] for row in json_lines(tmp_path / "a/train.jsonl")] == ["vqa_rad/train/1"]

    saved = tmp_path / "hf"
    write(saved / "train.jsonl", '{"image": "images/0.jpg", "question": "is it?", "answer": "yes"}\n{"x"\n')
    write(saved / "test.jsonl", '{"image": "0.jpg", "question": "what is it?", "answer": "a lung"}\n')
    picture(saved / "images/0.jpg")
    manifest = convert(VQA_RAD, saved, tmp_path / "b", ConvertOptions())
    assert manifest["rows"] == {"in": 3, "records": 2, "filtered": 0, "rejects": 1}
    (test,) = json_lines(tmp_path / "b/test.jsonl")
    assert (test["images"], test["meta"]) == (["images/0.jpg"], {})

    llava = tmp_path / "llava"
    talk = [
        {"from": "human", "value": "<image>\nIs it?"},
        {"from": "gpt", "value": "Yes"},
        {"from": "human", "value": "What is it?"},
        {"from": "gpt", "value": "A lung"},
    ]
    row = {"id": "synpic1", "image": "0.jpg", "answer_type": "CLOSED", "conversations": talk}
    write(llava / "train.json", [row, row | {"conversations": []}])
    picture(llava / "images/0.jpg")
    manifest = convert(VQA_RAD, llava, tmp_path / "c", ConvertOptions())
    assert manifest["rows"] == {"in": 3, "records": 2, "filtered": 0, "rejects": 1}
    records = json_lines(tmp_path / "c/train.jsonl")
    assert [(row["id"][-2:], row["question"], row["answers"]) for row in records] == [
        ("-0", "Is it?", ["Yes"]),
        ("-1", "What is it?", ["A lung"]),
    ]


def test_both(tmp_path):
    write_slake(tmp_path / "raw/SLAKE/Slake1.0")
    write_rad(tmp_path / "raw/VQA-RAD/osfstorage")
    manifest = convert(BOTH, tmp_path / "raw", tmp_path / "out", ConvertOptions(language="en"))
    assert manifest["rows"] == {"in": 20, "records": 9, "filtered": 2, "rejects": 9}
    assert manifest["counts"]["by_source"] == {"slake": 4, "vqa_rad": 5}
    test = json_lines(tmp_path / "out/test.jsonl")
    assert test[0]["images"] == ["VQA-RAD/osfstorage/VQA_RAD Image Folder/synpic1.jpg"]
    assert json_lines(tmp_path / "out/validation.jsonl")[0]["images"] == [
        "SLAKE/Slake1.0/imgs/xmlab1/source.jpg"
    ]
    with pytest.raises(UserError, match="holds no vqa_rad"):
        BOTH.find_input(tmp_path / "raw" / "SLAKE")


def test_same_bytes_twice(tmp_path):
    write_slake(tmp_path / "in")
    for name in ("a", "b"):
        convert(SLAKE, tmp_path / "in", tmp_path / name, ConvertOptions())
    for name in ("train.jsonl", "rejects.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
