"""What a frozen vision tower said of an image, kept in memory while a policy is trained.

A group of completions needs one image several times: when they are generated, when their loss is computed,
and again in later epochs. `vqa/feature_cache.py` serves images that are known beforehand; those that come up
on the way, with a region removed say, are remembered here by their pixels.
"""

import hashlib
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from vqa.feature_cache import connector_inputs, replay
from vqa.models import family_of, inner_model

# Whose image tensors can be told apart by image.
FAMILIES = ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3")


class FeatureMemory:
    """In place of `get_image_features`: runs the tower for images that are new, and the connector for all.

    New images run one by one, so that what is computed for an image does not depend, in its last bits, on
    which others were new with it, and a resumed run repeats an unbroken one.

    Args:
        model: a model of `FAMILIES` whose tower does not change.
        max_bytes: of features kept; the least recently used go first.
        shared: features of the same tower, which another model's memory keeps.
    """

    def __init__(
        self,
        model: nn.Module,
        max_bytes: int,
        shared: OrderedDict[bytes, torch.Tensor] | None = None,
    ) -> None:
        self.inner = inner_model(model)
        self.run_tower = self.inner.get_image_features
        self.max_bytes = max_bytes
        self.bytes = 0
        self.features = OrderedDict() if shared is None else shared
        self.inner.get_image_features = self

    def __call__(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        parts = self._split(pixel_values, image_grid_thw)
        keys = [_key(part["pixel_values"]) for part in parts]
        found: dict[bytes, torch.Tensor] = {}
        for key, part in zip(keys, parts, strict=True):
            if key not in found:
                found[key] = self._recall(key, part)
        self._forget()
        return replay(self.inner, torch.cat([found[key] for key in keys]), image_grid_thw)

    def _split(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None
    ) -> list[dict[str, torch.Tensor]]:
        if image_grid_thw is None:
            return [{"pixel_values": pixels} for pixels in pixel_values.split(1)]
        patches = pixel_values.split(image_grid_thw.prod(-1).tolist())
        return [
            {"pixel_values": pixels, "image_grid_thw": grid}
            for pixels, grid in zip(patches, image_grid_thw.split(1), strict=True)
        ]

    def _recall(self, key: bytes, image: dict[str, torch.Tensor]) -> torch.Tensor:
        if key in self.features:
            self.features.move_to_end(key)
        else:
            self.features[key] = connector_inputs(self.inner, self.run_tower, image)
            self.bytes += self.features[key].nbytes
        return self.features[key]

    def _forget(self) -> None:
        while self.bytes > self.max_bytes:
            self.bytes -= self.features.popitem(last=False)[1].nbytes


def _key(pixels: torch.Tensor) -> bytes:
    content = pixels.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(content, digest_size=16, key=f"{tuple(pixels.shape)}".encode()).digest()


def remember_features(
    model: nn.Module, max_bytes: int, shared: OrderedDict[bytes, torch.Tensor] | None = None
) -> FeatureMemory | None:
    """Give the model a memory where its family and a frozen tower allow it; None where they do not.

    Args:
        shared: features of the same tower, which another model's memory keeps.
    """
    family = family_of(model.config)
    trains = any(
        parameter.requires_grad and family.part_of(name) == "vision"
        for name, parameter in model.named_parameters()
    )
    if trains or not max_bytes or model.config.model_type not in FAMILIES:
        return None
    return FeatureMemory(model, max_bytes, shared)
