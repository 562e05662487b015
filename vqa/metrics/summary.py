"""Judged predictions become the content of metrics.json.

Every key of docs/contract.md is there; one whose inputs are absent is None, never 0. Whatever is a mean over
records, or a ratio of sums over records, stands in one table of columns, from which the values and their
bootstrap intervals are both taken.
"""

from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
from rapidfuzz.distance import Levenshtein

from vqa.answers import UNANSWERABLE
from vqa.metrics.bootstrap import MAX_GROUPS, RESAMPLES, clustered_intervals, image_cluster
from vqa.metrics.confidence_intervals import confidence_intervals
from vqa.metrics.consistency import consistency_columns, consistency_table
from vqa.metrics.counterfactual import counterfactual_columns, counterfactual_summary
from vqa.metrics.error_rates import character_error_rate, word_error_rate
from vqa.metrics.fields import documents_of, field_columns
from vqa.metrics.grounding import pointing_columns
from vqa.metrics.matching import matches_text
from vqa.metrics.ocrbench import ocrbench_match
from vqa.metrics.relaxed import relaxed_match, relaxed_match_strict
from vqa.metrics.selective import abstention_ratios, calibration_summary, selective_summary
from vqa.metrics.structured import anls_star, as_structure
from vqa.metrics.text import anls, token_recall
from vqa.metrics.vqa_accuracy import vqa_accuracy

CLOSED_TYPES = ("yes_no", "color", "mcq")
ANLS_TYPES = ("extractive", "open_ended")
NOT_RELAXED_TYPES = ("yes_no", "mcq", "transcription")
READING_TYPES = ("extractive", "transcription")

# The contract's order.
KEYS = (
    *("count", "overall", "by_question_type", "by_source", "exact_match", "anls", "anls_star"),
    *("fields", "nted"),
    *("vqa_accuracy", "relaxed_accuracy", "relaxed_accuracy_strict", "closed_accuracy", "open_recall"),
    *("cer", "wer", "ocrbench", "format", "grounding", "selective", "abstention", "caption_consistency"),
    *("counterfactual", "calibration", "intervals"),
)

Prediction = dict[str, Any]
Judged = tuple[Sequence[Prediction], Sequence[bool]]
READING_RATES = ("exact_match", "cer", "wer")  # of each source that has transcriptions
Column = tuple[np.ndarray, np.ndarray]  # each record's part of the numerator, and of the denominator


# Path in metrics.json: (whether it is taken over a record, the record's score; None leaves it out too).
PER_RECORD: dict[str, tuple[Callable[[Prediction], bool], Callable[[Prediction], float | None]]] = {
    "exact_match": (
        lambda row: row["answerable"],
        lambda row: not row["abstained"] and matches_text(row["pred"], row["answers"]),
    ),
    "anls": (
        lambda row: row["answerable"] and row["qtype"] in ANLS_TYPES,
        lambda row: 0.0 if row["abstained"] else anls(row["pred"], row["answers"]),
    ),
    "anls_star": (
        lambda row: row["answerable"] and _is_structure(row["answers"][0]),
        lambda row: 0.0 if row["abstained"] else anls_star(row["pred"], row["answers"][0]),
    ),
    # Unanswerable ones among them: annotators write "unanswerable" too.
    "vqa_accuracy": (
        lambda row: row.get("annotations") is not None,
        lambda row: vqa_accuracy(UNANSWERABLE if row["abstained"] else row["pred"], row["annotations"]),
    ),
    "relaxed_accuracy": (
        lambda row: row["answerable"] and row["qtype"] not in NOT_RELAXED_TYPES,
        lambda row: not row["abstained"] and relaxed_match(row["pred"], row["answers"]),
    ),
    "relaxed_accuracy_strict": (
        lambda row: row["answerable"] and row["qtype"] not in NOT_RELAXED_TYPES,
        lambda row: not row["abstained"] and relaxed_match_strict(row["pred"], row["answers"]),
    ),
    "open_recall": (  # None where no accepted answer has a word
        lambda row: row["answerable"] and row["qtype"] == "open_ended",
        lambda row: token_recall("" if row["abstained"] else row["pred"], row["answers"]),
    ),
    "ocrbench": (
        lambda row: row["answerable"] and row["qtype"] in READING_TYPES,
        lambda row: not row["abstained"] and ocrbench_match(row["pred"], row["answers"], _is_formula(row)),
    ),
    "format/valid_rate": (lambda row: row["valid_format"] is not None, lambda row: row["valid_format"]),
}


