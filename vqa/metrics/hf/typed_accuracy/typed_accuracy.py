"""Accuracy by question type as a module of `evaluate`."""

from vqa.answers import is_abstention
from vqa.metrics.hf import base
from vqa.questions import DEFAULT_TOLERANCE, QUESTION_TYPES, judge


class TypedAccuracy(base.Module):
    """Accuracy, each answer judged by the rule of its question's type.

    predictions: answers; references: lists of accepted answers; question_types: yes_no, color, mcq,
    count_numeric, size_numeric, open_ended, extractive or transcription. A question whose accepted answers
    are none, or all abstentions, is answered right by abstaining.
    candidates: one list (or None) per record, for mcq; questions: their texts, whose lettered options serve
    where there are no candidates; tolerance: relative, of sizes (default 0.05).
    Returns {"accuracy", "by_question_type": {TYPE: {"count", "correct", "accuracy"}}}.
    """

    columns = base.ANSWERED | {"question_types": base.TEXT}

    def _compute(
        self,
        predictions,
        references,
        question_types,
        candidates=None,
        questions=None,
        tolerance=DEFAULT_TOLERANCE,
    ):
        unknown = set(question_types) - QUESTION_TYPES.keys()
        if unknown:
            raise ValueError(f"unknown question types {sorted(unknown)}; known: {', '.join(QUESTION_TYPES)}")
        nothing = [None] * len(predictions)
        columns = (predictions, references, question_types, candidates or nothing, questions or nothing)
        by_type = {}
        for said, accepted, name, options, question in zip(*columns, strict=True):
            row = {"pred": said, "answers": accepted, "qtype": name, "answer_candidates": options}
            row |= {"question": question or "", "answerable": not all(map(is_abstention, accepted))}
            by_type.setdefault(name, []).append(judge(row, tolerance))
        return {
            "accuracy": base.mean(right for verdicts in by_type.values() for right in verdicts),
            "by_question_type": {
                name: {"count": len(verdicts), "correct": sum(verdicts), "accuracy": base.mean(verdicts)}
                for name, verdicts in sorted(by_type.items())
            },
        }
