"""Questions about a drawn scene: each function here looks at the scene and writes one record, or None.

A yes/no question first tosses for whether its statement holds and for its polarity, and only then looks for
something to ask that makes it so: the shares are the same within every kind, whatever the pictures hold.
"""

from vqa.synthesis import shape_wordings as wordings
from vqa.synthesis.shape_drawing import COLORS
from vqa.synthesis.shape_records import (
    Random,
    Record,
    capitalise,
    color_choices,
    describe,
    make_record,
    make_yes_no,
    matching,
    noun_for,
    refer,
    shape_choices,
    toss,
)
from vqa.synthesis.shape_scenes import BASIC_SHAPES, COMMON_COLORS, SHAPES, Scene
from vqa.synthesis.shape_wordings import article, phrase, plural


def _absent(rng: Random, scene: Scene, form: str) -> tuple[str | None, str | None]:
    """A colour, a shape, or both, that nothing in the scene has."""
    colors = [c for c in rng.choice([COMMON_COLORS, list(COLORS)]) if c not in scene.avoided_colors]
    shapes = rng.choice([BASIC_SHAPES, SHAPES])
    while True:
        color = rng.choice(colors) if form != "shape" else None
        shape = rng.choice(shapes) if form != "color" else None
        if form == "both" and rng.random() < 0.5:  # half right: the colour or the shape of something drawn
            thing = rng.choice(scene.things)
            color, shape = (thing.color, shape) if rng.random() < 0.5 else (color, thing.shape)
        if not matching(scene, color, shape):
            return color, shape
        shapes = SHAPES  # a scene may hold every basic shape, or every colour of a short list
        colors = [c for c in COLORS if c not in scene.avoided_colors]


def exists(rng: Random, scene: Scene) -> Record | None:
    """Is something of a colour, a shape, or both in the picture?"""
    if not scene.things:
        return None
    yes, negated, there = toss(rng)
    form = rng.choices(["color", "shape", "both"], [50, 30, 20])[0]
    if there:
        clear = [thing for thing in scene.things if thing.color not in scene.avoided_colors]
        form = form if clear else "shape"
        thing = rng.choice(clear or scene.things)
        color = thing.color if form != "shape" else None
        shape = thing.shape if form != "color" else None
    else:
        color, shape = _absent(rng, scene, form)
    found = matching(scene, color, shape)
    bare = noun_for(rng, color, shape)
    slots = {"bare": bare, "a": article(bare), "any": f"any {bare}", "pl": plural(bare)}
    slots["any_pl"] = rng.choice([slots["any"], slots["pl"], "any " + slots["pl"]])
    if color and not shape and rng.random() < 0.2:
        slots["a"], slots["any"] = f"something {color}", f"anything {color}"
    seen = [f"There is {describe(thing, scene)}." for thing in found[:2]]
    reasoning = seen or [
        f"The picture shows {describe(rng.choice(scene.things), scene)}.",
        f"No {bare} is there.",
    ]
    return make_yes_no(
        rng,
        "exists",
        yes,
        negated,
        wordings.ABSENT if negated else wordings.EXISTS,
        found,
        reasoning,
        **slots,
    )


def has_color(rng: Random, scene: Scene) -> Record | None:
    """Is this thing red? Asked about one thing that can be named without its colour."""
    thing = rng.choice(scene.things) if scene.things else None
    ref = refer(rng, scene, thing, hide="color") if thing else None
    if ref is None:
        return None
    yes, negated, holds = toss(rng)
    color = (
        thing.color
        if holds
        else rng.choice([c for c in rng.choice([COMMON_COLORS, list(COLORS)]) if c != thing.color])
    )
    patterns = wordings.HAS_NOT_COLOR if negated else wordings.HAS_COLOR
    return make_yes_no(
        rng,
        "has_color",
        yes,
        negated,
        patterns,
        [thing],
        [f"{capitalise(ref)} is {thing.color}."],
        ref=ref,
        color=color,
    )


