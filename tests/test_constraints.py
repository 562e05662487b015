"""Grammars, run by xgrammar itself over a vocabulary of bytes: what they let through and what not."""

import pytest
import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import GRAMMAR_END, byte_acceptor
from vqa.answers import StructuredAnswer, parse_answer, parse_structured, write_structured, write_think
from vqa.constraints import (
    UNITS,
    admit_unanswerable,
    candidates_grammar,
    json_answer_grammar,
    literal,
    number_grammar,
    structured_grammar,
    structured_head_grammar,
    think_grammar,
    think_head_grammar,
    untagged_grammar,
)

accepts = pytest.fixture(scope="module")(byte_acceptor)
END = GRAMMAR_END
CANDIDATES = [
    "light blue",
    'light "green"',
    "back\\slash",
    "đỏ",
    "new\nline",
    "tab\tx",
    "[x] ::= y",
    "a\x07b",
    "#1",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def structured(answer, boxes=((0, 10, 1000, 999),), caption='a "c" \n\\ đ \x07', reasoning=("x", "y\tz")):
    return write_structured(StructuredAnswer(caption, list(reasoning), [list(box) for box in boxes], answer))


@pytest.mark.parametrize(
    ("grammar", "accepted", "refused"),
    [
        (
            number_grammar(),
            ["3", "-1.5 mm", "10mm", "0.5 cm", "12 %", "3 µm"],
            ["", "03", "3 apples", "<5 mm", "."],
        ),
        (number_grammar((), whole=True), ["0", "12"], ["-1", "1.5", "3 mm", "3 "]),
        (number_grammar(["kg"]), ["3 kg"], ["3 mm"]),
        (number_grammar(ranges=True), ["<5 mm", "11-20mm", "≥ 3cm", "5"], ["<", "1-", "1-2-3"]),
        (candidates_grammar(CANDIDATES), CANDIDATES, ["light", "blue", "", "light blue "]),
        (candidates_grammar(["red"]), ["red"], ["unanswerable"]),
        (admit_unanswerable(candidates_grammar(["red"])), ["red", "unanswerable"], ["blue", ""]),
        (admit_unanswerable(number_grammar()), ["3 mm", "unanswerable"], ["mm"]),
        (untagged_grammar(), ["a", "<5 mm", "a\nb"], ["", " a", "</think>", "a<think>"]),
        ('root ::= "light " [a-z]+ | "caf\\u00e9" ("s" | "")', ["café", "cafés", "light x"], ["caf"]),
    ],
)
def test_bare_answers_in_every_style(accepts, grammar, accepted, refused):
    for text in accepted:
        assert accepts(grammar, text), text
        assert accepts(structured_grammar(grammar), structured(text)), text
        assert accepts(think_grammar(grammar), write_think(["why"], text)), text
    for text in refused:
        assert not accepts(grammar, text), text
        assert not accepts(structured_grammar(grammar), structured(text)), text
        assert not accepts(think_grammar(grammar), f"<think>why</think>{text}"), text


def test_structured_object(accepts):
    grammar = structured_grammar()
    for text in (structured("x"), structured('a"b\n', [], "", []), structured("x", [[1, 2, 3, 4]] * 32)):
        assert accepts(grammar, text), text
        assert parse_structured(text)
    good = structured("x")
    for text in (
        structured(""),
        good[:-1],
        good + " ",
        " " + good,
        structured("x", [[1, 2, 3, 4]] * 33),
        structured("x", [[1001, 2, 3, 4]]),
        good.replace("10,", "010,"),
        good.replace("10,", "-10,"),
        good.replace('", "', '","'),
        good.replace("caption", "Caption"),
        good.replace('"x"}', '"\\ud800"}'),
    ):
        assert text != good
        assert not accepts(grammar, text), text
    assert accepts(structured_grammar(box_format="pixels"), structured("x", [[1001, 2, 3000, 4]]))


def test_head_and_answer_are_the_whole(accepts):
    head, answer = structured("x")[:-3], 'x"}'
    assert accepts(structured_head_grammar(), head)
    assert accepts(json_answer_grammar(), answer)
    assert accepts(json_answer_grammar(candidates_grammar(CANDIDATES)), 'light \\"green\\""}')
    assert not accepts(structured_head_grammar(), head + answer)
    assert not accepts(json_answer_grammar(), '"}')
    assert accepts(think_head_grammar(), "<think>a < 5 <<x</think>")
    assert not accepts(think_head_grammar(), "<think>a</think>b")


def test_thoughts(accepts):
    for text in ("<think>a < 5 <<x\nb</think>red", "<think></think><5 mm"):
        assert accepts(think_grammar(), text)
        assert parse_answer(text, "think").valid_format
    for text in (
        "red",
        "<think>a</think>",
        "<think>a</think> red",
        "<think><think></think>a",
        "<think></think>a</think>",
    ):
        assert not accepts(think_grammar(), text)


@settings(max_examples=25, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3), TEXT)
def test_candidates_are_matched_exactly(candidates, other):
    info = xgrammar.TokenizerInfo(
        [bytes([value]) for value in range(256)] + [b"<end>"], vocab_size=257, stop_token_ids=[END]
    )
    compiler = xgrammar.GrammarCompiler(info, cache_enabled=False)
    plain, inside = (
        compiler.compile_grammar(grammar)
        for grammar in (candidates_grammar(candidates), structured_grammar(candidates_grammar(candidates)))
    )
    for text in [*candidates, other]:
        for compiled, written in ((plain, text), (inside, structured(text))):
            matcher = xgrammar.GrammarMatcher(compiled)
            accepted = all(matcher.accept_token(byte) for byte in written.encode()) and matcher.accept_token(
                END
            )
            assert accepted == (text in candidates)


def test_every_unit_is_admitted(accepts):
    assert all(accepts(number_grammar(), f"2 {unit}") for unit in UNITS)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        candidates_grammar([])
    for text in ("", "a\0"):
        with pytest.raises(ValueError, match="cannot be a literal"):
            literal(text)
