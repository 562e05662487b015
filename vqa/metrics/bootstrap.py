"""Intervals for rates over records that are not independent: several questions share an image."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 1000
MAX_GROUPS = (
    50  # of a kind that intervals are given for, the largest; thousands of sources would take minutes
)
_BLOCK = 2_000_000  # cluster draws held at once: bounds the memory, not the result
Column = Sequence[float] | np.ndarray


def clustered_intervals(
    rates: Mapping[Hashable, tuple[Column, Column]],
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[Hashable, list[float] | None]:
    """Percentile bootstrap intervals of ratios of sums, whole clusters drawn with replacement.

    A mean over some of the records is such a ratio: their values (0 for the others), and 1 for each of
    them (0 for the others). So are an error rate (errors, length) and F1 (2 TP, predicted + positive).
    Every rate sees the same resamples. A resample whose denominator is 0 is left out of that rate.

    Args:
        rates: name -> (each record's part of the numerator, and of the denominator).
        clusters: what each record belongs to, its image.
        resamples: how many.
        level: coverage of the interval.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        name -> [low, high], or None where fewer than two clusters have a part in the denominator.
    """
    index = cluster_numbers(clusters)
    size = int(index.max(initial=-1)) + 1
    if size < 2:
        return dict.fromkeys(rates)
    sums = np.empty((size, 2 * len(rates)))
    for position, parts in enumerate(rates.values()):
        for offset, part in enumerate(parts):
            weights = np.asarray(part, dtype=float)
            sums[:, 2 * position + offset] = np.bincount(index, weights=weights, minlength=size)
    totals = np.concatenate([drawn.astype(float) @ sums for drawn in resampled_counts(size, resamples, seed)])
    intervals: dict[Hashable, list[float] | None] = {}
    for position, name in enumerate(rates):
        below = totals[:, 2 * position + 1]
        if np.count_nonzero(sums[:, 2 * position + 1]) < 2:
            intervals[name] = None
            continue
        intervals[name] = percentile_interval(totals[below > 0, 2 * position] / below[below > 0], level)
    return intervals


def image_cluster(prediction: Mapping[str, Any]) -> tuple[str, ...]:
    """What ties records together for the bootstrap: their images, or a record's own id where it has none."""
    return tuple(prediction["images"]) or ("id", prediction["id"])


def cluster_numbers(clusters: Sequence[Hashable]) -> np.ndarray:
    """Each record's cluster as a number from 0, in sorted order, whatever order the records have."""
    numbers = {cluster: number for number, cluster in enumerate(sorted(set(clusters)))}
    return np.array([numbers[cluster] for cluster in clusters], dtype=np.int64)


def percentile_interval(samples: np.ndarray, level: float = 0.95) -> list[float]:
    """The ends of the middle `level` of the samples."""
    tail = 100 * (1 - level) / 2
    return [float(value) for value in np.percentile(samples, [tail, 100 - tail])]


def resampled_counts(size: int, resamples: int, seed: int, width: int = 0) -> Iterator[np.ndarray]:
    """How often each of `size` clusters is drawn, shape (rows, size); the rows of all blocks are `resamples`.

    Args:
        width: of what the caller makes of a row, if that is wider; it keeps the blocks small.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(size, width))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
