"""The modules of the HF package `evaluate`: loaded by path from another folder, with no network.

One process loads and runs them all: here, at the root, the package's name is that of our script.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "vqa/metrics/hf"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/*.py") if path.stem == path.parent.name)

# name of the case -> (module, what is given to compute, what comes back)
CURVE = {"aurc": 5 / 18, "e_aurc": 1 / 6}  # right, wrong, right: risks 0, 1/2, 1/3; at best 0, 0, 1/3
NOTHING = {"coverage": None, "accuracy": None}
ALL = {"coverage": 1.0, "accuracy": 1.0}
NONE = {"coverage": 0.0, "accuracy": None}
CASES = {
    "anls": (
        "anls",
        {"predictions": ["abcd", "x", "z"], "references": [["abce", "q"], ["y"], []]},
        {"anls": 0.375},
    ),
    "anls, one answer": ("anls", {"predictions": ["ab", "x"], "references": ["ab", "y"]}, {"anls": 0.5}),
    "anls, threshold": (
        "anls",
        {"predictions": ["abcd"], "references": [["abce"]], "threshold": 0.8},
        {"anls": 0.0},
    ),
    "anls, no records": ("anls", {"predictions": [], "references": []}, {"anls": None}),
    "anls_star": (
        "anls_star",
        {"predictions": ['{"a": "b"}', "plain"], "references": ['{"a": "b", "c": "d"}', "plain"]},
        {"anls_star": 0.75},
    ),
    "vqa_accuracy": (
        "vqa_accuracy",
        {"predictions": ["Yes.", "a dog"], "references": [["yes"] * 3 + ["no"] * 7, ["dog"] * 10]},
        {"vqa_accuracy": 0.95},
    ),
    "relaxed_accuracy": (
        "relaxed_accuracy",
        {"predictions": ["2019", "10.4"], "references": [["2010"], ["10"]]},
        {"relaxed_accuracy": 1.0, "relaxed_accuracy_strict": 0.5},
    ),
    "typed_accuracy": (
        "typed_accuracy",
        {
            "predictions": ["Yes, there is", "10 mm", "n/a", "B", "maybe"],
            "references": [["yes"], ["1 cm"], [], ["oedema"], ["no"]],
            "question_types": ["yes_no", "size_numeric", "open_ended", "mcq", "yes_no"],
            "candidates": [None, None, None, ["cyst", "oedema"], None],
        },
        {
            "accuracy": 0.8,
            "by_question_type": {
                "mcq": {"count": 1, "correct": 1, "accuracy": 1.0},
                "open_ended": {"count": 1, "correct": 1, "accuracy": 1.0},
                "size_numeric": {"count": 1, "correct": 1, "accuracy": 1.0},
                "yes_no": {"count": 2, "correct": 1, "accuracy": 0.5},
            },
        },
    ),
    "typed_accuracy, options in the question": (
        "typed_accuracy",
        {
            "predictions": ["B"],
            "references": [["oedema"]],
            "question_types": ["mcq"],
            "questions": ["What is it? A) cyst B) oedema"],
        },
        {"accuracy": 1.0, "by_question_type": {"mcq": {"count": 1, "correct": 1, "accuracy": 1.0}}},
    ),
    "exact_match": (
        "exact_match",
        {"predictions": ['"Left  Lobe."', "lobe"], "references": [["left lobe"], ["left lobe"]]},
        {"exact_match": 0.5},
    ),
    "open_recall": (
        "open_recall",
        {"predictions": ["the left lobe", "x"], "references": [["left lung lobe liver"], [""]]},
        {"open_recall": 0.5},
    ),
    "cer_wer": ("cer_wer", {"predictions": ["abc d"], "references": ["abd d"]}, {"cer": 0.2, "wer": 0.5}),
    "cer_wer, no text": ("cer_wer", {"predictions": [""], "references": [""]}, {"cer": None, "wer": None}),
    "ocrbench": (
        "ocrbench",
        {"predictions": ["It is ABC.", "AB"], "references": [["abc"], ["abc"]]},
        {"ocrbench": 0.5},
    ),
    "ocrbench, formulas": (
        "ocrbench",
        {
            "predictions": ["\\Delta x", "\\delta x"],
            "references": [["\\Deltax"]] * 2,
            "handwritten_math": True,
        },
        {"ocrbench": 0.5},
    ),
    "risk_coverage": (
        "risk_coverage",
        {"predictions": [0.9, 0.8, 0.1], "references": [True, False, True], "risks": [0, 0.4]},
        CURVE | {"coverage_at_risk": {"0": 1 / 3, "0.4": 1.0}, "effective_reliability": None},
    ),
    "risk_coverage, threshold": (
        "risk_coverage",
        {
            "predictions": [0.9, 0.8, 0.1],
            "references": [1, 0, 1],
            "risks": [],
            "threshold": 0.85,
            "cost": 2.0,
        },
        CURVE | {"coverage_at_risk": {}, "effective_reliability": 1 / 3},
    ),
    "risk_coverage, no records": (
        "risk_coverage",
        {"predictions": [], "references": [], "threshold": 0.5, "risks": [0.1]},
        {"aurc": None, "e_aurc": None, "coverage_at_risk": {"0.1": None}, "effective_reliability": None},
    ),
    "calibration": (
        "calibration",
        {"predictions": [1.0, 0.5], "references": [True, False]},
        {"ece": 0.25, "brier": 0.125},
    ),
    "calibration, no records": (
        "calibration",
        {"predictions": [], "references": []},
        {"ece": None, "brier": None},
    ),
    "abstention": (
        "abstention",
        {"predictions": ["N/A", "unanswerable", "a cat", ""], "references": [False, True, False, False]},
        {
            "precision": 2 / 3,
            "recall": 2 / 3,
            "f1": 2 / 3,
            "hallucination_rate": 1 / 3,
            "over_abstention_rate": 1.0,
        },
    ),
    "box_iou": (
        "box_iou",
        {
            "predictions": [[[0, 0, 10, 10]], [], [[1, 1, 2, 2]]],
            "references": [[[0, 0, 10, 5], [50, 50, 60, 60]], [[1, 2, 3, 4]], []],
        },
        {"mean_iou": 0.25, "acc_at_50": 0.5},
    ),
    "counterfactual": (
        "counterfactual",
        {
            "predictions": ["yes", "no", "yes", "yes"],
            "references": ["yes", "no", "no", "yes"],
            "question_types": ["yes_no"] * 4,
            "roi_predictions": ["no", "", "no", "yes"],
            "random_predictions": ["yes", "no", "yes", "no"],
        },
        {"roi_flip_rate": 2 / 3, "random_flip_rate": 1 / 3, "faithfulness_gap": 1 / 3},
    ),
    "caption_consistency": (
        "caption_consistency",
        {
            "predictions": ["a kidney with a stone", ""],
            "references": ["Is there a renal calculus?", "What color is it?"],
            "correct": [True, False],
        },
        {"0.3": ALL, "0.4": ALL, "0.5": NONE, "0.6": NONE},
    ),
    "caption_consistency, synonyms": (
        "caption_consistency",
        {
            "predictions": ["a kidney with a stone"],
            "references": ["Is there a renal calculus?"],
            "correct": [True],
            "synonyms": True,
            "taus": [0.6],
        },
        {"0.6": ALL},
    ),
    "caption_consistency, no caption": (
        "caption_consistency",
        {"predictions": [" "], "references": ["what?"], "correct": [True], "taus": [0.3]},
        {"0.3": NOTHING},
    ),
}

SCRIPT = """
import json, socket, sys

