"""Arms of a comparison, each a process of its own that runs in measured windows, turn and turn about.

A machine's speed drifts, so arms alternate (A B A B) and medians are compared; a process for each makes peak
memory that of the arm alone.
"""

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from torch import nn
from transformers.utils.logging import disable_progress_bar

from vqa.models import inner_model


@dataclass(frozen=True)
class Window:
    """What was done in it.

    Attributes:
        cpu_seconds: of all threads; where others use the machine too, they tell more than the clock.
        tokens: through the language model, padding and all.
        peak_memory: so far, in bytes.
    """

    seconds: float
    cpu_seconds: float
    questions: int
    tokens: int
    peak_memory: int


class Stopwatch:
    """An arm's side: waits for windows to run and reports them.

    Attributes:
        questions: of the open window; whoever does the work counts them.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.questions = self.tokens = 0
        self.started = self.cpu_started = 0.0

    def watch(self, model: nn.Module) -> None:
        """Count the tokens that enter the language model."""
        inner_model(model).language_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.tokens += kwargs["inputs_embeds"].shape[:2].numel()

    def wait(self) -> int | None:
        """How much to do in the next window, which begins; None: no more."""
        amount = self.connection.recv()
        self.questions = self.tokens = 0
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        return amount

    def stop(self) -> None:
        """End the window."""
        seconds, cpu_seconds = time.perf_counter() - self.started, time.process_time() - self.cpu_started
        self.connection.send(Window(seconds, cpu_seconds, self.questions, self.tokens, peak_memory()))
        # What the allocator keeps for later would be missing in the other arms.
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_memory() -> int:
    """Most memory this process has held, in bytes. (`getrusage` counts that of the process it came from.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Arm:
    """A process that calls `work(stopwatch, *arguments)`."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self.connection, theirs = multiprocessing.get_context("spawn").Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, torch.get_num_threads(), work, *arguments), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the process's end is seen here

    def run(self, amount: int) -> Window:
        """A window of `amount` steps or pictures.

        Raises:
            EOFError: the process died; its traceback is on stderr.
        """
        self.connection.send(amount)
        return self.connection.recv()

    def end(self) -> None:
        """Stop the process."""
        self.connection.send(None)
        self.process.join()


def _serve(connection: Connection, threads: int, work: Callable[..., None], *arguments: Any) -> None:
    torch.set_num_threads(threads)
    disable_progress_bar()
    disable_progress_bars()
    work(Stopwatch(connection), *arguments)


@dataclass(frozen=True)
class Summary:
    """An arm's windows.

    Attributes:
        rate: questions a second, the median of `rates`.
        cpu_rate: questions a second of processor time, all threads together.
        tokens_per_question: through the language model, padding and all.
        peak_memory: in bytes.
    """

    rate: float
    rates: list[float]
    cpu_rate: float
    tokens_per_question: float
    peak_memory: int


def alternate(arms: dict[str, Arm], amounts: dict[str, int], windows: int) -> dict[str, Summary]:
    """Run each arm's warm-up, then `windows` of each, in turns; ends the arms.

    Args:
        amounts: steps or pictures a window, by arm. The warm-up is one.
    """
    for arm in arms.values():
        arm.run(1)
    done: dict[str, list[Window]] = {name: [] for name in arms}
    for _ in range(windows):
        for name, arm in arms.items():
            done[name].append(arm.run(amounts[name]))
    for arm in arms.values():
        arm.end()
    return {name: _summary(list_) for name, list_ in done.items()}


def _summary(windows: list[Window]) -> Summary:
    rates = [window.questions / window.seconds for window in windows]
    return Summary(
        rate=statistics.median(rates),
        rates=rates,
        cpu_rate=statistics.median(window.questions / window.cpu_seconds for window in windows),
        tokens_per_question=sum(w.tokens for w in windows) / sum(w.questions for w in windows),
        peak_memory=max(window.peak_memory for window in windows),
    )
