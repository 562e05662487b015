"""Corpus metrics against plain reference formulas, their bounds, and what they are taken over."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.metrics.bootstrap import clustered_intervals
from vqa.metrics.grounding import best_iou, box_iou
from vqa.metrics.selective import (
    abstention_rates,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    risk_coverage,
)
from vqa.metrics.summary import KEYS, summarize
from vqa.metrics.text import anls, token_recall


def _edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


@given(st.text("abc ", max_size=8), st.lists(st.text("abc ", max_size=8), min_size=1, max_size=3))
def test_anls_is_the_formula(prediction, answers):
    folded = [" ".join(text.split()) for text in (prediction, *answers)]
    scores = []
    for answer in folded[1:]:
        longest = max(len(folded[0]), len(answer))
        scores.append(1 - _edit_distance(folded[0], answer) / longest if longest else 1.0)
    expected = max(scores) if max(scores) >= 0.5 else 0.0
    assert anls(prediction, answers) == pytest.approx(expected)


def test_anls_cases():
    assert anls("COFFEE ", ["coffee"]) == 1.0
    assert anls("ab", ["ac"]) == 0.5  # exactly the threshold counts
    assert anls("abc", ["axy"]) == 0.0
    assert anls("color", ["hue", "colour"]) == pytest.approx(5 / 6)
    assert anls("ax", ["ay" + " " * 50]) == 0.5  # padding buys nothing
    with pytest.raises(ValueError, match="at least one"):
        anls("x", [])


def test_token_recall_uses_gold_counts():
    assert token_recall("left lobe of the liver", ["Left lobe."]) == 1.0
    assert token_recall("left", ["left lobe"]) == 0.5
    assert token_recall("left left left", ["left lobe left"]) == pytest.approx(2 / 3)
    assert token_recall("left", ["left and left"]) == pytest.approx(1 / 3)
    assert token_recall("a", ["b", "a"]) == 1.0
    assert token_recall("a", ["..."]) is None


_boxes = st.tuples(*[st.integers(0, 30)] * 4)


@given(_boxes, _boxes)
def test_iou_is_symmetric_and_bounded(left, right):
    iou = box_iou(left, right)
    assert 0 <= iou <= 1 and iou == box_iou(right, left)
    pixels = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (left, right)]
    union = len(pixels[0] | pixels[1])
    both_whole = all(pixels)
    assert iou == pytest.approx(len(pixels[0] & pixels[1]) / union if both_whole else 0.0)


def test_best_iou():
    assert box_iou([5, 5, 5, 9], [5, 5, 5, 9]) == 0.0
    assert best_iou([[0, 0, 4, 4], [10, 10, 20, 20]], [[10, 10, 20, 15], [50, 50, 60, 60]]) == 0.5
    assert best_iou([], [[0, 0, 1, 1]]) == 0.0


_confidence = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])
_scored = st.lists(st.tuples(_confidence, st.booleans()), min_size=1, max_size=40)


@given(_scored, st.randoms())
def test_risk_coverage_is_the_definition(rows, random):
    curve = risk_coverage(*zip(*rows, strict=True))
    # The definition, record by record: the risk among all records at least as confident.
    risks = []
    for confidence, _ in rows:
        kept = [right for other, right in rows if other >= confidence]
        risks.append(1 - sum(kept) / len(kept))
    assert curve.aurc() == pytest.approx(sum(risks) / len(risks))
    assert -1e-12 <= curve.e_aurc() <= curve.aurc() + 1e-12
    assert np.all(np.diff(curve.coverage) > 0) and curve.coverage[-1] == 1.0
    coverages = [curve.coverage_at(risk) for risk in (0, 0.05, 0.3, 1)]
    assert coverages == sorted(coverages) and coverages[-1] == 1.0
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert risk_coverage(*zip(*shuffled, strict=True)).aurc() == pytest.approx(curve.aurc())


def test_the_best_order_has_no_excess():
    curve = risk_coverage([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert curve.aurc() == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert curve.e_aurc() == pytest.approx(0)
    assert curve.coverage_at(0.1) == 0.5 and curve.coverage_at(1 / 3) == 0.75
    worst = risk_coverage([0.1, 0.2, 0.8, 0.9], [True, True, False, False])
    assert worst.e_aurc() > 0.4 and worst.coverage_at(0.1) == 0.0


def test_ties_stand_or_fall_together():
    assert risk_coverage([0.5] * 4, [True, True, True, False]).aurc() == 0.25
    assert risk_coverage([0.5] * 4, [True, True, True, False]).coverage_at(0.2) == 0.0


@given(_scored)
def test_calibration_is_the_definition(rows):
    confidences, correct = zip(*rows, strict=True)
    bins = calibration_bins(confidences, correct)
    assert sum(item.count for item in bins) == len(rows)
    expected = 0.0
    for i in range(15):
        inside = [(c, r) for c, r in rows if (i / 15 < c <= (i + 1) / 15 + 1e-12) or (i == 0 and c == 0)]
        if inside:
            expected += abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) / len(rows)
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)
    assert brier_score(confidences, correct) == pytest.approx(sum((c - r) ** 2 for c, r in rows) / len(rows))


def test_a_confidence_on_a_bins_edge_belongs_below():
    (only,) = calibration_bins([0.6], [True])
    assert (only.low, only.high) == pytest.approx((8 / 15, 9 / 15))


def test_abstention():
    rates = abstention_rates([True, True, False, False, False], [False, True, False, True, True])
    assert rates == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "hallucination_rate": 0.5,
        "over_abstention_rate": pytest.approx(1 / 3),
    }
    nothing = abstention_rates([False, False], [True, True])
    assert nothing.pop("over_abstention_rate") == 0.0
    assert nothing == dict.fromkeys(("precision", "recall", "f1", "hallucination_rate"))
    assert abstention_rates([False], [False])["f1"] == 0.0


def test_intervals_are_clustered_seeded_and_of_the_right_width():
    rng = np.random.default_rng(0)
    values = (rng.random(2000) < 0.7).astype(float)
    everywhere = np.ones(2000, bool)
    low, high = clustered_intervals({"x": (values, everywhere)}, range(2000))["x"]
    width = 2 * 1.96 * math.sqrt(0.7 * 0.3 / 2000)
    assert low < values.mean() < high and high - low == pytest.approx(width, rel=0.15)
    assert clustered_intervals({"x": (values, everywhere)}, range(2000), seed=0)["x"] == [low, high]
    assert clustered_intervals({"x": (values, everywhere)}, range(2000), seed=1)["x"] != [low, high]
    # Ten identical records an image tell no more than one: the interval is that of 200 records.
    values = np.repeat(values[:200], 10)
    images = np.repeat(np.arange(200), 10).tolist()
    low, high = clustered_intervals({"x": (values, everywhere)}, images)["x"]
    assert high - low == pytest.approx(width * math.sqrt(10), rel=0.2)


def test_intervals_where_there_is_nothing_to_resample():
    assert clustered_intervals({"x": ([1.0, 0.0], [True, True])}, ["a", "a"]) == {"x": None}
    rates = {"x": ([1.0, 0.0, 1.0], [True, False, False]), "y": ([1.0, 0.0, 1.0], [True, True, True])}
    intervals = clustered_intervals(rates, ["a", "b", "c"])
    assert intervals["x"] is None and intervals["y"] == [0.0, 1.0]


def _line(number: int = 0, **fields) -> dict:
    line = {
        "id": str(number), "pred": "x", "gt": "x", "qtype": "open_ended", "answers": ["x"],
        "answerable": True, "source": "s", "confidence": 0.5, "abstained": False, "boxes": [], "gt_boxes": [],
        "answer_candidates": None, "caption": None, "reasoning": [], "valid_format": None, "raw": "",
        "images": [f"{number}.png"], "question": "?",
    }  # fmt: skip
    return line | fields


def test_every_key_of_the_contract_is_there():
    metrics = summarize([_line()], [True])
    assert tuple(metrics) == KEYS
    contract = (
        "count overall by_question_type by_source exact_match anls anls_star vqa_accuracy "
        "relaxed_accuracy relaxed_accuracy_strict closed_accuracy open_recall cer wer ocrbench format "
        "grounding selective abstention caption_consistency counterfactual calibration intervals"
    )
    assert set(metrics) == set(contract.split())
    assert set(metrics["selective"]) == {"aurc", "e_aurc", "coverage_at_risk", "effective_reliability"}
    assert set(metrics["selective"]["coverage_at_risk"]) == {"0.01", "0.05", "0.1"}
    assert set(metrics["counterfactual"]) >= {"roi_flip_rate", "random_flip_rate", "faithfulness_gap"}


def test_absent_inputs_are_null_and_not_zero():
    metrics = summarize([_line(confidence=None, qtype="size_numeric", gt_boxes=[[0, 0, 1, 1]])], [False])
    assert metrics["overall"] == {"correct": 0, "accuracy": 0.0}
    for key in ("anls", "closed_accuracy", "open_recall", "vqa_accuracy", "cer", "wer", "ocrbench"):
        assert metrics[key] is None
    assert metrics["format"] == {"valid_rate": None, "box_rate": None}
    assert metrics["grounding"] == {"mean_iou": None, "acc_at_50": None}
    assert metrics["calibration"] == {"ece": None, "brier": None}
    assert metrics["selective"]["aurc"] is None
    assert set(metrics["selective"]["coverage_at_risk"].values()) == {None}
    assert metrics["intervals"]["overall/accuracy"] is None


def test_one_missing_confidence_makes_confidence_metrics_null():
    metrics = summarize([_line(0), _line(1, confidence=None)], [True, True])
    assert metrics["selective"]["aurc"] is None and metrics["calibration"]["ece"] is None
    unanswerable = _line(1, confidence=None, answerable=False, answers=[])
    metrics = summarize([_line(0), unanswerable], [True, False])
    assert metrics["selective"]["aurc"] == 0.0 and metrics["calibration"]["ece"] is None


def test_what_each_metric_is_taken_over():
    lines = [
        _line(0, pred="left", answers=["left lobe"], qtype="open_ended"),
        _line(1, pred="total", answers=["Total."], qtype="extractive", source="t"),
        _line(2, pred="yes", answers=["yes"], qtype="yes_no"),
        _line(3, pred="", answers=[], answerable=False, abstained=True, qtype="mcq"),
        _line(4, pred="12", answers=["13"], qtype="count_numeric"),
        _line(5, pred="n/a", answers=["x"], abstained=True, qtype="extractive", confidence=0.9),
    ]
    metrics = summarize(lines, [False, True, True, True, False, False])
    assert metrics["count"] == 6 and metrics["overall"] == {"correct": 3, "accuracy": 0.5}
    assert metrics["by_question_type"]["extractive"] == {"count": 2, "correct": 1, "accuracy": 0.5}
    assert metrics["by_source"]["t"] == {"count": 1, "correct": 1, "accuracy": 1.0}
    assert metrics["exact_match"] == pytest.approx(2 / 5)
    assert metrics["anls"] == pytest.approx((0 + 5 / 6 + 0) / 3)
    assert metrics["closed_accuracy"] == 1.0
    assert metrics["open_recall"] == 0.5
    assert metrics["abstention"]["over_abstention_rate"] == pytest.approx(1 / 5)
    # The abstention on an answerable record is wrong, and the most confident of all.
    assert metrics["selective"]["aurc"] == pytest.approx((1 + 4 * 3 / 5) / 5)


def test_grounding_and_format():
    structured = {"valid_format": True, "caption": "a shape", "gt_boxes": [[0, 0, 10, 10]]}
    lines = [
        _line(0, **structured, boxes=[[0, 0, 10, 5]]),
        _line(1, **structured, boxes=[[0, 0, 10, 10]]),
        _line(2, **structured | {"valid_format": False}),
        _line(3, valid_format=True, caption="", boxes=[[1, 1, 2, 2]]),
    ]
    metrics = summarize(lines, [True] * 4)
    assert metrics["grounding"] == {"mean_iou": pytest.approx(0.5), "acc_at_50": pytest.approx(2 / 3)}
    assert metrics["format"] == {"valid_rate": 0.75, "box_rate": 0.75}
    pointless = summarize([_line(0, **structured)], [True])
    assert pointless["grounding"]["mean_iou"] == 0.0  # it could have pointed


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["yes_no", "mcq"]), st.integers(0, 3)), min_size=1))
def test_metrics_do_not_depend_on_the_order(rows):
    lines = [_line(i, qtype=name, images=[str(image)]) for i, (_, name, image) in enumerate(rows)]
    correct = [right for right, *_ in rows]
    there, back = summarize(lines, correct, resamples=20), summarize(lines[::-1], correct[::-1], resamples=20)
    del there["intervals"], back["intervals"]
    assert there == back
    assert 0 <= there["overall"]["accuracy"] <= 1
    assert sum(group["count"] for group in there["by_question_type"].values()) == len(rows)


def test_no_predictions_are_refused():
    with pytest.raises(ValueError, match="0 verdicts"):
        summarize([], [])
