"""Structured pruning: masks, the cut, and that the small model computes what the masked one did."""

import copy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Dinov2Config,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from vqa.errors import UserError
from vqa.pruning.cut import cut_model, rewrite_config
from vqa.pruning.importance import ActivationStatistics, magnitudes
from vqa.pruning.structured import StructuredPruner
from vqa.pruning.widths import count_parameters, current_widths, resized, solve_widths, width_options
from vqa.tiny_models import build_tiny_model

IMAGE = 5
_LLM = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}


def gemma3():
    config = Gemma3Config(
        text_config=_LLM
        | {
            "model_type": "gemma3_text",
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        vision_config=SiglipVisionConfig(**_TOWER, vision_use_head=False),
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=6,
        eoi_token_index=7,
    )
    return Gemma3ForConditionalGeneration(config), 4


def llava(text, tower):
    # SigLIP has no class token that `default` would drop.
    strategy = "full" if tower.model_type == "siglip_vision_model" else "default"
    config = LlavaConfig(
        text_config=text,
        vision_config=tower,
        image_token_index=IMAGE,
        image_seq_length=16,
        vision_feature_select_strategy=strategy,
    )
    return LlavaForConditionalGeneration(config), 16


def _qwen2():
    text = {name: value for name, value in _LLM.items() if name != "head_dim"}
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}
    return Qwen2Config(**text, **sliding)


def _dinov2(**options):
    tower = {name: value for name, value in _TOWER.items() if name != "intermediate_size"}
    return Dinov2Config(**tower, mlp_ratio=4, **options)


MODELS = {
    "gemma3": gemma3,
    "llava_qwen2_siglip": lambda: llava(_qwen2(), SiglipVisionConfig(**_TOWER)),
    "llava_qwen3_clip": lambda: llava(
        Qwen3Config(**_LLM, tie_word_embeddings=True), CLIPVisionConfig(**_TOWER)
    ),
    "llava_llama_dinov2": lambda: llava(LlamaConfig(**_LLM, attention_bias=True, mlp_bias=True), _dinov2()),
    "llava_llama_swiglu": lambda: llava(LlamaConfig(**_LLM), _dinov2(use_swiglu_ffn=True)),
}
TIED = ("qwen2_vl", "qwen2_5_vl")
FAMILIES = (*TIED, "qwen3_vl", "llava", *MODELS)


