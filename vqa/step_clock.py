"""Where the time of a training step goes."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import TrainerCallback


class StepClock(TrainerCallback):
    """Seconds of optimizer steps by part; what no part takes is the update: forward, backward, optimizer.

    What happens between steps, evaluation and checkpoints, is not counted.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.steps = 0
        self._begun: float | None = None

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """The time spent inside belongs to `part`, where a step is under way."""
        begun = time.perf_counter()
        yield
        if self._begun is not None:
            self.seconds[part] += time.perf_counter() - begun

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.seconds["update"] += time.perf_counter() - self._begun
        self._begun = None
        self.steps += 1

    def read(self) -> dict[str, float]:
        """Seconds a step of each part since the last reading, as `seconds/PART`, and all of them together."""
        if not self.steps:
            return {}
        whole = self.seconds["update"]
        parts = {name: value for name, value in self.seconds.items() if name != "update"}
        parts["update"] = whole - sum(parts.values())
        read = {f"seconds/{name}": value / self.steps for name, value in parts.items()}
        self.seconds.clear()
        self.steps = 0
        return read
