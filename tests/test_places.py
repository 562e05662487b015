"""Boxes that can only be where there is text, and answers that can only be what stands there."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import byte_acceptor, save_structured_model, write_structured_records
from vqa.answers import StructuredAnswer, parse_structured, write_structured
from vqa.constraints import (
    admit_unanswerable,
    json_answer_grammar,
    structured_grammar,
    structured_head_grammar,
)
from vqa.documents.pages import OcrPage, Word
from vqa.documents.places import MAX_RUN, TextPlaces
from vqa.encoding import PromptEncoder
from vqa.inference import decide
from vqa.models import load_model, load_processor
from vqa.records import read_records

accepts = pytest.fixture(scope="module")(byte_acceptor)
WORD = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6)


def page_of(*lines: str, size=(1000, 1000)) -> OcrPage:
    """Words 60 wide and 20 high, 80 apart, their lines 50 apart."""
    words = [
        Word(text, (20 + 80 * column, 10 + 50 * row, 80 + 80 * column, 30 + 50 * row), 0.9, row)
        for row, line in enumerate(lines)
        for column, text in enumerate(line.split())
    ]
    return OcrPage(tuple(words), size)


def structured(boxes, answer="x") -> str:
    return write_structured(StructuredAnswer("c", [], [list(box) for box in boxes], answer))


def test_a_box_is_that_of_a_word_a_run_or_a_line(accepts):
    places = TextPlaces([page_of("Total: $5.00 paid", "Thank you")])
    grammar = structured_grammar(box_rule=places.box_rule)
    word, run, line = [20, 10, 80, 30], [100, 10, 240, 30], [20, 60, 160, 80]
    for boxes in ([], [word], [run], [line], [word, line, run]):
        assert accepts(grammar, structured(boxes))
    across, shifted, skipping = [20, 10, 80, 80], [21, 10, 80, 30], [20, 10, 80, 31]
    for box in (across, shifted, skipping, [0, 0, 1000, 1000]):
        assert not accepts(grammar, structured([box]))
        assert accepts(structured_grammar(), structured([box]))


def test_boxes_in_pixels_of_the_resized_image(accepts):
    places = TextPlaces([page_of("one two")], "pixels", [(500, 250)])
    assert set(places.runs) == {(10, 2, 40, 8), (50, 2, 80, 8), (10, 2, 80, 8)}
    grammar = structured_head_grammar(box_format="pixels", box_rule=places.box_rule)
    assert accepts(grammar, structured([[10, 2, 80, 8]], "").removesuffix('"}'))


def test_a_page_without_text_has_no_boxes(accepts):
    places = TextPlaces([OcrPage((), (100, 100))])
    assert places.box_rule == ""
    assert accepts(structured_grammar(box_rule=places.box_rule), structured([]))
    assert not accepts(structured_grammar(box_rule=places.box_rule), structured([[0, 0, 1, 1]]))
    assert places.answer_grammar([[0, 0, 1, 1]]) is None


def test_pages_stand_one_below_another(accepts):
    places = TextPlaces([page_of("one two"), page_of("three")])
    assert set(places.runs) == {(20, 10, 80, 30), (100, 10, 160, 30), (20, 10, 160, 30), (20, 1010, 80, 1030)}
    assert [places.words[index].text for index in places.runs[20, 1010, 80, 1030]] == ["three"]
    resized = TextPlaces([page_of("one two"), page_of("three")], "pixels", [(500, 250), (1000, 500)])
    assert (20, 255, 80, 265) in resized.runs
    assert accepts(structured_grammar(box_rule=places.box_rule), structured([[20, 1010, 80, 1030]]))
    assert accepts(places.answer_grammar([[20, 1010, 80, 1030], [20, 10, 80, 30]]), "three one")


def test_the_runs_of_a_long_line_are_limited_and_the_line_is_there():
    places = TextPlaces([page_of(" ".join("abcdefghijklmnop"), size=(2000, 100))])
    lengths = sorted({len(run) for run in places.runs.values()})
    assert lengths == [*range(1, MAX_RUN + 1), 16]


def test_an_answer_is_a_run_of_the_words_in_the_boxes(accepts):
    places = TextPlaces([page_of('Total: "$5.00" (paid)', "Thank you, Anna.")])
    line = next(box for box, run in places.runs.items() if run == [0, 1, 2])
    other = next(box for box, run in places.runs.items() if run == [3, 4])
    grammar = places.answer_grammar([line, other])
    for answer in ('Total: "$5.00"', "Total", "$5.00", '"$5.00"', "paid", '$5.00" (paid)', "Thank you"):
        assert accepts(grammar, answer), answer
        assert accepts(
            json_answer_grammar(admit_unanswerable(grammar)),
            structured([], answer).partition('"answer": "')[2],
        )
    for answer in ("Anna", "Total paid", "5.00", "Thank  you", "unanswerable", ""):
        assert not accepts(grammar, answer), answer
    assert accepts(admit_unanswerable(grammar), "unanswerable")
    assert places.answer_grammar([[1, 2, 3, 4]]) is None


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(st.lists(WORD, min_size=1, max_size=5).map(" ".join), min_size=1, max_size=4))
def test_every_run_may_be_said_and_pointed_at(accepts, lines):
    page = page_of(*lines)
    places = TextPlaces([page])
    assert len(places.runs) == sum(n * (n + 1) // 2 for n in map(len, page.lines))
    for box, run in itertools.islice(places.runs.items(), 4):
        text = " ".join(page.words[index].text for index in run)
        assert accepts(structured_grammar(box_rule=places.box_rule), structured([box]))
        assert accepts(places.answer_grammar([box]), text)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A small model that writes structured answers, questions, and a page for each."""
    folder = tmp_path_factory.mktemp("structured")
    path = write_structured_records(folder)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row | {"question_type": "extractive", "answer_candidates": None} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model, processor = load_model(save_structured_model(path, folder)), load_processor(folder / "sft")
    records = read_records(path)
    pages = [[page_of("No. 17-B", "due 3 May", size=(400, 200))] for _ in records]
    return model, PromptEncoder(processor), records, pages


def test_a_model_points_at_text_and_says_what_stands_there(asked):
    model, encoder, records, pages = asked
    places = TextPlaces(pages[0])
    decisions = decide(model, encoder, records, "structured", pages=pages, answer_from_page=True)
    for decision in decisions:
        answer = parse_structured(decision.raw)
        assert answer.boxes and all(tuple(box) in places.runs for box in answer.boxes)
        words = [places.words[index].text for box in answer.boxes for index in places.runs[tuple(box)]]
        assert decision.answer.strip(".") in " ".join(words)
    free = decide(model, encoder, records, "structured")
    assert not any(tuple(box) in places.runs for row in free for box in parse_structured(row.raw).boxes)


def test_on_a_page_without_text_a_model_points_nowhere_and_still_answers(asked):
    model, encoder, records, _ = asked
    pages = [[OcrPage((), (32, 32))] for _ in records]
    decisions = decide(model, encoder, records, "structured", pages=pages, answer_from_page=True)
    assert all(row.valid_format and not row.boxes and row.answer for row in decisions)
