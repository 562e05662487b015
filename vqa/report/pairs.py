"""Counterfactual pairs: a record as it was, without its evidence, and without a random region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from vqa.images import ImageProblem
from vqa.metrics.counterfactual import flips
from vqa.questions import DEFAULT_TOLERANCE
from vqa.report.gallery import Album, Thumbnail, in_turns

MAX_TRIPLES = 60
COMPARED_SIDE = 512  # images are compared at about this size
VISIBLE = 32  # of 255: smaller differences are those of a codec
SPECKS = 24  # pixels at that size: a smaller box is no region
JOINED = 8  # pixels at that size: changes this near are one region
# What a triple shows, the most worrying first.
VERDICTS = {
    (False, True): "right without its evidence, wrong without something else",
    (False, False): "still right without its evidence",
    (False, None): "still right without its evidence",
    (True, True): "wrong without either",
    (True, False): "changes with its evidence only",
    (True, None): "changes with its evidence",
    (None, True): "wrong without something else",
    (None, False): "still right without something else",
}

Prediction = dict[str, Any]


@dataclass
class View:
    """One of the three pictures, with the answer given to it."""

    heading: str
    prediction: Prediction
    thumbnails: list[Thumbnail]
    right: bool
    removed: list[list[float]]  # boxes of what was removed


@dataclass
class Triple:
    """A record whose original answer is right, and what became of it."""

    prediction: Prediction
    verdict: str
    views: list[View]


def choose_triples(
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    counterfactual: Mapping[str, Mapping[str, Prediction]],
    limit: int = MAX_TRIPLES,
    tolerance: float = DEFAULT_TOLERANCE,
) -> list[tuple[Prediction, str, bool | None, bool | None]]:
    """(record, verdict, wrong without evidence, wrong without a random region) of records to show.

    Only records that are originally right are looked at, as in the flip rates. Every verdict has its turn,
    the most worrying first, the most confident first.

    Args:
        counterfactual: "roi" and "random": masked predictions by id; either may be missing.
        limit: at most so many.
        tolerance: relative, of sizes.
    """
    found: dict[str, tuple[Prediction, str, bool | None, bool | None]] = {}
    for row in (row for row, right in zip(predictions, correct, strict=True) if right):
        roi, random = (
            _flipped(row, (counterfactual.get(kind) or {}).get(row["id"]), tolerance)
            for kind in ("roi", "random")
        )
        if (roi, random) != (None, None):
            found[row["id"]] = (row, VERDICTS[roi, random], roi, random)
    chosen = in_turns([item[0] for item in found.values()], limit, lambda row: found[row["id"]][1])
    order = list(VERDICTS.values())
    return sorted((found[row["id"]] for row in chosen), key=lambda item: order.index(item[1]))


def build_triples(
    chosen: Sequence[tuple[Prediction, str, bool | None, bool | None]],
    counterfactual: Mapping[str, Mapping[str, Prediction]],
    album: Album,
) -> list[Triple]:
    """The chosen records with their pictures."""
    triples = []
    for row, verdict, roi, random in chosen:
        views = [View("original", row, album.of(row), True, [])]
        for kind, flipped, heading in (
            ("roi", roi, "evidence removed"),
            ("random", random, "random region removed"),
        ):
            if flipped is not None:
                masked = counterfactual[kind][row["id"]]
                removed = masked.get("removed") or (
                    row["gt_boxes"] if kind == "roi" else _changed(album, row, masked)
                )
                views.append(View(heading, masked, album.of(masked), not flipped, removed))
        triples.append(Triple(row, verdict, views))
    return triples


def changed_regions(original: Image.Image, masked: Image.Image) -> list[list[int]]:
    """Boxes [x0, y0, x1, y1], pixels, around what differs between two images of one size; neighbours joined.

    A region whose filling looks as it did before has no box; images of two sizes have none at all.
    """
    if original.size != masked.size:
        return []
    factor = max(1, max(original.size) // COMPARED_SIDE)
    before, after = (np.asarray(image.reduce(factor), dtype=np.int16) for image in (original, masked))
    differs = np.abs(before - after).max(axis=-1) > VISIBLE
    joined = ndimage.binary_closing(np.pad(differs, JOINED), iterations=JOINED)
    found = ndimage.find_objects(ndimage.label(joined)[0])
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in found]
    boxes = [box for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) >= SPECKS]
    return [[(value - JOINED) * factor for value in box] for box in boxes]


def _changed(album: Album, row: Prediction, masked: Prediction) -> list[list[int]]:
    """What was removed from the first image, where predictions do not say so: where the pixels differ."""
    if not row["images"] or not masked["images"]:
        return []
    try:
        return changed_regions(album.open(row["images"][0]), album.open(masked["images"][0]))
    except ImageProblem:
        return []


def _flipped(row: Prediction, masked: Prediction | None, tolerance: float) -> bool | None:
    return None if masked is None else flips([row], [masked], tolerance)[0]
