"""Boxes on several pages: in the model's text one below another, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.metrics.grounding import pointing_iou
from vqa.page_boxes import boxes_from_text, boxes_to_text, page_tops

SIZES = [(400, 200), (100, 300), (50, 50)]
RESIZED = [(448, 224), (112, 336), (56, 56)]


def test_the_second_page_begins_where_the_first_ends():
    boxes, owners = [[40, 20, 80, 40], [10, 30, 20, 300], [0, 0, 50, 50]], [0, 1, 2]
    assert boxes_to_text(boxes, owners, SIZES, "norm1000") == [
        [100, 100, 200, 200],
        [100, 1100, 200, 2000],
        [0, 2000, 1000, 3000],
    ]
    assert boxes_to_text(boxes[1:], owners[1:], SIZES, "pixels", RESIZED) == [
        [11, 224 + 34, 22, 224 + 336],
        [0, 560, 56, 616],
    ]
    assert page_tops("pixels", 3, RESIZED) == [0, 224, 560, 616]


def test_without_owners_all_boxes_are_on_the_first_page():
    assert boxes_to_text([[40, 20, 80, 40]], [], SIZES[:1], "norm1000") == [[100, 100, 200, 200]]


def test_a_box_belongs_to_the_page_of_its_upper_edge():
    boxes, owners = boxes_from_text([[0, 999, 10, 1500], [0, 1000, 10, 1010]], SIZES, "norm1000")
    assert owners == [0, 1]
    assert boxes[1] == pytest.approx([0, 0, 1, 3])


@given(st.lists(st.tuples(st.integers(0, 2), *[st.integers(0, 998)] * 4), max_size=5))
def test_there_and_back(rows):
    written = [
        [x, 1000 * page + y, x + 1 + w % (1000 - x), 1000 * page + y + 1 + h % (1000 - y)]
        for page, x, y, w, h in rows
    ]
    boxes, owners = boxes_from_text(written, SIZES, "norm1000")
    assert owners == [row[0] for row in rows]
    assert boxes_to_text(boxes, owners, SIZES, "norm1000") == written


def test_a_box_on_another_page_is_no_hit():
    row = {"boxes": [[0, 0, 10, 10]], "gt_boxes": [[0, 0, 10, 10]], "gt_box_images": [1]}
    assert pointing_iou(row | {"box_images": [0]}) == 0
    assert pointing_iou(row | {"box_images": [1]}) == 1
    assert (
        pointing_iou({"boxes": [], "box_images": [], "gt_boxes": [[0, 0, 1, 1]], "gt_box_images": [0]}) == 0
    )
