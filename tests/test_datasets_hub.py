"""`hub`: tables of the datasets library, local ones only, with a map of columns; images keep their bytes."""

import base64
import hashlib
import io
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.dataset_fixtures import converted, whole
from vqa.datasets.conversion import ConvertOptions
from vqa.datasets.hub import HUB
from vqa.datasets.hub_images import image_bytes
from vqa.datasets.hub_values import accepted_answers, as_boxes, plain
from vqa.errors import UserError
from vqa.images import ImageProblem


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encoded(shade=255, form="JPEG"):
    buffer = io.BytesIO()
    Image.new("L", (32, 24), shade).save(buffer, form)
    return buffer.getvalue()


def name_of(content, suffix):
    return f"images/{hashlib.sha256(content).hexdigest()[:32]}{suffix}"


def test_parquet_folder_with_a_map(tmp_path):
    """A folder as downloaded: data/train-00000-of-00001.parquet, images in the cells."""
    jpeg, png = encoded(), encoded(0, "PNG")
    columns = {
        "id": Value("int64"),
        "query": Value("string"),
        "kind": Value("string"),
        "score": Value("float32"),
    }
    features = Features({"picture": datasets.Image(), "label": List(Value("string")), **columns})
    rows = {
        "picture": [{"bytes": jpeg, "path": "a.jpg"}, {"bytes": jpeg, "path": None}, None,
                    {"bytes": b"GIF89a", "path": None}, {"bytes": b"no image", "path": None}],
        "query": ["Which year?", "Which month?", "No image?", "Damaged?", "What?"],
        "id": [7] * 5,
        "label": [["1998", "1998", "'98"], ["May"], ["yes"], ["a"], ["a"]],
        "kind": ["human"] * 5,
        "score": [0.5, float("nan"), 1.0, 1.0, 1.0],
    }  # fmt: skip
    folder = tmp_path / "ChartQA" / "data"
    folder.mkdir(parents=True)
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    test = {name: values[:1] for name, values in rows.items()} | {"picture": [{"bytes": png, "path": None}]}
    Dataset.from_dict(test, features=features).to_parquet(folder / "val-00000-of-00001.parquet")
    columns = {"question": "query", "answers": "label", "image": "picture", "question_type": "=extractive"}
    out = tmp_path / "out"
    records, rejects, manifest = converted(HUB, tmp_path / "ChartQA", out, columns=columns)
    assert records["ChartQA/train/000000"] == whole(
        out / name_of(jpeg, ".jpg"),
        {
            "id": "ChartQA/train/000000",
            "images": [name_of(jpeg, ".jpg")],
            "question": "Which year?",
            "answers": ["1998", "'98"],
            "question_type": "extractive",
            "source": "ChartQA",
            "split": "train",
            "meta": {"id": 7, "kind": "human", "score": 0.5},
        },
    )
    assert records["ChartQA/train/000001"]["images"] == [name_of(jpeg, ".jpg")]
    assert records["ChartQA/train/000001"]["meta"]["score"] is None
    assert records["ChartQA/train/000002"]["images"] == []
    assert records["ChartQA/validation/000000"]["images"] == [name_of(png, ".png")]
    assert rejects["train: row 4"] == "images: the bytes are of no known image format"
    assert rejects["train: row 3"].startswith("images[0]:")
    assert (out / name_of(jpeg, ".jpg")).read_bytes() == jpeg
    assert manifest["image_root"] == "."
    # Again, the same bytes; and a split that is not wanted writes no image.
    before = {path.name: path.read_bytes() for path in out.glob("*.jsonl")}
    converted(HUB, tmp_path / "ChartQA", out, columns=columns)
    assert {path.name: path.read_bytes() for path in out.glob("*.jsonl")} == before
    records, _, _ = converted(
        HUB, tmp_path / "ChartQA", tmp_path / "one", columns=columns, splits=("validation",)
    )
    assert list(records) == ["ChartQA/validation/000000"]
    assert len(list((tmp_path / "one" / "images").iterdir())) == 1


def test_saved_to_disk_with_class_labels_and_indices(tmp_path):
    features = Features({"image": datasets.Image(), "label": ClassLabel(names=["cat", "dog"])})
    pixels = Image.new("RGB", (8, 6), "red")
    table = Dataset.from_dict({"image": [pixels] * 3, "label": [1, 0, -1]}, features=features)
    DatasetDict(train=table, test=table.select([0])).save_to_disk(tmp_path / "pets")
    columns = {"question": "=What animal is it?", "answers": "label"}
    records, rejects, _ = converted(HUB, tmp_path / "pets", tmp_path / "out", columns=columns)
    assert {key: record["answers"] for key, record in records.items()} == {
        "pets/train/000000": ["dog"],
        "pets/train/000001": ["cat"],
        "pets/test/000000": ["dog"],
    }
    assert rejects == {"train: row 2": "answers[0]: missing"}
    (path,) = (tmp_path / "out" / "images").iterdir()
    assert path.suffix == ".png" and Image.open(path).size == (8, 6)


