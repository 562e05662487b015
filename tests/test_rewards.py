"""Rewards: what an honest completion earns, what tricks earn, and that they hold for text of every kind."""

import doctest
import importlib
import json
import pkgutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import GRPOTrainer

import rewards
from rewards import REWARDS
from rewards.consistency import told
from rewards.grounding import matched_iou
from tests.helpers import ROOT
from vqa.answers import StructuredAnswer, write_structured
from vqa.errors import UserError
from vqa.images import boxes_to_text_coordinates
from vqa.questions import judge

QUESTION = "What color is the circle?"
RECORD = {
    "question": QUESTION,
    "question_type": "color",
    "answers": ["red"],
    "answerable": True,
    "answer_candidates": ["red", "blue", "green"],
    "boxes": [[10, 10, 30, 30]],
    "image_size": [100, 100],
    "delta_cf_roi": 0.75,
    "delta_cf_rand": 0.25,
}
CAPTION = "A red circle on a white background."
HONEST = StructuredAnswer(
    CAPTION, ["The circle is at the top left.", "It is red."], [[100, 100, 300, 300]], "red"
)


def written(**fields) -> str:
    """The honest answer with some fields replaced by anything that JSON can write."""
    return json.dumps({**vars(HONEST), **fields}, ensure_ascii=False)


