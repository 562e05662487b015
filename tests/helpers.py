"""Small random inputs shared by the tests."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from vqa.collators import AnswerCollator
from vqa.encoding import IGNORED
from vqa.synthesis.shapes import generate_scene

ROOT = Path(__file__).resolve().parent.parent
COLORS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 220), "yellow": (240, 220, 40)}


def write_records(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` records of several types, images of varied size; every 7th has no image, every 5th has two."""
    generator = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows, scene = [], 0
    while len(rows) < count:
        image, records = generate_scene(seed, scene)
        scale = generator.choice([1, 1, 2])
        image = image.resize((image.width * scale, image.height))
        image.save(folder / f"{scene}.png")
        for record in records[:3]:
            images = [f"{scene}.png"]
            if len(rows) % 7 == 3:
                images, record = [], record | {"boxes": [], "box_images": []}
            elif len(rows) % 5 == 4 and scene:
                images.append(f"{scene - 1}.png")
            boxes = [[x0 * scale, y0, x1 * scale, y1] for x0, y0, x1, y1 in record["boxes"]] if images else []
            rows.append(record | {"id": f"r{len(rows)}", "images": images, "boxes": boxes, "split": "train"})
            del rows[-1]["image_sha256"]
        scene += 1
    path = folder / "train.jsonl"
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count]), encoding="utf-8"
    )
    return path


def write_color_records(folder: Path, per_color: int = 4) -> Path:
    """One question, asked of plain pictures of four colours: only the image tells the answer."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, rgb in COLORS.items():
        for number in range(per_color):
            image = Image.new("RGB", (40, 40), (245, 245, 245))
            ImageDraw.Draw(image).rectangle([4 + number, 4, 32, 34 - number], fill=rgb)
            image.save(folder / f"{name}{number}.png")
            rows.append(
                {
                    "id": f"{name}{number}",
                    "images": [f"{name}{number}.png"],
                    "question": "what color is it?",
                    "answers": [name],
                    "question_type": "color",
                    "answer_candidates": list(COLORS),
                }
            )
    path = folder / "colors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_script(
    *arguments: str, env: dict[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess:
    """Run a root script (or any command after `python`) as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class ShiftedLabels(AnswerCollator):
    """A classic fault: every label stands one place too late."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"labels": batch["labels"].roll(1, dims=1)}


class UnmaskedPrompts(AnswerCollator):
    """A classic fault: the loss falls on prompt and image tokens too."""

    def __call__(self, rows):
        batch = super().__call__(rows)
        return batch | {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)}
