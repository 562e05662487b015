"""What is asked about structures beside each other: which is larger, what fills a quarter, which half."""

import random
from collections.abc import Iterator
from itertools import product

from vqa.datasets.brain_questions import (
    YES_NO,
    Question,
    boxes_of,
    listed,
    missed,
    rest,
    rng_of,
)
from vqa.datasets.brain_slices import Part, Slice

CLEARLY = 1.4  # times as large, to be called larger
HALFWAY = 16  # pixels from the middle of the brain to that of a structure that lies in one half
# By size, the largest first.
LARGE = (
    *("frontal lobe", "temporal lobe", "parietal lobe", "cerebellum", "occipital lobe", "brainstem"),
    *("cingulate gyrus", "thalamus", "lateral ventricle", "putamen", "insula", "hippocampus"),
    *("caudate nucleus", "amygdala"),
)


def compared(view: Slice) -> Iterator[Question]:
    """Which is the largest; is A larger than B; what fills most of a quarter; in which half is X."""
    rng = rng_of(view, "compared")
    areas = {name: view.area(name) for name in view.parts}
    smaller = {name: [other for other in areas if areas[other] * CLEARLY <= areas[name]] for name in areas}
    for name in areas:
        if smaller[name] and len(smaller[name]) + len(view.absent) >= 3:
            yield _largest(view, rng, name, smaller[name])
    for name, others in smaller.items():
        for other in others:
            for first, second in ((name, other), (other, name)):
                text = f"Does the {first} cover more area than the {second} in this slice?"
                answer = "yes" if first == name else "no"
                steps = [f"The {name} is clearly larger than the {other} here."]
                boxes = sorted(boxes_of(view.parts[first]) + boxes_of(view.parts[second]))
                topic = f"{first}/{second}"
                yield Question("larger", topic, text, "yes_no", [answer], YES_NO, steps, boxes)
    yield from _quarters(view, rng)
    if not view.two_sided:
        yield from _halves(view, rng)


def _largest(view: Slice, rng: random.Random, name: str, smaller: list[str]) -> Question:
    """Against one or two smaller ones and structures that are not there, the big ones among them first."""
    number = max(1, 3 - len(view.absent), min(2, len(smaller)))
    others = rng.sample(smaller, number)
    by_size = sorted(view.absent, key=lambda absent: LARGE.index(absent) + rng.uniform(0, 3))
    names = [name, *others, *by_size[: 3 - number]]
    rng.shuffle(names)
    text = rng.choice(
        ["Which of these covers the largest area here?", "Which of these takes up most of the slice?"]
    )
    steps = [f"The {listed(others)} {'is' if number == 1 else 'are'} smaller."]
    if number < 3:
        steps.insert(0, f"Not in this slice: {rest(names, [name, *others])}.")
    return Question("largest", "", text, "mcq", [name], names, steps, boxes_of(view.parts[name]))


def _quarters(view: Slice, rng: random.Random) -> Iterator[Question]:
    x0, y0, x1, y1 = view.brain_box
    column, row = (x0 + x1) // 2, (y0 + y1) // 2
    rows = {"upper": slice(y0, row), "lower": slice(row, y1)}
    columns = {"left": slice(x0, column), "right": slice(column, x1)}
    for down, across in product(rows, columns):
        window = (rows[down], columns[across])
        areas = {
            name: sum(int(part.mask[window].sum()) for part in parts) for name, parts in view.parts.items()
        }
        name, second = sorted(areas, key=lambda name: -areas[name])[:2]
        if areas[name] < CLEARLY * areas[second]:
            continue
        kind, form = rng.choice([("quarter", "mcq"), ("quarter_open", "open_ended")])
        inside = [
            _crop(part, window) for part in view.parts[name] if part.mask[window].sum() >= 0.2 * areas[name]
        ]
        text = f"Which structure fills most of the {down} {across} quarter of the brain in this picture?"
        steps = [f"In the {down} {across} quarter the {name} covers more than anything else."]
        # Against what could fill a quarter too, else the options would tell.
        others = rng.sample([large for large in LARGE[:5] if large != name], 3)
        candidates = rng.sample([name, *others], 4) if form == "mcq" else None
        yield Question(kind, f"{down} {across}", text, form, [name], candidates, steps, sorted(inside))


def _crop(part: Part, window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = part.mask[window].any(axis=1).nonzero()[0], part.mask[window].any(axis=0).nonzero()[0]
    top, left = window[0].start, window[1].start
    return (
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )


def _halves(view: Slice, rng: random.Random) -> Iterator[Question]:
    """Left and right half of the picture, on sagittal slices, whose front is at either edge."""
    middle = (view.brain_box[0] + view.brain_box[2]) / 2
    found = []
    for name, parts in view.parts.items():
        left, right = min(part.box[0] for part in parts), max(part.box[2] for part in parts)
        if right <= middle and (left + right) / 2 <= middle - HALFWAY:
            found.append((name, "left"))
        elif left >= middle and (left + right) / 2 >= middle + HALFWAY:
            found.append((name, "right"))
    text = "In which half of the brain in this picture does the {} lie: left or right?"
    for name, half in rng.sample(found, min(2, len(found))):
        steps = [f"All of the {name} lies to the {half} of the middle of the brain."]
        boxes = boxes_of(view.parts[name])
        yield Question("half", name, text.format(name), "mcq", [half], ["left", "right"], steps, boxes)
    if view.absent:
        name = rng.choice(view.absent)
        steps = [missed(view, name), "What is not there lies in neither half."]
        yield Question("half", name, text.format(name), "mcq", [], ["left", "right"], steps)
