"""Confidences of given answers, and what a policy's answer owes to its evidence, measured by hand."""

import copy
import json
import math
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import vqa.live_counterfactuals
from tests.helpers import plain_score, sharpened, write_records
from vqa.answers import UNANSWERABLE, StructuredAnswer
from vqa.confidences import answer_confidences
from vqa.constraints import number_grammar
from vqa.counterfactuals import GAP, pixel_boxes, remove_regions
from vqa.decisions import is_closed, mean_probability
from vqa.generation import generate
from vqa.inference import decide
from vqa.live_counterfactuals import LiveCounterfactuals
from vqa.prefixes import prefill
from vqa.records import load_dataset, read_records
from vqa.rollouts import as_record, rollout_rows
from vqa.tiny_models import TINY_FAMILIES


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Questions of several types, on one image, two images and none."""
    return read_records(write_records(tmp_path_factory.mktemp("records"), 16))


@pytest.fixture(scope="module", params=TINY_FAMILIES)
def any_model(request):
    return sharpened(request.param)


@pytest.fixture(scope="module")
def model():
    return sharpened("llava")


# Confidences


def test_confidence_of_a_chosen_candidate_is_that_of_prediction(any_model, records):
    model, encoder = any_model
    closed = [record for record in records if is_closed(record)]
    assert {len(record["images"]) for record in closed} == {0, 1, 2}
    for admitted in (False, True):
        decisions = decide(model, encoder, closed, "short", allow_unanswerable=admitted)
        answers = [[d.answer or UNANSWERABLE] for d in decisions]
        found = answer_confidences(model, encoder, closed, answers, allow_unanswerable=admitted)
        assert sum(found, []) == pytest.approx([d.confidence for d in decisions], abs=1e-5)
        assert min(d.confidence for d in decisions) < 0.9


def test_confidences_of_all_candidates_are_the_shares_of_their_scores(any_model, records):
    model, encoder = any_model
    closed = [record for record in records if is_closed(record)][:5]
    decisions = decide(model, encoder, closed, "short", allow_unanswerable=True)
    found = answer_confidences(
        model, encoder, closed, [list(d.scores) for d in decisions], allow_unanswerable=True
    )
    for values, decision in zip(found, decisions, strict=True):
        total = sum(math.exp(score) for score in decision.scores.values())
        assert values == pytest.approx([math.exp(s) / total for s in decision.scores.values()], abs=1e-5)
        assert sum(values) == pytest.approx(1)


def test_confidence_of_a_generated_answer_is_that_of_prediction(any_model, records):
    model, encoder = any_model
    opened = [record | {"answer_candidates": None, "question_type": "size_numeric"} for record in records[:4]]
    prompts = prefill(model, encoder, encoder.encode(opened, "short"))
    rows = generate(model, encoder, prompts, [number_grammar([])] * 4, 64)
    texts = [encoder.tokenizer.decode(row.ids, skip_special_tokens=True) for row in rows]
    same = [row.ids == encoder.answer_ids(text) for row, text in zip(rows, texts, strict=True)]
    assert any(same)  # others were written in other tokens than their text is read in
    found = answer_confidences(model, encoder, opened, [[text] for text in texts])
    for row, (value,), canonical in zip(rows, found, same, strict=True):
        assert not canonical or value == pytest.approx(mean_probability(row.log_probs), abs=1e-5)


def test_confidence_of_any_open_answer_is_that_of_a_plain_forward(any_model, records):
    model, encoder = any_model
    opened = [record | {"answer_candidates": None, "question_type": "open_ended"} for record in records[:4]]
    texts = ["a red disc", "12 mm", "", "não <image>"]
    found = answer_confidences(model, encoder, opened, [texts] * 4)
    for record, values in zip(opened, found, strict=True):
        (prompt,) = encoder.encode([record], "short")
        ids = [encoder.answer_ids(text) for text in texts]
        expected = [math.exp(plain_score(model, encoder, prompt, row) / len(row)) for row in ids]
        assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_an_answer_means_a_candidate_or_nothing(model, records):
    record = next(record for record in records if record["question_type"] == "yes_no")
    texts = ["yes", "Yes.", " YES", "no", "cannot be determined", "unanswerable", "", "maybe", "yes and no"]
    values = answer_confidences(*model, [record], [texts], allow_unanswerable=True)[0]
    found = dict(zip(texts, values, strict=True))
    assert found["yes"] == found["Yes."] == found[" YES"] > 0
    assert found["cannot be determined"] == found["unanswerable"] == found[""] > 0
    assert found["maybe"] == found["yes and no"] == 0
    assert found["yes"] + found["no"] + found["unanswerable"] == pytest.approx(1)
    values = answer_confidences(*model, [record], [texts])[0]
    found = dict(zip(texts, values, strict=True))
    assert found["cannot be determined"] == found["unanswerable"] == 0
    assert found["yes"] + found["no"] == pytest.approx(1)
    offered = record | {"answer_candidates": ["yes", "no", "cannot tell"]}
    assert answer_confidences(*model, [offered], [["cannot tell"]], allow_unanswerable=True)[0][0] > 0


# Differences

ONE = SimpleNamespace(device=torch.device("cpu"), gather=lambda tensor: tensor)
BOX = [[100, 200, 400, 500]]


def said(answer="yes", boxes=BOX, caption="a lung"):
    return StructuredAnswer(caption, ["a step"], boxes, answer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records on three images: closed, open, with a second image, without any."""
    folder = tmp_path_factory.mktemp("rows")
    rows = []
    for number, color in enumerate(("red", "green", "blue")):
        image = Image.linear_gradient("L").resize((168, 112)).convert("RGB")
        ImageDraw.Draw(image).rectangle([20, 25, 60, 50], fill=color)
        image.save(folder / f"{number}.png")
        row = {"id": f"closed{number}", "images": [f"{number}.png"], "question": f"is it {color}?"}
        rows.append(row | {"answers": ["yes"]})
        rows.append(row | {"id": f"open{number}", "question": "what is it?", "answers": ["a disc"]})
    rows.append(rows[0] | {"id": "two", "images": ["1.png", "0.png"]})
    rows.append(rows[0] | {"id": "none", "images": []})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows_of(folder, encoder, *ids, box_format="norm1000"):
    rows = {row["id"]: row for row in rollout_rows(load_dataset(folder / "train.jsonl"), encoder, box_format)}
    return [rows[identifier] for identifier in ids]


