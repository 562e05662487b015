"""Records: every raw form read, missing fields inferred, written back the same, cached as Arrow."""

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vqa.record_reader
from vqa.errors import InputErrors, UserError
from vqa.questions import QUESTION_TYPES, QuestionType, register
from vqa.raw_forms import FIELDS, RowProblem, iterate_rows
from vqa.record_checks import complete_record
from vqa.record_reader import ROWS_PER_BLOCK, RecordReader
from vqa.records import load_dataset, read_records, write_records


@pytest.fixture
def root(tmp_path):
    """A folder `set` with two images, where record files go."""
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("RGB", (40, 20), "red").save(folder / "a.png")
    Image.new("RGB", (10, 10), "blue").save(folder / "b.png")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")


def write(path, rows, array=False):
    text = json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record_of(root, **fields):
    """A whole record of image a.png; what a test does not say."""
    return {
        "id": "set/train/000000",
        "images": [str(root / "a.png")],
        "question": "What is it?",
        "answers": ["a field"],
        "answerable": True,
        "question_type": "open_ended",
        "answer_candidates": None,
        "boxes": [],
        "box_images": [],
        "caption": None,
        "reasoning": [],
        "source": "set",
        "split": "train",
        "image_sha256": [sha(root / "a.png")],
        "meta": {},
        "image_sizes": [[40, 20]],
        **fields,
    }


OUTPUT = {"caption": "c", "reasoning": ["r1", "r2"], "boxes": [[0, 0, 500, 1000]], "answer": "a field"}
QUESTION = {"question": "What is it?", "answer": "a field"}
RAW_FORMS = {
    "array of image, question, answer": ([{"image": "a.png", **QUESTION}], True, {}),
    "lines with image": ([{**QUESTION, "image": "a.png"}], False, {}),
    "lines with image_filename": (
        [{**QUESTION, "image_filename": "a.png", "page": 3}],
        False,
        {"meta": {"page": 3}},
    ),
    "instruction with a structured output": (
        [{"instruction": "Look.", "input": "", "output": json.dumps(OUTPUT), "image": "a.png", **QUESTION}],
        True,
        {
            "caption": "c",
            "reasoning": ["r1", "r2"],
            "boxes": [[0.0, 0.0, 20.0, 20.0]],
            "box_images": [0],
            "meta": {"instruction": "Look.", "input": "", "output": json.dumps(OUTPUT)},
        },
    ),
    "instruction lines, question and answer from input and output": (
        [{"instruction": "Answer.", "input": "What is it?", "output": json.dumps(OUTPUT), "image": "a.png"}],
        False,
        {
            "caption": "c",
            "reasoning": ["r1", "r2"],
            "boxes": [[0.0, 0.0, 20.0, 20.0]],
            "box_images": [0],
            "meta": {"instruction": "Answer.", "input": "What is it?", "output": json.dumps(OUTPUT)},
        },
    ),
    "counterfactual lines": (
        [
            {
                "image_path": "a.png",
                "question": "What is it?",
                "gold": "a field",
                "valid_json": True,
                "answer_correct": False,
                "caption": "c",
                "delta_cf_roi": 0.5,
                "delta_cf_rand": -0.25,
            }
        ],
        False,
        {
            "caption": "c",
            "meta": {
                "valid_json": True,
                "answer_correct": False,
                "delta_cf_roi": 0.5,
                "delta_cf_rand": -0.25,
            },
        },
    ),
    "the contract, one image as a string": (
        [{"images": "a.png", "question": "What is it?", "answers": "a field"}],
        False,
        {},
    ),
}


@pytest.mark.parametrize("name", RAW_FORMS)
def test_raw_forms(root, name):
    rows, array, fields = RAW_FORMS[name]
    path = write(root / ("train.json" if array else "train.jsonl"), rows, array)
    assert read_records(path) == [record_of(root, **fields)]


