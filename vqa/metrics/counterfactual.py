"""Whether right answers rest on their evidence: what happens to them when it is removed from the image.

Three prediction files of the same records, joined by id: on the original images, without the evidence, and
without a random region of the same size (`prepare_data.py counterfactuals`).
"""

from collections.abc import Sequence
from typing import Any

from vqa.errors import UserError
from vqa.questions import DEFAULT_TOLERANCE, judge

Prediction = dict[str, Any]
# How the messages name the files, where the caller does not.
OPTIONS = ("--roi_predictions", "--random_predictions")


def joined_by_id(
    predictions: Sequence[Prediction], masked: Sequence[Prediction], name: str
) -> list[Prediction | None]:
    """For each prediction the masked one of the same id, or None.

    Raises:
        UserError: `masked` holds an id that `predictions` does not; the message names `name` and the id.
    """
    by_id = {row["id"]: row for row in masked}
    known = {row["id"] for row in predictions}
    unknown = [identity for identity in by_id if identity not in known]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise UserError(f"{name}: id {unknown[0]!r}{more}: not in the predictions on the original images")
    return [by_id.get(row["id"]) for row in predictions]


def flips(
    predictions: Sequence[Prediction],
    masked: Sequence[Prediction | None],
    tolerance: float = DEFAULT_TOLERANCE,
) -> list[bool]:
    """Whether each masked prediction is wrong by the rule of its type; False where there is none.

    Judged against the accepted answers of the original's line, so that a file of ids and answers is enough.
    Of an answer that was right this is the flip: another accepted wording, or a size within the tolerance, is
    the same answer; an abstention is not.
    """
    return [
        other is not None
        and not judge({**row, "pred": other["pred"], "abstained": other["abstained"]}, tolerance)
        for row, other in zip(predictions, masked, strict=True)
    ]


def counterfactual_summary(
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    roi_predictions: Sequence[Prediction] | None = None,
    random_predictions: Sequence[Prediction] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    names: Sequence[str] = OPTIONS,
) -> dict[str, float | int | None]:
    """The `counterfactual` entry of metrics.json.

    All figures are over the same records: originally right, and in every masked file that is given.

    roi_flip_rate, random_flip_rate: share of them that is no longer right without the evidence, without a
        random region.
    faithfulness_gap: roi_flip_rate - random_flip_rate, from -1 to 1.
    roi_confidence_drop, random_confidence_drop: mean of the confidence on the original minus that on the
        masked image, each in its own answer; over those records where every one of these is known.
    confidence_gap: their difference.
    pairs: how many records the flip rates are over.
    roi_missing, random_missing: predictions without a masked one, right or wrong.

    None where a file is not given, or no record is left.

    Args:
        predictions: on the original images, complete (`vqa.predictions.read_predictions`).
        correct: whether each is right.
        roi_predictions, random_predictions: on the masked images; None: no such file.
        tolerance: relative, of sizes.
        names: of the two files, for messages.

    Raises:
        UserError: a masked file holds an id that is not among `predictions`.
    """
    masked = {
        kind: joined_by_id(predictions, rows, name)
        for kind, rows, name in zip(
            ("roi", "random"), (roi_predictions, random_predictions), names, strict=True
        )
        if rows is not None
    }
    inside = evaluated(correct, *masked.values())
    alike = [i for i in inside if None not in (predictions[i]["confidence"], *_confidences(masked, i))]
    rates: dict[str, float | None] = {"roi": None, "random": None}
    drops = dict(rates)
    for kind, rows in masked.items():
        flipped = flips([predictions[i] for i in inside], [rows[i] for i in inside], tolerance)
        rates[kind] = _mean(flipped)
        drops[kind] = _mean([predictions[i]["confidence"] - rows[i]["confidence"] for i in alike])
    missing = {kind: rows.count(None) for kind, rows in masked.items()}
    return {
        "roi_flip_rate": rates["roi"],
        "random_flip_rate": rates["random"],
        "faithfulness_gap": _difference(rates),
        "roi_confidence_drop": drops["roi"],
        "random_confidence_drop": drops["random"],
        "confidence_gap": _difference(drops),
        "pairs": len(inside) if masked else None,
        "roi_missing": missing.get("roi"),
        "random_missing": missing.get("random"),
    }


def evaluated(correct: Sequence[bool], *masked: Sequence[Prediction | None]) -> list[int]:
    """Indices of the records the rates are over: right, and in each of `masked`; none without a file."""
    if not masked:
        return []
    return [i for i, right in enumerate(correct) if right and all(rows[i] is not None for rows in masked)]


def _confidences(masked: dict[str, list[Prediction | None]], index: int) -> list[float | None]:
    return [rows[index]["confidence"] for rows in masked.values()]


def _difference(values: dict[str, float | None]) -> float | None:
    if values["roi"] is None or values["random"] is None:
        return None
    return values["roi"] - values["random"]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
