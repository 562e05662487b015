"""Limit the share of blank images, and the number and share of questions of a type, in a record folder.

At most three records in ten show a blank image; which ones stay is drawn with the seed:
    python prepare_data.py balance data/cells --max_blank_ratio 0.3 --output_dir data/cells_balanced

At most 1,000 yes/no questions and 500 of colour; blank images as they are:
    python prepare_data.py balance data/shapes --max_per_type yes_no=1000 color=500 --output_dir data/capped

At most two records in five are yes/no questions, whatever else goes:
    python prepare_data.py balance data/slake --max_type_ratio yes_no=0.4 --output_dir data/slake_balanced

Ratios hold exactly for the records that stay, per split, and as many stay as can under all limits together.
An image is blank when less than --blank_ink of its area is ink (vqa/ink.py says what counts as ink): paper of
any colour, shadows, grain, ruled lines and a scanner's black edge are no ink, a lone digit is. Labels are not
looked at. A record is blank when all its images are. Only the training split, or the only one, is cut
unless --splits names others. Order is kept; what is left out is counted in the manifest as filtered.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction

from tqdm.auto import tqdm

from vqa.cli import option, parse_arguments, positional_first
from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS, ImageProblem
from vqa.ink import DEFAULT_BLANK_INK, ink_share
from vqa.preparation.folders import Folder, check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.shares import Limits, choose, parse_shares
from vqa.preparation.summary import print_summary
from vqa.questions import QUESTION_TYPES
from vqa.record_checks import Record


@dataclass
class BalanceArguments:
    """Arguments of `balance`."""

    records: str = field(metadata={"help": "record folder or file"})
    output_dir: str | None = option(
        None, "record folder to write; images are not copied; default: RECORDS_balanced"
    )
    max_blank_ratio: float | None = option(
        None, "greatest share of records with blank images, 0 to 1; without it no image is looked at"
    )
    blank_ink: float = option(DEFAULT_BLANK_INK, "an image with a smaller share of ink is blank")
    max_per_type: list[str] = option([], "TYPE=COUNT, greatest number of records of a type, per split")
    max_type_ratio: list[str] = option([], "TYPE=SHARE, greatest share of the records that stay, per split")
    splits: list[str] = option(
        [], "splits to balance; default: train, or the only one; the others are copied as they are"
    )
    seed: int = option(0, "draws which records stay; the same seed gives the same files")
    image_root: str | None = option(None, "folder of the images; default: the manifest's")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images looked at at a time; the files do not depend on it")


def main(argv: Sequence[str]) -> None:
    """Read, drop, write."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(
        BalanceArguments, description=__doc__, argv=argv, prog="prepare_data.py balance"
    )
    limits = Limits(
        blank=exact_ratio(1 if args.max_blank_ratio is None else args.max_blank_ratio),
        counts=parse_caps(args.max_per_type),
        shares=parse_shares("max_type_ratio", args.max_type_ratio),
    )
    _check_types("max_type_ratio", limits.shares)
    if args.max_blank_ratio is None and not limits.counts and not limits.shares:
        raise UserError("nothing to balance: give --max_blank_ratio, --max_per_type or --max_type_ratio")
    if not 0 <= args.blank_ink <= 1:
        raise UserError(f"--blank_ink {args.blank_ink}: a share of the area, from 0 to 1")
    output_dir = args.output_dir or default_output(args.records, "balanced")
    check_output_dir(output_dir, "balance", args.records)
    folder = read_folder(args.records, args.image_root, args.max_pixels, check_images=False)
    splits = splits_to_balance(args.splits, folder)
    paths = [path for split in splits for record in folder.files[split] for path in record["images"]]
    ink = {}
    if args.max_blank_ratio is not None:
        ink = measure_ink(paths, args.num_proc, args.max_pixels)
    files, left_out, blanks = dict(folder.files), Counter(), {}
    for split in splits:
        records = folder.files[split]
        blank = [is_blank(record, ink, args.blank_ink) for record in records]
        types = [record["question_type"] for record in records]
        reasons = choose(types, blank, limits, f"{args.seed}/{split}")
        if len(reasons) == len(records) and limits.shares:
            raise UserError(
                f"--max_type_ratio: no record of split {split} could stay; the greatest shares of all its "
                "types have to reach 1 together"
            )
        left_out.update(reasons.values())
        files[split] = [record for index, record in enumerate(records) if index not in reasons]
        if args.max_blank_ratio is not None:
            kept = sum(flag for index, flag in enumerate(blank) if index not in reasons)
            blanks[split] = {"blank_before": sum(blank), "blank": kept, "records": len(files[split])}
    manifest = write_folder(
        output_dir,
        files,
        folder.image_root,
        command="balance",
        rows_in=len(folder.records),
        filtered=dict(sorted(left_out.items())),
        details={
            "max_blank_ratio": args.max_blank_ratio,
            "blank_ink": args.blank_ink,
            "max_per_type": limits.counts,
            "max_type_ratio": {name: str(share) for name, share in limits.shares.items()},
            "seed": args.seed,
            "splits": splits,
            "blanks": blanks,
        },
        source=folder,
    )
    print_summary(output_dir, manifest)
    for split, row in blanks.items():
        share = row["blank"] / row["records"] if row["records"] else 0
        print(
            f"{split}: {row['blank']:,} of {row['records']:,} records are blank ({share:.1%}); "
            f"{row['blank_before']:,} were"
        )


