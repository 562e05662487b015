"""What is in a record folder: a table, stats.json, charts and a contact sheet.

    python prepare_data.py stats data/shapes
    python prepare_data.py stats data/slake/test.jsonl --num_samples 48 --output_dir slake_test_stats

Written into `RECORDS/stats` unless --output_dir says otherwise:

    stats.json         counts and lengths of every split and type, most frequent answers, image sizes, tokens
    types.png          share of each question type, by split
    answers.png        length of the answers of each type, by split
    images.png         sizes of the images, and how many questions each has
    tokens.png         tokens of question and answer, where there is a tokenizer
    contact_sheet.png  sampled images with question, answer and evidence boxes

Lengths are those of the first accepted answer, the training target. Tokens are those of the bare texts:
images and the chat template are not in them (`validate` counts those).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tokenizers import Tokenizer

from vqa.cli import option, parse_arguments, positional_first
from vqa.errors import UserError
from vqa.files import write_json
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation.charts import draw_charts
from vqa.preparation.contact_sheet import draw_contact_sheet, load_fonts
from vqa.preparation.folders import read_folder
from vqa.record_checks import Record

BASE_MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny-vqa-base"
TOKENIZER_FILE = "tokenizer.json"
TOP_ANSWERS = 5
TEXTS_AT_ONCE = 10_000


@dataclass
class StatsArguments:
    """Arguments of `stats`."""

    records: str = field(metadata={"help": "record folder or file"})
    output_dir: str | None = option(None, "folder for stats.json and pictures; default: RECORDS/stats")
    model_name_or_path: str | None = option(
        None, "whose tokenizer counts tokens; default: models/tiny-vqa-base, where it is"
    )
    num_samples: int = option(24, "records on the contact sheet")
    seed: int = option(0, "draws the samples")
    font: str | None = option(
        None, "TrueType font of the contact sheet; default: DejaVu Sans (Vietnamese, no Chinese)"
    )
    image_root: str | None = option(None, "folder of the images; default: the manifest's")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images looked at at a time; the files do not depend on it")


def main(argv: Sequence[str]) -> None:
    """Read, count, draw."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(StatsArguments, description=__doc__, argv=argv, prog="prepare_data.py stats")
    if args.num_samples < 1:
        raise UserError("--num_samples must be at least 1")
    if args.num_proc < 1:
        raise UserError("--num_proc must be at least 1")
    tokenizer, fonts = load_tokenizer(args.model_name_or_path), load_fonts(args.font)
    folder = read_folder(args.records, args.image_root, args.max_pixels, num_proc=args.num_proc)
    output_dir = Path(args.output_dir) if args.output_dir is not None else folder.path / "stats"
    tokens = count_tokens(folder.records, tokenizer) if tokenizer is not None else {}
    splits = {name: describe_split(records, tokens) for name, records in folder.files.items()}
    write_json(output_dir / "stats.json", {"files": folder.sha256, "splits": splits})
    pictures = draw_charts(folder.files, tokens, output_dir)
    sheet = output_dir / "contact_sheet.png"
    draw_contact_sheet(folder.records, sheet, args.num_samples, args.seed, args.max_pixels, fonts)
    console = Console()
    console.print(splits_table(splits))
    console.print(types_table(splits))
    print("\n".join(str(path) for path in [output_dir / "stats.json", *pictures, sheet]))


def load_tokenizer(name_or_path: str | None) -> Tokenizer | None:
    """The tokenizer asked for, the base model's, or None where that is not there. Raises UserError."""
    if name_or_path is None and not (BASE_MODEL / TOKENIZER_FILE).is_file():
        return None
    file = Path(name_or_path or BASE_MODEL) / TOKENIZER_FILE
    try:
        if file.is_file():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer  # it imports torch: seconds, and half a gigabyte

            tokenizer = AutoTokenizer.from_pretrained(name_or_path).backend_tokenizer
    except Exception as error:  # what `tokenizers` raises for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--model_name_or_path {name_or_path}: cannot load its tokenizer: {reason}"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(records: Iterable[Record], tokenizer: Tokenizer) -> dict[str, int]:
    """Number of tokens of every question and first answer, without special tokens."""
    texts = list(dict.fromkeys(t for r in records for t in (r["question"], *r["answers"][:1])))
    counts: dict[str, int] = {}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        block = texts[start : start + TEXTS_AT_ONCE]
        encoded = tokenizer.encode_batch(block, add_special_tokens=False)
        counts |= {text: len(found.ids) for text, found in zip(block, encoded, strict=True)}
    return counts


def summarize(values: Iterable[float]) -> dict[str, float] | None:
    """Least, mean, median, 95th percentile and greatest; None for no values."""
    array = np.array(list(values), dtype=np.float64)
    if not array.size:
        return None
    low, median, high95, high = np.percentile(array, [0, 50, 95, 100]).round(4).tolist()
    return {"min": low, "mean": round(float(array.mean()), 4), "median": median, "p95": high95, "max": high}


