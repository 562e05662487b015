"""Answers withheld below a confidence: how a threshold is chosen and kept, and predict.py with one."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import evaluate
import predict
from tests.helpers import run_main, write_records
from vqa.abstention import calibrate, threshold_for, upper_bound, withhold
from vqa.answer_settings import answer_settings
from vqa.decisions import Decision
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.records import read_records
from vqa.tiny_models import build_tiny_model

CONFIDENCES = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]), st.floats(0, 1))
ANSWERS = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=40)
TARGETS = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9])
DELTAS = st.sampled_from([None, 0.05, 0.5])


def kept(answers, threshold):
    """Right or wrong of the answers that a threshold keeps, by the definition."""
    return [right for confidence, right in answers if confidence is None or confidence >= threshold]


def choose(answers, target, delta=None):
    return threshold_for(target, *map(list, zip(*answers, strict=True)), delta)


def choose_or_none(answers, target, delta=None):
    try:
        return choose(answers, target, delta)
    except UserError:
        return None


# The choice


@given(ANSWERS, TARGETS)
def test_coverage_is_the_largest_of_all_thresholds_that_meet_the_target(answers, target):
    thresholds = {0.0} | {1.0 if confidence is None else confidence for confidence, _ in answers}
    lists = [kept(answers, threshold) for threshold in thresholds]
    risks = [(1 - sum(rights) / len(rights), len(rights)) for rights in lists if rights]
    possible = [count for risk, count in risks if risk <= target + 1e-9]
    found = choose_or_none(answers, target)
    if found is None:
        assert not possible
        return
    rights = kept(answers, found.threshold)
    assert len(rights) == max(possible)
    assert found.coverage == pytest.approx(len(rights) / len(answers))
    assert found.risk == pytest.approx(1 - sum(rights) / len(rights))


@given(ANSWERS, TARGETS, TARGETS, DELTAS)
def test_a_stricter_target_never_lowers_the_threshold(answers, one, other, delta):
    strict, loose = (choose_or_none(answers, target, delta) for target in sorted((one, other)))
    if strict is not None:
        assert loose.threshold <= strict.threshold and loose.coverage >= strict.coverage


@given(ANSWERS, TARGETS, DELTAS)
def test_equal_confidences_are_kept_or_withheld_together(answers, target, delta):
    """In any order of the answers: none of them decides a tie."""
    found = choose_or_none(answers, target, delta)
    assert found == choose_or_none(answers[::-1], target, delta)
    if found is not None:
        assert found.coverage == pytest.approx(len(kept(answers, found.threshold)) / len(answers))


@given(ANSWERS, TARGETS, st.sampled_from([0.05, 0.5]))
def test_what_meets_the_bound_meets_the_target(answers, target, delta):
    bounded, plain = choose_or_none(answers, target, delta), choose_or_none(answers, target)
    if bounded is not None:
        rights = kept(answers, bounded.threshold)
        wrong = len(rights) - sum(rights)
        single = binomtest(wrong, len(rights), alternative="less").proportion_ci(1 - delta, "exact").high
        assert single <= target + 1e-9
        assert bounded.coverage <= plain.coverage


def test_where_all_can_be_kept_the_threshold_is_zero():
    assert choose([(0.4, True), (0.2, True)], 0.0).threshold == 0.0
    found = choose([(None, True)] * 4, 0.0)
    assert (found.threshold, found.coverage, found.risk) == (0.0, 1.0, 0.0)


def test_an_answer_without_a_confidence_is_always_kept():
    answers = [(None, False), (0.9, True), (0.9, True), (0.9, True), (0.1, False)]
    found = choose(answers, 0.25)
    assert (found.threshold, found.coverage, found.risk) == (0.9, 0.8, 0.25)
    with pytest.raises(UserError, match=r"lowest risk that is reached is 0\.2500, at a coverage of 80\.0%"):
        choose(answers, 0.2)


def test_what_is_no_number_or_nothing_is_refused():
    with pytest.raises(ValueError, match="not a number"):
        choose([(float("nan"), True)], 0.5)
    with pytest.raises(ValueError, match="at least one"):
        threshold_for(0.5, [], [])


def test_the_bound_is_that_of_clopper_and_pearson():
    for wrong, count in ((0, 1), (0, 60), (3, 60), (59, 60), (60, 60)):
        expected = binomtest(wrong, count, alternative="less").proportion_ci(0.9, "exact").high
        assert upper_bound(np.array([wrong]), np.array([count]), 0.1) == pytest.approx([expected])


def test_the_message_names_a_target_that_is_reached():
    generator = np.random.default_rng(0)
    answers = [(float(c), bool(generator.random() < 0.5 + c / 3)) for c in generator.random(300)]
    answers.append((1.0, False))  # the surest is wrong
    for delta in (None, 0.05):
        with pytest.raises(UserError) as error:
            choose(answers, 0.001, delta)
        named = float(re.search(r"is (0\.\d+), at", str(error.value))[1])
        assert choose(answers, named, delta).target_risk == named
        assert choose_or_none(answers, named - 2e-4, delta) is None


def test_the_promise_is_kept_where_confidence_misleads():
    """True risk falls, jumps to far above the target, and falls again; 6% are exceeded in at most 10%."""

    def true_risk(confidence):
        return np.select([confidence > 0.8, confidence > 0.5, confidence > 0.3], [0.02, 0.09, 0.14], 0.3)

    everywhere = np.linspace(1, 0, 100_001)
    risk_above = np.cumsum(true_risk(everywhere)) / np.arange(1, len(everywhere) + 1)
    exceeded, covered = {0.1: 0, None: 0}, []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        confidences = generator.random(2000)
        right = generator.random(2000) >= true_risk(confidences)
        for delta in exceeded:
            found = choose_or_none(list(zip(confidences, right, strict=True)), 0.06, delta)
            if found is not None:
                exceeded[delta] += risk_above[round((1 - found.threshold) * 100_000)] > 0.06
            if delta:
                covered.append(found.coverage if found else 0.0)
    assert exceeded[0.1] <= 20 and exceeded[None] > 60
    assert np.mean(covered) > 0.2


# Lines


def line(pred, confidence, answers=("red",), **more):
    fields = {"answers": list(answers), "answerable": bool(answers), "qtype": "color", "abstained": not pred}
    colors = {"answer_candidates": ["red", "blue"], "question": "what color is it?", "raw": pred}
    return {"pred": pred, "confidence": confidence} | fields | colors | more


def test_withheld_lines_keep_what_was_said():
    sure, unsure, silent = line("red", 0.6), line("red", 0.59), line("red", None)
    assert (
        withhold(sure, 0.6) == sure and withhold(silent, 1.0) == silent and withhold(unsure, None) == unsure
    )
    withheld = withhold(unsure, 0.6)
    assert withheld == unsure | {"pred": "", "abstained": True}
    assert list(withheld) == list(unsure)


def test_right_is_what_the_type_says_and_only_given_answers_count():
    lines = [
        line("Red.", 0.9),  # right by the rule of colours
        line("blue", 0.8, answers=()),  # answered though unanswerable: wrong
        line("", 0.99),  # abstained
        line("", 0.99, answers=()),  # abstained, rightly
    ]
    found = calibrate(lines, 0.0)
    assert (found.threshold, found.coverage, found.risk) == (0.9, 0.25, 0.0)
    found = calibrate(lines, 0.5)
    assert (found.threshold, found.coverage, found.risk) == (0.0, 0.5, 0.5)
    with pytest.raises(UserError, match="answers none of its 2 questions"):
        calibrate(lines[2:], 0.5)


# predict.py


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """40 records; the last but one and some others are not answerable."""
    path = write_records(tmp_path_factory.mktemp("records"), 40)
    rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
    for place in (5, 11, 30, 38):
        rows[place] |= {"answers": [], "answerable": False, "boxes": [], "box_images": []}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path):
    network, processor = build_tiny_model("qwen2_vl")
    network.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def asked(records, monkeypatch):
    """A model that is surer of later records, right from the 20th on, and says nothing to the 40th."""
    position = {row["id"]: index for index, row in enumerate(read_records(records))}
    seen = []

    def decide(rows):
        seen.extend(row["id"] for row in rows)
        for row in rows:
            place = position[row["id"]]
            if place == 39:
                yield Decision("", 0.99, "unanswerable", abstained=True)
            else:
                right = place >= 20 and row["answerable"]
                yield Decision(row["answers"][0] if right else "nonsense", place / 100, "said")

    monkeypatch.setattr(predict, "build_asker", lambda *_: lambda rows: list(decide(rows)))
    return seen


def ask(model, *more):
    run_main(predict, "--model_name_or_path", model, *more)


def lines_of(path):
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def test_a_threshold_by_hand(model, records, asked, tmp_path):
    given, plain = ("--records", records, "--output_file", tmp_path / "a.jsonl"), tmp_path / "b.jsonl"
    ask(model, *given, "--abstain_below", 0.25)
    ask(model, "--records", records, "--output_file", plain)
    for place, (found, before) in enumerate(
        zip(lines_of(tmp_path / "a.jsonl"), lines_of(plain), strict=True)
    ):
        assert found == (before | {"pred": "", "abstained": True} if place < 25 else before)
        assert list(found) == list(before) and found["confidence"] == before["confidence"]
    manifests = [json.loads((tmp_path / f"{name}.manifest.json").read_text()) for name in "ab"]
    assert [manifest["abstention"] for manifest in manifests] == [
        {"threshold": 0.25, "withheld": 25, "abstained_by_model": 1},
        {"threshold": None, "withheld": 0, "abstained_by_model": 1},
    ]
    assert manifests[0]["config"]["abstain_below"] == 0.25


def test_withheld_lines_are_judged_as_abstentions(model, records, asked, tmp_path):
    path, rows = tmp_path / "predictions.jsonl", read_records(records)
    ask(model, "--records", records, "--output_file", path, "--abstain_below", 0.25)
    run_main(evaluate, "--predictions_file", path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    withheld = {*range(25), 39}
    impossible = {place for place, row in enumerate(rows) if not row["answerable"]}
    assert impossible & withheld and impossible - withheld
    rates = metrics["abstention"]
    assert rates["precision"] == pytest.approx(len(impossible & withheld) / len(withheld))
    assert rates["hallucination_rate"] == pytest.approx(len(impossible - withheld) / len(impossible))
    assert rates["over_abstention_rate"] == pytest.approx(
        len(withheld - impossible) / (len(rows) - len(impossible))
    )
    right = (set(range(40)) - withheld - impossible) | (impossible & withheld)
    assert metrics["overall"]["correct"] == len(right)


def test_a_target_is_calibrated_kept_and_read(model, records, asked, tmp_path, capsys):
    ask(model, "--target_risk", 0.3, "--calibration_file", records)
    said = capsys.readouterr().out.strip()
    stored = json.loads((model / "abstention.json").read_text())
    impossible = [index for index, row in enumerate(read_records(records)) if not row["answerable"]]
    wrong = [place < 20 or place in impossible for place in range(39)]
    best = min(place for place in range(39) if np.mean(wrong[place:]) <= 0.3)
    assert stored["threshold"] == best / 100
    assert stored["coverage"] == pytest.approx((39 - best) / 40)
    assert stored["risk"] == pytest.approx(np.mean(wrong[best:]))
    assert (stored["target_risk"], stored["delta"]) == (0.3, None)
    assert stored["validation"] == {"file": str(records), "sha256": sha256_file(records), "count": 40}
    assert (stored["settings"]["style"], stored["settings"]["decoding"]) == ("short", "constrained")
    assert "\n" not in said and f"{stored['coverage']:.1%}" in said and "target 30.00%" in said
    assert not list(model.glob("*.partial*"))

    asked.clear()
    output = tmp_path / "p.jsonl"
    ask(model, "--target_risk", 0.3, "--records", records, "--output_file", output)
    assert len(asked) == 40  # the calibration file is not asked again
    withheld = [row["abstained"] for row in lines_of(output)]
    assert withheld == [place < best or place == 39 for place in range(40)]
    assert json.loads((tmp_path / "p.manifest.json").read_text())["abstention"]["threshold"] == best / 100

    # By hand wins over what is kept; without either nothing is withheld.
    ask(model, "--abstain_below", 0.0, "--records", records, "--output_file", output)
    assert sum(row["abstained"] for row in lines_of(output)) == 1


def test_calibrated_and_used_in_one_go(model, records, asked, tmp_path):
    output = tmp_path / "p.jsonl"
    both = ("--target_risk", 0.3, "--calibration_file", records, "--records", records)
    ask(model, *both, "--output_file", output, "--abstention_file", tmp_path / "kept" / "t.json")
    kept_at = json.loads((tmp_path / "kept" / "t.json").read_text())["threshold"]
    assert all(row["abstained"] or row["confidence"] >= kept_at for row in lines_of(output))
    assert not (model / "abstention.json").exists()


def test_what_was_kept_for_something_else_is_refused(model, records, asked, tmp_path):
    read = ("--records", records, "--output_file", tmp_path / "p.jsonl", "--target_risk")
    with pytest.raises(UserError, match="abstention.json does not exist; give --calibration_file"):
        ask(model, *read, 0.4)
    ask(model, "--target_risk", 0.4, "--calibration_file", records, "--risk_confidence", 0.6)
    stored = json.loads((model / "abstention.json").read_text())
    assert stored["delta"] == 0.4
    for more, named in (
        ((0.2,), "target_risk"),
        ((0.4, "--answer_style", "structured"), "style"),
        ((0.4, "--decoding", "free"), "decoding"),
        ((0.4, "--risk_confidence", 0.95), "delta"),
    ):
        with pytest.raises(UserError, match=f"abstention.json: was made for another {named}; give") as error:
            ask(model, *read, *more)
        assert "\n" not in str(error.value)
    ask(model, *read, 0.4)
    with open(model / "model.safetensors", "ab") as weights:
        weights.write(b" ")  # trained again
    with pytest.raises(UserError, match="another weights"):
        ask(model, *read, 0.4)
    for content in ("{", "[]", '{"threshold": null, "settings": {}}'):
        (model / "abstention.json").write_text(content)
        with pytest.raises(UserError, match="not a file that keeps a threshold") as error:
            ask(model, *read, 0.4)
        assert "\n" not in str(error.value)


def test_a_target_out_of_reach_keeps_nothing(model, records, asked):
    reach = r"no threshold reaches it.* lowest risk that is reached is 0\.\d{4}, at a coverage of"
    with pytest.raises(UserError, match=reach):
        ask(model, "--target_risk", 0.0, "--calibration_file", records)
    assert not (model / "abstention.json").exists()
    asked.clear()  # the answers are there, for a target that can be met
    ask(model, "--target_risk", 0.3, "--calibration_file", records)
    assert not asked and (model / "abstention.json").exists()


def test_one_question(model, asked, records, monkeypatch, capsys):
    monkeypatch.setattr(
        predict, "build_asker", lambda *_: lambda rows: [Decision("red", 0.5, "red") for _ in rows]
    )
    ask(model, "--question", "what is it?", "--candidates", "red,blue", "--abstain_below", 0.6)
    assert capsys.readouterr().out.startswith("[no answer]   (confidence 50.0%")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--abstain_below", 0.5, "--target_risk", 0.1), "give --abstain_below or --target_risk, not both"),
        (("--calibration_file", "v.jsonl"), "--calibration_file goes with --target_risk"),
        (("--abstention_file", "a.json"), "--abstention_file goes with --target_risk"),
        (("--risk_confidence", 0.9), "--risk_confidence goes with --target_risk"),
        (("--abstain_below", 1.5), "--abstain_below 1.5: from 0 to 1"),
        (("--abstain_below", "nan"), "--abstain_below nan"),
        (("--target_risk", 5), "--target_risk 5.0: a share"),
        (("--target_risk", 0.1, "--risk_confidence", 0.05), "--risk_confidence 0.05: from 0.5"),
        (("--target_risk", 0.1, "--calibration_file", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_mistakes_get_one_line(model, records, tmp_path, given, message):
    with pytest.raises(UserError) as error:
        ask(model, "--records", records, "--output_file", tmp_path / "p.jsonl", *given)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_model_of_the_hub_needs_a_file_to_keep_it_in(monkeypatch, model, records, asked, tmp_path):
    known = answer_settings(str(model))
    monkeypatch.setattr(predict, "resolve_answers", lambda args: known)
    calibrating = ("--target_risk", 0.3, "--calibration_file", records)
    with pytest.raises(UserError, match="someone/model is no local folder; name a file with --abst"):
        ask("someone/model", *calibrating)
    kept_in = ("--abstention_file", tmp_path / "t.json")
    ask("someone/model", *calibrating, *kept_in)
    assert json.loads((tmp_path / "t.json").read_text())["settings"]["weights"] == "someone/model"
    given = ("--records", records, "--output_file", tmp_path / "p.jsonl", "--target_risk", 0.3, *kept_in)
    ask("someone/model", *given)
    with pytest.raises(UserError, match="another weights"):
        ask("another/model", *given)
    with pytest.raises(UserError, match="t.json.partial: cannot be written"):
        ask("someone/model", *calibrating, "--abstention_file", tmp_path / "p.jsonl" / "t.json")
