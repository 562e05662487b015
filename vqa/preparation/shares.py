"""Shares of a whole kept exactly: how many records may stay at most, and which ones, drawn with a seed."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from vqa.errors import UserError

_SHARE = re.compile(r"\d{1,30}(\.\d{0,30})?|\.\d{1,30}|\d{1,30}/\d{1,30}", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What the records that stay have to keep to.

    Attributes:
        blank: greatest share of them that is blank.
        counts: type -> greatest number.
        shares: type -> greatest share.
    """

    blank: Fraction = Fraction(1)
    counts: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, Fraction] = field(default_factory=dict)

    def allowed(self, kind: str, there: int, total: int) -> int:
        """How many of the `there` records of a type may be among `total`."""
        share = int(self.shares[kind] * total) if kind in self.shares else there
        return min(there, self.counts.get(kind, there), share)


def parse_share(text: str) -> Fraction:
    """`0.4`, `.4` or `2/5`, exactly as written: 2/5. Raises ValueError for anything else, and above 1."""
    if not _SHARE.fullmatch(text) or text.endswith("/0"):
        raise ValueError(f"{text!r} is no share")
    share = Fraction(text)
    if share > 1:
        raise ValueError(f"{text!r} is above 1")
    return share


def parse_shares(name: str, pairs: Iterable[str]) -> dict[str, Fraction]:
    """`["yes_no=0.4"]` -> `{"yes_no": Fraction(2, 5)}`. Raises UserError that names the option."""
    shares: dict[str, Fraction] = {}
    for pair in pairs:
        key, _, text = str(pair).partition("=")
        try:
            share = parse_share(text)
        except (ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"--{name} {pair}: expected NAME=SHARE, a share from 0 to 1 such as 0.4 or 2/5"
            ) from error
        if not key or key in shares:
            raise UserError(f"--{name} {pair}: each name once")
        shares[key] = share
    return shares


def greatest_total(cells: Mapping[tuple[str, bool], int], limits: Limits) -> int:
    """The greatest number of records that can stay within the limits.

    Every limit grows with the total, so the most that fits into the limits of a total, `_most`, does too, and
    the greatest total that fits into its own limits is reached by going down from all records.

    Args:
        cells: (type, blank) -> number of records.
        limits: what those that stay keep to.
    """
    total = sum(cells.values())
    while (most := _most(cells, limits, total)) < total:
        total = most
    return total


def _most(cells: Mapping[tuple[str, bool], int], limits: Limits, total: int) -> int:
    """The most records within what the limits allow of `total`: the inked of each type, then blank ones."""
    inked = room = 0
    for kind in {kind for kind, _ in cells}:
        there, blanks = cells.get((kind, False), 0), cells.get((kind, True), 0)
        allowed = limits.allowed(kind, there + blanks, total)
        inked += min(there, allowed)
        room += min(blanks, allowed - min(there, allowed))
    return inked + min(room, int(limits.blank * total))


def choose(types: Sequence[str], blank: Sequence[bool], limits: Limits, seed: str) -> dict[int, str]:
    """Which records of a split to leave out: index -> reason, `type TYPE` or `blank`.

    As many stay as can (`greatest_total`). What stays of a type is drawn; where that leaves too many blank
    records, some are exchanged for inked ones of their type that were not drawn, then the rest goes.

    Args:
        types, blank: of each record.
        limits: what the records that stay keep to, exactly.
        seed: draws; the same seed, the same choice.
    """
    total = greatest_total(Counter(zip(types, blank, strict=True)), limits)
    reasons: dict[int, str] = {}
    for kind in dict.fromkeys(types):
        members = [index for index, name in enumerate(types) if name == kind]
        surplus = len(members) - limits.allowed(kind, len(members), total)
        reasons |= dict.fromkeys(_draw(members, surplus, f"{seed}/{kind}"), f"type {kind}")
    kept = [index for index in range(len(types)) if index not in reasons]
    blanks = [index for index in kept if blank[index]]
    surplus = len(blanks) - int(limits.blank * total)
    instead: dict[str, list[int]] = {}
    for index in reasons:
        if not blank[index]:
            instead.setdefault(types[index], []).append(index)
    leaving = _draw(blanks, len(blanks) if surplus > 0 else 0, f"{seed}/blank")
    for index in leaving:  # exchanges first, in the order drawn: they cost no record
        if surplus > 0 and instead.get(types[index]):
            del reasons[instead[types[index]].pop()]
            reasons[index] = "blank"
            surplus -= 1
    reasons |= dict.fromkeys([index for index in leaving if index not in reasons][: max(0, surplus)], "blank")
    return reasons


def _draw(indices: list[int], count: int, seed: str) -> list[int]:
    return random.Random(seed).sample(indices, max(0, count))
