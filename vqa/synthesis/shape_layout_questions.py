"""Questions about a scene's layout and text: places, relations, counts, sizes, reading, multiple choice."""

from collections.abc import Callable

from vqa.synthesis import shape_layout_wordings as wordings
from vqa.synthesis import shape_wordings
from vqa.synthesis.shape_drawing import COLORS
from vqa.synthesis.shape_records import (
    NUMBERS,
    Random,
    Record,
    capitalise,
    describe,
    make_record,
    make_yes_no,
    matching,
    noun_for,
    place,
    refer,
    toss,
)
from vqa.synthesis.shape_scenes import BASIC_SHAPES, SHAPES, Scene, Thing
from vqa.synthesis.shape_wordings import phrase, plural

Maker = Callable[[Random, Scene], Record | None]


def _pick(rng: Random, scene: Scene) -> tuple[Thing, str] | None:
    """A shape and words that mean it alone, or None."""
    if not scene.things:
        return None
    thing = rng.choice(scene.things)
    ref = refer(rng, scene, thing)
    return (thing, ref) if ref else None


def where(rng: Random, scene: Scene) -> Record | None:
    """In which ninth of the picture is it? Asked only well inside a ninth."""
    picked = _pick(rng, scene)
    if picked is None:
        return None
    thing, ref = picked
    for position, length in zip(thing.center, scene.image.size, strict=True):
        if any(abs(position / length - edge) < 0.03 for edge in (1 / 3, 2 / 3)):
            return None
    spot = place(thing, scene)
    answers = [spot, "middle", "in the center"] if spot == "center" else [spot, f"at the {spot}"]
    return make_record(
        "where",
        "open_ended",
        phrase(rng, shape_wordings.WHERE, ref=ref),
        answers,
        things=[thing],
        reasoning=[f"There is {describe(thing, scene)}.", f"Its middle lies at the {spot}."],
    )


def side(rng: Random, scene: Scene) -> Record | None:
    """Is it in the left (right, upper, lower) half? Asked only away from the middle line."""
    picked = _pick(rng, scene)
    if picked is None:
        return None
    thing, ref = picked
    axis = rng.randrange(2)
    share = thing.center[axis] / scene.image.size[axis]
    if abs(share - 0.5) < 0.08:
        return None
    yes, negated, holds = toss(rng)
    sides, edges = (
        (["left", "right"], ["left", "right"]) if axis == 0 else (["upper", "lower"], ["top", "bottom"])
    )
    true_side = int(share > 0.5)
    asked = true_side if holds else 1 - true_side
    return make_yes_no(
        rng,
        "side",
        yes,
        negated,
        wordings.NOT_SIDE if negated else wordings.SIDE,
        [thing],
        [f"{capitalise(ref)} is in the {sides[true_side]} half."],
        ref=ref,
        side=sides[asked],
        edge=edges[asked],
        other=edges[1 - asked],
    )


def _pair(rng: Random, scene: Scene) -> tuple[Thing, Thing, str, str] | None:
    if len(scene.things) < 2:
        return None
    first, second = rng.sample(scene.things, 2)
    ref, other = refer(rng, scene, first), refer(rng, scene, second)
    return (first, second, ref, other) if ref and other else None


def relation(rng: Random, scene: Scene) -> Record | None:
    """Is one thing left of, right of, above or below another? Asked only where their boxes do not overlap."""
    pair = _pair(rng, scene)
    if pair is None:
        return None
    first, second, ref, other = pair
    axis = rng.randrange(2)
    before, after = first.box[axis + 2] <= second.box[axis], second.box[axis + 2] <= first.box[axis]
    if not before and not after:
        return None
    yes, negated, holds = toss(rng)
    words = (
        [["left of", "to the left of"], ["right of", "to the right of"]]
        if axis == 0
        else [["above", "higher than"], ["below", "lower than"]]
    )
    truth = 0 if before else 1
    return make_yes_no(
        rng,
        "relation",
        yes,
        negated,
        wordings.NOT_RELATION if negated else wordings.RELATION,
        [first, second],
        [f"{capitalise(ref)} is {words[truth][0]} {other}."],
        ref=ref,
        other=other,
        relation=rng.choice(words[truth if holds else 1 - truth]),
    )


