"""A masked model made small: the masked tensors are cut out and the config is rewritten.

The result is a plain checkpoint of its family, which `from_pretrained` loads.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import PreTrainedModel

from vqa.errors import UserError
from vqa.pruning.families import Axes, layer_of, parameter_axes, ratio_widths
from vqa.pruning.structured import StructuredPruner, masked_places
from vqa.pruning.widths import Widths, check_widths, current_widths


def rewrite_config(config: Any, widths: Widths, layers: Sequence[int] | None = None) -> Any:
    """A copy of a model's config with other widths.

    Args:
        layers: the layers of the language model that stay, rising; the first `widths.layers` by default.
            Each keeps its own type of attention.

    Raises:
        UserError: the config cannot express the widths.
    """
    check_widths(config, widths)
    layers = range(widths.layers) if layers is None else layers
    before, tower = current_widths(config), ratio_widths(config)
    config = copy.deepcopy(config)
    text, vision = config.get_text_config(), config.vision_config
    written = text.to_dict()
    if widths.kv_heads != before.kv_heads:
        if widths.hidden == before.hidden and "head_dim" not in written:
            text.head_dim = text.hidden_size // text.num_attention_heads
        text.num_attention_heads = text.num_attention_heads // before.kv_heads * widths.kv_heads
        text.num_key_value_heads = widths.kv_heads
    text.intermediate_size = widths.ffn
    text.num_hidden_layers = widths.layers
    if "layer_types" in written:
        text.layer_types = [written["layer_types"][layer] for layer in layers]
    if "max_window_layers" in written and widths.layers != before.layers:
        # Layers from this one on slide, where the model has a sliding window at all.
        text.max_window_layers = sum(layer < written["max_window_layers"] for layer in layers)
    if widths.hidden != before.hidden:
        text.hidden_size = widths.hidden
        text.rms_norm_eps = text.rms_norm_eps * before.hidden / widths.hidden
        if config.model_type == "qwen2_vl":
            vision.hidden_size = widths.hidden  # the width that its merger puts out
        else:
            vision.out_hidden_size = widths.hidden
    if tower:
        vision.mlp_ratio = tower.index(widths.vision_ffn) + 1
    else:
        vision.intermediate_size = widths.vision_ffn
    return config


def cut_model(model: PreTrainedModel, pruner: StructuredPruner | Mapping[str, Tensor]) -> PreTrainedModel:
    """The small model that computes what the masked one does, but for rounding.

    The model that is given is consumed to save memory: tensors that are not cut move to the new one, the
    others are freed one by one. A statement on hidden units: RMSNorm divides by sqrt(S / d + eps) with S the
    sum of squares over d units. Of masked units S holds zeros, so that with d' of d units left, eps' = eps d
    / d' in the config and w' = w sqrt(d / d') in the weights leave w x / sqrt(S / d + eps) as it was.

    Args:
        pruner: whose masks are final, or such masks by width: `(rows, groups)`, True is masked.

    Returns:
        The same class, on the same device, with the rewritten config and the generation config.

    Raises:
        UserError: the masks are not at widths that the config can express.
    """
    masks = pruner.masks if isinstance(pruner, StructuredPruner) else pruner
    before = current_widths(model.config)
    widths = _widths_left(before, masks)
    layers = [
        layer for layer in range(before.layers) if "layers" not in masks or not masks["layers"][0, layer]
    ]
    config = rewrite_config(model.config, widths, layers)
    table = parameter_axes(model.config, [name for name, _ in model.named_parameters()])
    scale = math.sqrt(before.hidden / widths.hidden)
    tensors: dict[str, Tensor] = {}
    frozen = set()
    for name, parameter in model.named_parameters():
        layer = layer_of(name)
        if layer is not None and layer not in layers:
            parameter.data = parameter.data.new_empty(0)
            continue
        tensor = _cut_tensor(parameter.data, table[name], masks) if name in table else parameter.data
        if scale != 1 and table.get(name, Axes(())).labels == ("hidden",) and name.endswith("norm.weight"):
            tensor = tensor * scale
        if layer is not None:
            name = name.replace(f"layers.{layer}.", f"layers.{layers.index(layer)}.")
        tensors[name] = tensor
        if not parameter.requires_grad:
            frozen.add(name)
        if tensor is not parameter.data:
            parameter.data = parameter.data.new_empty(0)
    small = _assemble(model, config, tensors)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return small


def _widths_left(before: Widths, masks: Mapping[str, Tensor]) -> Widths:
    widths = {**vars(before)}
    for label, mask in masks.items():
        masked = mask.sum(1)
        if (masked != masked[0]).any():
            raise UserError(f"{label}: masks of different numbers in different layers cannot be cut")
        widths[label] -= int(masked[0])
    return Widths(**widths)


def _cut_tensor(tensor: Tensor, axes: Axes, masks: Mapping[str, Tensor]) -> Tensor:
    for axis, label in enumerate(axes.labels):
        if label not in masks:
            continue
        gone = masked_places(masks[label], axes.row, label, tensor.shape[axis]).to(tensor.device)
        if len(gone):
            kept = torch.ones(tensor.shape[axis], dtype=torch.bool, device=tensor.device)
            kept[gone] = False
            tensor = tensor.index_select(axis, kept.nonzero().flatten())
    return tensor


def _assemble(model: PreTrainedModel, config: Any, tensors: dict[str, Tensor]) -> PreTrainedModel:
    with init_empty_weights():
        small = type(model)(config)
    # Tied weights have one name among the tensors; tying gives them the others.
    small.load_state_dict(tensors, strict=False, assign=True)
    small.tie_weights()
    names = {name for name, _ in small.named_parameters()}
    if names != set(tensors):
        raise ValueError(f"the cut model lacks {sorted(names ^ set(tensors))[0]}")
    small.to(model.device)
    small.generation_config = copy.deepcopy(model.generation_config)
    return small.train(model.training)
