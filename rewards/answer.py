"""`answer`: the answer is right by the rule of its question's type, as evaluate.py judges it."""

from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, prediction_lines
from vqa.questions import DEFAULT_TOLERANCE, judge


def answer_reward(
    completions: Sequence[Completion],
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    **columns: Any,
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
        columns: of the records: `prediction_lines` says which are looked at.

    Returns:
        None where no accepted answer is known of a question that can be answered.
    """
    rewards: list[float | None] = []
    for line in prediction_lines(completions, **columns):
        if line is None:
            rewards.append(0.0)
        elif line["answerable"] is None or (line["answerable"] and not line["answers"]):
            rewards.append(None)
        else:
            rewards.append(float(judge(line, tolerance)))
    return rewards
