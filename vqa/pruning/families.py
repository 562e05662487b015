"""Which families can be cut, along which dimensions, and which axis of which tensor belongs to which
dimension.

Everything structural stands on one table, `parameter_axes`: counting, scoring, masking and cutting read it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vqa.errors import UserError
from vqa.models import FAMILIES, Family

DIMENSIONS = ("ffn", "heads", "layers", "vision_ffn", "hidden")
# Widths by dimension: of a model whose head size is tied, hidden units go with the heads that they come from.
FIELDS = {
    "ffn": ("ffn",),
    "heads": ("kv_heads",),
    "layers": ("layers",),
    "vision_ffn": ("vision_ffn",),
    "hidden": ("kv_heads", "hidden"),
}


@dataclass(frozen=True)
class PrunableFamily:
    """What of a family can be cut.

    Args:
        text_types, towers: model types of the language models and vision towers known to work inside it;
            None where the family has but one.
        tied_heads: the head size is hidden size / number of heads, and a configured one is ignored.
    """

    parts: Family
    text_types: tuple[str, ...] | None = None
    towers: tuple[str, ...] | None = None
    tied_heads: bool = False


PRUNABLE = {
    "qwen2_vl": PrunableFamily(FAMILIES["qwen2_vl"], tied_heads=True),
    "qwen2_5_vl": PrunableFamily(FAMILIES["qwen2_5_vl"], tied_heads=True),
    "qwen3_vl": PrunableFamily(FAMILIES["qwen3_vl"]),
    "gemma3": PrunableFamily(FAMILIES["gemma3"], towers=("siglip_vision_model",)),
    "llava": PrunableFamily(
        FAMILIES["llava"],
        text_types=("llama", "qwen2", "qwen3"),
        towers=("clip_vision_model", "siglip_vision_model", "dinov2"),
    ),
}


def prunable_family(config: Any) -> PrunableFamily:
    """The family of a model's config.

    Raises:
        UserError: the family, its language model or its vision tower cannot be cut.
    """
    if config.model_type not in PRUNABLE:
        raise UserError(
            f"structured pruning: model type '{config.model_type}' is not supported; supported: "
            + ", ".join(PRUNABLE)
        )
    family = PRUNABLE[config.model_type]
    for part, known in ((config.get_text_config(), family.text_types), (config.vision_config, family.towers)):
        if known is not None and part.model_type not in known:
            raise UserError(
                f"structured pruning: {config.model_type} with '{part.model_type}' inside is not supported; "
                f"supported: {', '.join(known)}"
            )
    return family


def check_dimensions(config: Any, dimensions: Sequence[str]) -> None:
    """Refuse dimensions whose result the model's config could not express.

    Raises:
        UserError: none, an unknown one, or one that the family lacks.
    """
    family = prunable_family(config)
    for name in dimensions:
        if name not in DIMENSIONS:
            raise UserError(f"--prune_dimensions {name}: choose from {', '.join(DIMENSIONS)}")
    if not dimensions:
        raise UserError(f"--prune_dimensions: name one at least of {', '.join(DIMENSIONS)}")
    if family.tied_heads and "heads" in dimensions and "hidden" not in dimensions:
        raise UserError(
            f"--prune_dimensions heads: {config.model_type} ties the size of a head to the hidden size, so "
            "heads cannot go alone; use hidden, ffn or layers"
        )
    if "hidden" in dimensions and not family.tied_heads:
        tied = ", ".join(name for name, one in PRUNABLE.items() if one.tied_heads)
        raise UserError(
            f"--prune_dimensions hidden: it serves {tied}, not {config.model_type}; use ffn, heads or layers"
        )


def protected_layers(config: Any) -> int:
    """How many layers of the language model, from the first, may not go.

    Qwen3-VL adds the features of vision layer `deepstack_visual_indexes[i]` to the output of LLM layer i.
    """
    return len(config.vision_config.deepstack_visual_indexes) if config.model_type == "qwen3_vl" else 0


def ratio_widths(config: Any) -> list[int] | None:
    """FFN widths of a tower whose config has an integer `mlp_ratio`, for the ratios 1, 2, ... to its own.

    None for a tower with an `intermediate_size`. DINOv2's SwiGLU keeps two thirds, in multiples of 8.
    """
    vision = config.vision_config
    if config.model_type == "qwen2_vl":
        return [vision.embed_dim * ratio for ratio in range(1, vision.mlp_ratio + 1)]
    if vision.model_type != "dinov2":
        return None
    widths = [vision.hidden_size * ratio for ratio in range(1, vision.mlp_ratio + 1)]
    return [(int(width * 2 / 3) + 7) // 8 * 8 for width in widths] if vision.use_swiglu_ffn else widths


@dataclass(frozen=True)
class Axes:
    """What the axes of a parameter count.

    Args:
        labels: for each axis the width (`ffn`, `kv_heads`, `hidden`, `vision_ffn`) it is a multiple of, with
            the groups in contiguous blocks of equal size; None for an axis that stays.
        row: which feed-forward or layer it is, counted within its part; None for what no layer holds.
        in_layer: whether `row` is a layer of the language model.
    """

    labels: tuple[str | None, ...]
    row: int | None = None
    in_layer: bool = False


def _linear(outputs: str | None, inputs: str | None, *names: str) -> dict[str, tuple[str | None, ...]]:
    table = {f"{name}.weight": (outputs, inputs) for name in names}
    return table | {f"{name}.bias": (outputs,) for name in names}


_LLM = {
    **_linear("kv_heads", "hidden", "q_proj", "k_proj", "v_proj"),
    **_linear("hidden", "kv_heads", "o_proj"),
    **_linear("ffn", "hidden", "gate_proj", "up_proj"),
    **_linear("hidden", "ffn", "down_proj"),
    **_linear(None, "hidden", "embed_tokens", "lm_head"),
    **dict.fromkeys(
        ("input_layernorm.weight", "post_attention_layernorm.weight", "norm.weight"),
        ("hidden",),
    ),
}
_VISION = {
    **_linear("vision_ffn", None, "fc1", "linear_fc1", "gate_proj", "up_proj"),
    **_linear(None, "vision_ffn", "fc2", "linear_fc2", "down_proj"),
}
_LAYER = re.compile(r"language_model\.layers\.(\d+)\.")


def layer_of(name: str) -> int | None:
    """The layer of the language model that a parameter or module belongs to."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def parameter_axes(config: Any, names: Iterable[str]) -> dict[str, Axes]:
    """The table: what the axes of each parameter count; parameters that are never cut are left out."""
    family = prunable_family(config)
    table: dict[str, Axes] = {}
    feed_forwards: dict[str, int] = {}
    for name in names:
        owner, last, kind = f".{name}".rsplit(".", 2)
        part, layer = family.parts.part_of(name), layer_of(name)
        labels: tuple[str | None, ...] = ()
        row = layer
        if part == "llm":
            labels = _LLM.get(f"{last}.{kind}", ())
        elif part == "vision" and f"{last}.{kind}" in _VISION:
            labels = _VISION[f"{last}.{kind}"]
            row = feed_forwards.setdefault(owner, len(feed_forwards))
        elif name.endswith(("visual.merger.mlp.2.weight", "visual.merger.mlp.2.bias")):
            labels = ("hidden", None)[: 2 if kind == "weight" else 1]
        if not family.tied_heads:
            labels = tuple(None if label == "hidden" else label for label in labels)
        if layer is not None or any(labels):
            table[name] = Axes(labels, row, layer is not None)
    return table