@pytest.fixture
def spied(monkeypatch):
    """What is asked of the model, batch by batch, and which regions are removed."""
    asked, removed = [], []

    def confidences(model, encoder, records, answers, **options):
        asked.append([(record["id"], list(texts)) for record, texts in zip(records, answers, strict=True)])
        return answer_confidences(model, encoder, records, answers, **options)

    def remove(image, regions, method):
        removed.append((image.size, [tuple(region) for region in regions], method))
        return remove_regions(image, regions, method)

    monkeypatch.setattr(vqa.live_counterfactuals, "answer_confidences", confidences)
    monkeypatch.setattr(vqa.live_counterfactuals, "remove_regions", remove)
    return SimpleNamespace(asked=asked, removed=removed)


def by_hand(model, encoder, row, answer, boxes, regions, folder, **options):
    """Both differences, each probability from a forward of its own, masked images read from files."""
    image = row["images"][0]
    width, height = image.size
    pixels = [
        [x0 * width / 1000, y0 * height / 1000, x1 * width / 1000, y1 * height / 1000]
        for x0, y0, x1, y1 in boxes
    ]
    values = []
    for number, removed in enumerate((None, pixels, regions)):
        paths = list(row["image_paths"])
        if removed is not None:
            paths[0] = str(folder / f"{number}.png")
            remove_regions(image, removed).save(paths[0])
        values += answer_confidences(model, encoder, [as_record(row, paths)], [[answer]], **options)[0]
    return values[0] - values[1], values[0] - values[2]


def test_differences_are_those_computed_by_hand(any_model, folder, spied, tmp_path):
    model, encoder = any_model
    rows = rows_of(folder, encoder, "closed0", "open0", "two", "closed1", "closed0")
    two_boxes = [[0, 0, 150, 150], [500, 500, 600, 700]]
    answers = [said(), said("a disc", two_boxes), said("no"), said("No."), said("no", two_boxes)]
    live = LiveCounterfactuals(encoder, allow_unanswerable=True, batch_size=4, seed=3)
    roi, rand = live.differences(model, rows, answers, ONE)
    # The last two are about boxes on images that came up before.
    assert len(spied.removed) == 6
    regions = [spied.removed[2 * number + 1][1] for number in (0, 1, 2, 2, 1)]
    for row, read, region, found in zip(rows, answers, regions, zip(roi, rand, strict=True), strict=True):
        expected = by_hand(
            model, encoder, row, read.answer, read.boxes, region, tmp_path, allow_unanswerable=True
        )
        assert found == pytest.approx(expected, rel=0.01, abs=1e-9)
        assert found[0] != pytest.approx(found[1], rel=0.1) and min(map(abs, found)) > 1e-7


