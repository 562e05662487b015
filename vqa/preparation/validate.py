"""Look through records for what training would stumble over: errors, and suspicions for a person to judge.

    python prepare_data.py validate data/slake
    python prepare_data.py validate data/slake --against data/vqa_rad/test.jsonl --max_length 2048
    python prepare_data.py validate data/handwriting --fix --tone_placement new --output_dir data/clean

Each finding is a line of `suspicious.jsonl`, beside the records or in --output_dir: the record's id, its
split, the check, the reason. --fix writes the records into --output_dir, RECORDS_fixed if there is none, with
the repairs that lose nothing (NFC, whitespace, one tone placement where asked, boxes clipped at the edge) and
lists each in `fixes.json`.
The exit code is 1 when there are errors, 0 when there are only suspicions.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqa.cli import option, parse_arguments, positional_first
from vqa.errors import UserError
from vqa.files import write_json, write_jsonl
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation import suspicions_images as images
from vqa.preparation import suspicions_text as text
from vqa.preparation.folders import Folder, check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.hashing import ImageHasher
from vqa.preparation.suspicions import CHECKS, Suspicion
from vqa.preparation.suspicions_fix import Fix, fix_record
from vqa.preparation.suspicions_reading import read_with_errors
from vqa.preparation.suspicions_tokens import (
    Length,
    check_lengths,
    estimate_lengths,
    length_table,
    measure_lengths,
)
from vqa.prompts import STYLES
from vqa.record_checks import Record
from vqa.vietnamese import PLACEMENTS

SUSPICIOUS_FILE, FIXES_FILE = "suspicious.jsonl", "fixes.json"


@dataclass
class ValidateArguments:
    """Arguments of `validate`."""

    records: str | None = option(None, "record folder, or one record file in any accepted form")
    output_dir: str | None = option(
        None, "where suspicious.jsonl is written; default: beside the records, with --fix RECORDS_fixed"
    )
    image_root: str | None = option(None, "folder the image paths are relative to; default: the manifest's")
    against: list[str] = option([], "evaluation sets, files or folders, whose images training must not have")
    max_length: int | None = option(None, "report records of more tokens than this")
    answer_style: str = option("short", f"whose answers are counted: {', '.join(STYLES)}")
    min_pixels: int | None = option(None, "Qwen families: smallest image area the model sees")
    max_pixels: int | None = option(None, "Qwen families: largest image area the model sees")
    model_name_or_path: str | None = option(None, "count with its tokenizer and processor, not by estimate")
    fix: bool = option(False, "write the records with the lossless repairs; those that are read stay")
    tone_placement: str | None = option(None, "with --fix: place Vietnamese tones the 'old' or the 'new' way")
    max_image_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images looked at at a time; the findings do not depend on it")


def find_suspicions(folder: Folder, args: ValidateArguments, hasher: ImageHasher) -> Iterator[Suspicion]:
    """Every suspicion about the records' text, images and boxes, check by check, in the records' order.

    Args:
        folder: the records that can be read.
        args: the command's.
        hasher: has seen their images.
    """
    records = folder.records
    for record in records:
        yield from text.check_whitespace(record)
    yield from text.check_space_before_punctuation(records)
    yield from text.check_spacing_of_answers(records)
    yield from text.check_tone_placement(records)
    for record in records:
        yield from text.check_brackets(record)
    yield from text.check_brackets_across(records)
    yield from images.check_edge_strokes(records, args.max_image_pixels, args.num_proc)
    for record in records:
        yield from text.check_candidates(record)
    yield from text.check_contradictions(records)
    for record in records:
        yield from images.check_boxes(record)
    sets = {
        name: read_folder(
            name, max_pixels=args.max_image_pixels, num_proc=args.num_proc, hasher=hasher
        ).records
        for name in args.against
    }
    if len(folder.files) > 1 or sets:
        hashes = hasher.of([*records, *(record for evaluation in sets.values() for record in evaluation)])
        yield from images.check_near_duplicates(records, hashes)
        yield from images.check_against(records, sets, hashes)


def count_lengths(records: Sequence[Record], args: ValidateArguments) -> dict[str, list[Length | None]]:
    """Tokens of each record, by family or by the model named."""
    if args.model_name_or_path is None:
        return estimate_lengths(records, args.answer_style, args.min_pixels, args.max_pixels)
    from vqa.encoding import PromptEncoder  # they import torch, which is not needed otherwise
    from vqa.models import load_processor

    processor = load_processor(args.model_name_or_path)
    encoder = PromptEncoder(
        processor,
        min_pixels=args.min_pixels,
        max_pixels=args.max_pixels,
        image_max_pixels=args.max_image_pixels,
    )
    name = Path(args.model_name_or_path).name
    return {name: measure_lengths(records, args.answer_style, encoder)}


def main(argv: Sequence[str]) -> int:
    """Check, write what was found, print the tables; return 1 when there are errors."""
    (args,) = parse_arguments(
        ValidateArguments,
        description=__doc__,
        argv=positional_first(argv, "records"),
        prog="prepare_data.py validate",
    )
    _check_arguments(args)
    output_dir = args.output_dir
    if args.fix:
        output_dir = output_dir or default_output(args.records, "fixed")
        check_output_dir(output_dir, "validate", args.records)
    hasher = ImageHasher()
    readings = read_with_errors(args.records, args.image_root, args.max_image_pixels, args.num_proc, hasher)
    folder = readings.folder
    fixes = _fix_all(folder, readings.unicode, args.tone_placement) if args.fix else []
    found = [
        *readings.errors,
        *([] if args.fix else readings.unicode),
        *find_suspicions(folder, args, hasher),
    ]
    lengths = count_lengths(folder.records, args)
    found += check_lengths(folder.records, lengths, args.max_length)
    output = Path(output_dir) if output_dir is not None else folder.path
    if args.fix:
        counts = dict(Counter(fix["fix"] for fix in fixes))
        write_folder(
            output, folder.files, folder.image_root, command="validate", rows_in=readings.rows,
            rejects=readings.rejects, details={"fixes": counts}, source=folder,
        )  # fmt: skip
        write_json(output / FIXES_FILE, fixes)
    write_jsonl(output / SUSPICIOUS_FILE, (suspicion.row() for suspicion in found))
    print("\n".join(_table(found, args, len(folder.files))))
    _print_lengths(lengths, args)
    if args.fix:
        _print_fixes(fixes, output)
    print(f"{readings.rows:,} rows, {len(found):,} findings -> {output / SUSPICIOUS_FILE}")
    return 1 if readings.errors else 0


def _check_arguments(args: ValidateArguments) -> None:
    if args.records is None:
        raise UserError("name the record folder or file: prepare_data.py validate RECORDS")
    if args.answer_style not in STYLES:
        raise UserError(f"--answer_style {args.answer_style}: choose {', '.join(STYLES)}")
    if args.tone_placement not in (None, *PLACEMENTS):
        raise UserError(f"--tone_placement {args.tone_placement}: choose {' or '.join(PLACEMENTS)}")
    if args.tone_placement is not None and not args.fix:
        raise UserError("--tone_placement serves --fix")
    missing = [name for name in args.against if not Path(name).exists()]
    if missing:
        raise UserError(f"--against {missing[0]}: no such file or folder")
    for name in ("max_length", "min_pixels", "max_pixels", "num_proc", "max_image_pixels"):
        value = vars(args)[name]
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1")
    if args.min_pixels and args.max_pixels and args.min_pixels > args.max_pixels:
        raise UserError("--min_pixels is larger than --max_pixels")


def _fix_all(folder: Folder, unicode: Sequence[Suspicion], tone_placement: str | None) -> list[Fix]:
    """Repair the folder's records in place; reading composed the text already, which is listed too."""
    fixes: list[Fix] = [
        {"id": found.record_id, "split": found.split, "field": found.details["field"], "fix": "unicode"}
        for found in unicode
    ]
    for records in folder.files.values():
        for index, record in enumerate(records):
            records[index], found = fix_record(record, tone_placement)
            fixes += found
    return fixes


