"""Intervals for rates over records that are not independent: several questions share an image."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

RESAMPLES = 1000
_BLOCK = 4_000_000  # cluster draws held at once: bounds the memory, not the result


def clustered_intervals(
    rates: Mapping[str, tuple[Sequence[float], Sequence[bool]]],
    clusters: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """Percentile bootstrap intervals of means, whole clusters drawn with replacement.

    Every rate sees the same resamples. A resample without a record of a rate is left out of that rate.

    Args:
        rates: name -> (value of each record, whether the rate is taken over that record).
        clusters: what each record belongs to, its image.
        resamples: how many.
        level: coverage of the interval.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        name -> [low, high], or None where fewer than two clusters hold records of the rate.
    """
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
    size = len(numbers)
    if size < 2:
        return dict.fromkeys(rates)
    columns = []
    for values, mask in rates.values():
        included = np.asarray(mask, dtype=float)
        weighted = np.asarray(values, dtype=float) * included
        columns += [np.bincount(index, weights=w, minlength=size) for w in (weighted, included)]
    sums = np.stack(columns, axis=1)  # (clusters, 2 * rates): sum of values, count
    totals = _resampled_totals(sums, resamples, np.random.default_rng(seed))
    tail = 100 * (1 - level) / 2
    intervals: dict[str, list[float] | None] = {}
    for position, name in enumerate(rates):
        count = totals[:, 2 * position + 1]
        if np.count_nonzero(sums[:, 2 * position + 1]) < 2:
            intervals[name] = None
            continue
        means = totals[count > 0, 2 * position] / count[count > 0]
        intervals[name] = [float(value) for value in np.percentile(means, [tail, 100 - tail])]
    return intervals


def _resampled_totals(sums: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Column sums over each resample, shape (resamples, columns)."""
    size = len(sums)
    block = max(1, _BLOCK // size)
    totals = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        totals.append(times_drawn.astype(float) @ sums)
    return np.concatenate(totals)
