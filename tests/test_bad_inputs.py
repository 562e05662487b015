"""What is wrong with an input is said in one line with file, line and field; docs/bad_inputs.md lists it."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from vqa.errors import InputErrors, UserError
from vqa.raw_forms import MAX_LINE_BYTES
from vqa.records import load_dataset, read_records

REPOSITORY = Path(__file__).resolve().parent.parent
GOOD = {"id": "good", "images": ["a.png"], "question": "What is it?", "answers": ["a field"]}


def png_of_size(width, height):
    """The bytes of a PNG that claims a size it does not hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A record folder with one good image and every bad one."""
    outside = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (40, 20)).save(outside / "secret.png")
    root = tmp_path_factory.mktemp("set")
    Image.effect_noise((40, 20), 50).save(root / "a.png")
    whole = (root / "a.png").read_bytes()
    (root / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (root / "zero.png").write_bytes(b"")
    (root / "text.png").write_text("hello")
    (root / "bomb.png").write_bytes(png_of_size(40_000, 40_000))
    (root / "large.png").write_bytes(png_of_size(12_000, 10_000))
    (root / "link.png").symlink_to(outside / "secret.png")
    os.mkfifo(root / "pipe.png")
    (root / "sub").mkdir()
    return root


def line(**fields):
    """A good record but for `fields`; None-valued ones given as `...` are left out."""
    row = {**GOOD, "id": "bad", **fields}
    return json.dumps({name: value for name, value in row.items() if value is not ...}).encode()


# name -> (the second line of the file, what is said after FILE:2:)
LINES = {
    "no JSON": (b"what is it? a field", "not valid JSON: Expecting value (column 1)"),
    "cut off in the middle": (line()[:40], "not valid JSON: "),
    "not an object": (b'["a.png", "What is it?", "a field"]', "a record is a JSON object, not a list"),
    "two objects on a line": (line() + line(), "not valid JSON: Extra data"),
    "NaN": (b'{"boxes": [[NaN, 0, 1, 1]]}', "not valid JSON: NaN is not a JSON number"),
    "a number beyond floats": (b'{"meta": {"x": 1e999}}', "not valid JSON: 1e999 is too large a number"),
    "an integer of 5,000 digits": (
        b'{"meta": ' + b"9" * 5000 + b"}",
        "not valid JSON: an integer of thousands of digits",
    ),
    "a text of two million letters": (
        line(question="a" * 2_000_000),
        "question: longer than 1,000,000 characters",
    ),
    "a key twice": (b'{"question": "a", "question": "b"}', "question: given twice in one object"),
    "nested 10,000 deep": (b'{"meta": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
    "nested 200 deep": (b'{"meta": ' + b"[" * 200 + b"]" * 200 + b"}", "meta: nested more than 64 deep"),
    "not UTF-8": (b'{"question": "caf\xe9"}', "not valid UTF-8: byte 0xe9 at 18"),
    "a NUL byte": (b'{"question": "a\0b"}', "holds a NUL byte"),
    "an escaped NUL": (line(question="a\0b"), "question: holds a NUL character (\\u0000)"),
    "half a surrogate pair": (line(question="\ud800"), "question: holds half a surrogate pair (\\ud800)"),
    "a huge line": (b'{"question": "' + b"x" * MAX_LINE_BYTES + b'"}', "the line is longer than 64 MiB"),
    "no question": (line(question=...), "question: missing"),
    "blank question": (line(question=" "), "question: empty"),
    "no answers": (line(answers=...), "answers: missing"),
    "no image": (line(images=...), "images: missing (give [] for a question without an image)"),
    "two images by two names": (line(image="a.png"), "image: the image is already given as 'images'"),
    "id is no string": (line(id=5), "id: expected a string, not an integer"),
    "id used twice": (line(id="good"), "id: 'good' is already used on line 1"),
    "images is no list": (
        line(images={"path": "a.png"}),
        "images: expected a list of strings, not an object",
    ),
    "an image is no string": (line(images=["a.png", 3]), "images[1]: expected a string, not an integer"),
    "question is no string": (line(question=["What?"]), "question: expected a string, not a list"),
    "an answer is a number": (line(answers=[3]), "answers[0]: expected a string, not an integer"),
    "an answer is empty": (line(answers=["x", ""]), "answers[1]: empty"),
    "answerable is no boolean": (line(answerable="no"), "answerable: expected true or false, not a string"),
    "answers but not answerable": (line(answerable=False), "answers: must be empty when answerable is false"),
    "answerable but no answers": (
        line(answerable=True, answers=[]),
        "answers: empty, but answerable is true",
    ),
    "unknown type": (line(question_type="essay"), "question_type: unknown type 'essay'; known are yes_no"),
    "type is no string": (line(question_type=3), "question_type: expected a string, not an integer"),
    "candidates are no list": (
        line(answer_candidates="a, b"),
        "answer_candidates: expected a list of strings",
    ),
    "a candidate twice": (line(answer_candidates=["x", "x"]), "answer_candidates[1]: 'x' is given twice"),
    "mcq without candidates": (
        line(question_type="mcq"),
        "answer_candidates: missing, and none can be built",
    ),
    "answer not among candidates": (
        line(answer_candidates=["cat", "dog"]),
        "answers: 'a field' is not among the answer_candidates of mcq: cat, dog",
    ),
    "candidates of an open question": (
        line(question_type="extractive", answer_candidates=["a field"]),
        "answer_candidates: a question of type extractive has none",
    ),
    "boxes is no list": (line(boxes="all"), "boxes: expected a list of [x0, y0, x1, y1], not a string"),
    "a box of three numbers": (
        line(boxes=[[0, 0, 1, 1], [0, 0, 5]]),
        "boxes[1]: expected four numbers [x0, y0, x1, y1], not [0, 0, 5]",
    ),
    "a box of words": (line(boxes=[["0", 0, 5, 5]]), "boxes[0]: expected four numbers"),
    "a degenerate box": (line(boxes=[[5, 0, 5, 9]]), "boxes[0]: [5, 0, 5, 9] is degenerate; x0 < x1"),
    "a box outside of the image": (
        line(boxes=[[0, 0, 90, 9]]),
        "boxes[0]: [0, 0, 90, 9] lies outside of the image",
    ),
    "boxes without an image": (
        line(images=[], boxes=[[0, 0, 1, 1]]),
        "boxes: given, but the record has no image",
    ),
    "box on an absent image": (
        line(boxes=[[0, 0, 1, 1]], box_images=[1]),
        "box_images: [1] names an image that",
    ),
    "box_images too short": (
        line(boxes=[[0, 0, 1, 1]] * 2, box_images=[0]),
        "box_images: 1 entries for 2 boxes",
    ),
    "box_images of words": (
        line(boxes=[[0, 0, 1, 1]], box_images="0"),
        "box_images: expected a list of image",
    ),
    "caption is no string": (line(caption=["x"]), "caption: expected a string, not a list"),
    "reasoning is no list": (
        line(reasoning="because"),
        "reasoning: expected a list of strings, not a string",
    ),
    "source is no string": (line(source=1), "source: expected a string, not an integer"),
    "split is no string": (line(split=True), "split: expected a string, not a boolean"),
    "meta is no object": (line(meta=[1]), "meta: expected an object, not a list"),
    "a field both in meta and beside it": (
        line(meta={"page": 1}, page=2),
        "page: given both in meta and beside it",
    ),
    "hashes for other images": (line(image_sha256=["0" * 64] * 2), "image_sha256: 2 hashes for 1 images"),
    "image changed since": (
        line(image_sha256=["0" * 64]),
        "image_sha256[0]: the image's bytes have another hash",
    ),
    "output is no structured answer": (
        line(instruction="Look.", output='{"answer": "x"}'),
        "output: expected a JSON string",
    ),
    "missing image": (line(images=["gone.png"]), "images[0]: 'gone.png' does not exist"),
    "zero-byte image": (line(images=["zero.png"]), "images[0]: 'zero.png' is empty (0 bytes)"),
    "truncated image": (
        line(images=["truncated.png"]),
        "images[0]: 'truncated.png' cannot be decoded, it is damaged",
    ),
    "no image at all": (line(images=["text.png"]), "images[0]: 'text.png' is not an image of a known format"),
    "image is a folder": (line(images=["sub"]), "images[0]: 'sub' is not a file"),
    "image is a pipe": (line(images=["pipe.png"]), "images[0]: 'pipe.png' is not a file"),
    "image over the limit": (
        line(images=["large.png"]),
        "images[0]: 'large.png' has 12000x10000 pixels, more than the limit of 100,000,000",
    ),
    "decompression bomb": (line(images=["bomb.png"]), "images[0]: 'bomb.png' has more pixels than the limit"),
    "absolute path": (line(images=["/etc/passwd"]), "images[0]: '/etc/passwd' is an absolute path"),
    "path that climbs": (line(images=["../a.png"]), "images[0]: '../a.png' leaves the image root with '..'"),
    "symlink out of the root": (
        line(images=["link.png"]),
        "'link.png' leaves the image root through a symlink",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_bad_line(folder, name):
    content, message = LINES[name]
    path = folder / "train.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + content + b"\n")
    with pytest.raises(InputErrors) as caught:
        read_records(path)
    start = f"{path}:2: "
    assert all(problem.startswith(start) and "\n" not in problem for problem in caught.value.problems)
    assert any(message in problem for problem in caught.value.problems)
    assert len(caught.value.problems) <= 3
    path.unlink()


FILES = {
    "empty file": (b"", ":1: the file is empty: no records"),
    "blank lines only": (b"\n \n", ":1: the file is empty: no records"),
    "empty array": (b"[]", ":1: the array is empty: no records"),
    "UTF-16": ('{"question": "x"}'.encode("utf-16"), ":1: is UTF-16; records are UTF-8"),
    "array cut off": (b"[" + json.dumps(GOOD).encode(), ":1: not valid JSON: the array ends without ']'"),
    "array without commas": (
        b'[{"a": 1}\n{"a": 2}]',
        ":2: not valid JSON: ',' expected between the elements",
    ),
    "bad element in an array": (
        b"[\n" + json.dumps(GOOD).encode() + b",\n5]",
        ":3: a record is a JSON object",
    ),
    "text after an array": (
        b"[" + json.dumps(GOOD).encode() + b"] x",
        ":1: text follows the end of the array",
    ),
    "array nested too deeply": (b"[" * 100_000, ":1: not valid JSON: nested too deeply"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [read_records, load_dataset])
def test_bad_file(folder, name, read):
    content, message = FILES[name]
    path = folder / "file.json"
    path.write_bytes(content)
    with pytest.raises(InputErrors) as caught:
        read(path)
    assert any(f"{path}{message}" in problem for problem in caught.value.problems)
    path.unlink()


def test_no_permission(folder, monkeypatch):
    path = folder / "closed.jsonl"
    path.touch()
    monkeypatch.setattr("os.access", lambda *args: False)  # the superuser may read everything
    with pytest.raises(UserError, match="closed.jsonl: permission denied"):
        read_records(path)
    path.unlink()


def test_many_problems_are_counted_not_listed(folder):
    path = folder / "many.jsonl"
    path.write_text("x\n" * 200)
    with pytest.raises(InputErrors) as caught:
        read_records(path)
    assert len(caught.value.problems) == 200
    assert str(caught.value).startswith("200 problems in the input\n") and str(caught.value).endswith(
        "150 more"
    )
    path.unlink()


CONVERT = ["convert", "--dataset", "easy_vqa", "--output_dir", "out"]
COMMANDS = {
    "unknown command": (["frobnicate"], "unknown command 'frobnicate'; commands are convert, "),
    "unknown option": ([*CONVERT, "--lmit", "3"], "--lmit"),
    "unknown data set": (
        ["convert", "--dataset", "nothing", "--output_dir", "out"],
        "--dataset nothing: unknown",
    ),
    "missing argument": (["convert", "--dataset", "easy_vqa"], "--output_dir"),
    "input that is not there": ([*CONVERT, "--input", "nowhere"], "--input nowhere: no such folder"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_command_is_one_line_and_no_traceback(tmp_path, name):
    arguments, message = COMMANDS[name]
    command = [sys.executable, str(REPOSITORY / "prepare_data.py"), *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith("prepare_data.py: error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_every_case_is_documented():
    table = (REPOSITORY / "docs" / "bad_inputs.md").read_text(encoding="utf-8").splitlines()
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in table if row.startswith("| ")}
    for name, (_, message) in {**LINES, **FILES}.items():
        assert message.removeprefix(":") in rows[name]
