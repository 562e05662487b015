"""A step of dense and of sparse distillation at a vocabulary of 152 thousand: seconds and peak memory.

8 rows of 512 supervised positions. The models are a language head each, since logits are what the losses
differ by. `whole` is the usual way, both models' logits as one tensor each; `dense` and `sparse` are those of
`train_distill.py`, in blocks. The teacher's own forward pass comes on top of `whole` and `dense`.

    python -m benchmarks.sparse_loss

Each way runs in a process of its own, one after the other. Prints a table in Markdown and writes
outputs/benchmarks/sparse_loss.json.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vqa.cli import option, parse_arguments, run
from vqa.distillation import dense_loss, generalized_jsd, sparse_loss
from vqa.encoding import IGNORED
from vqa.files import write_json
from vqa.head import answer_loss
from vqa.runs import hardware, peak_memory_bytes

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("cross_entropy", "whole", "dense", "sparse")


@dataclass
class LossArguments:
    """How large."""

    vocabulary: int = option(151_936, "tokens: Qwen2.5's")
    rows: int = option(8, "rows of a batch")
    length: int = option(512, "supervised positions of a row")
    width: int = option(64, "of the hidden states of both models")
    tokens: int = option(12, "that the sparse teacher keeps")
    steps: int = option(3, "timed, after one that is not")
    way: str | None = option(None, "measure one way in this process")


class Head(nn.Module):
    """A model that is a language head: hidden states in, logits out."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, hidden: torch.Tensor, **_) -> "Head":
        """Gives itself with the attribute `logits`, as models give an output."""
        self.logits = self.head(hidden)
        return self


def measure(args: LossArguments) -> dict[str, float]:
    """Seconds of a step, forward and backward, and the peak of memory above what was there before."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student, teacher = (Head(args.width, args.vocabulary).to(device) for _ in "ab")
    hidden = torch.randn(args.rows, args.length + 1, args.width, device=device, requires_grad=True)
    taught = torch.randn(args.rows * args.length, args.width, device=device)
    labels = torch.randint(args.vocabulary, (args.rows, args.length + 1), device=device)
    labels[:, 0] = IGNORED
    inputs = {"hidden": hidden, "labels": labels}
    ids = torch.randint(args.vocabulary, (len(taught), args.tokens), device=device)
    sample = {"token_ids": ids, "weights": torch.full(ids.shape, 1 / args.tokens, device=device)}
    before = torch.cuda.memory_allocated() if device.type == "cuda" else peak_memory_bytes()

    def step() -> torch.Tensor:
        if args.way == "cross_entropy":
            return answer_loss(student, student.head, inputs).total
        if args.way == "dense":
            return dense_loss(student, student.head, inputs, taught, teacher.head, alpha=1.0).total
        if args.way == "sparse":
            return sparse_loss(student, student.head, inputs, **sample, alpha=1.0).total
        with torch.no_grad():
            teacher_logits = teacher.head(taught)
        return generalized_jsd(student.head(hidden[:, :-1]).flatten(0, 1), teacher_logits, 0.0).sum()

    for number in range(args.steps + 1):
        if number == 1:
            begun = time.perf_counter()
        step().backward()
        student.zero_grad()
        hidden.grad = None
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {
        "seconds": (time.perf_counter() - begun) / args.steps,
        "bytes": peak_memory_bytes() - before,
    }


def main() -> None:
    """Measure every way, then print them side by side."""
    (args,) = parse_arguments(LossArguments, description=__doc__)
    if args.way:
        print(json.dumps(measure(args)))
        return
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.sparse_loss", *sys.argv[1:], "--way", way]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    print(f"{args.rows} x {args.length} positions, {args.vocabulary:,} tokens, {hardware()}")
    print(
        "| way | s a step | against sparse | GiB above the models | against sparse |\n|---|---|---|---|---|"
    )
    for way, row in found.items():
        seconds, size = (row[name] / found["sparse"][name] for name in ("seconds", "bytes"))
        print(f"| {way} | {row['seconds']:.2f} | {seconds:.2f} | {row['bytes'] / 2**30:.2f} | {size:.2f} |")
    write_json(ROOT / "outputs/benchmarks/sparse_loss.json", {"hardware": hardware(), "ways": found})


if __name__ == "__main__":
    run(main)
