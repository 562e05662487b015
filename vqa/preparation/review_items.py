"""Records joined with what a model predicted for them, and turned into labelled records by a decision."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.errors import UserError
from vqa.predictions import Prediction, read_predictions
from vqa.preparation.decisions_log import Decision
from vqa.preparation.folders import Folder
from vqa.record_checks import Record, complete_record

_NAMED = 3


@dataclass(frozen=True)
class Item:
    """One prediction to review."""

    record: Record
    prediction: Prediction

    @property
    def text(self) -> str:
        """The predicted answer; "" when the model abstained."""
        return "" if self.prediction["abstained"] else self.prediction["pred"].strip()


def read_items(folder: Folder, predictions: str | Path) -> list[Item]:
    """The records that have a prediction, worst confidence first, those without a confidence before all.

    Raises:
        UserError: an id is used in two splits, or the predictions are of other records.
        InputErrors: faults of the prediction file.
    """
    records: dict[str, Record] = {}
    for record in folder.records:
        other = records.setdefault(record["id"], record)
        if other is not record:
            raise UserError(
                f"{folder.path}: id {record['id']!r} is in split {other['split']} and in {record['split']}; "
                "review one record file at a time"
            )
    lines = read_predictions(predictions)
    unknown = [line["id"] for line in lines if line["id"] not in records]
    if unknown:
        named = ", ".join(repr(identity) for identity in unknown[:_NAMED])
        raise UserError(
            f"{predictions}: {len(unknown)} predictions are of no record in {folder.path}: {named}"
        )
    items = [Item(records[line["id"]], line) for line in lines]
    for item in items:
        if item.prediction["question"] not in ("", item.record["question"]):
            raise UserError(
                f"{predictions}: {item.record['id']!r}: was asked {item.prediction['question']!r}, "
                f"but the record asks {item.record['question']!r}"
            )
    return sorted(items, key=_confidence)


def _confidence(item: Item) -> float:
    confidence = item.prediction["confidence"]
    return -1.0 if confidence is None else confidence


def model_name(predictions: str | Path) -> str | None:
    """The model, and its adapter, that the manifest beside a prediction file names; None without one.

    Raises:
        UserError: the manifest is not a JSON object.
    """
    path = Path(predictions).with_suffix(".manifest.json")
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: a manifest is a JSON object")
    return " + ".join(str(manifest[key]) for key in ("model", "adapter") if manifest.get(key)) or None


def labelled(
    item: Item, decision: Decision | None, model: str | None, accept_above: float | None = None
) -> Record | None:
    """The record with the decided answer, `meta.label` saying where it is from; None when it has none.

    Without a decision, a confidence of at least `accept_above` takes the model's answer; `reviewer` is None
    then, since nobody looked. What led to another answer (`reasoning`) does not stay.
    """
    confidence = item.prediction["confidence"]
    if decision is not None:
        if decision.decision == "rejected":
            return None
        kind, text, reviewer = decision.decision, decision.text, decision.reviewer
    elif accept_above is not None and confidence is not None and confidence >= accept_above:
        kind, text, reviewer = "accepted", item.text, None
    else:
        return None
    label = {
        "by": "person" if kind == "edited" else "model",
        "model": model,
        "confidence": confidence,
        "decision": kind,
        "reviewer": reviewer,
    }
    answers = [text] if text else []
    return {
        **item.record,
        "answers": answers,
        "answerable": bool(answers),
        "reasoning": item.record["reasoning"] if answers == item.record["answers"] else [],
        "meta": {**item.record["meta"], "label": label},
    }


def label_problems(record: dict[str, Any]) -> list[str]:
    """Why a labelled record does not fit the contract, such as an answer that is no candidate."""
    fields = {name: value for name, value in record.items() if name != "image_sizes"}
    return complete_record(fields, default_id=record["id"], source=record["source"], split=record["split"])[1]