def test_where_there_is_nothing_to_compare_it_is_zero(model, folder, spied):
    network, encoder = model
    nothing = {
        "unreadable": ("closed0", None),
        "no boxes": ("closed0", said(boxes=[])),
        "no image": ("none", said()),
        "covering": ("closed0", said(boxes=[[0, 0, 1000, 1000]])),
        "no room": ("closed0", said(boxes=[[100, 100, 700, 900]])),
    }
    rows = rows_of(folder, encoder, *(identifier for identifier, _ in nothing.values()))
    answers = [read for _, read in nothing.values()]
    live = LiveCounterfactuals(encoder, allow_unanswerable=False)
    assert live.differences(network, rows, answers, ONE) == ([0.0] * len(rows), [0.0] * len(rows))
    assert not spied.asked and not spied.removed
    mixed = live.differences(network, rows + rows_of(folder, encoder, "closed0"), [*answers, said()], ONE)
    assert [value != 0 for value in mixed[0]] == [False] * len(rows) + [True]


def test_the_same_question_is_asked_once(model, folder, spied):
    network, encoder = model
    closed, opened = rows_of(folder, encoder, "closed0", "open0")
    answers = [
        said(),
        said(caption="another caption"),
        said(" yes "),
        said("no"),
        said(boxes=[[600, 600, 800, 800]]),
    ]
    live = LiveCounterfactuals(encoder, allow_unanswerable=False)
    roi, rand = live.differences(network, [closed] * 5 + [opened], [*answers, said("a disc")], ONE)
    (batch,) = spied.asked
    # One image without anything removed, and two for each of the two boxes; the other question has its own.
    assert Counter(identifier for identifier, _ in batch) == {"closed0": 5, "open0": 3}
    assert sorted(map(len, (texts for _, texts in batch))) == [1, 1, 1, 1, 1, 2, 2, 2]
    assert len(spied.removed) == 4
    assert roi[0] == roi[1] == roi[2] != roi[4] and rand[0] == rand[1] == rand[2] != rand[4]
    live.differences(network, [closed], [said("no")], ONE)
    assert len(spied.removed) == 4  # kept from before


def test_the_caption_has_no_influence(model, folder):
    network, encoder = model
    rows = rows_of(folder, encoder, "closed0", "open1")
    live = LiveCounterfactuals(encoder, allow_unanswerable=False)
    plain = live.differences(network, rows, [said(), said("a disc")], ONE)
    telling = [said(caption="the answer is yes"), said("a disc", caption="a disc")]
    telling[0].reasoning = ["yes"] * 5
    assert live.differences(network, rows, telling, ONE) == plain


def test_random_regions_depend_on_seed_image_and_boxes_alone(model, folder, spied):
    network, encoder = model
    rows = [
        row | {"image_sha256": [f"{number:064x}"]}
        for number, row in enumerate(rows_of(folder, encoder, "closed0", "closed1"))
    ]

    def regions(rows, answers, seed=0):
        spied.removed.clear()
        LiveCounterfactuals(encoder, allow_unanswerable=False, seed=seed).differences(
            network, rows, answers, ONE
        )
        return [regions for _, regions, _ in spied.removed[1::2]]

    other = said(boxes=[[110, 200, 410, 500]])
    first, second, third = regions([*rows, rows[0]], [said(), said(), other])
    random.seed(1)
    assert regions([rows[0], rows[1], rows[0]], [other, said("no"), said("no")]) == [third, second, first]
    assert regions([rows[0]], [said()], seed=1) != [first]
    assert len({str(region) for region in (first, second, third)}) == 3
    # Whatever process computes it.
    assert first == [(81, 22, 133, 56)]
    width, height = rows[0]["images"][0].size
    for (box,), (region,) in ((BOX, first), (BOX, second), (other.boxes, third)):
        scaled = [value * (width, height)[axis % 2] / 1000 for axis, value in enumerate(box)]
        ((x0, y0, x1, y1),), (a0, b0, a1, b1) = pixel_boxes([scaled], (width, height)), region
        assert (x1 - x0, y1 - y0) == (a1 - a0, b1 - b0)
        assert a0 >= 0 and b0 >= 0 and a1 <= width and b1 <= height
        assert a0 >= x1 + GAP or a1 <= x0 - GAP or b0 >= y1 + GAP or b1 <= y0 - GAP


