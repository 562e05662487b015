"""The records worth looking at, with their pictures small enough that the page stays so."""

import base64
import hashlib
import html
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from vqa.images import ImageProblem, open_image, resolve_inside
from vqa.report.formatting import shown

IMAGES_PER_CARD = 4
BOXES_PER_CARD = 32
ANSWERS_PER_CARD = 5
STEPS_PER_CARD = 12
SIDES = (
    320,
    240,
    160,
    112,
    80,
    56,
)  # longest side of a thumbnail in pixels, the largest that there is room for
PICTURE_BYTES = 12_000_000  # of all thumbnails of a page together
TEXT_BYTES = 16_000_000  # of all cards of a page together
_CARD_BYTES, _BOX_BYTES, _PICTURE_BYTES = 800, 100, 200  # of a card without its texts, of a box...; at most
_BYTES_PER_PIXEL = 0.2  # of a thumbnail: a guess to start with

Prediction = dict[str, Any]


@dataclass
class Thumbnail:
    """A picture of the page, embedded once however many cards show it; `uri` is None for a missing one."""

    key: str
    width: int  # of the original, which boxes are drawn on
    height: int
    uri: str | None
    problem: str = ""


@dataclass
class Card:
    """One record of a gallery."""

    prediction: Prediction
    kind: str  # error kind, or fixed and broken
    thumbnails: list[Thumbnail] = field(default_factory=list)
    other: Prediction | None = None  # the same record, answered by another run


class Album:
    """The thumbnails of a page, made on demand within a budget of bytes.

    Args:
        image_root: the folder that relative image paths start from.
        expected: how many different pictures will be asked for; each has its share of the budget.
    """

    def __init__(self, image_root: str | Path, expected: int, budget: int = PICTURE_BYTES) -> None:
        self.root = Path(image_root)
        self.left = max(1, expected)
        self.budget = budget
        self.thumbnails: dict[str, Thumbnail] = {}

    def get(self, path: str) -> Thumbnail:
        """The thumbnail of an image; one without a picture where it cannot be read or there is no room."""
        if path not in self.thumbnails:
            self.thumbnails[path] = self._make(path, f"i{len(self.thumbnails)}")
            self.left = max(1, self.left - 1)
        return self.thumbnails[path]

    def of(self, row: Prediction) -> list[Thumbnail]:
        """Thumbnails of a record's images, the first few."""
        return [self.get(path) for path in row["images"][:IMAGES_PER_CARD]]

    def embedded(self) -> list[Thumbnail]:
        """Those that have a picture."""
        return [thumbnail for thumbnail in self.thumbnails.values() if thumbnail.uri]

    def open(self, path: str) -> Image.Image:
        """An image as RGB. An absolute path is what a run on this machine wrote; others stay in their root.

        Raises:
            ImageProblem: it cannot be read, or its path leaves the root.
        """
        if "\0" in path:
            raise ImageProblem("holds a NUL character")
        return open_image(path if Path(path).is_absolute() else resolve_inside(self.root, path))

    def _make(self, path: str, key: str) -> Thumbnail:
        try:
            image = self.open(path)
        except ImageProblem as problem:
            return Thumbnail(key, 4, 3, None, str(problem))
        width, height = image.size
        share = self.budget / self.left
        for side in [side for side in SIDES if side * side * _BYTES_PER_PIXEL <= share] or SIDES[-1:]:
            image.thumbnail((side, side))
            uri = _data_uri(image)
            if len(uri) <= share:
                break
        if len(uri) > self.budget:
            return Thumbnail(key, width, height, None, "left out, to keep the page small")
        self.budget -= len(uri)
        return Thumbnail(key, width, height, uri)


def choose_failures(failures: Sequence[Prediction], limit: int) -> list[Prediction]:
    """At most `limit` failures, worst first: the most confident first, those without a confidence last.

    Each type has its turn, so that a frequent type does not crowd the others out of the gallery.
    """
    return in_turns(failures, limit, lambda row: row["qtype"])


def in_turns(rows: Sequence[Prediction], limit: int, group: Callable[[Prediction], str]) -> list[Prediction]:
    """At most `limit` rows, every group having its turn, the most confident first."""
    groups: dict[str, list[Prediction]] = {}
    for row in sorted(rows, key=_badness):
        groups.setdefault(group(row), []).append(row)
    turns = [row for turn in zip_longest(*groups.values()) for row in turn if row is not None]
    return sorted(turns[:limit], key=_badness)


def card_bytes(row: Prediction) -> int:
    """About how long a record's card is in bytes, pictures aside; hardly ever less than it is."""
    twice = [row["id"], row["qtype"]]  # they stand in attributes too
    texts = twice + twice + row["answers"][:ANSWERS_PER_CARD] + row["reasoning"][:STEPS_PER_CARD]
    texts += [row["question"], row["pred"], row["caption"] or "", "" if row["valid_format"] else row["raw"]]
    length = sum(len(html.escape(shown(text)).encode("utf-8")) for text in texts)
    boxes = len(row["gt_boxes"][:BOXES_PER_CARD]) + len(row["boxes"][:BOXES_PER_CARD])
    pictures = len(row["images"][:IMAGES_PER_CARD])
    return _CARD_BYTES + length + _BOX_BYTES * boxes + _PICTURE_BYTES * pictures


def within_bytes(
    rows: Iterable[Prediction], cost: Callable[[Prediction], int] = card_bytes, budget: int = TEXT_BYTES
) -> list[Prediction]:
    """The rows from the first on whose cards together cost no more than the budget."""
    fitting = []
    for row in rows:
        budget -= cost(row)
        if budget < 0:
            break
        fitting.append(row)
    return fitting


def count_images(rows: Iterable[Prediction]) -> int:
    """How many different images the cards of these rows show."""
    return len({path for row in rows for path in row["images"][:IMAGES_PER_CARD]})


def page_key(title: str, rows: Iterable[Prediction]) -> str:
    """What a page's edited tags are kept under in the browser: another page has another key."""
    digest = hashlib.sha256(title.encode("utf-8", errors="backslashreplace"))
    for row in rows:
        digest.update(b"\0" + row["id"].encode("utf-8", errors="backslashreplace"))
    return digest.hexdigest()[:16]


def _badness(row: Prediction) -> float:
    return 1.0 if row["confidence"] is None else -row["confidence"]


def _data_uri(image: Image.Image) -> str:
    """WebP, good for photographs and scans; PNG for a drawing of few colours, where that is smaller."""
    webp = io.BytesIO()
    image.save(webp, "WEBP", quality=70)
    name, data = "webp", webp.getvalue()
    if image.getcolors(256) is not None:
        png = io.BytesIO()
        image.save(png, "PNG", optimize=True)
        name, data = min(("webp", data), ("png", png.getvalue()), key=lambda pair: len(pair[1]))
    return f"data:image/{name};base64,{base64.b64encode(data).decode('ascii')}"
