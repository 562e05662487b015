"""What a suspicion is: a record that can be read and used, and that someone should look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vqa.record_checks import Record

# Every check of `validate`, in the order of its table, and what it finds.
CHECKS = {
    "error": "cannot be read; training would refuse it",
    "unicode": "text that is decomposed (NFD)",
    "whitespace": "inconsistent whitespace",
    "tone_placement": "the rarer of two Vietnamese tone placements",
    "brackets": "a bracket that may be a parenthesis, or the reverse",
    "edge_stroke": "a lone 1 or | that a border line explains",
    "candidates": "an accepted answer that is no candidate",
    "contradiction": "same image and question, another answer",
    "boxes": "boxes over the edge, degenerate, of the whole image",
    "near_duplicate": "the image is in another split as well",
    "against": "the image is in an evaluation set",
    "max_length": "image, question and answer exceed max_length",
}
# Types whose answers may have been read off the image.
READ_TYPES = ("transcription", "extractive", "open_ended")
TEXT_FIELDS = ("question", "answers", "answer_candidates", "caption", "reasoning")


@dataclass(frozen=True)
class Suspicion:
    """One line of `suspicious.jsonl`.

    Attributes:
        record_id, split: the record's; the id is empty when the row has none.
        check: a key of `CHECKS`.
        reason: a sentence for the person who looks at the record.
        details: further fields of the line, such as the other record's id.
    """

    record_id: str
    split: str
    check: str
    reason: str
    details: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The line as it is written."""
        return {
            "id": self.record_id,
            "split": self.split,
            "check": self.check,
            "reason": self.reason,
            **self.details,
        }


def suspicion(record: Record, check: str, reason: str, **details: Any) -> Suspicion:
    """A suspicion about a record that was read."""
    return Suspicion(record["id"], record["split"], check, reason, details)


def fields_of_text(record: Record, names: Sequence[str] = TEXT_FIELDS) -> Iterator[tuple[str, str]]:
    """(`answers[0]`, text) for every text in the named fields of a record."""
    for name in names:
        value = record[name]
        if isinstance(value, str):
            yield name, value
        elif value:
            yield from ((f"{name}[{index}]", text) for index, text in enumerate(value))
