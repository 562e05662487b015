"""Divide records into splits so that no image, nor its near-duplicate, is in two of them.

    python prepare_data.py split data/raw.json --output_dir data/split
    python prepare_data.py split data/slake --ratios train=0.9 validation=0.1 --seed 1 --output_dir data/split

What belongs together stays together: records that share an image file's bytes, records whose images look the
same (vqa/image_hashes.py; --max_distance), and records with several images tie the groups of all of them.
Whole groups are then dealt out so that every question type keeps the ratios, as closely as the groups allow.

Published splits stay as they are. What is divided is what --divide names; else the split that no publication
has (`questions.jsonl`); else `train`, or the only one there is. It fills `train` and those splits of --ratios
that are not there yet, in proportion. A record of it that shares an image with a split that stays would leak:
it is left out, counted in the manifest as filtered (--conflicts keep leaves it in the training split). Two
splits that stay and share images are reported, not changed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vqa.cli import option, parse_arguments, positional_first
from vqa.datasets.layouts import SPLITS
from vqa.errors import UserError
from vqa.image_hashes import MAX_DISTANCE, image_groups
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation.folders import Folder, check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.groups import deal, record_groups
from vqa.preparation.hashing import ImageHasher
from vqa.preparation.shares import parse_shares
from vqa.preparation.summary import print_summary
from vqa.record_checks import Record

TRAIN = "train"
LISTED = 100


@dataclass
class SplitArguments:
    """Arguments of `split`."""

    records: str = field(metadata={"help": "record folder or file"})
    output_dir: str | None = option(
        None, "record folder to write; images are not copied; default: RECORDS_split"
    )
    ratios: list[str] = option(["train=0.8", "validation=0.1", "test=0.1"], "SPLIT=SHARE of the records")
    divide: list[str] = option([], "splits to divide; default: train, or the only one there is")
    conflicts: str = option(
        "leave_out", "records that share an image with a split that stays: leave_out or keep"
    )
    seed: int = option(0, "the same seed gives the same files")
    max_distance: int = option(
        MAX_DISTANCE, "bits of 64 in which near-duplicates' hashes may differ, 0 to 20"
    )
    image_root: str | None = option(None, "folder of the images; default: the manifest's")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images hashed at a time; the files do not depend on it")


@dataclass(frozen=True)
class Division:
    """What `divide` decided.

    Attributes:
        files: split -> records.
        left_out: `near-duplicate of SPLIT` -> number of records.
        conflicts: of groups that reach into splits that stay: `{"splits", "images"}`.
        groups: number of groups that were dealt out, and the number of records in the largest.
    """

    files: dict[str, list[Record]]
    left_out: Counter
    conflicts: list[dict[str, Any]]
    groups: dict[str, int]


def main(argv: Sequence[str]) -> None:
    """Read, hash, group, deal, write."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(SplitArguments, description=__doc__, argv=argv, prog="prepare_data.py split")
    ratios = parse_ratios(args.ratios)
    if args.conflicts not in ("leave_out", "keep"):
        raise UserError(f"--conflicts {args.conflicts}: leave_out or keep")
    if not 0 <= args.max_distance <= 20:
        raise UserError(f"--max_distance {args.max_distance}: from 0 to 20")
    if args.num_proc < 1:
        raise UserError("--num_proc must be at least 1")
    output_dir = args.output_dir or default_output(args.records, "split")
    check_output_dir(output_dir, "split", args.records)
    hasher = ImageHasher()
    folder = read_folder(
        args.records, args.image_root, args.max_pixels, num_proc=args.num_proc, hasher=hasher
    )
    pool = splits_to_divide(args.divide, folder)
    same = image_groups(hasher.of(folder.records), args.max_distance)
    division = divide(folder.files, same, ratios, pool, args.conflicts == "keep", args.seed)
    manifest = write_folder(
        output_dir,
        division.files,
        folder.image_root,
        command="split",
        rows_in=len(folder.records),
        filtered=dict(sorted(division.left_out.items())),
        details={
            "ratios": {name: float(share) for name, share in ratios.items()},
            "divided": pool,
            "seed": args.seed,
            "max_distance": args.max_distance,
            **division.groups,
            "conflicts": len(division.conflicts),
            "conflicts_listed": [_portable(row, folder) for row in division.conflicts[:LISTED]],
        },
        source=folder,
    )
    print_summary(output_dir, manifest)
    Console().print(shares_table(division.files))
    report(division, [name for name in ratios if not division.files.get(name)])


def parse_ratios(pairs: Iterable[str]) -> dict[str, Fraction]:
    """`["train=0.8", "test=0.2"]` -> exact shares, brought to the sum 1. Raises UserError."""
    ratios = parse_shares("ratios", pairs)
    empty = [name for name, share in ratios.items() if not share]
    if empty:
        raise UserError(f"--ratios {empty[0]}: a share above 0")
    total = sum(ratios.values())
    if not ratios:
        raise UserError("--ratios: name a split at least, such as train=0.8 test=0.2")
    if abs(total - 1) > Fraction(1, 1000):
        raise UserError(f"--ratios: the shares sum to {float(total):g}, not to 1")
    return {name: share / total for name, share in ratios.items()}


