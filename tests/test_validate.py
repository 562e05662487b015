"""validate: each check fires on its fault and on nothing that only resembles it; fixes lose nothing."""

import json
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from qwen_vl_utils.vision_process import smart_resize
from transformers import Idefics3ImageProcessor

from tests.test_image_hashes import photograph
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.files import write_jsonl
from vqa.preparation import suspicions_text as text
from vqa.preparation.suspicions_fix import clean_whitespace, fix_record
from vqa.preparation.suspicions_images import check_boxes, has_border_line, lone_stroke_sides
from vqa.preparation.suspicions_tokens import families, idefics_tokens, measure_lengths, qwen_tokens
from vqa.preparation.validate import main
from vqa.synthesis.shapes import write_shapes
from vqa.tiny_models import build_tiny_model


def record(name="1", question="What is it?", answers=("cat",), kind="open_ended", **more):
    return {
        "id": name, "split": "train", "images": ["a.png"], "question": question, "answers": list(answers),
        "answerable": bool(answers), "question_type": kind, "answer_candidates": None, "caption": None,
        "reasoning": [], "boxes": [], "box_images": [], "image_sizes": [[100, 50]], "image_sha256": ["a"],
    } | more  # fmt: skip


def ids(found):
    return [suspicion.record_id for suspicion in found]


def transcription(name, answer):
    return record(name, "Write down the text.", [answer], "transcription")


@pytest.mark.parametrize(
    "answer",
    ["a cat ", " a cat", "a  cat", "a\tcat", "a\u00a0cat", "a\u200bcat", "a \ncat", "a\r\ncat", "cat\n"],
)
def test_whitespace_within_a_text(answer):
    assert ids(text.check_whitespace(record(answers=["fine", answer]))) == ["1"]
    cleaned = clean_whitespace(answer)
    assert list(text.check_whitespace(record(answers=[cleaned]))) == []
    assert cleaned.split() in (["a", "cat"], ["acat"], ["cat"])


def test_lines_and_other_scripts_are_no_faults():
    for fine in ("two\nlines", "一　二", "می‌خواهم", "A: cat\nB: dog"):
        assert list(text.check_whitespace(record(answers=[fine]))) == []
        assert clean_whitespace(fine) == fine


def test_whitespace_across_the_set():
    commas = [record(str(n), "Cat, dog?", ["x"]) for n in range(3)] + [record("odd", "Cat , dog?", ["x"])]
    assert ids(text.check_space_before_punctuation(commas)) == ["odd"]
    # All alike: a convention, as of the published VQA sets that write "car ?".
    assert list(text.check_space_before_punctuation([record("1", "A car ?"), record("2", "A van ?")])) == []
    sizes = [record("1", answers=["5 mm"]), record("2", answers=["5 mm"]), record("3", answers=["5mm"])]
    found = list(
        text.check_spacing_of_answers([*sizes, record("4", answers=["1 2"]), record(answers=["12"])])
    )
    assert ids(found) == ["3"] and "'5 mm' elsewhere (2 times)" in found[0].reason


def test_rarer_tone_placement():
    old = [record(str(n), answers=["Khánh Hòa"]) for n in range(3)]
    assert list(text.check_tone_placement(old)) == []
    found = list(text.check_tone_placement([*old, record("new", answers=["sức khoẻ", "Huế"])]))
    assert ids(found) == ["new"] and found[0].details == {"field": "answers[0]"}
    assert "khoẻ" in found[0].reason and "new place" in found[0].reason


@pytest.mark.parametrize("answer", ["(Hà Nội]", "[Hà Nội)", "((a)]", "a) (b]"])
def test_pairs_of_a_bracket_and_a_parenthesis(answer):
    for kind in ("transcription", "extractive", "open_ended"):
        assert ids(text.check_brackets(record(answers=[answer], kind=kind))) == ["1"]
    assert list(text.check_brackets(record(answers=[answer], kind="mcq"))) == []


@pytest.mark.parametrize("answer", ["số [12", "12] a"])
def test_brackets_that_stand_alone(answer):
    assert ids(text.check_brackets(transcription("1", answer))) == ["1"]
    assert list(text.check_brackets(record(answers=[answer]))) == []  # somebody's own words, not read off


@pytest.mark.parametrize("answer", ["(a) [b]", "1) one", "(cut off", "[0, 1)", "f(x[1])", ":-)"])
def test_brackets_that_are_right(answer):
    assert list(text.check_brackets(transcription("1", answer))) == []


