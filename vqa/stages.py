"""Where the time of a prediction run goes, by stage.

with measured() as seconds:
    decide(...)             # whose parts run under `with stage("prefill"):`
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_watching: list[Counter[str]] = []
_open: list[float] = []  # seconds that stages inside each open stage took


@contextmanager
def measured() -> Iterator[Counter[str]]:
    """Seconds of each stage that ends inside, those of stages within it left out."""
    seconds: Counter[str] = Counter()
    _watching.append(seconds)
    try:
        yield seconds
    finally:
        _watching.pop()  # they are nested; equal counts are not the same counter


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The time spent inside belongs to the stage `name`. For one thread."""
    begun = time.perf_counter()
    _open.append(0.0)
    try:
        yield
    finally:
        whole = time.perf_counter() - begun
        inner = _open.pop()
        if _open:
            _open[-1] += whole
        for seconds in _watching:
            seconds[name] += whole - inner
