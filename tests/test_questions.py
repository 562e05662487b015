"""The registry of question types: inference, candidates, judging, and a type of one's own."""

import re
from pathlib import Path

import pytest

from vqa import questions
from vqa.constraints import candidates_grammar
from vqa.questions import QUESTION_TYPES, build_candidates, infer_question_type, is_correct, judge, register


@pytest.mark.parametrize(
    ("question", "answers", "candidates", "expected"),
    [
        ("Is there a polyp?", ["yes"], None, "yes_no"),
        ("Polyp visible?", ["No."], None, "yes_no"),
        ("Anything?", ["yes", "Yes"], ["yes", "no"], "yes_no"),
        ("Is there a polyp?", ["yes, two"], None, "open_ended"),
        ("Is there a polyp?", [], None, "yes_no"),
        ("Is this a CT or an MRI?", [], None, "open_ended"),
        ("Can you name the organ?", [], None, "open_ended"),
        ("What color is the circle?", ["chartreuse"], None, "color"),
        ("What is the colour of it? Which colour?", ["mauve"], None, "color"),
        ("The hat is?", ["Red"], None, "color"),
        ("The hat is?", ["red"], ["red", "blue"], "color"),
        ("The hat is?", ["Grey"], None, "color"),
        ("The hat is?", ["grey"], ["grey", "blue"], "color"),
        ("Which is right? A) red B) blue", ["red"], None, "mcq"),
        ("What is it?", ["cat"], ["cat", "dog"], "mcq"),
        ("Which one?\n(a) cat\n(b) dog", ["b"], None, "mcq"),
        ("How many polyps? A) 2 B) 3", ["B"], None, "mcq"),
        ("How many polyps are there?", ["three"], None, "count_numeric"),
        ("What is the number of lesions?", ["3"], None, "count_numeric"),
        ("How many polyps are there?", [], None, "count_numeric"),
        ("How many polyps are there?", ["several"], None, "open_ended"),
        ("What is the size of the polyp?", ["5-10 mm"], None, "size_numeric"),
        ("How large is it?", ["<5mm"], None, "size_numeric"),
        ("What is the diameter?", ["large"], None, "open_ended"),
        ("Where is it?", ["left lobe"], None, "open_ended"),
        ("What is the date?", ["3"], None, "open_ended"),
    ],
)
def test_types_are_inferred(question, answers, candidates, expected):
    assert infer_question_type(question, answers, candidates) == expected


def test_transcription_and_extractive_are_never_inferred():
    assert {"transcription", "extractive"} <= set(QUESTION_TYPES)
    for name in ("transcription", "extractive"):
        for question in ("Transcribe the text.", "What is written here?", "What is the invoice's total?"):
            assert not QUESTION_TYPES[name].infers(question, ["12.50"], None)


def test_candidates_of_closed_types():
    assert build_candidates("yes_no", "Is it?", ["yes"]) == ["yes", "no"]
    assert build_candidates("mcq", "Which? A) left lobe, B) right lobe", []) == ["left lobe", "right lobe"]
    assert build_candidates("mcq", "Which?", ["left"]) is None
    assert "teal" in build_candidates("color", "What color?", ["red"])
    for name in ("count_numeric", "size_numeric", "open_ended", "extractive", "transcription"):
        assert build_candidates(name, "How many?", ["3"]) is None


@pytest.mark.parametrize(
    ("answers", "spelling"),
    [
        ([], "gray"),
        (["red"], "gray"),
        (["gray"], "gray"),
        (["Grey."], "gray"),
        (["silver", "grey"], "gray"),
        (["gray", "grey"], "gray"),
        (["grey", "gray"], "gray"),
    ],
)
def test_gray_is_one_candidate_spelled_as_in_the_answers(answers, spelling):
    candidates = build_candidates("color", "What color is it?", answers)
    assert [color for color in candidates if color in ("gray", "grey")] == [spelling]
    assert len(candidates) == len(set(candidates))
    for accepted in ("gray", "grey"):
        right = [color for color in candidates if is_correct("color", color, [accepted], candidates)]
        assert right == [spelling]


def test_candidates_do_not_give_the_answer_away():
    for name, answers in (("color", ["chartreuse"]), ("yes_no", ["maybe"]), ("mcq", ["C"])):
        question = "What color? A) left B) right"
        assert build_candidates(name, question, answers) == build_candidates(name, question, [])


