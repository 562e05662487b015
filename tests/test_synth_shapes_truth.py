"""Synthetic shapes: every answer and every box is true to the picture, every wording to its polarity."""

import random
import re
from collections import Counter, defaultdict

import pytest
from PIL import Image, ImageChops

from vqa.synthesis.shape_drawing import COLORS, shape_mask
from vqa.synthesis.shape_records import NUMBERS
from vqa.synthesis.shape_scenes import SHAPES, Scene, draw_scene
from vqa.synthesis.shapes import generate_scene

SEED, COUNT = 21, 2500
_COLOR = re.compile(r"\b(" + "|".join(COLORS) + r")\b")
_SHAPE = re.compile(r"\b(" + "|".join(SHAPES) + r")(?:e?s)?\b")
_NEGATIONS = re.compile(
    r"\b(not|no|nothing|nowhere|false|wrong|mistake|free of|without|lack|lacking|devoid|absent|missing|"
    r"other than|different from|another|outside|but)\b"
)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Scene, Image.Image, list[dict]]]:
    """Each scene as drawn, and the picture and records made of it."""
    made = []
    for index in range(COUNT):
        scene = draw_scene(random.Random(f"shapes/{SEED}/{index}"))
        made.append((scene, *generate_scene(SEED, index)))
    return made


@pytest.fixture(scope="module")
def records(scenes) -> list[dict]:
    return [record for _, _, found in scenes for record in found]


def by_kind(records: list[dict]) -> dict[str, list[dict]]:
    groups = defaultdict(list)
    for record in records:
        groups[record["meta"]["kind"]].append(record)
    return groups


def test_boxes_lie_in_the_picture_and_name_things(scenes):
    for scene, image, records in scenes:
        known = [thing.box for thing in scene.things + scene.texts]
        for record in records:
            assert record["box_images"] == [0] * len(record["boxes"])
            for box in record["boxes"]:
                x0, y0, x1, y1 = box
                assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height
                assert (x1 - x0) * (y1 - y0) >= 4
                assert box in known


def test_boxes_fit_the_drawn_pixels(scenes):
    checked = 0
    for scene, image, _ in scenes:
        if len(scene.things) + len(scene.texts) != 1:
            continue
        (thing,) = scene.things + scene.texts
        edges = [(x, y) for x in range(image.width) for y in (0, image.height - 1)]
        edges += [(x, y) for x in (0, image.width - 1) for y in range(image.height)]
        x0, y0, x1, y1 = thing.box
        colors = {image.getpixel((x, y)) for x, y in edges if not (x0 - 2 < x <= x1 and y0 - 2 < y <= y1)}
        if len(colors) != 1:  # noise, gradient, grid
            continue
        (ground,) = colors
        flat = Image.new("RGB", image.size, ground)
        red, green, blue = ImageChops.difference(image, flat).split()
        strongest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        drawn = strongest.point(lambda value: 255 if value > 40 else 0).getbbox()
        assert all(abs(a - b) <= 1 for a, b in zip(drawn, thing.box, strict=True)), (drawn, thing)
        checked += 1
    assert checked > 500


def test_things_are_drawn_in_their_colour(scenes):
    for scene, image, _ in scenes:
        for thing in scene.things:
            pixels = [color for _, color in image.crop(thing.box).getcolors(thing.area)]
            nearest = min(
                sum((a - b) ** 2 for a, b in zip(pixel, anchor, strict=True)) ** 0.5
                for pixel in pixels
                for anchor in COLORS[thing.color]
            )
            assert nearest <= 25


def named(question: str) -> tuple[str | None, str | None]:
    """The colour and the shape that a question names."""
    color, shape = _COLOR.search(question.lower()), _SHAPE.search(question.lower())
    return color and color[1], shape and shape[1]


def polarity(question: str) -> bool:
    """Whether an odd number of negations makes the question ask for the contrary."""
    text = re.sub('".*"', "", re.sub("yes or no", "", question.lower()))
    return len(_NEGATIONS.findall(text)) % 2 == 1


def test_the_wording_has_the_polarity_it_claims(records):
    for record in records:
        if record["question_type"] == "yes_no":
            assert polarity(record["question"]) == record["meta"]["negated"], record["question"]


