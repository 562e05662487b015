"""The repairs that lose nothing: whitespace, one placement of Vietnamese tones, boxes over the edge."""

import re
from collections.abc import Callable
from typing import Any

from vqa.preparation.suspicions import TEXT_FIELDS
from vqa.preparation.suspicions_text import INVISIBLE, ODD_SPACES
from vqa.record_checks import Record
from vqa.vietnamese import place_tones

_ODD = re.compile(f"[{ODD_SPACES}]")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_RUNS = re.compile(r"[ \t]+")
_AROUND_LINES = re.compile(r" ?\n ?")

Fix = dict[str, Any]


def clean_whitespace(text: str) -> str:
    """One space where there were several or a special one, none at the ends of lines; lines stay lines."""
    text = _INVISIBLE.sub("", _ODD.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _AROUND_LINES.sub("\n", _RUNS.sub(" ", text)).strip()


def fix_record(record: Record, tone_placement: str | None = None) -> tuple[Record, list[Fix]]:
    """A record with the lossless repairs, and what was repaired.

    A repair that would empty a text, make two candidates equal or a box degenerate is left out.

    Args:
        record: as read, its text in NFC.
        tone_placement: `old` or `new`; None: as they are.

    Returns:
        the record, and `{"id", "split", "field", "fix", "before", "after"}` for each repair.
    """
    steps: dict[str, Callable[[str], str]] = {"whitespace": clean_whitespace}
    if tone_placement is not None:
        steps["tone_placement"] = lambda text: place_tones(text, tone_placement)
    fixed, fixes = dict(record), []

    def note(field: str, fix: str, before: Any, after: Any) -> None:
        found = {"field": field, "fix": fix, "before": before, "after": after}
        fixes.append({"id": record["id"], "split": record["split"], **found})

    for name in TEXT_FIELDS:
        for fix, step in steps.items():
            before = fixed[name]
            if isinstance(before, str):
                after = step(before) or before
                if after != before:
                    note(name, fix, before, after)
            elif before:
                after = [step(text) or text for text in before]
                if name == "answer_candidates" and len(set(after)) < len(after):
                    continue
                for index, (old, new) in enumerate(zip(before, after, strict=True)):
                    if old != new:
                        note(f"{name}[{index}]", fix, old, new)
            else:
                continue
            fixed[name] = after
    boxes = []
    for index, (box, owner) in enumerate(zip(record["boxes"], record["box_images"], strict=True)):
        width, height = record["image_sizes"][owner]
        clipped = [max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])]
        if clipped != box and clipped[0] < clipped[2] and clipped[1] < clipped[3]:
            note(f"boxes[{index}]", "boxes", box, clipped)
            box = clipped
        boxes.append(box)
    fixed["boxes"] = boxes
    return fixed, fixes
