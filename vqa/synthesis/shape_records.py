"""What a question about a scene is made of: words for things, candidates, and the record itself."""

import random
from collections.abc import Sequence
from typing import Any

from vqa.synthesis.shape_drawing import COLORS
from vqa.synthesis.shape_scenes import BASIC_SHAPES, COMMON_COLORS, SHAPES, Box, Scene, Thing
from vqa.synthesis.shape_wordings import article, phrase

Record = dict[str, Any]
Random = random.Random
HOLDS, NEGATED = 0.5, 0.15  # shares of the yes/no questions
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]
PLACES = [
    ["top left", "top", "top right"],
    ["left", "center", "right"],
    ["bottom left", "bottom", "bottom right"],
]


def size_word(thing: Thing, scene: Scene) -> str:
    """The word "small " or "large ", or nothing, by the longer side's share of the picture's shorter one."""
    share = max(thing.width, thing.height) / min(scene.image.size)
    return "small " if share < 0.22 else "large " if share > 0.42 else ""


def place(thing: Thing, scene: Scene) -> str:
    """Which cell of a 3x3 grid holds the centre: "top left", ..., "center", ..., "bottom right"."""
    x, y = thing.center
    return PLACES[min(2, int(3 * y / scene.image.height))][min(2, int(3 * x / scene.image.width))]


def describe(thing: Thing, scene: Scene) -> str:
    """A noun phrase with its article: "a small red circle", "the word \"cat\" in black"."""
    if thing.text:
        return f'the {thing.shape} "{thing.text}" in {thing.color}'
    return article(f"{size_word(thing, scene)}{thing.color} {thing.shape}")


def caption(scene: Scene) -> str:
    """One short line that names everything drawn."""
    parts = [describe(thing, scene) for thing in scene.texts + scene.things]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"{listed} on {article(scene.background)} background"


def refer(rng: Random, scene: Scene, thing: Thing, hide: str = "") -> str | None:
    """Words for this thing only, without its `hide` ("color" or "shape"); None if there are none."""
    noun = rng.choice(["shape", "shape", "object", "figure", "thing"])
    if len(scene.things) == 1:
        options = [f"the {noun}", f"this {noun}", f"the only {noun}"]
    else:
        options = []
        for name, key, margin in (
            ("largest", lambda t: t.area, 0.3 * thing.area),
            ("smallest", lambda t: -t.area, 0.3 * thing.area),
            ("leftmost", lambda t: -t.center[0], 6),
            ("rightmost", lambda t: t.center[0], 6),
            ("topmost", lambda t: -t.center[1], 6),
            ("lowest", lambda t: t.center[1], 6),
        ):
            runner_up = max(key(other) for other in scene.things if other is not thing)
            if key(thing) - runner_up > margin and rng.random() < 0.4:
                options.append(f"the {name} {noun}")
    others = [other for other in scene.things if other is not thing]
    if hide != "shape" and all(other.shape != thing.shape for other in others):
        options += [f"the {thing.shape}"] * 3
    if hide != "color" and all(other.color != thing.color for other in others):
        options += [f"the {thing.color} {noun}"] * 3
    if not hide and all((other.color, other.shape) != (thing.color, thing.shape) for other in others):
        options += [f"the {thing.color} {thing.shape}"] * 2
    return rng.choice(options) if options else None


def make_record(
    kind: str,
    question_type: str,
    question: str,
    answers: Sequence[str],
    *,
    things: Sequence[Thing] = (),
    candidates: Sequence[str] | None = None,
    reasoning: Sequence[str] = (),
    answerable: bool = True,
) -> Record:
    """A record in the contract's form; the boxes of `things` are its evidence."""
    boxes: list[Box] = [list(thing.box) for thing in things]
    return {
        "id": "",
        "images": [],
        "question": question,
        "answers": list(answers),
        "answerable": answerable,
        "question_type": question_type,
        "answer_candidates": list(candidates) if candidates else None,
        "boxes": boxes,
        "box_images": [0] * len(boxes),
        "caption": None,
        "reasoning": list(reasoning),
        "source": "shapes",
        "split": "",
        "image_sha256": [],
        "meta": {"kind": kind},
    }


def make_yes_no(
    rng: Random,
    kind: str,
    yes: bool,
    negated: bool,
    patterns: list[str],
    things: Sequence[Thing],
    reasoning: Sequence[str],
    **slots: str,
) -> Record:
    """A yes/no record, its question worded by one of the patterns."""
    record = make_record(
        kind,
        "yes_no",
        phrase(rng, patterns, **slots),
        ["yes" if yes else "no"],
        things=things,
        candidates=["yes", "no"],
        reasoning=reasoning,
    )
    record["meta"]["negated"] = negated
    return record


def toss(rng: Random) -> tuple[bool, bool, bool]:
    """The answer, whether the wording is negated, and so whether the plain statement holds.

    Few wordings are negated: with two fair coins the answer would be the exclusive or of what is seen and how
    it is worded, neither would say anything alone, and gradient descent finds no way in (docs/log.md).
    """
    holds, negated = rng.random() < HOLDS, rng.random() < NEGATED
    return holds != negated, negated, holds


def matching(scene: Scene, color: str | None, shape: str | None) -> list[Thing]:
    """The shapes of this colour and form; None means any."""
    return [thing for thing in scene.things if color in (None, thing.color) and shape in (None, thing.shape)]


def noun_for(rng: Random, color: str | None, shape: str | None) -> str:
    """A noun for what has this colour and form: "red circle", "circle", "red object"."""
    noun = shape or rng.choice(["shape", "shape", "shape", "object", "figure", "thing"])
    return f"{color} {noun}" if color else noun


def capitalise(text: str) -> str:
    """The text with its first letter in upper case, the others as they are."""
    return text[0].upper() + text[1:]


def choices(rng: Random, answer: str, words: Sequence[str], common: Sequence[str]) -> list[str]:
    """Candidates with the answer among them: all words, the common ones, or a few; in any order or sorted."""
    roll = rng.random()
    if roll < 0.2:
        listed = list(words)
    elif roll < 0.6 and answer in common:
        listed = list(common)
    else:
        others = [word for word in words if word != answer]
        listed = [answer, *rng.sample(others, rng.randint(2, min(8, len(others))))]
    if rng.random() < 0.5:
        return sorted(listed)
    rng.shuffle(listed)
    return listed


def color_choices(rng: Random, answer: str) -> list[str]:
    """Candidates for a colour."""
    return choices(rng, answer, list(COLORS), COMMON_COLORS)


def shape_choices(rng: Random, answer: str) -> tuple[str, list[str] | None]:
    """The question type of a shape question, and its candidates: a closed set, or none."""
    if rng.random() < 0.6:
        return "mcq", choices(rng, answer, SHAPES, BASIC_SHAPES)
    return "open_ended", None
