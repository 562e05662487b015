"""The OCR recipe at small size: words of Vietnamese handwriting in typefaces and of words never trained on.

Sheets are drawn, looked through, and blank ones limited; the base model is fine-tuned on them; it reads new
sheets before and after, and OCR engines read the same sheets beside it. Errors of characters and of words,
and exact matches, by source: known typefaces and words, new typefaces, new words, both new, and blank paper.

    make fonts && python -m benchmarks.ocr
    python -m benchmarks.ocr --train_images 900 --test_images 20 --max_steps 250 --output_dir outputs/try

What is there already is not made again. Writes OUTPUT/summary.json and prints the table. An engine that is
not installed gets a note in place of figures.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.medical import script
from benchmarks.ocr_data import SOURCES, read_lines, test_records, training_records
from vqa.cli import option, parse_arguments, run
from vqa.documents.ocr import ENGINES, PageReader, build_engine
from vqa.documents.ocr_engines import Engine, Piece, TrueOcr
from vqa.documents.tesseract_ocr import Tesseract
from vqa.errors import UserError
from vqa.files import write_json, write_jsonl
from vqa.metrics.summary import summarize
from vqa.predictions import read_predictions
from vqa.questions import judge
from vqa.records import read_records
from vqa.synthesis.fonts import DEFAULT_FOLDER

CONFIG = "configs/ocr/sft_handwriting_small.yaml"
BEFORE, AFTER = "base model", "fine-tuned"
ONE_LINE, ON_A_PAGE = "tesseract, one line", "trueocr, on a page"
VARIANTS = (ONE_LINE, ON_A_PAGE)
PAGE_MARGIN = 200  # pixels of white paper


@dataclass
class OcrBenchmarkArguments:
    """How much of it."""

    train_images: int = option(6000, "sheets drawn to train on, a fifth of them blank")
    test_images: int = option(200, "new sheets of each source")
    max_steps: int | None = option(None, f"of training; default: {CONFIG}'s")
    batch_size: int | None = option(None, f"sheets a step; default: {CONFIG}'s")
    engines: list[str] = option(
        ["rapidocr", "trueocr", ON_A_PAGE, "tesseract", ONE_LINE], "OCR engines to compare with"
    )
    seed: int = option(0, "of the sheets and of training")
    fonts_dir: str = option(DEFAULT_FOLDER, "typefaces, from `make fonts`")
    output_dir: str = option("outputs/ocr", "where sheets, models, readings and numbers go")

    def __post_init__(self) -> None:
        for name in self.engines:
            if name not in (*ENGINES, *VARIANTS):
                raise UserError(f"--engines {name}: choose from {'; '.join((*ENGINES, *VARIANTS))}")


class TesseractLine(Tesseract):
    """Tesseract told that an image is one line of text (`--psm 7`), not a page to be taken apart."""

    def __init__(self, languages: Sequence[str] = (), threads: int = 1) -> None:
        super().__init__(languages, threads)
        self._options = ["--psm", "7", *self._options]


class TrueOcrPage(TrueOcr):
    """trueocr given the sheet in the middle of a white page: in a lone word it finds no text."""

    def read(self, pixels: np.ndarray) -> list[Piece]:
        """As `Engine.read`."""
        margin = (PAGE_MARGIN, PAGE_MARGIN)
        lines = super().read(np.pad(pixels, (margin, margin, (0, 0)), constant_values=255))
        return [
            [replace(word, box=tuple(e - PAGE_MARGIN for e in word.box)) for word in line] for line in lines
        ]


def train(name: str, records: Path, args: OcrBenchmarkArguments, output: Path) -> Path:
    """The fine-tuned model; or the base as it is, set to the recipe's image size and style."""
    folder = output / name.replace(" ", "_")
    if not (folder / "run.json").is_file():
        rates = ("--learning_rate", 0, "--connector_learning_rate", 0, "--max_steps", 1)
        length = () if args.max_steps is None else ("--max_steps", args.max_steps)
        batch = () if args.batch_size is None else ("--per_device_train_batch_size", args.batch_size)
        script(
            folder / "log",
            *("train_sft.py", "--config", CONFIG, "--train_files", records, "--output_dir", folder),
            *("--cache_vision_features", output / "features", "--seed", args.seed, *batch),
            *(rates if name == BEFORE else length),
        )
    return folder


