"""Make, check and repair folders of records, the one form that training, prediction and judging read.

A publication as its authors publish it becomes records; then look for what would hurt a training:
    python prepare_data.py convert --dataset slake --input raw/Slake1.0 --output_dir data/slake --language en
    python prepare_data.py validate data/slake --against data/vqa_rad/test.jsonl
    python prepare_data.py stats data/slake

Records from records: at most 30% blank images; splits that share no image; no question twice:
    python prepare_data.py balance data/lines --max_blank_ratio 0.3 --output_dir data/balanced
    python prepare_data.py split data/lines --output_dir data/lines_split
    python prepare_data.py dedup data/lines --output_dir data/lines_unique

Pictures drawn from a seed, with every field's box:
    python prepare_data.py synth documents --output_dir data/documents

A person corrects a model's answers, worst confidence first, in the browser:
    python prepare_data.py review data/unlabelled --predictions outputs/p.jsonl --output_dir outputs/review

Every folder of records holds `<split>.jsonl`, `rejects.jsonl` with every row that did not become a record and
why, and `manifest.json`; rows in = records + filtered + rejects. All commands take `--config FILE.yaml`.
The data sets and their raw forms: docs/data.md. The options of one command:
    python prepare_data.py convert --help
"""

import signal
import sys
from importlib import import_module

from vqa.cli import run
from vqa.errors import UserError

# Name: what it does, and its module in `vqa/preparation/` and function there, imported when it is asked for:
# `convert` then starts in a second, without torch.
COMMANDS = {
    "convert": ("a raw data set to records", "convert.main"),
    "validate": ("errors and suspicions; --fix mends the lossless ones", "validate.main"),
    "balance": ("limit blank images, and records of a type", "balance.main"),
    "split": ("train, validation, test without a shared image", "split.main"),
    "dedup": ("merge the same question about the same image", "dedup.main"),
    "synth shapes": ("coloured shapes, words and numbers", "synth_shapes.main"),
    "synth documents": ("forms, receipts, invoices, tables", "synth.documents_main"),
    "synth ui": ("settings pages, dialogs, dashboards", "synth.ui_main"),
    "synth handwriting": ("lines of Vietnamese handwriting", "synth.handwriting_main"),
    "counterfactuals": (
        "copies of images with the evidence, or as much elsewhere, removed",
        "counterfactuals.main",
    ),
    "traces": ("answers of a teacher that reads documents, for a student", "traces.main"),
    "review": ("accept, correct or reject predictions in the browser", "review.main"),
    "stats": ("tables, charts and a contact sheet", "stats.main"),
}


def main() -> int | None:
    """Choose the command, which parses its own arguments."""
    signal.signal(signal.SIGTERM, _end)
    argv = sys.argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        for name, (purpose, _) in COMMANDS.items():
            print(f"  {name:<20}{purpose}")
        return None
    for name, (_, place) in COMMANDS.items():
        words = name.split()
        if argv[: len(words)] == words:
            module, function = place.split(".")
            return vars(import_module(f"vqa.preparation.{module}"))[function](argv[len(words) :])
    given = " ".join(word for word in argv[:2] if not word.startswith("-"))
    raise UserError(f"unknown command {given!r}; commands are {', '.join(COMMANDS)}")


def _end(number: int, _: object) -> None:
    """Leave as an exception does, so that what was half written is removed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    run(main)
