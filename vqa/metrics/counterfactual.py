"""Whether right answers rest on their evidence: what happens to them when it is removed from the image.

Three prediction files of the same records, joined by id: on the original images, without the evidence, and
without a random region of the same size (`prepare_data.py counterfactuals`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqa.errors import UserError
from vqa.questions import DEFAULT_TOLERANCE, judge

Prediction = dict[str, Any]
Column = tuple[np.ndarray, np.ndarray]
FIGURES = (
    *("roi_flip_rate", "random_flip_rate", "faithfulness_gap"),
    *("roi_confidence_drop", "random_confidence_drop", "confidence_gap"),
)
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
    given = _joined(predictions, (roi_predictions, random_predictions), names)
    columns = counterfactual_columns(
        predictions, correct, roi_predictions, random_predictions, tolerance, names
    )
    values = {path.rpartition("/")[2]: _ratio(*column) for path, column in columns.items()}
    missing = {kind: rows.count(None) for kind, rows in given.items()}
    return {name: values.get(name) for name in FIGURES} | {
        "pairs": len(evaluated(correct, *given.values())) if given else None,
        "roi_missing": missing.get("roi"),
        "random_missing": missing.get("random"),
    }


def counterfactual_columns(
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    roi_predictions: Sequence[Prediction] | None = None,
    random_predictions: Sequence[Prediction] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    names: Sequence[str] = OPTIONS,
) -> dict[str, Column]:
    """The rates and differences of `counterfactual_summary` record by record.

    Returns:
        path in metrics.json -> (each record's part of the numerator, whether it counts); a figure whose file
        is not given is left out.
    """
    given = _joined(predictions, (roi_predictions, random_predictions), names)
    inside = evaluated(correct, *given.values())
    sure = [i for i in inside if None not in (predictions[i]["confidence"], *_confidences(given, i))]
    pairs, known = (_marked(len(predictions), rows) for rows in (inside, sure))
    columns = {}
    for kind, rows in given.items():
        flipped, drop = np.zeros(len(predictions)), np.zeros(len(predictions))
        flipped[inside] = flips([predictions[i] for i in inside], [rows[i] for i in inside], tolerance)
        drop[sure] = [predictions[i]["confidence"] - rows[i]["confidence"] for i in sure]
        columns[f"counterfactual/{kind}_flip_rate"] = flipped, pairs
        columns[f"counterfactual/{kind}_confidence_drop"] = drop, known
    if len(given) == 2:
        for name, kind in (("faithfulness_gap", "flip_rate"), ("confidence_gap", "confidence_drop")):
            (roi, counted), (random, _) = (columns[f"counterfactual/{side}_{kind}"] for side in given)
            columns[f"counterfactual/{name}"] = roi - random, counted
    return columns


def evaluated(correct: Sequence[bool], *masked: Sequence[Prediction | None]) -> list[int]:
    """Indices of the records the rates are over: right, and in each of `masked`; none without a file."""
    if not masked:
        return []
    return [i for i, right in enumerate(correct) if right and all(rows[i] is not None for rows in masked)]


def _joined(
    predictions: Sequence[Prediction], files: Sequence[Sequence[Prediction] | None], names: Sequence[str]
) -> dict[str, list[Prediction | None]]:
    """By kind of masking, each prediction's masked one; kinds without a file are left out."""
    return {
        kind: joined_by_id(predictions, rows, name)
        for kind, rows, name in zip(("roi", "random"), files, names, strict=True)
        if rows is not None
    }


def _confidences(masked: dict[str, list[Prediction | None]], index: int) -> list[float | None]:
    return [rows[index]["confidence"] for rows in masked.values()]


def _marked(size: int, indices: list[int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[indices] = True
    return mask


def _ratio(above: np.ndarray, below: np.ndarray) -> float | None:
    return float(above.sum() / below.sum()) if below.any() else None