def has_shape(rng: Random, scene: Scene) -> Record | None:
    """Is this thing a circle? Asked about one thing that can be named without its shape."""
    thing = rng.choice(scene.things) if scene.things else None
    ref = refer(rng, scene, thing, hide="shape") if thing else None
    if ref is None:
        return None
    yes, negated, holds = toss(rng)
    shape = (
        thing.shape
        if holds
        else rng.choice([s for s in rng.choice([BASIC_SHAPES, SHAPES]) if s != thing.shape])
    )
    patterns = wordings.HAS_NOT_SHAPE if negated else wordings.HAS_SHAPE
    return make_yes_no(
        rng,
        "has_shape",
        yes,
        negated,
        patterns,
        [thing],
        [f"{capitalise(ref)} is {article(thing.shape)}."],
        ref=ref,
        shape=shape,
        a=article(shape),
    )


def color_of(rng: Random, scene: Scene) -> Record | None:
    """Which colour does this thing have?"""
    pool = scene.things + scene.texts
    thing = rng.choice(pool)
    ref = f"the {thing.shape}" if thing.text else refer(rng, scene, thing, hide="color")
    if ref is None or (thing.text and sum(t.shape == thing.shape for t in scene.texts) > 1):
        return None
    return make_record(
        "color_of",
        "color",
        phrase(rng, wordings.COLOR_OF, ref=ref),
        [thing.color],
        things=[thing],
        candidates=color_choices(rng, thing.color),
        reasoning=[f"There is {describe(thing, scene)}.", f"Its color is {thing.color}."],
    )


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
        unique_color = (
            len(matching(scene, thing.color, None)) == 1 and thing.color not in scene.avoided_colors
        )
        patterns = [p for p in wordings.SHAPE_OF if unique_color or "{color}" not in p]
        if ref is None:
            return None
        question = phrase(rng, patterns, ref=ref, color=thing.color)
    question_type, candidates = shape_choices(rng, thing.shape)
    return make_record(
        "shape_of",
        question_type,
        question,
        [thing.shape],
        things=[thing],
        candidates=candidates,
        reasoning=reasoning,
    )


def background(rng: Random, scene: Scene) -> Record | None:
    """Which colour is the background, where it has a nameable one?"""
    color = {"dark": "black"}.get(scene.background, scene.background)
    if color not in COLORS or not scene.things:
        return None
    ref = refer(rng, scene, rng.choice(scene.things)) or "everything"
    return make_record(
        "background",
        "color",
        phrase(rng, wordings.BACKGROUND, ref=ref),
        [color],
        candidates=color_choices(rng, color),
        reasoning=[f"Everything lies on {color}."],
    )


def unanswerable(rng: Random, scene: Scene) -> Record | None:
    """A question about something that is not in the picture."""
    if not scene.things:
        return None
    color, shape = _absent(rng, scene, rng.choice(["shape", "color", "both"]))
    ref = "the " + noun_for(rng, color, shape)
    about = rng.choice(["color", "shape", "where", "wide", "word"])
    reasoning = [f"There is no {ref[4:]} in the picture."]
    candidates = None
    if about == "word" and not scene.texts:
        question_type, question = "extractive", phrase(rng, wordings.READ_WORD)
        reasoning = ["There is no text in the picture."]
    elif about == "color" and color is None:
        question_type, question, candidates = (
            "color",
            phrase(rng, wordings.COLOR_OF, ref=ref),
            color_choices(rng, rng.choice(COMMON_COLORS)),
        )
    elif about == "shape" and shape is None:
        question_type, candidates = shape_choices(rng, rng.choice(BASIC_SHAPES))
        question = phrase(rng, wordings.SHAPE_OF, ref=ref, color=color)
    elif about == "wide":
        question_type, question = (
            "size_numeric",
            phrase(rng, wordings.HOW_WIDE, ref=ref, dim="wide", noun="width"),
        )
    else:
        question_type, question = "open_ended", phrase(rng, wordings.WHERE, ref=ref)
    return make_record(
        "unanswerable",
        question_type,
        question,
        [],
        candidates=candidates,
        reasoning=reasoning,
        answerable=False,
    )
