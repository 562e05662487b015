"""Records that belong together, and how whole groups of them are dealt out to splits."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from vqa.record_checks import Record


def record_groups(records: Sequence[Record], same_images: Iterable[Sequence[str]]) -> list[list[int]]:
    """Indices of the records that share an image, directly or through others; in order of the first.

    Args:
        records: with image paths; a record without images is a group of its own.
        same_images: groups of image paths that count as one image.
    """
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        root = name
        while parent.setdefault(root, root) != root:
            root = parent[root]
        while parent[name] != root:  # shorten the way for the next time
            parent[name], name = root, parent[name]
        return root

    for names in [*same_images, *(record["images"] for record in records)]:
        for name in names[1:]:
            parent[find(name)] = find(names[0])
    groups: dict[str | int, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(find(record["images"][0]) if record["images"] else index, []).append(index)
    return list(groups.values())


def deal(
    groups: Sequence[Sequence[int]], types: Sequence[str], ratios: Mapping[str, Fraction], seed: int
) -> list[str]:
    """A split for each group, so that each type's records come close to the ratios.

    The largest groups first, each to the split where it lowers the most the sum, over types and the whole, of
    (count - wanted)^2 / wanted: a rare type weighs as much as a frequent one.

    Args:
        groups: indices of records.
        types: of every record.
        ratios: split -> share; they are brought to the sum 1.
        seed: orders groups of one size.
    """
    whole = ""  # counts as one more type
    members = [Counter(types[index] for index in group) for group in groups]
    for counter in members:
        counter[whole] = counter.total()
    totals = sum(members, Counter())
    share = sum(ratios.values())
    wanted = {
        name: {kind: float(count * ratio / share) for kind, count in totals.items()}
        for name, ratio in ratios.items()
    }
    held: dict[str, Counter] = {name: Counter() for name in ratios}
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda number: -len(groups[number]))
    chosen = [""] * len(groups)
    for number in order:

        def added(name: str, group: Counter = members[number]) -> float:
            goal, have = wanted[name], held[name]
            return sum(
                count * (2 * (have[kind] - goal[kind]) + count) / goal[kind] for kind, count in group.items()
            )

        chosen[number] = min(ratios, key=added)
        held[chosen[number]].update(members[number])
    return chosen
