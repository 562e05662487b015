"""Text metrics against their references' own vectors (the source stands beside each) and their formulas."""

import json
import unicodedata

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.metrics.error_rates import character_error_rate, word_error_rate
from vqa.metrics.ocrbench import ocrbench_match
from vqa.metrics.relaxed import relaxed_match, relaxed_match_strict
from vqa.metrics.structured import MAX_DEPTH, anls_star, as_structure
from vqa.metrics.text import anls, token_recall
from vqa.metrics.vqa_accuracy import evalai_normalize, vqa_accuracy


# shunk031/ANLS (MIT), tests/metrics/score_test.py: the table of the ST-VQA paper.
@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("The Coca", 0.0), ("CocaCola", 8 / 9), ("Coca cola", 1.0), ("Cola", 0.0), ("Cat", 0.0)],
)
def test_anls_of_the_paper(prediction, expected):
    assert anls(prediction, ["Coca Cola", "Coca Cola Company"]) == pytest.approx(expected)


# google-research/pix2struct (Apache-2.0), pix2struct/metrics_test.py: predictions, targets and both averages.
PIX2STRUCT = [
    ("abc", "abc"), ("abc", "Abc"), ("Abc", "abc"), ("100%", "96%"), ("100%", "94%"), ("100%", "0.96"),
    ("100%", "0.94"), ("Don't", "Won't"),
]  # fmt: skip


def test_the_vectors_of_pix2struct():
    assert sum(anls(prediction, [gold]) for prediction, gold in PIX2STRUCT) / 8 == pytest.approx(0.475)
    assert sum(relaxed_match(prediction, [gold]) for prediction, gold in PIX2STRUCT) / 8 == 0.625


def test_where_implementations_of_anls_differ():
    assert anls("ab", ["ac"]) == 0.5  # kept at equality; pix2struct and Eq. 1 of the paper drop it
    assert anls("ax", ["ay" + " " * 50]) == 0.5  # the official script: 1 - 1/52
    assert anls("a" + " " * 50, ["b"]) == 0.0  # the official script: 1 - 1/51
    assert anls("12,5 mm", ["12,5  MM"]) == 1.0
    assert anls("", [""]) == 1.0 and anls("", ["a"]) == 0.0
    assert anls("no.", ["no"]) == pytest.approx(2 / 3)  # punctuation counts, as in the official script
    assert anls(unicodedata.normalize("NFD", "Phổi"), ["phổi"]) == 1.0


@given(st.text(max_size=12), st.lists(st.text(max_size=12), min_size=1, max_size=3), st.randoms())
def test_anls_is_bounded_symmetric_and_blind_to_the_order_of_answers(prediction, answers, random):
    score = anls(prediction, answers)
    assert score == 0.0 or 0.5 <= score <= 1.0
    shuffled = random.sample(answers, len(answers))
    assert anls(prediction, shuffled) == score == anls(f"  {prediction}\n", answers)
    assert anls(prediction, answers[:1]) == anls(answers[0], [prediction])
    assert anls(prediction, [*answers, prediction]) == 1.0


# What EvalAIAnswerProcessor of Pythia/MMF (BSD-3-Clause, as carried in lmms-eval) returns for these texts.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat.", "cat"),
        ("a an the", ""),
        ("Two dogs", "2 dogs"),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dont know", "don't know"),
        ("Im", "im"),  # contractions with capitals never apply
        ("o'clock", "o'clock"),
        ("oclock", "o'clock"),
        ("dog's", "dog 's"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("a,b", "ab"),
        ("yes/no", "yes no"),
        ("yes / no", "yes no"),
        ("left-hand", "left hand"),
        ("left- hand", "left hand"),
        ("a-b c- d", "ab c d"),  # one mark beside a space: all of its kind go without a space
        ("3.5", "3.5"),
        ("3.", "3"),
        (".5", ".5"),
        ("u.s.a.", "usa"),
        ("what?", "what"),
        ("(b)", "b"),
        ("$5", "$5"),
        ("line\nbreak", "line break"),
        ("the one", "1"),
        ("", ""),
    ],
)
def test_evalai_normalize(text, expected):
    assert evalai_normalize(text) == expected


def test_vqa_accuracy_of_each_number_of_agreeing_annotators():
    # MMF's TextVQA evaluator: the mean over leaving one of ten out.
    expected = [0.0, 0.3, 0.6, 0.9] + [1.0] * 7
    for agreeing, score in enumerate(expected):
        annotations = ["stop"] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
        assert vqa_accuracy("Stop.", annotations) == pytest.approx(score)


