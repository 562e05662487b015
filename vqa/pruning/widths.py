"""Widths of a model, how many parameters they make, and which widths reach a target."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from accelerate import init_empty_weights
from transformers import AutoModelForImageTextToText

from vqa.errors import UserError
from vqa.pruning.families import (
    FIELDS,
    check_dimensions,
    parameter_axes,
    protected_layers,
    prunable_family,
    ratio_widths,
)


@dataclass(frozen=True)
class Widths:
    """The dimensions that pruning can change, each the same in all layers.

    Args:
        ffn: channels of the language model's feed-forward.
        kv_heads: KV heads of the language model; each keeps its query heads.
        layers: layers of the language model.
        hidden: width of the language model's residual stream.
        vision_ffn: channels of the vision tower's feed-forward.
    """

    ffn: int
    kv_heads: int
    layers: int
    hidden: int
    vision_ffn: int


def current_widths(config: Any) -> Widths:
    """The widths that a model's config gives it."""
    prunable_family(config)
    text, tower = config.get_text_config(), ratio_widths(config)
    return Widths(
        ffn=text.intermediate_size,
        kv_heads=text.num_key_value_heads,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vision_ffn=tower[-1] if tower else config.vision_config.intermediate_size,
    )


@dataclass(frozen=True)
class Size:
    """Numbers of parameters as polynomials of the widths: `{("layers", "ffn"): 3 * hidden, ...}` for each
    part.

    The parts are `llm`, `vision`, `connector`, and `matmul`: the matrices of `llm` that multiply each token.
    """

    terms: dict[str, Counter]

    def count(self, widths: Widths, *parts: str) -> int:
        """Parameters of the parts at these widths."""
        values = asdict(widths)
        return sum(
            coefficient * math.prod(values[field] for field in fields)
            for part in parts
            for fields, coefficient in self.terms[part].items()
        )

    def total(self, widths: Widths) -> int:
        """Parameters of the whole model at these widths."""
        return self.count(widths, "llm", "vision", "connector")


def model_size(config: Any) -> Size:
    """Measure a config on the meta device, in a second or two for 27B parameters.

    All sizes are multiples of the widths that they depend on, so that the counts are exact for the config of
    any widths, not for this one alone.
    """
    family, widths = prunable_family(config), asdict(current_widths(config))
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()  # the meta device undoes it
    table = parameter_axes(config, [name for name, _ in model.named_parameters()])
    terms = {part: Counter() for part in ("llm", "vision", "connector", "matmul")}
    head = model.get_output_embeddings().weight
    for name, parameter in model.named_parameters():
        axes, part = table.get(name), family.parts.part_of(name)
        fields = tuple(label for label in axes.labels if label) if axes else ()
        if axes and axes.in_layer:
            fields = ("layers", *fields)
        coefficient = parameter.numel()
        terms[part][fields] += coefficient
        # The embedding is looked up, not multiplied; where it is tied, it is the head that multiplies.
        if part == "llm" and parameter.ndim == 2 and (parameter is head or "embed_tokens" not in name):
            terms["matmul"][fields] += coefficient
    for polynomial in terms.values():
        for fields in polynomial:
            polynomial[fields] //= math.prod(widths[field] for field in fields)
    return Size(terms)


def count_parameters(config: Any, widths: Widths) -> int:
    """Parameters of the model with these widths, tied ones counted once."""
    return model_size(config).total(widths)


def _multiples(width: int) -> list[int]:
    unit = 64 if width >= 1024 else 8
    return [*range(unit, width, unit), width]


def width_options(config: Any) -> dict[str, list[int]]:
    """The widths that the config can express, for each dimension and in rising order, up to the current one.

    Llama's and Gemma-3's configs want a hidden size that the number of query heads divides.
    """
    now, text = current_widths(config), config.get_text_config()
    group = text.num_attention_heads // now.kv_heads
    heads = range(1, now.kv_heads + 1)
    if text.model_type in ("llama", "gemma3_text"):
        heads = [count for count in heads if now.hidden % (count * group) == 0]
    return {
        "ffn": _multiples(now.ffn),
        "heads": list(heads),
        "layers": list(range(max(1, protected_layers(config)), now.layers + 1)),
        "vision_ffn": ratio_widths(config) or _multiples(now.vision_ffn),
        "hidden": list(range(1, now.kv_heads + 1)),
    }


