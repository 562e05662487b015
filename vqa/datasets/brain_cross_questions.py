"""What is asked about the yellow cross on a slice: what it lies on, on which side, what is nearer to it.

The same questions are asked of some slices without a cross, where they are unanswerable.
"""

import random
from collections.abc import Iterator
from itertools import combinations

from scipy.ndimage import distance_transform_edt

from vqa.datasets.brain_questions import YES_NO, Question, boxes_of, options, place, rng_of
from vqa.datasets.brain_slices import CROSS_ARM, Slice
from vqa.datasets.brain_volumes import NAMES

SIDES = ["left", "right"]
NEARER = 14  # pixels by which one structure must be nearer to the cross than another
NO_CROSS = ["There is no yellow cross in this picture."]
# How often each question is asked of a slice without a cross.
WITHOUT = {
    **{"cross_name": 0.6, "cross_open": 0.6, "cross_on": 0.7, "cross_side": 0.4, "cross_side_is": 0.4},
    "nearer": 0.5,
}


def cross(view: Slice) -> Iterator[Question]:
    """The questions about the cross, or some of them where there is none."""
    rng = rng_of(view, "cross")
    names = rng.choice(["Which structure does the yellow cross mark?", "What lies under the yellow cross?"])
    opened = rng.choice(["Name the structure at the yellow cross.", "What does the yellow cross point at?"])
    side = "On which side of the person's brain is the yellow cross: left or right?"
    if view.cross is None:
        yield from _without(view, rng, names, opened, side)
        return
    name, part = view.cross.name, view.cross.part
    where = _where(view)
    under = f"The tissue there belongs to the {name}."
    boxes = [part.box]
    candidates = options(view, rng, name)
    yield Question("cross_name", name, names, "mcq", [name], candidates, [where, under], boxes)
    told = view.cross_side()
    accepted = [name, f"{told} {name}"] if told and part.side else [name]
    yield Question("cross_open", name, opened, "open_ended", accepted, None, [where, under], boxes)
    for other in NAMES:
        if other in view.parts or other in view.absent:
            answer = "yes" if other == name else "no"
            text = f"Is the yellow cross on the {other}?"
            yield Question("cross_on", other, text, "yes_no", [answer], YES_NO, [where, under], boxes)
    yield from _sides(view, side, told)
    yield from _nearer(view, rng)


def _where(view: Slice) -> str:
    return f"The yellow cross is in the {place(view, view.cross.column, view.cross.row)} of the brain here."


def _sides(view: Slice, text: str, told: str | None) -> Iterator[Question]:
    column, row = view.cross.column, view.cross.row
    reach = CROSS_ARM + 1
    boxes = [(column - reach, row - reach, column + reach + 1, row + reach + 1)]
    if not view.two_sided:
        steps = ["This is a sagittal slice, which shows one side only.", "Nothing in it tells which side."]
        yield Question("cross_side", "", text, "mcq", [], SIDES, steps)
    elif told:
        half = "left" if told == "right" else "right"
        steps = [
            f"The cross is in the {half} half of the picture.",
            "That is the half with the R, the person's right."
            if told == "right"
            else "The R is in the other half, so this is the person's left.",
        ]
        yield Question("cross_side", "", text, "mcq", [told], SIDES, steps, boxes)
        for side in SIDES:
            answer = "yes" if side == told else "no"
            asked = f"Is the yellow cross on the person's {side} side?"
            yield Question("cross_side_is", side, asked, "yes_no", [answer], YES_NO, steps, boxes)


def _nearer(view: Slice, rng: random.Random) -> Iterator[Question]:
    column, row = view.cross.column, view.cross.row
    distance = {}
    for name, parts in view.parts.items():
        if name != view.cross.name:
            steps = [(float(distance_transform_edt(~part.mask)[row, column]), part) for part in parts]
            distance[name] = min(steps, key=lambda item: item[0])
    for one, two in combinations(distance, 2):
        if abs(distance[one][0] - distance[two][0]) < NEARER:
            continue
        names = [one, two]
        rng.shuffle(names)
        near, far = sorted(names, key=lambda name: distance[name][0])
        part = distance[near][1]
        middle = ((part.box[0] + part.box[2]) / 2, (part.box[1] + part.box[3]) / 2)
        steps = [
            _where(view),
            f"From there it is not as far to the {near}, in the {place(view, *middle)}, as to the {far}.",
        ]
        text = f"Which is nearer to the yellow cross: the {names[0]} or the {names[1]}?"
        topic = "/".join(sorted(names))
        yield Question("nearer", topic, text, "mcq", [near], names, steps, boxes_of([part]))


def _without(view: Slice, rng: random.Random, names: str, opened: str, side: str) -> Iterator[Question]:
    asked = {kind for kind, share in WITHOUT.items() if rng.random() < share}
    some = rng.choice(list(view.parts))
    known = [*view.parts, *view.absent]
    if "cross_name" in asked:
        yield Question("cross_name", "", names, "mcq", [], options(view, rng, some), NO_CROSS)
    if "cross_open" in asked:
        yield Question("cross_open", "", opened, "open_ended", [], None, NO_CROSS)
    if "cross_on" in asked:
        name = rng.choice(known)
        text = f"Is the yellow cross on the {name}?"
        yield Question("cross_on", name, text, "yes_no", [], YES_NO, NO_CROSS)
    if "cross_side" in asked:
        yield Question("cross_side", "", side, "mcq", [], SIDES, NO_CROSS)
    if "cross_side_is" in asked:
        one = rng.choice(SIDES)
        text = f"Is the yellow cross on the person's {one} side?"
        yield Question("cross_side_is", one, text, "yes_no", [], YES_NO, NO_CROSS)
    if "nearer" in asked and len(view.parts) > 1:
        two = rng.sample(list(view.parts), 2)
        text = f"Which is nearer to the yellow cross: the {two[0]} or the {two[1]}?"
        yield Question("nearer", "/".join(sorted(two)), text, "mcq", [], two, NO_CROSS)
