"""Judged predictions become the content of metrics.json.

Every key of docs/contract.md is there; one whose inputs are absent is None, never 0. What each metric is
taken over stands beside it.
"""

from collections.abc import Sequence
from typing import Any

from vqa.metrics.bootstrap import RESAMPLES, clustered_intervals
from vqa.metrics.grounding import best_iou
from vqa.metrics.matching import matches_text
from vqa.metrics.selective import (
    abstention_rates,
    brier_score,
    expected_calibration_error,
    risk_coverage,
)
from vqa.metrics.text import anls, token_recall

CLOSED_TYPES = ("yes_no", "color", "mcq")
ANLS_TYPES = ("extractive", "open_ended")
RISKS = (0.01, 0.05, 0.1)

Prediction = dict[str, Any]
_NOT_YET: dict[str, Any] = {
    "vqa_accuracy": None,
    "relaxed_accuracy": None,
    "relaxed_accuracy_strict": None,
    "cer": None,
    "wer": None,
    "ocrbench": None,
    "caption_consistency": None,
    "counterfactual": {"roi_flip_rate": None, "random_flip_rate": None, "faithfulness_gap": None},
}


def summarize(
    predictions: Sequence[Prediction], correct: Sequence[bool], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        predictions: complete lines of a prediction file (`vqa.predictions.read_predictions`).
        correct: whether each is right by the rule of its type (`vqa.questions.judge`).
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: no predictions, or not as many verdicts.
    """
    if not predictions or len(predictions) != len(correct):
        raise ValueError(f"{len(correct)} verdicts for {len(predictions)} predictions")
    answerable = [row["answerable"] for row in predictions]
    exact = [
        can and not row["abstained"] and matches_text(row["pred"], row["answers"])
        for row, can in zip(predictions, answerable, strict=True)
    ]
    closed = [row["qtype"] in CLOSED_TYPES for row in predictions]
    by_type = _grouped(predictions, correct, "qtype")
    by_source = _grouped(predictions, correct, "source")
    rates = {"overall/accuracy": (correct, [True] * len(predictions))}
    for key, field, groups in (("by_question_type", "qtype", by_type), ("by_source", "source", by_source)):
        for name in groups:
            rates[f"{key}/{name}/accuracy"] = (correct, [row[field] == name for row in predictions])
    rates |= {"exact_match": (exact, answerable), "closed_accuracy": (correct, closed)}
    metrics = {
        "count": len(predictions),
        "overall": {"correct": int(sum(correct)), "accuracy": sum(correct) / len(predictions)},
        "by_question_type": by_type,
        "by_source": by_source,
        # Over answerable records: equal to an accepted answer after normalisation, whatever the type.
        "exact_match": _mean([hit for hit, can in zip(exact, answerable, strict=True) if can]),
        # Over answerable extractive and open-ended records; an abstention is no text and scores 0.
        "anls": _mean(
            [
                0.0 if row["abstained"] else anls(row["pred"], row["answers"])
                for row in predictions
                if row["answerable"] and row["qtype"] in ANLS_TYPES
            ]
        ),
        # Over every record of a closed type, unanswerable ones included.
        "closed_accuracy": _mean([right for right, inside in zip(correct, closed, strict=True) if inside]),
        "open_recall": _mean(_open_recalls(predictions)),
        "format": _format(predictions),
        "grounding": _grounding(predictions),
        "selective": _selective(predictions, correct),
        "abstention": abstention_rates([row["abstained"] for row in predictions], answerable),
        "calibration": _calibration(predictions, correct),
        "intervals": clustered_intervals(
            rates, [image_cluster(row) for row in predictions], resamples=resamples, seed=seed
        ),
    }
    metrics |= _NOT_YET
    return {key: metrics[key] for key in KEYS}


# The contract's order.
KEYS = (
    *("count", "overall", "by_question_type", "by_source", "exact_match", "anls", "vqa_accuracy"),
    *("relaxed_accuracy", "relaxed_accuracy_strict", "closed_accuracy", "open_recall", "cer", "wer"),
    *("ocrbench", "format", "grounding", "selective", "abstention", "caption_consistency"),
    *("counterfactual", "calibration", "intervals"),
)


def image_cluster(prediction: Prediction) -> tuple[str, ...]:
    """What ties records together for the bootstrap: their images, or a record's own id where it has none."""
    return tuple(prediction["images"]) or ("id", prediction["id"])


def with_confidence(
    predictions: Sequence[Prediction], correct: Sequence[bool], answerable_only: bool
) -> tuple[list[float], list[bool]] | None:
    """Confidences and verdicts of the records that a confidence metric is taken over.

    None where there are none, or where one of them has no confidence: a curve over those that happen to
    have one would be another data set's. An abstention on an answerable question is wrong.
    """
    chosen = [
        (row["confidence"], right)
        for row, right in zip(predictions, correct, strict=True)
        if row["answerable"] or not answerable_only
    ]
    if not chosen or any(confidence is None for confidence, _ in chosen):
        return None
    return [confidence for confidence, _ in chosen], [right for _, right in chosen]


def _grouped(predictions: Sequence[Prediction], correct: Sequence[bool], field: str) -> dict[str, Any]:
    groups: dict[str, list[int]] = {}
    for row, right in zip(predictions, correct, strict=True):
        group = groups.setdefault(row[field], [0, 0])
        group[0] += 1
        group[1] += bool(right)
    return {
        name: {"count": count, "correct": right, "accuracy": right / count}
        for name, (count, right) in sorted(groups.items())
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _open_recalls(predictions: Sequence[Prediction]) -> list[float]:
    """Over answerable open-ended records whose accepted answer has a word."""
    recalls = [
        token_recall("" if row["abstained"] else row["pred"], row["answers"])
        for row in predictions
        if row["answerable"] and row["qtype"] == "open_ended"
    ]
    return [recall for recall in recalls if recall is not None]


def _points(predictions: Sequence[Prediction]) -> bool:
    """Whether these answers could hold boxes: one does, or one has the form of the structured style."""
    return any(row["boxes"] or (row["valid_format"] and row["caption"] is not None) for row in predictions)


def _format(predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Rates of valid answers and of answers with a box, over records whose style has a format.

    Boxes that come without any format (from another program) are counted over all records.
    """
    formatted = [row for row in predictions if row["valid_format"] is not None]
    boxed = [bool(row["boxes"]) for row in formatted or predictions] if _points(predictions) else []
    return {"valid_rate": _mean([row["valid_format"] for row in formatted]), "box_rate": _mean(boxed)}


def _grounding(predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Over records with gold boxes; one without a predicted box scores 0."""
    ious: list[float] = []
    if _points(predictions):
        ious = [best_iou(row["boxes"], row["gt_boxes"]) for row in predictions if row["gt_boxes"]]
    return {"mean_iou": _mean(ious), "acc_at_50": _mean([iou >= 0.5 for iou in ious])}


def _selective(predictions: Sequence[Prediction], correct: Sequence[bool]) -> dict[str, Any]:
    """Over answerable records, if all have a confidence."""
    chosen = with_confidence(predictions, correct, answerable_only=True)
    curve = risk_coverage(*chosen) if chosen else None
    return {
        "aurc": curve.aurc() if curve else None,
        "e_aurc": curve.e_aurc() if curve else None,
        "coverage_at_risk": {f"{risk:g}": curve.coverage_at(risk) if curve else None for risk in RISKS},
        "effective_reliability": None,
    }


def _calibration(predictions: Sequence[Prediction], correct: Sequence[bool]) -> dict[str, float | None]:
    """Over all records, if all have a confidence."""
    chosen = with_confidence(predictions, correct, answerable_only=False)
    if chosen is None:
        return {"ece": None, "brier": None}
    return {"ece": expected_calibration_error(*chosen), "brier": brier_score(*chosen)}
