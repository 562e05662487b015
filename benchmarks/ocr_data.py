"""Words of synthetic handwriting to train on and to test with: typefaces and words of the tests are held out.

Training sheets show known words in known typefaces, some sheets blank; `prepare_data.py validate` looks them
through and `balance` limits the blank ones. Tests are new sheets of five kinds, each a source of the one test
file, so that every reading is judged by source.
"""

import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from vqa.errors import UserError
from vqa.files import write_json, write_jsonl
from vqa.preparation import balance, validate
from vqa.preparation.synth import handwriting_main

TYPEFACES = ("Charm", "DancingScript", "Itim", "Mali", "Pacifico", "PatrickHand", "PlaypenSans", "Sriracha")
HELD_OUT_TYPEFACES = ("GreatVibes", "Mynerve", "Pangolin")
"""A script, a pen, a round hand; none of them draws a training sheet."""


@dataclass(frozen=True)
class Sheets:
    """What sheets are drawn with: typefaces, `known` or `held_out` words, the share of blank ones."""

    typefaces: tuple[str, ...]
    words: str
    blank: float


# Sources of the test.
SOURCES = {
    "known": Sheets(TYPEFACES, "known", 0.0),
    "new_typefaces": Sheets(HELD_OUT_TYPEFACES, "known", 0.0),
    "new_words": Sheets(TYPEFACES, "held_out", 0.0),
    "new_typefaces_and_words": Sheets(HELD_OUT_TYPEFACES, "held_out", 0.0),
    "blank": Sheets(TYPEFACES, "known", 1.0),
}
TRAINING = Sheets(TYPEFACES, "known", 0.2)
MAX_BLANK_RATIO = 0.1
BLANK_INK = 0.02
"""Share of a sheet's area; a lone word covers 2.5% of these sheets or more, a stain counts as ink."""
FORM = ("--max_words", 1, "--aspect", 1.5)


def logged(log: Path, command: Callable[[list[str]], object], *arguments: object) -> None:
    """Run a command of `prepare_data.py` in this process, what it prints in a file.

    Raises:
        UserError: it found errors.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file):
        failed = command([str(argument) for argument in arguments])
    if failed:
        raise UserError(f"{log}: there are errors in what was drawn")


def draw(folder: Path, split: str, count: int, seed: int, sheets: Sheets, fonts_dir: Path) -> Path:
    """The records of a split of new sheets, drawn unless they are there."""
    if not (folder / f"{split}.jsonl").is_file():
        size = ("--num_images", count, "--seed", seed, "--fonts_dir", fonts_dir, *FORM)
        kind = ("--words", sheets.words, "--blank_ratio", sheets.blank, "--typefaces", *sheets.typefaces)
        log = folder.parent / f"synth_{split}.log"
        logged(log, handwriting_main, "--output_dir", folder, "--split", split, *size, *kind)
    return folder / f"{split}.jsonl"


def training_records(output: Path, count: int, seed: int, fonts_dir: Path) -> Path:
    """Sheets drawn, looked through, and balanced: `output/balanced/train.jsonl`."""
    balanced = output / "balanced"
    if not (balanced / "manifest.json").is_file():
        drawn = draw(output / "drawn", "train", count, seed, TRAINING, fonts_dir)
        style = ("--answer_style", "transcribe")
        logged(output / "validate.log", validate.main, drawn.parent, *style)
        limit = ("--max_blank_ratio", MAX_BLANK_RATIO, "--blank_ink", BLANK_INK, "--output_dir", balanced)
        logged(output / "balance.log", balance.main, drawn.parent, *limit)
    return balanced / "train.jsonl"


def test_records(output: Path, count: int, seed: int, fonts_dir: Path) -> Path:
    """New sheets of every source in one file, `output/test/test.jsonl`, `count` of each."""
    test = output / "test" / "test.jsonl"
    if not test.is_file():
        drawn, rows = output / "drawn_test", []
        for number, (source, sheets) in enumerate(SOURCES.items(), start=1):
            file = draw(drawn, source, count, seed + number, sheets, fonts_dir)
            rows += [row | {"source": source, "split": "test"} for row in read_lines(file)]
        write_json(test.parent / "manifest.json", {"image_root": os.path.relpath(drawn, test.parent)})
        write_jsonl(test, rows)
    return test


def unlabelled(rows: list[dict]) -> list[dict]:
    """Records whose answer nobody has said yet."""
    waiting = {"answers": [], "answerable": False, "boxes": [], "box_images": [], "caption": None}
    return [row | waiting | {"reasoning": [], "meta": {"label": {"by": "nobody"}}} for row in rows]


def read_lines(path: Path) -> list[dict]:
    """All rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
