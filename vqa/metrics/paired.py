"""Two models on the same records: how much better one is, how sure that is, and how likely by chance alone.

The interval is a bootstrap of the differences, whole images drawn with replacement. The p-value is that of
the exact sign-flip (paired permutation) test with the image as the unit: if the models were alike, swapping
their answers on an image would be as likely as not (Fisher 1935; Good 2005, "Permutation, Parametric and
Bootstrap Tests of Hypotheses"). With one record an image it is the exact form of McNemar's test.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from vqa.errors import UserError
from vqa.metrics.bootstrap import MAX_GROUPS, RESAMPLES, cluster_numbers, clustered_intervals, image_cluster

SMALLEST_P = 1e-10  # below it, rounding errors of the transform count
Prediction = Mapping[str, Any]


def compare_paired(
    right_a: Sequence[bool],
    right_b: Sequence[bool],
    clusters: Sequence[Hashable],
    groups: Mapping[str, Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of b less that of a, overall and by group.

    Args:
        right_a, right_b: verdicts on the same records, in the same order.
        clusters: what each record belongs to, its image.
        groups: name of a grouping (`by_question_type`) -> each record's group; the 50 largest are compared.
        resamples, seed: of the bootstrap.

    Returns:
        `overall` and for every grouping `{GROUP: row}`; a row is `count`, `accuracy_a`, `accuracy_b`,
        `difference` (b - a), `interval` (95%, None with fewer than two images), `p_value` (two-sided),
        `only_a` and `only_b` (records that only one of them has right).

    Raises:
        ValueError: no records, or not as many verdicts of both.
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if len(a) == 0 or len(a) != len(b):
        raise ValueError(f"{len(a)} verdicts cannot be paired with {len(b)}")
    masks = {("overall", ""): np.ones(len(a), dtype=bool)}
    for grouping, names in groups.items():
        column = np.asarray(names, dtype=object)
        largest = sorted(name for name, _ in Counter(names).most_common(MAX_GROUPS))
        masks |= {(grouping, name): column == name for name in largest}
    difference = b.astype(float) - a
    intervals = clustered_intervals(
        {key: (difference * mask, mask) for key, mask in masks.items()},
        clusters,
        resamples=resamples,
        seed=seed,
    )
    index = cluster_numbers(clusters)
    compared: dict[str, Any] = {}
    for (grouping, name), mask in masks.items():
        per_image = np.bincount(index[mask], weights=difference[mask])
        row = {
            "count": int(mask.sum()),
            "accuracy_a": float(a[mask].mean()),
            "accuracy_b": float(b[mask].mean()),
            "difference": float(difference[mask].mean()),
            "interval": intervals[grouping, name],
            "p_value": sign_flip_p_value(per_image.astype(int)),
            "only_a": int((a & ~b & mask).sum()),
            "only_b": int((b & ~a & mask).sum()),
        }
        if grouping == "overall":
            compared["overall"] = row
        else:
            compared.setdefault(grouping, {})[name] = row
    return compared


def compare_predictions(
    predictions: tuple[Sequence[Prediction], Sequence[Prediction]],
    correct: tuple[Sequence[bool], Sequence[bool]],
    names: tuple[str, str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """`compare_paired` on two prediction files of the same records, in any order; types and images are a's.

    Args:
        predictions, correct: of a and of b.
        names: of the two files, for messages.

    Raises:
        UserError: the files do not hold the same ids, or not the same question under an id; it says which.
    """
    a, b = predictions
    place = {row["id"]: index for index, row in enumerate(b)}
    _check_ids([row["id"] for row in a], place, names)
    order = [place[row["id"]] for row in a]
    for row, other in zip(a, (b[index] for index in order), strict=True):
        for field in ("qtype", "answerable", "gt"):
            if row[field] != other[field]:
                raise UserError(
                    f"id {row['id']!r}: {field} is {row[field]!r} in {names[0]} and {other[field]!r} in "
                    f"{names[1]}: these are not predictions of the same records"
                )
    groups = {"by_question_type": [row["qtype"] for row in a], "by_source": [row["source"] for row in a]}
    right_b = [correct[1][index] for index in order]
    return compare_paired(correct[0], right_b, [image_cluster(row) for row in a], groups, seed=seed)


def _check_ids(ids: Sequence[str], others: Mapping[str, int], names: tuple[str, str]) -> None:
    known = set(ids)
    only = [
        (name, mine)
        for name, mine in (
            (names[0], [identity for identity in ids if identity not in others]),
            (names[1], [identity for identity in others if identity not in known]),
        )
        if mine
    ]
    if only:
        parts = (f"{len(mine):,} only in {name}: {_listed(mine)}" for name, mine in only)
        raise UserError(f"only the same records can be compared; the ids differ: {'; '.join(parts)}")


def _listed(ids: Sequence[str], most: int = 10) -> str:
    more = f" and {len(ids) - most:,} more" if len(ids) > most else ""
    return ", ".join(repr(identity) for identity in ids[:most]) + more


def sign_flip_p_value(sums: Sequence[int] | np.ndarray) -> float:
    """Two-sided p-value of a total, had each of its whole-number parts come with either sign alike.

    Exact: the chance that a random total is at least as far from 0, over all 2^n choices of sign. The
    distribution is found at once through its characteristic function, the product of cos(part * t). Values
    below `SMALLEST_P` are given as that.
    """
    sums = np.asarray(sums, dtype=int)
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    span = int(sizes @ counts)
    observed = abs(int(sums.sum()))
    if observed == 0:
        return 1.0
    angles = 2 * np.pi * np.arange(2 * span + 1) / (2 * span + 1)
    waves = np.ones(2 * span + 1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        waves *= np.cos(size * angles) ** count
    chances = np.fft.fft(waves).real / (2 * span + 1)  # of the totals 0 ... span, then -span ... -1
    return float(min(1.0, max(SMALLEST_P, 2 * chances[observed : span + 1].sum())))
