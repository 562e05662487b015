"""Removing evidence: which pixels change, where random regions lie, what is skipped; and the flip rates."""

import json
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vqa.counterfactuals import (
    DILATION,
    GAP,
    METHODS,
    covers,
    pixel_boxes,
    random_regions,
    remove_regions,
)
from vqa.errors import InputErrors, UserError
from vqa.manifests import read_manifest
from vqa.metrics.counterfactual import counterfactual_summary
from vqa.predictions import read_predictions
from vqa.preparation.counterfactuals import COVERED, NO_BOXES, NO_ROOM, main
from vqa.questions import judge
from vqa.records import load_dataset, read_records

# OpenCV's Telea takes a flat 120 to values this near; its gradient term amplifies rounding.
TELEA_NOISE = 5


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def inside(size, boxes, wider=0):
    """Pixels within `wider` of a box, by a definition of its own: pixel squares that the box overlaps."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask |= (x + 1 > x0 - wider) & (x < x1 + wider) & (y + 1 > y0 - wider) & (y < y1 + wider)
    return mask


def changed(before, after):
    return (np.asarray(before.convert("RGB")) != np.asarray(after)).any(axis=2)


@st.composite
def scenes(draw, most=4, largest=20):
    """An image size and boxes inside it, fractions of pixels among them."""
    size = draw(st.integers(8, 60)), draw(st.integers(8, 60))
    boxes = []
    for _ in range(draw(st.integers(1, most))):
        corner, sides = [draw(st.integers(0, side - 2)) for side in size], []
        for axis in (0, 1):
            sides.append(draw(st.integers(1, min(largest, size[axis] - corner[axis]))))
        shift = draw(st.sampled_from([0, 0, 0.25]))
        boxes.append([corner[0] + shift, corner[1], corner[0] + sides[0], corner[1] + sides[1]])
    return size, [box for box in boxes if box[2] > box[0]]


# Images


@given(scenes(), st.sampled_from(METHODS), st.integers(0, 3))
def test_nothing_but_the_regions_changes(scene, method, seed):
    size, boxes = scene
    if covers(size, boxes, 1.0):
        return
    image = noise(*size, seed)
    result = remove_regions(image, boxes, method)
    assert (result.size, result.mode) == (size, "RGB")
    assert not (changed(image, result) & ~inside(size, boxes, DILATION if method == "telea" else 0)).any()
    assert result.tobytes() == remove_regions(image, boxes, method).tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "box", [(20, 12, 40, 30), (0, 0, 20, 18), (44, 30, 64, 48), (0, 0, 64, 12), (0, 5, 9, 48)]
)
def test_a_drawn_object_is_gone_at_the_edges_of_the_image_too(method, box):
    """OpenCV's inpainting leaves the image's outermost pixels as they were: the evidence would stay there."""
    image = Image.new("RGB", (64, 48), (120, 130, 140))
    ImageDraw.Draw(image).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=(250, 20, 20))
    red = np.asarray(remove_regions(image, [box], method), dtype=int)[..., 0]
    # Blurring keeps some of the colour, by nature; the others none of it.
    assert red.max() <= (249 if method == "blur" else 120 + TELEA_NOISE)
    assert red.min() >= 120 - TELEA_NOISE


@given(scenes(), st.sampled_from(["telea", "mean"]), st.integers(0, 3))
def test_what_was_in_the_regions_has_no_part_in_the_result(scene, method, seed):
    size, boxes = scene
    if covers(size, boxes, 1.0):
        return
    image = noise(*size, seed)
    other = np.array(image)
    hidden = inside(size, boxes)
    other[hidden] = np.random.default_rng(seed + 10).integers(0, 256, (hidden.sum(), 3))
    results = [remove_regions(picture, boxes, method) for picture in (image, Image.fromarray(other))]
    assert results[0].tobytes() == results[1].tobytes()


def test_a_rim_outside_of_a_tight_box_does_not_paint_the_region():
    """A box whose last row and column count as outside, as many annotation tools write it."""
    image = Image.new("RGB", (60, 60), (255, 255, 255))
    ImageDraw.Draw(image).rectangle([20, 20, 40, 40], fill=(0, 0, 0))
    assert np.asarray(remove_regions(image, [[20, 20, 40, 40]], "telea")).min() >= 255 - TELEA_NOISE


def test_blur_makes_text_unreadable_and_mean_takes_nothing_of_the_region():
    image = Image.new("RGB", (120, 40), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for x in range(20, 100, 4):
        draw.line([x, 12, x, 28], fill=(0, 0, 0))  # strokes, as of letters
    box = [18, 10, 100, 30]
    strokes = np.asarray(image)[20, 30:90, 0].astype(int)
    blurred = np.asarray(remove_regions(image, [box], "blur"))[20, 30:90, 0].astype(int)
    assert strokes.std() > 100 and blurred.std() < 5
    mean = np.asarray(remove_regions(image, [box], "mean"))
    assert (mean == 255).all()  # the mean of the paper, not of the ink


def test_telea_is_that_of_opencv_on_the_whole_image():
    """Only the neighbourhood of the regions is handed to OpenCV; the result is the same."""
    image = Image.fromarray(cv2.GaussianBlur(np.asarray(noise(300, 200)), (0, 0), 4))
    boxes = [[100, 80, 140, 100], [150, 90, 170, 130]]
    holes = inside(image.size, boxes, DILATION).astype(np.uint8)
    whole = cv2.inpaint(np.asarray(image), holes, 3, cv2.INPAINT_TELEA)
    assert np.array_equal(np.asarray(remove_regions(image, boxes)), whole)


def test_wide_blur_and_edge_cases_of_removal():
    grey = Image.new("L", (2960, 2950), 255)
    result = np.asarray(remove_regions(grey, [[10, 10, 2940, 2930]], "blur"))
    assert (result == 255).all()  # sums of so wide a filter would overflow
    image = noise(20, 10)
    assert not changed(image, remove_regions(image, [])).any()
    for method in METHODS:
        with pytest.raises(ValueError, match="cover the whole image"):
            remove_regions(image, [[0, 0, 20, 10]], method)
    with pytest.raises(ValueError, match="telea, blur, mean"):
        remove_regions(image, [[0, 0, 2, 2]], "erase")
    # The wider mask would leave nothing of so small an image: the box itself is taken.
    assert changed(image, remove_regions(image, [[1, 1, 19, 9]])).any()


def test_pixels_of_boxes():
    assert pixel_boxes([[1.2, 2.0, 3.5, 4.0]], (10, 10)) == [(1, 2, 4, 4)]
    # A box may lie a pixel outside of the image; what is left of it is never empty.
    assert pixel_boxes([[-1, -0.5, 11, 3], [10, 10, 10.9, 11]], (10, 10)) == [(0, 0, 10, 3), (9, 9, 10, 10)]


@pytest.mark.parametrize(
    ("boxes", "covered"),
    [
        ([], False),
        ([[0, 0, 100, 50]], True),
        ([[1, 1, 99, 49]], True),  # nearly
        ([[0, 0, 100, 44]], False),
        ([[0, 0, 60, 50], [0, 0, 60, 50]], False),  # what overlaps counts once
        ([[0, 0, 60, 50], [50, 0, 100, 50]], True),
    ],
)
def test_covers(boxes, covered):
    assert covers((100, 50), boxes) is covered
    assert not boxes or covers((100, 50), boxes, share=0.1)


@given(scenes(), st.integers(0, 5))
def test_random_regions_have_the_boxes_sizes_and_touch_nothing(scene, seed):
    size, boxes = scene
    regions = random_regions(size, boxes, random.Random(seed))
    assert regions == random_regions(size, boxes, random.Random(seed))
    if regions is None:
        return
    whole = pixel_boxes(boxes, size)
    for region, box in zip(regions, whole, strict=True):
        assert (region[2] - region[0], region[3] - region[1]) == (box[2] - box[0], box[3] - box[1])
        assert region[0] >= 0 and region[1] >= 0 and region[2] <= size[0] and region[3] <= size[1]
    assert inside(size, regions).sum() == inside(size, whole).sum()  # overlaps are kept
    assert not (inside(size, regions, DILATION) & inside(size, whole, DILATION)).any()


@given(scenes(most=1, largest=40), st.integers(0, 2))
def test_a_single_region_is_found_where_there_is_one(scene, seed):
    size, boxes = scene
    (box,) = pixel_boxes(boxes, size)
    width, height = box[2] - box[0], box[3] - box[1]
    room = [box[0] - GAP >= width, size[0] - box[2] - GAP >= width]
    room += [box[1] - GAP >= height, size[1] - box[3] - GAP >= height]
    assert (random_regions(size, boxes, random.Random(seed)) is not None) == any(room)


def test_every_free_place_is_as_likely():
    rng, counts = random.Random(0), {}
    for _ in range(2000):
        ((x, y, _, _),) = random_regions((12, 3), [[0, 0, 2, 2]], rng)
        counts[x, y] = counts.get((x, y), 0) + 1
    assert sorted(counts) == [(x, y) for x in (7, 8, 9, 10) for y in (0, 1)]
    assert min(counts.values()) > 200 and max(counts.values()) < 300


def test_boxes_move_together_or_else_apart():
    near = [[10, 10, 20, 20], [15, 15, 30, 30]]
    first, second = random_regions((200, 100), near, random.Random(1))
    assert (second[0] - first[0], second[1] - first[1]) == (5, 5)
    far = [[0, 0, 20, 20], [80, 80, 100, 100]]  # their outline fills the image
    assert random_regions((100, 100), far, random.Random(1)) is not None
    assert random_regions((100, 100), [], random.Random(1)) is None


# The command


def write_source(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in "abc":
        noise(120, 80, ord(name)).save(folder / f"{name}.png")
    common = {"question": "what is it?", "question_type": "open_ended", "source": "toy", "split": "test"}
    rows = [
        {"id": "one", "images": ["a.png"], "answers": ["x"], "boxes": [[10, 10, 30, 30]]},
        {"id": "again", "images": ["a.png"], "answers": ["y"], "boxes": [[10, 10, 30, 30]]},
        {"id": "no box", "images": ["a.png"], "answers": ["x"]},
        {"id": "text", "images": [], "answers": ["x"]},
        {"id": "whole", "images": ["b.png"], "answers": ["x"], "boxes": [[0, 0, 120, 80]]},
        {"id": "half", "images": ["b.png"], "answers": ["x"], "boxes": [[20, 0, 90, 60]]},
        {"id": "three", "images": ["a.png", "b.png", "c.png"], "answers": ["x"],
         "boxes": [[5.5, 5, 20, 20], [60, 40, 90, 70], [30, 8, 40, 18]], "box_images": [0, 2, 2]},
    ]  # fmt: skip
    (folder / "test.jsonl").write_text("".join(json.dumps(common | row) + "\n" for row in rows))
    return folder


def files_below(folder):
    # The manifest holds the command line.
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    source = write_source(folder / "source")
    main([str(source), "--output_dir", str(folder / "out")])
    return source, folder / "out"


def test_both_folders_hold_the_same_records_and_count_the_others(masked):
    source, output = masked
    original = {record["id"]: record for record in read_records(source / "test.jsonl")}
    for kind in ("roi", "random"):
        records = read_records(output / kind / "test.jsonl")  # opens and hashes every image
        assert [record["id"] for record in records] == ["one", "again", "three"]
        for record in records:
            before = original[record["id"]]
            same = [name for name in record if name not in ("images", "image_sha256", "meta")]
            assert {name: record[name] for name in same} == {name: before[name] for name in same}
        manifest = read_manifest(output / kind)
        assert manifest["filtered"] == {NO_BOXES: 2, COVERED: 1, NO_ROOM: 1}
        assert manifest["rows"] == {"in": 7, "records": 3, "filtered": 4, "rejects": 0}
        assert manifest["counterfactuals"]["kind"] == kind
        assert len(load_dataset(output / kind / "test.jsonl")) == 3


def test_images_hold_what_the_record_says(masked):
    source, output = masked
    original = read_records(source / "test.jsonl")
    evidence = {record["id"]: record for record in original}
    for kind in ("roi", "random"):
        records = {record["id"]: record for record in read_records(output / kind / "test.jsonl")}
        # One image for two questions with the same evidence; an image without evidence is not copied.
        assert records["one"]["images"] == records["again"]["images"]
        assert records["three"]["images"][1] == evidence["three"]["images"][1]
        assert len(list((output / kind / "images").iterdir())) == 3
        for name, record in records.items():
            removed, before = record["meta"]["counterfactual"], evidence[name]
            for index, path in enumerate(record["images"]):
                regions = [
                    box
                    for box, owner in zip(removed["regions"], removed["region_images"], strict=True)
                    if owner == index
                ]
                boxes = [
                    box
                    for box, owner in zip(before["boxes"], before["box_images"], strict=True)
                    if owner == index
                ]
                difference = changed(Image.open(before["images"][index]), Image.open(path))
                size = difference.shape[::-1]
                assert not (difference & ~inside(size, regions, DILATION)).any()
                assert difference.any() == bool(boxes)
                if kind == "roi":
                    assert difference[inside(size, boxes)].mean() > 0.9 if boxes else True
                else:
                    assert not (difference & inside(size, boxes)).any()
                if difference.any():
                    assert Image.open(path).format == "PNG"


def test_the_files_depend_on_the_seed_and_on_nothing_else(masked, tmp_path):
    source, output = masked
    main([str(source), "--output_dir", str(tmp_path / "threads"), "--num_proc", "3"])
    images = {name: data for name, data in files_below(output).items() if name.endswith(".png")}
    again = files_below(tmp_path / "threads")
    assert {name: data for name, data in again.items() if name.endswith(".png")} == images
    # The order of the rows has no part in it either, and alone a record has the images it has among others.
    rows = (source / "test.jsonl").read_text().splitlines()
    (source / "turned.jsonl").write_text("\n".join(rows[::-1]))
    try:
        main([str(source / "turned.jsonl"), "--output_dir", str(tmp_path / "turned")])
    finally:
        (source / "turned.jsonl").unlink()
    turned = files_below(tmp_path / "turned")
    assert {name: data for name, data in turned.items() if name.endswith(".png")} == images
    main([str(source), "--output_dir", str(tmp_path / "seed"), "--seed", "1"])
    other = files_below(tmp_path / "seed")
    assert {name for name in other if name.startswith("roi/images")} < set(images)
    assert {name for name in other if name.startswith("random/images")}.isdisjoint(images)


def test_a_second_run_replaces_the_first(tmp_path):
    source, output = write_source(tmp_path / "source"), tmp_path / "out"
    main([str(source), "--output_dir", str(output), "--method", "mean"])
    (output / "roi" / "images" / "mine.png").write_bytes(b"kept")
    main([str(source), "--output_dir", str(output), "--method", "blur"])
    names = {path.name for path in (output / "roi" / "images").iterdir()}
    shown = {Path(path).name for row in read_records(output / "roi" / "test.jsonl") for path in row["images"]}
    assert names == (shown - {"b.png"}) | {"mine.png"}
    assert read_manifest(output / "roi")["counterfactuals"]["dilation"] == 0


def test_without_a_place_the_folders_stand_beside_the_records(tmp_path, monkeypatch):
    source = write_source(tmp_path / "source")
    monkeypatch.chdir(source)
    for records in (source / "test.jsonl", source, "test.jsonl", "."):
        main([str(records), "--method", "mean"])
        for kind in ("roi", "random"):
            assert (tmp_path / "source_counterfactuals" / kind / "test.jsonl").is_file()
        shutil.rmtree(tmp_path / "source_counterfactuals")


def test_mistakes_are_named(tmp_path):
    source, output = write_source(tmp_path / "source"), str(tmp_path / "out")
    for options, message in [
        (["--method", "erase"], "--method erase"),
        (["--num_proc", "0"], "--num_proc"),
        (["--covered_share", "0"], "--covered_share"),
    ]:
        with pytest.raises(UserError, match=message):
            main([str(source), "--output_dir", output, *options])
    with pytest.raises(UserError, match="every record was skipped: .*5 evidence covers the image"):
        main([str(source), "--output_dir", output, "--covered_share", "0.0001"])
    rows = [json.loads(line) for line in (source / "test.jsonl").read_text().splitlines()]
    rows[0] |= {"boxes": [[10, 10, 300, 30]]}
    (source / "b.png").write_bytes(b"no image")
    (source / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputErrors, match="(?s)b.png: is not an image.*record 'one': boxes.0.*outside"):
        main([str(source), "--output_dir", output])
    assert not list((tmp_path / "out").rglob("*.jsonl"))


# Judging


def rows(**answers):
    """Predictions of yes/no questions whose accepted answer is yes: id -> (answer, confidence)."""
    return [
        {"id": name, "pred": pred, "qtype": "yes_no", "answers": ["yes"], "confidence": confidence}
        for name, (pred, confidence) in answers.items()
    ]


def read(tmp_path, name, lines):
    (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_predictions(tmp_path / name)


@pytest.fixture
def originals(tmp_path):
    lines = rows(a=("yes", 0.9), b=("yes", 0.8), c=("no", 0.7), d=("yes", 1.0), e=("yes", 0.6))
    predictions = read(tmp_path, "p.jsonl", lines)
    return predictions, [judge(row) for row in predictions]


def test_flip_rates_on_right_answers(tmp_path, originals):
    # c was wrong; e was left out of both files; b abstains; "Yes, it is." is yes.
    roi = rows(a=("no", 0.5), b=("", 0.2), c=("yes", 0.9), d=("Yes, it is.", 0.9))
    roi = read(tmp_path, "roi.jsonl", roi)
    noisy = rows(a=("yes", 0.9), b=("no", 0.6), c=("no", 0.9), d=("yes", 0.8))
    noisy = read(tmp_path, "random.jsonl", noisy)
    summary = counterfactual_summary(*originals, roi, noisy)
    assert summary == {
        "roi_flip_rate": pytest.approx(2 / 3),
        "random_flip_rate": pytest.approx(1 / 3),
        "faithfulness_gap": pytest.approx(1 / 3),
        "roi_confidence_drop": pytest.approx((0.4 + 0.6 + 0.1) / 3),
        "random_confidence_drop": pytest.approx((0.0 + 0.2 + 0.2) / 3),
        "confidence_gap": pytest.approx((1.1 - 0.4) / 3),
        "pairs": 3,
        "roi_missing": 1,
        "random_missing": 1,
    }
    # The order of a file says nothing.
    assert counterfactual_summary(*originals, roi[::-1], noisy[::-1]) == summary


def test_one_file_no_file_and_nothing_right(tmp_path, originals):
    predictions, correct = originals
    roi = read(tmp_path, "roi.jsonl", rows(a=("no", 0.5), b=("yes", None)))
    only = counterfactual_summary(predictions, correct, roi)
    assert (only["roi_flip_rate"], only["pairs"], only["roi_missing"]) == (0.5, 2, 3)
    assert only["roi_confidence_drop"] == pytest.approx(0.4)  # b has none
    assert [only[name] for name in ("random_flip_rate", "faithfulness_gap", "random_missing")] == [None] * 3
    random_only = counterfactual_summary(predictions, correct, None, roi)
    assert (random_only["random_flip_rate"], random_only["roi_flip_rate"]) == (0.5, None)
    assert set(counterfactual_summary(predictions, correct).values()) == {None}
    none_right = counterfactual_summary(predictions, [False] * 5, roi, roi)
    assert (none_right["roi_flip_rate"], none_right["faithfulness_gap"], none_right["pairs"]) == (
        None,
        None,
        0,
    )


def test_all_rates_are_over_the_same_records(tmp_path, originals):
    roi = read(tmp_path, "roi.jsonl", rows(a=("no", 0.5), b=("no", 0.5), d=("yes", 0.5)))
    noisy = read(tmp_path, "random.jsonl", rows(b=("yes", 0.5), d=("no", 0.5), e=("no", 0.5)))
    summary = counterfactual_summary(*originals, roi, noisy)
    assert (summary["pairs"], summary["roi_flip_rate"], summary["random_flip_rate"]) == (2, 0.5, 0.5)
    assert (summary["roi_missing"], summary["random_missing"]) == (2, 2)


def test_an_unknown_id_is_an_error_that_names_file_and_id(tmp_path, originals):
    strange = read(tmp_path, "roi.jsonl", rows(a=("no", 0.5), z=("no", 0.5)))
    with pytest.raises(UserError, match="^--roi_predictions: id 'z'"):
        counterfactual_summary(*originals, strange)
    with pytest.raises(UserError, match="^cf/random.jsonl: id 'z'"):
        counterfactual_summary(*originals, None, strange, names=("cf/roi.jsonl", "cf/random.jsonl"))


def test_the_matcher_of_the_type_decides_with_the_tolerance(tmp_path):
    size = {"qtype": "size_numeric", "answers": ["10 mm"], "confidence": None}
    predictions = read(tmp_path, "p.jsonl", [size | {"id": "s", "pred": "10 mm"}])
    roi = read(tmp_path, "roi.jsonl", [size | {"id": "s", "pred": "1.04 cm"}])
    assert counterfactual_summary(predictions, [True], roi)["roi_flip_rate"] == 0
    tight = counterfactual_summary(predictions, [True], roi, tolerance=0.01)
    assert (tight["roi_flip_rate"], tight["roi_confidence_drop"]) == (1, None)
    several = {"qtype": "extractive", "answers": ["5 May", "May 5"], "confidence": 0.5}
    predictions = read(tmp_path, "p.jsonl", [several | {"id": "d", "pred": "5 May"}])
    roi = read(tmp_path, "roi.jsonl", [several | {"id": "d", "pred": "may 5."}])
    assert counterfactual_summary(predictions, [True], roi)["roi_flip_rate"] == 0
