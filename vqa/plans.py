"""The plan of a training run, printed before it starts: what trains, derived numbers, memory needed."""

import math
import os
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import ProcessorMixin

from vqa.collators import AnswerCollator
from vqa.decisions import questions_per_image
from vqa.encoding import IGNORED
from vqa.errors import UserError
from vqa.models import PARTS, count_parameters, family_of, load_processor
from vqa.rows import RowSampler
from vqa.sampling import spread
from vqa.training import summarize

SAMPLE = 64


def processor_if_local(name_or_path: str) -> ProcessorMixin | None:
    """The processor where it can be had without a network, for a dry run; None where it cannot."""
    try:
        return load_processor(name_or_path)
    except UserError:
        return None


def parameter_counts(model: nn.Module, lora: LoraConfig | None) -> dict[str, dict[str, int]]:
    """Parameters by part as they will be in training: with LoRA the base is frozen and adapters are added."""
    counts = count_parameters(model)
    if lora is None:
        return counts
    family = family_of(model.config)
    for part in counts.values():
        part["trainable"] = 0
    modules = dict(model.named_modules())
    for name in lora.target_modules:
        layer = modules[name]
        added = lora.r * (layer.in_features + layer.out_features)
        counts[family.part_of(name)]["total"] += added
        counts[family.part_of(name)]["trainable"] += added
    for name in lora.modules_to_save or []:  # trained as copies
        whole = sum(parameter.numel() for parameter in modules[name].parameters())
        counts[family.part_of(name)]["total"] += whole
        counts[family.part_of(name)]["trainable"] += whole
    return counts


def batch_shape(collator: AnswerCollator, rows) -> dict[str, float]:
    """Mean and greatest length of rows and mean number of supervised tokens, over an even sample."""
    lengths, supervised = [], []
    for index in spread(len(rows), SAMPLE):
        batch = collator([rows[index]])
        lengths.append(batch["input_ids"].shape[1])
        supervised.append(int((batch["labels"] != IGNORED).sum()))
    return {
        "mean_length": sum(lengths) / len(lengths),
        "max_length": max(lengths),
        "supervised": sum(supervised) / len(supervised),
    }


def estimate_memory(
    model: nn.Module,
    counts: dict[str, dict[str, int]],
    *,
    bytes_per_weight: float,
    rows: int,
    length: int,
    checkpointing: bool,
    in_4bit: bool,
) -> dict[str, float]:
    """Bytes of weights, gradients, AdamW's two moments, and activations, on one device and unsharded.

    Activations of a transformer layer: about 34 bytes a token and hidden unit in 16 bits with an attention
    that keeps no score matrix; with recomputation 2 (Korthikanti et al. 2022, arXiv:2205.05198, equation 2).
    """
    total = sum(part["total"] for part in counts.values())
    trainable = sum(part["trainable"] for part in counts.values())
    weights = total * bytes_per_weight
    if in_4bit:
        weights = (total - counts["llm"]["total"]) * bytes_per_weight + counts["llm"]["total"] * 0.55
    text = model.config.get_text_config()
    units = rows * length * text.hidden_size * (bytes_per_weight / 2)
    full_layer = 34 * units
    layers = text.num_hidden_layers
    activations = layers * 2 * units + full_layer if checkpointing else layers * full_layer
    return {
        "weights": weights,
        "gradients": trainable * bytes_per_weight,
        "optimizer": trainable * bytes_per_weight * 2,
        "activations": activations,
    }