def larger(rng: Random, scene: Scene) -> Record | None:
    """Is one thing larger (smaller) than another? Asked only where that is plain both ways."""
    pair = _pair(rng, scene)
    if pair is None:
        return None
    first, second, ref, other = pair
    if first.width > 1.2 * second.width and first.height > 1.2 * second.height:
        truth = 0
    elif second.width > 1.2 * first.width and second.height > 1.2 * first.height:
        truth = 1
    else:
        return None
    yes, negated, holds = toss(rng)
    words = [["larger", "bigger"], ["smaller"]]
    return make_yes_no(
        rng,
        "larger",
        yes,
        negated,
        wordings.NOT_LARGER if negated else wordings.LARGER,
        [first, second],
        [f"{capitalise(ref)} is {words[truth][0]} than {other}."],
        ref=ref,
        other=other,
        larger=rng.choice(words[truth if holds else 1 - truth]),
    )


def _group(rng: Random, scene: Scene) -> tuple[str, list[Thing]] | None:
    """A plural ("red shapes", "circles", "shapes") and the things it means."""
    form = rng.choice(["all", "color", "shape", "shape"])
    color = shape = None
    if form == "color":
        drawn = [thing.color for thing in scene.things] * 2
        color = rng.choice([c for c in drawn + list(COLORS) if c not in scene.avoided_colors])
    elif form == "shape":
        shape = rng.choice(
            [thing.shape for thing in scene.things] * 3 + (SHAPES if rng.random() < 0.5 else BASIC_SHAPES)
        )
    return plural(noun_for(rng, color, shape)), matching(scene, color, shape)


def how_many(rng: Random, scene: Scene) -> Record | None:
    """How many of a kind?"""
    if not scene.things:
        return None
    words, found = _group(rng, scene)
    count = len(found)
    seen = [f"There is {describe(thing, scene)}." for thing in found[:2]] or [f"There are no {words}."]
    return make_record(
        "how_many",
        "count_numeric",
        phrase(rng, wordings.HOW_MANY, pl=words),
        [str(count), NUMBERS[count]],
        things=found,
        reasoning=[*seen, f"That makes {count}."],
    )


def has_count(rng: Random, scene: Scene) -> Record | None:
    """Are there exactly so many?"""
    if not scene.things:
        return None
    words, found = _group(rng, scene)
    if len(found) < 2 and rng.random() < 0.8:  # "1 circles" reads badly; decided before the toss
        return None
    yes, negated, holds = toss(rng)
    asked = len(found) if holds else rng.choice([n for n in (0, 1, 2, 2, 3, 3, 4, 4, 5) if n != len(found)])
    return make_yes_no(
        rng,
        "has_count",
        yes,
        negated,
        wordings.HAS_NOT_COUNT if negated else wordings.HAS_COUNT,
        found,
        [f"The number of {words} is {len(found)}."],
        pl=words,
        n=rng.choice([str(asked), NUMBERS[asked]]),
    )


def how_wide(rng: Random, scene: Scene) -> Record | None:
    """How many pixels wide, or high?"""
    picked = _pick(rng, scene)
    if picked is None:
        return None
    thing, ref = picked
    dim, noun, value = rng.choice([("wide", "width", thing.width), ("high", "height", thing.height)])
    return make_record(
        "how_wide",
        "size_numeric",
        phrase(rng, shape_wordings.HOW_WIDE, ref=ref, dim=dim, noun=noun),
        [f"{value} px", f"{value} pixels", str(value)],
        things=[thing],
        reasoning=[f"There is {describe(thing, scene)}.", f"Its {noun} is {value} pixels."],
    )
