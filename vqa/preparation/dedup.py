"""Keep one of the records that ask the same about the same image and answer it alike.

    python prepare_data.py dedup data/kvasir --output_dir data/kvasir_dedup

Two records are one when their images are equal byte for byte or look the same (`--max_distance` bits of the
perceptual hash, with thumbnails that agree), their questions are equal but for case, spaces and final
punctuation, and their accepted answers are the same. Without an image, question and answers decide. A record
of an evaluation split wins over a training record; within a split the first one stays. Where answers exclude
each other, both are kept, and listed as a conflict. `merged.json` names every record that went, the one that
stands for it, and why.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vqa.cli import option, parse_arguments, positional_first
from vqa.errors import UserError
from vqa.files import write_json
from vqa.image_hashes import (
    MAX_DISTANCE,
    hamming_distance,
    hash_text,
    image_groups,
    looks_alike,
)
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.metrics.matching import normalize_text
from vqa.preparation.folders import check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.hashing import Hashes, ImageHasher
from vqa.preparation.summary import print_summary
from vqa.preparation.suspicions_images import split_rank
from vqa.preparation.suspicions_text import agree, normal_question
from vqa.record_checks import Record

MERGED_FILE = "merged.json"


@dataclass
class DedupArguments:
    """Arguments of `dedup`."""

    records: str = field(metadata={"help": "record folder, or one record file in any accepted form"})
    output_dir: str | None = option(None, "record folder to write; default: RECORDS_dedup")
    image_root: str | None = option(None, "folder the image paths are relative to; default: the manifest's")
    max_distance: int = option(
        MAX_DISTANCE, "bits of the perceptual hash that may differ; -1: equal bytes only"
    )
    max_image_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images hashed at a time; the result does not depend on it")


@dataclass(frozen=True)
class Merging:
    """What became of the records.

    Attributes:
        files: split -> records that stay, in their order.
        merged: one entry for each record that went.
        conflicts: one entry for each record that another one contradicts; both stay.
    """

    files: dict[str, list[Record]]
    merged: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]


def merge_duplicates(files: dict[str, list[Record]], hashes: Hashes, max_distance: int) -> Merging:
    """Find the records that say the same as another one; see the module's text.

    Args:
        files: split -> records, in file order.
        hashes: path of each image -> (sha256, perceptual hash).
        max_distance: bits of the perceptual hash that may differ; -1: equal bytes only.
    """
    first = {path: group[0] for group in image_groups(hashes, max_distance) for path in group}
    alike: dict[tuple, list[tuple[str, int]]] = defaultdict(list)
    in_order = sorted(files, key=lambda split: -split_rank(split))  # stable: then in the order of the files
    for split in in_order:
        for index, record in enumerate(files[split]):
            images = tuple(first.get(path, path) for path in record["images"])
            alike[(images, normal_question(record["question"]), _options(record))].append((split, index))
    merged, conflicts, gone = [], [], set()
    for places in tqdm(alike.values(), desc="Comparing", unit=" questions", delay=2, disable=None):
        kept: list[Record] = []
        for split, index in places:
            record = files[split][index]
            same = [
                (other, distance)
                for other in kept
                if (distance := _distance(record, other, hashes, max_distance)) is not None
            ]
            twin = next((found for found in same if _answers(found[0]) == _answers(record)), None)
            if twin is not None:
                merged.append(_entry(record, *twin, hashes))
                gone.add((split, index))
                continue
            against = next((found for found in same if not agree(record, found[0])), None)
            if against is not None:
                answers = {"answers": record["answers"], "other_answers": against[0]["answers"]}
                conflicts.append(_entry(record, *against, hashes) | answers)
            kept.append(record)
    left = {
        split: [record for index, record in enumerate(records) if (split, index) not in gone]
        for split, records in files.items()
    }
    return Merging(left, merged, conflicts)


def _options(record: Record) -> tuple[str, ...]:
    """The options of a multiple choice: with others it is another question."""
    named = record["question_type"] == "mcq" and record["answer_candidates"]
    return tuple(sorted(option.casefold() for option in named or ()))


def _answers(record: Record) -> tuple:
    """What is accepted, as matching compares it; transcriptions to the letter but for spacing."""
    exact = record["question_type"] == "transcription"
    texts = (" ".join(text.split()) if exact else normalize_text(text) for text in record["answers"])
    return record["answerable"], frozenset(texts)


def _distance(record: Record, other: Record, hashes: Hashes, max_distance: int) -> int | None:
    """The largest distance between two records' images, in their order; None when a pair is not the same."""
    distances = [0]
    for path, other_path in zip(record["images"], other["images"], strict=True):
        (sha256, phash), (other_sha256, other_phash) = hashes[path], hashes[other_path]
        if sha256 == other_sha256:
            continue
        if not looks_alike(phash, other_phash, max_distance):
            return None
        distances.append(max(1, hamming_distance(phash, other_phash)))
    return max(distances)


def _entry(record: Record, other: Record, distance: int, hashes: Hashes) -> dict[str, Any]:
    """One line of the books; `distance` 0 means equal bytes, else it is in bits of the perceptual hash."""
    return {
        "id": record["id"],
        "split": record["split"],
        "same_as": other["id"],
        "same_as_split": other["split"],
        "question": record["question"],
        "distance": distance,
        "image_sha256": record["image_sha256"],
        "same_as_sha256": other["image_sha256"],
        "phash": [hash_text(hashes[path][1]) for path in record["images"]],
        "same_as_phash": [hash_text(hashes[path][1]) for path in other["images"]],
    }


def main(argv: Sequence[str]) -> None:
    """Read, merge, write, and say how many went."""
    (args,) = parse_arguments(
        DedupArguments,
        description=__doc__,
        argv=positional_first(argv, "records"),
        prog="prepare_data.py dedup",
    )
    if not -1 <= args.max_distance <= 20:
        raise UserError(f"--max_distance {args.max_distance}: choose 0 to 20, or -1 for equal bytes only")
    if args.num_proc < 1 or args.max_image_pixels < 1:
        raise UserError("--num_proc and --max_image_pixels must be at least 1")
    output_dir = args.output_dir or default_output(args.records, "dedup")
    check_output_dir(output_dir, "dedup", args.records)
    hasher = ImageHasher()
    folder = read_folder(
        args.records, args.image_root, args.max_image_pixels, num_proc=args.num_proc, hasher=hasher
    )
    merging = merge_duplicates(folder.files, hasher.of(folder.records), args.max_distance)
    details = {"max_distance": args.max_distance, "conflicts": len(merging.conflicts)}
    manifest = write_folder(
        output_dir,
        merging.files,
        folder.image_root,
        command="dedup",
        rows_in=len(folder.records),
        filtered={"duplicate": len(merging.merged)} if merging.merged else {},
        details=details,
        source=folder,
    )
    path = Path(output_dir) / MERGED_FILE
    write_json(path, {"merged": merging.merged, "conflicts": merging.conflicts})
    print_summary(output_dir, manifest)
    print(f"{len(merging.merged):,} merged, {len(merging.conflicts):,} conflicting answers kept -> {path}")