def test_the_same_text_in_brackets_and_parentheses():
    records = [transcription("1", "(a) b"), transcription("2", "[a] b"), transcription("3", "(a) b")]
    found = list(text.check_brackets_across([*records, transcription("4", "[c]")]))
    assert ids(found) == ["2"] and "'(a) b' elsewhere" in found[0].reason


def test_a_kind_of_bracket_that_is_hardly_ever_written():
    records = [transcription(str(number), f"({number})") for number in range(19)]
    found = list(text.check_brackets_across([*records, transcription("odd", "[x]")]))
    assert ids(found) == ["odd"] and "one of 1 texts with [], of 20" in found[0].reason
    assert list(text.check_brackets_across([*records[:8], transcription("odd", "[x]")])) == []
    assert list(text.check_brackets_across([*records, record("cited", answers=["[x]"])])) == []


def test_accepted_answers_and_candidates():
    choice = {"kind": "mcq", "answer_candidates": ["CT", "MRI"]}
    assert list(text.check_candidates(record(answers=["CT", "mri"], **choice))) == []
    assert ids(text.check_candidates(record(answers=["CT", "X-ray"], **choice))) == ["1"]


def test_contradictions():
    first = record("1", "Is it a cat?", ["yes"], "yes_no", answer_candidates=["yes", "no"])
    no = {**first, "id": "2", "question": "is it  a cat", "answers": ["No"]}
    found = list(text.check_contradictions([first, no, {**no, "id": "3", "image_sha256": ["b"]}]))
    assert ids(found) == ["2"] and found[0].details["other"] == "1"
    assert ids(
        text.check_contradictions([first, {**first, "id": "4", "answers": [], "answerable": False}])
    ) == ["4"]
    agreeing = [record("1", answers=["cat", "pet"]), record("2", answers=["Pet"])]
    assert list(text.check_contradictions(agreeing)) == []
    choice = record("1", answers=["a"], kind="mcq", answer_candidates=["a", "b"])
    assert (
        list(text.check_contradictions([choice, {**choice, "answers": ["c"], "answer_candidates": ["c"]}]))
        == []
    )


def test_decomposed_text_in_the_raw_row():
    decomposed = unicodedata.normalize("NFD", "Hà Nội")
    row = {
        "image": decomposed,
        "question": "a",
        "answers": ["Hà Nội", decomposed],
        "extra": {"k": [decomposed]},
    }
    found = list(text.check_unicode("1", "train", row))
    assert [suspicion.details["field"] for suspicion in found] == ["answers[1]", "extra.k[0]"]
    assert "decomposed (NFD)" in found[0].reason


def test_boxes_at_the_limits():
    def found(*boxes, kind="open_ended"):
        made = record(boxes=[list(box) for box in boxes], box_images=[0] * len(boxes), kind=kind)
        return [suspicion.reason.split("] ", 1)[-1] for suspicion in check_boxes(made)]

    assert found((0, 0, 50, 50), (1, 2, 100, 49.5)) == []
    assert found((-0.5, 0, 50, 50)) == ["leaves the image of 100x50 by up to a pixel"]
    assert found((3, 3, 4, 40)) == ["is less than 2 pixels wide or high"]
    assert found((0, 0, 100, 50)) == ["is the whole image"]
    assert found((0, 0, 100, 50), kind="transcription") == []
    assert found((5, 5, 9, 9), (5, 5, 9, 9)) == ["is given twice"]


# The pixels beside a lone stroke


def line_of_text(words, border=None, size=(240, 48), top=8, slant=0):
    image = Image.new("RGB", size, (236, 232, 220))
    draw = ImageDraw.Draw(image)
    draw.text((14, top), words, font=ImageFont.load_default(26), fill=(30, 30, 60))
    if border is not None:
        draw.line((border, 0, border + slant, size[1]), fill=(40, 40, 40), width=2)
    return image


@pytest.mark.parametrize(("border", "side"), [(2, "left"), (5, "left"), (237, "right")])
@pytest.mark.parametrize("slant", [0, 2])
def test_a_border_line_is_seen(border, side, slant):
    image = line_of_text("Cong hoa", border, slant=slant if side == "left" else -slant)
    assert has_border_line(image, side)
    assert not has_border_line(image, "right" if side == "left" else "left")
    cell = image.copy()
    ImageDraw.Draw(cell).line((0, 1, 240, 1), fill=(40, 40, 40), width=2)
    assert has_border_line(cell, side)


