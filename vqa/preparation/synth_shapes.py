"""Synthetic pictures of shapes and words, with questions of every type.

python prepare_data.py synth shapes --output_dir data/shapes --num_images 1000 --seed 0 --split train
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vqa.cli import option, parse_arguments
from vqa.errors import UserError
from vqa.manifests import NOT_RECORDS, write_manifest
from vqa.preparation.folders import check_synth_dir
from vqa.preparation.summary import print_summary
from vqa.synthesis.shapes import write_shapes


@dataclass
class ShapesArguments:
    """Arguments of `synth shapes`."""

    output_dir: str = field(metadata={"help": "record folder to write or to add a split to"})
    num_images: int = option(1000, "images to draw")
    seed: int = option(0, "the same seed gives the same files")
    split: str = option("train", "name of the split")
    num_proc: int = option(1, "processes; the files do not depend on it")


def main(argv: Sequence[str]) -> None:
    """Draw the pictures and write their records."""
    (args,) = parse_arguments(
        ShapesArguments, description=__doc__, argv=argv, prog="prepare_data.py synth shapes"
    )
    if args.num_images < 1 or args.num_proc < 1:
        raise UserError("--num_images and --num_proc must be at least 1")
    if not re.fullmatch(r"\w[\w.+-]{0,99}", args.split) or args.split in NOT_RECORDS:
        raise UserError(f"--split {args.split!r}: not a name for a split")
    check_synth_dir(args.output_dir, "shapes")
    counts = write_shapes(args.output_dir, args.num_images, args.seed, args.split, args.num_proc)
    manifest = write_manifest(
        args.output_dir,
        rows_in=counts["records"],
        files=[f"{args.split}.jsonl"],
        details={"synthesis": {"name": "shapes", "num_images": args.num_images, "seed": args.seed}},
    )
    print_summary(args.output_dir, manifest)