def summarize(
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    *,
    validation: Judged | None = None,
    roi_predictions: Sequence[Prediction] | None = None,
    random_predictions: Sequence[Prediction] | None = None,
    similarities: Sequence[float | None] | None = None,
    tolerance: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        predictions: complete lines of a prediction file (`vqa.predictions.read_predictions`).
        correct: whether each is right by the rule of its type (`vqa.questions.judge`).
        validation: predictions of other records and their verdicts, which the threshold of the effective
            reliability is tuned on.
        roi_predictions, random_predictions: on images without the evidence, without a random region.
        similarities: cosine of each record's question and predicted caption; None where there is no caption.
        tolerance: of sizes, for the masked predictions.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: no predictions, or not as many verdicts.
        UserError: a masked prediction has an id that none of `predictions` has.
    """
    if not predictions or len(predictions) != len(correct):
        raise ValueError(f"{len(correct)} verdicts for {len(predictions)} predictions")
    right = np.asarray(correct, dtype=bool)
    columns = {path: _column(predictions, *rule) for path, rule in PER_RECORD.items()}
    columns |= pointing_columns(predictions)
    documents = documents_of(predictions)
    columns |= field_columns(predictions, documents)
    closed = np.array([row["qtype"] in CLOSED_TYPES for row in predictions])
    columns["closed_accuracy"] = (right & closed, closed)
    ratios = abstention_ratios(*([row[name] for row in predictions] for name in ("abstained", "answerable")))
    columns |= {f"abstention/{name}": column for name, column in ratios.items()}
    selective, reliability = selective_summary(predictions, correct, validation)
    columns["selective/effective_reliability"] = reliability

    by_type, by_source = (_grouped(predictions, right, field) for field in ("qtype", "source"))
    metrics: dict[str, Any] = dict.fromkeys(KEYS)
    metrics |= {
        "count": len(predictions),
        "overall": {"correct": int(right.sum()), "accuracy": float(right.mean())},
        "by_question_type": by_type,
        "by_source": by_source,
        "fields": {},
        "format": {},
        "grounding": {},
        "selective": selective,
        "abstention": {},
        "calibration": calibration_summary(predictions, correct),
        "caption_consistency": _caption_consistency(similarities, correct),
        "counterfactual": counterfactual_summary(
            predictions, correct, roi_predictions, random_predictions, tolerance
        ),
    }
    for path, column in columns.items():
        group, _, name = path.rpartition("/")
        (metrics[group] if group else metrics)[name] = _ratio(column)
    metrics["fields"]["documents"] = len(documents) or None
    metrics |= _error_rates(predictions, columns)
    columns |= counterfactual_columns(predictions, correct, roi_predictions, random_predictions, tolerance)
    columns |= consistency_columns(similarities, correct) if similarities is not None else {}
    read = _rates_of_reading(predictions, columns, by_source)
    metrics["intervals"] = dict.fromkeys(read)
    columns |= dict(list(read.items())[: MAX_GROUPS * len(READING_RATES)])
    columns["overall/accuracy"] = (right, np.ones(len(right)))
    for key, field, groups in (("by_question_type", "qtype", by_type), ("by_source", "source", by_source)):
        metrics["intervals"] |= {f"{key}/{name}/accuracy": None for name in groups}
        for name in sorted(groups, key=lambda name: -groups[name]["count"])[:MAX_GROUPS]:
            inside = np.array([row[field] == name for row in predictions])
            columns[f"{key}/{name}/accuracy"] = (right & inside, inside)
    clusters = [image_cluster(row) for row in predictions]
    bootstrap = {"resamples": resamples, "seed": seed}
    metrics["intervals"] |= clustered_intervals(columns, clusters, **bootstrap)
    metrics["intervals"] |= confidence_intervals(predictions, correct, clusters, **bootstrap)
    return metrics


def _column(rows: Sequence[Prediction], takes: Callable, score: Callable) -> Column:
    values, mask = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    for index, row in enumerate(rows):
        if takes(row) and (value := score(row)) is not None:
            values[index], mask[index] = value, True
    return values, mask


def _ratio(column: Column) -> float | None:
    above, below = (float(np.sum(part, dtype=float)) for part in column)
    return above / below if below else None


def _is_structure(text: str) -> bool:
    return text.lstrip().startswith(("{", "[", "```")) and as_structure(text) is not None


def _is_formula(row: Prediction) -> bool:
    return row["source"].casefold().startswith("hme100k")


def _error_rates(rows: Sequence[Prediction], columns: dict[str, Column]) -> dict[str, float | None]:
    """CER and WER over transcriptions, each against the nearest accepted text; an abstention is no text.

    Adds to `columns` the same errors record by record, for the intervals.
    """
    predictions, references = [], []
    parts = {"cer": np.zeros((2, len(rows))), "wer": np.zeros((2, len(rows)))}
    for index, row in enumerate(rows):
        if row["qtype"] != "transcription" or not (row["answers"] or row["gt"] == ""):
            continue
        predictions.append("" if row["abstained"] else row["pred"])
        text = normalize("NFC", predictions[-1]).strip()
        accepted = [normalize("NFC", answer).strip() for answer in row["answers"] or [""]]
        references.append(min(accepted, key=lambda answer: Levenshtein.distance(text, answer)))
        for name, (said, gold) in (
            ("cer", (text, references[-1])),
            ("wer", (text.split(), references[-1].split())),
        ):
            parts[name][:, index] = Levenshtein.distance(said, gold), len(gold)
    columns |= {name: (errors, length) for name, (errors, length) in parts.items()}
    return {
        "cer": character_error_rate(predictions, references),
        "wer": word_error_rate(predictions, references),
    }


def _rates_of_reading(
    rows: Sequence[Prediction], columns: dict[str, Column], by_source: dict[str, dict[str, Any]]
) -> dict[str, Column]:
    """Add exact matches, CER and WER to each source that has transcriptions, the largest sources first.

    Returns:
        The same record by record, for the intervals.
    """
    read, sources = {}, {row["source"] for row in rows if row["qtype"] == "transcription"}
    for name in sorted(sources, key=lambda name: (-by_source[name]["count"], name)):
        inside = np.array([row["source"] == name for row in rows])
        for rate in READING_RATES:
            above, below = (np.asarray(part) * inside for part in columns[rate])
            by_source[name][rate] = _ratio((above, below))
            read[f"by_source/{name}/{rate}"] = above, below
    return read


def _caption_consistency(
    similarities: Sequence[float | None] | None, correct: Sequence[bool]
) -> dict[str, Any] | None:
    """Over records with a caption, if similarities were measured and there are any."""
    pairs = zip(similarities or [], correct, strict=similarities is not None)
    known = [(similarity, right) for similarity, right in pairs if similarity is not None]
    return consistency_table(*zip(*known, strict=True)) if known else None


def _grouped(rows: Sequence[Prediction], right: np.ndarray, field: str) -> dict[str, Any]:
    groups: dict[str, list[int]] = {}
    for row, hit in zip(rows, right.tolist(), strict=True):
        group = groups.setdefault(row[field], [0, 0])
        group[0] += 1
        group[1] += hit
    return {
        name: {"count": count, "correct": hits, "accuracy": hits / count}
        for name, (count, hits) in sorted(groups.items())
    }