def refuse(*arguments, **options):
    raise AssertionError("a module reached for the network")

socket.socket.connect = socket.getaddrinfo = refuse
import evaluate

folder, cases = sys.argv[1], json.load(sys.stdin)
results = {case: evaluate.load(f"{folder}/{name}").compute(**given) for case, name, given in cases}
slow = evaluate.load(f"{folder}/anls/anls.py")
slow.add(prediction="ab", reference="ab")
slow.add(prediction="ab", reference=["cd"])
slow.add_batch(predictions=["ab", "q"], references=["ab", ["r", "q"]])
typed = evaluate.load(f"{folder}/typed_accuracy")
try:
    unknown = typed.compute(predictions=["a"], references=["a"], question_types=["?"])
except ValueError as error:
    unknown = str(error)
report = {"results": results, "added": slow.compute(), "unknown": unknown, "help": slow.description}
json.dump(report, sys.stdout)
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """What the process in another folder wrote."""
    elsewhere = tmp_path_factory.mktemp("notebook")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(FOLDER)],
        input=json.dumps([(case, name, given) for case, (name, given, _) in CASES.items()]),
        cwd=elsewhere,
        env=os.environ | {"HF_HOME": str(elsewhere / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_module_has_a_case():
    assert {name for name, _, _ in CASES.values()} == set(NAMES) and len(NAMES) == 15


@pytest.mark.parametrize("case", CASES)
def test_module_gives(case, answer):
    assert flat(answer["results"][case]) == pytest.approx(flat(CASES[case][2]))


def flat(value, path=""):
    """Nested dicts as one, keyed by path."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: leaf for name in value for key, leaf in flat(value[name], f"{path}/{name}").items()}


def test_records_can_be_added_one_by_one(answer):
    assert answer["added"] == {"anls": 0.75}


def test_an_unknown_question_type_is_named(answer):
    assert answer["unknown"].startswith("unknown question types ['?']; known: ")


def test_a_module_says_what_it_is(answer):
    assert answer["help"].startswith("Average normalised Levenshtein similarity")
