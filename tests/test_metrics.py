"""Corpus metrics against plain reference formulas, their bounds, and what they are taken over."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from vqa.errors import UserError
from vqa.exports import write_table
from vqa.metrics.bootstrap import clustered_intervals, percentile_interval, resampled_counts
from vqa.metrics.confidence_intervals import confidence_intervals
from vqa.metrics.grounding import best_iou, box_iou
from vqa.metrics.paired import compare_paired, compare_predictions, sign_flip_p_value
from vqa.metrics.selective import (
    abstention_rates,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    reliability_threshold,
    reliability_values,
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


@given(_scored, st.sampled_from([1.0, 3.0]))
def test_the_reliability_threshold_is_the_best_and_lowest(rows, cost):
    confidences, correct = zip(*rows, strict=True)

    def reliability(threshold):
        return sum((1 if right else -cost) for c, right in rows if c >= threshold) / len(rows)

    threshold = reliability_threshold(confidences, correct, cost)
    gain = reliability_values(confidences, correct, threshold, cost).mean()
    assert gain == pytest.approx(reliability(threshold))
    tried = {c: reliability(c) for c in (*confidences, math.inf)}
    assert gain == pytest.approx(max(tried.values())) and gain >= 0
    assert threshold == min(c for c, value in tried.items() if value == pytest.approx(gain))


def test_effective_reliability_on_other_records():
    # Tuned: answering from 0.6 on gains 2 of 4, any lower threshold less.
    assert reliability_threshold([0.9, 0.6, 0.5, 0.4], [True, True, False, False]) == 0.6
    assert reliability_values([0.9, 0.6, 0.59, 0.1], [True, False, True, False], 0.6).tolist() == [
        1,
        -1,
        0,
        0,
    ]
    assert reliability_threshold([0.9, 0.5], [False, False]) == math.inf
    assert reliability_threshold([0.9, 0.5], [True, False]) == 0.9


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
    everywhere = np.ones(2000)
    low, high = clustered_intervals({"x": (values, everywhere)}, images)["x"]
    assert high - low == pytest.approx(width * math.sqrt(10), rel=0.2)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), _confidence, st.booleans(), st.booleans()), min_size=2, max_size=20)
)
def test_intervals_of_the_curve_are_those_of_the_resampled_records(rows):
    lines = [
        _line(i, images=[str(image)], confidence=c, answerable=a) for i, (image, c, _, a) in enumerate(rows)
    ]
    correct = [right for _, _, right, _ in rows]
    images = sorted({image for image, *_ in rows})
    found = confidence_intervals(lines, correct, [str(image) for image, *_ in rows], resamples=30)
    samples = {"selective/aurc": [], "selective/e_aurc": [], "selective/coverage_at_risk/0.1": []}
    errors, briers = [], []
    for times in np.concatenate(list(resampled_counts(len(images), 30, 0))):
        drawn = [row for row in rows for _ in range(times[images.index(row[0])])]
        errors.append(expected_calibration_error([c for _, c, _, _ in drawn], [r for _, _, r, _ in drawn]))
        briers.append(brier_score([c for _, c, _, _ in drawn], [r for _, _, r, _ in drawn]))
        answerable = [(c, right) for _, c, right, can in drawn if can]
        if answerable:
            curve = risk_coverage(*zip(*answerable, strict=True))
            for values, value in zip(
                samples.values(), (curve.aurc(), curve.e_aurc(), curve.coverage_at(0.1)), strict=True
            ):
                values.append(value)
    if len(images) > 1:
        assert found["calibration/ece"] == pytest.approx(percentile_interval(np.array(errors)))
        assert found["calibration/brier"] == pytest.approx(percentile_interval(np.array(briers)))
    for path, values in samples.items():
        if len({image for image, _, _, can in rows if can}) > 1:
            assert found[path] == pytest.approx(percentile_interval(np.array(values)), abs=1e-9)
        else:
            assert found[path] is None


def test_the_interval_of_a_ratio_weighs_by_the_denominator():
    # One long text without errors, many short ones of nothing but errors: a mean of rates would be near 1.
    errors, lengths = [0] + [1] * 20, [1000] + [1] * 20
    low, high = clustered_intervals({"cer": (errors, lengths)}, range(21))["cer"]
    assert low < 20 / 1020 < high and low < 0.02


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_the_sign_flip_test_is_the_enumeration(sums):
    observed = abs(sum(sums))
    signs = list(itertools.product((1, -1), repeat=len(sums)))
    extreme = sum(abs(sum(s * v for s, v in zip(sign, sums, strict=True))) >= observed for sign in signs)
    assert sign_flip_p_value(sums) == pytest.approx(extreme / len(signs))


@pytest.mark.parametrize(("wins", "losses"), [(3, 9), (10, 10), (0, 7), (200, 320)])
def test_with_one_record_an_image_it_is_mcnemars_exact_test(wins, losses):
    expected = binomtest(wins, wins + losses).pvalue
    assert sign_flip_p_value([1] * wins + [-1] * losses + [0] * 50) == pytest.approx(expected, rel=1e-5)


def test_a_paired_comparison():
    right_a = [True, False, False, False] * 50
    right_b = [True, True, False, True] * 50
    types = ["mcq", "mcq", "yes_no", "yes_no"] * 50
    compared = compare_paired(right_a, right_b, range(200), {"by_question_type": types})
    overall = compared["overall"]
    assert (overall["count"], overall["only_a"], overall["only_b"]) == (200, 0, 100)
    assert (overall["accuracy_a"], overall["accuracy_b"], overall["difference"]) == (0.25, 0.75, 0.5)
    low, high = overall["interval"]
    assert 0.42 < low < 0.5 < high < 0.58 and overall["p_value"] < 1e-6
    assert compared["by_question_type"]["mcq"]["difference"] == 0.5
    # The other way round everything but the sign is the same.
    swapped = compare_paired(right_b, right_a, range(200), {})["overall"]
    assert swapped["difference"] == -0.5 and swapped["p_value"] == overall["p_value"]
    assert swapped["interval"] == pytest.approx([-high, -low])
    many = compare_paired(right_a, right_b, range(200), {"by_source": [str(i // 2) for i in range(200)]})
    assert len(many["by_source"]) == 50  # of a hundred
    # Two hundred records about one image are one piece of evidence.
    same = compare_paired(right_a, right_b, ["one"] * 200, {})["overall"]
    assert same["interval"] is None and same["p_value"] == 1.0


def test_files_are_paired_by_id_and_others_refused():
    a = [_line(i) for i in range(20)]
    right = [i % 2 == 0 for i in range(20)]
    compared = compare_predictions((a, a[::-1]), (right, right[::-1]), ("A", "B"))
    assert compared["overall"]["difference"] == 0 and compared["overall"]["only_a"] == 0
    assert set(compared["by_question_type"]) == {"open_ended"} and set(compared["by_source"]) == {"s"}
    with pytest.raises(UserError, match=r"1 only in A: '0'; 1 only in B: '99'"):
        compare_predictions((a, [*a[1:], _line(99)]), (right, right), ("A", "B"))
    with pytest.raises(UserError, match=r"11 only in A: '9', .* and 1 more"):
        compare_predictions((a, a[:9]), (right, right[:9]), ("A", "B"))
    with pytest.raises(UserError, match=r"id '3': gt is 'x' in A and 'y' in B"):
        compare_predictions((a, a[:3] + [_line(3, gt="y")] + a[4:]), (right, right), ("A", "B"))


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
        "count overall by_question_type by_source exact_match anls anls_star fields nted vqa_accuracy "
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
    assert metrics["fields"] == dict.fromkeys(("precision", "recall", "f1", "documents"))
    assert metrics["nted"] is None
    assert metrics["format"] == {"valid_rate": None, "box_rate": None}
    assert metrics["grounding"] == {"mean_iou": None, "acc_at_50": None}
    assert metrics["calibration"] == {"ece": None, "brier": None}
    assert metrics["selective"]["aurc"] is None
    assert set(metrics["selective"]["coverage_at_risk"].values()) == {None}
    assert metrics["intervals"]["overall/accuracy"] is None


def test_sources_that_are_read_have_error_rates_of_their_own():
    read = {"qtype": "transcription"}
    lines = [
        _line(0, pred="abcd", answers=["abce"], gt="abce", source="hand", **read),
        _line(1, pred="to day", answers=["to day"], gt="to day", source="hand", **read),
        _line(2, pred="", answers=["xy"], gt="xy", source="print", abstained=True, **read),
        _line(3, source="other"),
    ]
    metrics = summarize(lines, [False, True, False, True])
    hand = {"count": 2, "correct": 1, "accuracy": 0.5, "exact_match": 0.5, "cer": 1 / 10, "wer": 1 / 3}
    assert metrics["by_source"]["hand"] == pytest.approx(hand)
    assert metrics["by_source"]["print"]["cer"] == metrics["by_source"]["print"]["wer"] == 1.0
    assert set(metrics["by_source"]["other"]) == {"count", "correct", "accuracy"}
    assert metrics["intervals"]["by_source/print/cer"] is None  # one picture
    low, high = metrics["intervals"]["by_source/hand/cer"]
    assert 0 <= low <= 1 / 10 <= high <= 1
    assert "by_source/hand/wer,0.33" in write_table(metrics, "csv")


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


def test_an_abstention_is_no_answer_in_any_metric():
    metrics = summarize(
        [
            _line(0, qtype="extractive", pred="x", abstained=True, answers=["x"]),
            _line(1, qtype="transcription", pred="abcd", abstained=True, answers=["abcd"]),
            _line(2, qtype="extractive", pred='{"a": "b"}', abstained=True, answers=['{"a": "b"}']),
        ],
        [False] * 3,
    )
    for key in (
        "exact_match",
        "anls",
        "anls_star",
        "relaxed_accuracy",
        "relaxed_accuracy_strict",
        "ocrbench",
    ):
        assert metrics[key] == 0.0
    assert metrics["cer"] == metrics["wer"] == 1.0


def test_which_records_the_metrics_of_text_are_taken_over():
    ten = ["cat"] * 2 + ["dog"] * 8
    lines = [
        _line(0, qtype="extractive", pred="cat", answers=["dog"], annotations=ten),
        _line(1, qtype="extractive", pred="", answers=[], answerable=False, abstained=True, gt=None,
              annotations=["unanswerable"] * 10),
        _line(2, qtype="size_numeric", pred="102", answers=["100"]),
        _line(3, qtype="count_numeric", pred="2010", answers=["2019"]),
        _line(4, qtype="mcq", pred="100", answers=["100"], answer_candidates=["100", "5"]),
        _line(5, qtype="transcription", pred="abxd ef", answers=["zzz", "abcd ef"]),
        _line(6, qtype="open_ended", pred='{"total": "5"}', answers=['{"total": "5", "tax": "1"}']),
        _line(7, qtype="transcription", pred="made up", answers=[], answerable=False, gt=None),
    ]  # fmt: skip
    metrics = summarize(lines, [False] * 8)
    cat = (2 * 1 / 3 + 8 * 2 / 3) / 10  # two of ten agree; leaving one of the two out, one does
    assert metrics["vqa_accuracy"] == pytest.approx((cat + 1) / 2)
    assert metrics["relaxed_accuracy"] == pytest.approx(2 / 4)  # 102 and, by the reference, 2010
    assert metrics["relaxed_accuracy_strict"] == pytest.approx(1 / 4)
    assert metrics["cer"] == pytest.approx(1 / 7) and metrics["wer"] == pytest.approx(1 / 2)
    assert metrics["anls_star"] == pytest.approx(0.5)
    assert metrics["ocrbench"] == 0.0
    blank = _line(8, qtype="transcription", pred="no", answers=[], answerable=False, gt="")
    assert summarize([*lines, blank], [False] * 9)["cer"] == pytest.approx((1 + 2) / 7)


def test_intervals_lie_around_the_values_of_the_same_path():
    rng = np.random.default_rng(0)
    lines = [
        _line(
            i, qtype=("transcription", "extractive", "open_ended", "yes_no")[i % 4], answers=["yes"],
            pred=str(rng.choice(["yes", "yes no", "x"])), answerable=bool(i % 5), abstained=i % 7 == 0,
            confidence=float(rng.random()),
            valid_format=bool(i % 3), caption="c", boxes=[[0, 0, 5, 5]], gt_boxes=[[0, 0, 5, i % 10 + 1]],
        )
        for i in range(200)
    ]  # fmt: skip
    correct = [bool(rng.random() < 0.6) for _ in lines]
    masked = [line | {"pred": str(rng.choice(["yes", "x"]))} for line in lines]
    metrics = summarize(
        lines,
        correct,
        validation=(lines, correct),
        roi_predictions=masked,
        random_predictions=lines,
        similarities=rng.random(200).tolist(),
    )
    checked = 0
    for path, interval in metrics["intervals"].items():
        value = metrics
        for key in path.split("/"):
            value = value[key]
        assert (value is None) == (interval is None), path
        if interval:
            # E-AURC and ECE of resamples are biased upwards, so theirs need not hold the value.
            assert path.endswith(("ece", "aurc")) or interval[0] - 1e-9 <= value <= interval[1] + 1e-9, path
            checked += 1
    assert checked > 30
    for path in (
        *("cer", "wer", "anls", "abstention/f1", "selective/aurc", "caption_consistency/0.4/accuracy"),
        *("counterfactual/roi_flip_rate", "counterfactual/confidence_gap"),
    ):
        assert metrics["intervals"][path] is not None, path


def test_a_thousand_sources_have_rates_and_the_largest_intervals():
    lines = [_line(i, source=f"s{i // 2 if i > 100 else 0}") for i in range(2000)]
    metrics = summarize(lines, [True] * 2000, resamples=20)
    assert len(metrics["by_source"]) > 900
    assert metrics["intervals"]["by_source/s0/accuracy"] == [1.0, 1.0]
    assert sum(path.startswith("by_source/") for path in metrics["intervals"]) == len(metrics["by_source"])


def test_caption_consistency_is_taken_over_records_with_a_caption():
    lines = [_line(0), _line(1), _line(2)]
    metrics = summarize(lines, [True, False, True], similarities=[0.45, 0.45, None])
    assert metrics["caption_consistency"]["0.4"] == {"coverage": 1.0, "accuracy": 0.5}
    assert metrics["caption_consistency"]["0.5"] == {"coverage": 0.0, "accuracy": None}
    assert summarize(lines, [True] * 3, similarities=[None] * 3)["caption_consistency"] is None
    assert summarize(lines, [True] * 3)["caption_consistency"] is None


def test_effective_reliability_needs_a_validation_file():
    lines = [_line(0, confidence=0.9), _line(1, confidence=0.7), _line(2, confidence=0.1)]
    correct = [True, False, True]
    assert summarize(lines, correct)["selective"]["effective_reliability"] is None
    validation = ([_line(9, confidence=0.8), _line(8, confidence=0.3)], [True, False])
    metrics = summarize(lines, correct, validation=validation)
    assert metrics["selective"]["effective_reliability"] == pytest.approx(1 / 3)
    unsure = ([_line(9, confidence=None)], [True])
    assert summarize(lines, correct, validation=unsure)["selective"]["effective_reliability"] is None


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
    bare = _line(0, valid_format=False, gt_boxes=[[0, 0, 10, 10]])  # no text kept, no caption
    assert summarize([bare], [True])["grounding"] == {"mean_iou": 0.0, "acc_at_50": 0.0}
    thought = _line(0, valid_format=True, raw="<think>a</think>x", gt_boxes=[[0, 0, 10, 10]])
    thoughts = summarize([thought, bare], [True, True])  # one of them broke the form
    assert thoughts["format"] == {"valid_rate": 0.5, "box_rate": None}
    assert thoughts["grounding"] == {"mean_iou": None, "acc_at_50": None}
    failed = {"valid_format": False, "raw": '{"caption": "a sha', "gt_boxes": [[0, 0, 10, 10]]}
    broken = summarize([_line(0, **failed)], [False])
    assert (
        broken["format"] == {"valid_rate": 0.0, "box_rate": 0.0} and broken["grounding"]["acc_at_50"] == 0.0
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["yes_no", "mcq"]), st.integers(0, 3)), min_size=1))
def test_metrics_do_not_depend_on_the_order(rows):
    lines = [_line(i, qtype=name, images=[str(image)]) for i, (_, name, image) in enumerate(rows)]
    correct = [right for right, *_ in rows]
    there, back = summarize(lines, correct, resamples=20), summarize(lines[::-1], correct[::-1], resamples=20)
    there_intervals, back_intervals = there.pop("intervals"), back.pop("intervals")
    assert there == back
    assert there_intervals.keys() == back_intervals.keys()
    for path, interval in there_intervals.items():
        assert interval == (back_intervals[path] and pytest.approx(back_intervals[path]))
    assert 0 <= there["overall"]["accuracy"] <= 1
    assert sum(group["count"] for group in there["by_question_type"].values()) == len(rows)


def test_no_predictions_are_refused():
    with pytest.raises(ValueError, match="0 verdicts"):
        summarize([], [])
