"""Caption and reasoning of easy-VQA: true, short, the same for all questions of a picture."""

import pytest

from vqa.datasets.easy_vqa_shapes import Shape
from vqa.datasets.easy_vqa_texts import claim, name, published_words, write_caption, write_reasoning

LIGHT = (235, 240, 250)


def shape(box=(4, 4, 14, 14), form="circle", color="teal", size=(64, 64), ground=LIGHT):
    return Shape(list(box), size, form, color, ground)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("is a teal shape present?", ("teal shape", False)),
        ("is there a circle?", ("circle", False)),
        ("does the image contain a red shape?", ("red shape", False)),
        ("is no circle present?", ("circle", True)),
        ("is there not a circle in the image?", ("circle", True)),
        ("does the image not contain a gray shape?", ("gray shape", True)),
        ("what color is the shape?", None),
        ("does the image lack a circle?", None),
        ("is there a pink shape?", None),
    ],
)
def test_claim(question, expected):
    assert claim(question) == expected


def test_words_of_a_picture():
    pairs = [
        ("is there not a circle?", "no"),
        ("is no red shape present?", "yes"),
        ("is there a triangle?", "no"),
        ("what color is the circle?", "teal"),
        ("is there a blue shape?", "maybe"),
    ]
    assert published_words(pairs) == ({"circle", "teal"}, {"red", "triangle"})


def test_name():
    assert name({"teal", "circle"}, set(), None) == "teal circle"
    assert name({"teal"}, set(), None) == "teal shape"
    assert name(set(), set(), None) == ""
    assert name(set(), set(), shape()) == "teal circle"
    # The published words count; where they contradict each other or the pixels, the word is left out.
    assert name({"red"}, set(), shape()) == "red circle"
    assert name({"red", "blue"}, set(), shape()) == "circle"
    assert name(set(), {"circle"}, shape()) == "teal shape"
    assert name(set(), set(), shape(form=None, color=None)) == "shape"


def test_captions():
    captions = {write_caption("teal circle", shape(), str(key)) for key in range(40)}
    assert captions == {
        "a small teal circle on a light background",
        "a small teal circle at the top left",
        "at the top left, a small teal circle",
    }
    assert write_caption("teal circle", shape(), "7") == write_caption("teal circle", shape(), "7")
    middle = {write_caption("red shape", shape((16, 16, 48, 48)), str(key)) for key in range(40)}
    assert "a large red shape in the center" in middle
    # Between two places none is named; of a middling size and ground nothing is said.
    vague = shape((11, 11, 31, 31), ground=(120, 160, 120))
    assert {write_caption("circle", vague, str(key)) for key in range(40)} == {"a circle"}
    assert write_caption("teal shape", None, "1") == "a teal shape"
    assert write_caption("", None, "1") is None


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("what color is the circle?", "teal", ["There is a teal circle.", "Its color is teal."]),
        ("what shape is present?", "circle", ["There is a teal circle.", "Its shape is a circle."]),
        ("is there a circle?", "yes", ["There is a teal circle."]),
        ("is there a red shape?", "no", ["There is a teal circle.", "No red shape is there."]),
        ("is there not a circle?", "no", ["There is a teal circle.", "So it is not absent."]),
        ("is no red shape present?", "yes", ["There is a teal circle.", "So a red shape is absent."]),
        ("is anything there?", "yes", ["There is a teal circle."]),
    ],
)
def test_reasoning(question, answer, expected):
    assert write_reasoning(question, answer, "teal circle") == expected
    assert write_reasoning(question, answer, "") == []