def test_boxes_in_pixels_of_the_resized_image(folder, spied):
    network, encoder = sharpened("qwen2_5_vl")
    encoder.pixel_limits = {"max_pixels": 4 * 28**2}
    (row,) = rows_of(folder, encoder, "closed0")
    assert row["resized_size"] == [56, 28] != row["image_size"]
    (in_pixels,) = rows_of(folder, encoder, "closed0", box_format="pixels")
    live = LiveCounterfactuals(encoder, allow_unanswerable=False)
    expected = live.differences(network, [row], [said(boxes=[[250, 250, 500, 500]])], ONE)
    found = live.differences(network, [in_pixels], [said(boxes=[[14, 7, 28, 14]])], ONE)
    assert found == expected and found[0][0] != 0
    assert spied.removed[0][:2] == ((56, 28), [(14, 7, 28, 14)]) and len(spied.removed) == 2


@pytest.mark.parametrize("method", ["telea", "blur", "mean"])
def test_the_method_is_the_one_asked_for(method, model, folder, spied):
    network, encoder = model
    rows = rows_of(folder, encoder, "closed0")
    LiveCounterfactuals(encoder, allow_unanswerable=False, method=method).differences(
        network, rows, [said()], ONE
    )
    assert [used for *_, used in spied.removed] == [method] * 2


def test_masked_images_are_kept_within_bytes(model, folder, spied):
    network, encoder = model
    rows = rows_of(folder, encoder, "closed0", "closed1", "closed2")
    an_image = 168 * 112 * 3
    live = LiveCounterfactuals(encoder, allow_unanswerable=False, max_bytes=4 * an_image)
    first = live.differences(network, rows, [said()] * 3, ONE)
    assert sum(image.width * image.height * 3 for image in live._masked.values()) == 4 * an_image
    assert live.differences(network, rows[2:], [said()], ONE) == ([first[0][2]], [first[1][2]])
    assert len(spied.removed) == 6  # the last ones were still there
    for row in (rows[1], rows[0], rows[1]):
        live.differences(network, [row], [said()], ONE)
    assert len(spied.removed) == 8  # those of the first alone: those used last are kept longest
    none = LiveCounterfactuals(encoder, allow_unanswerable=False, max_bytes=0)
    assert none.differences(network, rows, [said()] * 3, ONE) == first
    assert not none._masked
    assert none.differences(network, rows, [said()] * 3, ONE) == first and len(spied.removed) == 20


def test_nothing_about_the_policy_is_changed(model, folder):
    network, encoder = copy.deepcopy(model[0]), model[1]
    rows = rows_of(folder, encoder, "closed0", "two")
    opener, modes = encoder.open, []
    network.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for training in (True, False):
        network.train(training)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        roi, rand = LiveCounterfactuals(encoder, allow_unanswerable=False).differences(
            network, rows, [said(), said()], ONE
        )
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
        assert {module.training for module in network.modules()} == {training}
        assert all(type(value) is float for value in roi + rand)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert len(modes) == 4 and not any(modes)  # without dropout
    assert encoder.open is opener


@pytest.mark.parametrize("completions", [0, 1, 4])
def test_every_process_runs_as_many_forwards(completions, model, folder):
    network, encoder = model
    forwards = []
    hook = network.register_forward_pre_hook(lambda module, args: forwards.append(1))
    ranks = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda tensor: torch.cat([tensor, torch.tensor([3])])
    )
    live = LiveCounterfactuals(encoder, allow_unanswerable=True, batch_size=6)
    rows = rows_of(folder, encoder, "closed0", "closed1", "closed2", "two")[:completions]
    try:
        alone = live.differences(network, rows, [said()] * completions, ONE)
        assert len(forwards) == 2 * -(-3 * completions // 6)
        forwards.clear()
        assert live.differences(network, rows, [said()] * completions, ranks) == alone
        assert len(forwards) == 6
    finally:
        hook.remove()
