"""Caption and reasoning of easy-VQA records, in sentence forms of `synth shapes`, which the base model knows.

What they say of colour and form is what the published answers say of the picture; where no question of it
tells (a picture in nine for each), what its pixels show. What neither tells is left out.
"""

import random
import re
from collections.abc import Iterable

from vqa.datasets.easy_vqa_shapes import COLORS, Shape
from vqa.synthesis.shape_records import PLACES

FORMS = ("circle", "rectangle", "triangle")
_SMALL, _LARGE = 0.22, 0.42  # the longer side by the picture's shorter one, as in `synth shapes`
_NEAR = 0.03  # of the picture: so near to the line between two places, a shape is said to be in neither
_WHITE, _LIGHT, _DARK = 248, 200, 60
_YES_NO = re.compile(
    rf"(?:is (?P<no>no|an?)|is there (?:(?P<not>not) )?an?|does the image (?:(?P<not_in>not) )?contain an?) "
    rf"(?P<what>(?:{'|'.join(COLORS)}) shape|{'|'.join(FORMS)})(?: present| in the image)?\?"
)


def claim(question: str) -> tuple[str, bool] | None:
    """What a yes/no question asks for, as "teal shape" or "circle", and whether it asks if that is absent.

    None for a question that is worded otherwise than the published ones.
    """
    match = _YES_NO.fullmatch(question)
    if match is None:
        return None
    return match["what"], match["no"] == "no" or bool(match["not"] or match["not_in"])


def published_words(pairs: Iterable[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """Colours and forms that a picture's (question, answer) pairs say are there, and those that are not."""
    there, absent = set(), set()
    for question, answer in pairs:
        claimed = claim(question)
        if answer in COLORS or answer in FORMS:
            there.add(answer)
        elif claimed is not None and answer in ("yes", "no"):
            what, negated = claimed
            (there if (answer == "yes") != negated else absent).add(what.removesuffix(" shape"))
    return there, absent


def name(there: set[str], absent: set[str], shape: Shape | None) -> str:
    """A noun phrase without article, as "teal circle", "teal shape", "shape"; "" where nothing is known."""
    color = _one(there.intersection(COLORS), absent, shape and shape.color)
    form = _one(there.intersection(FORMS), absent, shape and shape.form)
    return f"{color} {form or 'shape'}".strip() if color or form or shape else ""


def _one(published: set[str], absent: set[str], seen: str | None) -> str:
    """The published word, or the seen one where there is none; nothing where the answers contradict it."""
    if published:
        return next(iter(published)) if len(published) == 1 else ""
    return seen if seen and seen not in absent else ""


def write_caption(named: str, shape: Shape | None, key: str) -> str | None:
    """One short line about the picture, such as "a small teal circle at the top left".

    Args:
        named: as `name` gives it.
        shape: as found; without it nothing is said of size, place and background.
        key: names the picture; it decides which of the line's forms is taken.
    """
    if shape is None:
        return f"a {named}" if named else None
    thing, place, ground = f"a {_size(shape)}{named}", _place(shape), _ground(shape)
    lines = [thing]
    if ground:
        lines = [f"{thing} on a {ground} background"]
    if place:
        at = f"in the {place}" if place == "center" else f"at the {place}"
        lines += [f"{thing} {at}", f"{at}, {thing}"]
    # Seeded with a string, which is hashed: the same choice on every platform.
    return random.Random(key).choice(lines)


def write_reasoning(question: str, answer: str, named: str) -> list[str]:
    """One or two steps from what is seen to the published answer; none where nothing is known."""
    if not named:
        return []
    seen = f"There is a {named}."
    if answer in COLORS:
        return [seen, f"Its color is {answer}."]
    if answer in FORMS:
        return [seen, f"Its shape is a {answer}."]
    claimed = claim(question)
    if claimed is None:
        return [seen]
    what, negated = claimed
    if (answer == "yes") != negated:  # it is there
        return [seen, "So it is not absent."] if negated else [seen]
    return [seen, f"So a {what} is absent." if negated else f"No {what} is there."]


def _size(shape: Shape) -> str:
    x0, y0, x1, y1 = shape.box
    share = max(x1 - x0, y1 - y0) / min(shape.image_size)
    return "small " if share < _SMALL else "large " if share > _LARGE else ""


def _place(shape: Shape) -> str:
    """The cell of a 3x3 grid that holds the middle of the box; nothing near a line of the grid."""
    column, row = ((shape.box[axis] + shape.box[axis + 2]) / 2 / shape.image_size[axis] for axis in (0, 1))
    if any(abs(share - line) < _NEAR for share in (column, row) for line in (1 / 3, 2 / 3)):
        return ""
    return PLACES[int(3 * row)][int(3 * column)]


def _ground(shape: Shape) -> str:
    low, high = min(shape.ground), max(shape.ground)
    return "white" if low >= _WHITE else "light" if low >= _LIGHT else "dark" if high <= _DARK else ""
