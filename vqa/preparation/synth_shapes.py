"""Synthetic pictures of shapes and words, with questions of every type.

python prepare_data.py synth shapes --output_dir data/shapes --num_images 1000 --seed 0 --split train
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqa.cli import option, parse_arguments
from vqa.errors import UserError
from vqa.manifests import read_manifest, write_manifest
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
