"""OCR of the document teacher: real engines on drawn pages, the cache, words that records bring along."""

import importlib.util
import itertools
import json
import shutil
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from vqa.cli import parse_arguments
from vqa.documents.ocr import (
    ENGINES,
    OcrArguments,
    PageReader,
    build_engine,
    build_page_reader,
    read_pages,
)
from vqa.documents.ocr_engines import word_spans
from vqa.documents.pages import OcrPage, Word
from vqa.documents.reading_order import arrange, join_neighbours
from vqa.errors import UserError

FORM = [
    ("Invoice", 30, 20), ("Number 4711", 420, 20),
    ("Customer", 30, 80), ("Jane Doe", 420, 80),
    ("Item", 30, 160), ("Units", 300, 160), ("Price", 480, 160),
    ("Blue paint", 30, 200), ("7", 310, 200), ("12.50", 480, 200),
    ("Brushes", 30, 240), ("35", 305, 240), ("4.20", 480, 240),
]  # fmt: skip
FORM_TEXT = """Invoice Number 4711
Customer Jane Doe
Item Units Price
Blue paint 7 12.50
Brushes 35 4.20"""


@pytest.fixture(scope="module")
def reader():
    """rapidocr without a cache."""
    return build_page_reader(OcrArguments(ocr_cache_dir="", ocr_threads=1))


def draw(texts, size=(600, 290), height=22):
    """A page with texts at (x, y), and the box of each word's ink."""
    font = ImageFont.truetype("DejaVuSans.ttf", height)
    page, boxes = Image.new("RGB", size, "white"), []
    pen = ImageDraw.Draw(page)
    for text, x, y in texts:
        pen.text((x, y), text, fill="black", font=font)
        for match_start, match_end in word_spans(text):
            left = x + font.getlength(text[:match_start])
            box = font.getbbox(text[match_start:match_end])
            boxes.append(
                (text[match_start:match_end], [left + box[0], y + box[1], left + box[2], y + box[3]])
            )
    return page, boxes


def iou(left, right):
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)]
    return common / (sum(areas) - common)


def assert_boxes(page, boxes, least=0.6):
    """Every drawn word was read, and its box lies on it."""
    assert sorted(word.text for word in page.words) == sorted(text for text, _ in boxes)
    for text, box in boxes:
        assert max(iou(word.box, box) for word in page.words if word.text == text) > least, text


def test_words_boxes_and_lines(reader):
    image, boxes = draw(FORM)
    page = reader.read(image)
    assert page.size == (600, 290)
    assert page.text == FORM_TEXT
    assert_boxes(page, boxes)
    assert [word.line for word in page.words] == sorted(word.line for word in page.words)
    assert all(0.8 < word.confidence <= 1 for word in page.words)


