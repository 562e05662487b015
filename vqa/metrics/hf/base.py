"""What the modules share: columns, and one way of describing themselves."""

import inspect
from collections.abc import Iterable
from typing import Any, ClassVar

from datasets import Features, List, Value

import evaluate

TEXT = Value("string")
TEXTS = List(TEXT)
NUMBER = Value("float64")
FLAG = Value("bool")
BOXES = List(List(NUMBER))  # [x0, y0, x1, y1] each
ANSWERED = {"predictions": TEXT, "references": TEXTS}  # an answer, and every accepted one


class Module(evaluate.Metric):
    """A metric over `columns`; a subclass adds its docstring, which `evaluate` shows, and `_compute`.

    Options of `_compute` are given to `compute` by name. Where `references` are lists of accepted answers, a
    bare string is taken for a list of one.
    """

    columns: ClassVar[dict[str, Any]] = ANSWERED

    def _info(self) -> evaluate.MetricInfo:
        doc = inspect.getdoc(type(self))
        return evaluate.MetricInfo(
            description=doc, citation="", inputs_description=f"\n{doc}\n", features=Features(self.columns)
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add records."""
        # `datasets` would take a string for a list of its letters, without a word.
        if self.columns["references"] is TEXTS and references is not None:
            references = [_listed(reference) for reference in references]
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one record; further columns keep their names."""
        if self.columns["references"] is TEXTS:
            reference = _listed(reference)
        super().add(prediction=prediction, reference=reference, **kwargs)


def mean(values: Iterable[float]) -> float | None:
    """The mean, or None of nothing."""
    values = list(values)
    return float(sum(values) / len(values)) if values else None


def answered(predictions: Iterable[str], references: Iterable[list[str]]) -> list[tuple[str, list[str]]]:
    """The pairs that have an accepted answer."""
    return [(said, accepted) for said, accepted in zip(predictions, references, strict=True) if accepted]


def _listed(reference: Any) -> Any:
    return [reference] if isinstance(reference, str) else reference
