"""What is asked about a slice of a brain: the kinds of questions that SLAKE asks, with answer and evidence.

Every question is true of its slice by the atlas; what the atlas leaves open is not asked. Questions about
what a slice can't tell are unanswerable: a cross that is not drawn, the side of a sagittal slice, the half in
which a structure lies that is not there, facts about the person.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from vqa.datasets.brain_slices import AXES, MIDLINE, Part, Slice
from vqa.datasets.brain_volumes import GREY, T1, WHITE

YES_NO = ["yes", "no"]
MODALITIES = (T1, GREY, WHITE)
# Structures whose left and right parts lie apart, so that they can be counted.
COUNTED = ("insula", "putamen", "hippocampus", "amygdala", "caudate nucleus")
# Of the slices that are T1-weighted, as most are, so many are asked what they show.
ASK_T1 = 0.25


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


def rng_of(view: Slice, kind: str) -> random.Random:
    """What chooses wordings and options; the same for a slice whatever else is made."""
    return random.Random(f"brain_atlas/{view.cut.name}/{kind}")


def a(noun: str) -> str:
    """With its article: an axial, a coronal."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(names: list[str]) -> str:
    """`x, y and z`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    rng = rng_of(view, "caption")
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
    rng = rng_of(view, "whole")
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
    if kind != T1 or rng.random() < ASK_T1:
        yield Question("modality", "", wording, "mcq", [kind], list(MODALITIES), [look])
    for other in MODALITIES:
        answer = "yes" if other == kind else "no"
        yield Question("modality_is", other, f"Is this a {other}?", "yes_no", [answer], YES_NO, [look])
    if view.facing and rng.random() < (0.5 if plane == "axial" else 1):
        steps = [signs, f"The front of the brain is at the {view.facing}."]
        text = "At which edge of the picture is the front of the head?"
        yield Question("facing", "", text, "mcq", [view.facing], ["top", "left", "right"], steps)
    text = "Which side of the brain does this slice show: left, right or both?"
    sides = ["left", "right", "both"]
    if view.two_sided and rng.random() < 0.3:
        yield Question("slice_side", "", text, "mcq", ["both"], sides, [signs])
    elif not view.two_sided and abs(view.cut.position) >= MIDLINE and rng.random() < 0.6:
        steps = ["A sagittal slice shows one side, and the two look alike.", "No letter tells which it is."]
        yield Question("slice_side", "", text, "mcq", [], sides, steps)


def visible(view: Slice) -> Iterator[Question]:
    """Is X visible; how many of these; how many parts of X."""
    rng = rng_of(view, "visible")
    for name in view.parts:
        text = _visible_text(rng, name)
        steps = [f"The {name} lies in {places(view, view.parts[name])} of the brain here."]
        yield Question("visible", name, text, "yes_no", ["yes"], YES_NO, steps, boxes_of(view.parts[name]))
    for name in view.absent:
        steps = [missed(view, name)]
        yield Question("visible", name, _visible_text(rng, name), "yes_no", ["no"], YES_NO, steps)

    present, absent = list(view.parts), view.absent
    for count in range(max(0, 4 - len(absent)), min(4, len(present)) + 1):
        chosen = rng.sample(present, count)
        names = chosen + rng.sample(absent, 4 - count)
        rng.shuffle(names)
        text = f"How many of these are visible: {listed(names)}?"
        seen = [name for name in names if name in chosen]
        steps = [f"Visible: {', '.join(seen) or 'none'}.", f"Not in this slice: {rest(names, seen)}."]
        boxes = sorted(box for name in seen for box in boxes_of(view.parts[name]))
        yield Question("how_many", "", text, "count_numeric", [str(count)], None, steps, boxes)

    for name in COUNTED:
        text = f"How many separate parts of the {name} show in this slice?"
        if name in absent:
            yield Question("parts", name, text, "count_numeric", ["0"], None, [missed(view, name)])
        elif name in view.parts and _countable(view, view.parts[name]):
            parts = view.parts[name]
            steps = [f"It shows in {places(view, parts)} of the brain."]
            yield Question(
                "parts", name, text, "count_numeric", [str(len(parts))], None, steps, boxes_of(parts)
            )


def _visible_text(rng: random.Random, name: str) -> str:
    return rng.choice([f"Is the {name} visible?", f"Does this slice show the {name}?"])


def missed(view: Slice, name: str) -> str:
    """Why an absent structure is not in the slice."""
    if name in view.whereabouts:
        return f"This slice is cut {view.whereabouts[name]} the {name}."
    return f"This slice is cut where there is no part of the {name}."


def rest(names: list[str], seen: list[str]) -> str:
    """The names that are not among those seen."""
    return ", ".join(name for name in names if name not in seen) or "none"


def _countable(view: Slice, parts: list[Part]) -> bool:
    """One part on a sagittal slice, one on each side on the others; all else can be argued about."""
    sides = sorted(part.side for part in parts)
    return sides == ["left", "right"] if view.two_sided else len(sides) == 1


def options(view: Slice, rng: random.Random, name: str) -> list[str]:
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
    rng = rng_of(view, "facts")
    if rng.random() < 0.4:
        text, form, candidates = rng.choice(_FACTS)
        steps = ["A slice shows the form of a brain and nothing else about a person."]
        yield Question("fact", text, text, form, [], candidates, steps)
