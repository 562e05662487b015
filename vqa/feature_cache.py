"""What a frozen vision tower says of each image, computed once.

Cached is what enters the connector, so the connector still trains. Features lie in memory-mapped
safetensors shards, keyed by the image's bytes; a cache is bound to tower, processor and pixel limits by
hash, and refused when one of them changed.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from tqdm import tqdm
from transformers import ProcessorMixin
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import get_vision_window_index
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from vqa.errors import UserError
from vqa.files import atomic_write, sha256_file, write_json
from vqa.models import family_of, inner_model

if TYPE_CHECKING:
    from vqa.encoding import EncodedPrompt, PromptEncoder

IMAGES_PER_SHARD = 4096
_LLAVA = ("llava", "llava_perceiver")


@dataclass
class CachedImage:
    """One image's features: the model's image inputs with features in place of pixels."""

    inputs: dict[str, torch.Tensor]
    expanded: str
    resized_size: tuple[int, int]


class FeatureCache:
    """Reads cached features; `build_feature_cache` makes them."""

    def __init__(self, directory: str | Path, processor: ProcessorMixin) -> None:
        self.directory = Path(directory)
        self.processor = processor
        self.index = json.loads((self.directory / "index.json").read_text(encoding="utf-8"))
        self._shards: dict[str, Any] = {}
        self._keys: dict[str, str] = {}

    def load(self, path: str) -> CachedImage:
        """The cached image of a file.

        Raises:
            UserError: the file is not in the cache.
        """
        if path not in self._keys:
            self._keys[path] = sha256_file(path)
        entry = self.index["images"].get(self._keys[path])
        if entry is None:
            raise UserError(f"{path}: not in the feature cache {self.directory}")
        shard = self._open(entry["shard"])
        start, end = entry["rows"]
        features = shard.get_slice("features")[start:end].reshape(entry["shape"])
        inputs = {"pixel_values": features} | {
            name: torch.tensor(value) for name, value in entry["inputs"].items()
        }
        return CachedImage(inputs, self.index["expansions"][entry["expansion"]], tuple(entry["resized_size"]))

    def expand(self, text: str, images: list[CachedImage]) -> str:
        """The prompt's text with each image placeholder replaced by the tokens its features fill."""
        return self.processor.get_text_with_replacements(
            [text], images_replacements=[image.expanded for image in images]
        )[0][0]

    def _open(self, name: str):
        if name not in self._shards:
            self._shards[name] = safe_open(self.directory / name, framework="pt")
        return self._shards[name]

    def __getstate__(self) -> dict[str, Any]:
        # Open memory maps do not travel to the workers of a data loader.
        return self.__dict__ | {"_shards": {}}


def fingerprint(model: nn.Module, encoder: "PromptEncoder") -> dict[str, str]:
    """What the features depend on: hashes of tower and processor, layers taken from it, pixel limits."""
    family = family_of(model.config)
    layers = {
        name: value for name, value in model.config.to_dict().items() if name.startswith("vision_feature")
    }
    tower = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if family.part_of(name) == "vision":
            tower.update(name.removeprefix("base_model.model.").encode())
            tower.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    processor = json.dumps(encoder.processor.image_processor.to_dict(), sort_keys=True, default=str)
    return {
        "vision tower": tower.hexdigest(),
        "feature layer": json.dumps(layers, sort_keys=True),
        "image processor": hashlib.sha256(processor.encode()).hexdigest(),
        "pixel limits": json.dumps(encoder.pixel_limits, sort_keys=True),
    }


