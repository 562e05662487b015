"""`stats`: the numbers, compared whole, and pictures that show what they say."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from vqa.errors import UserError
from vqa.preparation.contact_sheet import load_fonts, sample, wrap
from vqa.preparation.folders import read_folder
from vqa.preparation.stats import describe_split, main, summarize, types_table

LONG = "Số tiền phải trả cho Nguyễn Thị Hương là một triệu hai trăm nghìn đồng. " * 12


@pytest.fixture
def folder(tmp_path):
    """Three pictures; boxes, several images, none, unanswerable, markup and Vietnamese among the records."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, size in (("a.png", (100, 50)), ("b.png", (40, 80)), ("c.png", (100, 50))):
        Image.new("RGB", size, "white").save(folder / name)
    rows = {
        "train": [
            {"images": ["a.png"], "question": "is it?", "answers": ["yes"], "boxes": [[10, 10, 60, 20]]},
            {"images": ["a.png"], "question": "what?", "answers": ["[/red] <b>", "red"], "caption": "a page"},
            {
                "images": ["b.png", "a.png"],
                "question": "Đọc?",
                "answers": [LONG],
                "question_type": "transcription",
            },
            {"images": [], "question": "tổng?", "answers": ["1.250.000 ₫"], "question_type": "extractive"},
            {"images": ["b.png"], "question": "fax?", "answers": [], "question_type": "extractive"},
        ],
        "test": [{"images": ["c.png"], "question": "is it?", "answers": ["no"]}],
    }
    rows["train"][2] |= {"question_type": "transcription", "boxes": [[0, 0, 20, 10]], "box_images": [1]}
    for split, lines in rows.items():
        text = "".join(json.dumps({"id": f"{split}{n}", **row}) + "\n" for n, row in enumerate(lines))
        (folder / f"{split}.jsonl").write_text(text)
    return folder


def constant(value):
    return {"min": value, "mean": value, "median": value, "p95": value, "max": value}


def test_summaries():
    assert summarize([]) is None
    assert summarize([1, 2, 3, 10]) == {"min": 1, "mean": 4, "median": 2.5, "p95": 8.95, "max": 10}


def test_a_split_described_whole(folder):
    records = read_folder(folder).files["test"]
    lengths = {
        "question_characters": constant(6),
        "answer_characters": constant(2),
        "answer_words": constant(1),
        "question_tokens": constant(3),
        "answer_tokens": constant(1),
    }
    assert describe_split(records, {"is it?": 3, "no": 1}) == {
        "records": 1,
        "images": 1,
        "questions_per_image": constant(1),
        "without_image": 0,
        "with_several_images": 0,
        "unanswerable": 0,
        "with_boxes": 0,
        "with_caption": 0,
        "with_reasoning": 0,
        "by_source": {"in": 1},
        "by_question_type": {
            "yes_no": {
                "records": 1,
                "unanswerable": 0,
                "with_boxes": 0,
                "distinct_answers": 1,
                "top_answers": [["no", 1]],
                **lengths,
            }
        },
        "image_width": constant(100),
        "image_height": constant(50),
        "box_area_share": None,
        **lengths,
    }


def test_counts_of_a_mixed_split(folder):
    described = describe_split(read_folder(folder).files["train"], {})
    counted = ("records", "images", "without_image", "with_several_images", "unanswerable", "with_boxes")
    assert [described[key] for key in counted] == [5, 2, 1, 1, 1, 2]
    assert described["questions_per_image"]["max"] == 3
    assert described["box_area_share"] == {
        **{"min": 0.04, "mean": 0.07, "median": 0.07, "p95": 0.097, "max": 0.1}
    }
    assert described["answer_tokens"] is None
    assert described["by_question_type"]["extractive"]["top_answers"] == [["1.250.000 ₫", 1]]


def test_answers_are_no_markup_for_the_terminal(folder):

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(types_table({"train": describe_split(read_folder(folder).files["train"], {})}))
    assert "[/red] <b> 100%" in console.export_text()


def test_everything_is_written_and_the_same_twice(folder, tmp_path, capsys):
    for name in ("one", "two"):
        main([str(folder), "--output_dir", str(tmp_path / name), "--num_samples", "5"])
    names = ["answers.png", "contact_sheet.png", "images.png", "stats.json", "types.png"]
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert [name for name in written if name != "tokens.png"] == names
    for name in written:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    stats = json.loads((tmp_path / "one" / "stats.json").read_text())
    assert list(stats["splits"]) == ["train", "test"] and set(stats["files"]) == {"train.jsonl", "test.jsonl"}
    out = capsys.readouterr().out
    assert "questions per image (median, max)" in out and str(tmp_path / "one" / "contact_sheet.png") in out


def test_one_picture_on_the_sheet_with_its_box_and_text(folder, tmp_path):
    rows = (folder / "train.jsonl").read_text().splitlines()
    (folder / "test.jsonl").unlink()
    (folder / "train.jsonl").write_text(rows[0] + "\n")
    main([str(folder), "--output_dir", str(tmp_path / "out")])
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png")).astype(int)
    # The picture is 100x50, drawn 356 pixels wide and 178 high from (12, 12); the box is [10, 10, 60, 20].
    red = np.argwhere((sheet == (224, 0, 48)).all(axis=2))
    assert red.min(axis=0) == pytest.approx([12 + 35.6, 12 + 35.6], abs=3)
    assert red.max(axis=0) == pytest.approx([12 + 71.2, 12 + 213.6], abs=3)
    below = sheet[12 + 178 + 12 :]
    for line, color in enumerate(((106, 106, 106), (26, 26, 26), (0, 83, 156))):
        assert (below[20 * line : 20 * line + 20] == color).all(axis=2).any()


def test_samples_show_every_split_and_type_and_fresh_images_first():
    records = [
        {"split": split, "question_type": kind, "images": [f"{split}{number % 10}"], "id": number}
        for split in ("train", "test")
        for kind in ("color", "mcq")
        for number in range(50)
    ]
    chosen = sample(records, 20, seed=4)
    assert {(r["split"], r["question_type"]) for r in chosen} == {
        (split, kind) for split in ("train", "test") for kind in ("color", "mcq")
    }
    assert len({r["images"][0] for r in chosen}) == 20
    assert [records.index(r) for r in chosen] == sorted(records.index(r) for r in chosen)
    assert chosen == sample(records, 20, seed=4) != sample(records, 20, seed=5)
    assert len(sample(records[:3], 20, seed=4)) == 3


def test_text_is_wrapped_within_its_width_and_lines():
    font, _ = load_fonts(None)
    assert wrap("Tổng cộng", font, 300, 3) == ["Tổng cộng"]
    for text in (LONG, "a" * 500, "ngắn " + "dài" * 100):
        lines = wrap(text, font, 200, 3)
        assert len(lines) == 3 and lines[-1].endswith("…")
        assert all(font.getlength(line) <= 200 for line in lines)
    assert wrap("", font, 200, 3) == [""]


def test_the_sheet_s_font_has_every_vietnamese_letter():
    letters = "àáảãạăằắẳẵặâầấẩẫậđèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵ"
    for font in load_fonts(None):
        missing = bytes(font.getmask("\uffff"))
        assert all(bytes(font.getmask(letter)) != missing for letter in letters + letters.upper() + "₫")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_samples", "0"], "at least 1"),
        (["--model_name_or_path", "./absent"], "cannot load its tokenizer"),
        (["--font", "README.md"], "not a TrueType font"),
    ],
)
def test_mistakes(folder, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([str(folder), "--output_dir", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()
