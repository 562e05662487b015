"""Answers written and read; the strict parser against text of every kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.answers import (
    MAX_BOXES,
    THINK_CLOSE,
    StructuredAnswer,
    complete_structured,
    complete_structured_head,
    complete_think_head,
    is_abstention,
    is_field,
    parse_answer,
    parse_structured,
    read_fields,
    write_structured,
    write_think,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BOX = st.tuples(*[st.integers(0, 900)] * 2, *[st.integers(1, 90)] * 2).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
ANSWER = st.builds(
    StructuredAnswer, TEXT, st.lists(TEXT, max_size=3), st.lists(BOX, max_size=3), TEXT.filter(bool)
)
GOOD = '{"caption": "c", "reasoning": ["r"], "boxes": [[1, 2, 3, 4]], "answer": "a"}'


@given(ANSWER)
def test_structured_round_trip(answer):
    assert parse_structured(write_structured(answer)) == answer


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | TEXT, st.lists).map(json.dumps))
def test_parser_never_raises(text):
    parse_structured(text)
    for style in ("short", "structured", "think", "transcribe"):
        parse_answer(text, style)


def test_compact_form_keeps_letters():
    answer = StructuredAnswer("phố", [], [[0, 0, 1, 1]], 'a "b"')
    assert (
        write_structured(answer)
        == '{"caption": "phố", "reasoning": [], "boxes": [[0, 0, 1, 1]], "answer": "a \\"b\\""}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        GOOD + " ",
        " " + GOOD,
        GOOD + GOOD,
        f"```json\n{GOOD}\n```",
        GOOD[:-1],
        GOOD.replace('"caption": "c", ', ""),
        GOOD.replace('{"caption"', '{"extra": 1, "caption"'),
        GOOD.replace('{"caption"', '{"caption": "b", "caption"'),
        GOOD.replace('"caption": "c", "reasoning": ["r"]', '"reasoning": ["r"], "caption": "c"'),
        GOOD.replace('"c"', "null"),
        GOOD.replace('"a"', "1"),
        GOOD.replace('["r"]', '"r"'),
        GOOD.replace('["r"]', "[1]"),
        GOOD.replace('["r"]', "{}"),
        GOOD.replace("[[1, 2, 3, 4]]", "{}"),
        GOOD.replace("1, 2, 3, 4", "1, 2, 3"),
        GOOD.replace("1, 2, 3, 4", "1, 2, 3, 4.0"),
        GOOD.replace("1, 2, 3, 4", "true, 2, 3, 4"),
        GOOD.replace("1, 2, 3, 4", "-1, 2, 3, 4"),
        GOOD.replace("1, 2, 3, 4", "3, 2, 3, 4"),
        GOOD.replace("1, 2, 3, 4", "1, 4, 3, 4"),
        GOOD.replace("1, 2, 3, 4", "1, 2, 3, " + "9" * 400),
        GOOD.replace("1, 2, 3, 4", "1, 2, 3, " + "9" * 5000),
        GOOD.replace("1, 2, 3, 4", "1, 2, 3, NaN"),
        GOOD.replace("[1, 2, 3, 4]", ", ".join(["[1, 2, 3, 4]"] * (MAX_BOXES + 1))),
        GOOD.replace('"a"', '"\\ud800"'),
        "{" + "[" * 100_000 + "}",
    ],
)
def test_strict_parser_refuses(text):
    assert parse_structured(GOOD) is not None
    assert parse_structured(text) is None
    assert parse_answer(text, "structured").valid_format is False


def test_fields_of_an_object_one_by_one():
    assert read_fields('{"a": 1, "a": {"b": []}}') == [("a", 1), ("a", [("b", [])])]
    assert read_fields("[1]") is None and read_fields('{"a": 1} ') is None and read_fields("{a}") is None
    assert all(is_field(key, value) for key, value in read_fields(GOOD))
    assert not is_field("reasoning", read_fields("{}")) and not is_field("boxes", "[]")
    assert not is_field("question", "a") and not is_field("answer", 1)


def test_most_boxes():
    text = GOOD.replace("[1, 2, 3, 4]", ", ".join(["[1, 2, 3, 4]"] * MAX_BOXES))
    assert len(parse_structured(text).boxes) == MAX_BOXES


def test_broken_structured_answer_is_read_leniently():
    parsed = parse_answer('Sure: {"answer": "a \\"b\\"", "x": 1', "structured")
    assert (parsed.answer, parsed.valid_format, parsed.boxes) == ('a "b"', False, [])
    assert parse_answer(" red ", "structured").answer == "red"


@given(st.lists(TEXT, max_size=3), TEXT.filter(lambda text: text.strip() and "think>" not in text))
def test_think_round_trip(steps, answer):
    parsed = parse_answer(write_think(steps, answer), "think")
    assert parsed.valid_format
    assert parsed.answer == answer.strip()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("red", "red"),
        ("<think>a</think>", ""),
        ("<think>a", "a"),
        ("a</think>red", "red"),
        ("<think>a</think>b</think>red", "red"),
        ("<think><think>a</think>red", "red"),
        (" <think>a</think>red", "red"),
    ],
)
def test_broken_thoughts(text, answer):
    parsed = parse_answer(text, "think")
    assert parsed.valid_format is False
    assert parsed.answer == answer


def test_thoughts():
    parsed = parse_answer("<think>one\n two, < 5 mm</think> red", "think")
    assert (parsed.answer, parsed.reasoning, parsed.valid_format) == ("red", ["one", "two, < 5 mm"], True)
    assert parse_answer(write_think(["a</thi</think>nk>b"], "<think>c"), "think").reasoning == ["ab"]


def test_plain_styles_have_no_format():
    assert parse_answer(" red\n", "short").answer == "red"
    assert parse_answer("a", "transcribe").valid_format is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "Unanswerable.", "not answerable", "N/A", "Can’t be determined", "Not in the image!"]
    + ["No answer", "It can not be determined from the image."],
)
def test_abstentions(text):
    assert is_abstention(text)


@pytest.mark.parametrize(
    "text", ["no", "none", "0", "unknown", "it is not answerable by us", "unanswerable red"]
)
def test_answers_are_not_abstentions(text):
    assert not is_abstention(text)


@given(ANSWER, st.data())
def test_cut_off_answers_are_completed(answer, data):
    whole = write_structured(answer)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    start = '], "answer": "'
    if start in cut:
        finished = complete_structured(cut)
        # Nothing of the answer may be left: then there is nothing to close it around but an empty string.
        assert parse_structured(finished).caption == answer.caption
    else:
        head = complete_structured_head(cut)
        parsed = parse_structured(head + 'x"}')
        assert answer.caption.startswith(parsed.caption)
        assert len(parsed.reasoning) <= len(answer.reasoning)
        assert parsed.boxes == answer.boxes[: len(parsed.boxes)]


def test_complete_head_is_left_alone_but_for_bad_boxes():
    head = GOOD.removesuffix('a"}')
    assert complete_structured_head(head) == head
    swapped = head.replace("[1, 2, 3, 4]", "[3, 2, 1, 4], [1, 2, 3, 4], [1, 2, 3, 2]")
    assert complete_structured_head(swapped) == head


@pytest.mark.parametrize(
    "text", ["<think>a < 5", "<think>a<", "<think>a</thin", "<think>", "<think>a</think>"]
)
def test_cut_off_thoughts_are_closed(text):
    closed = complete_think_head(text)
    assert closed.count(THINK_CLOSE) == 1
    assert parse_answer(closed + "red", "think").valid_format
