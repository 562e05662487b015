"""What is asked about a slice of a brain: the kinds of questions that SLAKE asks, with answer and evidence.

Every question is true of its slice by the atlas; what the atlas leaves open is not asked. Questions about
what a slice can't tell are unanswerable: a cross that is not drawn, the side of a sagittal slice, the half in
which a structure lies that is not there, facts about the person.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from vqa.datasets.brain_slices import AXES, MIDLINE, Part, Slice
from vqa.datasets.brain_volumes import GREY, T1, WHITE

YES_NO = ["yes", "no"]
CLEARLY = 1.4  # times as large, to be called larger
# Pixels by which one structure must be nearer to the cross than another.
NEARER = 14
HALFWAY = 16  # pixels from the middle of the brain to that of a structure that lies in one half
# Structures whose left and right parts lie apart, so that they can be counted.
# By size, the largest first.
LARGE = (
    *("frontal lobe", "temporal lobe", "parietal lobe", "cerebellum", "occipital lobe", "brainstem"),
    *("cingulate gyrus", "thalamus", "lateral ventricle", "putamen", "insula", "hippocampus"),
    *("caudate nucleus", "amygdala"),
)
COUNTED = ("insula", "putamen", "hippocampus", "amygdala", "caudate nucleus")
KINDS = {T1: "T1-weighted MRI", GREY: "grey matter map", WHITE: "white matter map"}


@dataclass
class Question:
    """A question about a slice, before it is a record.

    Attributes:
        kind: what is asked, such as `visible`.
        topic: of what; questions of one kind and topic have the same text but for its wording.
        text, type, answers, candidates, boxes, reasoning: as in a record; no answers: unanswerable.
    """

    kind: str
    topic: str
    text: str
    type: str
    answers: list[str]
    candidates: list[str] | None
    reasoning: list[str]
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)


def _rng(view: Slice, kind: str) -> random.Random:
    return random.Random(f"brain_atlas/{view.cut.name}/{kind}")


def a(noun: str) -> str:
    """With its article: an axial, a coronal."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(names: list[str], last: str = "and") -> str:
    """`x, y and z`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def boxes_of(parts: list[Part]) -> list[tuple[int, int, int, int]]:
    """The boxes of parts, from left to right."""
    return sorted(part.box for part in parts)


def place(view: Slice, column: float, row: float) -> str:
    """Where in the brain, in words of the picture: upper left, left, centre, ..."""
    x0, y0, x1, y1 = view.brain_box
    across = min(2, max(0, int(3 * (column - x0) / (x1 - x0))))
    down = min(2, max(0, int(3 * (row - y0) / (y1 - y0))))
    if across == down == 1:
        return "centre"
    return " ".join(
        word for word in (("upper", "", "lower")[down], ("left", "middle", "right")[across]) if word
    )


def places(view: Slice, parts: list[Part]) -> str:
    """Where parts lie, each by the middle of its box."""
    found = [place(view, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes_of(parts)]
    return listed([f"the {word}" for word in dict.fromkeys(found)])


def caption(view: Slice) -> str:
    """One or two sentences about the picture, the same for all its questions."""
    rng = _rng(view, "caption")
    most = sorted(view.parts, key=lambda name: -view.area(name))[:3]
    shown = {T1: "T1-weighted MRI", GREY: "map of the grey matter", WHITE: "map of the white matter"}
    opening = rng.choice(
        [
            f"{a(view.cut.plane).capitalize()} slice through a brain, {a(shown[view.kind])}",
            f"A brain in {a(view.cut.plane)} slice, seen in {a(shown[view.kind])}",
            f"{a(shown[view.kind])[0].upper() + a(shown[view.kind])[1:]} of a brain, {view.cut.plane} slice",
        ]
    )
    contents = f", mostly of {listed(['the ' + name for name in most])}."
    return opening + contents + (" A yellow cross marks one spot." if view.cross else "")


def whole_slice(view: Slice) -> Iterator[Question]:
    """Plane, kind of picture, direction and side."""
    rng = _rng(view, "whole")
    plane, kind = view.cut.plane, view.kind
    signs = {
        "axial": "Both halves of the brain show, seen from below, with the front at the top.",
        "coronal": "Both halves of the brain show, seen from the front, with the crown at the top.",
        "sagittal": "The brain shows from the side, with its front at one edge and its back at the other.",
    }[plane]
    wording = rng.choice(
        [
            "In which plane is this slice cut?",
            "Which plane does the picture show?",
            "How is this slice oriented: axial, coronal or sagittal?",
        ]
    )
    yield Question("plane", "", wording, "mcq", [plane], list(AXES), [signs])
    for other in AXES:
        answer = "yes" if other == plane else "no"
        steps = [signs, f"That makes it {a(plane)} slice."]
        yield Question("plane_is", other, f"Is this {a(other)} slice?", "yes_no", [answer], YES_NO, steps)
    look = {
        T1: "White matter is bright, grey matter darker and fluid dark, as in a T1-weighted MRI.",
        GREY: "Only the cortex, the deep nuclei and the cerebellum are bright, which is grey matter.",
        WHITE: "Only the inner part of the brain is bright, which is white matter.",
    }[kind]
    wording = rng.choice(["What kind of picture is this?", "Which of these does the picture show?"])
    if kind != T1 or rng.random() < 0.25:  # most slices are T1-weighted; the question is not to give it away
        yield Question("modality", "", wording, "mcq", [KINDS[kind]], list(KINDS.values()), [look])
    for other, name in KINDS.items():
        answer = "yes" if other == kind else "no"
        yield Question("modality_is", name, f"Is this a {name}?", "yes_no", [answer], YES_NO, [look])
    if view.facing and rng.random() < (0.5 if plane == "axial" else 1):
        steps = [signs, f"The front of the brain is at the {view.facing}."]
        text = "At which edge of the picture is the front of the head?"
        yield Question("facing", "", text, "mcq", [view.facing], ["top", "left", "right"], steps)
    text = "Which side of the brain does this slice show: left, right or both?"
    sides = ["left", "right", "both"]
    if view.flat and rng.random() < 0.3:
        yield Question("slice_side", "", text, "mcq", ["both"], sides, [signs])
    elif not view.flat and abs(view.cut.position) >= MIDLINE and rng.random() < 0.6:
        steps = ["A sagittal slice shows one side, and the two look alike.", "No letter tells which it is."]
        yield Question("slice_side", "", text, "mcq", [], sides, steps)


def visible(view: Slice) -> Iterator[Question]:
    """Is X visible; how many of these; how many parts of X."""
    rng = _rng(view, "visible")
    for name in view.parts:
        text = _visible_text(rng, name)
        steps = [f"The {name} lies in {places(view, view.parts[name])} of the brain here."]
        yield Question("visible", name, text, "yes_no", ["yes"], YES_NO, steps, boxes_of(view.parts[name]))
    for name in view.absent:
        steps = [f"{_missed(view, name)}"]
        yield Question("visible", name, _visible_text(rng, name), "yes_no", ["no"], YES_NO, steps)

    present, absent = list(view.parts), view.absent
    for count in range(max(0, 4 - len(absent)), min(4, len(present)) + 1):
        chosen = rng.sample(present, count)
        names = chosen + rng.sample(absent, 4 - count)
        rng.shuffle(names)
        text = f"How many of these are visible: {listed(names)}?"
        seen = [name for name in names if name in chosen]
        steps = [f"Visible: {', '.join(seen) or 'none'}.", f"Not in this slice: {_rest(names, seen)}."]
        boxes = sorted(box for name in seen for box in boxes_of(view.parts[name]))
        yield Question("how_many", "", text, "count_numeric", [str(count)], None, steps, boxes)

    for name in COUNTED:
        text = f"How many separate parts of the {name} show in this slice?"
        if name in absent:
            yield Question("parts", name, text, "count_numeric", ["0"], None, [_missed(view, name)])
        elif name in view.parts and _countable(view, view.parts[name]):
            parts = view.parts[name]
            steps = [f"It shows in {places(view, parts)} of the brain."]
            yield Question(
                "parts", name, text, "count_numeric", [str(len(parts))], None, steps, boxes_of(parts)
            )


def _visible_text(rng: random.Random, name: str) -> str:
    return rng.choice([f"Is the {name} visible?", f"Does this slice show the {name}?"])


def _missed(view: Slice, name: str) -> str:
    if name in view.whereabouts:
        return f"This slice is cut {view.whereabouts[name]} the {name}."
    return f"This slice is cut where there is no part of the {name}."


def _rest(names: list[str], seen: list[str]) -> str:
    return ", ".join(name for name in names if name not in seen) or "none"


def _countable(view: Slice, parts: list[Part]) -> bool:
    """One part on a sagittal slice, one on each side on the others; all else can be argued about."""
    sides = sorted(part.side for part in parts)
    return sides == ["left", "right"] if view.flat else len(sides) == 1


def compared(view: Slice) -> Iterator[Question]:
    """Which is the largest; is A larger than B; what fills most of a quarter; in which half is X."""
    rng = _rng(view, "compared")
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
    if not view.flat:
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
        steps.insert(0, f"Not in this slice: {_rest(names, [name, *others])}.")
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


def _candidates(view: Slice, rng: random.Random, name: str) -> list[str]:
    """The structure and three others, two of them in the slice where it has so many, in mixed order."""
    seen = [other for other in view.parts if other != name]
    others = rng.sample(seen, min(2, len(seen)))
    unseen = [other for other in view.absent if other not in others]
    others += rng.sample(unseen, min(3 - len(others), len(unseen)))
    left = [other for other in seen if other not in others]
    others += rng.sample(left, min(3 - len(others), len(left)))
    names = [name, *others]
    rng.shuffle(names)
    return names


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
        steps = [_missed(view, name), "What is not there lies in neither half."]
        yield Question("half", name, text.format(name), "mcq", [], ["left", "right"], steps)


_FACTS = (
    ("How old is the patient?", "open_ended", None),
    ("On which date was this scan made?", "open_ended", None),
    ("Which hospital made this scan?", "open_ended", None),
    ("Which medicine does the patient take?", "open_ended", None),
    ("What does a CT of the same head show?", "open_ended", None),
    ("Is the patient right-handed?", "yes_no", YES_NO),
    ("Does the patient have a headache?", "yes_no", YES_NO),
    ("Is the patient's blood pressure too high?", "yes_no", YES_NO),
    ("Has anything changed since the last scan?", "yes_no", YES_NO),
    ("Which blood group does the patient have?", "mcq", ["A", "B", "AB", "0"]),
)


def facts(view: Slice) -> Iterator[Question]:
    """Things that no slice tells, for some slices."""
    rng = _rng(view, "facts")
    if rng.random() < 0.4:
        text, form, candidates = rng.choice(_FACTS)
        steps = ["A slice shows the form of a brain and nothing else about a person."]
        yield Question("fact", text, text, form, [], candidates, steps)
