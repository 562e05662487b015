"""Masks on whole channels, heads, layers and hidden units: what a cut will remove, zero until then.

A masked model computes what the cut one will, so that training can recover step by step. `vqa/pruning/cut.py`
makes the small model of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from vqa.errors import UserError
from vqa.pruning.families import FIELDS, check_dimensions, parameter_axes, protected_layers
from vqa.pruning.importance import ActivationStatistics, activation_scores, magnitudes
from vqa.pruning.widths import Widths, check_widths, current_widths, model_size

_STATISTICS = "statistics"
# A layer that writes nothing into the residual stream is not there.
_OUTPUTS = ("o_proj.weight", "o_proj.bias", "down_proj.weight", "down_proj.bias")


class StructuredPruner:
    """Masks groups of a model's weights in rising number, from none to what separates it from target widths.

    FFN channels and KV groups are ranked within their layer, layers over the language model, hidden units
    over all tensors that touch them. What is masked stays masked. Masks depend on the weights alone, with
    `activation` on the statistics of all ranks too, so that they are the same on every rank.

    Args:
        model: not yet wrapped for training, or what a wrapper holds.
        dimensions: which dimensions are cut; the others' widths must be the model's own.
        widths: the widths at the end, from `solve_widths`.
        importance: `magnitude`, or `activation`: statistics are then collected from now until the end is
            reached. Hidden units always go by magnitude.
        final: the sparsity at which the target widths are reached; it only scales the argument of `prune`.

    Raises:
        UserError: adapters, quantised weights, or widths that the config cannot express.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        dimensions: Sequence[str],
        widths: Widths,
        importance: str = "magnitude",
        *,
        final: float,
    ) -> None:
        if isinstance(model, PeftModel):
            raise UserError("structured pruning: adapters leave the weights alone; merge them first")
        if any(not parameter.is_floating_point() for parameter in model.parameters()):
            raise UserError("structured pruning: quantised weights cannot be cut; leave --load_in_4bit out")
        check_dimensions(model.config, dimensions)
        check_widths(model.config, widths)
        self.model, self.target, self.final = model, widths, final
        self.before = current_widths(model.config)
        self.labels = sorted({field for name in dimensions for field in FIELDS[name]})
        changed = {field for field, width in asdict(widths).items() if width != asdict(self.before)[field]}
        if changed - set(self.labels):
            raise UserError(
                f"{min(changed - set(self.labels))} is to change but is not in --prune_dimensions"
            )
        self.size = model_size(model.config)
        self._table = parameter_axes(model.config, [name for name, _ in model.named_parameters()])
        # True is masked. `layers` and `hidden` have one row, the others one for each layer or feed-forward.
        self.masks = {
            label: torch.zeros(self._rows(label), asdict(self.before)[label], dtype=torch.bool)
            for label in self.labels
        }
        self._zeroed: list[tuple[Tensor, int, Tensor]] = []
        self.statistics = ActivationStatistics(model) if importance == "activation" else None
        if self.statistics:
            self.statistics.attach()

    def _rows(self, label: str) -> int:
        if label in ("layers", "hidden"):
            return 1
        return 1 + max(axes.row for axes in self._table.values() if label in axes.labels)

    def _scores(self, label: str) -> Tensor:
        rows, groups = self.masks[label].shape
        if self.statistics and label != "hidden":
            scores = activation_scores(self.statistics, self._table, label, rows, groups)
        else:
            scores = magnitudes(self.model, self._table, label, rows, groups)
        if label == "layers":
            scores[0, : protected_layers(self.model.config)] = torch.inf
        return scores.masked_fill(self.masks[label], -torch.inf)

    def prune(self, sparsity: float) -> None:
        """Mask what is to be masked at this sparsity, and zero it; at `final` the widths are the target's."""
        progress = min(sparsity / self.final, 1.0)
        before, target = asdict(self.before), asdict(self.target)
        counts = {label: round(progress * (before[label] - target[label])) for label in self.labels}
        rising = [label for label in self.labels if counts[label] > int(self.masks[label][0].sum())]
        scores = {label: self._scores(label) for label in rising}
        for label in rising:
            # Stable, so that equal scores go by their place, on every rank and in every run.
            lowest = scores[label].argsort(dim=1, stable=True)[:, : counts[label]]
            self.masks[label].scatter_(1, lowest, True)
        self._index()
        self.apply()
        if self.statistics and progress == 1.0:
            self.statistics.detach()

    def _index(self) -> None:
        """Note which slices of which parameters the masks zero."""
        self._zeroed = []
        removed = self.masks.get("layers")
        for name, parameter in self.model.named_parameters():
            if name not in self._table:
                continue
            axes = self._table[name]
            if axes.in_layer and removed is not None and removed[0, axes.row] and name.endswith(_OUTPUTS):
                self._zeroed.append((parameter, 0, torch.arange(parameter.shape[0])))
                continue
            for axis, label in enumerate(axes.labels):
                if label not in self.masks:
                    continue
                index = masked_places(self.masks[label], axes.row, label, parameter.shape[axis])
                if len(index):
                    self._zeroed.append((parameter, axis, index))

    @torch.no_grad()
    def apply(self) -> None:
        """Zero all tensors of masked groups."""
        for number, (parameter, axis, index) in enumerate(self._zeroed):
            if index.device != parameter.device:
                index = index.to(parameter.device)
                self._zeroed[number] = (parameter, axis, index)
            parameter.index_fill_(axis, index, 0)

    def state(self) -> dict[str, Tensor]:
        """The masks by width, and with `activation` this rank's statistics."""
        state = dict(self.masks)
        if self.statistics:
            for name, values in self.statistics.sums.items():
                state[f"{_STATISTICS}.{name}.sum"] = values
                state[f"{_STATISTICS}.{name}.count"] = torch.tensor(self.statistics.counts.get(name, 0))
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a state of the same model with the same options, and zero what it masks.

        Raises:
            UserError: it is of other dimensions or another model.
        """
        masks = {name: value for name, value in state.items() if not name.startswith(f"{_STATISTICS}.")}
        shapes = {label: tuple(mask.shape) for label, mask in self.masks.items()}
        if {label: tuple(mask.shape) for label, mask in masks.items()} != shapes:
            raise UserError(
                "masks of another model or of other --prune_dimensions: "
                f"{sorted(masks)}, and here {sorted(self.masks)}"
            )
        self.masks = {label: mask.cpu().clone() for label, mask in masks.items()}
        if self.statistics:
            if f"{_STATISTICS}.layers.0.sum" not in state:
                raise UserError("masks without statistics: they were made with --prune_importance magnitude")
            for name in self.statistics.sums:
                self.statistics.sums[name] = state[f"{_STATISTICS}.{name}.sum"].clone()
                self.statistics.counts[name] = int(state[f"{_STATISTICS}.{name}.count"])
        self._index()
        self.apply()

    def report(self) -> dict[str, float]:
        """Groups masked in each layer (or of layers, hidden units); the share of parameters a cut removes."""
        masked = {label: int(mask[0].sum()) for label, mask in self.masks.items()}
        before = asdict(self.before)
        left = replace(self.before, **{label: before[label] - count for label, count in masked.items()})
        return masked | {"masked_parameters": 1 - self.size.total(left) / self.size.total(self.before)}


def masked_places(mask: Tensor, row: int | None, label: str, length: int) -> Tensor:
    """The places of an axis of `length` that masked groups take, in contiguous blocks of one size.

    Args:
        mask: `(rows, groups)`, True is masked.
        row: which row is the parameter's; `hidden` has one for all.
    """
    one = mask[0 if label == "hidden" else row]
    return one.repeat_interleave(length // len(one)).nonzero().flatten()