def test_existence_is_true_to_the_scene(scenes):
    for scene, _, records in scenes:
        for record in by_kind(records)["exists"]:
            color, shape = named(record["question"])
            found = [t for t in scene.things if color in (None, t.color) and shape in (None, t.shape)]
            there = bool(found) != polarity(record["question"])
            assert record["answers"] == ["yes" if there else "no"], record["question"]
            assert record["boxes"] == [thing.box for thing in found]


def test_colours_shapes_sizes_and_counts_are_true_to_the_scene(scenes):
    for scene, _, records in scenes:
        drawn = {tuple(thing.box): thing for thing in scene.things + scene.texts}
        for record in records:
            kind, question = record["meta"]["kind"], record["question"]
            things = [drawn[tuple(box)] for box in record["boxes"]]
            color, shape = named(question)
            if kind in ("color_of", "shape_of", "how_wide", "read", "transcribe"):
                (thing,) = things
                assert color in (None, thing.color) and shape in (None, thing.shape)
            if kind == "color_of":
                assert record["answers"] == [thing.color]
                assert shape is None or sum(t.shape == shape for t in scene.things) == 1
            elif kind == "shape_of":
                assert record["answers"] == [thing.shape]
            elif kind == "how_wide":
                side = thing.width if re.search("wid", question) else thing.height
                assert record["answers"] == [f"{side} px", f"{side} pixels", str(side)]
            elif kind in ("read", "transcribe"):
                assert record["answers"] == [thing.text]
            elif kind == "how_many":
                count = sum(color in (None, t.color) and shape in (None, t.shape) for t in scene.things)
                assert record["answers"] == [str(count), NUMBERS[count]] and len(things) == count
            elif kind == "unanswerable":
                assert color or shape or not scene.texts
                if color or shape:
                    assert not any(
                        color in (None, t.color) and shape in (None, t.shape) for t in scene.things
                    )


def test_relations_and_places_are_true_to_the_scene(scenes):
    checked = Counter()
    for scene, _, records in scenes:
        width, height = scene.image.size
        for record in records:
            kind, question, boxes = record["meta"]["kind"], record["question"].lower(), record["boxes"]
            if kind == "relation":
                first, second = boxes
                holds = {
                    "left of": first[2] <= second[0],
                    "right of": first[0] >= second[2],
                    "above": first[3] <= second[1],
                    "higher than": first[3] <= second[1],
                    "below": first[1] >= second[3],
                    "lower than": first[1] >= second[3],
                }[re.search("left of|right of|above|below|higher than|lower than", question)[0]]
            elif kind == "larger":
                sides = [(box[2] - box[0], box[3] - box[1]) for box in boxes]
                larger = sides[0][0] > sides[1][0] and sides[0][1] > sides[1][1]
                holds = larger != ("smaller" in question)
            elif kind == "side":
                x, y = (boxes[0][0] + boxes[0][2]) / width, (boxes[0][1] + boxes[0][3]) / height
                words = re.sub("(left|right|top|lo|upper)most|lowest|than to the .*", "", question)
                word = re.search(r"\b(left|right|upper|top|lower|bottom)\b", words)[0]
                holds = {"left": x < 1, "right": x > 1, "upper": y < 1, "top": y < 1}.get(word, y > 1)
            else:
                continue
            assert record["answers"] == ["yes" if holds != polarity(question) else "no"], question
            checked[kind] += 1
    assert min(checked.values()) > 50 and len(checked) == 3


def test_places_are_ninths_of_the_picture(scenes):
    for scene, _, records in scenes:
        for record in by_kind(records)["where"]:
            (box,) = record["boxes"]
            x, y = (box[0] + box[2]) / 2 / scene.image.width, (box[1] + box[3]) / 2 / scene.image.height
            words = ["top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""]
            words.append("left" if x < 1 / 3 else "right" if x > 2 / 3 else "")
            assert record["answers"][0] == (" ".join(filter(None, words)) or "center")


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_differ_in_how_much_of_their_box_they_fill(shape):
    mask = shape_mask(shape, 60, 60, 0.0, smooth=True, outlined=False)
    filled = sum(mask.tobytes()) / 255 / (mask.width * mask.height)
    expected = {
        "rectangle": 1.0,
        "circle": 0.785,
        "ellipse": 0.785,
        "triangle": 0.5,
        "cross": 0.54,
        "ring": 0.55,
    }
    assert filled == pytest.approx(expected.get(shape, filled), abs=0.04)
    assert 0.25 < filled <= 1
