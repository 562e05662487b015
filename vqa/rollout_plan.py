"""The plan of a run that learns from rewards, printed before it starts."""

import math
from typing import Any

from datasets import Dataset
from peft import PeftModel
from rich.console import Console
from rich.table import Table

from vqa.encoding import PromptEncoder
from vqa.plans import add_memory, parameter_counts, parameter_table
from vqa.rollouts import STYLE
from vqa.sampling import spread
from vqa.training import summarize

SAMPLE = 64


def print_rollout_plan(
    model,
    lora,
    encoder: PromptEncoder | None,
    records: Dataset,
    counterfactuals: str,
    model_args: Any,
    args: Any,
) -> None:
    """Print the tables of parameters and derived numbers.

    Args:
        counterfactuals: where the differences of the counterfactual reward come from, in words.
    """
    console = Console()
    counts = parameter_counts(model, lora)
    has_adapters = lora is not None or isinstance(model, PeftModel)
    console.print(parameter_table(model_args.model_name_or_path, counts, has_adapters))

    completions = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    an_epoch = len(records) * args.num_generations * args.num_iterations // completions
    planned = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * an_epoch)
    epochs = f"{args.num_train_epochs:g} epochs" if args.max_steps <= 0 else "max_steps"
    numbers = Table(show_header=False, title="run", title_justify="left")
    numbers.add_row("records", f"{len(records):,} ({summarize(records['question_type'])})")
    numbers.add_row("answer style", f"{STYLE}, boxes in {args.box_format}")
    numbers.add_row(
        "a step",
        f"{completions} completions = {args.per_device_train_batch_size} a device "
        f"x {args.gradient_accumulation_steps} accumulated x {args.world_size} processes",
    )
    numbers.add_row(
        "generated at once",
        f"{args.generation_batch_size} completions = {args.generation_batch_size // args.num_generations} "
        f"prompts x {args.num_generations}, by {'vLLM' if args.use_vllm else 'transformers'}; "
        f"used {args.num_iterations} time{'s' * (args.num_iterations > 1)}",
    )
    numbers.add_row("steps", f"{an_epoch:,} an epoch, {planned:,} in all ({epochs})")
    numbers.add_row("rewards", ", ".join(f"{name} {weight:g}" for name, weight in args.weights.items()))
    numbers.add_row("counterfactuals", counterfactuals)
    reference = f"KL to the start, weight {args.beta:g}" if args.beta else "none (--beta 0)"
    numbers.add_row("learning rate, reference", f"{args.learning_rate:g}, {reference}")
    prompt, note = 1024, ", prompts taken as 1024 tokens"
    if encoder is not None:
        sample = [records[index] for index in spread(len(records), SAMPLE)]
        lengths = [len(encoder.encode([record], STYLE)[0].input_ids) for record in sample]
        prompt, note = sum(lengths) / len(lengths), ""
        numbers.add_row("tokens a prompt", f"{prompt:.0f} on average, {max(lengths)} at most (of a sample)")
    numbers.add_row("tokens a completion", f"{args.max_completion_length} at most")
    length = prompt + args.max_completion_length
    add_memory(numbers, model, counts, length, note, model_args, args)
    console.print(numbers)
