"""Records made from nothing: documents, screens and handwritten lines, each image with its questions.

Scanned forms, receipts, invoices and tables; a fifth of the questions ask for what is not there:
    python prepare_data.py synth documents --output_dir data/documents --num_images 500 --seed 0

Settings pages, dialogs and dashboards:
    python prepare_data.py synth ui --output_dir data/ui --unanswerable_ratio 0.3

Lines of Vietnamese in handwriting, a tenth of them blank (needs `make fonts`):
    python prepare_data.py synth handwriting --output_dir data/handwriting --blank_ratio 0.1

Of the same one word or two, on sheets of one shape, without the words and typefaces kept for a test:
    python prepare_data.py synth handwriting --output_dir data/words --max_words 2 --aspect 2 \
        --words known --typefaces Charm Itim Mali
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from vqa.cli import option, parse_arguments
from vqa.errors import UserError
from vqa.manifests import NOT_RECORDS, read_manifest, write_manifest
from vqa.preparation.folders import check_synth_dir
from vqa.preparation.summary import print_summary
from vqa.synthesis.documents import find_fonts, write_documents
from vqa.synthesis.fonts import (
    DEFAULT_FOLDER,
    Face,
    document_faces,
    fingerprints,
    handwriting_fonts,
    typeface,
)
from vqa.synthesis.handwriting import Writing, write_lines
from vqa.synthesis.ui import write_screens
from vqa.synthesis.vietnamese_pieces import WORDS

LICENCE = "MIT (drawn by this project)"
MOST_UNANSWERABLE = 0.9


@dataclass
class SynthArguments:
    """What all kinds have in common."""

    output_dir: str = field(metadata={"help": "record folder to write or to add a split to"})
    num_images: int = option(500, "images to draw")
    seed: int = option(0, "the same seed and fonts give the same files")
    split: str = option("train", "name of the split; an earlier one of that name is replaced")
    fonts_dir: str = option(DEFAULT_FOLDER, "subfolders sans, serif, mono, handwriting of TrueType files")
    num_proc: int = option(1, "processes; the files do not depend on it")


@dataclass
class QuestionsArguments(SynthArguments):
    """Arguments of `synth documents` and `synth ui`."""

    unanswerable_ratio: float = option(0.2, "share of questions for what the image does not hold, 0 to 0.9")


@dataclass
class HandwritingArguments(SynthArguments):
    """Arguments of `synth handwriting`."""

    blank_ratio: float = option(0.0, "share of images without any writing, 0 to 1")
    max_words: int | None = option(None, "write pieces of at most so many words; default: whole lines")
    words: str = option("all", "with --max_words: all, known, or held_out, the fifth kept for tests")
    typefaces: list[str] = option([], "names of the typefaces to write with; default: all in --fonts_dir")
    aspect: float | None = option(None, "width over height of every sheet; default: as the writing is")


def documents_main(argv: Sequence[str]) -> None:
    """`synth documents`."""
    args = _parse("documents", QuestionsArguments, argv)
    ratio = _share("unanswerable_ratio", args.unanswerable_ratio, MOST_UNANSWERABLE)
    fonts = find_fonts(Path(args.fonts_dir))
    _tell_fonts(args.fonts_dir, fonts.faces)
    count = write_documents(
        Path(args.output_dir), args.num_images, args.seed, args.split, ratio, fonts, args.num_proc
    )
    _finish("documents", args, count, fonts.files(), {"unanswerable_ratio": args.unanswerable_ratio})


def ui_main(argv: Sequence[str]) -> None:
    """`synth ui`."""
    args = _parse("ui", QuestionsArguments, argv)
    ratio = _share("unanswerable_ratio", args.unanswerable_ratio, MOST_UNANSWERABLE)
    faces = tuple(face for face in document_faces(Path(args.fonts_dir)) if face.kind == "sans")
    _tell_fonts(args.fonts_dir, faces)
    count = write_screens(
        Path(args.output_dir), args.num_images, args.seed, args.split, ratio, faces, args.num_proc
    )
    files = [path for face in faces for path in (face.regular, face.bold)]
    _finish("ui", args, count, files, {"unanswerable_ratio": args.unanswerable_ratio})


def handwriting_main(argv: Sequence[str]) -> None:
    """`synth handwriting`."""
    args = _parse("handwriting", HandwritingArguments, argv)
    ratio = _share("blank_ratio", args.blank_ratio, 1.0)
    fonts = handwriting_fonts(Path(args.fonts_dir))
    if not fonts:
        raise UserError(f"{args.fonts_dir}/handwriting: no TrueType files there; `make fonts` fetches some")
    writing = _writing(args)
    if args.typefaces:
        fonts = _of_typefaces(fonts, args.typefaces)
    count = write_lines(
        Path(args.output_dir), args.num_images, args.seed, args.split, ratio, fonts, args.num_proc, writing
    )
    _finish("handwriting", args, count, list(fonts), {"blank_ratio": args.blank_ratio, **asdict(writing)})


def _writing(args: HandwritingArguments) -> Writing:
    """What is to be written. Raises UserError where an option is out of range, or alone."""
    if args.max_words is not None and args.max_words < 1:
        raise UserError(f"--max_words {args.max_words}: 1 or more")
    if args.words not in WORDS:
        raise UserError(f"--words {args.words}: choose {', '.join(WORDS)}")
    if args.words != "all" and args.max_words is None:
        raise UserError(f"--words {args.words} goes with --max_words: whole lines mix all words")
    if args.aspect is not None and not 0.1 <= args.aspect <= 50:
        raise UserError(f"--aspect {args.aspect}: width over height, from 0.1 to 50")
    return Writing(args.max_words, args.words, args.aspect)


def _of_typefaces(fonts: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The font files of some typefaces, all weights. Raises UserError naming one that is not there."""
    by_name = {path: typeface(path) for path in fonts}
    for name in names:
        if name not in by_name.values():
            known = ", ".join(dict.fromkeys(by_name.values()))
            raise UserError(f"--typefaces {name}: no such handwriting; there are {known}")
    return tuple(path for path, name in by_name.items() if name in names)


