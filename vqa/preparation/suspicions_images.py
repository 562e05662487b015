"""Suspicions that need the pixels or the size of images: border lines, boxes, images met twice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from vqa.image_hashes import nearest_images
from vqa.images import open_image
from vqa.preparation.hashing import Hashes
from vqa.preparation.suspicions import READ_TYPES, Suspicion, suspicion
from vqa.record_checks import Record

# What a border line at the edge of a crop is transcribed as ...
STROKES = ("1", "|", "l", "I", "!")
# ... and the signs of these that are looked for in answers that need not be read off letter by letter.
PLAIN_STROKES = ("1", "|")
# A border covers so much of the crop's height, at least, in a window that a slanted line stays inside of ...
LINE_COVER = 0.97
# ... but for so much of it at the top and at the bottom ...
LINE_GAP = 0.05
# ... and the letters do not: all other ink is lower than this share of the height.
INK_HEIGHT = 0.92
# A box of so much of the image's area says nothing about where the evidence is.
WHOLE_IMAGE = 0.98
MIN_BOX_SIDE = 2.0


def lone_stroke_sides(label: str, strokes: Sequence[str] = STROKES) -> list[str]:
    """The sides, `left` and `right`, where a label begins or ends with a lone stroke such as `1` or `|`."""
    words = label.split()
    if not words or "\n" in label.strip():
        return []
    left = words[0] in strokes or (len(words[0]) > 1 and words[0][0] == "|")
    right = words[-1] in strokes or (len(words[-1]) > 1 and words[-1][-1] == "|")
    return ["left"] * left + ["right"] * right


def check_edge_strokes(records: Iterable[Record], max_pixels: int, num_proc: int = 1) -> Iterator[Suspicion]:
    """Texts with a lone stroke at an edge where the image has a border line from top to bottom.

    Of an image with one box on it, the box is looked at. Only the images of such texts are opened, each once.
    """
    asked: dict[str, list[tuple[Record, list[str]]]] = {}
    for record in records:
        if record["question_type"] not in READ_TYPES or len(record["images"]) != 1 or not record["answers"]:
            continue
        strokes = STROKES if record["question_type"] == "transcription" else PLAIN_STROKES
        sides = lone_stroke_sides(record["answers"][0], strokes)
        if sides:
            asked.setdefault(record["images"][0], []).append((record, sides))

    def look(path: str) -> list[tuple[Record, str]]:
        image = open_image(path, max_pixels)
        return [
            (record, side)
            for record, sides in asked[path]
            for side in sides
            if has_border_line(_labelled_part(image, record["boxes"]), side)
        ]

    with ThreadPoolExecutor(num_proc) as threads:
        results = threads.map(look, asked)
        bar = tqdm(
            results, desc="Looking for border lines", unit=" images", total=len(asked), delay=2, disable=None
        )
        for record, side in (pair for found in bar for pair in found):
            label = record["answers"][0]
            stroke = label.split()[0 if side == "left" else -1]
            reason = f"{stroke!r} at the {side} end of {label[:60]!r}, where the image has a border line"
            yield suspicion(record, "edge_stroke", reason, side=side)


def has_border_line(image: Image.Image, side: str) -> bool:
    """Whether a thin line runs along one side of an image from top to bottom, higher than any letter.

    Args:
        image: a line or a word of text.
        side: `left` or `right`.
    """
    grey = np.asarray(image.convert("L")).astype(np.int16)
    if side == "right":
        grey = grey[:, ::-1]
    contrast = np.abs(grey - np.median(grey))
    ink = contrast > max(30.0, 0.28 * np.percentile(contrast, 99.5))
    # Lines along the top and the bottom, as of a table's cell, are no letters.
    ink = ink[ink.mean(axis=1) <= 0.8]
    # Nor does a drawn line always reach both edges.
    gap = int(LINE_GAP * len(ink))
    ink = ink[gap : len(ink) - gap]
    height, width = ink.shape
    if height < 8 or width < 4:
        return False
    end, other = _line_end(ink), _line_end(ink[:, ::-1])
    if end is None:
        return False
    # One more column for the blur of a scan; the line at the other side is no letter either.
    between = ink[:, end + 1 : width if other is None else width - other - 1]
    rest = np.flatnonzero(between.any(axis=1))
    return len(rest) == 0 or (rest[-1] - rest[0] + 1) / height < INK_HEIGHT


def _line_end(ink: np.ndarray) -> int | None:
    """Where a line from top to bottom at the left side of a mask ends, in columns; None without one."""
    height, width = ink.shape
    window = max(2, height // 12)
    covers = np.lib.stride_tricks.sliding_window_view(ink, window, axis=1).any(axis=2).mean(axis=0)
    zone = int(min(0.25 * width, max(4.0, 0.5 * height)))
    start = int(np.argmax(covers[:zone]))
    if covers[start] < LINE_COVER:
        return None
    end = start + window
    while end < width and ink[:, end].mean() > 0.5:
        end += 1
    # A bar or a dark page's edge: nobody would read it as a stroke.
    return None if end - start > max(6, height // 4) else end


def _labelled_part(image: Image.Image, boxes: Sequence[Sequence[float]]) -> Image.Image:
    if len(boxes) != 1:
        return image
    x0, y0, x1, y1 = boxes[0]
    margin = 0.06 * (y1 - y0)
    left, right = max(0, round(x0 - margin)), min(image.width, round(x1 + margin))
    top, bottom = max(0, round(y0)), min(image.height, round(y1))
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def check_boxes(record: Record) -> Iterator[Suspicion]:
    """Boxes that the reader accepts and that hardly say where the evidence is."""
    seen: list[tuple] = []
    for index, (box, owner) in enumerate(zip(record["boxes"], record["box_images"], strict=True)):
        width, height = record["image_sizes"][owner]
        x0, y0, x1, y1 = box
        problems = []
        if min(x0, y0) < 0 or x1 > width or y1 > height:
            problems.append(f"leaves the image of {width}x{height} by up to a pixel")
        if min(x1 - x0, y1 - y0) < MIN_BOX_SIDE:
            problems.append(f"is less than {MIN_BOX_SIDE:g} pixels wide or high")
        whole = (x1 - x0) * (y1 - y0) >= WHOLE_IMAGE * width * height
        # What is transcribed may well fill its image.
        if whole and record["question_type"] != "transcription":
            problems.append("is the whole image")
        if (owner, *box) in seen:
            problems.append("is given twice")
        seen.append((owner, *box))
        for problem in problems:
            yield suspicion(record, "boxes", f"boxes[{index}]: {box} {problem}", box=index)


def split_rank(split: str) -> int:
    """How much a split is for judging: 0 for training, 1 for validation, 2 for test."""
    name = split.lower()
    return 2 if "test" in name else 1 if name.startswith(("val", "dev", "eval")) else 0


def check_near_duplicates(records: Sequence[Record], hashes: Hashes) -> Iterator[Suspicion]:
    """Images of one split that a split nearer to judging has as well; the former's record is reported."""
    splits = sorted({record["split"] for record in records}, key=lambda split: (split_rank(split), split))
    for number, split in enumerate(splits[:-1]):
        own = [record for record in records if record["split"] == split]
        later = [record for record in records if record["split"] in splits[number + 1 :]]
        yield from _shared_images("near_duplicate", own, [("", later)], hashes)