def device_memory() -> tuple[str, int]:
    """Name and bytes of the memory a process trains in."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    return "RAM", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def parameter_table(name: str, counts: dict[str, dict[str, int]], has_adapters: bool) -> Table:
    """What each part of the model has, and how much of it trains."""
    table = Table("part", "parameters", "trainable", "", title=name, title_justify="left")
    for part in PARTS:
        total, trainable = counts[part]["total"], counts[part]["trainable"]
        state = (
            "frozen"
            if not trainable
            else "trains"
            if trainable == total
            else "adapters"
            if has_adapters
            else "partly"
        )
        table.add_row(part, f"{total:,}", f"{trainable:,}", state)
    total, trainable = (sum(part[key] for part in counts.values()) for key in ("total", "trainable"))
    table.add_row("all", f"{total:,}", f"{trainable:,}", f"{100 * trainable / total:.1f}%", style="bold")
    return table


def print_plan(
    model,
    lora,
    collator: AnswerCollator | None,
    train,
    rows: RowSampler | None,
    model_args: Any,
    args: Any,
) -> None:
    """Print the tables of parameters and derived numbers."""
    console = Console()
    counts = parameter_counts(model, lora)
    has_adapters = lora is not None or isinstance(model, PeftModel)
    console.print(parameter_table(model_args.model_name_or_path, counts, has_adapters))

    accumulated = args.gradient_accumulation_steps * args.world_size
    batch, a_device = args.per_device_train_batch_size * accumulated, f"{args.per_device_train_batch_size}"
    if rows is not None:
        batch, a_device = round(len(train) / len(rows) * accumulated), f"{len(train) / len(rows):.1f}"
    steps = math.ceil(len(train) / batch) if rows is None else math.ceil(len(rows) / accumulated)
    epochs = f"{args.num_train_epochs:g} epochs" if args.max_steps <= 0 else "max_steps"
    planned = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps)
    numbers = Table(show_header=False, title="run", title_justify="left")
    numbers.add_row("records", f"{len(train):,} ({summarize(train['question_type'])})")
    numbers.add_row("answer style", f"{args.answer_style}, boxes in {args.box_format}")
    numbers.add_row(
        "global batch",
        f"{batch} questions = {a_device} a device "
        f"x {args.gradient_accumulation_steps} accumulated x {args.world_size} processes",
    )
    numbers.add_row("steps", f"{steps:,} an epoch, {planned:,} in all ({epochs})")
    if rows is not None and rows.shares_rows:
        computed, alone = rows.tokens()
        questions = questions_per_image(train["images"])
        numbers.add_row(
            "grouped by image",
            f"{questions:.1f} questions an image; {computed:,} tokens an epoch with padding, "
            f"{alone:,} ({alone / computed:.1f} times) with a row for each question",
        )
    numbers.add_row("learning rates", learning_rates(args, counts))
    unknown = "needs the processor, which is not on this machine"
    shape = batch_shape(collator, train) if collator is not None else None
    if shape:
        numbers.add_row(
            "tokens a question",
            f"{shape['mean_length']:.0f} on average, {shape['max_length']:.0f} at most (of a sample)",
        )
        numbers.add_row("supervised tokens", f"about {shape['supervised'] * len(train):,.0f} an epoch")
    else:
        numbers.add_row("tokens a question", unknown)
        numbers.add_row("supervised tokens", unknown)
    length = shape["mean_length"] if shape else args.max_length or 1024
    note = "" if shape else f", rows taken as {args.max_length or 1024} tokens"
    add_memory(numbers, model, counts, length, note, model_args, args)
    console.print(numbers)


def add_memory(
    numbers: Table,
    model: nn.Module,
    counts: dict[str, dict[str, int]],
    length: float,
    note: str,
    model_args: Any,
    args: Any,
) -> None:
    """Put the estimate of memory and what the machine has at the end of a table.

    Args:
        length: tokens of a row in training.
        note: what to say of the estimate besides.
    """
    memory = estimate_memory(
        model,
        counts,
        bytes_per_weight=2 if _trains_in_16_bits(model, model_args) else 4,
        rows=args.per_device_train_batch_size,
        length=length,
        checkpointing=args.gradient_checkpointing,
        in_4bit=model_args.load_in_4bit,
    )
    name, available = device_memory()
    parts = ", ".join(f"{key} {value / 2**30:.2f}" for key, value in memory.items())
    numbers.add_row(
        "memory", f"about {sum(memory.values()) / 2**30:.2f} GiB a device, unsharded ({parts}{note})"
    )
    numbers.add_row("this machine", f"{available / 2**30:.1f} GiB ({name})")


def _trains_in_16_bits(model: nn.Module, model_args: Any) -> bool:
    if model_args.model_dtype == "auto":
        return torch.cuda.is_available() and model.dtype in (torch.bfloat16, torch.float16)
    return model_args.model_dtype in ("bfloat16", "float16")


def learning_rates(args: Any, counts: dict[str, dict[str, int]]) -> str:
    """The rate of every part that trains."""
    rates = {"vision": args.vision_learning_rate, "connector": args.connector_learning_rate, "llm": None}
    return ", ".join(
        f"{part} {args.learning_rate if rate is None else rate:g}"
        for part, rate in rates.items()
        if counts[part]["trainable"]
    )


def check_trainable(counts: dict[str, dict[str, int]]) -> None:
    """Refuse a run in which nothing would learn."""
    if not any(part["trainable"] for part in counts.values()):
        raise UserError("nothing trains: --freeze names every part and there is no LoRA")
