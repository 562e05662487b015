"""One round of pseudo-labelling on pictures of words: train, predict, review, train again.

    make fonts && python benchmarks/pseudo_label_round_trip.py
    python benchmarks/pseudo_label_round_trip.py --pictures handwriting  # of the OCR recipe, docs/ocr.md

Every picture shows one of 40 words that forms print before a field, large and alone, in one of many
typefaces on noisy paper. A model trained on a few labelled pictures reads many unlabelled ones, some of them
blotted. Its least confident readings are reviewed in the page of `prepare_data.py review`, opened in headless
Chromium and worked with the keyboard: a stand-in who knows what was drawn accepts what is right, types what
is not and rejects what cannot be read. The export, with the confident readings that nobody looked at, joins
the labelled pictures. The same without a review is the control. Every training starts from the same base and
takes the same steps; the test pictures are other renderings of the same words.

What this shows: that the loop works from end to end, and what labels from a model, and from a model and a
person, add to a small labelled set. What it does not: that the model reads. It tells 40 words apart; a word
that is not among them it cannot name. And a person makes mistakes, which the stand-in does not.

With --pictures handwriting the pictures are words of Vietnamese handwriting, some sheets blank in place of
blotted, and the model is to spell what it reads: the table has its error rate in characters. With
--typefaces new --base outputs/ocr/fine-tuned a reader of other hands meets three new ones.

Prints a table and writes outputs/benchmarks/pseudo_label_round_trip.json (_handwriting.json). Needs
`chromium` on PATH; with --review 0 nobody looks at anything, and the confident readings alone are added.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json, write_jsonl
from vqa.metrics.error_rates import character_error_rate
from vqa.questions import judge
from vqa.records import write_records
from vqa.synthesis.fonts import DEFAULT_FOLDER, document_faces, handwriting_fonts, load_font

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # run as a script, only this folder is there
from benchmarks import ocr_data  # noqa: E402
from benchmarks.browser import ReviewPage  # noqa: E402

OUTPUT = ROOT / "outputs/benchmarks"
FONTS = ROOT / DEFAULT_FOLDER  # filled by `make fonts`; without it there are three typefaces
CONFIGS = {"words": "configs/quickstart/train.yaml", "handwriting": "configs/ocr/sft_handwriting_small.yaml"}
TYPEFACES = {"known": ocr_data.TYPEFACES, "new": ocr_data.HELD_OUT_TYPEFACES}
QUESTION = "What word is written in the picture?"
SIDE = 168  # pixels of a picture
WORDS = """
    Account Address Amount Balance Bank Card Cash Change City Code Country Currency Customer Date Discount Due
    Email Fax Invoice Item Month Name Notes Number Order Page Paid Phone Price Quantity Rate Receipt Shipping
    Signature State Street Subtotal Tax Terms Total
