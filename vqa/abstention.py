"""When not to answer: a threshold on confidence, given, or chosen so that few of the given answers are wrong.

Selective prediction with a target risk, after Geifman and El-Yaniv (2017, "Selective Classification for Deep
Neural Networks", arXiv:1705.08500). Their binary search tests log2(m) thresholds. The search here, from about
log2(m) coverages on, is algorithm 1 of Angelopoulos et al. (2021, "Learn then Test", arXiv:2110.01052): it
does not need risk to fall as confidence rises, and ends at a record, not near it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import betaincinv

from vqa.errors import UserError
from vqa.metrics.selective import RiskCoverage, risk_coverage
from vqa.questions import judge

Line = dict[str, Any]


@dataclass(frozen=True)
class Abstention:
    """A threshold and what it does to the records that it was chosen on.

    Attributes:
        threshold: answers of less confidence are withheld.
        target_risk: the share of wrong answers among the given ones that was asked for.
        delta: chance that more than that are wrong beyond these records; None: nothing is promised.
        coverage: share of the records that are answered.
        risk: share of wrong answers among the given ones.
    """

    threshold: float
    target_risk: float
    delta: float | None
    coverage: float
    risk: float

    def __str__(self) -> str:
        sure = "" if self.delta is None else f" with confidence {1 - self.delta:g}"
        return (
            f"threshold {self.threshold:.4f}, coverage {self.coverage:.1%}, risk {self.risk:.2%} "
            f"(target {self.target_risk:.2%}{sure})"
        )


def threshold_for(
    target_risk: float,
    confidences: Sequence[float | None],
    right: Sequence[bool],
    delta: float | None = None,
) -> Abstention:
    """The lowest threshold with at most `target_risk` of wrong answers among those that it keeps.

    Answers of equal confidence are kept or withheld together. Where all can be kept the threshold is 0.

    Args:
        target_risk: in [0, 1).
        confidences: of the answers, in [0, 1]; one that is None is always kept.
        right: whether each is right.
        delta: None: the wrong answers are counted. Else the upper Clopper-Pearson bound of their share has to
            meet the target: with probability 1 - delta over the draw of these answers, the expected share
            is at most `target_risk`.

    Raises:
        ValueError: no answers, or a confidence that is not a number.
        UserError: no threshold reaches the target.
    """
    # A threshold is never above 1, so that what has no confidence is never below it.
    scores = np.array([1.0 if confidence is None else confidence for confidence in confidences])
    if np.isnan(scores).any():
        raise ValueError("a confidence is not a number")
    curve = risk_coverage(scores, right)
    starts, bound = _bounds(curve, delta)
    meets = bound <= target_risk + 1e-12
    reached = meets & starts
    for point in range(1, len(reached)):
        reached[point] |= reached[point - 1] & meets[point]
    if not reached.any():
        raise UserError(_unreachable(target_risk, delta, curve.coverage[starts], bound[starts]))
    best = int(np.flatnonzero(reached)[-1])
    everything = best == len(reached) - 1
    return Abstention(
        threshold=0.0 if everything else float(curve.confidence[best]),
        target_risk=target_risk,
        delta=delta,
        coverage=float(curve.coverage[best]),
        risk=float(curve.risk[best]),
    )


def _bounds(curve: RiskCoverage, delta: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Where a search may start, and what must not exceed the target, for each point of the curve.

    A search goes from its start towards lower confidence and ends at the first point that fails, so that each
    start, not each point, is a chance to be wrong. They are all, a half, a quarter, ... of the answers.
    """
    if delta is None:
        return np.full(len(curve.risk), True), curve.risk
    kept = np.cumsum(curve.size)
    ranks = [int(kept[-1]) >> halvings for halvings in range(int(kept[-1]).bit_length())]
    starts = np.isin(np.arange(len(kept)), np.searchsorted(kept, ranks))
    return starts, upper_bound(np.rint(curve.risk * kept), kept, delta / starts.sum())


def upper_bound(wrong: np.ndarray, kept: np.ndarray, delta: float) -> np.ndarray:
    """The largest share p for which at most `wrong` of `kept` have a probability of `delta` or more.

    The one-sided bound of Clopper and Pearson (1934), B* in Geifman and El-Yaniv (2017).
    """
    some_right = np.maximum(kept - wrong, 1)
    return np.where(wrong < kept, betaincinv(wrong + 1, some_right, 1 - delta), 1.0)


def _unreachable(target_risk: float, delta: float | None, coverage: np.ndarray, bound: np.ndarray) -> str:
    lowest = bound.min()
    where = coverage[bound <= lowest][-1]
    reached = "is reached" if delta is None else f"can be promised with confidence {1 - delta:g}"
    return (
        f"--target_risk {target_risk:g}: no threshold reaches it on the calibration file; the lowest risk "
        f"that {reached} is {math.ceil(lowest * 1e4) / 1e4:.4f}, at a coverage of {where:.1%}"
    )


def calibrate(lines: Sequence[Line], target_risk: float, delta: float | None = None) -> Abstention:
    """The threshold for the lines of a prediction file; right is what the rule of the question's type says.

    Coverage is over all lines. Risk is over the answers that are given: any to an unanswerable question is
    wrong, and where the model itself abstains there is none.

    Raises:
        UserError: nothing is answered, or no threshold reaches the target.
    """
    given = [line for line in lines if not line["abstained"]]
    if not given:
        raise UserError(f"--calibration_file: the model answers none of its {len(lines)} questions")
    confidences = [line["confidence"] for line in given]
    found = threshold_for(target_risk, confidences, [judge(line) for line in given], delta)
    return replace(found, coverage=found.coverage * len(given) / len(lines))


def withhold(line: Line, threshold: float | None) -> Line:
    """The line, without its answer where that is less confident than `threshold`; `raw` keeps what was said.

    A confidence of None is never less; a threshold of None withholds nothing.
    """
    if threshold is None or line["confidence"] is None or line["confidence"] >= threshold:
        return line
    return line | {"pred": "", "abstained": True}


def count_withheld(decided: Sequence[Line], given: Sequence[Line], threshold: float | None) -> dict[str, Any]:
    """The `abstention` entry of a prediction file's manifest: lines before and after the threshold."""
    own, all_in_all = (sum(line["abstained"] for line in lines) for lines in (decided, given))
    return {"threshold": threshold, "withheld": all_in_all - own, "abstained_by_model": own}
