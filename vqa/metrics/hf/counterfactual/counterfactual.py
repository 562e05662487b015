"""Flip rates without the evidence as a module of `evaluate`."""

from vqa.answers import is_abstention
from vqa.metrics.counterfactual import counterfactual_summary
from vqa.metrics.hf import base
from vqa.questions import DEFAULT_TOLERANCE, judge


class Counterfactual(base.Module):
    """Whether right answers change when the evidence is removed, and more than when something else is.

    predictions: answers on the original images; references: lists of accepted answers; question_types: as in
    typed_accuracy; roi_predictions, random_predictions: answers without the evidence, and without a random
    region of the same size.
    tolerance: relative, of sizes (default 0.05).
    Returns {"roi_flip_rate", "random_flip_rate", "faithfulness_gap"} over the answers right at first.
    """

    columns = base.ANSWERED | dict.fromkeys(
        ("question_types", "roi_predictions", "random_predictions"), base.TEXT
    )

    def _compute(
        self,
        predictions,
        references,
        question_types,
        roi_predictions,
        random_predictions,
        tolerance=DEFAULT_TOLERANCE,
    ):
        def rows(texts):
            columns = zip(texts, references, question_types, strict=True)
            return [
                {"id": index, "pred": said, "answers": accepted, "qtype": name, "confidence": None}
                | {"abstained": False, "answerable": not all(map(is_abstention, accepted))}
                for index, (said, accepted, name) in enumerate(columns)
            ]

        original = rows(predictions)
        summary = counterfactual_summary(
            original,
            [judge(row, tolerance) for row in original],
            rows(roi_predictions),
            rows(random_predictions),
            tolerance,
        )
        return {key: summary[key] for key in ("roi_flip_rate", "random_flip_rate", "faithfulness_gap")}
