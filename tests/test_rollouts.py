"""Records as the trainer of rewards takes them: prediction's prompts, columns for rewards, order of rows."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import BatchFeature
from trl import GRPOTrainer
from trl.data_utils import apply_chat_template, prepare_multimodal_messages
from trl.trainer.utils import RepeatSampler

from tests.helpers import write_records
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.records import load_dataset
from vqa.rollouts import (
    RECORDED,
    STYLE,
    GroupSampler,
    as_record,
    check_prompts,
    rollout_processor,
    rollout_rows,
    with_recorded_differences,
)
from vqa.sampling import EpochSampler
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SIZES = {"thin.png": (900, 30), "tall.png": (20, 700), "large.png": (640, 480), "tiny.png": (9, 5)}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Questions about none, one and two images, thin, tall, large and tiny ones among them."""
    folder = tmp_path_factory.mktemp("records")
    write_records(folder, 14)
    rows = []
    for name, size in SIZES.items():
        Image.linear_gradient("L").resize(size).save(folder / name)
        rows.append({"id": name, "images": [name], "question": f"what is in {name}?", "answers": ["a ramp"]})
    rows.append(rows[0] | {"id": "two", "images": ["thin.png", "large.png"]})
    rows.append(
        rows[0] | {"id": "none", "images": [], "question": "what is <image>, <|image_pad|>, <|im_end|>?"}
    )
    with open(folder / "train.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return load_dataset(folder / "train.jsonl")


@pytest.fixture(scope="module", params=TINY_FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(family):
    return PromptEncoder(build_tiny_model(family)[1])


def prompts_of(rows):
    return [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]


def generation_inputs(processor, rows) -> tuple[list[list[int]], BatchFeature]:
    """Token ids and image tensors by TRL's own code, as it hands them to the model that generates."""
    trainer = SimpleNamespace(
        **{"_is_vlm": True, "processing_class": processor, "environment_factories": None},
        **{"tools": None, "chat_template": None, "chat_template_kwargs": {}},
    )
    ids, images, fields = GRPOTrainer._tokenize_prompts(trainer, prompts_of(rows))
    assert images is None or [len(row or []) for row in images] == [len(row["images"]) for row in rows]
    return ids, fields


def training_inputs(processor, rows) -> BatchFeature:
    """What TRL feeds to the model whose loss it computes: rendered text, tokenised anew."""
    texts = [apply_chat_template({"prompt": prompt}, processor)["prompt"] for prompt in prompts_of(rows)]
    images = [row["images"] for row in rows]
    return processor(images=images, text=texts, padding=True, return_tensors="pt")


def test_prompts_are_those_of_prediction(encoder, records):
    rows = [row for row in rollout_rows(records, encoder, "norm1000")]
    assert {len(row["images"]) for row in rows} == {0, 1, 2}
    processor = rollout_processor(encoder.processor, encoder)
    check_prompts(processor, encoder, rows)
    expected = encoder.encode([as_record(row) for row in rows], STYLE)
    ids, fields = generation_inputs(processor, rows)
    assert [list(row) for row in ids] == [prompt.input_ids for prompt in expected]
    again = training_inputs(processor, rows)
    lengths = again["attention_mask"].sum(-1).tolist()
    assert [row[-n:] for row, n in zip(again["input_ids"].tolist(), lengths, strict=True)] == ids
    batch = encoder.batch(expected, padding_side="left")
    for tensors in (again, fields):
        for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids"):
            assert (name in tensors) == (name in batch), name
            if name in batch:
                assert torch.equal(as_batched(name, tensors[name]), batch[name].float()), name


def as_batched(name: str, values) -> torch.Tensor:
    """TRL's lists of rows as one tensor, without Idefics' rows of padding for prompts that have no image."""
    if isinstance(values, list) and name == "mm_token_type_ids":
        longest = max(map(len, values))
        values = [[0] * (longest - len(row)) + list(row) for row in values]
    if isinstance(values, list):
        values = torch.stack([torch.as_tensor(row) for row in values])
    values = values.float()
    return values[values.flatten(1).any(1)] if values.ndim == 5 else values


def test_a_template_that_differs_is_refused(encoder, records):
    rows = rollout_rows(records, encoder, "norm1000")
    processor = rollout_processor(encoder.processor, encoder)
    processor.chat_template = processor.chat_template.replace("{% for message", "\n{% for message", 1)
    with pytest.raises(UserError, match=r"record r0: the chat template gives .* cannot be trained here"):
        check_prompts(processor, encoder, [rows[0]])
    if encoder.is_qwen:  # it would resize once more, by transformers' own rule
        processor = rollout_processor(encoder.processor, encoder)
        processor.image_processor.do_resize = True
        thin = [row for row in rows if row["id"] == "thin.png"]
        with pytest.raises(UserError, match="record thin.png"):
            check_prompts(processor, encoder, thin)


def test_the_processor_that_is_saved_stays_as_it_was(encoder):
    before = encoder.processor.to_dict() | {"side": encoder.tokenizer.padding_side}
    generating = rollout_processor(encoder.processor, encoder)
    assert generating.tokenizer.padding_side == "left"
    assert generating.image_processor.do_resize is not encoder.is_qwen
    assert encoder.processor.to_dict() | {"side": encoder.tokenizer.padding_side} == before


# Columns


def test_columns_that_rewards_look_at(tmp_path):
    encoder = PromptEncoder(build_tiny_model("qwen2_5_vl")[1], min_pixels=4 * 28**2, max_pixels=16 * 28**2)
    for name, size in (("wide.png", (400, 100)), ("other.png", (50, 60))):
        Image.new("RGB", size).save(tmp_path / name)
    boxes = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    rows = [
        {"id": "two", "images": ["wide.png", "other.png"], "boxes": boxes, "box_images": [0, 1, 0]},
        {"id": "one", "images": ["wide.png"], "boxes": boxes[:1]},
        {"id": "none", "images": []},
    ]
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps(row | {"question": "what?", "answers": ["a ramp"]}) + "\n" for row in rows)
    )
    two, one, none = list(rollout_rows(load_dataset(tmp_path / "train.jsonl"), encoder, "pixels"))
    assert two["image_size"] == one["image_size"] == [400, 100] and none["image_size"] is None
    width, height = encoder.encode([as_record(one)], STYLE)[0].resized_sizes[0]
    assert [width, height] == one["resized_size"] == two["resized_size"] != [400, 100]
    assert none["resized_size"] is None and none["images"] == none["boxes"] == []
    assert two["boxes"] == [boxes[0], boxes[2]] and one["boxes"] == boxes[:1]
    assert [image.size for image in two["images"]][0] == (width, height) and len(two["images"]) == 2
    assert {row["box_format"] for row in (two, one, none)} == {"pixels"}
    assert two["image_paths"] == [str(tmp_path / "wide.png"), str(tmp_path / "other.png")]
    assert as_record(two)["images"] == two["image_paths"] and as_record(two, ["x"])["images"] == ["x"]
    assert (two["answers"], two["question"], two["answerable"]) == (["a ramp"], "what?", True)


