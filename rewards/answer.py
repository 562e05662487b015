"""`answer`: the answer is right by the rule of its question's type, as evaluate.py judges it."""

from collections.abc import Sequence

from rewards.completions import Column, Completion, prediction_lines
from vqa.questions import DEFAULT_TOLERANCE, judge


def answer_reward(
    completions: Sequence[Completion],
    *,
    answers: Column = None,
    answerable: Column = None,
    question_type: Column = None,
    answer_candidates: Column = None,
    question: Column = None,
    tolerance: float = DEFAULT_TOLERANCE,
    **_,
) -> list[float | None]:
    """1 for a right answer, else 0; an unanswerable question is answered right by abstaining.

    Only the field `answer` counts, and only of a completion in the form of its style. It is judged by
    `vqa.questions.judge`, as the accuracies of metrics.json are, so that reward and metric cannot drift.

    >>> said = '{{"caption": "a red disc", "reasoning": [], "boxes": [], "answer": "{}"}}'.format
    >>> columns = {"question_type": ["color"] * 3, "answers": [["red"]] * 3}
    >>> answer_reward([said("Red."), said("red or blue"), "red"], **columns)
    [1.0, 0.0, 0.0]

    Args:
        tolerance: relative, of sizes; counts are exact.

    Returns:
        None where no accepted answer is known of a question that can be answered.
    """
    lines = prediction_lines(
        completions,
        answers=answers,
        answerable=answerable,
        question_type=question_type,
        answer_candidates=answer_candidates,
        question=question,
    )
    rewards: list[float | None] = []
    for line in lines:
        if line is None:
            rewards.append(0.0)
        elif line["answerable"] is None or (line["answerable"] and not line["answers"]):
            rewards.append(None)
        else:
            rewards.append(float(judge(line, tolerance)))
    return rewards
