"""How much a group of weights matters: by its size alone, or by its size and what flows through it.

A group is everything that goes together: a channel of a feed-forward with its rows and its column, a KV head
with its query heads and their columns of the output projection, a layer.
"""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vqa.errors import UserError
from vqa.models import inner_model
from vqa.pruning.families import Axes, parameter_axes


def _squares(tensor: Tensor, axis: int) -> Tensor:
    """The sum of squares at each place of an axis, in float32 on the CPU."""
    rows = tensor.detach().movedim(axis, 0).flatten(1) if tensor.ndim > 1 else tensor.detach()[:, None]
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32).square().cpu()


def magnitudes(model: nn.Module, table: Mapping[str, Axes], label: str, rows: int, groups: int) -> Tensor:
    """The norm of every group over all tensors that it has a share in, on the CPU.

    The group magnitude of LLM-Pruner (Ma et al. 2023, arXiv:2305.11627) and DepGraph / Torch-Pruning (Fang
    et al. 2023, arXiv:2301.12900), with the norm taken over the whole group.

    Args:
        label: the width that is cut (`ffn`, `kv_heads`, `hidden`, `vision_ffn`), or `layers`.
        rows: layers with groups of their own; 1 for `hidden`, whose units run through all layers.

    Returns:
        `(rows, groups)`, float32; of `layers`, one row with a layer in each place.
    """
    squares = torch.zeros(rows, groups)
    for name, parameter in model.named_parameters():
        if name not in table:
            continue
        axes, row = table[name], table[name].row
        if label == "layers" and axes.in_layer:
            squares[0, row] += (
                torch.linalg.vector_norm(parameter.detach(), dtype=torch.float32).square().cpu()
            )
        elif label in axes.labels:
            places = _squares(parameter, axes.labels.index(label))
            squares[0 if label == "hidden" else row] += places.reshape(groups, -1).sum(1)
    return squares.sqrt()


class ActivationStatistics:
    """Means over every token that the model sees, padding included, kept on the devices of its modules.

    Of the input of each matrix whose columns belong to groups (`down_proj`, `o_proj`, `fc2`): the sum of
    squares of each channel, by the module's name. Of each layer of the language model: the sum of the
    cosines between its input and output, by `layers.INDEX`. All in float32. As a context manager it attaches
    its hooks and takes them away.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._hooks: list = []

    def attach(self) -> None:
        """Start to collect; once more does nothing."""
        if self._hooks:
            return
        for name, axes in parameter_axes(self.model.config, dict(self.model.named_parameters())).items():
            if len(axes.labels) == 2 and axes.labels[1] in ("ffn", "kv_heads", "vision_ffn"):
                name = name.removesuffix(".weight")
                module = self.model.get_submodule(name)
                self.sums.setdefault(name, torch.zeros(module.in_features))
                self._hooks.append(module.register_forward_pre_hook(self._channels(name)))
        for index, layer in enumerate(inner_model(self.model).language_model.layers):
            name = f"layers.{index}"
            self.sums.setdefault(name, torch.zeros(()))
            self._hooks.append(layer.register_forward_hook(self._layer(name), with_kwargs=True))

    def detach(self) -> None:
        """Stop to collect; what was collected stays."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> "ActivationStatistics":
        self.attach()
        return self

    def __exit__(self, *_) -> None:
        self.detach()

    def _add(self, name: str, values: Tensor, count: int) -> None:
        self.sums[name] = self.sums[name].to(values.device) + values
        self.counts[name] = self.counts.get(name, 0) + count

    def _channels(self, name: str):
        def hook(_, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().flatten(0, -2)
            squares = torch.linalg.vector_norm(values, dim=0, dtype=torch.float32).square()
            self._add(name, squares, values.shape[0])

        return hook

    def _layer(self, name: str):
        def hook(_, inputs: tuple[Tensor, ...], kwargs: dict, output: Tensor | tuple[Tensor, ...]) -> None:
            before = inputs[0] if inputs else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            cosines = torch.cosine_similarity(before.detach().float(), after.detach().float(), dim=-1)
            self._add(name, cosines.sum(), cosines.numel())

        return hook

    def mean(self, name: str) -> Tensor | None:
        """The mean over the tokens of all ranks, on the CPU; None where none of them has run the module.

        With several ranks, all must call it.
        """
        total, count = self.sums[name].cpu(), self.counts.get(name, 0)
        if dist.is_initialized():
            both = torch.cat([total.reshape(-1), torch.tensor([float(count)])])
            both = both.to(next(self.model.parameters()).device)
            dist.all_reduce(both)
            total, count = both[:-1].cpu().reshape(total.shape), both[-1].item()
        return total / count if count else None


def activation_scores(
    statistics: ActivationStatistics, table: Mapping[str, Axes], label: str, rows: int, groups: int
) -> Tensor:
    """Scores that weigh each group by what flows through it; shapes as those of `magnitudes`.

    A channel scores the norm of its column in the output matrix times the root mean square of its
    activation: Wanda (Sun et al. 2023, arXiv:2306.11695), taken over groups as the root of the summed
    squares. A layer scores 1 - the
    mean cosine of the residual stream before and after it: Block Influence of ShortGPT (Men et al. 2024,
    arXiv:2403.03853). A module that has never run, as a vision tower in text-only training, counts as if each
    channel's activation were 1.

    Raises:
        UserError: the language model has not run since the statistics were attached.
    """
    scores = torch.zeros(rows, groups)
    if label == "layers":
        for layer in range(groups):
            scores[0, layer] = 1 - _seen(statistics, f"layers.{layer}")
        return scores
    for name, parameter in statistics.model.named_parameters():
        if name not in table or table[name].labels[1:] != (label,):
            continue
        owner = name.removesuffix(".weight")
        mean = statistics.mean(owner) if label == "vision_ffn" else _seen(statistics, owner)
        columns = _squares(parameter, 1)
        values = columns if mean is None else columns * mean
        scores[table[name].row] += values.reshape(groups, -1).sum(1)
    return scores.sqrt()


def _seen(statistics: ActivationStatistics, name: str) -> Tensor:
    mean = statistics.mean(name)
    if mean is None:
        raise UserError(
            "--prune_importance activation: the model has not run yet; let --pruning_steps be above 0, so "
            "that it sees data before it is pruned"
        )
    return mean