@given(st.lists(st.sampled_from(["yes", "Yes.", "no", "a dog"]), min_size=1, max_size=12))
def test_vqa_accuracy_leaves_out_by_index(annotations):
    for prediction in ("yes", "dog", "cat"):
        scores = []
        for left_out in range(len(annotations)):
            others = [text for index, text in enumerate(annotations) if index != left_out]
            matching = sum(evalai_normalize(text) == prediction for text in others)
            scores.append(min(1, matching / 3))
        score = vqa_accuracy(prediction, annotations)
        assert score == pytest.approx(sum(scores) / len(scores)) and 0 <= score <= 1


def test_where_implementations_of_vqa_accuracy_differ():
    # Ten equal annotators: the official script then skips normalisation and gives 0.
    assert vqa_accuracy("Yes.", ["yes"] * 10) == 1.0
    # Leaving out by text instead of by index would remove all four and give 0.6.
    assert vqa_accuracy("cat", ["cat"] * 4 + ["dog"] * 6) == 1.0
    with pytest.raises(ValueError, match="annotators"):
        vqa_accuracy("x", [])


# prediction, gold, the reference's verdict (`relaxed_correctness`, run on these), ours
RELAXED = [
    ("105", "100", True, True),
    ("95", "100", True, True),
    ("94.9", "100", False, False),
    ("1.05", "1", False, True),  # floats: |1.05 - 1| / 1 is 0.05000000000000004
    ("2019", "2010", True, False),
    ("2010", "2010", True, True),
    ("2010.0", "2010", True, True),
    ("2300", "2250", True, True),
    ("$1850", "$1900", False, True),
    ("1,234", "1234", False, True),
    ("1,234.5", "1200", False, True),
    ("1 million", "1000000", False, False),
    ("12,5", "12.5", False, True),
    ("$5", "5", False, True),
    ("5 USD", "$5", False, True),
    ("€5", "$5", False, False),
    ("-$5", "-5", False, True),
    ("−5", "-5", False, True),
    ("12%", "0.12", True, True),
    ("0.12", "12%", True, True),
    ("12%", "12", False, True),
    ("12 %", "12%", True, True),
    ("50", "0.5", False, False),
    ("0", "0", True, True),
    ("0.0", "0", False, True),
    ("0%", "0", False, True),
    ("0.01", "0", False, False),
    ("Yes", "yes", True, True),
    ("yes.", "yes", False, True),
    ("yes", "no", False, False),
    ("nan", "nan", False, True),
    ("1e3", "1000", True, True),
    ("12 mm", "12", False, False),
    ("", "5", False, False),
    ("--5", "5", False, False),
]


@pytest.mark.parametrize(("prediction", "gold", "reference", "strict"), RELAXED)
def test_relaxed_match(prediction, gold, reference, strict):
    assert relaxed_match(prediction, [gold]) is reference
    assert relaxed_match_strict(prediction, [gold]) is strict


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3))
def test_relaxed_match_takes_any_text(prediction, answers):
    assert relaxed_match(prediction, answers) is any(relaxed_match(prediction, [a]) for a in answers)
    assert relaxed_match_strict(prediction, [*answers, prediction])


@given(st.integers(-(10**9), 10**9).filter(bool), st.floats(0, 0.049), st.sampled_from("+-"))
def test_strict_relaxed_match_reads_thousands(value, error, sign):
    near = round(value * (1 + error) if sign == "+" else value * (1 - error), 6)
    exact = 1800 <= value <= 2100
    assert relaxed_match_strict(f"{near:,.6f}", [str(value)]) is (not exact or abs(near - value) < 1e-6)
    assert not relaxed_match_strict(f"{value * 1.06:,.6f}", [str(value)])


def test_ocrbench_is_containment():
    # The rule of OCRBench/example.py (Yuliang-Liu/MultimodalOCR, MIT).
    assert ocrbench_match("The word is CENTRE.", ["centre"])
    assert ocrbench_match("the sign says\nSTOP", ["says stop"])
    assert not ocrbench_match("cen tre", ["centre"])
    assert ocrbench_match("b", ["a", "b"]) and not ocrbench_match("b", [])
    assert not ocrbench_match("anything", [""])
    # HME100K: white space is ignored, case is not.
    assert ocrbench_match("$ \\frac { A } { b }$", ["\\frac{A}{b}"], handwritten_math=True)
    assert not ocrbench_match("\\delta", ["\\Delta"], handwritten_math=True)
    assert not ocrbench_match("\\frac { A } { b }", ["\\frac{A}{b}"])
    # lmms-eval's test_ocrbench.py folds full-width letters; the reference does not.
    assert not ocrbench_match("２５９０", ["2590"])


def test_open_recall_takes_the_counts_of_the_gold():
    assert token_recall("left left left left", ["left lobe"]) == 0.5  # LLaVA-Med's formula: 4 / 5
    assert token_recall("left", ["left and left"]) == pytest.approx(1 / 3)
    assert token_recall('the "liver", (right)', ["Right liver."]) == 1.0


