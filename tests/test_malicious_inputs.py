"""A publication that means harm is refused with a message: nothing outside is read, nothing huge is built."""

import json
import re
import resource
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.test_datasets_dirt import BUILDERS
from vqa.datasets import CONVERTERS
from vqa.datasets.conversion import Converter, ConvertOptions, RawRow, convert
from vqa.errors import UserError

GOOD = {"image": "a.png", "question": "What is it?", "answer": "a dot"}


@pytest.fixture
def publication(tmp_path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    return folder


def reject_reasons(publication: Path, rows: list[dict], out: Path) -> list[str]:
    """Convert the rows after a good one; the reasons for those that were rejected."""
    text = "".join(json.dumps(row) + "\n" for row in [GOOD, *rows])
    (publication / "train.jsonl").write_text(text, encoding="utf-8")
    manifest = convert(CONVERTERS["generic"], publication, out, ConvertOptions())
    assert manifest["rows"] == {"in": 1 + len(rows), "records": 1, "filtered": 0, "rejects": len(rows)}
    lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["reason"] for line in lines]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", "leaves the image root with '..'"),
        ("sub/../../secret.png", "leaves the image root with '..'"),
        ("{outside}/secret.png", "absolute path"),
        ("link.png", "through a symlink"),
        ("linked/secret.png", "through a symlink"),
        ("a.png\0.txt", "NUL"),
    ],
)
def test_image_outside_of_the_publication(name, reason, publication, tmp_path):
    (publication / "link.png").symlink_to(tmp_path / "secret.png")
    (publication / "linked").symlink_to(tmp_path, target_is_directory=True)
    row = GOOD | {"image": name.format(outside=tmp_path)}
    (found,) = reject_reasons(publication, [row], tmp_path / "out")
    assert reason in found


