"""Options of every script that prunes, and the combinations that make no sense."""

import math
from dataclasses import dataclass
from typing import Any

from vqa.cli import option
from vqa.errors import UserError

KINDS = ("structured", "unstructured", "2:4")
SCOPES = ("global", "layer")
DIMENSIONS = ("ffn", "heads", "layers", "hidden", "vision_ffn")
IMPORTANCES = ("magnitude", "activation")
TWO_FOUR_SPARSITY = 0.5
# Options that mean nothing for another kind of pruning, or for none.
NEEDS = {
    "target_params": "structured",
    "prune_dimensions": "structured",
    "prune_importance": "structured",
    "prune_rounds": "structured",
    "pruning_scope": "unstructured",
}


@dataclass
class PruningArguments:
    """What is pruned away, how much of it, and when."""

    prune: str | None = option(
        None, "structured: cut structures out; unstructured or 2:4: only zeros, no speed-up; default: nothing"
    )
    target_sparsity: float = option(
        0.65, "share of the weights masked (unstructured), or of the parameters of the parts cut (structured)"
    )
    target_params: float | None = option(
        None, "structured: parameters of the whole model at the end, 9e9 say, in place of target_sparsity"
    )
    pruning_frequency: int = option(100, "steps between two prunings")
    pruning_steps: float = option(
        0.5, "steps, or below 1 a share of all steps, over which sparsity rises; 0: all before the first step"
    )
    pruning_scope: str = option(
        "global", "unstructured: global, one ranking over all weights, or layer, one in each matrix"
    )
    prune_dimensions: list[str] = option(
        ["ffn", "heads"], "structured: what gets narrower: ffn, heads, layers, hidden, vision_ffn"
    )
    prune_importance: str = option(
        "magnitude", "structured: magnitude, or activation to weigh it by activations"
    )
    prune_rounds: int = option(1, "structured: rounds of cut and distil, each from what came of the last")

    @property
    def final_sparsity(self) -> float:
        """Share of weights masked at the end; 2:4 leaves no choice."""
        return TWO_FOUR_SPARSITY if self.prune == "2:4" else self.target_sparsity


def check_pruning(args: PruningArguments) -> None:
    """Refuse what is out of range or does not go together.

    Raises:
        UserError: one line that names the option.
    """
    _check_choice("prune", args.prune, (None, *KINDS))
    _check_choice("pruning_scope", args.pruning_scope, SCOPES)
    _check_choice("prune_importance", args.prune_importance, IMPORTANCES)
    for dimension in args.prune_dimensions:
        _check_choice("prune_dimensions", dimension, DIMENSIONS)
    _check("prune_dimensions", " ".join(args.prune_dimensions), bool(args.prune_dimensions), "one at least")
    _check("target_sparsity", args.target_sparsity, 0 < args.target_sparsity < 1, "above 0 and below 1")
    _check("pruning_frequency", args.pruning_frequency, args.pruning_frequency >= 1, "1 or more")
    _check("prune_rounds", args.prune_rounds, args.prune_rounds >= 1, "1 or more")
    steps = args.pruning_steps
    # NaN is none of the two, infinity no whole number.
    whole = steps >= 1 and float(steps).is_integer()
    _check("pruning_steps", steps, 0 <= steps < 1 or whole, "a whole number of steps, or a share below 1")
    default = PruningArguments()
    for name, kind in NEEDS.items():
        value = vars(args)[name]
        if value != vars(default)[name] and args.prune != kind:
            raise UserError(f"--{name} {_written(value)}: only with --prune {kind}")
    if args.target_params is not None:
        finite = 1 <= args.target_params < math.inf
        _check("target_params", args.target_params, finite, "a number of parameters, 1 or more")
        if args.target_sparsity != default.target_sparsity:
            raise UserError("--target_params stands in place of --target_sparsity: leave one of them out")


def _check(name: str, value: Any, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"--{name} {value}: {rule}")


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f"--{name} {value}: choose from {', '.join(filter(None, choices))}")


def _written(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
