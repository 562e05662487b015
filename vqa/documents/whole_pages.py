"""Any page with any engine: large pages in tiles, turned pages set upright, boxes in the page's own pixels.

An engine that is given a page of 20,000 pixels in height shrinks it until nothing can be read. So a page is
reduced only as far as its shorter side asks for, and cut along the longer one into tiles that overlap. A line
(a word of it, where the seam is upright) belongs to the tile in whose part its middle lies; close to the seam
both are asked, and doubles dropped.

Engines read text that lies on its side badly, upside down not at all, and they know it: the mean confidence
of rapidocr falls from above 0.98 to below 0.8, that of others further. Then the tile with most text is read
again in the other quarter turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vqa.documents.ocr_engines import Engine
from vqa.documents.pages import Box, OcrPage, Word
from vqa.documents.reading_order import Piece, arrange

# A tile's length and overlap, as shares of the engine's shorter side.
TILE = 1.5
OVERLAP = 0.2
# With less than this share of text in boxes wider than tall, other turns are tried; one is taken if it reads
# that much more.
LEVEL = 0.5
BETTER = 1.2


def read_page(engine: Engine, pixels: np.ndarray) -> OcrPage:
    """The words of a page, whatever its size and quarter turn.

    Args:
        engine: what reads.
        pixels: the page, uint8, height x width x RGB.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, engine.short_side / min(height, width))
    reduced = pixels
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    turns, pieces = _read_turned(engine, reduced)
    seen = reduced.shape[1::-1] if turns % 2 == 0 else reduced.shape[:2]
    page = arrange(pieces, seen)
    words = tuple(replace(word, box=_original(word.box, turns, seen, (width, height))) for word in page.words)
    return OcrPage(words, (width, height))


def _read_turned(engine: Engine, pixels: np.ndarray) -> tuple[int, list[Piece]]:
    """What is read, and after how many counter-clockwise quarter turns of the page."""
    tiles = _tiles(pixels.shape[:2], engine.short_side)
    readings = [engine.read(tile.of(pixels)) for tile in tiles]
    if _is_legible([piece for reading in readings for piece in reading], engine.legible):
        return 0, _merged(tiles, readings)
    most = max(range(len(tiles)), key=lambda index: _characters(readings[index]))
    sample, best, best_turns = tiles[most].of(pixels), readings[most], 0
    for turns in (2, 1, 3) if _level_share(readings[most]) > LEVEL else (1, 3, 2):
        reading = engine.read(np.ascontiguousarray(np.rot90(sample, turns)))
        if _legibility(reading) > BETTER * _legibility(best):
            best, best_turns = reading, turns
        if _is_legible(reading, engine.legible):
            break
    if best_turns == 0:
        return 0, _merged(tiles, readings)
    if len(tiles) == 1:
        return best_turns, best
    turned = np.ascontiguousarray(np.rot90(pixels, best_turns))
    tiles = _tiles(turned.shape[:2], engine.short_side)
    return best_turns, _merged(tiles, [engine.read(tile.of(turned)) for tile in tiles])