def test_bomb_is_not_decoded(publication, tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    side = 100_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (publication / "bomb.png").write_bytes(png)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (found,) = reject_reasons(publication, [GOOD | {"image": "bomb.png"}], tmp_path / "out")
    assert "more pixels than the limit" in found
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_json_nested_too_deeply(publication, tmp_path):
    deep = '{"image": "a.png", "question": "q", "answer": ' + "[" * 10_000 + "]" * 10_000 + "}\n"
    (publication / "train.jsonl").write_text(json.dumps(GOOD) + "\n" + deep, encoding="utf-8")
    convert(CONVERTERS["generic"], publication, tmp_path / "out", ConvertOptions())
    reject = json.loads((tmp_path / "out/rejects.jsonl").read_text(encoding="utf-8"))
    assert "nested" in reject["reason"] and reject["row"] == deep.rstrip("\n")
    array = '[{"img_name": "a.png", "question": ' + "[" * 10_000 + "]" * 10_000 + "}]"
    (publication / "train.json").write_text(array, encoding="utf-8")
    with pytest.raises(UserError, match="train.json: .*nested"):
        convert(CONVERTERS["slake"], publication, tmp_path / "slake", ConvertOptions())


def test_line_of_a_gigabyte(publication, tmp_path):
    with open(publication / "train.jsonl", "wb") as file:
        file.write(json.dumps(GOOD).encode() + b'\n{"question": "')
        file.truncate(2**30)  # sparse: zeros that take no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert(CONVERTERS["generic"], publication, tmp_path / "out", ConvertOptions())
    reject = json.loads((tmp_path / "out/rejects.jsonl").read_text(encoding="utf-8"))
    assert "longer than 64 MiB" in reject["reason"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_one_value_of_a_gigabyte(publication, tmp_path):
    with open(publication / "train.json", "wb") as file:
        file.write(b'[{"img_name": "a.png", "question": "')
        file.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"train.json: holds a NUL byte"):
        convert(CONVERTERS["slake"], publication, tmp_path / "out", ConvertOptions())
    (publication / "train.json").write_bytes(b'[{"image": "a.png", "question": "' + b"a" * 2**26 + b'"}]')
    for name in ("generic", "llava", "hub"):
        with pytest.raises(UserError, match="holds a line or a text of more than 16 MiB"):
            convert(CONVERTERS[name], publication, tmp_path / "out", ConvertOptions())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize(
    ("name", "linked"),
    [
        ("easy_vqa", "data/train/questions.json"),
        ("docvqa", "train_v1.0_withQT.json"),
        ("kvasir_vqa", "metadata.csv"),
        ("llamafactory", "dataset_info.json"),
        ("dicom", "questions.csv"),
    ],
)
def test_links_to_tables_outside_are_refused(name, linked, tmp_path):
    root, outside = tmp_path / "raw", tmp_path / "outside"
    root.mkdir()
    if name in BUILDERS:
        BUILDERS[name](root)
    outside.write_text('{"a": {"file_name": "train.json"}}')
    (root / linked).unlink(missing_ok=True)
    (root / linked).symlink_to(outside)
    with pytest.raises(UserError, match="through a symlink"):
        convert(CONVERTERS[name], root, tmp_path / "out", ConvertOptions())


def test_ocr_outside_is_not_read(tmp_path):
    root = tmp_path / "raw"
    BUILDERS["docvqa"](root)
    (root / "ocr_results/a_1.json").rename(tmp_path / "outside.json")
    (root / "ocr_results/a_1.json").symlink_to(tmp_path / "outside.json")
    manifest = convert(CONVERTERS["docvqa"], root, tmp_path / "out", ConvertOptions())
    assert manifest["repairs"] == {"OCR file unreadable, no boxes": 1}


@pytest.mark.parametrize("name", ["slake", "docvqa", "chartqa", "textvqa", "vqa_rad", "viocrvqa", "llava"])
def test_names_longer_than_any_file_has(name, tmp_path):
    root = tmp_path / "raw"
    BUILDERS[name](root)
    for path in root.rglob("*.json*"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\w+(?=/source|\.png|\.jpg)", "n" * 5000, text), encoding="utf-8")
    if name == "textvqa":
        (root / "TextVQA_0.5.1_train.json").write_text(
            json.dumps({"data": [{"question": "?", "image_id": "n" * 5000, "answers": ["a"] * 10}]})
        )
    with pytest.raises(UserError, match="no row became a record; .*(does not exist|too long)") as caught:
        convert(CONVERTERS[name], root, tmp_path / "out", ConvertOptions())
    assert len(str(caught.value)) < 1000


def test_table_with_nuls(publication, tmp_path):
    (publication / "labels.csv").write_bytes(b"image,text\na.png,\0\0\n")
    with pytest.raises(UserError, match=r"labels.csv: holds a NUL byte"):
        convert(CONVERTERS["handwriting"], publication, tmp_path / "out", ConvertOptions())


@pytest.mark.parametrize("split", ["../../train", "rejects", "a/b", "", ".hidden"])
def test_split_cannot_name_a_file_elsewhere(split, publication, tmp_path):
    def rows(root, options):
        yield RawRow("train", GOOD, "row 0", GOOD)
        yield RawRow("train", GOOD, "row 1", GOOD | {"split": split})

    converter = Converter("odd", licence=None, find_input=lambda given: given, rows=rows)
    manifest = convert(converter, publication, tmp_path / "out", ConvertOptions())
    assert manifest["rows"] == {"in": 2, "records": 1, "filtered": 0, "rejects": 1}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "rejects.jsonl",
        "train.jsonl",
    ]


def test_half_a_surrogate_pair_reaches_the_rejects_whole(publication, tmp_path):
    (publication / "train.jsonl").write_text(
        json.dumps(GOOD) + '\n{"image": "a.png", "question": "\\ud800", "answer": "x"}\n', encoding="utf-8"
    )
    convert(CONVERTERS["generic"], publication, tmp_path / "out", ConvertOptions())
    reject = json.loads((tmp_path / "out/rejects.jsonl").read_text(encoding="utf-8"))
    assert "\ud800" in json.dumps(reject["row"], ensure_ascii=False) or "\\ud800" in json.dumps(reject["row"])
