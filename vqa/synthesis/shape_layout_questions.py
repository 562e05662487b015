"""Questions about a scene's layout and text: places, relations, counts, sizes, reading, multiple choice."""

import random
from typing import Any

from vqa.synthesis import shape_wordings as wordings
from vqa.synthesis.shape_questions import (
    _NUMBERS,
    _PLACES,
    Maker,
    _cap,
    _matching,
    _noun,
    _record,
    _toss,
    _yes_no,
    background,
    color_of,
    describe,
    exists,
    has_color,
    has_shape,
    place,
    refer,
    shape_of,
    unanswerable,
)
from vqa.synthesis.shape_scenes import BASIC_SHAPES, COLORS, SHAPES, WORDS, Scene, Thing
from vqa.synthesis.shape_wordings import phrase, plural

Record = dict[str, Any]
Random = random.Random


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
    return _record("where", "open_ended", phrase(rng, wordings.WHERE, ref=ref), answers, things=[thing],
                   reasoning=[f"There is {describe(thing, scene)}.", f"Its middle lies at the {spot}."])


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
    yes, negated, holds = _toss(rng)
    sides, edges = (["left", "right"], ["left", "right"]) if axis == 0 else (["upper", "lower"], ["top", "bottom"])
    true_side = int(share > 0.5)
    asked = true_side if holds else 1 - true_side
    return _yes_no(rng, "side", yes, negated, wordings.NOT_SIDE if negated else wordings.SIDE, [thing],
                   [f"{_cap(ref)} is in the {sides[true_side]} half."], ref=ref, side=sides[asked],
                   edge=edges[asked], other=edges[1 - asked])


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
    yes, negated, holds = _toss(rng)
    words = [["left of", "to the left of"], ["right of", "to the right of"]] if axis == 0 else [
        ["above", "higher than"], ["below", "lower than"]]
    truth = 0 if before else 1
    return _yes_no(rng, "relation", yes, negated, wordings.NOT_RELATION if negated else wordings.RELATION,
                   [first, second], [f"{_cap(ref)} is {words[truth][0]} {other}."],
                   ref=ref, other=other, relation=rng.choice(words[truth if holds else 1 - truth]))


def larger(rng: Random, scene: Scene) -> Record | None:
    """Is one thing larger (smaller) than another? Asked only where it is so in width and in height, clearly."""
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
    yes, negated, holds = _toss(rng)
    words = [["larger", "bigger"], ["smaller"]]
    return _yes_no(rng, "larger", yes, negated, wordings.NOT_LARGER if negated else wordings.LARGER, [first, second],
                   [f"{_cap(ref)} is {words[truth][0]} than {other}."],
                   ref=ref, other=other, larger=rng.choice(words[truth if holds else 1 - truth]))


def _group(rng: Random, scene: Scene) -> tuple[str, list[Thing]] | None:
    """A plural ("red shapes", "circles", "shapes") and the things it means."""
    form = rng.choice(["all", "color", "shape", "shape"])
    color = shape = None
    if form == "color":
        drawn = [thing.color for thing in scene.things] * 2
        color = rng.choice([c for c in drawn + list(COLORS) if c not in scene.avoided_colors])
    elif form == "shape":
        shape = rng.choice([thing.shape for thing in scene.things] * 3 + (SHAPES if rng.random() < 0.5 else BASIC_SHAPES))
    return plural(_noun(rng, color, shape)), _matching(scene, color, shape)


def how_many(rng: Random, scene: Scene) -> Record | None:
    """How many of a kind?"""
    if not scene.things:
        return None
    words, found = _group(rng, scene)
    count = len(found)
    seen = [f"There is {describe(thing, scene)}." for thing in found[:2]] or [f"There are no {words}."]
    return _record("how_many", "count_numeric", phrase(rng, wordings.HOW_MANY, pl=words),
                   [str(count), _NUMBERS[count]], things=found, reasoning=[*seen, f"That makes {count}."])


def has_count(rng: Random, scene: Scene) -> Record | None:
    """Are there exactly so many?"""
    if not scene.things:
        return None
    words, found = _group(rng, scene)
    if len(found) < 2 and rng.random() < 0.8:  # "1 circles" reads badly; decided before the toss
        return None
    yes, negated, holds = _toss(rng)
    asked = len(found) if holds else rng.choice([n for n in (0, 1, 2, 2, 3, 3, 4, 4, 5) if n != len(found)])
    return _yes_no(rng, "has_count", yes, negated, wordings.HAS_NOT_COUNT if negated else wordings.HAS_COUNT, found,
                   [f"The number of {words} is {len(found)}."], pl=words, n=rng.choice([str(asked), _NUMBERS[asked]]))