def build(name):
    """A model with biases and norms that are not their initial zeros and ones, and a batch with an image."""
    torch.manual_seed(0)
    if name in MODELS:
        model, tokens = MODELS[name]()
        ids = torch.tensor([[9, *[IMAGE] * tokens, *range(10, 22)]])
        batch = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 28, 28)}
        if name == "gemma3":
            batch["token_type_ids"] = (ids == IMAGE).long()
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    else:
        model, processor = build_tiny_model(name)
        content = [{"type": "image"}, {"type": "text", "text": "is there a red circle?"}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        picture = Image.effect_noise((64, 48), 80).convert("RGB")
        batch = dict(processor(images=[picture], text=[text], return_tensors="pt"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.1))
    return model.eval(), batch


def logits(model, batch):
    with torch.no_grad():
        return model(**batch, use_cache=False).logits


def pruned(model, dimensions, share=0.5, importance="magnitude"):
    """The model masked to about a share of each dimension, each brought well below its full width."""
    options, widths = width_options(model.config), current_widths(model.config)
    for name in dimensions:
        value = options[name][max(0, int(len(options[name]) * share) - 1)]
        widths = resized(widths, name, value)
    pruner = StructuredPruner(model, dimensions, widths, importance, final=0.5)
    return pruner, widths


def cases():
    for name in FAMILIES:
        dimensions = ["ffn", "layers", "vision_ffn", "hidden" if name in TIED else "heads"]
        yield name, dimensions
        if name.startswith("llava_llama"):  # only the towers are new
            dimensions = ["vision_ffn"]
        yield from ((name, [dimension]) for dimension in dimensions)


@pytest.mark.parametrize(("name", "dimensions"), [*cases()], ids=str)
def test_the_cut_model_computes_what_the_masked_one_does(name, dimensions, tmp_path):
    model, batch = build(name)
    whole = logits(model, batch)
    pruner, widths = pruned(model, dimensions)
    for sparsity in (0.2, 0.4, 0.5):
        pruner.prune(sparsity)
    masked = logits(model, batch)
    assert (masked - whole).abs().max() > 1e-3
    kind = type(model)
    small = cut_model(model, pruner)
    assert type(small) is kind and current_widths(small.config) == widths
    torch.testing.assert_close(logits(small, batch), masked, rtol=1e-4, atol=1e-5)
    expected = sum(parameter.numel() for parameter in small.parameters())
    assert count_parameters(small.config, widths) == expected
    assert 1 - pruner.report()["masked_parameters"] == pytest.approx(
        expected / pruner.size.total(pruner.before)
    )
    small.save_pretrained(tmp_path)
    loaded, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert current_widths(loaded.config) == widths
    torch.testing.assert_close(logits(loaded, batch), logits(small, batch), rtol=0, atol=0)
    if len(dimensions) == 1 and dimensions != ["layers"]:
        return
    # Caches are laid out by the config: greedy tokens with a cache are those of plain forwards.
    image = loaded.config.image_token_id  # a random model may say it, and then wants an image
    tokens = loaded.generate(**batch, max_new_tokens=3, do_sample=False, suppress_tokens=[image])
    grown = {"input_ids": tokens[:, :-1], "attention_mask": torch.ones_like(tokens[:, :-1])}
    for types in {"token_type_ids", "mm_token_type_ids"} & set(batch):
        grown[types] = torch.nn.functional.pad(batch[types], (0, 2))
    last = logits(loaded, batch | grown)[0, -1]
    last[image] = -torch.inf
    assert tokens[0, -1] == last.argmax()


@pytest.mark.parametrize("name", FAMILIES)
def test_without_masks_the_cut_is_the_identity(name):
    model, batch = build(name)
    whole, state = logits(model, batch), copy.deepcopy(model.state_dict())
    model.model.language_model.norm.weight.requires_grad_(False)
    widths = current_widths(model.config)
    pruner = StructuredPruner(model, ["ffn", "layers"], widths, final=0.5)
    pruner.prune(0.5)
    assert pruner.report() == {"ffn": 0, "layers": 0, "masked_parameters": 0.0}
    config = model.config.to_dict()
    small = cut_model(model, pruner)
    assert small.config.to_dict() == config
    assert small.state_dict().keys() == state.keys()
    assert all(torch.equal(small.state_dict()[key], state[key]) for key in state)
    assert [key for key, value in small.named_parameters() if not value.requires_grad] == [
        "model.language_model.norm.weight"
    ]
    assert torch.equal(logits(small, batch), whole)


def test_tied_embeddings_and_the_generation_config_stay(tmp_path):
    model, _ = build("gemma3")
    model.generation_config.max_new_tokens = 7
    pruner, _ = pruned(model, ["ffn", "heads"])
    pruner.prune(0.5)
    small = cut_model(model, pruner)
    assert small.lm_head.weight is small.model.language_model.embed_tokens.weight
    small.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert loaded.generation_config.max_new_tokens == 7
    assert loaded.lm_head.weight is loaded.model.language_model.embed_tokens.weight


def test_layers_keep_their_own_attention():
    for name, types in (
        ("gemma3", ["sliding_attention", "full_attention"] * 2),
        ("llava_qwen2_siglip", None),
    ):
        model, _ = build(name)
        before = types or ["full_attention"] * 2 + ["sliding_attention"] * 2
        assert model.config.get_text_config().layer_types == before
        mask = torch.tensor([[False, True, True, False]])
        text = cut_model(model, {"layers": mask}).config.get_text_config()
        assert text.layer_types == [before[0], before[3]] and text.num_hidden_layers == 2
        if types is None:
            assert text.max_window_layers == 1


def test_layers_that_receive_visual_features_stay():
    model, _ = build("qwen3_vl")
    with torch.no_grad():
        for parameter in model.model.language_model.layers[0].parameters():
            parameter.mul_(1e-3)  # by far the smallest
    pruner, _ = pruned(model, ["layers"])
    pruner.prune(0.5)
    assert pruner.masks["layers"].tolist() == [[False, True]]
    model.config.vision_config.deepstack_visual_indexes = [0, 1]
    assert width_options(model.config)["layers"] == [2]


def test_groups_with_the_smallest_norm_go():
    model, _ = build("llava_llama_dinov2")
    layer = model.model.language_model.layers[1]
    mlp, attention = layer.mlp, layer.self_attn
    with torch.no_grad():
        for tensor in (mlp.gate_proj.weight, mlp.gate_proj.bias, mlp.up_proj.weight, mlp.up_proj.bias):
            tensor[11] *= 0.01
        mlp.down_proj.weight[:, 11] *= 0.01
        for one, rows in ((attention.q_proj, 16), (attention.k_proj, 8), (attention.v_proj, 8)):
            one.weight[2 * rows : 3 * rows] *= 0.01
            one.bias[2 * rows : 3 * rows] *= 0.01
        attention.o_proj.weight[:, 32:48] *= 0.01
    pruner, _ = pruned(model, ["ffn", "heads"])
    norms = magnitudes(model, pruner._table, "ffn", 4, 64)
    channel = torch.cat([mlp.gate_proj.weight[5], mlp.up_proj.weight[5], mlp.down_proj.weight[:, 5]])
    biases = torch.stack([mlp.gate_proj.bias[5], mlp.up_proj.bias[5]])
    assert norms[1, 5].item() == pytest.approx(torch.cat([channel, biases]).norm().item(), rel=1e-5)
    pruner.prune(0.5 / 40)  # at 0.5 it will be 32 channels and 3 KV groups
    assert pruner.masks["ffn"].sum(1).tolist() == [1] * 4 and pruner.masks["ffn"][1, 11]
    pruner.prune(0.25)
    assert pruner.masks["ffn"].sum(1).tolist() == [16] * 4 and pruner.masks["ffn"][1, 11]
    assert pruner.masks["kv_heads"].sum(1).tolist() == [2] * 4 and pruner.masks["kv_heads"][1, 2]
    for tensor in (mlp.gate_proj.weight, mlp.gate_proj.bias, mlp.up_proj.bias, attention.q_proj.bias[32:48]):
        assert (tensor[11] if len(tensor) == 64 else tensor).abs().max() == 0
    zero = (attention.o_proj.weight == 0).all(0).reshape(4, 16)
    assert torch.equal(zero, pruner.masks["kv_heads"][1, :, None].expand(4, 16))
    assert mlp.down_proj.bias.abs().max() > 0


@pytest.mark.parametrize("name", ["gemma3", "qwen2_5_vl"])
def test_masks_survive_adam_and_a_checkpoint(name):
    model, batch = build(name)
    dimensions = ["ffn", "layers", "vision_ffn", "hidden" if name in TIED else "heads"]
    twin = copy.deepcopy(model)
    pruner, _ = pruned(model, dimensions)
    pruner.prune(0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = batch | {"labels": batch["input_ids"]}
    for _ in range(2):
        model(**batch).loss.backward()
        optimizer.step()
        pruner.apply()
        optimizer.zero_grad()
    zeros = {key: int((value == 0).sum()) for key, value in model.state_dict().items()}
    other, _ = pruned(twin, dimensions)
    other.load_state({key: value.clone() for key, value in pruner.state().items()})
    assert {key: int((value == 0).sum()) for key, value in twin.state_dict().items()} == zeros
    twin.load_state_dict(model.state_dict())
    before = {label: mask.clone() for label, mask in pruner.masks.items()}
    for one in (pruner, other):
        one.prune(0.5)
    for label, mask in pruner.masks.items():
        assert torch.equal(mask, other.masks[label])
        assert (mask | ~before[label]).all()  # what was masked stays masked
    with pytest.raises(UserError, match="masks of another model"):
        other.load_state({"ffn": torch.zeros(3, 3, dtype=torch.bool)})


@pytest.mark.parametrize("name", ["qwen3_vl", "llava_qwen2_siglip"])
def test_activations_weigh_what_flows(name):
    model, batch = build(name)
    with torch.no_grad():
        model.model.language_model.layers[1].mlp.up_proj.weight[7] = 0  # nothing flows through it
    down = model.model.language_model.layers[0].mlp.down_proj
    seen = []
    hook = down.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pruner, _ = pruned(model, ["ffn", "heads", "layers", "vision_ffn"], importance="activation")
    with pytest.raises(UserError, match="has not run"):
        pruner.prune(0.1)
    for _ in range(2):
        logits(model, batch)
    hook.remove()
    expected = torch.cat(seen).square().mean((0, 1))
    name = "model.language_model.layers.0.mlp.down_proj"
    torch.testing.assert_close(pruner.statistics.mean(name), expected)
    torch.testing.assert_close(
        pruner._scores("ffn")[0], down.weight.detach().norm(dim=0) * expected.sqrt(), rtol=1e-4, atol=1e-7
    )
    pruner.prune(0.05)
    assert pruner.masks["ffn"][1, 7]
    state = pruner.state()
    pruner.prune(0.5)
    with ActivationStatistics(model) as statistics:
        logits(model, batch)
    counts = dict(statistics.counts)
    logits(model, batch)
    assert statistics.counts == counts  # it has let go of the model
    assert pruner.statistics.counts[name] == 2 * counts[name]  # and the pruner at the end
    assert {"ffn", f"statistics.{name}.sum", "statistics.layers.0.count"} <= set(state)


REFUSED = [
    ("qwen2_vl", ["ffn", "heads"], "use hidden, ffn or layers"),
    ("qwen2_5_vl", ["heads"], "use hidden, ffn or layers"),
    ("gemma3", ["hidden"], "it serves qwen2_vl, qwen2_5_vl, not gemma3"),
    ("qwen3_vl", ["width"], "choose from ffn"),
    ("idefics3", ["ffn"], "'idefics3' is not supported; supported: qwen2_vl"),
]


@pytest.mark.parametrize(("name", "dimensions", "message"), REFUSED)
def test_what_a_config_cannot_express_is_refused(name, dimensions, message):
    model = (MODELS[name]()[0] if name in MODELS else build_tiny_model(name)[0]).config
    with pytest.raises(UserError, match=message):
        solve_widths(model, dimensions, target_sparsity=0.2)


def test_widths_that_a_config_cannot_express_are_refused():
    config = build_tiny_model("qwen2_vl")[0].config
    with pytest.raises(UserError, match="vision_ffn 40.*nearest is 32"):
        rewrite_config(config, replace(current_widths(config), vision_ffn=40))
    config = gemma3()[0].config
    with pytest.raises(UserError, match="kv_heads 3"):  # 6 query heads do not divide 32
        rewrite_config(config, replace(current_widths(config), kv_heads=3))
    model, _ = build("gemma3")
    with pytest.raises(UserError, match="not in --prune_dimensions"):
        StructuredPruner(model, ["heads"], replace(current_widths(model.config), ffn=32), final=0.5)
    mask = torch.zeros(4, 64, dtype=torch.bool)
    mask[1, :8] = True
    with pytest.raises(UserError, match="different numbers"):
        cut_model(model, {"ffn": mask})