def splits_to_divide(named: Sequence[str], folder: Folder) -> list[str]:
    """The splits whose records may move; see the module's text. Raises UserError when that is not clear."""
    there = ", ".join(folder.files)
    unknown = [name for name in named if name not in folder.files]
    if unknown:
        raise UserError(f"--divide {unknown[0]}: {folder.path} has {there}")
    if named:
        return list(named)
    unsplit = [name for name in folder.files if name.lower() not in SPLITS]
    pool = unsplit or [name for name in folder.files if SPLITS[name.lower()] == TRAIN] or list(folder.files)
    if len(pool) > 1:
        raise UserError(f"{folder.path} has the splits {there}; say which to divide with --divide")
    return pool


def divide(
    files: Mapping[str, Sequence[Record]],
    same_images: Iterable[Sequence[str]],
    ratios: Mapping[str, Fraction],
    pool: Sequence[str],
    keep_conflicts: bool,
    seed: int,
) -> Division:
    """Deal the records of `pool` out among those splits of `ratios` that do not stay as they are.

    Args:
        files: split -> records.
        same_images: groups of image paths that are duplicates or near-duplicates.
        ratios: share of each split.
        pool: splits whose records move; the others stay.
        keep_conflicts: records that share an image with a split that stays go to the training split instead
            of being left out.
        seed: breaks ties.
    """
    origin = [split for split, records in files.items() for _ in records]
    records = [record for rows in files.values() for record in rows]
    kept = set(files) - set(pool)
    roles = {SPLITS.get(name.lower(), name) for name in kept}
    # The training split may grow; what is judged on stays as it was published, also under another name.
    missing = {
        name: share
        for name, share in ratios.items()
        if name == TRAIN or (name not in kept and SPLITS.get(name, name) not in roles)
    }
    place: dict[int, str] = {index: split for index, split in enumerate(origin) if split in kept}
    left_out: Counter = Counter()
    conflicts, free = [], []
    for group in record_groups(records, same_images):
        fixed = sorted({origin[index] for index in group} & kept)
        moving = [index for index in group if origin[index] not in kept]
        if not fixed:
            free.append(group)
            continue
        if moving or len(fixed) > 1:
            splits = sorted({origin[index] for index in group})
            images = sorted({path for index in group for path in records[index]["images"]})
            conflicts.append({"splits": splits, "images": images})
        if keep_conflicts:
            place |= dict.fromkeys(moving, TRAIN)
        else:
            left_out.update({f"near-duplicate of {'+'.join(fixed)}": len(moving)} if moving else {})
    if free and not missing:
        raise UserError(
            f"--ratios: {', '.join(ratios)} are there and stay; name a split for the "
            f"{sum(map(len, free)):,} records of {', '.join(pool)}"
        )
    types = [record["question_type"] for record in records]
    for group, split in zip(free, deal(free, types, missing, seed), strict=True):
        place |= dict.fromkeys(group, split)
    divided: dict[str, list[Record]] = {name: [] for name in [*ratios, *sorted(kept - set(ratios)), TRAIN]}
    for index, record in enumerate(records):
        if index in place:
            divided[place[index]].append(record)
    sizes = {"groups": len(free), "largest_group": max(map(len, free), default=0)}
    return Division({name: rows for name, rows in divided.items() if rows}, left_out, conflicts, sizes)


def shares_table(files: Mapping[str, Sequence[Record]]) -> Table:
    """Records of each type and split, with the share of the type that the split holds."""
    counts = {name: Counter(record["question_type"] for record in rows) for name, rows in files.items()}
    table = Table(title="records, and share of the type", title_justify="left")
    table.add_column("type")
    for name in files:
        table.add_column(Text(name), justify="right")
    for kind in sorted({kind for counter in counts.values() for kind in counter}):
        total = sum(counter[kind] for counter in counts.values())
        table.add_row(kind, *(f"{row[kind]:,}  {row[kind] / total:6.1%}" for row in counts.values()))
    total = sum(counter.total() for counter in counts.values())
    table.add_section()
    table.add_row("all", *(f"{row.total():,}  {row.total() / total:6.1%}" for row in counts.values()))
    return table


def report(division: Division, empty: Sequence[str]) -> None:
    """Say in words what the tables do not show."""
    groups = division.groups
    print(f"{groups['groups']:,} image groups dealt out; the largest has {groups['largest_group']:,} records")
    if division.conflicts:
        pairs = Counter("+".join(row["splits"]) for row in division.conflicts)
        listed = ", ".join(f"{name}: {count:,}" for name, count in sorted(pairs.items()))
        print(
            f"{len(division.conflicts):,} image groups are in several published splits ({listed}); "
            "the manifest lists them"
        )
    for name in empty:
        print(f"split {name} got no record: there are too few image groups")


def _portable(conflict: dict[str, Any], folder: Folder) -> dict[str, Any]:
    root = folder.image_root.resolve()
    return conflict | {"images": [Path(path).relative_to(root).as_posix() for path in conflict["images"]]}
