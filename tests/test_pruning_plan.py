"""Widths that meet a target, and the plan of a pruning, from configs alone."""

import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, Qwen2VLConfig, Qwen3VLConfig

from vqa.errors import UserError
from vqa.pruning import widths as widths_module
from vqa.pruning.arguments import PruningArguments
from vqa.pruning.cut import rewrite_config
from vqa.pruning.plan import flops_per_token, plan_rounds, print_pruning_plan
from vqa.pruning.widths import (
    Widths,
    check_widths,
    count_parameters,
    current_widths,
    model_size,
    round_targets,
    rounds_for,
    solve_widths,
)
from vqa.tiny_models import build_tiny_model

GEMMA = Path(__file__).resolve().parent / "architectures/gemma-3-27b-it"


def qwen2_vl():
    """The shape of Qwen2-VL-2B, with a small vocabulary."""
    text = {"vocab_size": 4096, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 2}
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}}
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16}
    return Qwen2VLConfig(text_config=text | heads | rope, vision_config=vision)


def qwen3_vl():
    text = {"vocab_size": 4096, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    vision = {"depth": 6, "deepstack_visual_indexes": [1, 2, 3], "out_hidden_size": 1024}
    return Qwen3VLConfig(text_config=text | heads, vision_config=vision)


CONFIGS = {
    "gemma3": (AutoConfig.from_pretrained(GEMMA), ("ffn", "heads", "layers", "vision_ffn")),
    "qwen2_vl": (qwen2_vl(), ("ffn", "hidden", "layers", "vision_ffn")),
    "qwen3_vl": (qwen3_vl(), ("ffn", "heads", "layers", "vision_ffn")),
}
SIZES = {name: model_size(config) for name, (config, _) in CONFIGS.items()}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Sizes are measured once here, so that hypothesis can try many targets."""
    known = {id(config): SIZES[name] for name, (config, _) in CONFIGS.items()}
    measure = widths_module.model_size
    monkeypatch.setattr(
        widths_module,
        "model_size",
        lambda config: known[id(config)] if id(config) in known else measure(config),
    )


@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_solved_widths_are_the_nearest_below_the_target(data):
    name = data.draw(st.sampled_from(sorted(CONFIGS)))
    config, allowed = CONFIGS[name]
    dimensions = data.draw(st.lists(st.sampled_from(allowed), min_size=1, unique=True))
    size, now = SIZES[name], current_widths(config)
    first, second = sorted(data.draw(st.tuples(*[st.floats(0.01, 1.0)] * 2)))
    found = []
    for share in (first, second):
        target = int(share * size.total(now))
        try:
            widths = solve_widths(config, dimensions, target_params=target)
        except UserError as error:
            assert "out of reach" in str(error)
            found.append(0)
            continue
        check_widths(config, widths)
        total = size.total(widths)
        assert total <= target
        if "ffn" in dimensions and min(asdict(widths).values()) > 8 and 64 < widths.ffn < now.ffn:
            assert total > 0.99 * target
        kept = {field for field, width in asdict(widths).items() if width == asdict(now)[field]}
        fields = {"ffn": "ffn", "heads": "kv_heads", "layers": "layers", "vision_ffn": "vision_ffn"}
        assert {fields[one] for one in fields if one not in dimensions} - {"kv_heads"} <= kept
        found.append(total)
    assert found[0] <= found[1]


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl"])
def test_counts_are_those_of_the_model_that_the_config_builds(name):
    config, dimensions = CONFIGS[name]
    for share in (0.8, 0.5):
        target = int(share * SIZES[name].total(current_widths(config)))
        widths = solve_widths(config, dimensions, target_params=target)
        small = rewrite_config(config, widths)
        assert current_widths(small) == widths
        assert count_parameters(small, widths) == count_parameters(config, widths)


def test_an_unreachable_target_names_the_smallest():
    config, _ = CONFIGS["gemma3"]
    smallest = SIZES["gemma3"].total(replace(current_widths(config), ffn=64))
    with pytest.raises(UserError, match=f"with --prune_dimensions ffn the smallest is {smallest:,}"):
        solve_widths(config, ["ffn"], target_params=smallest - 1)
    assert solve_widths(config, ["ffn"], target_params=smallest).ffn == 64


def test_a_share_is_of_the_parts_that_are_cut():
    config, _ = CONFIGS["qwen2_vl"]
    size, now = SIZES["qwen2_vl"], current_widths(config)
    for dimensions, parts in ((["ffn"], ("llm",)), (["ffn", "vision_ffn"], ("llm", "vision"))):
        widths = solve_widths(config, dimensions, target_sparsity=0.4)
        left = size.count(widths, *parts) / size.count(now, *parts)
        assert 0.59 < left <= 0.6


def test_rounds_remove_the_same_share_each():
    assert round_targets(1000, 343, 3) == [700, 490, 343]
    assert rounds_for(1000, 343) == 3 and rounds_for(1000, 342) == 4 and rounds_for(1000, 1000) == 1


def test_flops_are_counted_by_hand():
    config = build_tiny_model("llava")[0].config
    text, widths = config.text_config, current_widths(config)
    layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64
    expected = 2 * (2 * layer + text.vocab_size * 32) + 4 * 2 * 32 * 1024
    assert flops_per_token(config, model_size(config), widths) == expected
    half = replace(widths, kv_heads=1)
    saved = 2 * 2 * 32 * (16 + 8 + 8 + 16) + 4 * 2 * 16 * 1024
    assert flops_per_token(config, model_size(config), half) == expected - saved


def test_gemma_of_27b_is_planned_in_seconds(capsys):
    config, _ = CONFIGS["gemma3"]
    assert SIZES["gemma3"].total(current_widths(config)) == 27_432_406_640
    args = PruningArguments(
        prune="structured", target_params=9e9, prune_dimensions=["ffn", "heads", "layers"], prune_rounds=3
    )
    start = time.monotonic()
    print_pruning_plan(str(GEMMA), args)
    assert time.monotonic() - start < 20
    printed = capsys.readouterr().out
    rounds = plan_rounds(config, args)
    totals = [SIZES["gemma3"].total(widths) for widths in rounds]
    assert len(rounds) == 4 and all(f"{total:,}" in printed for total in totals)
    assert 8.9e9 < totals[-1] <= 9e9 and "100.0%" in printed and "GB" in printed
    for before, after in zip(rounds, rounds[1:], strict=False):
        assert after.ffn < before.ffn and after.kv_heads < before.kv_heads and after.layers < before.layers
        assert after.hidden == before.hidden == 5376 and after.vision_ffn == 4304
        assert 5376 % (2 * after.kv_heads) == 0  # what Gemma's config demands


def test_widths_are_read_from_the_config():
    assert current_widths(CONFIGS["qwen2_vl"][0]) == Widths(8960, 2, 28, 1536, 5120)
    assert current_widths(CONFIGS["gemma3"][0]) == Widths(21504, 16, 62, 5376, 4304)
