"""A publication that means harm is refused with a message: nothing outside is read, nothing huge is built."""

import json
import resource
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

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