def test_frames_faint_lines_and_lines_with_gaps_are_seen():
    frame = line_of_text("Cong hoa")
    ImageDraw.Draw(frame).rectangle((1, 1, 238, 46), outline=(20, 20, 20), width=2)
    assert has_border_line(frame, "left") and has_border_line(frame, "right")
    faint, short = line_of_text("Cong hoa"), line_of_text("Cong hoa")
    ImageDraw.Draw(faint).line((3, 0, 3, 48), fill=(160, 160, 160), width=1)
    ImageDraw.Draw(short).line((3, 2, 3, 45), fill=(40, 40, 40), width=2)
    assert has_border_line(faint, "left") and has_border_line(short, "left")
    assert has_border_line(line_of_text("", 3), "left")


def test_letters_and_dark_edges_are_no_border_lines():
    for words in ("1 Cong hoa", "| Cong hoa", "I went", "lly"):
        assert not has_border_line(line_of_text(words), "left")
        tight = line_of_text(words)
        ink = tight.convert("L").point(lambda value: 255 * (value < 150)).getbbox()
        assert not has_border_line(tight.crop(ink), "left")  # the stroke is as high as the crop, as all is
    assert not has_border_line(Image.new("RGB", (200, 40), "white"), "left")
    bar = line_of_text("Cong hoa")
    ImageDraw.Draw(bar).rectangle((0, 0, 25, 48), fill=(20, 20, 20))
    assert not has_border_line(bar, "left")


def test_which_labels_have_a_lone_stroke():
    assert lone_stroke_sides("1 Cong hoa") == ["left"]
    assert lone_stroke_sides("Cong hoa |") == ["right"]
    assert lone_stroke_sides("|Cong hoa") == ["left"]
    assert lone_stroke_sides("1") == ["left", "right"]
    assert lone_stroke_sides("10 Cong l0") == lone_stroke_sides("a 1 b") == lone_stroke_sides("") == []


# Tokens

SIZES = [(64, 64), (100, 37), (333, 512), (640, 480), (90, 1000), (28, 29)]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl", "idefics3", "llava"])
def test_counts_are_those_of_the_processor(family, tmp_path):
    _, processor = build_tiny_model(family)
    limits = {"min_pixels": 3136, "max_pixels": 200_704} if family.startswith("qwen") else {}
    encoder = PromptEncoder(processor, **limits)
    counters = {
        "qwen2_vl": qwen_tokens(14, 3136, 200_704),
        "qwen3_vl": qwen_tokens(16, 3136, 200_704),
        "idefics3": idefics_tokens(64, 32, 4),
        "llava": lambda width, height: 16,
    }
    # LLaVA's template ends the line after the image; the tiny Idefics tokenizer writes "\n\n" as two tokens.
    newline = {"llava": 1, "idefics3": 1}.get(family, 0)
    for index, (width, height) in enumerate(SIZES):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (width, height), (index, 80, 160)).save(path)
        made = record(images=[str(path)], image_sizes=[[width, height]])
        (length,) = measure_lengths([made], "short", encoder)
        assert length.images == counters[family](width, height) + newline
        prompt = encoder.encode([made], "short")[0].input_ids
        assert length.total == len(prompt) + len(encoder.answer_ids("cat"))


SIDES = st.integers(1, 4000)


@given(
    SIDES, SIDES, st.sampled_from([14, 16]), st.none() | st.integers(1, 500), st.none() | st.integers(4, 9000)
)
def test_qwen_sizes_are_those_of_qwen_vl_utils(width, height, patch, least, most):
    unit = 2 * patch
    limits = [None if tokens is None else tokens * unit**2 + 7 for tokens in (least, most)]
    assume(None in limits or limits[0] <= limits[1])
    assume(most is not None or least is None)
    count = qwen_tokens(patch, *limits)
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError):
            count(width, height)
    else:
        rows, columns = smart_resize(height, width, unit, *limits)
        assert count(width, height) == rows * columns // unit**2 + 2


@given(SIDES, SIDES, st.sampled_from([(4, 364), (4, 512), (1, 384), (2, 30)]))
def test_idefics_tiles_are_those_of_its_processor(width, height, edges):
    times, tile = edges
    size, max_size = {"longest_edge": times * tile}, {"longest_edge": tile}
    processor = Idefics3ImageProcessor(size=size, max_image_size=max_size)
    _, rows, columns = processor.get_number_of_image_patches(height, width)
    assert idefics_tokens(times * tile, tile, 9)(width, height) == rows * (columns * 11 + 1) + 12