@pytest.mark.parametrize(
    ("name", "prediction", "answers", "candidates", "right"),
    [
        ("yes_no", "Yes, there is a nodule.", ["yes"], ["yes", "no"], True),
        ("yes_no", "abnormal", ["no"], ["yes", "no"], False),
        ("color", "Grey", ["gray"], None, True),
        ("color", "gray", ["grey"], None, True),
        ("color", "dark green", ["green"], None, False),
        ("mcq", "B", ["dog"], ["cat", "dog"], True),
        ("mcq", "dog", ["B"], ["cat", "dog"], True),
        ("count_numeric", "There are three polyps", ["3"], None, True),
        ("count_numeric", "20", ["21"], None, False),
        ("size_numeric", "1 cm", ["10mm"], None, True),
        ("size_numeric", "10.5 mm", ["10 mm"], None, True),
        ("size_numeric", "10.6 mm", ["10 mm"], None, False),
        ("extractive", "total: 12", ["12", "Total: 12"], None, True),
        ("open_ended", "the left lobe", ["left lobe"], None, False),
        ("transcription", "Hello  world", ["hello world"], None, True),
    ],
)
def test_answers_are_judged_by_type(name, prediction, answers, candidates, right):
    assert is_correct(name, prediction, answers, candidates) is right


def test_unanswerable_questions_want_abstention():
    assert is_correct("extractive", "N/A", [], answerable=False)
    assert is_correct("yes_no", "", [], answerable=False)
    assert not is_correct("extractive", "n", [], answerable=False)
    assert not is_correct("yes_no", "no", [], answerable=False)


def test_answerable_questions_are_not_answered_by_abstaining():
    assert not is_correct("extractive", "N/A", ["n"])
    assert not is_correct("open_ended", "", ["."])
    assert is_correct("extractive", "n/a", ["N/A"])


def test_judge_reads_options_from_the_question_and_minds_the_flag():
    line = {"qtype": "mcq", "pred": "b", "answers": ["dog"], "question": "Which? A) cat B) dog"}
    assert judge(line)
    assert not judge(line | {"abstained": True})
    assert judge(line | {"abstained": True, "answerable": False, "answers": []})
    letters = line | {"answer_candidates": ["A", "B"], "answers": ["B"], "pred": "dog"}
    assert judge(letters) and not judge(letters | {"pred": "cat"})


def test_numeric_grammars_admit_numbers_and_closed_ones_their_candidates():
    record = {"answer_candidates": ["cat", "dog"], "question": "?"}
    assert QUESTION_TYPES["mcq"].answer_grammar(record) == candidates_grammar(["cat", "dog"])
    assert QUESTION_TYPES["open_ended"].answer_grammar(record) is None
    assert QUESTION_TYPES["mcq"].answer_grammar({"answer_candidates": None}) is None
    assert '"mm"' in QUESTION_TYPES["size_numeric"].answer_grammar(record)
    assert "mm" not in QUESTION_TYPES["count_numeric"].answer_grammar(record)
    assert {name for name, kind in QUESTION_TYPES.items() if kind.scored} == {"yes_no", "color", "mcq"}


@pytest.fixture
def registry():
    """The registry, put back as it was."""
    before = dict(QUESTION_TYPES)
    yield QUESTION_TYPES
    QUESTION_TYPES.clear()
    QUESTION_TYPES.update(before)


def test_the_documented_instrument_type_works_as_it_stands(registry):
    text = (Path(__file__).parents[1] / "docs" / "question_types.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(block, "question_types.md", "exec"), dict(vars(questions)))

    instruments = ["forceps", "scissors", "grasper", "scalpel"]
    assert infer_question_type("Which instrument is shown?", ["Scissors"]) == "instrument_type"
    assert infer_question_type("Which instrument?", ["scalpel"], instruments) == "instrument_type"
    assert infer_question_type("Which animal?", ["cat"], ["cat", "dog"]) == "mcq"
    assert build_candidates("instrument_type", "Which instrument?", ["scalpel"]) == instruments
    assert is_correct("instrument_type", "A pair of scissors.", ["scissors"])
    assert not is_correct("instrument_type", "scissors or forceps", ["scissors"])
    assert not is_correct("instrument_type", "unanswerable", ["scissors"])
    kind = registry["instrument_type"]
    assert kind.scored
    assert kind.answer_grammar({"answer_candidates": instruments}) == candidates_grammar(instruments)
    assert list(registry)[-1] == "open_ended"


def test_a_name_is_registered_once(registry):
    with pytest.raises(ValueError, match="registered already"):
        register(registry["mcq"])
    with pytest.raises(ValueError, match="no question type 'nothing'"):
        register(registry["mcq"].__class__("new", *[lambda *_: None] * 4), before="nothing")
    assert "new" not in registry
