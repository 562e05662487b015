"""`balance`: what counts as blank, exact shares, and that nothing but the surplus goes."""

import io
import itertools
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from vqa.errors import UserError
from vqa.ink import DEFAULT_BLANK_INK, ink_share_of
from vqa.preparation.balance import exact_ratio, main, parse_caps
from vqa.preparation.shares import Limits, choose, greatest_total, parse_share, parse_shares

FONT = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
PAGE, CROP = (620, 877), (200, 64)


def paper(size=PAGE, color=(240, 238, 228)):
    return Image.new("RGB", size, color)


def written(image, text, xy, size=24, fill=(25, 25, 30)):
    image = image.copy()
    ImageDraw.Draw(image).text(xy, text, font=ImageFont.truetype(FONT, size), fill=fill)
    return image


def grain(image, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def salt_and_pepper(image, share):
    pixels, draw = np.array(image), np.random.default_rng(1).random((image.height, image.width))
    pixels[draw < share / 2], pixels[draw > 1 - share / 2] = 0, 255
    return Image.fromarray(pixels)


def uneven(image):
    """Light that falls off to one side and to the corners."""
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    light = (0.75 + 0.25 * x) * (1 - 0.15 * (x * x + y * y))
    return Image.fromarray((np.asarray(image) * light[..., None]).astype(np.uint8))


def shadow(image, blur=0):
    mask, (width, height) = Image.new("L", image.size, 0), image.size
    corner = [(0, height), (0, height * 0.4), (width * 0.5, height * 0.6), (width * 0.7, height)]
    ImageDraw.Draw(mask).polygon(corner, fill=255)
    mask = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur))) / 255
    return Image.fromarray((np.asarray(image) * (1 - 0.45 * mask[..., None])).astype(np.uint8))


def scanner_bed(image):
    image, (width, height) = image.copy(), image.size
    ImageDraw.Draw(image).rectangle([0, 0, width * 0.06, height], fill=(14, 14, 14))
    ImageDraw.Draw(image).rectangle([0, height * 0.93, width, height], fill=(9, 9, 9))
    return image


def jpeg(image, quality=35):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def ruled(image):
    image = image.copy()
    for y in range(50, image.height - 10, 36):
        ImageDraw.Draw(image).line([0, y, image.width, y + 1], fill=(150, 170, 210))
    return image