def test_published_counts_of_the_families():
    count = families()
    # 336 x 336 is 12 x 12 patches of 28; LLaVA-1.5 has 576 tokens whatever the image is.
    assert count["qwen2_vl"](336, 336) == 144 + 2 and count["llava (1.5)"](10, 900) == 576
    # A square is upscaled and cut into 4 x 4 tiles, and comes once more as a whole.
    assert count["smolvlm (256M, 500M)"](500, 500) == 17 * 64 + 16 * 2 + 4 + 3
    assert families(max_pixels=28 * 28 * 10)["qwen2_vl"](1000, 1000) <= 12


# Repairs


def test_fixes_are_lossless_and_listed():
    dirty = record(
        question="Where  is\tit? ", answers=["Hòa\u00a0Bình", "\u200b"], caption="thuỷ ", kind="mcq",
        boxes=[[-0.5, 2, 100.4, 50]], box_images=[0], answer_candidates=["a", "a "], reasoning=["x"],
    )  # fmt: skip
    fixed, fixes = fix_record(dirty, "new")
    assert {name: fixed[name] for name in fixed if fixed[name] != dirty[name]} == {
        "question": "Where is it?",
        "answers": ["Hoà Bình", "\u200b"],
        "caption": "thuỷ",
        "boxes": [[0, 2, 100, 50]],
    }
    assert [(fix["field"], fix["fix"]) for fix in fixes] == [
        ("question", "whitespace"), ("answers[0]", "whitespace"), ("answers[0]", "tone_placement"),
        ("caption", "whitespace"), ("boxes[0]", "boxes"),
    ]  # fmt: skip
    assert fixes[2] | {"id": "1", "before": "Hòa Bình", "after": "Hoà Bình"} == fixes[2]
    assert fix_record(fixed, "new") == (fixed, [])


@given(st.text(alphabet="ab \t\n\r\u00a0\u200b\u3000.,"))
def test_cleaning_keeps_every_visible_character(dirty):
    cleaned = clean_whitespace(dirty)
    assert clean_whitespace(cleaned) == cleaned
    visible = str.maketrans("", "", " \t\n\r\u00a0\u200b\u3000")
    assert cleaned.translate(visible) == dirty.translate(visible)


# The command


def test_clean_scenes_raise_no_suspicion(tmp_path, capsys):
    write_shapes(tmp_path, 60, seed=0, split="train")
    write_shapes(tmp_path, 30, seed=1, split="test")
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "suspicious.jsonl").read_text() == ""
    shown = capsys.readouterr().out
    assert "near_duplicate            0" in shown and "not checked: no --against" in shown


@pytest.fixture
def dirty_folder(tmp_path):
    """A folder with one fault of each kind that needs files."""
    folder = tmp_path / "in"
    (folder / "images").mkdir(parents=True)
    for seed in range(3):
        photograph(seed, 96).save(folder / f"images/{seed}.png")
    photograph(0, 96).save(folder / "images/again.jpg", quality=70)
    line_of_text("Cong hoa", 3).save(folder / "images/line.png")

    def row(name, image, question, answer, **more):
        return {"id": name, "images": [f"images/{image}"], "question": question, "answers": [answer], **more}

    text_row = {"question_type": "transcription"}
    rows = [
        row("fine", "1.png", "What is it?", "an organ", boxes=[[5, 5, 60, 60]]),
        row("copy", "0.png", "What is it?", "a cell"),
        row("nfd", "1.png", "Where?", unicodedata.normalize("NFD", "Hòa Bình")),
        row("new", "2.png", "Where?", "Thuỷ Nguyên "),
        row("old", "2.png", "Who?", "Hòa, Thúy"),
        row("stroke", "line.png", "Write it down.", "1 Cong hoa", **text_row),
        row("edge", "2.png", "What?", "this", boxes=[[0, 0, 96.5, 40]]),
        row("outside", "2.png", "What is there?", "this", boxes=[[0, 0, 99, 40]]),
        row("missing", "none.png", "What?", "this"),
        row("long", "2.png", "Describe it.", "many words " * 90 + "more."),
    ]
    write_jsonl(folder / "train.jsonl", rows)
    with open(folder / "train.jsonl", "a") as file:
        file.write("{not json}\n")
    write_jsonl(folder / "test.jsonl", [row("t", "again.jpg", "What is it?", "a cell")])
    return folder


def findings(path):
    return {(row["id"], row["check"]) for row in map(json.loads, path.read_text().splitlines())}


