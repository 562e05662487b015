"""Where the time of a grouped training step goes, part by part, beside the same questions one by one.

    python -m benchmarks.grouping_profile
    python -m benchmarks.grouping_profile --questions 32

The model and the questions are those of `benchmarks.grouping`. Each part is run alone, forward and backward,
and timed by the processor seconds of all threads; `dense layers` is what the others leave of the passes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from benchmarks.arms import collator
from benchmarks.grouping import many_questions
from vqa.branches import attend_to_branches
from vqa.cli import option, parse_arguments, run
from vqa.head import answer_loss
from vqa.models import inner_model, load_model
from vqa.records import read_records


@dataclass
class ProfileArguments:
    """What to look at."""

    questions: int = option(22, "about one picture, in one row")
    repeats: int = option(5, "of each part; the median counts")


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds of all threads, the median after a first time."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return median(seconds)


def parts_of_a_step(model: nn.Module, collate, records: list[dict], repeats: int) -> dict[str, float]:
    """Processor seconds by part."""
    batch = collate(records)
    inputs = attend_to_branches(model, batch)
    tower, text = inner_model(model).visual, model.config.get_text_config()
    rows, length = batch["input_ids"].shape
    heads = (rows, text.num_attention_heads, length, text.hidden_size // text.num_attention_heads)
    query, key, value = (torch.randn(heads, requires_grad=True) for _ in range(3))
    # A mask in two dimensions says only what is padding; the model then makes a causal one of it.
    mask = inputs["attention_mask"] if inputs["attention_mask"].ndim == 4 else None
    optimizer = torch.optim.AdamW(model.parameters())

    def passes() -> None:
        loss = answer_loss(model, model.get_output_embeddings(), inputs)
        (loss.total / loss.count).backward()

    def see() -> None:
        tower(batch["pixel_values"], grid_thw=batch["image_grid_thw"]).pooler_output.sum().backward()

    def attend() -> None:
        for _ in range(text.num_hidden_layers):
            nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None
            ).sum().backward()

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    whole = cpu_seconds(passes, repeats)
    parts = {"vision tower and connector": cpu_seconds(see, repeats)}
    parts["attention of the language model"] = cpu_seconds(attend, repeats)
    parts["dense layers"] = whole - sum(parts.values())
    parts["mask and positions"] = cpu_seconds(lambda: attend_to_branches(model, batch), repeats)
    parts["pictures and texts to a batch"] = cpu_seconds(lambda: collate(records), repeats)
    parts["clipping and optimizer"] = cpu_seconds(update, repeats)
    return parts


def main() -> None:
    """Print the table."""
    (args,) = parse_arguments(ProfileArguments, description=__doc__)
    workload = many_questions(args.questions, args.questions)
    records = read_records(workload.records)[: args.questions]
    columns = [
        parts_of_a_step(
            load_model(str(workload.model)).train(), collator(workload, grouped), records, args.repeats
        )
        for grouped in (True, False)
    ]
    print(f"| ms of processor time a question, {args.questions} an image | grouped | one by one |")
    print("|---|---|---|")
    for name in [*columns[0], "sum"]:
        cells = [
            (sum(column.values()) if name == "sum" else column[name]) / args.questions for column in columns
        ]
        print(f"| {name} | " + " | ".join(f"{1000 * cell:.1f}" for cell in cells) + " |")


if __name__ == "__main__":
    run(main)