def test_an_image_is_opened_once_a_batch(records, monkeypatch):
    encoder = PromptEncoder(build_tiny_model("llava")[1])
    opened, open_file = [], encoder.open
    monkeypatch.setattr(encoder, "open", lambda path: opened.append(path) or open_file(path))
    batch = rollout_rows(records, encoder, "norm1000")[[0, 0, 1, 0]]
    assert len(opened) == len({path for paths in batch["image_paths"] for path in paths})
    assert batch["images"][0][0] is batch["images"][1][0]


# Differences recorded beforehand


def recorded(folder, deltas, raw=json.dumps):
    """A file in the published form, read as train_grpo.py reads it."""
    Image.new("RGB", (20, 20)).save(folder / "a.png")
    rows = []
    for delta in deltas:
        row = {"image_path": "a.png", "question": "is it?", "gold": "yes", "valid_json": True}
        rows.append(row | {"answer_correct": True, "caption": "a lung"} | delta)
    (folder / "train.jsonl").write_text("".join(raw(row) + "\n" for row in rows))
    return with_recorded_differences(load_dataset(folder / "train.jsonl"))


def both(roi, rand):
    return dict(zip(RECORDED, (roi, rand), strict=True))


def test_recorded_differences_become_columns(tmp_path):
    records = recorded(tmp_path, [both(0.5, 0.25), both(1, -1), both(None, 0), both(0, None)])
    assert list(records["delta_cf_roi"]) == [0.5, 1.0, None, 0.0]
    assert list(records["delta_cf_rand"]) == [0.25, -1.0, 0.0, None]
    assert records["answers"][0] == ["yes"] and records["caption"][0] == "a lung"
    rows = list(rollout_rows(records, PromptEncoder(build_tiny_model("llava")[1]), "norm1000"))
    assert [row["delta_cf_roi"] for row in rows] == [0.5, 1.0, None, 0.0]