def test_letters_in_light_on_dark_between_rules(reader):
    image, boxes = draw(FORM)
    image = Image.fromarray(255 - np.asarray(image) // 2)
    pen = ImageDraw.Draw(image)
    for y in (110, 190, 232):
        pen.line((10, y, 590, y - 6), fill=(200, 200, 90), width=2)
    for x in (280, 460):
        pen.line((x, 110, x + 2, 280), fill=(200, 200, 90), width=2)
    page = reader.read(image)
    assert page.text == FORM_TEXT
    assert_boxes(page, boxes)


@pytest.mark.parametrize("degrees", [-2.5, 2.5])
def test_skewed_rows_stay_together(reader, degrees):
    wide = [(text, x * 2, y + 40) for text, x, y in FORM]  # 2.5 degrees over this width are two lines
    image, _ = draw(wide, size=(1240, 380))
    assert reader.read(image.rotate(degrees, fillcolor="white", resample=Image.Resampling.BICUBIC)).text == (
        FORM_TEXT
    )


def test_columns_of_running_text_are_read_one_after_the_other(reader):
    left = [
        "The quick brown fox jumps",
        "over the lazy dog and",
        "runs away to the river",
        "where it drinks at night",
    ]
    right = [
        "A second column tells of",
        "other things that do not",
        "belong to the first one",
        "and ends a bit below it",
    ]
    heading = [("A heading that stands over both of the columns", 60, 20)]
    rows = [(text, 30, 70 + 34 * row) for row, text in enumerate(left)]
    rows += [(text, 420, 78 + 34 * row) for row, text in enumerate(right)]
    below = ("Below them a line that is as wide as both", 60, 250)
    image, _ = draw([*heading, *rows, below], size=(780, 300))
    assert reader.read(image).text.split("\n") == [heading[0][0], *left, *right, below[0]]


def test_page_without_text(reader):
    for image in (Image.new("RGB", (300, 200), "white"), Image.new("RGB", (1, 1)), Image.new("L", (2000, 3))):
        assert reader.read(image) == OcrPage((), image.size)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert reader.read(Image.fromarray(noise)).words == ()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_pages(reader, turns):
    image, boxes = draw(FORM)
    page = reader.read(Image.fromarray(np.rot90(np.asarray(image), turns)))
    assert page.text == FORM_TEXT
    assert page.size == (image.size if turns == 2 else image.size[::-1])
    width, height = image.size
    turned = {
        1: lambda x0, y0, x1, y1: (y0, width - x1, y1, width - x0),
        2: lambda x0, y0, x1, y1: (width - x1, height - y1, width - x0, height - y0),
        3: lambda x0, y0, x1, y1: (height - y1, x0, height - y0, x1),
    }[turns]
    assert_boxes(page, [(text, turned(*box)) for text, box in boxes])


def test_file_with_exif_orientation(reader, tmp_path):
    image, boxes = draw(FORM)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise when shown
    Image.fromarray(np.rot90(np.asarray(image))).save(tmp_path / "page.png", exif=exif)
    page = reader.read(tmp_path / "page.png")
    assert page.size == image.size and page.text == FORM_TEXT
    assert_boxes(page, boxes)


def test_tall_page(reader):
    texts = [
        (f"Line number {1000 + row}", 40 + 3 * (row % 50), y) for row, y in enumerate(range(30, 19_950, 331))
    ]
    image, boxes = draw(texts, size=(720, 20_000))
    page = reader.read(image)
    assert page.text.split("\n") == [text for text, _, _ in texts]
    for word, (text, box) in zip(page.words, boxes, strict=True):
        assert word.text == text and iou(word.box, box) > 0.6


def test_wide_page_and_line_across_tiles(reader):
    line = " ".join(f"word{number}" for number in range(100, 135))
    image, boxes = draw([(line, 20, 20)], size=(5100, 70), height=26)
    page = reader.read(image)
    assert page.text == line
    assert_boxes(page, boxes, least=0.5)


def test_large_page_is_reduced_and_boxes_are_not(reader):
    image, boxes = draw(FORM)
    page = reader.read(image.resize((image.width * 5, image.height * 5)))
    assert page.text == FORM_TEXT
    assert_boxes(page, [(text, [edge * 5 for edge in box]) for text, box in boxes])


def test_strip_of_one_line_and_a_lone_digit(reader):
    assert reader.read(draw([("Total amount 12.50", 3, 2)], size=(260, 30))[0]).text == "Total amount 12.50"
    assert reader.read(draw([("7", 8, 4)], size=(40, 34))[0]).text == "7"


def test_no_network_is_asked(monkeypatch):
    def refused(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    engine = build_engine(threads=1)
    pieces = engine.read(np.asarray(draw([("Hello world", 30, 30)], size=(240, 90))[0]))
    assert [word.text for piece in pieces for word in piece] == ["Hello", "world"]


@pytest.mark.skipif(importlib.util.find_spec("trueocr") is None, reason="needs the extra `trueocr`")
def test_trueocr_reads_vietnamese_skewed_and_upside_down_too():
    reader = build_page_reader(OcrArguments(ocr_engine="trueocr", ocr_cache_dir="", ocr_threads=1))
    lines = ["Kính gửi Ban giám hiệu nhà trường", "Mẹ dặn con nhớ mang áo mưa"]
    image, boxes = draw([(line, 60, 60 + 60 * row) for row, line in enumerate(lines)], size=(700, 300))
    assert_boxes(reader.read(image), boxes)
    for degrees in (0, 2, -2, 180):
        turned = image.rotate(degrees, fillcolor="white", resample=Image.Resampling.BICUBIC)
        assert reader.read(turned).text.split("\n") == lines, degrees


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs the program tesseract")
def test_tesseract():
    reader = build_page_reader(OcrArguments(ocr_engine="tesseract", ocr_cache_dir=""))
    image, boxes = draw([("Blue paint and brushes", 30, 40), ("Jane Doe", 30, 100)], size=(420, 160))
    page = reader.read(image)
    assert page.text == "Blue paint and brushes\nJane Doe"
    assert_boxes(page, boxes)
    with pytest.raises(UserError, match="language xxx is not installed; run `apt install tesseract-ocr-xxx`"):
        build_engine("tesseract", ["xxx"])


class Counting:
    """An engine that reads the same two words everywhere; two threads in it at once are an error."""

    name, version, languages = "counting", "1", ()
    short_side, legible, parallel = 1000, 0.5, False

    def __init__(self):
        self.calls, self.inside = 0, threading.Lock()

    def read(self, pixels):
        assert self.inside.acquire(blocking=False)
        time.sleep(0.01)
        self.calls += 1
        self.inside.release()
        return [[Word("sure", (1, 1, 9, 5), 0.9, -1), Word("not", (10, 1, 18, 5), 0.6, -1)]]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "page.png"
    Image.new("RGB", (30, 20), "white").save(path)
    return path


def cache_files(folder):
    return sorted(folder.iterdir())


def test_cache_is_read_instead_of_the_image(tmp_path, picture):
    engine = Counting()
    first = PageReader(engine, tmp_path / "cache").read(picture)
    again = PageReader(engine, tmp_path / "cache")
    assert again.read(picture) == first and again.read(str(picture)) == first
    assert engine.calls == 1
    assert [path.suffix for path in cache_files(tmp_path / "cache")] == [".json"]
    # Another image, another version of the engine, another language.
    again.read(Image.new("RGB", (30, 21)))
    assert engine.calls == 2
    engine.version = "2"
    again.read(picture)
    engine.languages = ("vi",)
    again.read(picture)
    assert engine.calls == 4 and len(cache_files(tmp_path / "cache")) == 4


def test_threshold_is_applied_after_the_cache(tmp_path, picture):
    engine = Counting()
    texts = {}
    for threshold in (0.0, 0.6, 0.75, 0.95):
        texts[threshold] = PageReader(engine, tmp_path / "cache", threshold).read(picture).text
    assert texts == {0.0: "sure not", 0.6: "sure not", 0.75: "sure", 0.95: ""}
    assert engine.calls == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b'{"size": [30], "words": []}',
        b'{"size": [30, 20], "words": [{"text": "x", "box": [1, 1, 1, 5], "confidence": 1, "line": 0}]}',
        b'{"size": [30, 20], "words": [{"text": "x", "box": null, "confidence": 1, "line": 0}]}',
    ],
)  # fmt: skip
def test_damaged_cache_file_is_read_anew(tmp_path, picture, damage):
    engine = Counting()
    reader = PageReader(engine, tmp_path / "cache")
    page = reader.read(picture)
    (path,) = cache_files(tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert reader.read(picture) == page and engine.calls == 2
    assert path.read_bytes() == whole


def test_full_disk(tmp_path, picture, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqa.files.os.fsync", full)
    with pytest.raises(
        UserError, match=r"OCR cache .*cache: cannot be written: No space left on device; free some"
    ) as error:
        PageReader(Counting(), tmp_path / "cache").read(picture)
    assert "\n" not in str(error.value)
    assert cache_files(tmp_path / "cache") == []


def test_cache_folder_that_is_a_file(tmp_path, picture):
    with pytest.raises(UserError, match="cannot be written"):
        PageReader(Counting(), picture).read(picture)


def test_threads_share_a_reader(tmp_path):
    pages = []
    for index in range(6):
        pages.append(tmp_path / f"{index}.png")
        Image.new("RGB", (30, 20), (index, 0, 0)).save(pages[-1])
    engine = Counting()
    reader = PageReader(engine, tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(reader.read, pages * 5))
    assert engine.calls == 6  # five threads want each page; one reads it
    assert {result.text for result in results} == {"sure not"}


def test_threads_read_what_one_reads(reader):
    images = [draw([(f"Page number {number}", 20, 20)], size=(260, 70))[0] for number in (117, 118, 119, 120)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reader.read, images)) == read_pages(images, reader)


def test_images_that_cannot_be_used(tmp_path):
    reader = PageReader(Counting(), max_pixels=100)
    with pytest.raises(UserError, match="image .*none.png: does not exist"):
        reader.read(tmp_path / "none.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match="more than the limit of 100"):
        reader.read(tmp_path / "large.png")
    with pytest.raises(UserError, match="image .*none.png: cannot be read: No such file"):
        PageReader(Counting(), tmp_path / "cache").read(tmp_path / "none.png")


@pytest.mark.parametrize(
    "name, module, install",
    [
        ("rapidocr", "rapidocr", r"pip install 'faithful-vqa\[ocr\]'"),
        ("rapidocr", "onnxruntime", r"pip install 'faithful-vqa\[ocr\]'"),
        ("paddleocr", "paddleocr", r"pip install 'faithful-vqa\[paddleocr\]'"),
        ("easyocr", "easyocr", r"pip install 'faithful-vqa\[easyocr\]'"),
        ("trueocr", "trueocr", r"pip install 'faithful-vqa\[trueocr\]'"),
    ],
)
def test_engine_that_is_not_installed(name, module, install, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"OCR engine {name}: {module} is not installed; run `{install}`"):
        build_page_reader(OcrArguments(ocr_engine=name))


def test_tesseract_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="tesseract: not installed; run `apt install tesseract-ocr"):
        build_engine("tesseract")


def test_arguments_that_are_wrong():
    with pytest.raises(UserError, match="--ocr_engine abbyy: choose from rapidocr, paddleocr, .*, record"):
        build_page_reader(OcrArguments(ocr_engine="abbyy"))
    with pytest.raises(UserError, match="--ocr_confidence_threshold 1.5: not from 0 to 1"):
        build_page_reader(OcrArguments(ocr_confidence_threshold=1.5))
    with pytest.raises(UserError, match="OCR engine rapidocr: no language 'vi'; it has en"):
        build_page_reader(OcrArguments(ocr_languages=["vi"]))


def test_arguments_are_options():
    argv = "--ocr_engine tesseract --ocr_languages vi en --ocr_confidence_threshold 0.4".split()
    (arguments,) = parse_arguments(OcrArguments, argv=argv)
    assert arguments.ocr_engine in ENGINES and arguments.ocr_languages == ["vi", "en"]
    assert arguments.ocr_confidence_threshold == 0.4 and arguments.ocr_cache_dir == ".cache/ocr"


def record(words, size=(200, 100), **more):
    return {"id": "r1", "images": ["a.png"], "image_sizes": [list(size)], "meta": {"ocr": words}} | more


def test_words_of_a_record():
    reader = build_page_reader(OcrArguments(ocr_engine="record", ocr_confidence_threshold=0.5))
    words = [
        {"text": "world", "box": [60, 11, 99, 29], "line": 3},
        {"text": "below", "box": [10, 50, 50, 70], "line": 7, "confidence": 0.5},
        {"text": "Hello", "box": [10, 10, 50, 30], "line": 3, "confidence": 1},
        {"text": "smudge", "box": [60, 50, 90, 70], "line": 7, "confidence": 0.4},
        {"text": "other", "box": [1, 1, 30, 20], "line": 0, "image": 1},
    ]
    pages = reader.read_record(record(words, images=["a", "b"], image_sizes=[[200, 100], [50, 40]]))
    assert [page.text for page in pages] == ["world Hello\nbelow", "other"]
    assert [page.size for page in pages] == [(200, 100), (50, 40)]
    assert pages[0].words[0] == Word("world", (60, 11, 99, 29), 1.0, 0)


def test_words_of_a_record_without_lines():
    # Two rows that fall by 3 degrees; their cells are further apart than words.
    places = [(x, 20 + row * 30 + 0.05 * x) for row in (0, 1) for x in (10, 45, 90, 300, 340)]
    words = [{"text": f"w{number}", "box": [x, y, x + 30, y + 16]} for number, (x, y) in enumerate(places)]
    (page,) = build_page_reader(OcrArguments(ocr_engine="record")).read_record(
        record(words[::-1], (400, 100))
    )
    assert page.text == "w0 w1 w2 w3 w4\nw5 w6 w7 w8 w9"


@pytest.mark.parametrize(
    "words, message",
    [
        (None, r"record r1: meta.ocr: no list of words"),
        ([{"text": "x"}], r"record r1: meta.ocr\[0\]: not of the form"),
        (["x"], r"meta.ocr\[0\]: not of the form"),
        ([{"text": 3, "box": [1, 1, 2, 2]}], "text is a string"),
        ([{"text": "x", "box": [2, 1, 1, 2]}], "x0 < x1"),
        ([{"text": "x", "box": [1, 1, 2, 2], "confidence": 7}], "confidence is from 0 to 1"),
        ([{"text": "x", "box": [1, 1, 2, 2], "image": 1}], "image 1: the record has 1"),
    ],
)
def test_words_of_a_record_that_are_wrong(words, message):
    with pytest.raises(UserError, match=message):
        build_page_reader(OcrArguments(ocr_engine="record")).read_record(record(words))


def test_record_through_an_engine(picture):
    reader = PageReader(Counting())
    (page,) = reader.read_record({"id": "r1", "images": [str(picture)], "meta": {}})
    assert page.text == "sure not"


SIDES = st.integers(0, 400)
BOXES = st.tuples(SIDES, SIDES, st.integers(1, 90), st.integers(5, 40)).map(
    lambda box: (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
)
WORDS = st.builds(Word, st.text(min_size=1), BOXES, st.floats(0, 1), st.integers(0, 50))


@given(st.lists(WORDS), st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)))
def test_json_round_trip(words, size):
    page = OcrPage(tuple(words), size)
    assert OcrPage.from_json(json.loads(json.dumps(page.to_json()))) == page


