"""Whether a caption is about what was asked, and whether the answers under such captions are right.

A similarity (cosine of question and caption by a sentence encoder) is handed in; a record is covered at tau
when it is at least tau.
"""

from collections.abc import Sequence

import numpy as np

from vqa.metrics.synonyms import expand_synonyms

__all__ = ["TAUS", "consistency_columns", "consistency_table", "expand_synonyms"]

TAUS = (0.3, 0.4, 0.5, 0.6)


def consistency_table(
    similarities: Sequence[float], correct: Sequence[bool], taus: Sequence[float] = TAUS
) -> dict[str, dict[str, float | None]]:
    """Coverage and accuracy at each tau, over the records that have a caption.

    Args:
        similarities: one per record with a caption.
        correct: whether each of these records' answers is right.

    Returns:
        {"0.3": {"coverage": share of the records with similarity >= 0.3, "accuracy": share of right answers
        among those}, ...}; coverage is None without records, accuracy where none is covered.

    Raises:
        ValueError: the two are not of one length.
    """
    pairs = list(zip(similarities, correct, strict=True))
    table = {}
    for tau in taus:
        covered = [bool(right) for similarity, right in pairs if similarity >= tau]
        table[f"{tau:g}"] = {
            "coverage": len(covered) / len(pairs) if pairs else None,
            "accuracy": sum(covered) / len(covered) if covered else None,
        }
    return table


def consistency_columns(
    similarities: Sequence[float | None], correct: Sequence[bool], taus: Sequence[float] = TAUS
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The table record by record: path in metrics.json -> (numerator, denominator).

    Args:
        similarities: one per record; None where it has no caption.
        correct: whether each record's answer is right.
    """
    right, cosines = np.asarray(correct, dtype=bool), np.array(similarities, dtype=float)  # None becomes NaN
    columns = {}
    for tau in taus:
        covered = cosines >= tau
        columns[f"caption_consistency/{tau:g}/coverage"] = covered, ~np.isnan(cosines)
        columns[f"caption_consistency/{tau:g}/accuracy"] = covered & right, covered
    return columns