def test_without_recorded_differences_there_are_no_columns(tmp_path):
    assert not set(RECORDED) & set(recorded(tmp_path, [{}, {}]).column_names)


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([both(0.5, 0.25), {}], r"record .*/000001: no recorded delta_cf_roi and delta_cf_rand"),
        ([{}, both(0.5, 0.25)], r"record .*/000000: no recorded"),
        ([both(0.5, 0.25), {"delta_cf_roi": 0.5}], r"record .*/000001: no recorded"),
        ([{"delta_cf_rand": 0.5}, {"delta_cf_rand": 0.5}], r"record .*/000000: no recorded"),
        ([both(0.5, 0.25), both("0.5", 0.25)], r"record .*/000001: delta_cf_roi: '0.5' is not a number"),
        ([both(0.5, True)], r"record .*/000000: delta_cf_rand: True is not a number"),
        ([both([0.5], 0.5)], r"delta_cf_roi: \[0.5\] is not a number"),
        ([both(float("nan"), 0.5)], r"train.jsonl:1: .*NaN is not a JSON number"),
        ([both(0.5, float("inf"))], r"train.jsonl:1: .*Infinity is not a JSON number"),
    ],
)
def test_differences_that_are_none_are_refused(deltas, message, tmp_path):
    with pytest.raises(UserError, match=message):
        recorded(tmp_path, deltas)


# Order


@pytest.mark.parametrize(
    ("size", "generations", "prompts", "repeats"), [(7, 2, 3, 4), (8, 3, 2, 1), (5, 4, 5, 2)]
)
def test_the_layout_is_that_of_trl(size, generations, prompts, repeats):
    sampler = GroupSampler(EpochSampler(size, seed=1), generations, prompts, repeats)
    order = list(sampler)
    # TRL's layout, over our order.
    drawn = list(EpochSampler(size, seed=1))
    theirs = RepeatSampler(range(size), generations, prompts, repeats, shuffle=False)
    assert order == [drawn[index] for index in theirs]
    assert len(order) == len(sampler) == len(theirs)
    block = prompts * generations
    for first in range(0, len(order), block * repeats):
        blocks = [order[first + n * block : first + (n + 1) * block] for n in range(repeats)]
        assert all(one == blocks[0] for one in blocks)
        assert all(blocks[0].count(index) == generations for index in blocks[0])
        assert blocks[0] == [index for index in blocks[0][::generations] for _ in range(generations)]
    assert len(set(order)) == size // prompts * prompts


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch, walked=()):
        sampler = GroupSampler(EpochSampler(6, seed=seed), 2, 3, 2)
        for before in walked:
            sampler.set_epoch(before)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 2) == order(0, 2, walked=[0, 1]) == order(0, 2, walked=[2])
    assert order(0, 2) != order(0, 1) and order(0, 2) != order(1, 2)


def test_weights_decide_how_often_a_record_is_drawn():
    sampler = GroupSampler(EpochSampler(100, [3.0] * 20 + [0.0] * 30 + [1.0] * 50, seed=0), 2, 5, 1)
    counts = [0] * 100
    for epoch in range(30):
        sampler.set_epoch(epoch)
        for index in sampler:
            counts[index] += 1
    often, never, seldom = sum(counts[:20]) / 20, sum(counts[20:50]), sum(counts[50:]) / 50
    assert never == 0 and often / seldom == pytest.approx(3, rel=0.1)
    assert sum(counts) == 30 * len(sampler) == 30 * 100 * 2