def test_one_parquet_file_of_conversations_and_several_images(tmp_path):
    one, two = encoded(10), encoded(200)
    texts = [{"user": "Which is darker?", "assistant": "The first.", "source": "x"},
             {"user": "And lighter?", "assistant": "The second.", "source": "x"}]  # fmt: skip
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table(
        {"images": pa.array([[{"bytes": one}, {"bytes": two}]], pa.list_(image)), "texts": [texts]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "cauldron.parquet")
    records, _, _ = converted(HUB, tmp_path / "cauldron.parquet", tmp_path / "out")
    assert [record["question"] for record in records.values()] == ["Which is darker?", "And lighter?"]
    record = records["cauldron/train/000000-1"]
    assert record["images"] == [name_of(one, ".jpg"), name_of(two, ".jpg")]
    assert record["answers"] == ["The second."] and record["meta"] == {"turn": 1, "turns": 2}


def test_json_with_image_files_candidates_and_boxes(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encoded())
    (tmp_path / "secret.jpg").write_bytes(encoded(3))
    rows = [
        {
            "image": "a.jpg",
            "question": "Which?",
            "answer": 1,
            "options": ["red", "blue"],
            "box": [1, 2, 9, 9],
        },
        {
            "image": "../secret.jpg",
            "question": "Which?",
            "answer": 0,
            "options": ["red", "blue"],
            "box": None,
        },
        {
            "image": str(tmp_path / "secret.jpg"),
            "question": "?",
            "answer": 0,
            "options": ["a", "b"],
            "box": None,
        },
        {"image": "gone.jpg", "question": "Which?", "answer": 0, "options": ["red", "blue"], "box": None},
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"answer_candidates": "options", "boxes": "box", "question_type": "=mcq"}
    records, rejects, _ = converted(HUB, folder / "test.jsonl", tmp_path / "out", columns=columns)
    (record,) = records.values()
    assert record["split"] == "test" and record["answers"] == ["blue"] and record["boxes"] == [[1, 2, 9, 9]]
    assert record["answer_candidates"] == ["red", "blue"] and record["meta"] == {}
    assert "'..'" in rejects["test: row 1"] and "does not exist" in rejects["test: row 3"]
    assert rejects["test: row 2"].endswith("lies outside of the data set's folder")


def test_mistakes_are_one_message(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("q,a\nWhat?,x\n")
    for columns, message in [
        ({}, "say which column is the question.*it has|t has q, a"),
        ({"question": "ask"}, "question: t has no column 'ask'; it has q, a"),
        ({"asked": "q"}, "asked: no such field; fields are id, question"),
    ]:
        with pytest.raises(UserError, match=message):
            list(HUB.rows(table, ConvertOptions(columns=columns, image_dir=tmp_path / "images")))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(UserError, match="broken.parquet: cannot be loaded"):
        list(HUB.rows(tmp_path / "broken.parquet", ConvertOptions()))
    for wrong in (None, tmp_path / "nowhere", tmp_path / "broken.txt"):
        with pytest.raises(UserError, match="--input"):
            HUB.find_input(wrong)


def test_an_id_without_network_is_one_message(tmp_path):
    name = HUB.find_input(type(tmp_path)("org/name"))
    assert name.as_posix() == "org/name"
    with pytest.raises(
        UserError, match="org/name: cannot be loaded, and there is no such folder: "
    ) as raised:
        list(HUB.rows(name, ConvertOptions()))
    assert "\n" not in str(raised.value)


def test_images_in_other_forms(tmp_path):
    content = encoded()
    text = base64.b64encode(content).decode()
    assert list(image_bytes([text, f"data:image/jpeg;base64,{text}"], tmp_path, 100)) == [content, content]
    (png,) = image_bytes(np.full((3, 4, 5), 7).tolist(), tmp_path, 100)  # channels first
    assert Image.open(io.BytesIO(png)).size == (5, 4)
    for wrong in (7, [[300]], [[0.5]], np.zeros((20, 20), int).tolist(), "\0", "a" * 5000):
        with pytest.raises(ImageProblem, match="images"):
            list(image_bytes(wrong, tmp_path, 100))


@pytest.mark.parametrize(
    ("value", "candidates", "answers"),
    [
        (True, None, ["yes"]),
        (3, None, ["3"]),
        (2.0, None, ["2"]),
        ("B", ["red", "blue"], ["blue"]),
        ("B", ["A", "B"], ["B"]),
        ([{"answer": "net"}, {"answer": "nets"}, {"answer": "nets"}], None, ["nets", "net"]),
        ({"text": ["in May"], "answer_start": [4]}, None, ["in May"]),
        ([], None, []),
        (None, None, None),
    ],
)
def test_accepted_answers(value, candidates, answers):
    assert accepted_answers(value, candidates) == answers


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
def test_any_value_can_go_to_the_rejects(value):
    json.dumps(plain(value), allow_nan=False)
    accepted_answers(value, ["a", "b"])
    as_boxes(value)