def test_all_fields_given_are_kept(root):
    row = {
        "id": "x1",
        "images": ["a.png", "b.png"],
        "question": "Which?",
        "answers": ["left", "the left one"],
        "answerable": True,
        "question_type": "mcq",
        "answer_candidates": ["left", "right"],
        "boxes": [[1, 2, 3.5, 4], [0, 0, 10, 10]],
        "box_images": [0, 1],
        "caption": "",
        "reasoning": ["look"],
        "source": "here",
        "split": "there",
        "image_sha256": [sha(root / "a.png"), sha(root / "b.png")],
        "meta": {"deep": [{"x": None}]},
    }
    (record,) = read_records(write(root / "train.jsonl", [row]))
    paths = [str(root / "a.png"), str(root / "b.png")]
    assert record == {**row, "images": paths, "image_sizes": [[40, 20], [10, 10]]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"question": "Is it red?", "answer": "Yes"}, ("yes_no", ["yes", "no"], True)),
        ({"question": "What color is it?", "answer": "red"}, ("color", "red", True)),
        ({"question": "How many dogs?", "answer": "3"}, ("count_numeric", None, True)),
        ({"question": "What is the size of it?", "answer": "3 mm"}, ("size_numeric", None, True)),
        ({"question": "Which? (A) cat (B) dog", "answer": "B"}, ("mcq", ["cat", "dog"], True)),
        ({"question": "Which?", "answer": "x", "answer_candidates": ["x", "y"]}, ("mcq", ["x", "y"], True)),
        ({"question": "What color is it?", "answer": "like a ripe peach"}, ("open_ended", None, True)),
        ({"question": "Who?", "answers": []}, ("open_ended", None, False)),
        ({"question": "Who?", "answer": "Unanswerable"}, ("open_ended", None, False)),
        ({"question": "Who?", "answer": None, "answerable": False}, ("open_ended", None, False)),
        ({"question": "Who?", "answer": "", "answerable": False}, ("open_ended", None, False)),
        ({"question": "Who?", "answers": ["n/a", "n/a"], "answerable": False}, ("open_ended", None, False)),
        (
            {"question": "What is in the box?", "answer": "N/A", "answerable": True},
            ("open_ended", None, True),
        ),
    ],
)
def test_inference(root, fields, expected):
    (record,) = read_records(write(root / "train.jsonl", [{"image": "a.png", **fields}]))
    question_type, candidates, answerable = expected
    assert record["question_type"] == question_type
    assert record["answerable"] is answerable
    assert bool(record["answers"]) is answerable
    if isinstance(candidates, str):
        assert candidates in record["answer_candidates"]
    else:
        assert record["answer_candidates"] == candidates


def test_a_question_without_an_image(root):
    for value in ([], None):
        (record,) = read_records(write(root / "train.jsonl", [{"images": value, **QUESTION}]))
        assert record["images"] == record["image_sha256"] == record["image_sizes"] == []


def test_text_is_nfc_and_file_names_are_left_alone(root):
    decomposed = unicodedata.normalize("NFD", "Đường Nguyễn Huệ")
    name = unicodedata.normalize("NFD", "ảnh.png")
    Image.new("RGB", (4, 4)).save(root / name)
    row = {"image": name, "question": decomposed, "answer": decomposed, "note": [decomposed]}
    (record,) = read_records(write(root / "train.jsonl", [row]))
    composed = "Đường Nguyễn Huệ"
    assert (record["question"], record["answers"], record["meta"]) == (
        composed,
        [composed],
        {"note": [composed]},
    )
    assert record["images"] == [str(root / name)]