""".split()


@dataclass
class RoundTripArguments:
    """How much to draw, to review and to train."""

    pictures: str = option("words", "words of forms, or handwriting: the OCR recipe's sheets")
    typefaces: str = option("known", "of handwriting: known, or new, those of benchmarks.ocr's tests")
    base: str = option("models/tiny-vqa-base", "the model that every training starts from")
    work_dir: str = option("outputs/round_trip", "pictures, models, predictions; an earlier one is replaced")
    labelled: int = option(400, "pictures with their word")
    unlabelled: int = option(1500, "pictures without")
    blotted: float = option(0.03, "share of the unlabelled that cannot be read; of handwriting, blank sheets")
    test: int = option(400, "pictures to judge with")
    review: int = option(600, "predictions reviewed, worst confidence first")
    accept_above: float = option(0.98, "confidence from which the model's word is taken unseen")
    steps: int = option(900, f"steps of each training; all else is as in {CONFIGS['words']}, or the recipe's")
    batch_size: int = option(16, "pictures a step; 16 learns more from as many pictures than 32")
    seed: int = option(0, "of the pictures and of the trainings")
    screenshot: str | None = option(None, "picture of the page during the review (PNG)")

    def __post_init__(self) -> None:
        if self.pictures not in CONFIGS:
            raise UserError(f"--pictures {self.pictures}: choose {' or '.join(CONFIGS)}")
        if self.typefaces not in TYPEFACES:
            raise UserError(f"--typefaces {self.typefaces}: choose {' or '.join(TYPEFACES)}")


def draw_word(rng: random.Random, word: str, fonts: list[str]) -> Image.Image:
    """A word as wide as the picture, nearly centred, a little turned, on plain noisy paper."""
    light, dark = (tuple(rng.randint(low, low + 60) for _ in range(3)) for low in (195, 0))
    paper, ink = (dark, light) if rng.random() < 0.2 else (light, dark)
    font_path = rng.choice(fonts)
    left, top, right, bottom = load_font(font_path, 100).getbbox(word)
    scale = min(rng.uniform(0.84, 0.94) * SIDE / (right - left), 0.6 * SIDE / (bottom - top))
    font = load_font(font_path, int(100 * scale))
    mask = Image.new("L", (SIDE, SIDE))
    spot = [SIDE / 2 + rng.uniform(-4, 4) for _ in range(2)]
    ImageDraw.Draw(mask).text(spot, word, font=font, fill=255, anchor="mm")
    mask = mask.rotate(rng.uniform(-4, 4), Image.Resampling.BICUBIC)
    noise = Image.frombytes("RGB", (SIDE, SIDE), rng.randbytes(3 * SIDE * SIDE))
    image = Image.new("RGB", (SIDE, SIDE), paper)
    image.paste(ink, mask=mask)
    return Image.blend(image, noise, rng.uniform(0.02, 0.2))


def blot(rng: random.Random, image: Image.Image) -> None:
    """Spill ink over the whole word."""
    draw = ImageDraw.Draw(image)
    color = tuple(rng.randint(10, 60) for _ in range(3))
    for x in range(0, SIDE, 12):
        y, radius = SIDE / 2 + rng.uniform(-8, 8), rng.uniform(42, 60)
        draw.ellipse([x - radius / 2, y - radius, x + radius / 2, y + radius], fill=color)


def draw_records(
    folder: Path, counts: Mapping[str, int], seed: int, blotted: float = 0.0
) -> dict[str, str | None]:
    """Write `folder/NAME.jsonl` of each count, `unlabelled` without answers and a share of it blotted.

    Returns:
        The word of every picture by its record's id, None where it cannot be read.
    """
    (folder / "images").mkdir(parents=True)
    fonts = [path for face in document_faces(FONTS) for path in (face.regular, face.bold)]
    fonts = list(dict.fromkeys([*fonts, *handwriting_fonts(FONTS, "".join(WORDS))]))
    truth: dict[str, str | None] = {}
    for name, count in counts.items():
        records, known = [], name != "unlabelled"
        for number in range(count):
            rng = random.Random(f"{seed}/{name}/{number}")
            identity, word = f"{name}-{number:05d}", WORDS[number % len(WORDS)]
            image = draw_word(rng, word, fonts)
            truth[identity] = word
            if not known and rng.random() < blotted:
                blot(rng, image)
                truth[identity] = None
            image.save(folder / f"images/{identity}.png")
            records.append({
                "id": identity, "images": [f"images/{identity}.png"], "question": QUESTION,
                "answers": [word] if known else [], "answerable": known, "question_type": "transcription",
                "source": "words", "split": name, "meta": {} if known else {"label": {"by": "nobody"}},
            })  # fmt: skip
        write_records(records, folder / f"{name}.jsonl")
    return truth


def draw_handwriting(
    folder: Path, counts: Mapping[str, int], seed: int, blank: float, typefaces: str = "known"
) -> dict[str, str | None]:
    """As `draw_records`, of sheets of handwriting that `prepare_data.py synth` draws."""
    truth: dict[str, str | None] = {}
    for number, (name, count) in enumerate(counts.items()):
        sheets = ocr_data.Sheets(TYPEFACES[typefaces], "known", blank if name == "unlabelled" else 0.0)
        rows = ocr_data.read_lines(ocr_data.draw(folder / "drawn", name, count, seed + number, sheets, FONTS))
        truth |= {row["id"]: next(iter(row["answers"]), None) for row in rows}
        write_jsonl(folder / f"{name}.jsonl", ocr_data.unlabelled(rows) if name == "unlabelled" else rows)
    write_json(folder / "manifest.json", {"image_root": "drawn"})
    return truth


def call(*command: object) -> float:
    """Run one of the project's commands; seconds it took.

    Raises:
        UserError: it failed, and has said why.
    """
    start = time.monotonic()
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(map(str, command[:2]))}: failed, exit code {done.returncode}")
    return time.monotonic() - start


def train(args: RoundTripArguments, files: list[Path], output: Path) -> float:
    """Fine-tune the base on record files; seconds it took."""
    return call(
        "train_sft.py", "--config", CONFIGS[args.pictures], "--model_name_or_path", args.base,
        "--train_files", *files, "--output_dir", output, "--seed", args.seed,
        "--cache_vision_features", output.parent / "features",
        "--max_steps", args.steps, "--per_device_train_batch_size", args.batch_size,
    )  # fmt: skip


def predict(model: Path, records: Path, output: Path) -> list[dict[str, Any]]:
    """The model's answers."""
    call("predict.py", "--model_name_or_path", model, "--records", records, "--output_file", output,
         "--batch_size", 64, "--max_new_tokens", 64,
         "--cache_vision_features", model.parent / "features")  # fmt: skip
    return ocr_data.read_lines(output)


