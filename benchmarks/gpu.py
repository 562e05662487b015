"""Questions of an image in one row, on a GPU: random weights in the shape of Qwen2-VL-2B, bfloat16.

    python -m benchmarks.gpu --output outputs/benchmarks/gpu.json
    python -m benchmarks.gpu --record outputs/benchmarks/gpu.json      its ratios into benchmarks/results.json
    python -m benchmarks.gpu --small --output /tmp/gpu.json            a tiny model; also without a GPU

LoRA on the language model, and all weights. Pictures of 448 x 448 pixels (256 image tokens) with 22 questions
each. An optimizer step has 176 questions in every arm: for TRL's `SFTTrainer` 8 batches of one picture's 22,
by its own collator and through its `compute_loss`; for ours one batch of 8 rows, about as many tokens as one
of those.

Batches are made once, before, and not timed; the mask is built in each step. A step is forward and backward
passes, clipping and AdamW. MFU is 6 FLOP a weight and token (4 where a weight does not train and gradients
only pass, 2 where there are none) over the 989 TFLOP/s that an H100 or H200 has in bfloat16; the tower's
tokens are patches; attention is not counted. `mfu_useful` leaves out padding.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import disable_progress_bars
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import ProcessorMixin
from trl import SFTConfig, SFTTrainer

from benchmarks.results import machine, record, rounded
from benchmarks.stock import stock_rows
from benchmarks.workloads import QWEN_TINY, STYLE, Shape, qwen_model, qwen_processor, write_records
from vqa.adapters import lora_targets
from vqa.branches import attend_to_branches
from vqa.cli import option, parse_arguments, run
from vqa.collators import AnswerCollator
from vqa.encoding import PromptEncoder
from vqa.files import write_json
from vqa.head import answer_loss
from vqa.models import ARCHITECTURES, count_parameters
from vqa.records import read_records

PEAK_FLOPS = 989e12
QUESTIONS = 22
DTYPE = torch.bfloat16
# FlexAttention last: it compiles its kernels first, and time may run out.
ARMS = [
    ("lora", "stock"),
    ("lora", "sdpa"),
    ("full", "stock"),
    ("full", "sdpa"),
    ("lora", "flex_attention"),
    ("full", "flex_attention"),
]
# FLOP a token and weight: 2 forward, 2 for the gradient of what went in, 2 for the weight's own.
FLOPS = {
    "full": {"llm": 6, "connector": 6, "vision": 6},
    "lora": {"llm": 4, "connector": 2, "vision": 2},
}


@dataclass
class GpuArguments:
    """Where the figures go."""

    output: str = option("outputs/benchmarks/gpu.json", "file for the figures, written after every arm")
    record: str | None = option(
        None, "measure nothing: put such a file's ratios into benchmarks/results.json"
    )
    small: bool = option(False, "a tiny model, two pictures, one step")
    steps: int = option(5, "measured steps of each arm")
    seconds: float = option(170, "arms that would begin later are left out")


@dataclass
class Setting:
    """What all arms share: questions of some pictures, and the shape of the model that they are put to."""

    device: str
    shape: Shape
    processor: ProcessorMixin
    records: list[dict[str, Any]]

    @property
    def pictures(self) -> list[list[dict[str, Any]]]:
        """The records picture by picture."""
        return [self.records[at : at + QUESTIONS] for at in range(0, len(self.records), QUESTIONS)]

    def collator(self, group_by_image: bool) -> AnswerCollator:
        """Ours."""
        return AnswerCollator(PromptEncoder(self.processor), lambda _: STYLE, group_by_image=group_by_image)


@dataclass
class Work:
    """One optimizer step's worth.

    Attributes:
        model: as it trains.
        batch: one batch, on the device.
        batches: how many such batches make a step.
        passes: forward and backward of one; returns its loss.
    """

    model: nn.Module
    batch: dict[str, torch.Tensor]
    batches: int
    passes: Callable[[], torch.Tensor]


def stock(setting: Setting, model: nn.Module, lora: LoraConfig | None, folder: str) -> Work:
    """TRL's trainer, one picture's questions a batch. The same picture serves for all: it costs the same."""
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=folder,
            max_length=None,
            gradient_checkpointing=False,
            bf16=True,
            use_cpu=setting.device == "cpu",
            report_to="none",
        ),
        train_dataset=stock_rows(setting.pictures[0]),
        processing_class=setting.processor,
        peft_config=lora,
    )
    batch = dict(trainer.data_collator(list(trainer.train_dataset)))
    batch = {name: value.to(setting.device) for name, value in batch.items()}

    def passes() -> torch.Tensor:
        loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        return loss

    return Work(trainer.model, batch, len(setting.pictures), passes)


def ours(setting: Setting, model: nn.Module, lora: LoraConfig | None, kernel: str) -> Work:
    """A row for each picture, in one batch."""
    if lora is not None:
        model = get_peft_model(model, lora)
    # `set_attn_implementation` refuses FlexAttention for the Qwen-VL families, whose layers can do it.
    model.config.get_text_config()._attn_implementation = kernel
    batch = setting.collator(group_by_image=True)(setting.records)
    batch = {name: value.to(setting.device) for name, value in batch.items()}

    def passes() -> torch.Tensor:
        loss = answer_loss(model, model.get_output_embeddings(), attend_to_branches(model, batch))
        mean = loss.total / loss.count
        mean.backward()
        return mean

    return Work(model, batch, 1, passes)


@torch.no_grad()
def loss_one_by_one(setting: Setting, model: nn.Module) -> float:
    """The loss that grouped rows should have: a row for each question, through SDPA."""
    total, count = 0.0, 0
    for picture in setting.pictures:
        batch = setting.collator(group_by_image=False)(picture)
        batch = {name: value.to(setting.device) for name, value in batch.items()}
        loss = answer_loss(model, model.get_output_embeddings(), batch)
        total, count = total + loss.total.item(), count + loss.count.item()
    return total / count


def measure(setting: Setting, trains: str, arm: str, steps: int) -> dict[str, Any]:
    """One arm: a warm-up step, then `steps` of them."""
    model = qwen_model(setting.processor, setting.shape, DTYPE, setting.device).train()
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=lora_targets(model, ["llm"]))
    lora = lora if trains == "lora" else None
    with tempfile.TemporaryDirectory() as folder, torch.autocast(setting.device, DTYPE):
        expected = None if arm == "stock" else loss_one_by_one(setting, model)
        work = stock(setting, model, lora, folder) if arm == "stock" else ours(setting, model, lora, arm)
        trained = [parameter for parameter in work.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=setting.device == "cuda")

        def step() -> torch.Tensor:
            losses = [work.passes() for _ in range(work.batches)]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return losses[0].detach()

        loss, first = timed(step, setting.device)
        if setting.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = [timed(step, setting.device)[1] for _ in range(steps)]
    row = {"first_step_seconds": rounded(first), "step_seconds": [rounded(second) for second in seconds]}
    row |= speed(work, trains, len(setting.records), median(seconds))
    if setting.device == "cuda":
        row["peak_memory"] = torch.cuda.max_memory_allocated()
    if expected is not None:
        row["difference_from_one_by_one"] = rounded(abs(loss.item() - expected) / expected)
    return row


def timed(step: Callable[[], torch.Tensor], device: str) -> tuple[torch.Tensor, float]:
    """What a step returns, and its seconds until the device has done it."""
    began = time.perf_counter()
    result = step()
    if device == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - began


def speed(work: Work, trains: str, questions: int, seconds: float) -> dict[str, Any]:
    """Rates and utilisation of a step that took so many seconds."""
    batch, weights = work.batch, count_parameters(work.model)
    read = batch["branches"] >= 0 if "branches" in batch else batch["attention_mask"]
    embedding = work.model.get_input_embeddings().weight.numel()  # looked up, and the head at few positions
    patches = len(batch["pixel_values"])

    def flops(tokens: int) -> float:
        amounts = {"llm": tokens, "connector": patches // 4, "vision": patches}
        through = {part: count["total"] for part, count in weights.items()}
        through["llm"] -= embedding
        return sum(FLOPS[trains][part] * through[part] * amounts[part] for part in amounts) * work.batches

    computed, useful = batch["input_ids"].numel(), int(read.sum())
    return {
        "batch_shape": list(batch["input_ids"].shape),
        "questions_per_second": rounded(questions / seconds),
        "tokens_per_second": rounded(computed * work.batches / seconds),
        "mfu": rounded(flops(computed) / seconds / PEAK_FLOPS),
        "mfu_useful": rounded(flops(useful) / seconds / PEAK_FLOPS),
    }


def setting_of(small: bool, folder: str) -> Setting:
    """Pictures and questions in `folder`, and the model's shape."""
    pictures, size, shape = (2, 56, QWEN_TINY) if small else (8, 448, qwen_2b())
    records = read_records(write_records(Path(folder), pictures, QUESTIONS, size))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Setting(device, shape, qwen_processor(size), records)


