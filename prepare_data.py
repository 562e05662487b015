"""Make, check and repair folders of records, the one form that training, prediction and judging read.

A publication as its authors publish it becomes records:
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa

Pictures drawn from a seed:
    python prepare_data.py synth shapes --output_dir data/shapes --num_images 1000

Every command leaves `<split>.jsonl`, `rejects.jsonl` with every row that did not become a record and why, and
`manifest.json`; rows in = records + filtered + rejects. All take `--config FILE.yaml`. Options of one:
    python prepare_data.py convert --help
"""

import sys
from collections.abc import Callable, Sequence

from vqa.cli import run
from vqa.errors import UserError
from vqa.preparation import convert, synth_shapes

# Name: what it does, and where it is written.
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int | None]]] = {
    "convert": ("a raw data set to records", convert.main),
    "synth shapes": ("coloured shapes, words and numbers", synth_shapes.main),
}


def main() -> int | None:
    """Choose the command, which parses its own arguments."""
    argv = sys.argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        for name, (purpose, _) in COMMANDS.items():
            print(f"  {name:<20}{purpose}")
        return None
    for name, (_, command) in COMMANDS.items():
        words = name.split()
        if argv[: len(words)] == words:
            return command(argv[len(words) :])
    given = " ".join(word for word in argv[:2] if not word.startswith("-"))
    raise UserError(f"unknown command {given!r}; commands are {', '.join(COMMANDS)}")


if __name__ == "__main__":
    run(main)
