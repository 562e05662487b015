"""The shape of an easy-VQA picture as its pixels tell it: drawn ones of known box, and published ones."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vqa.datasets.easy_vqa_shapes import COLORS, find_shape
from vqa.images import open_image

SCALE = 8  # drawn so many times larger, then averaged, as the published pictures were
TOLERANCE = 0.04  # a share of a pixel so near to the limit may fall on either side of it


def corners(form, width, height, turn):
    if form == "rectangle":
        points = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    elif form == "triangle":
        points = [(0, -1), (1, 1), (-1, 1)]
    else:
        points = [(math.cos(math.tau * i / 90), math.sin(math.tau * i / 90)) for i in range(90)]
    cosine, sine = math.cos(turn), math.sin(turn)
    scaled = [(x * width / 2, y * height / 2) for x, y in points]
    return [(x * cosine - y * sine, x * sine + y * cosine) for x, y in scaled]


def coverage(form, width, height, at, turn=0.0, side=64):
    """The share of each pixel that a shape covers; `at` is its place in the free room, 0 to 1 for x and y."""
    points = corners(form, width, height, turn)
    low = [min(point[axis] for point in points) for axis in (0, 1)]
    extent = [max(point[axis] for point in points) - low[axis] for axis in (0, 1)]
    shift = [at[axis] * (side - extent[axis]) - low[axis] for axis in (0, 1)]
    mask = Image.new("L", (side * SCALE, side * SCALE))
    moved = [((x + shift[0]) * SCALE, (y + shift[1]) * SCALE) for x, y in points]
    ImageDraw.Draw(mask).polygon(moved, fill=255)
    return np.asarray(mask.reduce(SCALE), dtype=float) / 255


def paint(share, color, ground, noise=0.0, seed=0):
    color, ground = np.array(color, float), np.array(ground, float)
    pixels = ground + share[:, :, None] * (color - ground)
    pixels += np.random.default_rng(seed).normal(0, noise, pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def assert_box(box, share, slack=0):
    """Between the boxes of a little more and a little less than a quarter of a pixel."""
    inner, outer = box_of(share >= 0.25 + TOLERANCE), box_of(share >= 0.25 - TOLERANCE)
    for axis, edge in enumerate(box):
        low, high = sorted((inner[axis], outer[axis]))
        assert low - slack <= edge <= high + slack, (box, inner, outer)


sides, places = st.floats(9, 33), st.tuples(st.floats(0, 1), st.floats(0, 1))
lights = st.tuples(*[st.integers(230, 255)] * 3)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["circle", "rectangle", "triangle"]),
    sides,
    sides,
    places,
    st.sampled_from([*COLORS]),
    lights,
)
def test_drawn_shapes(form, width, height, at, color, ground):
    height = width if form == "circle" else width * 0.87 if form == "triangle" else height
    share = coverage(form, width, height, at)
    shape = find_shape(paint(share, COLORS[color], ground))
    assert_box(shape.box, share)
    assert (shape.form, shape.color, shape.ground, shape.image_size) == (form, color, ground, (64, 64))


@settings(max_examples=60, deadline=None)
@given(sides, sides, places, st.floats(0, math.pi), st.sampled_from([*COLORS]), st.integers(0, 99))
def test_rectangles_on_a_slant_and_noise(width, height, at, turn, color, seed):
    share = coverage("rectangle", width, height, at, turn)
    shape = find_shape(paint(share, COLORS[color], (240, 235, 244), noise=5, seed=seed))
    assert_box(shape.box, share, slack=1)
    assert (shape.form, shape.color) == ("rectangle", color)


@pytest.mark.parametrize("form", ["circle", "rectangle", "triangle"])
def test_enlarged_pixels(form):
    share = coverage(form, 12, 12, (0.3, 0.4))
    image = paint(share, COLORS["black"], (250, 240, 235))
    small, large = find_shape(image), find_shape(image.resize((320, 320), Image.Resampling.NEAREST))
    assert large.box == [5 * edge for edge in small.box] and large.form == small.form == form


@pytest.mark.parametrize("side", [16, 200, 640])
def test_other_sizes(side):
    share = coverage("triangle", side * 0.5, side * 0.43, (0.2, 1), side=side)
    shape = find_shape(paint(share, COLORS["gray"], (232, 232, 232)))
    assert_box(shape.box, share)
    assert (shape.form, shape.color, shape.box[3]) == ("triangle", "gray", side)


def test_other_modes(tmp_path):
    """Palette, transparency, alpha and lossy files, as `open_image` reads them."""
    share = coverage("circle", 20, 20, (0.3, 0.6))
    image = paint(share, COLORS["teal"], (255, 255, 255))
    alpha = Image.new("RGBA", (64, 64), (*COLORS["teal"], 0))
    alpha.putalpha(Image.fromarray((share * 255).round().astype(np.uint8)))
    dithered = paint(share, COLORS["teal"], (233, 246, 240)).convert("P")
    adapted = image.convert("P", palette=Image.Palette.ADAPTIVE)
    files = {"adapted.png": adapted, "alpha.png": alpha, "lossy.jpg": image, "dithered.png": dithered}
    for name, variant in files.items():
        variant.save(tmp_path / name)
        shape = find_shape(open_image(tmp_path / name))
        assert_box(shape.box, share, slack=name in ("lossy.jpg", "dithered.png"))
        assert (shape.form, shape.color) == ("circle", "teal")


def test_specks_do_not_widen_the_box():
    share = coverage("circle", 14, 14, (0.5, 0.5))
    image = paint(share, COLORS["red"], (240, 240, 240))
    for spot in ((2, 2), (60, 5), (7, 58)):
        image.putpixel(spot, (0, 0, 0))
    assert_box(find_shape(image).box, share)


def test_no_shape():
    flat, two = Image.new("RGB", (64, 64), (240, 250, 235)), Image.new("RGB", (64, 64), (240, 250, 235))
    ImageDraw.Draw(two).rectangle([5, 5, 20, 20], fill="red")
    ImageDraw.Draw(two).rectangle([40, 40, 55, 55], fill="blue")
    noise = Image.effect_noise((64, 64), 40).convert("RGB")
    for image in (flat, two, noise, Image.new("RGB", (1, 1)), Image.new("RGB", (1, 9), "red")):
        assert find_shape(image) is None


def test_no_name_is_guessed():
    """An ellipse is no circle, and orange none of the eight colours; the box is known all the same."""
    share = coverage("ellipse", 30, 15, (0.5, 0.5))
    shape = find_shape(paint(share, (255, 140, 0), (240, 240, 240)))
    assert_box(shape.box, share)
    assert (shape.form, shape.color) == (None, None)


@pytest.mark.skipif(find_spec("easy_vqa") is None, reason="easy-vqa is not installed")
def test_published_pictures():
    """The first 50 have one shape each, of plausible size, of the form and colour that the answers name."""
    folder = Path(find_spec("easy_vqa").origin).parent / "data" / "train"
    shapes = [find_shape(open_image(folder / "images" / f"{number}.png")) for number in range(50)]
    for shape in shapes:
        x0, y0, x1, y1 = shape.box
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
        assert 8 <= x1 - x0 <= 34 and 7 <= y1 - y0 <= 34 and min(shape.ground) >= 230
        assert shape.form == "rectangle" or 0.85 < (x1 - x0) / (y1 - y0) < 1.35
    for _, answer, image in json.loads((folder / "questions.json").read_text()):
        if image < 50 and answer not in ("yes", "no"):
            assert answer in (shapes[image].form, shapes[image].color)