def _parse(kind: str, arguments: type, argv: Sequence[str]) -> Any:
    """The arguments, checked as far as all kinds share them, before anything is drawn or removed."""
    (args,) = parse_arguments(arguments, description=__doc__, argv=argv, prog=f"prepare_data.py synth {kind}")
    if args.num_images < 1 or args.num_proc < 1:
        raise UserError("--num_images and --num_proc must be at least 1")
    if not re.fullmatch(r"\w[\w.+-]{0,99}", args.split) or args.split in NOT_RECORDS:
        raise UserError(f"--split {args.split!r}: not a name for a split")
    if args.fonts_dir != DEFAULT_FOLDER and not Path(args.fonts_dir).is_dir():
        raise UserError(f"--fonts_dir {args.fonts_dir}: no such folder")
    check_synth_dir(args.output_dir, kind)
    return args


def _share(name: str, value: float, most: float) -> Fraction:
    """The option as an exact fraction. Raises UserError when it is not from 0 to `most`."""
    if not 0 <= value <= most:
        raise UserError(f"--{name} {value}: expected a number from 0 to {most:g}")
    return Fraction(str(value))


def _tell_fonts(folder: str, faces: Sequence[Face]) -> None:
    if all(face.name.startswith("DejaVu") for face in faces):
        print(f"{folder}: no typefaces there, all is set in DejaVu; `make fonts` fetches more")


def _finish(kind: str, args: Any, count: int, fonts: list[str], options: dict[str, Any]) -> None:
    earlier = read_manifest(Path(args.output_dir)).get("synthesis", {}).get("splits", {})
    made = {"num_images": args.num_images, "seed": args.seed, **options, "fonts": fingerprints(fonts)}
    manifest = write_manifest(
        args.output_dir,
        rows_in=count,
        files=[f"{args.split}.jsonl"],
        licence=LICENCE,
        details={"synthesis": {"name": kind, "splits": {**earlier, args.split: made}}},
    )
    print_summary(args.output_dir, manifest)