def called(names, completions, rows, **options):
    """Rewards by name, called as TRL calls them: everything by keyword, columns as lists."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arguments = {
        "prompts": [[{"role": "user", "content": "?"}]] * len(rows),
        "completions": [[{"role": "assistant", "content": text}] for text in completions],
        "completion_ids": [[1, 2]] * len(rows),
        "meta": ["{}"] * len(rows),
        "trainer_state": None,
        "log_extra": None,
        "log_metric": None,
    }
    return {name: REWARDS[name](**arguments, **columns, **options) for name in names}


def scores(text: str, names=tuple(REWARDS), **changes) -> dict[str, float | None]:
    return {name: values[0] for name, values in called(names, [text], [RECORD | changes]).items()}


# What a completion earns: format, answer, consistency, counterfactual, grounding, abstention. The cosines are
# those of all-MiniLM-L6-v2, whose weights are pinned.
ALL = (1, 1, 0.65, 0.5, 1, 1)
WRONG = (1, 0, 0.65, 0, 1, 1)
NOTHING = (0, 0, 0, 0, 0, 0)
CANDIDATES = "red, blue, green"
HACKS = {
    "honest": (written(), ALL),
    "wrong": (written(answer="blue"), WRONG),
    "empty reasoning": (written(reasoning=[]), ALL),
    # The answer in other fields
    "answer words in the caption": (written(caption="red blue green", answer="blue"), (1, 0, 0.57, 0, 1, 1)),
    "answer in the reasoning": (written(reasoning=["red"], answer="blue"), WRONG),
    "JSON inside JSON": (written(caption=written(), answer="blue"), (1, 0, None, 0, 1, 1)),
    "JSON as the answer": (written(answer=written()), WRONG),
    # Hedges
    "yes and no": (written(answer="yes and no"), WRONG),
    "every candidate listed": (written(answer=CANDIDATES), WRONG),
    "every candidate, by word": (written(answer="red or blue or green"), WRONG),
    "answers as a list": (written(answer=["red", "blue"]), NOTHING),
    "abstaining": (written(answer="unanswerable"), (1, 0, 0.65, 0, 1, 0)),
    "empty answer": (written(answer=""), (1, 0, 0.65, 0, 1, 0)),
    # Captions made of the question
    "question as caption": (written(caption=QUESTION), (1, 1, 0, 0.5, 1, 1)),
    "question, plainer": (written(caption="what color is the circle"), (1, 1, 0, 0.5, 1, 1)),
    "question, shuffled": (written(caption="circle the is color what"), (1, 1, 0, 0.5, 1, 1)),
    "question, inflected": (written(caption="what colours are circles"), (1, 1, 0, 0.5, 1, 1)),
    "question, accents": (written(caption="whát cólor ís thé círcle"), (1, 1, 0, 0.5, 1, 1)),
    "question, wide": (written(caption="ｗｈａｔ ｃｏｌｏｒ ｉｓ ｔｈｅ ｃｉｒｃｌｅ"), (1, 1, 0, 0.5, 1, 1)),
    "question, zero-width": (written(caption="wh\u200bat co\u200blor is the circle"), (1, 1, 0, 0.5, 1, 1)),
    "question, Cyrillic letters": (written(caption="whаt cоlоr is the cirсle"), (1, 1, 0.19, 0.5, 1, 1)),
    "question thrice": (written(caption=QUESTION * 3), (1, 1, 0, 0.5, 1, 1)),
    "another question": (written(caption="What hue is the round shape?"), (1, 1, 0, 0.5, 1, 1)),
    "question and caption": (written(caption=f"{QUESTION} {CAPTION}"), ALL),
    "question and caption, hidden": (written(caption=f"what color is the circle: {CAPTION}"), ALL),
    "question and answer": (written(caption=f"{QUESTION} red"), (1, 1, 0.5, 0.5, 1, 1)),
    "question, misspelt, and answer": (
        written(caption="What colour is that circle: red, white"),
        (1, 1, 0.43, 0.5, 1, 1),
    ),
    "words of question and answer": (written(caption="circle color red white"), (1, 1, 0.38, 0.5, 1, 1)),
    "no caption": (written(caption=""), (1, 1, 0, 0.5, 1, 1)),
    # Boxes
    "a box over the whole image": (written(boxes=[[0, 0, 1000, 1000]]), (1, 1, 0.65, 0, 0.04, 1)),
    "nearly the whole image": (written(boxes=[[9, 9, 990, 990]]), (1, 1, 0.65, 0, 0.0416, 1)),
    "the whole image in halves": (
        written(boxes=[[0, 0, 500, 1000], [500, 0, 1000, 1000]]),
        (1, 1, 0.65, 0, 0.04, 1),
    ),
    "beyond the image": (written(boxes=[[0, 0, 99_999, 99_999]]), (0, 1, 0.65, 0, 0, 1)),
    "no box": (written(boxes=[]), (1, 1, 0.65, 0.5, 0, 1)),
    "32 boxes strewn about": (
        written(boxes=[[100, 100, 300, 300]] + [[x, 500, x + 20, 520] for x in range(0, 620, 20)]),
        (1, 1, 0.65, 0.5, 1 / 32, 1),
    ),
    "the same box twice": (written(boxes=HONEST.boxes * 2), (1, 1, 0.65, 0.5, 0.5, 1)),
    "10,000 boxes": (written(boxes=HONEST.boxes * 10_000), NOTHING),
    "upside down": (written(boxes=[[300, 300, 100, 100]]), NOTHING),
    "huge numbers": (written(boxes=[[0, 0, 10**400, 10**400]]), NOTHING),
    "digits without end": (written().replace("300, 300", "300, " + "9" * 9999), NOTHING),
    "NaN": (written(boxes=[[0, 0, float("nan"), 5]]), NOTHING),
    "infinity": (written(boxes=[[0, 0, float("inf"), 5]]), NOTHING),
    "booleans": (written(boxes=[[False, False, True, True]]), NOTHING),
    "decimals": (written(boxes=[[100.0, 100.0, 300.0, 300.0]]), NOTHING),
    # Around and inside the object
    "text after": (written() + " The answer is red.", NOTHING),
    "text before": ("Sure: " + written(), NOTHING),
    "two objects": (written() + written(), NOTHING),
    "a fence": (f"```json\n{written()}\n```", NOTHING),
    "an object in a list": (f"[{written()}]", NOTHING),
    "an object in an object": (f'{{"answer": {written()}}}', NOTHING),
    "a key twice": (written()[:-1] + ', "answer": "blue"}', NOTHING),
    "a key more": (written()[:-1] + ', "score": 1}', NOTHING),
    "answer first": ('{"answer": "red", ' + written()[1:].replace(', "answer": "red"', ""), NOTHING),
    "thousands of brackets": ('{"caption": ' + "[" * 100_000, NOTHING),
    "nothing": ("", NOTHING),
    "the bare answer": ("red", NOTHING),
    # Letters that look alike
    "zero-width answer": (written(answer="r\u200bed"), WRONG),
    "Cyrillic answer": (written(answer="r\u0435d"), WRONG),
    "half a surrogate pair": (written().replace('"red"', '"red\\ud800"'), NOTHING),
}


@pytest.mark.parametrize("name", HACKS)
def test_what_a_trick_earns(name):
    text, expected = HACKS[name]
    earned = scores(text)
    for reward, value in zip(REWARDS, expected, strict=True):
        if value is not None:
            assert earned[reward] == pytest.approx(value, abs=0.01), reward


def test_no_trick_earns_more_than_honesty():
    weights = rewards.DEFAULT_WEIGHTS
    totals = {
        name: sum(weight * scores(text)[reward] for reward, weight in weights.items())
        for name, (text, _) in HACKS.items()
    }
    assert max(totals.values()) == pytest.approx(totals["honest"], abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "question", "golds", "hedges"),
    [
        ("yes_no", "Is it red?", ["yes", "no"], ["yes and no", "yes, no", "no/yes", "yes or no", "maybe"]),
        ("color", "What color?", ["red", "blue"], ["red, blue", "red and blue", "red blue"]),
        ("mcq", "Which? A) ct B) mri", ["A", "B"], ["A, B", "A and B", "A) mri", "ct mri", "AB", "A B"]),
        ("count_numeric", "How many?", ["2", "3"], ["2 or 3", "1, 2, 3, 4", "2-3", "2 3"]),
        ("size_numeric", "How large?", ["5 mm", "9 mm"], ["5 mm or 9 mm", "1-100 mm", "5 mm, 9 mm"]),
        ("open_ended", "What is it?", ["cyst", "scar"], ["cyst or scar", "cyst, scar", "cyst scar"]),
    ],
)
def test_a_hedge_is_right_about_one_answer_at_the_most(kind, question, golds, hedges):
    record = {"question": question, "question_type": kind, "answer_candidates": None}
    for said in hedges:
        earned = [scores(written(answer=said), ["answer"], **record, answers=[gold]) for gold in golds]
        assert sum(row["answer"] for row in earned) <= (said == "yes, no"), said  # its first word counts


@pytest.mark.parametrize(
    "caption", ["There is a nodule in the left lung.", "nodule, lung; left. Lungs, nodules"]
)
def test_a_caption_in_the_words_of_the_question_says_nothing_new(caption):
    changes = {"question": "Is there a nodule in the left lung?"}
    assert scores(written(caption=caption), ["consistency"], **changes) == {"consistency": 0.0}


def test_consistency_is_the_cosine_of_the_metric_where_nothing_is_copied():
    seen = []

    def similarity(questions, captions):
        seen.append((questions, captions))
        return [0.5, -0.25, 0.75][: len(captions)]

    texts = [written(caption=text) for text in (CAPTION, "Rain.", "A circle, red.", QUESTION)]
    row = called(["consistency"], texts, [RECORD] * 4, similarity=similarity)["consistency"]
    assert row == [0.5, 0.0, 0.75 / 2, 0.0]
    assert seen == [([QUESTION] * 3, [CAPTION, "Rain.", "A circle, red."])]  # one batch, texts as they are


def test_quotations_are_left_out_wherever_they_stand():
    question = "Is the liver in the image"
    assert told("It says: Is the liver in the image. It is.", question) == "it says: . it is."
    assert told("Is the live broadcast on", question) == "Is the live broadcast on"
    assert told("Is the liver", question) == ""
    long = "word " * 5000
    assert told(long, long).count("word") < 5000


# What the image does not hold


@pytest.mark.parametrize(
    ("said", "answer", "abstention"),
    [("unanswerable", 1, 1), ("Cannot be determined.", 1, 1), ("", 1, 1), ("red", 0, 0)]
    + [("unanswerable or red", 0, 0), ("red (not answerable)", 0, 0)],
)
def test_unanswerable_questions(said, answer, abstention):
    gone = {"answers": [], "answerable": False, "boxes": []}
    earned = scores(written(answer=said, boxes=[]), ["answer", "abstention", "grounding"], **gone)
    assert earned == {"answer": answer, "abstention": abstention, "grounding": None}


def test_not_available_is_an_answer_where_it_is_accepted():
    form = {"question_type": "extractive", "answers": ["N/A"], "answer_candidates": None}
    assert scores(written(answer="N/A"), ["answer", "abstention"], **form) == {"answer": 1, "abstention": 1}


@pytest.mark.parametrize("cost", [-0.1, 1.5])
def test_an_error_that_costs_more_than_all_is_refused(cost):
    with pytest.raises(UserError, match="overabstention_cost is from 0 to 1"):
        called(["abstention"], [written()], [RECORD], overabstention_cost=cost)


# None


@pytest.mark.parametrize(
    ("reward", "changes"),
    [
        ("grounding", {"boxes": []}),
        ("grounding", {"boxes": None}),
        ("counterfactual", {"delta_cf_roi": None}),
        ("counterfactual", {"delta_cf_rand": None}),
        ("counterfactual", {"delta_cf_roi": float("nan")}),
        ("counterfactual", {"answers": [], "answerable": True}),
        ("answer", {"answers": [], "answerable": True}),
        ("answer", {"answers": None, "answerable": None}),
        ("abstention", {"answers": None, "answerable": None}),
        ("consistency", {"question": None}),
    ],
)
def test_none_where_a_reward_does_not_apply_and_zero_where_nothing_can_be_read(reward, changes):
    assert scores(written(), [reward], **changes) == {reward: None}
    assert scores(written()[:-1], [reward], **changes) == {reward: 0.0}


def test_columns_may_be_missing():
    completions = [[{"role": "assistant", "content": written()}]]
    alone = {name: reward(prompts=[[]], completions=completions) for name, reward in REWARDS.items()}
    assert alone == {name: [1.0 if name == "format" else None] for name in REWARDS}
    assert REWARDS["answer"](completions=completions, answers=[["Red"]]) == [1.0]  # the type is inferred
    assert REWARDS["abstention"](completions=completions, answers=[[]]) == [0.0]
    with pytest.raises(UserError, match="image_size"):
        REWARDS["grounding"](completions=completions, boxes=[[[0, 0, 1, 1]]])


# Counterfactual


@pytest.mark.parametrize(
    ("roi", "rand", "earned"),
    [(0.75, 0.25, 0.5), (0.25, 0.75, 0), (1, -1, 1), (1, 0, 1), (True, False, 1), (-0.5, -0.75, 0.25)]
    + [(1e300, 0, 1), (0, 0, 0)],
)
def test_counterfactual_is_the_clipped_difference_of_right_answers(roi, rand, earned):
    deltas = {"delta_cf_roi": roi, "delta_cf_rand": rand}
    assert scores(written(), ["counterfactual"], **deltas) == {"counterfactual": earned}
    assert scores(written(answer="blue"), ["counterfactual"], **deltas) == {"counterfactual": 0.0}


def test_too_large_a_region_earns_nothing_even_where_no_random_one_was_found():
    half = written(boxes=[[0, 0, 500, 1000]])
    assert scores(half, ["counterfactual"], delta_cf_rand=None) == {"counterfactual": 0.0}
    assert scores(written(boxes=[[0, 0, 499, 1000]]), ["counterfactual"]) == {"counterfactual": 0.5}


# Coordinates


def test_pixels_are_those_of_the_resized_image():
    seen = {
        "box_format": "pixels",
        "image_size": [100, 100],
        "resized_size": [56, 28],
        "boxes": [[50, 50, 100, 100]],
    }
    right = scores(written(boxes=[[28, 14, 56, 28]]), ["format", "grounding"], **seen)
    assert right == {"format": 1.0, "grounding": 1.0}
    assert scores(written(boxes=[[28, 14, 57, 28]]), ["format"], **seen) == {"format": 0.0}
    unresized = seen | {"resized_size": None}
    assert scores(written(boxes=[[50, 50, 100, 100]]), ["format", "grounding"], **unresized) == right
    everything = scores(written(boxes=[[0, 0, 56, 28]]), ["counterfactual"], **seen)
    assert everything == {"counterfactual": 0.0}


def test_pixels_need_a_size():
    completions = [written(boxes=[[0, 0, 5, 5]])] * 2
    with pytest.raises(UserError, match="image_size"):
        REWARDS["format"](completions=completions, box_format="pixels")
    # A question about text alone has no image that a box could lie in.
    sizes = [[5, 5], None]
    assert REWARDS["format"](completions=completions, box_format="pixels", image_size=sizes) == [1.0, 0.0]


SIZE = st.tuples(st.integers(8, 4000), st.integers(8, 4000))


@given(
    SIZE, st.lists(st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(5, 10)] * 2), min_size=1, max_size=4)
)
def test_the_training_target_has_all_of_format_and_nearly_all_of_grounding(size, shares):
    gold = [
        [x * size[0] / 100, y * size[1] / 100, (x + w) * size[0] / 100, (y + h) * size[1] / 100]
        for x, y, w, h in shares
    ]
    text = written(boxes=boxes_to_text_coordinates(gold, size, "norm1000"))
    earned = scores(text, ["format", "grounding"], boxes=gold, image_size=list(size))
    assert earned["format"] == 1.0 and earned["grounding"] > 0.95


# Text of every kind

JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(list(vars(HONEST))), inner),
    max_leaves=20,
)
BOX = st.lists(st.integers(-1, 1001), min_size=4, max_size=4)
ANSWERISH = st.fixed_dictionaries(
    {
        "caption": st.text(max_size=30) | JSONISH,
        "reasoning": st.lists(st.text(max_size=5), max_size=2) | JSONISH,
        "boxes": st.lists(BOX, max_size=3) | JSONISH,
        "answer": st.sampled_from(["red", "blue", "", "N/A", "yes"]) | JSONISH,
    }
).map(json.dumps)
COMPLETION = st.text(max_size=40) | JSONISH.map(json.dumps) | ANSWERISH | st.sampled_from([written(), ""])
DELTA = st.none() | st.floats()
ROW = st.fixed_dictionaries(
    {
        "question": st.sampled_from([QUESTION, "Is it red?"]) | st.none() | st.text(max_size=20),
        "question_type": st.sampled_from(["color", "yes_no", "mcq", "open_ended", "count_numeric"])
        | st.none(),
        "answers": st.lists(st.sampled_from(["red", "N/A", "2", ""]), max_size=2) | st.none(),
        "answerable": st.booleans() | st.none(),
        "answer_candidates": st.sampled_from([None, ["red", "blue"]]),
        "boxes": st.sampled_from([None, [], [[0, 0, 50, 50]], [[0, 0, 9, 9], [5, 5, 90, 20]]]),
        "image_size": st.just([100, 100]),
        "box_format": st.sampled_from([None, "norm1000", "pixels"]),
        "delta_cf_roi": DELTA,
        "delta_cf_rand": DELTA,
    }
)


def by_letters(left: list[str], right: list[str]) -> list[float]:
    """A stand-in for the encoder, from -1 to 1, the same for a pair whatever stands beside it."""
    return [
        2 * len(set(a) & set(b)) / max(1, len(set(a) | set(b))) - 1 for a, b in zip(left, right, strict=True)
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(COMPLETION, ROW), min_size=1, max_size=5), st.data())
def test_bounds_none_and_order(batch, data):
    completions, rows = zip(*batch, strict=True)
    order = data.draw(st.permutations(range(len(batch))))
    earned = called(REWARDS, completions, rows, similarity=by_letters)
    again = called(REWARDS, *zip(*[batch[i] for i in order], strict=True), similarity=by_letters)
    for name, values in earned.items():
        assert len(values) == len(batch)
        assert all(value is None or (type(value) is float and 0 <= value <= 1) for value in values), name
        assert again[name] == [values[i] for i in order], name
    for text, *values in zip(completions, *earned.values(), strict=True):
        if not text.startswith("{"):
            assert values == [0.0] * len(REWARDS)
    partial = called(["format"], completions, rows, partial_credit=True)["format"]
    for strict, share in zip(earned["format"], partial, strict=True):
        assert (share == 1) == (strict == 1) and 0 <= share <= 1


@given(ANSWERISH, st.sampled_from([["red"], ["N/A"], ["yes", "2"], []]))
def test_reward_and_metric_agree(text, answers):
    answer = json.loads(text)["answer"]
    earned = scores(text, ["answer"], answers=answers, answerable=bool(answers), answer_candidates=None)[
        "answer"
    ]
    if scores(text, ["format"])["format"]:
        line = {"pred": answer, "qtype": "color", "answers": answers, "answerable": bool(answers)}
        assert earned == judge(line)


BOXES = st.lists(
    st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    ),
    max_size=5,
)


@given(BOXES, BOXES)
def test_matched_iou_is_symmetric_and_one_more_box_never_helps(boxes, gold):
    value = matched_iou(boxes, gold)
    assert 0 <= value <= 1 and value == pytest.approx(matched_iou(gold, boxes))
    if gold:
        assert matched_iou(gold, gold) == pytest.approx(1)
    if len(boxes) >= len(gold):
        assert matched_iou([*boxes, [90, 90, 99, 99]], gold) < value or value == 0


def test_partial_credit_counts_fields_in_their_place():
    def share(text):
        return called(["format"], [text], [RECORD], partial_credit=True)["format"][0]

    assert share("{}") == 0 and share(written() + "!") == 0 and share(written()) == 1
    assert share(written(boxes=[[5, 5, 1, 1]], reasoning="none")) == 0.5
    assert share(written()[:-1] + ', "score": 1}') == 0.8
    assert share('{"caption": "a"}') == 0.25
    assert share('{"answer": "red", "caption": "a"}') == 0


# How they are called


@pytest.mark.parametrize(
    "completion",
    [
        written(),
        [{"content": written()}],
        [{"role": "assistant", "content": [{"type": "text", "text": written()}]}],
        [
            {
                "role": "assistant",
                "content": [{"text": written()[:9]}, {"type": "text", "text": written()[9:]}],
            }
        ],
        [{"role": "assistant", "content": None, "tool_calls": []}]
        + [{"role": "tool", "content": "42"}, {"role": "assistant", "content": written()}],
    ],
)
def test_contents_of_messages(completion):
    assert REWARDS["format"](completions=[completion]) == [1.0]


def test_trl_calls_them():
    """TRL's own loop over reward functions, on a trainer that has only what the loop needs."""
    names = list(REWARDS)
    trainer = SimpleNamespace(
        accelerator=Accelerator(cpu=True),
        reward_funcs=[REWARDS[name] for name in names],
        reward_func_names=names,
        reward_processing_classes=[None] * len(names),
        state=SimpleNamespace(global_step=0),
        args=SimpleNamespace(report_to=[]),
        environments=None,
        _log_completion_extra=None,
        _log_metric=None,
    )
    rows = [RECORD | {"prompt": [], "boxes": boxes} for boxes in (RECORD["boxes"], [])]
    completions = [[{"role": "assistant", "content": text}] for text in (written(), written(answer="blue"))]
    table = GRPOTrainer._calculate_rewards(trainer, rows, [[], []], completions, [[1], [2]])
    assert table[0].tolist() == pytest.approx(ALL, abs=0.01)
    assert table[1].tolist() == pytest.approx([1, 0, 0.65, 0, float("nan"), 1], abs=0.01, nan_ok=True)


@pytest.mark.parametrize("module", sorted(module.name for module in pkgutil.iter_modules(rewards.__path__)))
def test_examples_in_docstrings(module):
    outcome = doctest.testmod(importlib.import_module(f"rewards.{module}"))
    assert outcome.attempted and not outcome.failed


def test_rewards_need_no_torch():
    code = "import sys, rewards; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert write_structured(HONEST) == written()
