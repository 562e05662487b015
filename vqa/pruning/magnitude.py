"""Masks on single weights by magnitude: the smallest of all, or two of every four.

Masks make zeros. The tensors keep their shapes and dense kernels multiply by zeros as by any number, so a
masked model is neither smaller nor faster. What is meant to be is cut: `vqa/pruning/cut.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import nn

from vqa.errors import UserError
from vqa.models import family_of
from vqa.pruning.arguments import TWO_FOUR_SPARSITY


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices [out, in] of the language model's and connector's `nn.Linear` layers, by parameter name.

    The vision tower, embeddings, the head, norms, biases and whatever is frozen stay as they are. A matrix
    that layers share is named once.
    """
    family = family_of(model.config)
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    linear.discard(id(model.get_output_embeddings().weight))
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in linear and family.part_of(name) != "vision" and parameter.requires_grad
    }


class MaskPruner(ABC):
    """Zeroes single weights of a model and holds them at zero (the `Pruner` of `vqa/pruning/callback.py`).

    Everything follows from the weights alone, so each process of a DDP run finds the same masks.

    Raises:
        UserError: every weight that could be masked is frozen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = prunable_weights(model)
        if not self.weights:
            raise UserError("--prune: language model and connector are frozen, so there is nothing to prune")
        # By name, True where a weight is masked; empty before the first pruning.
        self.masks: dict[str, torch.Tensor] = {}

    @abstractmethod
    def choose(self, sparsity: float) -> dict[str, torch.Tensor]:
        """The masks at this share; what is masked already comes first."""

    def prune(self, sparsity: float) -> None:
        """Decide anew what is masked, and zero it."""
        self.masks = self.choose(sparsity)
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Zero what is masked."""
        for name, mask in self.masks.items():
            self.weights[name].masked_fill_(mask, 0)

    def state(self) -> dict[str, torch.Tensor]:
        """The masks, boolean, by the names of their weights."""
        return {name: mask.contiguous() for name, mask in self.masks.items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from the masks of a checkpoint whose weights the model has.

        Raises:
            UserError: masks of another model, or of one of which other parts were frozen.
        """
        strange = sorted(state.keys() ^ self.weights.keys()) if state else []
        if strange:
            raise UserError(f"masks of another model, or other parts are frozen: {strange[0]}")
        masks = {}
        for name, mask in state.items():
            weight = self.weights[name]
            if mask.dtype != torch.bool or mask.shape != weight.shape:
                raise UserError(
                    f"masks of another model: {name} has {mask.dtype} {tuple(mask.shape)}, "
                    f"not torch.bool {tuple(weight.shape)}"
                )
            masks[name] = mask.to(weight.device)
        self.masks = masks

    def report(self) -> dict[str, float]:
        """`{"sparsity": share of the prunable weights that is masked}`."""
        masked = sum(int(mask.sum()) for mask in self.masks.values())
        return {"sparsity": masked / sum(weight.numel() for weight in self.weights.values())}

    def _keys(self, name: str) -> torch.Tensor:
        """A weight's magnitudes as int32 of the same order, and 0 where it is masked."""
        return self._order(self.weights[name].detach().float().abs(), self.masks.get(name))

    @staticmethod
    def _order(magnitudes: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
        # Floats that are not negative are ordered as their bits are, read as an integer.
        keys = magnitudes.view(torch.int32) + 1
        return keys if masked is None else keys.masked_fill_(masked, 0)


class MagnitudePruner(MaskPruner):
    """Masks the weights of the smallest magnitude, round(sparsity * weights) of them.

    Args:
        model: of a family of `vqa/models.py`.
        scope: `global`, one ranking over all weights, or `layer`, one in each matrix.
    """

    def __init__(self, model: nn.Module, scope: str) -> None:
        super().__init__(model)
        self.scope = scope

    def choose(self, sparsity: float) -> dict[str, torch.Tensor]:
        groups = [[name] for name in self.weights] if self.scope == "layer" else [list(self.weights)]
        masks = {}
        for names in groups:
            total = sum(self.weights[name].numel() for name in names)
            masks |= smallest(names, self._keys, round(sparsity * total))
        return masks


class TwoFourPruner(MaskPruner):
    """Masks the two smallest of four consecutive input weights, in a rising share of these groups.

    Groups turn whole, those first whose two smallest magnitudes have the least sum; at a sparsity of 0.5 all
    have turned (2:4, Mishra et al. 2021, arXiv:2104.08378). Where a matrix has a number of inputs that is no
    multiple of four, its last one to three columns stay dense.
    """

    def choose(self, sparsity: float) -> dict[str, torch.Tensor]:
        groups = sum(len(weight) * (weight.shape[1] // 4) for weight in self.weights.values())
        turned = smallest(self.weights, self._group_keys, round(sparsity / TWO_FOUR_SPARSITY * groups))
        masks = {}
        for name, turn in turned.items():
            keys = self._keys(name)
            fours = _in_fours(keys)
            pairs = fours.argsort(stable=True)[:, :2]
            chosen = torch.zeros_like(fours, dtype=torch.bool).scatter_(1, pairs, True) & turn[:, None]
            masks[name] = torch.zeros_like(keys, dtype=torch.bool)
            masks[name][:, : keys.shape[1] // 4 * 4] = chosen.view(len(keys), -1)
        return masks

    def _group_keys(self, name: str) -> torch.Tensor:
        """int32 [groups] in the order of what turning each group takes away; 0 where it has turned."""
        magnitudes = _in_fours(self.weights[name].detach().float().abs())
        taken = magnitudes.topk(2, largest=False).values.sum(-1)
        mask = self.masks.get(name)
        return self._order(taken, None if mask is None else _in_fours(mask).any(-1))


def _in_fours(matrix: torch.Tensor) -> torch.Tensor:
    """[out, in] as [out * (in // 4), 4], without the tail."""
    return matrix[:, : matrix.shape[1] // 4 * 4].reshape(-1, 4)


def smallest(
    names: Iterable[str], keys_of: Callable[[str], torch.Tensor], count: int
) -> dict[str, torch.Tensor]:
    """Masks over exactly `count` of all keys, the smallest; of equal ones the first by name and place.

    Radix selection in two passes of 16 bits: what sorting would give, a tensor at a time, without a copy of
    all weights in one place. Counts are of integers, so every device and every rank finds the same.

    Args:
        names: the tensors to choose from.
        keys_of: int32 keys of a tensor, none negative.
        count: how many, at most all.
    """
    names = list(names)
    high, below = _bin_of(count, (keys_of(name) >> 16 for name in names))
    ties = count - below
    low, below = _bin_of(ties, (keys[keys >> 16 == high] & 0xFFFF for keys in map(keys_of, names)))
    ties -= below
    threshold = (high << 16) + low
    masks = {}
    for name in names:
        keys = keys_of(name)
        tied = keys == threshold
        found = int(tied.sum())
        if found > ties:
            tied &= (tied.flatten().cumsum(0, dtype=torch.int32) <= ties).view_as(tied)
        masks[name] = (keys < threshold) | tied
        ties -= min(found, ties)
    return masks


def _bin_of(rank: int, parts: Iterable[torch.Tensor]) -> tuple[int, int]:
    """The value, below 2**16, of the `rank`-th smallest (from 1) of all parts, and how many are smaller."""
    counts = sum(torch.bincount(part.flatten(), minlength=2**16).cpu() for part in parts)
    cumulative = counts.cumsum(0)
    value = int(torch.searchsorted(cumulative, rank))
    return value, int(cumulative[value] - counts[value])
