"""No question template of easy-VQA occurs among the synthetic questions, so its score shows transfer."""

import json
import re
from pathlib import Path

import pytest

from vqa.synthesis.shape_scenes import COLORS, SHAPES
from vqa.synthesis.shapes import generate_scene

easy_vqa = pytest.importorskip("easy_vqa")
_COLOR = re.compile(r"\b(" + "|".join([*COLORS, "grey"]) + r")\b")
_SHAPE = re.compile(r"\b(" + "|".join(SHAPES) + r")\b")


def template(question: str) -> str:
    """A question in lower case, without punctuation, its colour and shape words replaced by slots."""
    words = " ".join(re.findall(r"[a-z0-9]+", question.lower().replace("colour", "color")))
    return _SHAPE.sub("SHAPE", _COLOR.sub("COLOR", words))


@pytest.fixture(scope="module")
def easy_templates() -> set[str]:
    found = set()
    for split in ("train", "test"):
        path = Path(easy_vqa.__file__).parent / "data" / split / "questions.json"
        found |= {template(row[0]) for row in json.loads(path.read_text(encoding="utf-8"))}
    return found


def test_templates_are_slotted(easy_templates):
    assert 20 <= len(easy_templates) <= 30
    assert {"what color is the shape", "is there a COLOR shape", "is no SHAPE present"} <= easy_templates


def test_no_easy_vqa_template_occurs(easy_templates):
    ours, count, index = set(), 0, 0
    while count < 25_000:
        records = generate_scene(11, index)[1]
        ours |= {template(record["question"]) for record in records}
        count += len(records)
        index += 1
    assert not ours & easy_templates
    # Nor as part of a longer question: "is there a red shape anywhere" would be the same question.
    contained = {
        (known, question) for known in easy_templates for question in ours if f" {known} " in f" {question} "
    }
    assert not contained
