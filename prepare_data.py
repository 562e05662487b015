"""Make folders of records, the one form that training, prediction and judging read.

easy-VQA, from the PyPI package of that name (or from --input DIR), 48,248 records in half a minute:
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa

The same with 500 training images held out, and with the test split only:
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa --validation_images 500
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa_test --split test

Synthetic images of shapes with their questions:
    python prepare_data.py synth shapes --output_dir data/shapes --num_images 1000 --seed 0 --split train

Each leaves `<split>.jsonl`, `rejects.jsonl` with every row that did not become a record and why, and
`manifest.json`; rows in = records + filtered + rejects. Options of one command:
    python prepare_data.py convert --help
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa.cli import parse_arguments, run
from vqa.datasets import CONVERTERS
from vqa.datasets.conversion import ConvertOptions, convert
from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.manifests import read_manifest, write_manifest
from vqa.synthesis.shapes import write_shapes

PROGRAM = "prepare_data.py"


@dataclass
class ConvertArguments:
    """Arguments of `convert`."""

    dataset: str = field(metadata={"help": f"the data set: {', '.join(CONVERTERS)}"})
    output_dir: str = field(metadata={"help": "record folder to write; an earlier one is replaced"})
    input: str | None = field(
        default=None, metadata={"help": "folder of the publication (easy_vqa: the installed package)"}
    )
    split: list[str] = field(
        default_factory=list, metadata={"help": "keep these splits only; other rows count as filtered"}
    )
    validation_images: int = field(
        default=0, metadata={"help": "hold out the last N training images as split 'validation'"}
    )
    max_pixels: int = field(
        default=DEFAULT_MAX_PIXELS, metadata={"help": "reject images of more pixels, without decoding them"}
    )


@dataclass
class ShapesArguments:
    """Arguments of `synth shapes`."""

    output_dir: str = field(metadata={"help": "record folder to write or to add a split to"})
    num_images: int = field(default=1000, metadata={"help": "images to draw"})
    seed: int = field(default=0, metadata={"help": "the same seed gives the same files"})
    split: str = field(default="train", metadata={"help": "name of the split"})
    num_proc: int = field(default=1, metadata={"help": "processes; the files do not depend on it"})


def run_convert(argv: Sequence[str]) -> None:
    """`convert`: a publication to a record folder."""
    (args,) = parse_arguments(ConvertArguments, description=__doc__, argv=argv, prog=f"{PROGRAM} convert")
    if args.dataset not in CONVERTERS:
        raise UserError(f"--dataset {args.dataset}: unknown; known are {', '.join(CONVERTERS)}")
    options = ConvertOptions(tuple(args.split), args.validation_images, args.max_pixels)
    source = Path(args.input) if args.input is not None else None
    print_summary(args.output_dir, convert(CONVERTERS[args.dataset], source, Path(args.output_dir), options))


def run_shapes(argv: Sequence[str]) -> None:
    """`synth shapes`: images of shapes and words, with questions of every type."""
    (args,) = parse_arguments(ShapesArguments, description=__doc__, argv=argv, prog=f"{PROGRAM} synth shapes")
    if args.num_images < 1 or args.num_proc < 1:
        raise UserError("--num_images and --num_proc must be at least 1")
    earlier = read_manifest(Path(args.output_dir))
    if earlier and "synthesis" not in earlier:
        raise UserError(f"--output_dir {args.output_dir}: holds another data set; give another folder")
    counts = write_shapes(args.output_dir, args.num_images, args.seed, args.split, args.num_proc)
    manifest = write_manifest(
        args.output_dir,
        rows_in=counts["records"],
        files=[f"{args.split}.jsonl"],
        details={"synthesis": {"name": "shapes", "num_images": args.num_images, "seed": args.seed}},
    )
    print_summary(args.output_dir, manifest)


def print_summary(output_dir: str, manifest: dict[str, Any]) -> None:
    """Say in a table what a record folder holds."""
    rows = manifest["rows"]
    for title, counts in manifest["counts"].items():
        print(title.removeprefix("by_").replace("_", " "))
        for name, count in counts.items():
            print(f"  {name:<24}{count:>10,}")
    print(
        f"{rows['in']:,} rows in = {rows['records']:,} records + {rows['filtered']:,} filtered "
        f"+ {rows['rejects']:,} rejects -> {output_dir}"
    )


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"convert": run_convert, "synth shapes": run_shapes}


def main() -> None:
    """Choose the command, which parses its own arguments."""
    argv = sys.argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\ncommands: {', '.join(COMMANDS)}")
        return
    for name, command in COMMANDS.items():
        words = name.split()
        if argv[: len(words)] == words:
            command(argv[len(words) :])
            return
    given = " ".join(word for word in argv[:2] if not word.startswith("-"))
    raise UserError(f"unknown command {given!r}; commands are {', '.join(COMMANDS)}")


if __name__ == "__main__":
    run(main)
