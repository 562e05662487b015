"""Pictures of shapes, words and numbers with questions, answers and evidence: made from a seed alone.

image, records = generate_scene(seed=0, index=5)
counts = write_shapes("data/shapes", num_images=20_000, seed=0, split="train", num_workers=2)
"""

import hashlib
import io
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from vqa.files import atomic_write, write_jsonl
from vqa.synthesis.shape_layout_questions import has_count, how_many, how_wide, larger, relation, side, where
from vqa.synthesis.shape_questions import (
    background,
    color_of,
    exists,
    has_color,
    has_shape,
    shape_of,
    unanswerable,
)
from vqa.synthesis.shape_records import Random, Record, caption
from vqa.synthesis.shape_scenes import Scene, draw_scene
from vqa.synthesis.shape_text_questions import choose, read, says

Maker = Callable[[Random, Scene], Record | None]

# How often each kind of question is asked about a scene with one shape, with several, with text.
SINGLE: dict[Maker, int] = {
    exists: 48,
    color_of: 15,
    shape_of: 15,
    has_color: 5,
    has_shape: 5,
    where: 3,
    side: 3,
    choose: 6,
    how_wide: 3,
    how_many: 2,
    unanswerable: 4,
    background: 2,
}
SEVERAL: dict[Maker, int] = {
    exists: 26,
    color_of: 12,
    shape_of: 12,
    has_color: 6,
    has_shape: 5,
    where: 5,
    side: 3,
    relation: 8,
    larger: 5,
    how_many: 10,
    has_count: 4,
    how_wide: 4,
    choose: 8,
    unanswerable: 4,
    background: 2,
}
TEXT: dict[Maker, int] = {
    read: 34,
    says: 12,
    choose: 12,
    color_of: 10,
    exists: 12,
    shape_of: 6,
    where: 4,
    how_many: 4,
    unanswerable: 5,
    background: 3,
}
MIN_RECORDS, MAX_RECORDS = 6, 12


def generate_scene(seed: int, index: int) -> tuple[Image.Image, list[Record]]:
    """Draw picture number `index` of the collection `seed` and ask 6 to 12 questions about it.

    Returns:
        The RGB picture (64 to 160 pixels a side) and its records in the contract's form and order of fields,
        `id`, `split`, `images` and `image_sha256` still empty. Both depend on `seed` and `index` only.
    """
    # Seeding with a string hashes it: near seeds give unrelated pictures, the same ones on every platform.
    rng = random.Random(f"shapes/{seed}/{index}")
    scene = draw_scene(rng)
    return scene.image, _ask(rng, scene)


def _ask(rng: Random, scene: Scene) -> list[Record]:
    """Different questions about the scene, of kinds drawn by their weights."""
    weights = TEXT if scene.texts else SINGLE if len(scene.things) == 1 else SEVERAL
    wanted = rng.randint(MIN_RECORDS, MAX_RECORDS)
    described = caption(scene)
    found: dict[str, Record] = {}
    while len(found) < wanted:
        make = rng.choices(list(weights), list(weights.values()))[0]
        record = make(rng, scene)
        if record is not None and record["question"].lower() not in found:
            found[record["question"].lower()] = record | {"caption": described}
    return list(found.values())


def write_shapes(
    output_dir: str | Path,
    num_images: int,
    seed: int = 0,
    split: str = "train",
    num_workers: int = 1,
    first_index: int = 0,
) -> dict[str, Any]:
    """Write `output_dir/images/<split>-NNNNNN.png` and `output_dir/<split>.jsonl`.

    Picture files are written whole or not at all, and the records last: a folder without `<split>.jsonl` was
    interrupted, and running again completes it with the same bytes.

    Args:
        output_dir: the record folder.
        num_images: how many pictures.
        seed: of the whole collection; different splits want different seeds (or `first_index`).
        split: name of the record file.
        num_workers: processes.
        first_index: number of the first picture.

    Returns:
        Counts: `images`, `records`, and `by_question_type`, `by_kind`, `answerable`, each name -> count.
    """
    output_dir = Path(output_dir)
    (output_dir / "images").mkdir(parents=True, exist_ok=True)
    counts = {"by_question_type": Counter(), "by_kind": Counter(), "answerable": Counter()}

    def rows() -> Iterator[Record]:
        work = partial(_write_one, output_dir, seed, split)
        for records in _map(work, range(first_index, first_index + num_images), num_workers):
            for record in records:
                counts["by_question_type"][record["question_type"]] += 1
                counts["by_kind"][record["meta"]["kind"]] += 1
                counts["answerable"][str(record["answerable"]).lower()] += 1
                yield record

    written = write_jsonl(output_dir / f"{split}.jsonl", rows())
    return {
        "images": num_images,
        "records": written,
        **{name: dict(sorted(counter.items())) for name, counter in counts.items()},
    }


def _map(work: partial, indices: range, num_workers: int) -> Iterator[list[Record]]:
    progress = partial(tqdm, total=len(indices), desc="shapes", unit="image")
    if num_workers <= 1:
        yield from progress(map(work, indices))
        return
    with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
        yield from progress(pool.imap(work, indices, chunksize=64))


def _write_one(output_dir: Path, seed: int, split: str, index: int) -> list[Record]:
    image, records = generate_scene(seed, index)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    name = f"images/{split}-{index:06d}.png"
    with atomic_write(output_dir / name, "wb") as file:
        file.write(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    for number, record in enumerate(records):
        record |= {
            "id": f"shapes-{split}-{index:06d}-{number:02d}",
            "images": [name],
            "split": split,
            "image_sha256": [digest],
        }
    return records
