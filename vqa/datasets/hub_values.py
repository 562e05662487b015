"""Values in the columns of a table as the record's fields want them."""

from collections import Counter
from typing import Any

from datasets import ClassLabel

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def accepted_answers(value: Any, candidates: Any = None, labels: ClassLabel | None = None) -> Any:
    """Answers as a list of texts, the most frequent first; None where there is none.

    Args:
        value: a text, number, boolean, class label, or a list of them; or objects that hold one as `answer`
            or `text`, as VQAv2 and SQuAD have.
        candidates: the closed set of the question; an index or a letter is then the candidate it names.
        labels: names of the column's class labels.
    """
    texts = [_text(item, candidates, labels) for item in _flat(value)]
    if not all(isinstance(text, str) for text in texts):
        return texts  # for the check of records to name
    return [text for text, _ in Counter(texts).most_common()] if texts or value == [] else None


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _flat(value.get("answer", value.get("text")))
    if isinstance(value, list):
        return [item for element in value for item in _flat(element)]
    return [] if value is None else [value]


def _text(value: Any, candidates: Any, labels: ClassLabel | None) -> Any:
    options = candidates if isinstance(candidates, list) else []
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if labels is not None:
            return labels.int2str(value) if 0 <= value < labels.num_classes else None
        return options[value] if 0 <= value < len(options) else str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, str) and len(value) == 1 and value not in options:
        place = _LETTERS.find(value)
        return options[place] if 0 <= place < len(options) else value
    return value


def as_boxes(value: Any) -> Any:
    """A single box [x0, y0, x1, y1] as a list of one."""
    flat = isinstance(value, list) and len(value) == 4 and all(type(item) in (int, float) for item in value)
    return [value] if flat else value


def plain(value: Any) -> Any:
    """A value that JSON can hold: bytes by their number, dates and the like as text, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
