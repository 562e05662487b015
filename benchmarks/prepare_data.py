"""How fast raw rows become checked records: a publication in SLAKE's form, many questions an image.

    python benchmarks/prepare_data.py
    taskset -c 0 python benchmarks/prepare_data.py --num_proc 1
    python benchmarks/prepare_data.py --num_rows 10000 --num_images 500

Draws the images, writes the rows, runs `prepare_data.py` convert, validate and dedup as a user does, and
compares with the least that any loader does: parse the JSON and decode every question's image. Writes
prepare_data.json.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from vqa.cli import option, parse_arguments, run
from vqa.files import write_json
from vqa.runs import hardware, versions
from vqa.synthesis.shapes import generate_scene

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = (
    ("Is there a {label} in the image?", "Yes", "CLOSED"),
    ("Which organ is shown beside the {label}?", "{label}", "OPEN"),
    ("What modality is used to take this image?", "MRI", "OPEN"),
    ("Where is the {label}?", "Upper left", "OPEN"),
)


@dataclass
class PrepareDataArguments:
    """Size of the publication."""

    num_rows: int = option(100_000, "questions")
    num_images: int = option(5_000, "images")
    num_proc: int = option(2, "of each command")
    image_size: int = option(512, "pixels a side; SLAKE's images have 256 to 1,024")
    output_dir: str = option("outputs/benchmarks", "where the publication, the records and the JSON go")


def write_publication(folder: Path, num_rows: int, num_images: int, size: int) -> None:
    """SLAKE's layout: `imgs/xmlabN/{source.jpg,detection.json}`, `train.json` and, a tenth, `test.json`."""
    rng = random.Random(0)
    for number in tqdm(range(num_images), desc="images", unit="img"):
        place = folder / "imgs" / f"xmlab{number}"
        place.mkdir(parents=True, exist_ok=True)
        picture = generate_scene(0, number)[0].resize((size, size), Image.Resampling.BILINEAR)
        picture.save(place / "source.jpg", quality=90)
        boxes = [{"Liver": [10, 20, 100, 80]}, {"Left Lung": [200, 30, 90, 180]}]
        (place / "detection.json").write_text(json.dumps(boxes), encoding="utf-8")
    rows = []
    for number in range(num_rows):
        question, answer, answer_type = rng.choice(QUESTIONS)
        label = rng.choice(["Liver", "Left Lung", "Heart"])
        image = number * num_images // num_rows
        rows.append(
            {
                "img_id": image,
                "img_name": f"xmlab{image}/source.jpg",
                "question": question.format(label=label.lower()),
                "answer": answer.format(label=label),
                "q_lang": "en",
                "location": "Abdomen",
                "modality": "MRI",
                "answer_type": answer_type,
                "base_type": "vqa",
                "content_type": "Organ",
                "triple": ["vhead", "_", "_"],
                "qid": number,
            }
        )
    cut = len(rows) * 9 // 10
    (folder / "train.json").write_text(json.dumps(rows[:cut]), encoding="utf-8")
    (folder / "test.json").write_text(json.dumps(rows[cut:]), encoding="utf-8")


def least_a_loader_does(folder: Path, limit: int) -> float:
    """Questions a second when every question's image is decoded for it, over the first `limit` rows."""
    started = time.monotonic()
    for row in json.loads((folder / "train.json").read_text(encoding="utf-8"))[:limit]:
        with Image.open(folder / "imgs" / row["img_name"]) as image:
            image.convert("RGB")
    return limit / (time.monotonic() - started)


def timed(*command: str) -> dict[str, float]:
    """Run `prepare_data.py COMMAND...`, its start included; wall and processor seconds, and peak memory."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "prepare_data.py", *command], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"prepare_data.py {command[0]} failed")
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }


def main() -> None:
    """Write the publication, run the commands on it, print and write the figures."""
    (args,) = parse_arguments(PrepareDataArguments, description=__doc__)
    folder = Path(args.output_dir).resolve() / "prepare_data"
    write_publication(folder / "raw", args.num_rows, args.num_images, args.image_size)
    raw, records = str(folder / "raw"), str(folder / "records")
    workers = ["--num_proc", str(args.num_proc)]
    commands = {
        "convert": ["--dataset", "slake", "--input", raw, "--output_dir", records],
        "validate": [records, "--output_dir", str(folder / "findings"), "--max_length", "4096"],
        "dedup": [records, "--output_dir", str(folder / "unique")],
    }
    measured = {name: timed(name, *options, *workers) for name, options in commands.items()}
    cores = len(os.sched_getaffinity(0))
    naive = round(least_a_loader_does(folder / "raw", min(5_000, args.num_rows // 2)))
    found = {
        "rows": args.num_rows,
        "images": args.num_images,
        "cores": cores,
        "num_proc": args.num_proc,
        "commands": measured,
        "decode_each_question_rows_per_second": naive,
        "versions": versions(),
        "hardware": hardware(),
    }
    write_json(folder.parent / "prepare_data.json", found)
    print(
        f"\n{args.num_rows:,} rows over {args.num_images:,} images, {cores} core{'s' * (cores > 1)}, "
        f"--num_proc {args.num_proc}; start of the program included"
    )
    for name, row in measured.items():
        rate, peak = args.num_rows / row["seconds"], row["peak_memory_bytes"] / 1e6
        print(
            f"{name:<10}{row['seconds']:>7.1f} s ({row['cpu_seconds']:.1f} s of processor time), "
            f"{rate:,.0f} rows a second, peak {peak:,.0f} MB"
        )
    print(f"decoding an image for every question: {naive:,} rows a second")


if __name__ == "__main__":
    run(main)
