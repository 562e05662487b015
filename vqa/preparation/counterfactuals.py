"""The records of a folder on images without their evidence, and on images without something else.

    python prepare_data.py counterfactuals data/documents
    python prepare_data.py counterfactuals data/slake/test.jsonl --output_dir data/slake_cf --method blur

OUTPUT_DIR/roi holds the records with their evidence boxes removed from the images, OUTPUT_DIR/random the same
records with a random region of the same size removed that does not touch the evidence; OUTPUT_DIR is
data/documents_counterfactuals where none is given. Both are record folders; ids are those of the original, so
that predictions on all three join. Left out of both, and counted: records without evidence boxes, those whose
boxes cover (nearly) a whole image, and those without room for a random region. How the predictions are
judged: docs/counterfactuals.md.
"""

import hashlib
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from tqdm.auto import tqdm

from vqa.cli import option, parse_arguments, positional_first
from vqa.counterfactuals import (
    COVERED_SHARE,
    DILATION,
    METHODS,
    PixelBox,
    covers,
    pixel_boxes,
    random_regions,
    remove_regions,
)
from vqa.errors import InputErrors, UserError
from vqa.files import atomic_write, sha256_file
from vqa.images import DEFAULT_MAX_PIXELS, ImageFacts, ImageProblem, open_image
from vqa.preparation.folders import Folder, check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.summary import print_summary
from vqa.record_checks import Record, check_against_images

COMMAND = "counterfactuals"
KINDS = ("roi", "random")
NO_BOXES, COVERED, NO_ROOM = "no evidence boxes", "evidence covers the image", "no room for a random region"
_OUR_IMAGE = re.compile(r"[0-9a-f]{32}\.png")

# An image and the boxes on it: what is masked once, however many questions share it.
Evidence = tuple[str, tuple[tuple[float, ...], ...]]


@dataclass
class CounterfactualArguments:
    """Arguments of `counterfactuals`."""

    records: str = field(metadata={"help": "record folder or file"})
    output_dir: str | None = option(
        None, "folder to write, gets the record folders roi and random; default: FOLDER_counterfactuals"
    )
    method: str = option("telea", f"how regions are filled: {', '.join(METHODS)}")
    seed: int = option(0, "draws the random regions; the same seed gives the same files")
    covered_share: float = option(COVERED_SHARE, "boxes over this share of an image cover it")
    image_root: str | None = option(None, "folder of the images; default: the manifest's")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(1, "images worked on at a time; the files do not depend on it")


@dataclass(frozen=True)
class Masked:
    """What became of one `Evidence`.

    Attributes:
        skipped: why there are no masked images; None where there are.
        images: kind -> (file, sha256 of its bytes).
        regions: kind -> the boxes that were removed, whole pixels.
    """

    skipped: str | None
    images: dict[str, tuple[str, str]]
    regions: dict[str, list[PixelBox]]


def mask_image(
    path: str, box_sets: Sequence[tuple], folders: Mapping[str, Path], args: CounterfactualArguments
) -> tuple[ImageFacts, list[Masked]]:
    """Decode an image once and write it without each set of boxes, and without as many random regions.

    Raises:
        ImageProblem: it cannot be decoded.
    """
    image = open_image(path, args.max_pixels)
    sha256 = sha256_file(path)

    def write(kind: str, regions: list[PixelBox]) -> tuple[str, str]:
        name = hashlib.sha256(f"{sha256}/{args.method}/{regions}".encode()).hexdigest()[:32]
        path = folders[kind] / f"{name}.png"
        encoded = BytesIO()
        # Level 1 takes a third of the time of the default, for files of the same size.
        remove_regions(image, regions, args.method).save(encoded, "PNG", compress_level=1)
        with atomic_write(path, "wb") as file:
            file.write(encoded.getbuffer())
        return str(path), hashlib.sha256(encoded.getbuffer()).hexdigest()

    def mask(boxes: list[PixelBox]) -> Masked:
        if covers(image.size, boxes, args.covered_share):
            return Masked(COVERED, {}, {})
        # Neither the order of the records nor that of the threads has a part in the draw.
        drawn = random_regions(image.size, boxes, random.Random(f"{args.seed}/{sha256}/{boxes}"))
        if drawn is None:
            return Masked(NO_ROOM, {}, {})
        regions = {"roi": boxes, "random": drawn}
        return Masked(None, {kind: write(kind, regions[kind]) for kind in KINDS}, regions)

    facts = ImageFacts(*image.size, sha256)
    return facts, [mask(pixel_boxes(boxes, image.size)) for boxes in box_sets]