def cell(image):
    """A cell cut out of a table, with the borders that were cut along with it."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle([0, 0, image.width - 1, image.height - 1], outline=0)
    ImageDraw.Draw(image).line([0, image.height - 5, image.width, image.height - 5], fill=0, width=2)
    ImageDraw.Draw(image).line([6, 0, 6, image.height], fill=0)
    return image


def disc(fill="red"):
    image = paper((64, 64))
    ImageDraw.Draw(image).ellipse([8, 8, 56, 56], fill=fill)
    return image


def box(image, left=100, fill=(128, 128, 128), side=80):
    image = image.copy()
    ImageDraw.Draw(image).rectangle([left, 60, left + side, 60 + side], fill=fill)
    return image


BLANK = {
    "white": paper(color="white"),
    "cream": paper(),
    "dark": paper(color=(12, 14, 13)),
    "blue": paper(color=(20, 40, 110)),
    "uneven light": uneven(paper()),
    "hard shadow": shadow(paper()),
    "soft shadow": shadow(paper(), blur=15),
    "shadow within the page": Image.blend(paper(), box(paper(), 200, (0, 0, 0), 220), 0.4).filter(
        ImageFilter.GaussianBlur(40)
    ),
    "grain": grain(paper(), 20),
    "grain on dark": grain(paper(color=(25, 28, 25)), 10),
    "salt and pepper": salt_and_pepper(paper((1240, 1754)), 0.01),
    "scanner bed": scanner_bed(paper()),
    "bad photograph": jpeg(grain(shadow(uneven(scanner_bed(paper())), 10), 8)),
    "ruled": ruled(paper()),
    "crop": paper(CROP),
    "crop, grain, JPEG": jpeg(grain(paper(CROP, (210, 205, 190)), 12)),
    "crop, uneven": uneven(paper(CROP)),
    "crop, shadow": shadow(paper(CROP), 2),
    "cell": cell(paper(CROP)),
    "pixel": paper((1, 1)),
    "line of pixels": paper((300, 1)),
}
INKED = {
    "word": written(paper(), "Total", (100, 200)),
    "number on a large page": written(paper((1240, 1754)), "12", (400, 900), 30),
    "pencil": written(paper(), "bút chì", (100, 200), fill=(195, 190, 180)),
    "chalk": written(paper(color=(20, 35, 28)), "E = mc²", (100, 200), fill=(215, 215, 215)),
    "yellow on white": written(paper(color="white"), "yellow", (100, 200), fill=(255, 240, 90)),
    "red on grey of its lightness": written(
        paper(color=(110, 110, 110)), "red", (100, 200), fill=(200, 75, 70)
    ),
    "under a shadow": written(shadow(paper()), "Hello", (60, 700)),
    "in a bad photograph": jpeg(
        grain(written(shadow(uneven(scanner_bed(paper())), 10), "Số tiền", (150, 300)), 8)
    ),
    "in grain": grain(written(paper(), "Total amount", (100, 200)), 20),
    "on ruled paper": written(ruled(paper()), "hello", (100, 200)),
    "lone 1": written(paper(CROP), "1", (90, 8), 40),
    "lone dot": written(paper(CROP), ".", (90, 8), 40),
    "dash": written(paper(CROP), "-", (90, 8), 40),
    "1 in a cell": written(cell(paper(CROP)), "1", (90, 8), 36),
    "large bold": written(paper((400, 200), (10, 10, 10)), "BOLD", (10, 30), 120, (255, 255, 255)),
    "large disc": disc(),
    "large grey disc": disc(fill=(120, 120, 118)),
    "grey square": box(paper((300, 200))),
    "grey square at the edge, in grain": grain(box(paper((300, 200)), 0), 8),
}


@pytest.mark.parametrize("name", BLANK)
def test_blank(name):
    assert ink_share_of(BLANK[name]) < DEFAULT_BLANK_INK


@pytest.mark.parametrize("name", INKED)
def test_not_blank(name):
    assert ink_share_of(INKED[name]) >= DEFAULT_BLANK_INK


def test_ink_is_a_share_of_the_area():
    image = paper((100, 100), "white")
    ImageDraw.Draw(image).rectangle([30, 30, 39, 49], fill="black")  # 200 of 10,000 pixels
    # The outermost 2% of each side are not looked at.
    assert ink_share_of(image) == pytest.approx(200 / 96**2, rel=0.05)


RATIOS = st.decimals(0, 1, places=4).map(float)


KINDS = ["yes_no", "color", "open_ended"]
ROWS = st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), max_size=12)
LIMITS = st.builds(
    Limits,
    blank=RATIOS.map(exact_ratio),
    counts=st.dictionaries(st.sampled_from(KINDS), st.integers(0, 8)),
    shares=st.dictionaries(st.sampled_from(KINDS), st.fractions(0, 1, max_denominator=7)),
)


def fits(cells, limits):
    """Whether so many records of each (type, blank) keep to the limits, in exact numbers."""
    total = sum(cells.values())
    of_type = {kind: sum(n for (name, _), n in cells.items() if name == kind) for kind in KINDS}
    return (
        sum(n for (_, blank), n in cells.items() if blank) <= limits.blank * total
        and all(of_type[kind] <= count for kind, count in limits.counts.items())
        and all(of_type[kind] <= share * total for kind, share in limits.shares.items())
    )


@settings(deadline=None)
@given(ROWS, LIMITS, st.integers(0, 3))
def test_what_stays_keeps_to_the_limits_and_is_as_much_as_can(rows, limits, seed):
    types, blank = [kind for kind, _ in rows], [flag for _, flag in rows]
    reasons = choose(types, blank, limits, str(seed))
    assert reasons == choose(types, blank, limits, str(seed))
    kept = Counter(row for index, row in enumerate(rows) if index not in reasons)
    assert fits(kept, limits)
    there = Counter(rows)
    every = itertools.product(*(range(count + 1) for count in there.values()))
    most = max(sum(numbers) for numbers in every if fits(dict(zip(there, numbers, strict=True)), limits))
    assert kept.total() == most
    for index, reason in reasons.items():
        assert reason == "blank" if reason == "blank" else reason == f"type {types[index]}"
        assert blank[index] or reason != "blank"


@given(st.integers(0, 10_000), st.integers(0, 10_000), RATIOS)
def test_as_many_blanks_as_the_ratio_allows_exactly(others, blanks, value):
    ratio = exact_ratio(value)
    kept = greatest_total({("color", False): others, ("color", True): blanks}, Limits(blank=ratio)) - others
    assert 0 <= kept <= blanks and kept <= ratio * (others + kept)
    assert kept == blanks or kept + 1 > ratio * (others + kept + 1)


def test_ratios_that_binary_numbers_miss():
    def blanks(others, there, ratio):
        return greatest_total({("color", False): others, ("color", True): there}, Limits(ratio)) - others

    assert blanks(7, 10, exact_ratio(0.3)) == 3
    assert blanks(9, 10, exact_ratio(0.1)) == 1
    assert blanks(5, 10, Fraction(0)) == 0
    assert blanks(0, 10, Fraction(1)) == 10
    assert blanks(0, 10, Fraction(99, 100)) == 0
    # A tenth of 100 is more than the float 0.1 times 100 could promise.
    shares = parse_shares("max_type_ratio", ["yes_no=0.1", "color=.9"])
    assert greatest_total({("yes_no", False): 50, ("color", False): 90}, Limits(shares=shares)) == 100


def test_another_seed_keeps_others():
    half = [True] * 20 + [False] * 20
    kept = {tuple(choose(["color"] * 40, half, Limits(Fraction(1, 5)), str(seed))) for seed in range(5)}
    assert len(kept) == 5


def test_an_inked_record_of_a_capped_type_stays_rather_than_a_blank_one():
    reasons = choose(["color"] * 4, [True, True, True, False], Limits(Fraction(0), {"color": 1}), "0")
    assert 3 not in reasons and len(reasons) == 3


@pytest.fixture
def cells(tmp_path):
    """Ten cells of which six are blank, one of them labelled as a word; a test split of two blank ones."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows = {"train": [], "test": []}
    for number in range(12):
        blank = number in (0, 2, 4, 6, 8, 9, 10, 11)
        image = grain(paper(CROP), 5)
        (image if blank else written(image, f"từ {number}", (40, 12), 32)).save(folder / f"{number}.png")
        row = {
            "id": f"c{number}",
            "images": [f"{number}.png"],
            "question": "Transcribe the text.",
            "answers": ["lỗi nhãn"] if number == 4 else [""] if blank else [f"từ {number}"],
            "question_type": "transcription",
        }
        if blank and number != 4:
            row |= {"answers": [], "answerable": False}
        rows["train" if number < 10 else "test"].append(row)
    for split, lines in rows.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_balance_keeps_order_and_counts_what_it_leaves_out(cells, tmp_path, capsys):
    main([str(cells), "--max_blank_ratio", "0.34", "--output_dir", str(tmp_path / "out")])
    kept = ids(tmp_path / "out" / "train.jsonl")
    assert len(kept) == 6 and kept == sorted(kept) and {"c1", "c3", "c5", "c7"} < set(kept)
    assert ids(tmp_path / "out" / "test.jsonl") == ["c10", "c11"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 12, "records": 8, "filtered": 4, "rejects": 0}
    assert manifest["filtered"] == {"blank": 4}
    assert manifest["balance"]["blanks"] == {"train": {"blank_before": 6, "blank": 2, "records": 6}}
    assert "2 of 6 records are blank (33.3%); 6 were" in capsys.readouterr().out
    main([str(cells), "--max_blank_ratio", "0.34", "--num_proc", "2", "--output_dir", str(tmp_path / "two")])
    assert ids(tmp_path / "two" / "train.jsonl") == kept