@given(st.lists(WORDS))
def test_lines_cover_the_words_in_order(words):
    words = sorted(words, key=lambda word: word.line)
    page = OcrPage(tuple(words), (600, 600))
    assert list(itertools.chain(*page.lines)) == list(range(len(words)))
    assert len(page.lines) == len({word.line for word in words})


@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), max_size=25))
def test_arranging_keeps_every_word_on_the_page(pieces):
    page = arrange(pieces, (300, 300))
    inside = [word.text for piece in pieces for word in piece if word.box[0] < 300 and word.box[1] < 300]
    assert sorted(word.text for word in page.words) == sorted(normalize("NFC", text) for text in inside)
    assert all(0 <= w.box[0] < w.box[2] <= 300 and 0 <= w.box[1] < w.box[3] <= 300 for w in page.words)
    numbers = [word.line for word in page.words]
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(page.lines)))
    for line in page.lines:
        starts = [page.words[index].box[0] for index in line]
        assert starts == sorted(starts)


@given(st.lists(WORDS, max_size=30), st.randoms())
def test_neighbours_do_not_depend_on_the_order_of_words(words, random):
    words = [replace(word, text=str(number)) for number, word in enumerate(words)]
    places = [word.box[:2] for word in words]
    shuffled = random.sample(words, len(words))
    joined = join_neighbours(shuffled)
    assert sorted(word.text for piece in joined for word in piece) == sorted(word.text for word in words)
    if len(set(places)) == len(places):
        assert joined == join_neighbours(words)


@given(st.text(alphabet="ab:7 \t☐▲é本/", max_size=30))
def test_word_spans_hold_all_that_is_visible(text):
    words = [text[start:end] for start, end in word_spans(text)]
    assert "".join(words) == "".join(text.split())
    assert all(word and not any(letter.isspace() for letter in word) for word in words)


@pytest.mark.parametrize(
    "text, words",
    [
        ("Jane  Doe ", ["Jane", "Doe"]),
        ("☐Male ☒ Female", ["☐", "Male", "☒", "Female"]),
        ("▲38.6%", ["▲", "38.6%"]),
        ("Total:5.00 at 10:41", ["Total:", "5.00", "at", "10:41"]),
        ("Card:**** 11", ["Card:", "****", "11"]),
        ("http://x.org", ["http://x.org"]),
        ("", []),
    ],
)
def test_word_spans(text, words):
    assert [text[start:end] for start, end in word_spans(text)] == words