def main(argv: Sequence[str]) -> None:
    """Read, mask, write both folders."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(
        CounterfactualArguments, description=__doc__, argv=argv, prog=f"prepare_data.py {COMMAND}"
    )
    if args.method not in METHODS:
        raise UserError(f"--method {args.method}: one of {', '.join(METHODS)}")
    if args.num_proc < 1:
        raise UserError("--num_proc must be at least 1")
    if not 0 < args.covered_share <= 1:
        raise UserError(f"--covered_share {args.covered_share}: a share of the area, above 0, at most 1")
    output_dir = Path(args.output_dir or default_output(args.records, COMMAND))
    outputs = {kind: output_dir / kind for kind in KINDS}
    for output in outputs.values():
        check_output_dir(output, COMMAND, args.records)
    folder = read_folder(args.records, args.image_root, args.max_pixels, check_images=False)
    images = {kind: output.resolve() / "images" for kind, output in outputs.items()}
    masked = mask_images(folder, images, args)
    skipped = Counter(filter(None, (why_skipped(record, masked) for record in folder.records)))
    if skipped.total() == len(folder.records):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
        raise UserError(f"{output_dir}: not written, every record was skipped: {reasons}")
    kept = {
        split: [record for record in records if why_skipped(record, masked) is None]
        for split, records in folder.files.items()
    }
    for kind, output in outputs.items():
        files = {
            split: [changed(row, masked, kind, args.method) for row in rows] for split, rows in kept.items()
        }
        shown = {path for rows in files.values() for row in rows for path in row["images"]}
        manifest = write_folder(
            output,
            files,
            common_root(output, shown),
            command=COMMAND,
            rows_in=len(folder.records),
            filtered=dict(sorted(skipped.items())),
            details={
                **{"kind": kind, "method": args.method, "seed": args.seed},
                **{"covered_share": args.covered_share, "dilation": DILATION * (args.method == "telea")},
            },
            source=folder,
        )
        remove_leftovers(images[kind], shown)
        print_summary(str(output), manifest)


def evidence(record: Record) -> list[Evidence | None]:
    """For each image of a record, what is to be removed from it; None where it holds no evidence."""
    boxes: list[set[tuple[float, ...]]] = [set() for _ in record["images"]]
    for box, owner in zip(record["boxes"], record["box_images"], strict=True):
        boxes[owner].add(tuple(map(float, box)))
    # Sorted: the same evidence, in whatever order its boxes are told.
    pairs = zip(record["images"], boxes, strict=True)
    return [(path, tuple(sorted(found))) if found else None for path, found in pairs]


def mask_images(
    folder: Folder, images: dict[str, Path], args: CounterfactualArguments
) -> dict[Evidence, Masked]:
    """Write the masked images of all evidence, each once, every image decoded once; complete the records.

    Raises:
        InputErrors: every image that cannot be read, and every record that does not fit its images.
    """
    wanted: dict[str, dict[tuple, None]] = {}
    with_evidence = [record for record in folder.records if record["boxes"]]
    for record in with_evidence:
        for path, item in zip(record["images"], evidence(record), strict=True):
            box_sets = wanted.setdefault(path, {})
            if item is not None:
                box_sets[item[1]] = None

    def work(path: str) -> tuple[ImageFacts, list[Masked]] | str:
        try:
            return mask_image(path, list(wanted[path]), images, args)
        except ImageProblem as problem:
            return f"{path}: {problem}"

    facts: dict[str, ImageFacts] = {}
    masked: dict[Evidence, Masked] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(args.num_proc) as threads:
        results = threads.map(work, wanted)
        bar = tqdm(results, desc="Masking", unit=" images", total=len(wanted), delay=2, disable=None)
        for path, result in zip(wanted, bar, strict=True):
            if isinstance(result, str):
                problems.append(result)
                continue
            facts[path] = result[0]
            masked |= {(path, boxes): item for boxes, item in zip(wanted[path], result[1], strict=True)}
    for record in with_evidence:
        if all(path in facts for path in record["images"]):
            found = check_against_images(record, [facts[path] for path in record["images"]])
            problems += [f"record {record['id']!r}: {problem}" for problem in found]
    if problems:
        raise InputErrors(problems)
    return masked


def why_skipped(record: Record, masked: dict[Evidence, Masked]) -> str | None:
    """The reason to leave a record out, or None."""
    items = [item for item in evidence(record) if item is not None]
    if not items:
        return NO_BOXES
    return next((masked[item].skipped for item in items if masked[item].skipped), None)


def changed(record: Record, masked: dict[Evidence, Masked], kind: str, method: str) -> Record:
    """The record on masked images; images without evidence stay those of the original."""
    images, hashes = list(record["images"]), list(record["image_sha256"])
    regions: list[list[int]] = []
    owners: list[int] = []
    for index, item in enumerate(evidence(record)):
        if item is not None:
            images[index], hashes[index] = masked[item].images[kind]
            regions += [list(region) for region in masked[item].regions[kind]]
            owners += [index] * len(masked[item].regions[kind])
    removed = {"kind": kind, "method": method, "regions": regions, "region_images": owners}
    meta = {**record["meta"], "counterfactual": removed}
    return {**record, "images": images, "image_sha256": hashes, "meta": meta}


def common_root(output: Path, images: Iterable[str]) -> Path:
    """The folder all images lie in: the output's own, or with originals among them the nearest above both."""
    return Path(os.path.commonpath([output.resolve(), *images]))


def remove_leftovers(folder: Path, images: Iterable[str]) -> None:
    """Delete the masked images that an earlier run left in `folder` and no record shows any more."""
    wanted = set(images)
    for path in folder.iterdir():
        if _OUR_IMAGE.fullmatch(path.name) and str(path) not in wanted:
            path.unlink()
