"""Questions about a drawn scene: each function here looks at the scene and writes one record, or None.

A yes/no question first tosses for its answer and for its polarity, and only then looks for something to ask
that makes it so: within every kind the answers are balanced, among affirmative and negated wordings alike.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from vqa.synthesis import shape_wordings as wordings
from vqa.synthesis.shape_scenes import BASIC_SHAPES, COLORS, SHAPES, Box, Scene, Thing
from vqa.synthesis.shape_wordings import article, phrase, plural

Record = dict[str, Any]
Random = random.Random
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]
_PLACES = [["top left", "top", "top right"], ["left", "center", "right"], ["bottom left", "bottom", "bottom right"]]
_COMMON = ["black", "gray", "red", "green", "blue", "teal", "brown", "yellow"]


def size_word(thing: Thing, scene: Scene) -> str:
    """"small ", "large " or "" from the longer side as a share of the picture's shorter side."""
    share = max(thing.width, thing.height) / min(scene.image.size)
    return "small " if share < 0.22 else "large " if share > 0.42 else ""


def place(thing: Thing, scene: Scene) -> str:
    """Which cell of a 3x3 grid holds the centre: "top left", ..., "center", ..., "bottom right"."""
    x, y = thing.center
    return _PLACES[min(2, int(3 * y / scene.image.height))][min(2, int(3 * x / scene.image.width))]


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
    """Words that mean this thing only, not giving away its `hide` ("color" or "shape"); None if there are none."""
    noun = rng.choice(["shape", "shape", "object", "figure", "thing"])
    if len(scene.things) == 1:
        options = [f"the {noun}", f"this {noun}", f"the only {noun}"]
    else:
        options = []
        for name, key in (("largest", lambda t: t.area), ("smallest", lambda t: -t.area),
                          ("leftmost", lambda t: -t.center[0]), ("rightmost", lambda t: t.center[0]),
                          ("topmost", lambda t: -t.center[1]), ("lowest", lambda t: t.center[1])):
            runner_up = max(key(other) for other in scene.things if other is not thing)
            margin = 0.3 * thing.area if "est" in name and name != "lowest" else 6
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


def _record(kind: str, question_type: str, question: str, answers: Sequence[str], *, things: Sequence[Thing] = (),
            candidates: Sequence[str] | None = None, reasoning: Sequence[str] = (), answerable: bool = True) -> Record:
    boxes: list[Box] = [list(thing.box) for thing in things]
    return {"question": question, "answers": list(answers), "answerable": answerable,
            "question_type": question_type, "answer_candidates": list(candidates) if candidates else None,
            "boxes": boxes, "reasoning": list(reasoning), "meta": {"kind": kind}}


def _yes_no(rng: Random, kind: str, yes: bool, negated: bool, patterns: list[str], things: Sequence[Thing],
            reasoning: Sequence[str], **slots: str) -> Record:
    record = _record(kind, "yes_no", phrase(rng, patterns, **slots), ["yes" if yes else "no"], things=things,
                     candidates=["yes", "no"], reasoning=reasoning)
    record["meta"]["negated"] = negated
    return record


def _toss(rng: Random) -> tuple[bool, bool, bool]:
    """The answer, whether the wording is negated, and so whether the plain statement holds."""
    yes, negated = rng.random() < 0.5, rng.random() < 0.5
    return yes, negated, yes != negated


def _matching(scene: Scene, color: str | None, shape: str | None) -> list[Thing]:
    return [thing for thing in scene.things if color in (None, thing.color) and shape in (None, thing.shape)]


def _noun(rng: Random, color: str | None, shape: str | None) -> str:
    noun = shape or rng.choice(["shape", "shape", "shape", "object", "figure", "thing"])
    return f"{color} {noun}" if color else noun


def _absent(rng: Random, scene: Scene, form: str) -> tuple[str | None, str | None]:
    """A colour, a shape, or both, that nothing in the scene has."""
    colors = [c for c in rng.choice([_COMMON, list(COLORS)]) if c not in scene.avoided_colors]
    shapes = rng.choice([BASIC_SHAPES, SHAPES])
    while True:
        color = rng.choice(colors) if form != "shape" else None
        shape = rng.choice(shapes) if form != "color" else None
        if form == "both" and rng.random() < 0.5:  # half right: the colour or the shape of something drawn
            thing = rng.choice(scene.things)
            color, shape = (thing.color, shape) if rng.random() < 0.5 else (color, thing.shape)
        if not _matching(scene, color, shape):
            return color, shape
        shapes = SHAPES  # a scene may hold every basic shape, or every colour of a short list
        colors = [c for c in COLORS if c not in scene.avoided_colors]


def exists(rng: Random, scene: Scene) -> Record | None:
    """Is something of a colour, a shape, or both in the picture?"""
    if not scene.things:
        return None
    yes, negated, there = _toss(rng)
    form = rng.choices(["color", "shape", "both"], [50, 30, 20])[0]
    if there:
        clear = [thing for thing in scene.things if thing.color not in scene.avoided_colors]
        form = form if clear else "shape"
        thing = rng.choice(clear or scene.things)
        color = thing.color if form != "shape" else None
        shape = thing.shape if form != "color" else None
    else:
        color, shape = _absent(rng, scene, form)
    found = _matching(scene, color, shape)
    bare = _noun(rng, color, shape)
    slots = {"bare": bare, "a": article(bare), "any": f"any {bare}", "pl": plural(bare)}
    slots["any_pl"] = rng.choice([slots["any"], slots["pl"], "any " + slots["pl"]])
    if color and not shape and rng.random() < 0.2:
        slots["a"], slots["any"] = f"something {color}", f"anything {color}"
    seen = [f"There is {describe(thing, scene)}." for thing in found[:2]]
    reasoning = seen or [f"The picture shows {describe(rng.choice(scene.things), scene)}.", f"No {bare} is there."]
    return _yes_no(rng, "exists", yes, negated, wordings.ABSENT if negated else wordings.EXISTS, found, reasoning,
                   **slots)


