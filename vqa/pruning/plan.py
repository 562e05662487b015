"""What structural pruning will make of a model, round by round, from its config alone."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from vqa.models import load_config, shipped_config
from vqa.pruning.arguments import PruningArguments
from vqa.pruning.cut import rewrite_config
from vqa.pruning.widths import (
    Size,
    Widths,
    current_widths,
    model_size,
    resolve_target,
    round_targets,
    solve_widths,
)

CONTEXT = 1024


def plan_rounds(config: Any, args: PruningArguments) -> list[Widths]:
    """The widths before, and after each round; a round starts from the config that the last one left.

    Raises:
        UserError: a target or dimension that the config does not allow.
    """
    size, widths = model_size(config), [current_widths(config)]
    target = resolve_target(size, widths[0], args.prune_dimensions, args.target_params, args.target_sparsity)
    for goal in round_targets(size.total(widths[0]), target, args.prune_rounds):
        widths.append(solve_widths(config, args.prune_dimensions, target_params=goal))
        config = rewrite_config(config, widths[-1])
    return widths


def flops_per_token(config: Any, size: Size, widths: Widths, context: int = CONTEXT) -> int:
    """Floating-point operations of the language model's forward pass for one token.

    2 a weight of a matrix that multiplies the token (the head among them, the embedding not), and 4 a layer,
    query
    channel and token of context: q k^T and the weighted sum of v (Kaplan et al. 2020, arXiv:2001.08361,
        table 1,
    with attention counted as in PaLM, Chowdhery et al. 2022, arXiv:2204.02311, appendix B).

    Args:
        config: of the model before pruning, or of any round.
        context: tokens attended to, in all layers alike; a sliding window of at least as many changes
            nothing.
    """
    text = config.get_text_config()
    head = text.to_dict().get("head_dim") or text.hidden_size // text.num_attention_heads
    queries = head * text.num_attention_heads // text.num_key_value_heads * widths.kv_heads
    return 2 * size.count(widths, "matmul") + 4 * widths.layers * queries * context


def print_pruning_plan(config_or_name: Any, args: PruningArguments) -> None:
    """Print a table of the model before and after every round: parameters, bytes, widths, FLOPs a token.

    Args:
        config_or_name: a config, or the folder or name of a model; no weights are read.

    Raises:
        UserError: see `plan_rounds`.
    """
    named = isinstance(config_or_name, str)
    config = load_config(shipped_config(config_or_name)) if named else config_or_name
    rounds, size = plan_rounds(config, args), model_size(config)
    before, cost = size.total(rounds[0]), flops_per_token(config, size, rounds[0])
    table = Table(
        *("round", "parameters", "bf16 bytes", "share", *asdict(rounds[0]), "FLOPs a token", "ratio"),
        title=f"structured pruning of {config_or_name if named else config.model_type}",
        title_justify="left",
        caption="FLOPs: 2 a weight of the language model's matrices + 4 layers x query channels x "
        f"{CONTEXT} tokens of context",
        caption_justify="left",
    )
    for number, widths in enumerate(rounds):
        total, flops = size.total(widths), flops_per_token(config, size, widths)
        table.add_row(
            str(number) if number else "before",
            f"{total:,}",
            f"{2 * total / 1e9:.2f} GB",
            f"{total / before:.1%}",
            *(str(width) for width in asdict(widths).values()),
            f"{flops / 1e9:.2f} G",
            f"{flops / cost:.2f}",
        )
    Console(width=160).print(table)