def test_command_finds_each_and_fixes_what_it_can(dirty_folder, tmp_path, capsys):
    other = tmp_path / "judged"
    other.mkdir()
    photograph(1, 96).resize((140, 140)).save(other / "x.png")
    write_jsonl(other / "test.jsonl", [{"id": "j", "image": "x.png", "question": "What?", "answer": "this"}])
    options = ["--against", str(other), "--max_length", "300", "--max_pixels", "100000"]
    assert main([str(dirty_folder), *options]) == 1
    errors = {("outside", "error"), ("missing", "error"), ("in/train/000010", "error")}
    fixable = {("nfd", "unicode"), ("new", "whitespace"), ("new", "tone_placement"), ("edge", "boxes")}
    kept = {("copy", "near_duplicate"), ("fine", "against"), ("nfd", "against"), ("stroke", "edge_stroke")}
    found = findings(dirty_folder / "suspicious.jsonl")
    lengths = {key for key in found if key[1] == "max_length"}
    assert found - lengths == errors | fixable | kept and ("long", "max_length") in lengths
    rows = [json.loads(line) for line in (dirty_folder / "suspicious.jsonl").read_text().splitlines()]
    by_key = {(row["id"], row["check"]): row for row in rows}
    copy = by_key["copy", "near_duplicate"]
    assert (copy["split"], copy["other"], copy["other_split"]) == ("train", "t", "test")
    assert by_key["missing", "error"]["where"] == "train.jsonl:9"
    assert set(by_key["long", "max_length"]["tokens"]) >= {"qwen2_vl", "qwen3_vl", "idefics3", "llava (1.5)"}
    assert "texts estimated, not tokenized" in capsys.readouterr().out

    out = tmp_path / "out"
    fixing = ["--fix", "--tone_placement", "new", "--output_dir", str(out)]
    assert main([str(dirty_folder), *options, *fixing]) == 1
    assert findings(out / "suspicious.jsonl") == found - fixable
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 12, "records": 9, "filtered": 0, "rejects": 3}
    counts = {"unicode": 1, "whitespace": 1, "tone_placement": 2, "boxes": 1}
    assert manifest["validate"] == {"fixes": counts}
    fixes = json.loads((out / "fixes.json").read_text())
    assert len(fixes) == 5
    written = {row["id"]: row for row in map(json.loads, (out / "train.jsonl").read_text().splitlines())}
    assert written["nfd"]["answers"] == ["Hoà Bình"] and written["old"]["answers"] == ["Hoà, Thuý"]
    assert written["edge"]["boxes"] == [[0, 0, 96, 40]] and written["new"]["answers"] == ["Thuỷ Nguyên"]
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [reject["where"] for reject in rejects] == ["train.jsonl:8", "train.jsonl:9", "train.jsonl:11"]


def test_a_model_counts_with_its_own_processor(dirty_folder, tmp_path, capsys):
    model = tmp_path / "tiny"
    weights, processor = build_tiny_model("qwen2_vl")
    weights.config.save_pretrained(model)
    processor.save_pretrained(model)
    options = ["--max_length", "500", "--model_name_or_path", str(model), "--output_dir", str(tmp_path / "o")]
    assert main([str(dirty_folder / "test.jsonl"), *options, "--max_pixels", "100352"]) == 0
    shown = capsys.readouterr().out
    assert "tiny" in shown and "estimated" not in shown and "llava" not in shown
    assert main([str(dirty_folder), *options]) == 1
    rows = [json.loads(line) for line in (tmp_path / "o/suspicious.jsonl").read_text().splitlines()]
    assert [(row["id"], list(row["tokens"])) for row in rows if row["check"] == "max_length"] == [
        ("long", ["tiny"])
    ]


def test_an_array_on_one_line_keeps_its_sound_rows(tmp_path):
    photograph(1, 64).save(tmp_path / "a.png")
    rows = [
        {"image": name, "question": "What?", "answer": "x"} for name in ("a.png", "b.png", "a.png", "c.png")
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    out = tmp_path / "out"
    assert main([str(tmp_path / "train.json"), "--fix", "--output_dir", str(out)]) == 1
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 4, "records": 2, "filtered": 0, "rejects": 2}


def test_half_a_surrogate_is_reported(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "What?", "answer": "\\ud800", "images": []}\n')
    assert main([str(tmp_path), "--output_dir", str(tmp_path / "o")]) == 1
    assert "surrogate" in (tmp_path / "o/suspicious.jsonl").read_text()


def test_mistakes(dirty_folder):
    for more, message in (
        (["--tone_placement", "new"], "serves --fix"),
        (["--fix", "--output_dir", str(dirty_folder)], "the folder that is read"),
        (["--answer_style", "long"], "choose short"),
        (["--min_pixels", "10", "--max_pixels", "5"], "larger than"),
        (["--against", "nowhere"], "nowhere"),
    ):
        with pytest.raises(UserError, match=message):
            main([str(dirty_folder), *more])