def how_wide(rng: Random, scene: Scene) -> Record | None:
    """How many pixels wide, or high?"""
    picked = _pick(rng, scene)
    if picked is None:
        return None
    thing, ref = picked
    dim, noun, value = rng.choice([("wide", "width", thing.width), ("high", "height", thing.height)])
    return _record("how_wide", "size_numeric", phrase(rng, wordings.HOW_WIDE, ref=ref, dim=dim, noun=noun),
                   [f"{value} px", f"{value} pixels", str(value)], things=[thing],
                   reasoning=[f"There is {describe(thing, scene)}.", f"Its {noun} is {value} pixels."])


def read(rng: Random, scene: Scene) -> Record | None:
    """What does the word, or the number, say?"""
    if not scene.texts:
        return None
    text = rng.choice(scene.texts)
    patterns = wordings.READ_NUMBER if text.shape == "number" else wordings.READ_WORD
    if len(scene.texts) == 1 and rng.random() < 0.35:
        return _record("transcribe", "transcription", phrase(rng, wordings.TRANSCRIBE), [text.text], things=[text],
                       reasoning=[f"One {text.shape} is written, at the {place(text, scene)}."])
    if len(scene.texts) > 1:
        patterns = [p for p in patterns if "text" not in p and "what does" not in p]
    return _record("read", "extractive", phrase(rng, patterns), [text.text], things=[text],
                   reasoning=[f"The {text.shape} at the {place(text, scene)} is written in {text.color}."])


def says(rng: Random, scene: Scene) -> Record | None:
    """Does it say this?"""
    if len(scene.texts) != 1:
        return None
    text = scene.texts[0]
    yes, negated, holds = _toss(rng)
    asked = text.text if holds else _other_text(rng, text)
    return _yes_no(rng, "says", yes, negated, wordings.SAYS_NOT if negated else wordings.SAYS, [text],
                   [f"The {text.shape} reads {text.text}."], text=asked)


def _other_text(rng: Random, text: Thing) -> str:
    """Another word in the same letter case, or another number of as many digits."""
    while True:
        if text.shape == "number":
            other = str(rng.randint(0, 10 ** len(text.text)))
        else:
            other = rng.choice(WORDS)
            other = other.upper() if text.text.isupper() else other.capitalize() if text.text[0].isupper() else other
        if other.lower() != text.text.lower():
            return other


def choose(rng: Random, scene: Scene) -> Record | None:
    """A colour, shape, place, count or text question with its options spelled out, plain or lettered."""
    maker = rng.choice([color_of, shape_of, where, how_many, read])
    record = maker(rng, scene)
    if record is None or len(record["answers"]) == 0:
        return None
    answer = record["answers"][0]
    if maker is read:
        text = next(text for text in scene.texts if text.text == answer)
        pool = [_other_text(rng, text) for _ in range(6)]
    else:
        pool = {color_of: list(COLORS), shape_of: SHAPES, where: sum(_PLACES, []), how_many: list("012345")}[maker]
    wrong = sorted({option for option in pool if option != answer})
    if not wrong:
        return None
    options = [answer, *rng.sample(wrong, min(len(wrong), rng.randint(1, 3)))]
    rng.shuffle(options)
    style = rng.choice(["plain", "plain", "text", "letter"])
    letters = "ABCD"[:len(options)]
    marks = rng.choice(["{}) {}", "({}) {}", "{}: {}", "{}. {}"])
    if style == "plain":
        listed = (", ".join(options[:-1]) + " or " + options[-1]) + rng.choice(["?", ""])
    else:
        listed = rng.choice([" ", ", ", "\n"]).join(marks.format(*pair) for pair in zip(letters, options, strict=True))
    pattern = rng.choice(wordings.CHOOSE)
    question = phrase(rng, [pattern], question=record["question"].rstrip("?."), options="@").rstrip("?.")
    record["question"] = question.replace("@", listed)
    lettered = style == "letter"
    record |= {"question_type": "mcq", "answers": [letters[options.index(answer)]] if lettered else [answer],
               "answer_candidates": list(letters) if lettered else options,
               "meta": {"kind": "choose", "about": record["meta"]["kind"]}}
    if lettered:
        record["reasoning"] = [*record["reasoning"][:2], f"{answer} is option {record['answers'][0]}."]
    return record


SINGLE: dict[Maker, int] = {exists: 48, color_of: 15, shape_of: 15, has_color: 5, has_shape: 5, where: 3, side: 3,
                            choose: 6, how_wide: 3, how_many: 2, unanswerable: 4, background: 2}
SEVERAL: dict[Maker, int] = {exists: 26, color_of: 12, shape_of: 12, has_color: 6, has_shape: 5, where: 5, side: 3,
                             relation: 8, larger: 5, how_many: 10, has_count: 4, how_wide: 4, choose: 8,
                             unanswerable: 4, background: 2}
TEXT: dict[Maker, int] = {read: 34, says: 12, choose: 12, color_of: 10, exists: 12, shape_of: 6, where: 4,
                          how_many: 4, unanswerable: 5, background: 3}