def describe_split(records: Sequence[Record], tokens: Mapping[str, int]) -> dict[str, Any]:
    """Counts and lengths of one split, as in stats.json.

    Args:
        records: as `read_records` gives them, with `image_sizes`.
        tokens: text -> number of tokens; empty: not counted, null in the result.
    """
    sizes = {p: s for r in records for p, s in zip(r["images"], r["image_sizes"], strict=True)}
    questions = Counter(path for record in records for path in record["images"])
    kinds = sorted({record["question_type"] for record in records})
    return {
        "records": len(records),
        "images": len(sizes),
        "questions_per_image": summarize(questions.values()),
        "without_image": sum(not record["images"] for record in records),
        "with_several_images": sum(len(record["images"]) > 1 for record in records),
        "unanswerable": sum(not record["answerable"] for record in records),
        "with_boxes": sum(bool(record["boxes"]) for record in records),
        "with_caption": sum(bool(record["caption"]) for record in records),
        "with_reasoning": sum(bool(record["reasoning"]) for record in records),
        "by_source": dict(sorted(Counter(record["source"] for record in records).items())),
        "by_question_type": {
            kind: _describe_type([r for r in records if r["question_type"] == kind], tokens) for kind in kinds
        },
        "image_width": summarize(width for width, _ in sizes.values()),
        "image_height": summarize(height for _, height in sizes.values()),
        "box_area_share": summarize(_box_shares(records)),
        **_lengths(records, tokens),
    }


def _describe_type(records: Sequence[Record], tokens: Mapping[str, int]) -> dict[str, Any]:
    answers = Counter(record["answers"][0] for record in records if record["answers"])
    top = sorted(answers.items(), key=lambda item: (-item[1], item[0]))[:TOP_ANSWERS]
    return {
        "records": len(records),
        "unanswerable": sum(not record["answerable"] for record in records),
        "with_boxes": sum(bool(record["boxes"]) for record in records),
        "distinct_answers": len(answers),
        "top_answers": [list(item) for item in top],
        **_lengths(records, tokens),
    }


def _lengths(records: Sequence[Record], tokens: Mapping[str, int]) -> dict[str, Any]:
    questions = [record["question"] for record in records]
    answers = [record["answers"][0] for record in records if record["answers"]]
    return {
        "question_characters": summarize(map(len, questions)),
        "answer_characters": summarize(map(len, answers)),
        "answer_words": summarize(len(answer.split()) for answer in answers),
        "question_tokens": summarize(tokens[text] for text in questions) if tokens else None,
        "answer_tokens": summarize(tokens[text] for text in answers) if tokens else None,
    }


def _box_shares(records: Sequence[Record]) -> list[float]:
    """Of each box, the share of its image that it covers."""
    shares = []
    for record in records:
        owners = record["box_images"] or [0] * len(record["boxes"])
        for (x0, y0, x1, y1), owner in zip(record["boxes"], owners, strict=True):
            width, height = record["image_sizes"][owner]
            shares.append(round((x1 - x0) * (y1 - y0) / (width * height), 6))
    return shares


def splits_table(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    """One column per split."""
    table = Table()
    table.add_column()
    for name in splits:
        table.add_column(Text(name), justify="right")
    counted = ("records", "images", "without_image", "with_several_images", "unanswerable", "with_boxes")
    for key in (*counted, "with_caption", "with_reasoning"):
        table.add_row(key.replace("_", " "), *(f"{row[key]:,}" for row in splits.values()))
    table.add_section()
    measured = ("questions_per_image", "image_width", "image_height", "question_tokens", "answer_tokens")
    for key in (*measured[:3], "question_characters", "answer_characters", *measured[3:]):
        table.add_row(
            f"{key.replace('_', ' ')} (median, max)", *(_range(row[key]) for row in splits.values())
        )
    return table


def types_table(splits: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per split and type."""
    table = Table()
    for heading in ("split", "type"):
        table.add_column(heading)
    for heading in ("records", "share", "boxes", "unanswerable", "answer characters"):
        table.add_column(heading, justify="right")
    table.add_column("most frequent answers", overflow="fold")
    for name, split in splits.items():
        for kind, row in split["by_question_type"].items():
            top = ", ".join(
                f"{_short(text)} {count / row['records']:.0%}" for text, count in row["top_answers"][:3]
            )
            cells = (row["records"] / split["records"], row["with_boxes"], row["unanswerable"])
            share, boxes, unanswerable = f"{cells[0]:.1%}", f"{cells[1]:,}", f"{cells[2]:,}"
            lengths = _range(row["answer_characters"])
            table.add_row(
                Text(name), kind, f"{row['records']:,}", share, boxes, unanswerable, lengths, Text(top)
            )
        table.add_section()
    return table


def _range(summary: Mapping[str, float] | None) -> str:
    return f"{summary['median']:,.0f}, {summary['max']:,.0f}" if summary else "-"


def _short(text: str, length: int = 20) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