def build_feature_cache(
    directory: str | Path,
    model: nn.Module,
    encoder: "PromptEncoder",
    paths: list[str],
    batch_size: int = 64,
    progress: bool = True,
) -> FeatureCache:
    """Compute what is missing and return the cache; interrupted, it goes on where it was.

    Raises:
        UserError: the folder holds features of another tower, processor or pixel limits, or of a model that
            has other tokens for an image.
    """
    directory = Path(directory)
    bound_to = fingerprint(model, encoder)
    index = {"fingerprint": bound_to, "expansions": [], "images": {}}
    if (directory / "index.json").is_file():
        index = json.loads((directory / "index.json").read_text(encoding="utf-8"))
        differing = [name for name in bound_to if index["fingerprint"].get(name) != bound_to[name]]
        if differing:
            raise UserError(
                f"{directory}: these vision features are stale: another {' and '.join(differing)}; "
                "delete the folder or name another"
            )
    missing, known = {}, None
    for path in dict.fromkeys(paths):
        key = sha256_file(path)
        if key not in index["images"]:
            missing.setdefault(key, path)
        elif known is None:
            known = path, index["expansions"][index["images"][key]["expansion"]]
    if known is not None:
        path, expanded = known
        if _expanded(encoder, encoder._encode_one([path], encoder.processor.image_token)) != expanded:
            raise UserError(
                f"{directory}: these vision features are stale: the model writes other tokens for an image; "
                "delete the folder or name another"
            )
    keys = list(missing)
    with tqdm(total=len(keys), desc="vision features", unit="img", disable=not progress or not keys) as bar:
        for first in range(0, len(keys), IMAGES_PER_SHARD):
            _write_shard(
                directory,
                index,
                model,
                encoder,
                keys[first : first + IMAGES_PER_SHARD],
                missing,
                batch_size,
                bar,
            )
    if not keys and not (directory / "index.json").is_file():
        write_json(directory / "index.json", index)
    return FeatureCache(directory, encoder.processor)


def _write_shard(directory, index, model, encoder, keys, paths, batch_size, bar) -> None:
    name = f"features-{len(index['images']):08d}.safetensors"
    chunks, row = [], 0
    for first in range(0, len(keys), batch_size):
        batch = keys[first : first + batch_size]
        prompts = [encoder._encode_one([paths[key]], encoder.processor.image_token) for key in batch]
        for key, prompt, features in zip(
            batch, prompts, tower_features(model, encoder, prompts), strict=True
        ):
            expanded = _expanded(encoder, prompt)
            if expanded not in index["expansions"]:
                index["expansions"].append(expanded)
            flat = features.reshape(-1, features.shape[-1])
            index["images"][key] = {
                "shard": name,
                "rows": [row, row + len(flat)],
                "shape": list(features.shape),
                "expansion": index["expansions"].index(expanded),
                "resized_size": list(prompt.resized_sizes[0]),
                "inputs": {k: v.tolist() for k, v in prompt.image_inputs.items() if k.endswith("grid_thw")},
            }
            chunks.append(flat)
            row += len(flat)
        bar.update(len(batch))
    with atomic_write(directory / name, "wb") as file:
        file.write(save({"features": torch.cat(chunks).contiguous()}, {"format": "pt"}))
    write_json(directory / "index.json", index)


def _expanded(encoder: "PromptEncoder", prompt: "EncodedPrompt") -> str:
    """The text that an image's placeholder becomes, of the prompt that is this placeholder alone."""
    return encoder.tokenizer.decode(prompt.input_ids, skip_special_tokens=False)


def tower_features(model: nn.Module, encoder: "PromptEncoder", prompts: list) -> list[torch.Tensor]:
    """Each image's input to the connector, on the CPU.

    Shape of each: (1, patches, width), (tiles, patches, width) or (patches, width).
    """
    inner = inner_model(model)
    batch = {
        name: value.to(model.device)
        for name, value in encoder.batch(prompts).items()
        if name not in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
    }
    features = connector_inputs(inner, inner.get_image_features, batch)
    if "image_grid_thw" in batch:
        rows = batch["image_grid_thw"].prod(-1).tolist()
    else:
        rows = [prompt.image_inputs["pixel_values"].shape[-4] for prompt in prompts]
    return [part.cpu() for part in torch.split(features, rows)]