@given(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_open_recall_is_bounded(prediction, answers):
    recall = token_recall(prediction, answers)
    assert recall is None or 0 <= recall <= 1
    assert token_recall(f"{prediction} {' '.join(answers)}", answers) in (1.0, None)


def test_error_rates_are_of_the_corpus_and_not_means():
    predictions, references = ["ab", "abcdefgh"], ["xy", "abcdefgh"]
    assert character_error_rate(predictions, references) == jiwer.cer(references, predictions) == 0.2
    assert word_error_rate(["a b c", "d"], ["a b x", "d"]) == 0.25


def test_error_rates_of_empty_and_decomposed_texts():
    assert character_error_rate(["abc", "de"], ["", "de"]) == 1.5
    assert word_error_rate(["a b", "de"], ["", "de"]) == 2.0
    assert character_error_rate(["x"], [""]) is None and word_error_rate(["x"], [" "]) is None
    assert character_error_rate([], []) is None and word_error_rate([], []) is None
    assert character_error_rate([""], ["abc"]) == word_error_rate([""], ["a b"]) == 1.0
    assert character_error_rate([unicodedata.normalize("NFD", "Tiếng Việt")], ["Tiếng Việt"]) == 0.0
    assert character_error_rate(["tiếng Việt"], ["Tiếng Việt"]) == 0.1
    assert word_error_rate(["two\nlines"], ["two lines"]) == 0.0  # jiwer alone: 1.0
    with pytest.raises(ValueError, match="1 predictions for 2"):
        character_error_rate(["a"], ["a", "b"])


_lines = st.text("ab cộ", max_size=8)


@given(st.lists(st.tuples(_lines, _lines), min_size=1, max_size=5).filter(lambda rows: rows[0][1].strip()))
def test_error_rates_are_jiwers(rows):
    predictions, references = zip(*rows, strict=True)
    assert character_error_rate(predictions, references) == jiwer.cer(list(references), list(predictions))
    assert word_error_rate(predictions, references) == jiwer.wer(list(references), list(predictions))


# Cases of the paper in deepopinion/anls_star_metric (Apache-2.0), tests/test_anls_star.py.
ANLS_STAR = [
    ("Hello World", "Hello World", 1.0),
    ("Hello Wrold", "Hello World", 0.82),
    ("How are you?", "Hello World", 0.0),
    ("How are you?", None, 0.0),
    ("Wolrd", ("Hello", "World"), 0.6),
    (["Hello", "World"], "Hello World", 0.0),
    (["World", "Hello"], ["Hello", "World"], 1.0),
    (["Hello"], ["Hello", "World"], 0.5),
    ({"b": "World", "a": "Hello"}, {"a": "Hello", "b": "World"}, 1.0),
    ({"a": "Hello"}, {"a": "Hello", "b": "World"}, 0.5),
    ({"b": "World", "a": "Hello", "c": "Great"}, {"a": "Hello", "b": "World"}, 0.67),
    ({"a": "Hello", "b": ["w", "r", "d"]}, {"a": "Hello", "b": ["w", "r", "l", "d"]}, 0.8),
    (0.199999, 0.2, 0.0),
    ("31. Dec 2023", "31.12.2023", 0.58),
    ({"e": "d", "a": "b"}, {"a": "b", "c": "d"}, 0.33),
    (
        {"k1": 1, "k2": "kcom", "line_items": [{"e": "f"}, {"a": "y", "c": "d"}]},
        {"k1": 1, "k2": "mock", "line_items": [{"a": "b", "c": "d"}, {"e": "f"}]},
        0.6,
    ),
]


@pytest.mark.parametrize(("prediction", "gold", "expected"), ANLS_STAR)
def test_anls_star(prediction, gold, expected):
    assert anls_star(prediction, gold) == pytest.approx(expected, abs=0.005)
    if isinstance(gold, dict):
        assert anls_star(json.dumps(prediction), json.dumps(gold)) == anls_star(prediction, gold)


def test_a_structure_is_only_met_by_a_structure():
    assert anls_star("World", ["Hello", "World"]) == 0.0  # the package: alternatives, 1.0
    assert anls_star("no JSON", {"total": "5"}) == 0.0 and anls_star("{cut off", {"total": "5"}) == 0.0
    assert anls_star('```json\n{"total": "5"}\n```', {"total": 5}) == 1.0


def test_as_structure():
    assert as_structure('{"a": [1]}') == {"a": [1]} and as_structure(" [] ") == []
    for text in ("5", '"a"', "null", "", "{", "a", '{"a": 1} and more', "[" * 100_000, "1" * 10_000):
        assert as_structure(text) is None
    assert as_structure("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert as_structure("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) is None


_leaves = st.none() | st.booleans() | st.text(max_size=5) | st.integers()
_structures = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_structures, _structures)
def test_anls_star_is_bounded_and_full_for_equals(prediction, gold):
    assert 0.0 <= anls_star(prediction, gold) <= 1.0
    assert anls_star(gold, gold) == pytest.approx(1.0)
