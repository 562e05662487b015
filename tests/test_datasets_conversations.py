"""Conversations and the raw forms: ShareGPT, LLaMA-Factory, LLaVA and plain JSON, with their dirt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataset_fixtures import converted, picture, whole, write
from vqa.datasets.conversation_turns import TAG, Form, _without_tags, read_turns
from vqa.datasets.conversations import LLAMAFACTORY, LLAVA, SHAREGPT
from vqa.datasets.conversion import ConvertOptions, convert
from vqa.datasets.generic import GENERIC
from vqa.errors import UserError
from vqa.raw_forms import RowProblem


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "in"
    for name in ("coco/train2017/1.jpg", "images/2.jpg", "3.jpg"):
        picture(folder / name, (32, 24))
    return folder


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


def test_llava(root, tmp_path):
    rows = [
        {
            "id": "000000000001",
            "image": "coco/train2017/1.jpg",
            "conversations": [
                human("<image>\nIs there a dog?\nAnswer the question using a single word or phrase."),
                gpt("Yes"),
                human("What color is it?"),
                gpt(" brown "),
            ],
        },
        {"id": "t1", "model": "", "conversations": [human("Name a fruit."), gpt("A fig.")]},
        {"id": "000000000001", "image": "2.jpg", "conversations": [human("What is it?\n<image>"), gpt("a")]},
        {"id": "x", "image": "gone.jpg", "conversations": [human("<image>\nWhat?"), gpt("a")]},
        {
            "id": "x",
            "image": "3.jpg",
            "conversations": [gpt("Hello"), human("What?"), human("Why?"), gpt("")],
        },
        {"id": "x", "image": "3.jpg"},
        {"id": "x", "video": "3.mp4", "conversations": [human("<video>\nWhat?"), gpt("a")]},
        "not an object",
    ]
    write(root / "llava_v1_5_mix665k.json", rows)
    write(root / "llava_test.json", rows[:1])
    records, rejects, _ = converted(LLAVA, root, tmp_path / "out")
    name = "llava/llava_v1_5_mix665k.json"
    assert records[f"{name}/000000-0"] == whole(
        root / "coco/train2017/1.jpg",
        {
            "id": f"{name}/000000-0",
            "images": ["coco/train2017/1.jpg"],
            "question": "Is there a dog?\nAnswer the question using a single word or phrase.",
            "answers": ["Yes"],
            "question_type": "yes_no",
            "answer_candidates": ["yes", "no"],
            "source": "llava",
            "split": "train",
            "meta": {"id": "000000000001", "turn": 0, "turns": 2},
        },
    )
    assert {key: (record["images"], record["answers"]) for key, record in records.items()} == {
        f"{name}/000000-0": (["coco/train2017/1.jpg"], ["Yes"]),
        f"{name}/000000-1": (["coco/train2017/1.jpg"], ["brown"]),
        f"{name}/000001-0": ([], ["A fig."]),
        f"{name}/000002-0": (["images/2.jpg"], ["a"]),
        "llava/llava_test.json/000000-0": (["coco/train2017/1.jpg"], ["Yes"]),
        "llava/llava_test.json/000000-1": (["coco/train2017/1.jpg"], ["brown"]),
    }
    assert records["llava/llava_test.json/000000-1"]["split"] == "test"
    place = "llava_v1_5_mix665k.json: row"
    assert rejects == {
        f"{place} 3": "images[0]: 'gone.jpg' does not exist",
        f"{place} 4, turn 0": "an answer without a question",
        f"{place} 4, turn 1": "a question without an answer",
        f"{place} 4, turn 2": "answers[0]: empty",
        f"{place} 5": "conversations: missing, and so is instruction",
        f"{place} 6": "video: only images are read",
        f"{place} 7": "a row is a JSON object, not a string",
    }


def openai(role, content):
    return {"role": role, "content": content}


def test_sharegpt_variants(root, tmp_path):
    rows = [
        {"messages": [openai("system", "Be brief."), openai("user", "<image><image>Which is red?"),
                      openai("assistant", "the first"), openai("user", "And is <image> red too?"),
                      openai("assistant", "no")],
         "images": ["3.jpg", "./images/2.jpg", "coco\\train2017\\1.jpg"]},
        {"conversations": [human("What is it?"), gpt("a wall")], "images": "3.jpg", "system": "Look."},
        {"messages": [openai("user", [{"type": "image", "image": "3.jpg"},
                                      {"type": "text", "text": "What?"}]),
                      openai("assistant", [{"type": "text", "text": "a wall"}])]},
        {"messages": [openai("user", [{"type": "image"}, {"type": "text", "text": "What?"}]),
                      openai("assistant", "a wall")], "images": [{"bytes": None, "path": "3.jpg"}]},
        {"messages": [openai("user", "<image><image>What?"), openai("assistant", "a")],
         "images": ["3.jpg", "3.jpg", "3.jpg"]},
        {"messages": [openai("user", "What?"), openai("narrator", "a")]},
        {"messages": [openai("user", "What?"), openai("assistant", "a")], "images": ["https://x.org/a.png"]},
        {"messages": [openai("user", "What?"), openai("assistant", "a")], "images": ["../../etc/passwd"]},
        {"messages": [openai("user", "What?"), openai("assistant", "a")], "images": ["x" * 5000]},
        {"messages": [openai("user", "Draw a cat"), openai("assistant", "<image>")], "images": ["3.jpg"]},
        {"messages": [openai("user", "Time?"), openai("function_call", "{}"), openai("observation", "{}"),
                      openai("assistant", "noon")]},
    ]  # fmt: skip
    write(root / "chats.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    records, rejects, _ = converted(SHAREGPT, root, tmp_path / "out")
    three = ["3.jpg", "images/2.jpg", "coco/train2017/1.jpg"]
    assert {key[-8:]: (record["images"], record["question"]) for key, record in records.items()} == {
        "000000-0": (three[:2], "Which is red?"),
        "000000-1": (three, "And is image 3 red too?"),
        "000001-0": (["3.jpg"], "What is it?"),
        "000002-0": (["3.jpg"], "What?"),
        "000003-0": (["3.jpg"], "What?"),
    }
    assert records["sharegpt/chats.jsonl/000000-1"]["meta"] == {"system": "Be brief.", "turn": 1, "turns": 2}
    assert records["sharegpt/chats.jsonl/000001-0"] == whole(
        root / "3.jpg",
        {
            "id": "sharegpt/chats.jsonl/000001-0",
            "images": ["3.jpg"],
            "question": "What is it?",
            "answers": ["a wall"],
            "question_type": "open_ended",
            "source": "sharegpt",
            "split": "train",
            "meta": {"system": "Look.", "turn": 0, "turns": 1},
        },
    )
    reasons = [
        ("line 5", "images: 3 of them for 2 <image> tags"),
        ("line 6", "messages[1]: unknown role 'narrator'"),
        ("line 7", "images: 'https://x.org/a.png' is no file; download it and name the file"),
        ("line 8", "images[0]: '../../etc/passwd' leaves the image root with '..'"),
        ("line 10", "the answer holds an image"),
        ("line 11, turn 0", "a call of a tool"),
        ("line 11, turn 1", "a call of a tool"),
        ("line 11, turn 2", "an answer without a question"),
        ("line 12", "not valid JSON: Expecting property name enclosed in double quotes (column 2)"),
    ]
    assert rejects.pop("chats.jsonl: line 9").endswith("cannot be read: File name too long")
    assert rejects == {f"chats.jsonl: {line}": reason for line, reason in reasons}


def test_llamafactory_as_described(root, tmp_path):
    info = {
        "mine_train": {
            "file_name": "mine.json",
            "formatting": "sharegpt",
            "columns": {"messages": "chat", "images": "pictures", "system": "rule"},
            "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "Q", "assistant_tag": "A"},
        },
        "alpaca": {
            "file_name": "alpaca.json",
            "columns": {"prompt": "ask", "query": "more", "response": "reply", "history": "before"},
        },
        "preferred": {"file_name": "dpo.json", "ranking": True, "formatting": "sharegpt"},
        "remote": {"hf_hub_url": "org/name"},
        "absent": {"file_name": "absent.json"},
        "text": {"file_name": "wiki.txt"},
    }
    write(root / "dataset_info.json", info)
    write(root / "wiki.txt", "text")
    write(root / "unlisted.json", [{"question": "never read"}])
    turns = [{"who": "Q", "says": "<image>What?"}, {"who": "A", "says": "a wall"}]
    write(root / "mine.json", [{"chat": turns, "pictures": ["3.jpg"], "rule": "Look.", "score": 0.5}])
    alpaca = {"ask": "Is it white?", "more": "Say yes or no.", "reply": "Yes", "before": [["Hi?", "Hello."]]}
    write(root / "alpaca.json", [alpaca | {"images": ["3.jpg"]}, {"ask": "a", "reply": ""}])
    chosen = {"conversations": [human("Which?")], "chosen": gpt("this"), "rejected": gpt("that")}
    write(root / "dpo.json", [chosen, {"conversations": [human("?"), gpt("bad")], "kto_tag": False}])
    records, rejects, _ = converted(LLAMAFACTORY, root, tmp_path / "out")
    assert {key: (record["question"], record["answers"], record["images"], record["meta"])
            for key, record in records.items()} == {
        "llamafactory/mine_train/mine.json/000000-0":
            ("What?", ["a wall"], ["3.jpg"], {"score": 0.5, "system": "Look.", "turn": 0, "turns": 1}),
        "llamafactory/alpaca/alpaca.json/000000-0": ("Hi?", ["Hello."], ["3.jpg"], {"turn": 0, "turns": 2}),
        "llamafactory/alpaca/alpaca.json/000000-1":
            ("Is it white?\nSay yes or no.", ["Yes"], ["3.jpg"], {"turn": 1, "turns": 2}),
        "llamafactory/preferred/dpo.json/000000-0":
            ("Which?", ["this"], [], {"rejected": gpt("that"), "turn": 0, "turns": 1}),
    }  # fmt: skip
    assert records["llamafactory/mine_train/mine.json/000000-0"] == whole(
        root / "3.jpg",
        {
            "id": "llamafactory/mine_train/mine.json/000000-0",
            "images": ["3.jpg"],
            "question": "What?",
            "answers": ["a wall"],
            "question_type": "open_ended",
            "source": "llamafactory",
            "split": "train",
            "meta": {"score": 0.5, "system": "Look.", "turn": 0, "turns": 1},
        },
    )
    assert set(rejects) == {"alpaca.json: row 1", "dpo.json: row 1", "dataset_info.json: text"}
    # Without a description, the form is told from the rows.
    (root / "dataset_info.json").write_text("{}")
    with pytest.raises(UserError, match="none of its data sets has its file"):
        list(LLAMAFACTORY.rows(root, ConvertOptions()))


def test_llamafactory_without_a_description(root, tmp_path):
    write(
        root / "own.json", [{"instruction": "Is it white?", "input": "", "output": "Yes", "images": "3.jpg"}]
    )
    records, rejects, _ = converted(LLAMAFACTORY, root, tmp_path / "out")
    (record,) = records.values()
    assert (record["question"], record["answers"], record["images"]) == ("Is it white?", ["Yes"], ["3.jpg"])
    # One file of the folder, by its name.
    (row,) = LLAMAFACTORY.rows(LLAMAFACTORY.find_input(root / "own.json"), ConvertOptions())
    assert row.record["images"] == ["3.jpg"]


def test_a_damaged_array_is_an_error_and_no_half_conversion(root, tmp_path):
    write(root / "train.json", '[{"conversations": []},\n {"conversations": [')
    for converter in (LLAVA, SHAREGPT, LLAMAFACTORY, GENERIC):
        with pytest.raises(UserError, match=r"train.json:2: not valid JSON"):
            convert(converter, root, tmp_path / "out", ConvertOptions())
    assert not (tmp_path / "out" / "train.jsonl").exists()
    write(root / "train.json", "[" * 10_000 + "]" * 10_000)
    with pytest.raises(UserError, match="nested too deeply"):
        list(LLAVA.rows(root, ConvertOptions()))


def test_links_out_of_the_folder_are_refused(root, tmp_path):
    write(tmp_path / "secret.json", [])
    (root / "train.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match="symlink"):
        LLAVA.find_input(root)
    (root / "train.json").unlink()
    write(root / "dataset_info.json", {"x": {"file_name": "../secret.json"}})
    with pytest.raises(UserError, match="'..'"):
        list(LLAMAFACTORY.rows(root, ConvertOptions()))


def test_generic_forms(root, tmp_path):
    structured = {"caption": "a wall", "reasoning": [], "boxes": [[0, 0, 500, 1000]], "answer": "white"}
    write(root / "val.json", [
        {"image": "3.jpg", "question": "Is it white?", "answer": "yes", "author": "An"},
        {"instruction": "Look.", "input": "Color?", "output": json.dumps(structured), "image": "3.jpg"},
        {"image": "3.jpg", "question": "", "answer": "yes"},
    ])  # fmt: skip
    rows = [
        {"image_path": "3.jpg", "question": "Is it red?", "gold": "no", "valid_json": True},
        {"id": "mine", "image_filename": "images/2.jpg", "question": "What?", "answer": "x", "split": "Test"},
        {"image": "3.jpg", "question": "Where?", "answer": "x", "split": "../up"},
    ]
    write(root / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(root / "wrapped.json", json.dumps({"version": 1, "data": [rows[0]]}, indent=1))
    records, rejects, _ = converted(GENERIC, root, tmp_path / "out")
    assert {key: record["split"] for key, record in records.items()} == {
        "generic/own.jsonl/000000": "own",
        "mine": "test",
        "generic/own.jsonl/000002": "up",
        "generic/val.json/000000": "validation",
        "generic/val.json/000001": "validation",
        "generic/wrapped.json/000000": "wrapped",
    }
    assert records["generic/val.json/000000"] == whole(
        root / "3.jpg",
        {
            "id": "generic/val.json/000000",
            "images": ["3.jpg"],
            "question": "Is it white?",
            "answers": ["yes"],
            "question_type": "yes_no",
            "answer_candidates": ["yes", "no"],
            "source": "generic",
            "split": "validation",
            "meta": {"author": "An"},
        },
    )
    assert records["generic/val.json/000001"]["boxes"] == [[0, 0, 16, 24]]
    assert rejects == {"val.json: row 2": "question: empty"}
    assert [path.name for path in (tmp_path / "out").glob("*up*")] == ["up.jsonl"]


@given(
    st.lists(st.sampled_from(["<image>", "\n", " ", "cat", "<|image|>", "is"]), max_size=8), st.integers(1, 3)
)
def test_tags_leave_the_text(parts, first):
    text = "".join(parts)
    shown = _without_tags(text, first)
    assert not TAG.search(shown) and shown == shown.strip()
    words = [part for part in parts if part in ("cat", "is")]
    assert "".join(shown.split()).startswith(words[0] if words and "image" not in shown else "")
    assert all(word in shown for word in words)
    assert _without_tags("<image>\nA <image> or <image>?", 2) == "image 2\nA image 3 or image 4?"


_PART = st.sampled_from(["from", "value", "role", "content", "type", "text", "image"])
_FIELD = "messages conversations images image instruction output history system chosen kto_tag".split()
_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["human", "gpt", "system", "<image>", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_PART, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(_FIELD), _VALUE, max_size=4))
def test_any_row_gives_turns_or_one_reason(row):
    before = json.dumps(row)
    try:
        turns, _ = read_turns(row, Form())
    except RowProblem as problem:
        assert str(problem)
    else:
        assert turns and [turn.index for turn in turns] == list(range(len(turns)))
    assert json.dumps(row) == before  # it goes whole to the rejects