def _table(found: Sequence[Suspicion], args: ValidateArguments, splits: int) -> list[str]:
    flagged = {check: {(s.split, s.record_id) for s in found if s.check == check} for check in CHECKS}
    skipped = {
        "near_duplicate": splits < 2 and "one split only",
        "against": not args.against and "no --against",
        "max_length": args.max_length is None and not flagged["max_length"] and "no --max_length",
    }
    lines = [f"{'check':<18}{'records':>9}  meaning"]
    for check, meaning in CHECKS.items():
        note = f"not checked: {skipped[check]}" if skipped.get(check) else meaning
        count = "-" if skipped.get(check) else f"{len(flagged[check]):,}"
        lines.append(f"{check:<18}{count:>9}  {note}")
    return lines


def _print_lengths(lengths: dict[str, list[Length | None]], args: ValidateArguments) -> None:
    if args.model_name_or_path is None:
        print("\nimage tokens by the processors' arithmetic; texts estimated, not tokenized")
    print("\n".join(length_table(lengths, args.max_length)) + "\n")


def _print_fixes(fixes: Sequence[Fix], output: Path) -> None:
    for fix, count in sorted(Counter(fix["fix"] for fix in fixes).items()):
        print(f"fixed: {fix:<18}{count:>9,}")
    print(f"{len(fixes):,} fixes, each listed in {output / FIXES_FILE}")