def splits_to_balance(named: Sequence[str], folder: Folder) -> list[str]:
    """The splits to cut; see the module's text. Raises UserError for one that is not there."""
    there = list(folder.files)
    splits = list(named) or (there if len(there) == 1 else ["train"])
    unknown = [split for split in splits if split not in folder.files]
    if unknown:
        raise UserError(f"--splits {unknown[0]}: {folder.path} has {', '.join(there)}")
    return splits


def exact_ratio(value: float) -> Fraction:
    """A ratio as it was written: 0.3 is 3/10, not the nearest binary number. Raises UserError."""
    if not 0 <= value <= 1:
        raise UserError(f"--max_blank_ratio {value}: a share, from 0 to 1")
    return Fraction(str(value))


def parse_caps(pairs: Iterable[str]) -> dict[str, int]:
    """`["yes_no=1000"]` -> `{"yes_no": 1000}`. Raises UserError."""
    caps: dict[str, int] = {}
    for pair in pairs:
        name, separator, count = pair.partition("=")
        if not separator or not count.isdecimal():
            raise UserError(f"--max_per_type {pair}: expected TYPE=COUNT, such as yes_no=1000")
        if name in caps:
            raise UserError(f"--max_per_type {pair}: {name} is given twice")
        caps[name] = int(count)
    _check_types("max_per_type", caps)
    return caps


def _check_types(option_name: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in QUESTION_TYPES:
            raise UserError(f"--{option_name} {name}: no such type; types are {', '.join(QUESTION_TYPES)}")


def measure_ink(paths: Iterable[str], num_proc: int, max_pixels: int) -> dict[str, float]:
    """Share of ink of each distinct image. Raises UserError naming an image that cannot be read."""
    if num_proc < 1:
        raise UserError("--num_proc must be at least 1")
    distinct = list(dict.fromkeys(paths))

    def look(path: str) -> float:
        try:
            return ink_share(path, max_pixels)
        except ImageProblem as problem:
            raise UserError(f"{path}: {problem}") from problem

    with ThreadPoolExecutor(num_proc) as threads:
        shares = threads.map(look, distinct)
        bar = tqdm(shares, desc="Looking for ink", unit=" images", total=len(distinct), delay=2, disable=None)
        return dict(zip(distinct, bar, strict=True))


def is_blank(record: Record, ink: Mapping[str, float], blank_ink: float) -> bool:
    """Whether a record has images and all are blank. An image that was not measured is not blank."""
    return bool(record["images"]) and all(ink.get(path, 1.0) < blank_ink for path in record["images"])