def test_image_root_argument_manifest_and_default(root, tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    path = write(folder / "train.jsonl", [{"image": "a.png", **QUESTION}])
    with pytest.raises(InputErrors, match="does not exist"):
        read_records(path)
    assert read_records(path, image_root=root)[0]["images"] == [str(root / "a.png")]
    (folder / "manifest.json").write_text('{"image_root": "../set"}')
    assert read_records(path)[0]["images"] == [str(root / "a.png")]
    (folder / "manifest.json").write_text('{"image_root": "../elsewhere"}')
    with pytest.raises(UserError, match="image_root of .*manifest.json: .*no such folder"):
        read_records(path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json: not valid JSON"):
        read_records(path)


def test_folder_and_missing_file(root):
    write(root / "train.jsonl", [{"image": "a.png", **QUESTION}])
    (root / "rejects.jsonl").touch()
    with pytest.raises(UserError, match="is a folder; name one of its record files: train.jsonl$"):
        read_records(root)
    with pytest.raises(UserError, match="test.jsonl: no such file"):
        load_dataset(root / "test.jsonl")


def test_byte_order_mark_blank_lines_and_line_ends(root):
    line = json.dumps({"image": "a.png", **QUESTION})
    (root / "train.jsonl").write_bytes(b"\xef\xbb\xbf\r\n" + f"{line}\r\n\r\n{line}".encode())
    assert [record["id"] for record in read_records(root / "train.jsonl")] == [
        "set/train/000000",
        "set/train/000001",
    ]
    (root / "array.json").write_bytes(b"\xef\xbb\xbf \n" + f"[\n{line},\n{line}\n]\n".encode())
    assert len(read_records(root / "array.json")) == 2


def test_rows_of_an_array_keep_their_lines(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[\n {"a": 1},\n {\n  "b": 2},\n 5]')
    rows = list(iterate_rows(path))
    assert rows[:2] == [(2, {"a": 1}), (3, {"b": 2})]
    assert rows[2][0] == 5 and isinstance(rows[2][1], RowProblem)


def test_each_image_is_looked_at_once(root, monkeypatch):
    seen = []
    real = vqa.record_reader.image_facts
    monkeypatch.setattr(vqa.record_reader, "image_facts", lambda *args: seen.append(args) or real(*args))
    rows = [{"image": "ab"[index % 2] + ".png", **QUESTION} for index in range(ROWS_PER_BLOCK + 100)]
    assert len(read_records(write(root / "train.jsonl", rows))) == len(rows)
    assert len(seen) == 2


def test_limit_and_unchecked_images(root):
    rows = [
        {"image": "a.png", **QUESTION},
        {"image": "missing.png", **QUESTION},
        {"image": "../x", **QUESTION},
    ]
    path = write(root / "train.jsonl", rows)
    assert len(read_records(path, limit=1)) == 1
    assert [record["image_sizes"] for record in read_records(path, limit=2, check_images=False)] == [[], []]
    with pytest.raises(InputErrors, match=":3: images"):
        read_records(path, check_images=False)


def test_text_coordinates_need_the_image_even_when_images_are_not_checked(root):
    rows, _, fields = RAW_FORMS["instruction with a structured output"]
    (record,) = read_records(write(root / "train.jsonl", rows), check_images=False)
    assert record == record_of(root, **fields)


def test_rows_are_read_a_block_at_a_time(root):
    path = write(root / "train.jsonl", [{"image": "a.png", **QUESTION}] * (3 * ROWS_PER_BLOCK))
    blocks = RecordReader(path, None, 1000).blocks()
    assert [len(next(blocks)) for _ in range(3)] == [ROWS_PER_BLOCK] * 3
    assert next(blocks, None) is None


def test_all_problems_of_a_file_at_once_in_line_order(root):
    path = root / "train.jsonl"
    lines = [
        json.dumps({"id": "x", "image": "a.png", **QUESTION}),
        "{",
        json.dumps({"image": "gone.png", "question": 5}),
        json.dumps({"id": "x", "image": "a.png", **QUESTION}),
        json.dumps({"image": "gone.png", **QUESTION}),
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(InputErrors) as caught:
        read_records(path)
    assert caught.value.problems == [
        f"{path}:2: not valid JSON: Expecting property name enclosed in double quotes (column 2)",
        f"{path}:3: question: expected a string, not an integer",
        f"{path}:3: answers: missing",
        f"{path}:3: images[0]: 'gone.png' does not exist",
        f"{path}:4: id: 'x' is already used on line 1",
        f"{path}:5: images[0]: 'gone.png' does not exist",
    ]


def test_written_records_are_read_back_and_written_the_same(root):
    rows = [
        {
            "image": "a.png",
            "question": "Màu gì?",
            "answer": "đỏ",
            "boxes": [[0, 0, 1.5, 2]],
            "k": {"z": 1, "a": 2},
        },
        {"images": ["a.png", "b.png"], "question": "Is it?", "answer": "no"},
        {"images": [], **QUESTION},
    ]
    records = read_records(write(root / "raw.jsonl", rows))
    assert write_records(records, root / "train.jsonl") == 3
    again = read_records(root / "train.jsonl")
    assert again == records
    write_records(again, root / "again.jsonl")
    assert (root / "again.jsonl").read_bytes() == (root / "train.jsonl").read_bytes()
    first = json.loads((root / "train.jsonl").read_text().splitlines()[0])
    assert tuple(first) == FIELDS
    assert first["images"] == ["a.png"] and "đỏ" in (root / "train.jsonl").read_text()


def test_writing_completes_hashes_and_refuses_what_does_not_fit(root, tmp_path):
    assert write_records([{"images": ["a.png"], **QUESTION}], root / "train.jsonl") == 1
    assert json.loads((root / "train.jsonl").read_text())["image_sha256"] == [sha(root / "a.png")]
    bad = [{"images": [], "question": "", "answer": "x"}, {"images": [str(tmp_path / "out.png")], **QUESTION}]
    with pytest.raises(InputErrors) as caught:
        write_records(bad, root / "test.jsonl")
    assert [problem.partition(": ")[2][:9] for problem in caught.value.problems] == ["question:", "images[0]"]
    assert not (root / "test.jsonl").exists()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {
            "images": st.just([]),
            "question": TEXT,
            "answers": st.lists(TEXT, max_size=3),
            "reasoning": st.lists(TEXT, max_size=2),
            "caption": st.none() | TEXT,
            "meta": st.dictionaries(TEXT, JSON_VALUES, max_size=3),
        }
    )
)
def test_any_valid_record_survives_writing(tmp_path_factory, row):
    folder = tmp_path_factory.mktemp("any")
    write_records([row], folder / "train.jsonl")
    (record,) = read_records(folder / "train.jsonl")
    assert record["question"] == unicodedata.normalize("NFC", row["question"])
    assert record["answers"] in ([unicodedata.normalize("NFC", answer) for answer in row["answers"]], [])
    assert record["answerable"] is bool(record["answers"])
    write_records([record], folder / "again.jsonl")
    assert (folder / "again.jsonl").read_bytes() == (folder / "train.jsonl").read_bytes()


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "image", "image_path", "answer", "gold", "instruction", "input", "output"]),
        JSON_VALUES
        | st.sampled_from(["yes", "mcq", "yes_no", "color", True, [[0, 0, 1, 1]], ["a.png"], [0]]),
    )
)
def test_any_object_is_a_record_or_a_list_of_problems(row):
    record, problems = complete_record(row, default_id="i", source="s", split="t")
    assert all(isinstance(problem, str) for problem in problems)
    if not problems:
        assert set(FIELDS) <= set(record)
        again, problems = complete_record(record, default_id="j", source="s", split="t")
        assert problems == [] and {name: again[name] for name in FIELDS} == {
            name: record[name] for name in FIELDS
        }


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{},:"1a \n\\'), max_size=40).map(str.encode))
def test_any_bytes_are_rows_or_problems(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    rows = list(iterate_rows(path))
    assert rows and all(isinstance(row, dict | RowProblem) and line >= 1 for line, row in rows)


@given(st.lists(st.dictionaries(TEXT, JSON_VALUES, max_size=3), min_size=1, max_size=4))
def test_lines_and_arrays_give_the_same_rows(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    write(folder / "rows.jsonl", rows)
    (folder / "rows.json").write_text(json.dumps(rows, indent=1))
    assert [row for _, row in iterate_rows(folder / "rows.jsonl")] == rows
    assert [row for _, row in iterate_rows(folder / "rows.json")] == rows


def test_dataset_equals_records(root):
    rows = [
        {
            "images": ["a.png", "b.png"],
            "boxes": [[0, 0, 4, 4]],
            "box_images": [1],
            **QUESTION,
            "note": "kept",
        },
        {"images": [], "question": "Is it?", "answer": "yes"},
    ]
    first, second = write(root / "train.jsonl", rows), write(root / "more.jsonl", rows[:1])
    dataset = load_dataset([first, second])
    expected = read_records(first) + read_records(second)
    assert len(dataset) == 3
    for row, record in zip(dataset, expected, strict=True):
        assert {**row, "meta": json.loads(row["meta"])} == record
    assert dataset.cache_files and dataset.features["images"].feature.dtype == "string"


def test_dataset_is_cached_by_content_and_by_its_images(root, monkeypatch):
    path = write(root / "train.jsonl", [{"image": "a.png", **QUESTION}])
    before = load_dataset(path)[0]
    seen = []
    real = vqa.record_reader.image_facts
    monkeypatch.setattr(vqa.record_reader, "image_facts", lambda *args: seen.append(args) or real(*args))
    assert load_dataset(str(path))[0] == before
    assert seen == []
    Image.new("RGB", (41, 21)).save(root / "a.png")
    assert load_dataset(path)[0]["image_sizes"] == [[41, 21]]
    (root / "a.png").unlink()
    with pytest.raises(InputErrors, match="does not exist"):
        load_dataset(path)
    write(path, [{"image": "b.png", **QUESTION}])
    assert load_dataset(path)[0]["image_sizes"] == [[10, 10]]


def test_dataset_reports_all_files_together_and_leaves_nothing(root, tmp_path):
    first = write(root / "one.jsonl", [{"image": "a.png"}])
    second = write(root / "two.jsonl", [{"image": "gone.png", **QUESTION}])
    with pytest.raises(InputErrors) as caught:
        load_dataset([first, second])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [str(first)] * 2 + [str(second)]
    assert list((tmp_path / "hf").rglob("*.arrow")) == list((tmp_path / "hf").rglob("*.tmp")) == []


def test_a_registered_type_is_read(root, monkeypatch):
    monkeypatch.setattr("vqa.questions.QUESTION_TYPES", dict(QUESTION_TYPES))
    monkeypatch.setattr("vqa.record_checks.QUESTION_TYPES", vqa.questions.QUESTION_TYPES)
    tools = ["forceps", "scissors", "grasper", "scalpel"]
    instrument = QuestionType(
        "instrument_type",
        infers=lambda question, answers, candidates: "instrument" in question,
        candidates=lambda question, answers: tools,
        matches=lambda prediction, answers, candidates, tolerance: prediction in answers,
        answer_grammar=lambda record: None,
        scored=True,
    )
    register(instrument)
    row = {"image": "a.png", "question": "Which instrument is it?", "answer": "grasper"}
    (record,) = read_records(write(root / "train.jsonl", [row]))
    assert (record["question_type"], record["answer_candidates"]) == ("instrument_type", tools)
