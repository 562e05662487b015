"""How fast answers come, and where the time goes: `predict.py --benchmark N`."""

import time
from collections.abc import Callable, Sequence

from vqa import runs
from vqa.decisions import Decision, Record
from vqa.stages import measured


def benchmark(
    ask: Callable[[list[Record]], list[Decision]], batches: Sequence[list[Record]], count: int
) -> dict[str, float | int | dict[str, float]]:
    """Answer `count` questions, the batches over and over, after a first batch that is not timed.

    Returns:
        `questions`, `seconds`, `questions_per_second`, `peak_memory_bytes`, and `stages`: seconds a question
        of each stage. A stage's time is its own, without that of stages inside it; `other` is what no stage
        took.
    """
    ask(list(batches[0]))
    answered, begun = 0, time.perf_counter()
    with measured() as seconds:
        while answered < count:
            for batch in batches:
                batch = list(batch[: count - answered])
                if batch:
                    ask(batch)
                answered += len(batch)
    whole = time.perf_counter() - begun
    stages = dict(seconds) | {"other": whole - sum(seconds.values())}
    return {
        "questions": answered,
        "seconds": round(whole, 3),
        "questions_per_second": round(answered / whole, 3),
        "peak_memory_bytes": runs.peak_memory_bytes(),
        "stages": {name: round(value / answered, 5) for name, value in stages.items()},
    }


def benchmark_text(found: dict) -> str:
    """The result as lines to read."""
    lines = [
        f"{found['questions']:,} questions in {found['seconds']:.1f} s: "
        f"{found['questions_per_second']:.2f} a second; peak memory "
        f"{found['peak_memory_bytes'] / 2**30:.2f} GiB",
        "seconds a question",
    ]
    return "\n".join(lines + [f"  {name:<20}{value:>10.4f}" for name, value in found["stages"].items()])