def resized(now: Widths, dimension: str, value: int) -> Widths:
    """`now` with one dimension changed; of `hidden`, the value is the number of KV heads that stay."""
    if dimension == "hidden":
        return replace(now, kv_heads=value, hidden=now.hidden // now.kv_heads * value)
    return replace(now, **{FIELDS[dimension][0]: value})


def check_widths(config: Any, widths: Widths) -> None:
    """Refuse widths that the config cannot express.

    Raises:
        UserError: naming the width.
    """
    now, options = current_widths(config), width_options(config)
    tied = prunable_family(config).tied_heads and widths.hidden != now.hidden
    dimensions = ("ffn", "layers", "vision_ffn", "hidden" if tied else "heads")
    for dimension in dimensions:
        field = FIELDS[dimension][0]
        if asdict(widths)[field] not in options[dimension]:
            raise UserError(
                f"{field} {asdict(widths)[field]}: the config of {config.model_type} cannot express it; "
                f"the nearest is {_nearest(options[dimension], asdict(widths)[field])}"
            )
    expected = now.hidden // now.kv_heads * widths.kv_heads if tied else now.hidden
    if widths.hidden != expected:
        raise UserError(
            f"hidden {widths.hidden}: {widths.kv_heads} KV heads go with a hidden size of {expected}"
        )


def _nearest(options: Sequence[int], value: float) -> int:
    return min(options, key=lambda option: (abs(option - value), option))


def solve_widths(
    config: Any,
    dimensions: Sequence[str],
    *,
    target_params: int | None = None,
    target_sparsity: float | None = None,
) -> Widths:
    """The widths at or below a target that keep the same share of every dimension, as nearly as they can.

    One share for all is found by bisection, each dimension rounded to what the config can express; the finest
    dimension (`ffn` where it is among them) then takes up the remainder. A higher target never gives a
    smaller model. A target above the model's size leaves it as it is.

    Args:
        target_params: parameters of the whole model; it wins over `target_sparsity`.
        target_sparsity: share that goes of the parts that are cut: the language model with its embeddings,
            and with `vision_ffn` the vision tower too.

    Raises:
        UserError: no target, a target that is out of reach, or a dimension that the family lacks.
    """
    check_dimensions(config, dimensions)
    size, now, options = model_size(config), current_widths(config), width_options(config)
    if "hidden" in dimensions:
        dimensions = [name for name in dimensions if name != "heads"]  # they go with the hidden units
    target = resolve_target(size, now, dimensions, target_params, target_sparsity)

    def at(share: float) -> Widths:
        widths = now
        for name in dimensions:
            widths = resized(widths, name, _nearest(options[name], share * options[name][-1]))
        return widths

    smallest = now
    for name in dimensions:
        smallest = resized(smallest, name, options[name][0])
    if size.total(smallest) > target:
        raise UserError(
            f"a target of {target:,} parameters is out of reach: "
            f"with --prune_dimensions {', '.join(dimensions)} the smallest is {size.total(smallest):,}"
        )
    if size.total(now) <= target:
        return now
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size.total(at(middle)) <= target else (low, middle)
    finest = "ffn" if "ffn" in dimensions else max(dimensions, key=lambda name: len(options[name]))
    fits = [
        widths
        for start in (at(low), at(high))
        for widths in (resized(start, finest, option) for option in options[finest])
        if size.total(widths) <= target
    ]
    return max(fits, key=size.total)


def resolve_target(
    size: Size,
    now: Widths,
    dimensions: Sequence[str],
    target_params: int | None,
    target_sparsity: float | None,
) -> int:
    """Parameters of the whole model that a target asks for (see `solve_widths`)."""
    if target_params is not None:
        return int(target_params)
    if target_sparsity is None:
        raise UserError("structured pruning needs --target_params or --target_sparsity")
    if not 0 <= target_sparsity < 1:
        raise UserError(f"--target_sparsity {target_sparsity:g}: at least 0 and less than 1")
    parts = ("llm", "vision") if "vision_ffn" in dimensions else ("llm",)
    return int(size.total(now) - target_sparsity * size.count(now, *parts))


def round_targets(total: int, target: int, rounds: int) -> list[int]:
    """Parameters after each round, when every round removes the same share of what it finds."""
    return [round(total * (target / total) ** (number / rounds)) for number in range(1, rounds)] + [target]


def rounds_for(total: int, target: int, per_round: float = 0.3) -> int:
    """Rounds from `total` to `target` parameters when each removes a share of at most `per_round`."""
    return max(1, math.ceil(math.log(target / total) / math.log(1 - per_round) - 1e-9))