@torch.no_grad()
def connector_inputs(
    inner: nn.Module, run_tower: Callable[..., Any], images: dict[str, torch.Tensor]
) -> torch.Tensor:
    """What the tower gives the connector for a batch's image tensors, joined as `pixel_values` are.

    Args:
        inner: the module that holds tower and connector.
        run_tower: its class's `get_image_features`, bound.
    """
    captured: list[torch.Tensor] = []
    hooks = [
        connector.register_forward_pre_hook(lambda module, args: captured.append(args[0].detach()))
        for connector in _connectors(inner)
    ]
    try:
        run_tower(**images)
    finally:
        for hook in hooks:
            hook.remove()
    # Qwen3-VL: the deepstack mergers run before the last one; side by side along the width.
    features = torch.cat([captured[-1], *captured[:-1]], dim=-1)
    if inner.config.model_type == "qwen2_5_vl":
        features = _undo_windows(inner.visual, features, images["image_grid_thw"])
    return features


def _connectors(inner: nn.Module) -> list[nn.Module]:
    if inner.config.model_type in (*_LLAVA, "gemma3"):
        return [inner.multi_modal_projector]
    if inner.config.model_type in ("idefics3", "smolvlm"):
        return [inner.connector]
    if inner.config.model_type in ("qwen2_vl", "qwen2_5_vl"):
        return [inner.visual.merger]
    if inner.config.model_type == "qwen3_vl":
        return [*inner.visual.deepstack_merger_list, inner.visual.merger]
    raise UserError(f"--cache_vision_features does not serve model type '{inner.config.model_type}'")


def _undo_windows(visual: nn.Module, features: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
    """Qwen2.5-VL orders patches by attention window; put the merge groups back in reading order."""
    window_index, _ = get_vision_window_index(
        grid_thw,
        spatial_merge_size=visual.spatial_merge_size,
        window_size=visual.window_size,
        patch_size=visual.patch_size,
        kwargs={},
    )
    groups = features.reshape(-1, visual.spatial_merge_unit, features.shape[-1])
    return groups[torch.argsort(window_index)].reshape(features.shape)


def use_cached_features(
    directory: str | Path, model: nn.Module, encoder: "PromptEncoder", paths: list[str]
) -> None:
    """From now on encoder and model work from the features in `directory`, computed here where missing.

    Raises:
        UserError: stale features, or ZeRO-3, under which one process alone cannot run the tower.
    """
    if is_deepspeed_zero3_enabled():
        raise UserError("--cache_vision_features does not go with ZeRO-3, which shards the tower; use ZeRO-2")
    encoder.feature_cache = build_feature_cache(directory, model, encoder, paths)
    replay_features(model)


def image_paths(*record_lists: Iterable[dict[str, Any]]) -> list[str]:
    """Every image that some record names, each once."""
    return sorted({path for records in record_lists for record in records for path in record["images"]})


def replay_features(model: nn.Module) -> None:
    """From now on `pixel_values` holds cached features: only the connector runs. Weights stay in place."""
    inner = inner_model(model)
    _connectors(inner)
    inner.get_image_features = MethodType(replay, inner)


def replay(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None = None, **kwargs: Any):
    """`get_image_features` of a model whose `pixel_values` hold what enters the connector."""
    connectors = _connectors(self)
    weight = next(connectors[-1].parameters())
    features = pixel_values.to(weight.dtype)
    if image_grid_thw is None:
        projected = connectors[0](features)
        return BaseModelOutputWithPooling(
            pooler_output=list(projected) if self.config.model_type in _LLAVA else projected
        )
    split_sizes = (image_grid_thw.prod(-1) // self.visual.spatial_merge_size**2).tolist()
    width = features.shape[-1] // len(connectors)
    main, *deepstack = (part.contiguous() for part in torch.split(features, width, dim=-1))
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=torch.split(connectors[-1](main), split_sizes),
        deepstack_features=[
            torch.split(merger(part), split_sizes)
            for merger, part in zip(connectors[:-1], deepstack, strict=True)
        ],
    )
