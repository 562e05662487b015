"""Examples out of a record file, and their place on the page."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import gradio as gr

from vqa.demo.pictures import draw_boxes
from vqa.images import open_image

_THUMBNAIL = 200  # pixels of the longer side

Record = dict[str, Any]


def pick_examples(records: Sequence[Record], count: int) -> list[Record]:
    """One record of each of the first pictures, question types in turn; none of those with several images."""
    by_picture: dict[str, list[Record]] = {}
    for record in records:
        if len(record["images"]) == 1:
            by_picture.setdefault(record["images"][0], []).append(record)
    picked, seen = [], Counter()
    for group in list(by_picture.values())[:count]:
        picked.append(min(group, key=lambda record: seen[record["question_type"]]))
        seen[picked[-1]["question_type"]] += 1
    return picked


def add_examples(
    examples: Sequence[Record], inputs: Sequence[gr.components.Component], max_pixels: int
) -> None:
    """Pictures with their questions, on the page that is being built.

    Args:
        inputs: the components that a click fills: picture, question, question type, candidates.
        max_pixels: the limit for pictures.
    """
    thumbnails = []
    for record in examples:
        image = open_image(record["images"][0], max_pixels)
        thumbnails.append((draw_boxes(image, side=_THUMBNAIL), record["question"]))
    gallery = gr.Gallery(
        thumbnails,
        label="Examples",
        columns=10,
        height=138,
        format="png",
        object_fit="contain",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_id="examples",
    )

    def choose(event: gr.SelectData):
        record = examples[event.index]
        texts = ", ".join(record["answer_candidates"] or [])
        return open_image(record["images"][0], max_pixels), record["question"], record["question_type"], texts

    gallery.select(choose, None, inputs, api_visibility="private", show_progress="hidden")