def qwen_2b() -> Shape:
    """Qwen2-VL-2B's, from its config."""
    config = json.loads((ARCHITECTURES / "Qwen/Qwen2-VL-2B-Instruct/config.json").read_text(encoding="utf-8"))
    return Shape(
        text={name: config["text_config"][name] for name in QWEN_TINY.text},
        vision={name: config["vision_config"][name] for name in QWEN_TINY.vision},
        vocabulary=config["text_config"]["vocab_size"],
    )


def record_ratios(rows: list[dict[str, Any]]) -> None:
    """Put ours over TRL's into benchmarks/results.json, for what was measured of both."""
    measured = {(row["trains"], row["arm"]): row for row in rows if "questions_per_second" in row}
    for (trains, arm), row in measured.items():
        baseline = measured.get((trains, "stock"))
        if arm == "stock" or baseline is None:
            continue
        rates = row["questions_per_second"], baseline["questions_per_second"]
        facts = {
            f"{kind}_{name}": values[name]
            for kind, values in (("ours", row), ("baseline", baseline))
            for name in ("tokens_per_second", "mfu", "mfu_useful", "peak_memory")
            if name in values
        }
        record(f"gpu_{trains}_{arm}", *rates, "questions/s", machine=row["machine"], **facts)


def main() -> None:
    """Measure every arm, or record what was measured."""
    (args,) = parse_arguments(GpuArguments, description=__doc__)
    if args.record:
        record_ratios(json.loads(Path(args.record).read_text(encoding="utf-8")))
        return
    began = time.monotonic()
    disable_progress_bars()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        setting = setting_of(args.small, folder)
        for trains, arm in ARMS:
            row = {"trains": trains, "arm": arm, "machine": machine()}
            if time.monotonic() - began > args.seconds:
                row["problem"] = "no time left"
            elif arm == "flex_attention" and setting.device == "cpu":
                row["problem"] = "FlexAttention has no backward pass on processors"
            else:
                try:
                    row |= measure(setting, trains, arm, 1 if args.small else args.steps)
                except torch.cuda.OutOfMemoryError:
                    row["problem"] = "out of memory"
                gc.collect()
                torch.cuda.empty_cache()
            rows.append(row)
            write_json(args.output, rows)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    run(main)