def read_with_model(model: Path, records: Path, output: Path) -> Path:
    """The model's readings of the test sheets."""
    file = model / "test.jsonl"
    if not file.is_file():
        script(
            model / "predict.log",
            *("predict.py", "--config", "configs/ocr/predict.yaml", "--model_name_or_path", model),
            *("--records", records, "--output_file", file, "--cache_vision_features", output / "features"),
        )
    return file


def engine_of(name: str) -> Engine:
    """An engine set to Vietnamese where it has such a setting. Raises UserError where it is not installed."""
    if name in VARIANTS:
        return {ONE_LINE: TesseractLine, ON_A_PAGE: TrueOcrPage}[name](["vi"], 1)
    return build_engine(name, ["vi"] if name == Tesseract.name else [], 1)


def read_with_engine(name: str, records: Path, output: Path) -> Path:
    """An engine's readings of the test sheets, in the form of predictions.

    Raises:
        UserError: it is not installed.
    """
    file = output / "engines" / f"{name.replace(', ', '_').replace(' ', '_')}.jsonl"
    if not file.is_file():
        reader = PageReader(engine_of(name))
        start, rows = time.perf_counter(), []
        for record in read_records(records):
            text = " ".join(reader.read(record["images"][0]).text.split())
            kept = ("id", "answers", "answerable", "source", "question", "images")
            reading = {"pred": text, "qtype": record["question_type"], "abstained": not text}
            rows.append({field: record[field] for field in kept} | reading)
        write_jsonl(file, rows)
        seconds = time.perf_counter() - start
        write_json(file.with_suffix(".json"), {"engine": reader.engine.version, "seconds": round(seconds, 1)})
    return file


def by_source(predictions: Path) -> dict[str, dict[str, Any]]:
    """Rates of a prediction file for each source: exact matches, CER, WER with their 95% intervals.

    Of blank paper only `exact` is known: the share of it that nothing was read from.
    """
    rows = read_predictions(predictions)
    rates = {}
    for source in dict.fromkeys(row["source"] for row in rows):
        group = [row for row in rows if row["source"] == source]
        metrics = summarize(group, [judge(row) for row in group])
        readable = any(row["answerable"] for row in group)
        rates[source] = {
            "count": metrics["count"],
            "exact": metrics["exact_match"] if readable else metrics["overall"]["accuracy"],
            "cer": metrics["cer"],
            "wer": metrics["wer"],
            "intervals": {name: metrics["intervals"][name] for name in ("exact_match", "cer", "wer")},
        }
    return rates


def table(results: dict[str, dict[str, Any] | str]) -> str:
    """Markdown: a row a reader, a column a source with `CER / WER / exact` in percent; a note for a text."""
    heads = ["CER / WER / exact", *(source.replace("_", " ") for source in SOURCES)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for reader, result in results.items():
        if isinstance(result, str):
            cells = [result, *[""] * (len(SOURCES) - 1)]
        else:
            cells = [cell(result[source]) for source in SOURCES]
        lines.append(f"| {reader} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rates: dict[str, Any]) -> str:
    """The rates that are known, in percent."""
    known = [rates[name] for name in ("cer", "wer", "exact") if rates[name] is not None]
    return " / ".join(f"{100 * rate:.1f}" for rate in known)


def main() -> None:
    """Draw, look through, balance; read, train, read; then the engines; then the table."""
    (args,) = parse_arguments(OcrBenchmarkArguments, description=__doc__)
    output = Path(args.output_dir).resolve()
    fonts = Path(args.fonts_dir).resolve()
    records = training_records(output, args.train_images, args.seed, fonts)
    test = test_records(output, args.test_images, args.seed, fonts)
    results: dict[str, dict[str, Any] | str] = {}
    for name in (BEFORE, AFTER):
        results[name] = by_source(read_with_model(train(name, records, args, output), test, output))
    for name in args.engines:
        try:
            results[name] = by_source(read_with_engine(name, test, output))
        except UserError as error:
            results[name] = f"not measured: {error}"
    run_file = json.loads((output / AFTER / "run.json").read_text(encoding="utf-8"))
    told = ("steps", "train_seconds", "train_loss", "peak_memory_bytes", "hardware", "git", "data")
    summary = {
        "settings": asdict(args),
        "train_records": len(read_lines(records)),
        "training": {name: run_file[name] for name in told},
        "results": results,
    }
    write_json(output / "summary.json", summary)
    print(table(results))


if __name__ == "__main__":
    run(main)
