"""A data set as its authors publish it -> a folder of checked records.

    python prepare_data.py convert --dataset slake --input raw/Slake1.0 --output_dir data/slake --language en
    python prepare_data.py convert --dataset easy_vqa --output_dir data/easy_vqa --validation_images 500
    python prepare_data.py convert --dataset hub --input org/name --output_dir data/name --config columns.yaml

A config may hold any option, and for `hub` the columns as a mapping, `columns: {question: Question, ...}`.
docs/data.md lists the data sets, and where the schema of each was taken from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqa.cli import option, parse_arguments
from vqa.datasets import CONVERTERS
from vqa.datasets.conversion import ConvertOptions, convert
from vqa.datasets.layouts import SPLITS
from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation.summary import print_summary


@dataclass
class ConvertArguments:
    """Arguments of `convert`."""

    dataset: str = field(metadata={"help": f"the data set: {', '.join(CONVERTERS)}"})
    output_dir: str = field(metadata={"help": "record folder to write; an earlier one is replaced"})
    input: str | None = option(
        None, "folder of the publication (easy_vqa: the installed package; hub: an id)"
    )
    split: list[str] = option([], "keep these splits only; other rows count as filtered")
    language: str = option("all", "keep questions in this language only, for sets in several: en, zh, all")
    level: str = option("all", "line, word or all, for handwriting sets that have both")
    questions: str | None = option(None, "table of questions (csv, tsv, json, jsonl), for dicom")
    columns: list[str] = option([], "FIELD=COLUMN of the data set, for hub")
    validation_images: int = option(0, "easy_vqa: hold out the last N training images as split 'validation'")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "reject images of more pixels, without decoding them")
    num_proc: int = option(4, "images decoded and hashed at a time; the records do not depend on it")


def main(argv: Sequence[str]) -> None:
    """Convert one data set and print what became of its rows."""
    (args,) = parse_arguments(
        ConvertArguments, description=__doc__, argv=argv, prog="prepare_data.py convert"
    )
    if args.dataset not in CONVERTERS:
        raise UserError(f"--dataset {args.dataset}: unknown; known are {', '.join(CONVERTERS)}")
    if args.level not in ("line", "word", "all"):
        raise UserError(f"--level {args.level}: choose line, word or all")
    if args.num_proc < 1:
        raise UserError("--num_proc must be at least 1")
    if args.questions is not None and not Path(args.questions).is_file():
        raise UserError(f"--questions {args.questions}: no such file")
    options = ConvertOptions(
        # `validate` and `dev` are `validation` here too, as they are in the names of files.
        splits=tuple(dict.fromkeys(SPLITS.get(name.lower(), name) for name in args.split)),
        validation_images=args.validation_images,
        max_pixels=args.max_pixels,
        language=args.language,
        level=args.level,
        questions=Path(args.questions) if args.questions is not None else None,
        columns=_columns(args.columns),
        num_proc=args.num_proc,
    )
    source = Path(args.input) if args.input is not None else None
    print_summary(args.output_dir, convert(CONVERTERS[args.dataset], source, Path(args.output_dir), options))


def _columns(given: list[str] | dict[str, str]) -> dict[str, str]:
    if isinstance(given, dict):  # as a YAML config writes it
        return {str(name): str(column) for name, column in given.items()}
    wrong = [item for item in given if "=" not in item]
    if wrong:
        raise UserError(f"--columns {wrong[0]}: expected FIELD=COLUMN")
    return dict(item.split("=", 1) for item in given)
