"""Prediction files: read, checked and completed."""

import re
from pathlib import Path
from typing import Any

from vqa.answers import is_abstention
from vqa.errors import InputErrors, UserError
from vqa.questions import QUESTION_TYPES, abstains, candidates_of
from vqa.raw_forms import RowProblem, describe, iterate_rows

_MAX_COORDINATE = 1e7
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
ANNOTATORS = 10

Prediction = dict[str, Any]


def read_predictions(path: str | Path) -> list[Prediction]:
    """Every line of a prediction file, with all fields of docs/contract.md.

    Needed are `id`, `pred`, `qtype` and one of `answers` and `gt`. The rest is filled in: `answerable` (some
    accepted answer is no abstention), `abstained` (the flag, or a text that says so), `source`
    ("unknown"), None or empty for others. `annotations` are ten answers of ten annotators, which stand in
    `answers` or in `meta.answers`, or None. `field` is the field of a document that was asked for
    (`meta.field`), or None. `removed` are the regions removed from the first image of a counterfactual
    (`meta.counterfactual`), or none. An unanswerable transcription whose accepted text is `""`
    keeps it as `gt`: there is nothing to read.

    Raises:
        UserError: there is no such file.
        InputErrors: every fault in it, as FILE:LINE: field: reason.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such prediction file")
    predictions: list[Prediction] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for line, row in iterate_rows(path):
        if isinstance(row, RowProblem):
            problems.append(f"{path}:{line}: {row}")
            continue
        reader = _Reader(row)
        prediction = reader.read()
        identity = prediction["id"]
        if identity and first_line.setdefault(identity, line) != line:
            reader.problems.append(f"id: {identity!r} is that of line {first_line[identity]} already")
        problems += [f"{path}:{line}: {problem}" for problem in reader.problems]
        predictions.append(prediction)
    if problems:
        raise InputErrors(problems)
    return predictions


class _Reader:
    """One row's fields, checked; a faulty one is noted and comes back empty."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.problems: list[str] = []

    def read(self) -> Prediction:
        abstained = self._boolean("abstained") or False
        pred = self._text("pred", "" if abstained else None)
        answers, answerable = self._answers()
        prediction = {
            "id": self._identity(),
            "pred": pred,
            "gt": answers[0] if answers else self._empty_transcript(),
            "qtype": self._question_type(),
            "answers": answers,
            "answerable": answerable,
            "source": self._text("source", "unknown") or "unknown",
            "confidence": self._confidence(),
            "abstained": abstained,
            "boxes": self._boxes("boxes"),
            "gt_boxes": self._boxes("gt_boxes"),
            "box_images": self._box_images("boxes", "box_images"),
            "gt_box_images": self._box_images("gt_boxes", "gt_box_images"),
            "answer_candidates": self._texts("answer_candidates") or None,
            "caption": None if self.row.get("caption") is None else self._text("caption", None),
            "reasoning": self._texts("reasoning"),
            "valid_format": self._boolean("valid_format"),
            "raw": self._text("raw", ""),
            "images": self._texts("images"),
            "question": self._text("question", ""),
            "annotations": self._annotations(),
            "field": self._field(),
            "removed": self._removed(),
        }
        if is_abstention(pred) and not (abstained or self.problems):
            prediction["abstained"] = abstains(pred, answers, candidates_of(prediction), answerable)
        return prediction

    def _complain(self, field: str, reason: str) -> None:
        self.problems.append(f"{field}: {reason}")

    def _text(self, field: str, default: str | None) -> str:
        value = self.row.get(field)
        if value is None:
            if default is None:
                self._complain(field, "missing")
            return default or ""
        if not isinstance(value, str):
            self._complain(field, f"expected a string, not {describe(value)}")
            return ""
        return _printable(value)

    def _identity(self) -> str:
        identity = self._text("id", None)
        if self.row.get("id") == "":
            self._complain("id", "empty")
        return identity

    def _texts(self, field: str) -> list[str]:
        value = self.row.get(field)
        if value is None:
            return []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._complain(field, "expected a list of strings")
            return []
        return [_printable(item) for item in value]

    def _boolean(self, field: str) -> bool | None:
        value = self.row.get(field)
        if value is not None and not isinstance(value, bool):
            self._complain(field, f"expected true, false or null, not {describe(value)}")
            return None
        return value

    def _answers(self) -> tuple[list[str], bool]:
        if "answers" not in self.row and "gt" not in self.row:
            self._complain("answers", "missing, and there is no gt")
            return [], True
        gold = self._text("gt", "")
        answers = [gold] if self.row.get("answers") is None else self._texts("answers")
        answerable = self._boolean("answerable")
        if answerable is None:
            answerable = not all(is_abstention(answer) for answer in answers)
        if answerable and not answers and not any(text.startswith("answers") for text in self.problems):
            self._complain("answers", "empty, but answerable is true")
        return (answers if answerable else []), answerable

    def _empty_transcript(self) -> str | None:
        given = self.row.get("answers") or [self.row.get("gt")]
        return "" if self.row.get("qtype") == "transcription" and given == [""] else None

    def _meta(self, field: str) -> Any:
        meta = self.row.get("meta")
        return meta.get(field) if isinstance(meta, dict) else None

    def _annotations(self) -> list[str] | None:
        for texts in (self._meta("answers"), self.row.get("answers")):
            if isinstance(texts, list) and len(texts) == ANNOTATORS and all(type(t) is str for t in texts):
                return [_printable(text) for text in texts]
        return None

    def _field(self) -> str | None:
        name = self._meta("field")
        return _printable(name) if isinstance(name, str) else None

    def _removed(self) -> list[list[float]]:
        told = self._meta("counterfactual")
        if not isinstance(told, dict):
            return []
        regions, owners = told.get("regions"), told.get("region_images")
        if not (isinstance(regions, list) and isinstance(owners, list)):
            return []
        return [box for box, owner in zip(regions, owners, strict=False) if owner == 0 and _is_box(box)]

    def _question_type(self) -> str:
        name = self._text("qtype", None)
        if name and name not in QUESTION_TYPES:
            self._complain("qtype", f"unknown type {name!r}; known are {', '.join(QUESTION_TYPES)}")
        return name

    def _confidence(self) -> float | None:
        value = self.row.get("confidence")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._complain("confidence", f"expected a number or null, not {describe(value)}")
        elif not -1e-6 <= value <= 1 + 1e-6:
            self._complain("confidence", f"{value} is not between 0 and 1")
        else:
            return min(max(float(value), 0.0), 1.0)
        return None

    def _boxes(self, field: str) -> list[list[float]]:
        value = self.row.get(field)
        if value is None:
            return []
        if not isinstance(value, list) or not all(_is_box(box) for box in value):
            self._complain(field, "expected a list of [x0, y0, x1, y1]")
            return []
        return value

    def _box_images(self, boxes: str, field: str) -> list[int]:
        """The index of each box's image; all on the first where the line does not say."""
        count, meta = len(self.row.get(boxes) or ()), self.row.get("meta")
        value = meta.get(field) if isinstance(meta, dict) else None
        if value is None or self.problems:
            return [0] * count
        if not isinstance(value, list) or [type(n) is int and n >= 0 for n in value] != [True] * count:
            self._complain(f"meta.{field}", f"expected the number of an image for each of {count} {boxes}")
            return [0] * count
        return value


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    return all(type(number) in (int, float) and abs(number) < _MAX_COORDINATE for number in value)


def _printable(text: str) -> str:
    """`text` without half surrogate pairs, which JSON can write and UTF-8 cannot."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)
