"""Rows of one image and several questions: the same loss and gradients as the questions one by one."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.helpers import write_records
from vqa.adapters import lora_targets
from vqa.branches import attend_to_branches, check_kernel, shared_length
from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED, PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import build_feature_cache, replay_features
from vqa.head import answer_loss
from vqa.models import freeze, inner_model
from vqa.records import read_records
from vqa.row_training import compare_losses
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model
from vqa.training import StyleMix


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three questions an image, some about two images, some about none."""
    return read_records(write_records(tmp_path_factory.mktemp("records"), 24))


def collators(family: str, styles: str = "short=0.6,structured=0.4"):
    model, processor = build_tiny_model(family)
    encoder, style = PromptEncoder(processor), StyleMix(styles)
    return model, AnswerCollator(encoder, style), AnswerCollator(encoder, style, group_by_image=True)


def loss_and_gradients(model, batch, max_logits: int = 2**20):
    """Mean loss of the supervised tokens, and all gradients as one vector."""
    model.zero_grad()
    loss = answer_loss(model, model.get_output_embeddings(), attend_to_branches(model, batch), max_logits)
    mean = loss.total / loss.count
    mean.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return mean.item(), torch.cat(gradients)


def assert_equal(grouped, single):
    assert grouped[0] == pytest.approx(single[0], rel=1e-5)
    difference = (grouped[1] - single[1]).norm() / single[1].norm()
    assert difference < 1e-5, difference


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_loss_and_gradients_are_those_of_the_questions_one_by_one(family, records):
    model, single, grouped = collators(family)
    batch = grouped(records)
    assert batch["branches"].max() >= 2
    assert batch["input_ids"].shape[0] < len(records)
    labels = batch["labels"]
    assert (labels != IGNORED).sum() == (single(records)["labels"] != IGNORED).sum()
    assert_equal(loss_and_gradients(model, batch), loss_and_gradients(model, single(records)))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_with_gradient_checkpointing_and_few_logits(family, records):
    model, single, grouped = collators(family)
    expected = loss_and_gradients(model, single(records))
    model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert_equal(loss_and_gradients(model, grouped(records), max_logits=3000), expected)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_with_lora(family, records):
    model, single, grouped = collators(family)
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=lora_targets(model, ["llm"])))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert_equal(loss_and_gradients(model, grouped(records)), loss_and_gradients(model, single(records)))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_with_cached_features(family, records, tmp_path):
    model, single, grouped = collators(family)
    freeze(model, ["vision"])
    expected = loss_and_gradients(model, single(records))
    paths = [path for record in records for path in record["images"]]
    encoder = grouped.encoder
    encoder.feature_cache = build_feature_cache(tmp_path, model, encoder, paths, progress=False)
    replay_features(model)
    assert_equal(loss_and_gradients(model, grouped(records)), expected)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_images_shared_in_one_call_change_no_prompt(family, records):
    _, single, _ = collators(family)
    encoder = single.encoder
    together = encoder.encode(records, "short")
    for record, prompt in zip(records, together, strict=True):
        (alone,) = encoder.encode([record], "short")
        assert prompt.input_ids == alone.input_ids
        assert prompt.resized_sizes == alone.resized_sizes
        assert prompt.image_inputs.keys() == alone.image_inputs.keys()
        for name, tensor in alone.image_inputs.items():
            assert torch.equal(prompt.image_inputs[name], tensor)
    same = [index for index, record in enumerate(records) if record["images"] == records[0]["images"]]
    assert len(same) > 1 and all(
        together[index].image_inputs is together[same[0]].image_inputs for index in same
    )


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_frozen_tower_keeps_no_graph(family, records):
    model, _, grouped = collators(family)
    freeze(model, ["vision", "connector"])
    batch = grouped(records[:3])
    inner = inner_model(model)
    names = ("pixel_values", "image_grid_thw", "pixel_attention_mask")
    features = inner.get_image_features(**{n: batch[n] for n in names if n in batch}).pooler_output
    assert not any(part.requires_grad for part in features)


def test_single_questions_make_a_plain_batch(records):
    _, _, grouped = collators("llava")
    text_only = [record for record in records if not record["images"]]
    batch = grouped([records[0], *text_only])
    assert "branches" not in batch and batch["attention_mask"].ndim == 2


@pytest.mark.parametrize("kernel", ["eager", "flash_attention_2"])
def test_kernels_that_ignore_the_mask_are_refused_by_name(kernel, records):
    model, _, grouped = collators("llava")
    model.config.get_text_config()._attn_implementation = kernel
    with pytest.raises(UserError, match=f"--attn_implementation {kernel}"):
        check_kernel(model)
    with pytest.raises(UserError, match=f"--attn_implementation {kernel}"):
        attend_to_branches(model, grouped(records))


@pytest.mark.parametrize("grouped", [1.00002, 0.9, float("nan")])
def test_losses_that_part_are_refused(grouped):
    compare_losses(1.000001, 1.0, 1e-5)
    with pytest.raises(UserError, match="use --group_by_image false"):
        compare_losses(grouped, 1.0, 1e-5)


def test_each_prompt_keeps_a_token_of_its_own():
    assert shared_length([[1, 2, 3], [1, 2, 3]]) == 2
    assert shared_length([[1, 2], [1, 2, 3, 4]]) == 1
    assert shared_length([[1, 2, 9, 9], [1, 2, 3, 4], [1, 2, 3, 9]]) == 2
    assert shared_length([[5]]) == 0
