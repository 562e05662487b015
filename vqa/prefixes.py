"""Prompts of which the beginning, image and all, has been run once for all that share it."""

import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from vqa.branches import shared_length
from vqa.encoding import EncodedPrompt, PromptEncoder, to_device
from vqa.models import family_of, inner_model


@dataclass
class PrefilledPrompts:
    """Prompts, with the keys and values of their prefixes.

    Attributes:
        prompts: whole.
        rests: of each prompt the token ids behind its prefix, at least one.
        row_of: of each prompt the row of its prefix in the cache.
        cache: one row a prefix, padded on the right; None where the model's cache cannot be copied by row.
        mask: (prefixes, length), 1 where a token of the prefix stands.
        next_positions: (prefixes,), the position after each. In M-RoPE an image takes fewer than its tokens.
    """

    prompts: list[EncodedPrompt]
    rests: list[list[int]]
    row_of: list[int]
    cache: DynamicCache | None
    mask: torch.Tensor
    next_positions: torch.Tensor

    def continued(self, indices: Sequence[int], texts: Sequence[list[int]]) -> "PrefilledPrompts":
        """Some of the prompts, each with more token ids at its end."""
        chosen = list(zip(indices, texts, strict=True))
        return replace(
            self,
            prompts=[
                replace(self.prompts[index], input_ids=self.prompts[index].input_ids + ids)
                for index, ids in chosen
            ],
            rests=[self.rests[index] + ids for index, ids in chosen],
            row_of=[self.row_of[index] for index in indices],
        )

    def select(self, rows: torch.Tensor) -> DynamicCache:
        """A new cache that holds the given rows, which may repeat."""
        selected = DynamicCache()
        for index, layer in enumerate(self.cache.layers):
            selected.update(layer.keys[rows], layer.values[rows], index)
        return selected

    def row_bytes(self) -> int:
        """Bytes of one row of the cache."""
        return sum(2 * layer.keys[0].numel() * layer.keys.element_size() for layer in self.cache.layers)


@torch.no_grad()
def prefill(
    model: nn.Module, encoder: PromptEncoder, prompts: list[EncodedPrompt], share: bool = True
) -> PrefilledPrompts:
    """Run what prompts about the same images begin with, once.

    Args:
        prompts: run as one batch; those of one `PromptEncoder.encode` share their images' tensors, and so
            are known to be about the same images.
        share: false: every prompt has a prefix of its own.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        key = (id(prompt.image_inputs),) if share and prompt.image_inputs else index
        groups.setdefault(key, []).append(index)
    prefixes, row_of, rests = [], [0] * len(prompts), [[]] * len(prompts)
    for row, members in enumerate(groups.values()):
        count = shared_length([prompts[index].input_ids for index in members])
        prefixes.append(replace(prompts[members[0]], input_ids=prompts[members[0]].input_ids[:count]))
        for index in members:
            row_of[index], rests[index] = row, prompts[index].input_ids[count:]
    batch = to_device(encoder.batch(prefixes), model.device)
    cache = None
    if family_of(model.config).shares_rows:
        cache = model(**batch, use_cache=True, logits_to_keep=1).past_key_values
    if cache is not None and not _has_rows(cache):
        cache = None
        warnings.warn(
            f"{type(model).__name__} keeps a cache that cannot be copied by row: "
            "each answer is computed from the whole prompt",
            stacklevel=2,
        )
    return PrefilledPrompts(
        prompts, rests, row_of, cache, batch["attention_mask"], _next_positions(model, batch)
    )


def _has_rows(cache: object) -> bool:
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _next_positions(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    lengths = batch["attention_mask"].sum(-1)
    if not family_of(model.config).mrope or "image_grid_thw" not in batch:
        return lengths
    _, deltas = inner_model(model).get_rope_index(
        input_ids=batch["input_ids"],
        mm_token_type_ids=batch["mm_token_type_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    return lengths + deltas[:, 0]


@contextmanager
def masked_attention(model: nn.Module) -> Iterator[None]:
    """For the time, the language model's attention is SDPA, which follows any mask (vqa/branches.py)."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before
