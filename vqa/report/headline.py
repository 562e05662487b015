"""The headline table: every rate that was measured, its interval, and over which records it is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqa.exports import GROUPED, flatten
from vqa.metrics.consistency import TAUS
from vqa.report.formatting import number, percent

_ANSWERABLE = "answerable records"
_UNANSWERABLE = "records that are not answerable"
_CONFIDENCE = "answerable records, all with a confidence"
_RIGHT = "records that are right on the original image"
# path in metrics.json: (name, over which records, whether lower is better)
RATES: dict[str, tuple[str, str, bool]] = {
    "overall/accuracy": ("Accuracy", "all records, by the rule of each type", False),
    "exact_match": ("Exact match", _ANSWERABLE, False),
    "closed_accuracy": ("Closed accuracy", "yes/no, colour, choice", False),
    "open_recall": ("Open recall", "answerable open-ended: words found", False),
    "anls": ("ANLS", "answerable extractive and open-ended", False),
    "anls_star": ("ANLS*", "structured accepted answers", False),
    "fields/precision": ("Field precision", "fields that were answered", False),
    "fields/recall": ("Field recall", "fields that the documents have", False),
    "fields/f1": ("Field F1", "both", False),
    "nted": ("nTED accuracy", "documents with a tree of fields (CORD)", False),
    "vqa_accuracy": ("VQA accuracy", "records with ten answers", False),
    "relaxed_accuracy": ("Relaxed accuracy", "answerable but yes/no, choice, transcription", False),
    "relaxed_accuracy_strict": ("Relaxed accuracy, strict", "the same records", False),
    "cer": ("Character error rate", "transcriptions", True),
    "wer": ("Word error rate", "transcriptions", True),
    "ocrbench": ("OCRBench", "as OCRBench takes it", False),
    "format/valid_rate": ("Valid format", "styles with a format", False),
    "format/box_rate": ("Answers with a box", "styles with a format", False),
    "grounding/mean_iou": ("Mean IoU", "records with accepted boxes", False),
    "grounding/acc_at_50": ("IoU of 0.5 or more", "records with accepted boxes", False),
    "selective/aurc": ("AURC", _CONFIDENCE, True),
    "selective/e_aurc": ("E-AURC: above the best order", _CONFIDENCE, True),
    "selective/coverage_at_risk/0.01": ("Coverage at 1% risk", _CONFIDENCE, False),
    "selective/coverage_at_risk/0.05": ("Coverage at 5% risk", _CONFIDENCE, False),
    "selective/coverage_at_risk/0.1": ("Coverage at 10% risk", _CONFIDENCE, False),
    "selective/effective_reliability": ("Effective reliability", _CONFIDENCE, False),
    "abstention/precision": ("Abstention precision", "abstained records", False),
    "abstention/recall": ("Abstention recall", _UNANSWERABLE, False),
    "abstention/f1": ("Abstention F1", "both", False),
    "abstention/hallucination_rate": ("Hallucination rate", _UNANSWERABLE, True),
    "abstention/over_abstention_rate": ("Over-abstention rate", _ANSWERABLE, True),
    "calibration/ece": ("Calibration error (ECE)", "all records, all with a confidence", True),
    "calibration/brier": ("Brier score", "all records, all with a confidence", True),
    "counterfactual/roi_flip_rate": ("Flips without the evidence", _RIGHT, False),
    "counterfactual/random_flip_rate": ("Flips without a random region", _RIGHT, True),
    "counterfactual/faithfulness_gap": ("Faithfulness gap", _RIGHT, False),
    "counterfactual/roi_confidence_drop": ("Confidence lost with the evidence", _RIGHT, False),
    "counterfactual/random_confidence_drop": ("Confidence lost with a random region", _RIGHT, True),
    "counterfactual/confidence_gap": ("Confidence gap", _RIGHT, False),
}
for _tau in TAUS:
    _path = f"caption_consistency/{_tau:g}"
    RATES[f"{_path}/coverage"] = f"Captions about the question, at {_tau:g}", "records with a caption", False
    RATES[f"{_path}/accuracy"] = "Accuracy under such captions", "these records", False
# Shown large at the top, as many as there are.
TILES = (
    "overall/accuracy",
    "closed_accuracy",
    "anls",
    "fields/f1",
    "nted",
    "open_recall",
    "cer",
    "selective/aurc",
    "calibration/ece",
    "abstention/hallucination_rate",
    "grounding/mean_iou",
    "format/valid_rate",
    "counterfactual/faithfulness_gap",
)


# No shares of records, so not shown in percent.
_PLAIN = ("selective/aurc", "selective/e_aurc", "calibration/brier")


@dataclass(frozen=True)
class Rate:
    """One line of the table; `value` and `interval` are fractions."""

    path: str
    name: str
    over: str
    lower_is_better: bool
    value: float | None
    interval: list[float] | None

    @property
    def shown(self) -> str:
        """The value as the page shows it."""
        return number(self.value) if self.path in _PLAIN else percent(self.value)

    @property
    def range(self) -> str:
        """The interval as the page shows it."""
        if self.interval is None:
            return "–"
        return " – ".join(number(end) if self.path in _PLAIN else percent(end) for end in self.interval)


def headline(metrics: Mapping[str, Any]) -> list[Rate]:
    """The rates that were measured, in the order of `RATES`."""
    return [rate for rate in all_rates(metrics) if rate.value is not None]


def side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[Rate, Rate]]:
    """The rates of two runs that were measured of either, in the order of `RATES`."""
    pairs = zip(all_rates(a), all_rates(b), strict=True)
    return [pair for pair in pairs if any(rate.value is not None for rate in pair)]


def all_rates(metrics: Mapping[str, Any]) -> list[Rate]:
    """Every rate of `RATES`, in its order; the value of one that was not measured is None."""
    values = dict(leaves(metrics))
    return [
        Rate(path, name, over, lower, values.get(path), metrics["intervals"].get(path))
        for path, (name, over, lower) in RATES.items()
    ]


def leaves(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(path, value) of every number of the metrics but the tables by group and the intervals."""
    skipped = (*GROUPED, "intervals")
    return list(flatten({key: value for key, value in metrics.items() if key not in skipped}))