def has_color(rng: Random, scene: Scene) -> Record | None:
    """Is this thing red? Asked about one thing that can be named without its colour."""
    thing = rng.choice(scene.things) if scene.things else None
    ref = refer(rng, scene, thing, hide="color") if thing else None
    if ref is None:
        return None
    yes, negated, holds = _toss(rng)
    color = thing.color if holds else rng.choice([c for c in rng.choice([_COMMON, list(COLORS)]) if c != thing.color])
    patterns = wordings.HAS_NOT_COLOR if negated else wordings.HAS_COLOR
    return _yes_no(rng, "has_color", yes, negated, patterns, [thing], [f"{_cap(ref)} is {thing.color}."],
                   ref=ref, color=color)


def has_shape(rng: Random, scene: Scene) -> Record | None:
    """Is this thing a circle? Asked about one thing that can be named without its shape."""
    thing = rng.choice(scene.things) if scene.things else None
    ref = refer(rng, scene, thing, hide="shape") if thing else None
    if ref is None:
        return None
    yes, negated, holds = _toss(rng)
    shape = thing.shape if holds else rng.choice([s for s in rng.choice([BASIC_SHAPES, SHAPES]) if s != thing.shape])
    patterns = wordings.HAS_NOT_SHAPE if negated else wordings.HAS_SHAPE
    return _yes_no(rng, "has_shape", yes, negated, patterns, [thing], [f"{_cap(ref)} is {article(thing.shape)}."],
                   ref=ref, shape=shape, a=article(shape))


def _cap(text: str) -> str:
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
    return choices(rng, answer, list(COLORS), _COMMON)


def shape_choices(rng: Random, answer: str) -> tuple[str, list[str] | None]:
    """The question type of a shape question, and its candidates: a closed set, or none."""
    if rng.random() < 0.6:
        return "mcq", choices(rng, answer, SHAPES, BASIC_SHAPES)
    return "open_ended", None


def color_of(rng: Random, scene: Scene) -> Record | None:
    """Which colour does this thing have?"""
    pool = scene.things + scene.texts
    thing = rng.choice(pool)
    ref = f"the {thing.shape}" if thing.text else refer(rng, scene, thing, hide="color")
    if ref is None or (thing.text and sum(t.shape == thing.shape for t in scene.texts) > 1):
        return None
    return _record("color_of", "color", phrase(rng, wordings.COLOR_OF, ref=ref), [thing.color], things=[thing],
                   candidates=color_choices(rng, thing.color),
                   reasoning=[f"There is {describe(thing, scene)}.", f"Its color is {thing.color}."])


def shape_of(rng: Random, scene: Scene) -> Record | None:
    """Which shape is this thing?"""
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    alone = len(scene.things) == 1
    reasoning = [f"There is {describe(thing, scene)}.", f"Its shape is {article(thing.shape)}."]
    if alone and not scene.texts and rng.random() < 0.6:
        question = phrase(rng, wordings.ONLY_SHAPE)
    else:
        ref = refer(rng, scene, thing, hide="shape")
        unique_color = len(_matching(scene, thing.color, None)) == 1 and thing.color not in scene.avoided_colors
        patterns = [p for p in wordings.SHAPE_OF if unique_color or "{color}" not in p]
        if ref is None:
            return None
        question = phrase(rng, patterns, ref=ref, color=thing.color)
    question_type, candidates = shape_choices(rng, thing.shape)
    return _record("shape_of", question_type, question, [thing.shape], things=[thing], candidates=candidates,
                   reasoning=reasoning)


def background(rng: Random, scene: Scene) -> Record | None:
    """Which colour is the background, where it has a nameable one?"""
    color = {"dark": "black"}.get(scene.background, scene.background)
    if color not in COLORS or not scene.things:
        return None
    ref = refer(rng, scene, rng.choice(scene.things)) or "everything"
    return _record("background", "color", phrase(rng, wordings.BACKGROUND, ref=ref), [color],
                   candidates=color_choices(rng, color), reasoning=[f"Everything lies on {color}."])


def unanswerable(rng: Random, scene: Scene) -> Record | None:
    """A question about something that is not in the picture."""
    if not scene.things:
        return None
    color, shape = _absent(rng, scene, rng.choice(["shape", "color", "both"]))
    ref = "the " + _noun(rng, color, shape)
    about = rng.choice(["color", "shape", "where", "wide", "word"])
    reasoning = [f"There is no {ref[4:]} in the picture."]
    candidates = None
    if about == "word" and not scene.texts:
        question_type, question = "extractive", phrase(rng, wordings.READ_WORD)
        reasoning = ["There is no text in the picture."]
    elif about == "color" and color is None:
        question_type, question, candidates = "color", phrase(rng, wordings.COLOR_OF, ref=ref), color_choices(rng, rng.choice(_COMMON))
    elif about == "shape" and shape is None:
        question_type, candidates = shape_choices(rng, rng.choice(BASIC_SHAPES))
        question = phrase(rng, wordings.SHAPE_OF, ref=ref, color=color)
    elif about == "wide":
        question_type, question = "size_numeric", phrase(rng, wordings.HOW_WIDE, ref=ref, dim="wide", noun="width")
    else:
        question_type, question = "open_ended", phrase(rng, wordings.WHERE, ref=ref)
    return _record("unanswerable", question_type, question, [], candidates=candidates, reasoning=reasoning,
                   answerable=False)


Maker = Callable[[Random, Scene], Record | None]