def test_caps_and_named_splits(cells, tmp_path):
    main([str(cells), "--max_per_type", "transcription=3", "--output_dir", str(tmp_path / "out")])
    assert len(ids(tmp_path / "out" / "train.jsonl")) == 3
    main(
        [
            str(cells),
            "--max_blank_ratio",
            "0",
            "--splits",
            "train",
            "test",
            "--output_dir",
            str(tmp_path / "no"),
        ]
    )
    assert ids(tmp_path / "no" / "train.jsonl") == ["c1", "c3", "c5", "c7"]
    assert not (tmp_path / "no" / "test.jsonl").exists()


def test_the_only_split_there_is(cells, tmp_path):
    lines = (cells / "train.jsonl").rename(tmp_path / "lines.jsonl")
    options = ["--max_blank_ratio", "0", "--image_root", str(cells), "--output_dir", str(tmp_path / "out")]
    main([str(lines), *options])
    assert ids(tmp_path / "out" / "lines.jsonl") == ["c1", "c3", "c5", "c7"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to balance"),
        (["--max_blank_ratio", "1.5"], "a share, from 0 to 1"),
        (["--max_blank_ratio", "nan"], "a share, from 0 to 1"),
        (["--max_blank_ratio", "0.3", "--splits", "dev"], "has train, test"),
        (["--max_blank_ratio", "0.3", "--num_proc", "0"], "at least 1"),
        (["--max_blank_ratio", "0.3", "--blank_ink", "2"], "--blank_ink 2.0"),
        (["--max_per_type", "yes_no"], "expected TYPE=COUNT"),
        (["--max_per_type", "colour=4"], "no such type"),
        (["--max_type_ratio", "colour=0.4"], "no such type"),
        (["--max_type_ratio", "transcription=2"], "expected NAME=SHARE"),
        (["--max_type_ratio", "transcription=0.4"], "no record of split train could stay"),
    ],
)
def test_mistakes(cells, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        main([str(cells), "--output_dir", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_caps_are_parsed():
    assert parse_caps(["yes_no=10", "color=0"]) == {"yes_no": 10, "color": 0}
    with pytest.raises(UserError, match="given twice"):
        parse_caps(["color=1", "color=2"])


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.1", "1/0", "0/0", "3/2", "1e-3", "nan", "0,4", "1/-2", "٣"]
)
def test_texts_that_are_no_share(text):
    with pytest.raises(ValueError):
        parse_share(text)


def test_shares_of_types(cells, tmp_path, capsys):
    rows = [json.loads(line) for line in (cells / "train.jsonl").read_text().splitlines()]
    for number in range(3):
        extra = {
            "id": f"n{number}",
            "question": "is there text?",
            "answers": ["yes"],
            "question_type": "yes_no",
        }
        rows.append(rows[1] | extra)
    (cells / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--max_type_ratio", "transcription=2/3", "yes_no=0.5", "--output_dir", str(tmp_path / "out")]
    main([str(cells), *options])
    kept = ids(tmp_path / "out" / "train.jsonl")
    # Six transcriptions beside three others are two thirds.
    assert len(kept) == 9 and [name for name in kept if name[0] == "n"] == ["n0", "n1", "n2"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 15, "records": 11, "filtered": 4, "rejects": 0}
    assert manifest["filtered"] == {"type transcription": 4}
    assert manifest["balance"]["max_type_ratio"] == {"transcription": "2/3", "yes_no": "1/2"}
    assert "type transcription" in capsys.readouterr().out


def test_an_image_that_cannot_be_read_is_named(cells, tmp_path):
    (cells / "3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3\.png: is not an image"):
        main([str(cells), "--max_blank_ratio", "0.3", "--output_dir", str(tmp_path / "out")])