@dataclass(frozen=True)
class _Tile:
    """A part of a page: what is looked at, and the part of the page whose words are its own."""

    x: int
    y: int
    width: int
    height: int
    own: Box

    def of(self, pixels: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(pixels[self.y : self.y + self.height, self.x : self.x + self.width])


def _tiles(shape: tuple[int, int], short_side: int) -> list[_Tile]:
    """Tiles of a page (height, width), along its longer side."""
    height, width = shape
    long, length, overlap = max(shape), round(TILE * short_side), round(OVERLAP * short_side)
    count = 1 if long <= length else -(-(long - overlap) // (length - overlap))
    starts = [round(index * (long - length) / (count - 1)) for index in range(count)] if count > 1 else [0]
    stops = [min(start + length, long) for start in starts]
    seams = [float((stop + start) / 2) for stop, start in zip(stops, starts[1:], strict=False)]
    # At a seam a word's middle may be found a few pixels further: both tiles keep it.
    slack = overlap / 8
    firsts = [-np.inf, *(seam - slack for seam in seams)]
    lasts = [*(seam + slack for seam in seams), np.inf]
    tiles = []
    for start, stop, first, last in zip(starts, stops, firsts, lasts, strict=True):
        if height >= width:
            tiles.append(_Tile(0, start, width, stop - start, (-np.inf, first, np.inf, last)))
        else:
            tiles.append(_Tile(start, 0, stop - start, height, (first, -np.inf, last, np.inf)))
    return tiles


def _merged(tiles: Sequence[_Tile], readings: Sequence[list[Piece]]) -> list[Piece]:
    """The pieces of all tiles in pixels of the page, each word once."""
    merged: list[Piece] = []
    before: list[Word] = []  # of the tile before: only neighbours can see the same word
    for tile, reading in zip(tiles, readings, strict=True):
        kept = []
        for piece in reading:
            moved = [replace(word, box=_moved(word.box, tile.x, tile.y)) for word in piece]
            # Of a line that stands at a seam all words go with the one tile, or all with the other.
            top, bottom = min(word.box[1] for word in moved), max(word.box[3] for word in moved)
            own = [word for word in moved if _is_within(tile.own, (word.box[0], top, word.box[2], bottom))]
            if own := [word for word in own if not any(_same(word.box, other.box) for other in before)]:
                kept.append(own)
        merged += kept
        before = [word for piece in kept for word in piece]
    return merged


def _moved(box: Box, x: float, y: float) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _is_within(area: Box, box: Box) -> bool:
    """Whether a box has its middle in an area."""
    return area[0] <= (box[0] + box[2]) / 2 < area[2] and area[1] <= (box[1] + box[3]) / 2 < area[3]


def _same(left: Box, right: Box) -> bool:
    """Whether two boxes have more than half of the smaller one in common."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (left, right)]
    return width > 0 and height > 0 and width * height > min(areas) / 2


def _original(box: Box, turns: int, seen: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box on a page that was reduced and turned, in pixels of the page as it was.

    Args:
        box: where it was read.
        turns: counter-clockwise quarter turns that the page had been given.
        seen: (width, height) of the page as it was read.
        size: (width, height) of the page as it was.
    """
    (x0, y0, x1, y1), (width, height) = box, seen
    for _ in range(turns):  # a clockwise quarter turn each
        x0, y0, x1, y1 = height - y1, x0, height - y0, x1
        width, height = height, width
    across, down = size[0] / width, size[1] / height
    return round(x0 * across, 1), round(y0 * down, 1), round(x1 * across, 1), round(y1 * down, 1)


def _characters(pieces: Sequence[Piece]) -> int:
    return sum(len(word.text) for piece in pieces for word in piece)


def _level_share(pieces: Sequence[Piece]) -> float:
    """Of the text in words of three characters or more, the share in boxes wider than tall; 1 without any."""
    words = [word for piece in pieces for word in piece if len(word.text) >= 3]
    total = sum(len(word.text) for word in words)
    return sum(len(word.text) for word in words if _is_level(word)) / total if total else 1.0


def _is_level(word: Word) -> bool:
    return word.box[2] - word.box[0] > word.box[3] - word.box[1]


def _legibility(pieces: Sequence[Piece]) -> float:
    """Characters read, each by the square of its word's confidence; words that stand on end do not count."""
    words = [word for piece in pieces for word in piece if len(word.text) < 3 or _is_level(word)]
    return sum(len(word.text) * word.confidence**2 for word in words)


def _is_legible(pieces: Sequence[Piece], confidence: float) -> bool:
    """Whether this is how the page should be read: nothing speaks for another turn."""
    sure = sum(len(word.text) * word.confidence for piece in pieces for word in piece)
    return sure >= confidence * _characters(pieces) and _level_share(pieces) >= LEVEL