def check_against(
    records: Sequence[Record], evaluation: Mapping[str, Sequence[Record]], hashes: Hashes
) -> Iterator[Suspicion]:
    """Images of training records that an evaluation set has as well.

    Args:
        records: those of splits that are no evaluation splits are looked at; all, where there is no such.
        evaluation: name -> records of each set named by `--against`.
        hashes: of the images of both.
    """
    training = [record for record in records if split_rank(record["split"]) == 0] or list(records)
    yield from _shared_images("against", training, list(evaluation.items()), hashes)


def _shared_images(
    check: str, own: Sequence[Record], others: Sequence[tuple[str, Sequence[Record]]], hashes: Hashes
) -> Iterator[Suspicion]:
    homes: dict[str, tuple[str, Record]] = {}
    for name, records in others:
        for record in records:
            for path in record["images"]:
                homes.setdefault(path, (name, record))
    queries = {path: hashes[path] for record in own for path in record["images"]}
    nearest = nearest_images(queries, {path: hashes[path] for path in homes})
    for record in own:
        for path in record["images"]:
            if path in nearest:
                partner, distance = nearest[path]
                name, other = homes[partner]
                yield _met_again(record, check, path, other, distance, name or f"split {other['split']}")


def _met_again(record: Record, check: str, path: str, other: Record, distance: int, where: str) -> Suspicion:
    how = "is also in" if distance == 0 else f"looks like one (pHash distance {distance}) in"
    name = path.rsplit("/", 1)[-1]
    reason = f"image {name} {how} {where}: {other['id']}"
    return suspicion(record, check, reason, other=other["id"], other_split=other["split"], distance=distance)
