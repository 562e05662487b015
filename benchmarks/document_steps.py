"""The steps of the document teacher one by one, on synthetic pages through real OCR.

    python -m benchmarks.document_steps --documents 300
    python -m benchmarks.document_steps --documents 45 --seed 1 --ocr_cache .cache/ocr

Draws forms, receipts, invoices, tables and, a third, screens (`prepare_data.py synth`), whose answer boxes
are known, and measures on the answerable questions:

- OCR: the share of the answers' words that were read where they stand;
- FindText: how often one of 5 passages holds every word that OCR read in the gold boxes, over the pages with
  30 windows or more and over all; dense, BM25, both fused, and 5 windows chosen blindly;
- GroundAnswer, given the gold answer and the passages of the dense ranking: IoU of the best pair of boxes,
  and what went wrong where it is below 0.5; over what is not a yes or no, which stands nowhere. How often an
  answer is found that is not there: yes and no, and gold answers with one digit changed;
- pages a second of each step, all questions of a page together, in one process.

Prints a table and writes OUTPUT/document_steps.json, with every failure. Pages are drawn and read once.
"""

import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from vqa.cli import option, parse_arguments, run
from vqa.documents.comparison import tokens
from vqa.documents.grounding import Grounding, ground_answer
from vqa.documents.ocr import PageReader, build_engine
from vqa.documents.pages import OcrPage
from vqa.documents.retrieval import find_text, windows
from vqa.embeddings import shared_encoder
from vqa.files import write_json
from vqa.metrics.grounding import best_iou
from vqa.record_checks import Record
from vqa.records import read_records
from vqa.runs import git_commit, hardware, versions

ROOT = Path(__file__).resolve().parent.parent
MANY_WINDOWS = 30
METHODS = ("dense", "bm25", "hybrid", "random")
FAILURES = {
    "misread": "OCR misread it",
    "not_found": "read, but not found",
    "elsewhere": "the same text elsewhere",
    "control": "gold box is the button around the text",
    "wide": "box too large",
    "narrow": "box too small",
}


@dataclass
class StepsArguments:
    """How many pages, and where they go."""

    documents: int = option(300, "pages; a third of them screens")
    seed: int = option(0, "of the pages")
    top_k: int = option(5, "passages")
    output_dir: str = option("outputs/benchmarks", "where pages and numbers go")
    ocr_cache: str = option("outputs/benchmarks/document_steps/ocr", "where what was read is kept")
    ocr_threads: int = option(0, "processor cores for OCR; 0: the engine's own number")


class Tally:
    """Figures of one kind of page, and of all."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        self.failures: list[dict[str, Any]] = []

    def add(self, name: str, value: float) -> None:
        """One more question's figure."""
        self.values[name].append(float(value))

    def summary(self) -> dict[str, Any]:
        """Means, how many questions each is over, and failures by kind."""
        means = {name: fmean(values) for name, values in self.values.items()}
        counts = {name: len(values) for name, values in self.values.items()}
        return {"means": means, "counts": counts, "failures": Counter(row["kind"] for row in self.failures)}


class Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.pages: dict[str, int] = defaultdict(int)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Add what the block takes."""
        begun = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - begun


def draw(args: StepsArguments, kind: str, count: int) -> list[Record]:
    """The answerable records of `count` synthetic pages, drawn unless they are there."""
    folder = ROOT / args.output_dir / "document_steps" / f"{kind}_{count}_seed{args.seed}"
    if not (folder / "manifest.json").is_file():
        options = ("--output_dir", folder, "--num_images", count, "--seed", args.seed, "--split", "test")
        command = [sys.executable, "prepare_data.py", "synth", kind, *map(str, options)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return [record for record in read_records(folder / "test.jsonl") if record["answerable"]]


def read(reader: PageReader, images: Sequence[str], clock: Clock) -> dict[str, OcrPage]:
    """The page in each image; only those that are not in the cache are timed."""
    pages = {}
    for image in tqdm(images, desc="OCR", unit="page", disable=None):
        known, begun = len(list(reader.cache_dir.glob("*.json"))), time.perf_counter()
        pages[image] = reader.read(image)
        if len(list(reader.cache_dir.glob("*.json"))) > known:
            clock.seconds["OCR"] += time.perf_counter() - begun
            clock.pages["OCR"] += 1
    return pages


def compared(text: str) -> str:
    """A text as GroundAnswer compares it."""
    return "".join(token.text for token in tokens(text))


def words_in(page: OcrPage, boxes: Sequence[Sequence[float]]) -> list[int]:
    """The words whose middles lie in one of the boxes."""
    middles = [((w.box[0] + w.box[2]) / 2, (w.box[1] + w.box[3]) / 2) for w in page.words]
    return [
        index
        for index, (x, y) in enumerate(middles)
        if any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)
    ]


def measure_page(
    page: OcrPage, records: Sequence[Record], args: StepsArguments, tally: Tally, clock: Clock
) -> None:
    """All questions of a page."""
    count = len(windows([page]))
    encoder = shared_encoder()
    found = {}
    for method in METHODS:
        with clock.time(f"FindText, {method}"):
            found[method] = [
                find_text(record["question"], [page], args.top_k, method, encoder, args.seed)
                for record in records
            ]
    for method, answers in found.items():
        for record, passages in zip(records, answers, strict=True):
            gold = set(words_in(page, record["boxes"]))
            if gold:
                hit = any(gold <= set(passage.words) for passage in passages)
                tally.add(f"{method}, all pages", hit)
                if count >= MANY_WINDOWS:
                    tally.add(method, hit)
    for record, passages in zip(records, found["dense"], strict=True):
        answer = record["answers"][0]
        if record["question_type"] == "yes_no":
            tally.add("yes or no found", ground_answer(answer, [page], passages) is not None)
            continue
        with clock.time("GroundAnswer"):
            place = ground_answer(answer, [page], passages)
        judge(record, page, place, tally)
        changed = with_other_digit(answer, random.Random(record["id"]))
        if changed is not None:
            wrong = ground_answer(changed, [page], passages)
            tally.add("changed digit found", wrong is not None and compared(wrong.text) != compared(changed))


def judge(record: Record, page: OcrPage, place: Grounding | None, tally: Tally) -> None:
    """Figures of a place, and what kind of failure it is, if it is one."""
    answer, gold = record["answers"][0], record["boxes"]
    read_there = compared(" ".join(page.words[index].text for index in words_in(page, gold)))
    words = [text for text in map(compared, answer.split()) if text]
    for word in words:
        tally.add("OCR", word in read_there)
    iou = best_iou(place.boxes, gold) if place else 0.0
    tally.add("Acc@0.5", iou >= 0.5)
    tally.add("mean IoU", iou)
    tally.add("not found", place is None)
    if iou < 0.5:
        row = {name: record[name] for name in ("id", "question", "answers", "boxes")}
        row |= {
            "kind": failure(compared(answer) in read_there, place, iou, gold),
            "iou": iou,
            "read": read_there,
        }
        tally.failures.append(row | {"found": place and {"text": place.text, "boxes": place.boxes}})


def failure(was_read: bool, place: Grounding | None, iou: float, gold: Sequence[Sequence[float]]) -> str:
    """What went wrong; one of `FAILURES`."""
    if not was_read:
        return "misread"
    if place is None or iou == 0:
        return "not_found" if place is None else "elsewhere"
    (x0, y0, x1, y1), (left, top, right, bottom) = max(
        ((box, other) for box in place.boxes for other in gold), key=lambda pair: best_iou(pair[:1], pair[1:])
    )
    if x0 >= left and y0 >= top and x1 <= right and y1 <= bottom and bottom - top > 1.6 * (y1 - y0):
        return "control"
    return "wide" if (x1 - x0) * (y1 - y0) > (right - left) * (bottom - top) else "narrow"


def with_other_digit(answer: str, rng: random.Random) -> str | None:
    """The answer with one digit changed; None where it has none."""
    places = [index for index, letter in enumerate(answer) if letter.isdecimal()]
    if not places:
        return None
    place = rng.choice(places)
    other = rng.choice([digit for digit in "0123456789" if digit != answer[place]])
    return answer[:place] + other + answer[place + 1 :]


def print_table(summary: dict[str, dict[str, Any]], clock: Clock, top_k: int) -> None:
    """Markdown: a column a kind of page."""

    def row(name: str, cell: Callable[[dict[str, Any]], str]) -> None:
        print(f"| {name} | {' | '.join(cell(part) for part in summary.values())} |")

    def mean(key: str, name: str) -> None:
        row(name, lambda p: f"{p['means'][key]:.3f} of {p['counts'][key]:,}" if key in p["means"] else "")

    print(f"| | {' | '.join(summary)} |\n|{'---|' * (len(summary) + 1)}")
    row("pages; with 30 windows or more", lambda part: f"{part['pages']}; {part['large_pages']}")
    mean("OCR", "OCR: words of answers read")
    for method in METHODS:
        mean(method, f"FindText, {method}: recall@{top_k}, pages of {MANY_WINDOWS} windows or more")
    for method in METHODS:
        mean(f"{method}, all pages", f"FindText, {method}: recall@{top_k}, all pages")
    for key in ("Acc@0.5", "mean IoU", "not found"):
        mean(key, f"GroundAnswer: {key}")
    for kind, text in FAILURES.items():
        row(f"GroundAnswer fails: {text}", lambda part, kind=kind: str(part["failures"].get(kind, 0)))
    mean("changed digit found", "GroundAnswer: found with a digit changed")
    mean("yes or no found", "GroundAnswer: yes or no found")
    for step, seconds in clock.seconds.items():
        print(f"| {step}: pages a second | {clock.pages[step] / seconds:.2f} |" + " |" * (len(summary) - 1))


def main() -> None:
    """Draw, read, measure."""
    (args,) = parse_arguments(StepsArguments, description=__doc__)
    screens = args.documents // 3
    clock, summary = Clock(), {}
    reader = PageReader(build_engine(threads=args.ocr_threads), ROOT / args.ocr_cache)
    both, sizes = Tally(), []
    for kind, count in (("documents", args.documents - screens), ("ui", screens)):
        by_image: dict[str, list[Record]] = defaultdict(list)
        for record in draw(args, kind, count):
            by_image[record["images"][0]].append(record)
        pages = read(reader, list(by_image), clock)
        tally = Tally()
        for image, records in tqdm(by_image.items(), desc=kind, unit="page", disable=None):
            measure_page(pages[image], records, args, tally, clock)
        large = sum(len(windows([page])) >= MANY_WINDOWS for page in pages.values())
        sizes.append((len(pages), large))
        summary[kind] = tally.summary() | {"pages": len(pages), "large_pages": large}
        for name, values in tally.values.items():
            both.values[name] += values
        both.failures += tally.failures
    total, large = map(sum, zip(*sizes, strict=True))
    summary["all"] = both.summary() | {"pages": total, "large_pages": large}
    for step in clock.seconds:
        clock.pages.setdefault(step, total)
    print_table(summary, clock, args.top_k)
    speeds = {step: clock.pages[step] / seconds for step, seconds in clock.seconds.items()}
    about = {"arguments": vars(args), "hardware": hardware(), "versions": versions(), "git": git_commit()}
    result = about | {"summary": summary, "pages_per_second": speeds, "failures": both.failures}
    write_json(ROOT / args.output_dir / "document_steps.json", result)


if __name__ == "__main__":
    run(main)