def review(args: RoundTripArguments, command: list, truth: Mapping[str, str | None]) -> dict[str, Any]:
    """Start the page as a user does, work it, and end it with Ctrl-C."""
    server = subprocess.Popen(
        [sys.executable, *map(str, command), "--port", "0", "--reviewer", "stand-in"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
    )  # fmt: skip
    count, decided = min(args.review, args.unlabelled), Counter()
    start = time.monotonic()
    try:
        address = server.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            page = ReviewPage(profile)
            try:
                page.open(address)
                for number in range(count):
                    if number == count // 2:
                        page.reload()  # goes on where it was
                        if args.screenshot:
                            page.screenshot(args.screenshot)
                    decided[page.decide(truth[page.text("record")])] += 1
            finally:
                page.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    return {**decided, "seconds": round(time.monotonic() - start, 1)}


def judge_labels(file: Path, truth: Mapping[str, str | None]) -> dict[str, int]:
    """How many labels an export holds, from whom, and how many are true."""
    rows = ocr_data.read_lines(file)
    people = sum(row["meta"]["label"]["by"] == "person" for row in rows)
    right = sum(row["answers"] == [text for text in [truth[row["id"]]] if text] for row in rows)
    return {"count": len(rows), "right": right, "by_person": people, "by_model": len(rows) - people}


def main() -> None:
    """The round trip, and its control without a review."""
    start = time.monotonic()
    (args,) = parse_arguments(RoundTripArguments, description=__doc__)
    work = (ROOT / args.work_dir).resolve()
    shutil.rmtree(work, ignore_errors=True)
    counts = {"labelled": args.labelled, "unlabelled": args.unlabelled, "test": args.test}
    if args.pictures == "handwriting":
        truth = draw_handwriting(work / "data", counts, args.seed, args.blotted, args.typefaces)
    else:
        truth = draw_records(work / "data", counts, args.seed, args.blotted)
    labelled, unlabelled, test_file = (work / f"data/{name}.jsonl" for name in counts)

    def arm(name: str, added: list[Path]) -> dict[str, Any]:
        """Train on the labelled pictures and what is added, and test."""
        seconds = train(args, [labelled, *added], work / name)
        answers = predict(work / name, test_file, work / f"{name}.jsonl")
        right = sum(map(judge, answers))
        read = ["" if line["abstained"] else line["pred"] for line in answers]
        return {
            "records": args.labelled + sum(len(ocr_data.read_lines(file)) for file in added),
            "pseudo_labels": judge_labels(added[0], truth) if added else None,
            "right": right,
            "accuracy": right / args.test,
            "cer": character_error_rate(read, [line["gt"] for line in answers]),
            "training_seconds": round(seconds, 1),
        }

    arms = {"labelled only": arm("labelled", [])}
    readings = predict(work / "labelled", unlabelled, work / "readings.jsonl")
    command = ["prepare_data.py", "review", unlabelled, "--predictions", work / "readings.jsonl"]
    rounds = [("and confident readings", "unseen"), ("and reviewed readings", "reviewed")]
    decided = {"seconds": 0.0}
    if args.review:
        decided = review(args, [*command, "--output_dir", work / "reviewed_labels"], truth)
    for title, name in rounds if args.review else rounds[:1]:
        folder = work / f"{name}_labels"
        call(*command, "--output_dir", folder, "--export", "--accept_above", args.accept_above)
        arms[title] = arm(name, [folder / "unlabelled.jsonl"])
    read_right = sum(line["pred"] == truth[line["id"]] for line in readings)
    result = {
        "settings": asdict(args),
        "readings": {"count": len(readings), "right": read_right},
        "reviewed": decided,
        "arms": arms,
        "seconds": round(time.monotonic() - start, 1),
    }
    suffix = "" if args.pictures == "words" else f"_{args.pictures}"
    write_json(OUTPUT / f"pseudo_label_round_trip{suffix}.json", result)
    print_result(result)


def print_result(result: dict[str, Any]) -> None:
    """The table, in Markdown."""
    readings, decided = result["readings"], result["reviewed"]
    print(f"{readings['right']} of {readings['count']} unlabelled pictures read right before the review")
    kinds = ", ".join(f"{decided.get(kind, 0)} {kind}" for kind in ("accepted", "edited", "rejected"))
    print(f"{kinds} in the page, in {decided['seconds']} s; all of it in {result['seconds']} s")
    heads = ("trained on", "records", "pseudo-labels right", "training", "test accuracy", "CER")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, row in result["arms"].items():
        pseudo = row["pseudo_labels"]
        labels = f"{pseudo['right']} of {pseudo['count']}" if pseudo else "-"
        tested = f"{row['accuracy']:.1%} ({row['right']} of {result['settings']['test']})"
        cells = (name, row["records"], labels, f"{row['training_seconds']} s", tested, f"{row['cer']:.1%}")
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    run(main)
