"""How fast raw rows become checked records: a publication in SLAKE's form, many questions an image.

    python benchmarks/prepare_data.py
    python benchmarks/prepare_data.py --num_rows 10000 --num_images 500

Draws the images, writes the rows, runs `prepare_data.py convert` as a user does, and compares with the least
that any loader does: parse the JSON and decode every question's image. Writes prepare_data.json.
"""

import json
import random
import resource
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
    image_size: int = option(512, "pixels a side; SLAKE's images have 256 to 1,024")
    output_dir: str = option("outputs/benchmarks", "where the publication, the records and the JSON go")


def write_publication(folder: Path, num_rows: int, num_images: int, size: int) -> None:
    """SLAKE's layout: `train.json` and `imgs/xmlabN/{source.jpg,detection.json}`."""
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
    (folder / "train.json").write_text(json.dumps(rows), encoding="utf-8")


def least_a_loader_does(folder: Path, limit: int) -> float:
    """Questions a second when every question's image is decoded for it, over the first `limit` rows."""
    started = time.monotonic()
    for row in json.loads((folder / "train.json").read_text(encoding="utf-8"))[:limit]:
        with Image.open(folder / "imgs" / row["img_name"]) as image:
            image.convert("RGB")
    return limit / (time.monotonic() - started)


def main() -> None:
    """Write the publication, convert it, print and write the figures."""
    (args,) = parse_arguments(PrepareDataArguments, description=__doc__)
    folder = Path(args.output_dir).resolve() / "prepare_data"
    write_publication(folder / "raw", args.num_rows, args.num_images, args.image_size)
    command = ["prepare_data.py", "convert", "--dataset", "slake", "--input", str(folder / "raw")]
    started = time.monotonic()
    subprocess.run([sys.executable, *command, "--output_dir", str(folder / "records")], cwd=ROOT, check=True)
    seconds = time.monotonic() - started
    found = {
        "rows": args.num_rows,
        "images": args.num_images,
        "seconds": round(seconds, 1),
        "rows_per_second": round(args.num_rows / seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "decode_each_question_rows_per_second": round(
            least_a_loader_does(folder / "raw", min(5_000, args.num_rows))
        ),
        "versions": versions(),
        "hardware": hardware(),
    }
    write_json(folder.parent / "prepare_data.json", found)
    print(
        f"{args.num_rows:,} rows over {args.num_images:,} images in {seconds:.1f} s, start of the program "
        f"included: {found['rows_per_second']:,} a second, peak {found['peak_memory_bytes'] / 1e6:,.0f} MB "
        f"(decoding an image for every question: {found['decode_each_question_rows_per_second']:,} a second)"
    )


if __name__ == "__main__":
    run(main)
