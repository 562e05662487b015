"""Kinds of errors: each rule on its own, their order, and that every failure gets exactly one kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.questions import QUESTION_TYPES
from vqa.report.taxonomy import KINDS, RULES, answers_by_page, count_kinds, error_kind


def _row(pred="", answers=("right",), qtype="extractive", **fields) -> dict:
    row = {
        "id": "r", "pred": pred, "gt": None, "qtype": qtype, "answers": list(answers),
        "answerable": bool(answers), "source": "s", "confidence": 0.5, "abstained": False, "boxes": [],
        "gt_boxes": [], "answer_candidates": None, "caption": None, "reasoning": [], "valid_format": None,
        "raw": pred, "images": ["page.png"], "question": "Which?",
    }  # fmt: skip
    return row | fields


def test_the_order_of_precedence():
    assert KINDS == (
        "invalid format", "hallucinated", "over-abstained", "count off by one", "unit",
        "distractor on the page", "OCR miss", "near miss", "other",
    )  # fmt: skip
    assert tuple(RULES) == KINDS[:-1]


def test_invalid_format_comes_before_all_but_an_honest_abstention():
    broken = {"valid_format": False, "raw": '{"caption": "A'}
    assert error_kind(_row("4", ["3"], "count_numeric", **broken)) == "invalid format"
    assert error_kind(_row("4", [], **broken)) == "invalid format"
    assert error_kind(_row("", abstained=True, valid_format=False, raw="")) == "invalid format"
    # "unanswerable" is the whole answer in every style.
    said = _row("", abstained=True, valid_format=False, raw="unanswerable")
    assert error_kind(said) == "over-abstained"


def test_answering_at_all():
    assert error_kind(_row("17 EUR", [])) == "hallucinated"
    assert error_kind(_row("", abstained=True)) == "over-abstained"


@pytest.mark.parametrize(
    "pred, answer, kind",
    [
        ("4", "3", "count off by one"),
        ("two", "3", "count off by one"),
        ("There are 11 polyps.", "twelve", "count off by one"),
        ("5", "3", "other"),
        ("3 or 4", "2", "other"),
    ],
)
def test_counts(pred, answer, kind):
    assert error_kind(_row(pred, [answer], "count_numeric")) == kind


@pytest.mark.parametrize(
    "pred, answer, kind",
    [
        ("10 cm", "10 mm", "unit"),
        ("10 kg", "10 mm", "unit"),
        ("10", "1 cm", "unit"),  # millimetres, left out
        ("10 mm", "1", "unit"),
        ("0.45", "45%", "unit"),
        ("5-10 cm", "5-10 mm", "unit"),
        ("<5 cm", "5 mm", "other"),
        ("11.5 mm", "10 mm", "near miss"),
        ("1.2 cm", "10 mm", "near miss"),
        ("13 mm", "10 mm", "other"),
        ("0", "5 mm", "other"),
    ],
)
def test_sizes(pred, answer, kind):
    assert error_kind(_row(pred, [answer], "size_numeric")) == kind


def test_a_distractor_is_the_answer_to_another_question_of_the_page():
    other = _row(answers=["1,150.00"], id="other")
    row = _row("1,150.00", ["1,250.00"])
    pages = answers_by_page([row, other])
    assert error_kind(row, pages) == "distractor on the page"
    assert error_kind(row) == "OCR miss"  # nothing is known of the page
    assert error_kind(row | {"images": ["elsewhere.png"]}, pages) == "OCR miss"
    # Its own answer is no other's, and options of a closed set are not found on a page.
    assert error_kind(_row("1,250.00 ", ["x"]) | {"id": "other"}, answers_by_page([other])) == "other"
    closed = [_row("no", ["yes"], "yes_no"), _row("no", ["no"], "yes_no", id="other")]
    assert error_kind(closed[0], answers_by_page(closed)) == "other"


def test_a_distractor_is_pointed_at():
    beside = {"boxes": [[0, 0, 10, 10]], "gt_boxes": [[50, 50, 90, 90]]}
    assert error_kind(_row("something", ["entirely different"], **beside)) == "distractor on the page"
    assert error_kind(_row("R1ght", ["Right"], **beside)) == "OCR miss"
    touching = beside | {"boxes": [[0, 0, 60, 60]]}
    assert error_kind(_row("something", ["entirely different"], **touching)) == "other"


@pytest.mark.parametrize(
    "pred, answer, kind",
    [
        ("INV-2O19", "INV-2019", "OCR miss"),
        ("rnodern l1ving", "modern living", "OCR miss"),
        ("Duong Lang", "Đường Láng", "OCR miss"),
        ("1 260", "1260", "OCR miss"),
        ("Oak Sfreet 12", "Oak Street 12", "OCR miss"),
        ("1960", "1961", "OCR miss"),
        ("Oak Street", "32 Oak Street", "near miss"),
        ("the address is 32 Oak Street in Porto, as printed", "32 Oak Street", "near miss"),
        ("Elm Road", "32 Oak Street", "other"),
        ("7", "3", "other"),  # every character another: not the same text misread
    ],
)
def test_readings(pred, answer, kind):
    assert error_kind(_row(pred, [answer])) == kind


def test_only_readings_are_misread():
    assert error_kind(_row("left lunq", ["left lung"], "open_ended")) == "near miss"
    assert error_kind(_row("left lunq", ["left lung"], "transcription")) == "OCR miss"


def test_closed_types_are_near_only_by_whole_words():
    assert error_kind(_row("triangle", ["rectangle"], "mcq")) == "other"
    assert error_kind(_row("light blue", ["blue"], "color")) == "near miss"
    assert error_kind(_row("red", ["green"], "color")) == "other"


@given(
    pred=st.text(max_size=30), answers=st.lists(st.text(max_size=30), max_size=3),
    qtype=st.sampled_from(sorted(QUESTION_TYPES)), abstained=st.booleans(),
    valid_format=st.sampled_from([True, False, None]), boxes=st.sampled_from([[], [[0, 0, 5, 5]]]),
)  # fmt: skip
def test_every_failure_gets_a_kind(pred, answers, qtype, abstained, valid_format, boxes):
    row = _row(pred, answers, qtype, abstained=abstained, valid_format=valid_format, boxes=boxes)
    kind = error_kind(row, answers_by_page([row]))
    assert kind in KINDS
    first = next((name for name, rule in RULES.items() if rule(row, ())), "other")
    assert kind == first


def test_counting():
    assert count_kinds(["other", "unit", "other"]) == {"unit": 1, "other": 2}
    assert list(count_kinds(["other", "unit"])) == ["unit", "other"]
