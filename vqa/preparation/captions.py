"""One question a picture, "describe the image", answered by the caption that its records hold.

What a projector is warmed up on, before a model learns to answer:
    python -m vqa.preparation.captions data/easy_vqa --output_dir data/easy_vqa_captions

The first caption of an image's records is taken. Records without a caption, and further ones of the same
images, are counted in the manifest as filtered.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vqa.cli import option, parse_arguments, positional_first, run
from vqa.errors import UserError
from vqa.preparation.folders import check_output_dir, default_output, read_folder, write_folder
from vqa.preparation.summary import print_summary
from vqa.record_checks import Record

NO_CAPTION, SAME_IMAGE = "no caption", "further record of the same images"


@dataclass
class CaptionArguments:
    """Arguments of `captions`."""

    records: str = field(metadata={"help": "record folder or file"})
    output_dir: str | None = option(
        None, "record folder to write; images are not copied; default: RECORDS_captions"
    )
    question: str = option("describe the image.", "what is asked of every picture")
    image_root: str | None = option(None, "folder of the images; default: the manifest's")


def main(argv: Sequence[str]) -> None:
    """Read, choose, write."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(
        CaptionArguments, description=__doc__, argv=argv, prog="vqa.preparation.captions"
    )
    if not args.question.strip():
        raise UserError("--question: empty")
    output_dir = args.output_dir or default_output(args.records, "captions")
    check_output_dir(output_dir, "captions", args.records)
    folder = read_folder(args.records, args.image_root, check_images=False)
    filtered: Counter[str] = Counter()
    files = {
        split: caption_records(records, args.question, filtered) for split, records in folder.files.items()
    }
    if not any(files.values()):
        raise UserError(f"{folder.path}: no record has a caption")
    manifest = write_folder(
        output_dir,
        files,
        folder.image_root,
        command="captions",
        rows_in=len(folder.records),
        filtered=dict(sorted(filtered.items())),
        details={"question": args.question},
        source=folder,
    )
    print_summary(output_dir, manifest)


def caption_records(records: Sequence[Record], question: str, filtered: Counter[str]) -> list[Record]:
    """A record for each set of images that has a caption; what is left out is counted in `filtered`."""
    chosen: dict[tuple[str, ...], Record] = {}
    for record in records:
        images = tuple(record["images"])
        if not images or not record["caption"]:
            filtered[NO_CAPTION] += 1
        elif images in chosen:
            filtered[SAME_IMAGE] += 1
        else:
            chosen[images] = record | {
                "id": f"{record['id']}/caption",
                "question": question,
                "answers": [record["caption"]],
                "answerable": True,
                "question_type": "open_ended",
                "answer_candidates": None,
                "reasoning": [],
                "boxes": [],
                "box_images": [],
            }
    return list(chosen.values())


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
