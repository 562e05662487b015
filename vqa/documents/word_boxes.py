"""Words inside a line of text: an engine knows the line's outline and its text, and the ink knows the rest.

The line is cut out and set upright. Each word has a span along it where it is expected, from the columns
that the recogniser read its characters in or from the widths of letters; the gap in the ink nearest to where
two spans meet parts two words, and a word ends where its ink ends.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import ImageFont

from vqa.documents.pages import Box

# Of the line's height: what is looked at beyond its ends and above and below it, and gaps inside a word.
END_MARGIN = 0.5
SIDE_MARGIN = 0.15
LETTER_GAP = 0.18
# Wider than a pen stroke, less wide than a stain.
STROKE = 0.4
# Of 255 levels: what stands out less is grain.
CONTRAST = 12
OUTER = 0.35


def spans_by_width(words: Sequence[str]) -> list[tuple[float, float]]:
    """Where each word of a line is expected, as [start, end] from 0 to 1, by the widths of its letters."""
    font = _ruler()
    ends = [font.getlength(" ".join(words[: count + 1])) for count in range(len(words))]
    starts = [end - font.getlength(word) for end, word in zip(ends, words, strict=True)]
    return [(start / ends[-1], end / ends[-1]) for start, end in zip(starts, ends, strict=True)]


@lru_cache(maxsize=1)
def _ruler() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=100)


def fit_words(pixels: np.ndarray, quad: np.ndarray, spans: Sequence[tuple[float, float]]) -> list[Box]:
    """The box of each word of a line.

    Args:
        pixels: the page, uint8, height x width x 3.
        quad: the line's corners, 4 x 2: where it begins above, ends above, ends below and begins below.
        spans: where each word is expected, as shares of the line's length, in order.

    Returns:
        boxes in pixels of the page, not clipped to it.
    """
    length, height = line_size(quad)
    end, side = round(END_MARGIN * height), round(SIDE_MARGIN * height)
    crop, to_crop = cut_out(pixels, quad, end, side)
    ink = _ink(crop, (slice(side, side + height), slice(end, end + length)))
    places = [(end + start * length, end + stop * length) for start, stop in spans]
    outlines = []
    for low, high in _columns(ink.any(axis=0), places, LETTER_GAP * height):
        rows = np.flatnonzero(ink[:, int(low) : int(np.ceil(high))].any(axis=1))
        top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (side, side + height)
        outlines.append([[low, top], [high, top], [high, bottom], [low, bottom]])
    corners = cv2.perspectiveTransform(np.array(outlines, np.float32), np.linalg.inv(to_crop))
    return [tuple(float(edge) for edge in (*word.min(axis=0), *word.max(axis=0))) for word in corners]


def cut_out(
    pixels: np.ndarray, quad: np.ndarray, end: int = 0, side: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A line set upright, with margins at its ends and along its sides, and the 3 x 3 matrix that does it."""
    length, height = line_size(quad)
    right, bottom = end + length, side + height
    corners = np.array([[end, side], [right, side], [right, bottom], [end, bottom]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), corners)
    size = (length + 2 * end, height + 2 * side)
    crop = cv2.warpPerspective(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return crop, matrix


def line_size(quad: np.ndarray) -> tuple[int, int]:
    """Length and height of a line in whole pixels, at least 1."""
    edges = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    return max(int(edges[0]), int(edges[2]), 1), max(int(edges[1]), int(edges[3]), 1)


def _ink(crop: np.ndarray, inner: tuple[slice, slice]) -> np.ndarray:
    """Where a line that was cut out has ink, 0 or 1: no underline or frame, nothing of other lines.

    Args:
        crop: the line with its margins.
        inner: the line itself in it.
    """
    smooth = cv2.blur(crop, (3, 3))
    low, paper, high = np.percentile(smooth[inner].reshape(-1, 3), (1, 50, 99), axis=0)
    channel = int(np.argmax(high - low))
    dark = paper[channel] - low[channel] > high[channel] - paper[channel]
    stroke = np.ones((max(3, round(STROKE * crop.shape[0])) | 1,) * 2, np.uint8)
    # Letters are thinner than the square, stains and shadows wider (Serra 1982, top-hat transforms).
    contrast = cv2.morphologyEx(
        smooth[:, :, channel], cv2.MORPH_BLACKHAT if dark else cv2.MORPH_TOPHAT, stroke
    )
    level, _ = cv2.threshold(np.ascontiguousarray(contrast[inner]), 0, 1, cv2.THRESH_OTSU)
    ink = (contrast > max(level, CONTRAST)).astype(np.uint8)
    return _without_strays(_without_rules(_without_strays(ink)))


def _without_rules(ink: np.ndarray) -> np.ndarray:
    """Less the straight lines along and across a line of text; they may be a pixel aslant."""
    height, width = ink.shape
    across = np.ones((1, round(min(2 * height, 0.9 * width))), np.uint8)
    along = np.ones((round(0.9 * height), 1), np.uint8)
    thick = np.ones((3, 3), np.uint8)
    for kernel, wider in ((across, thick[:, :1]), (along, thick[:1])):
        rules = cv2.morphologyEx(cv2.dilate(ink, wider), cv2.MORPH_OPEN, kernel)
        ink = ink & (1 - cv2.dilate(rules, thick))
    return ink


def _without_strays(ink: np.ndarray) -> np.ndarray:
    """Less specks, and what lies wholly in the outer third: flat strokes, and ink from outside."""
    height, width = ink.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    wide, high = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    right, bottom = left + wide, top + high
    outer = (bottom < OUTER * height) | (top > (1 - OUTER) * height)
    enters = (top == 0) | (bottom == height) | (left == 0) | (right == width)
    beside = ((left == 0) & (right < END_MARGIN * height)) | (
        (right == width) & (left > width - END_MARGIN * height)
    )
    crosses = (top == 0) & (bottom == height) & (wide < OUTER * height)
    stray = (outer & (enters | (wide > 3 * high))) | beside | crosses | (stats[:, cv2.CC_STAT_AREA] <= 3)
    stray[0] = True
    return (~stray[labels]).astype(np.uint8)


def _columns(
    inked: np.ndarray, places: Sequence[tuple[float, float]], gap: float
) -> list[tuple[float, float]]:
    """Where each word begins and ends along the line.

    Args:
        inked: which columns hold ink.
        places: where the words are expected.
        gap: the widest gap in the ink inside a word, in columns.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inked.astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    cuts = [0.0]
    for (start, stop), (next_start, next_stop) in zip(places, places[1:], strict=False):
        cuts.append(_cut(runs, ((start + stop) / 2, (next_start + next_stop) / 2), (stop + next_start) / 2))
    cuts.append(float(len(inked)))
    return [
        _grown(runs, place, low, high, gap) for place, low, high in zip(places, cuts, cuts[1:], strict=False)
    ]


def _cut(runs: np.ndarray, between: tuple[float, float], expected: float) -> float:
    """The middle of the gap in the ink that parts two words: wide, and near to where it is expected."""
    gaps = [(low, high) for low, high in zip(runs[:-1, 1], runs[1:, 0], strict=True)]
    gaps = [(low, high) for low, high in gaps if between[0] < (low + high) / 2 < between[1]]
    if not gaps:
        return expected
    reach = between[1] - between[0]
    best = max(gaps, key=lambda gap: (gap[1] - gap[0]) * (1 - abs((gap[0] + gap[1]) / 2 - expected) / reach))
    return (best[0] + best[1]) / 2


def _grown(
    runs: np.ndarray, place: tuple[float, float], low: float, high: float, gap: float
) -> tuple[float, float]:
    """The ink about a place, between two cuts: what overlaps it, and what is a gap from that at most."""
    inside = [(max(start, low), min(stop, high)) for start, stop in runs if start < high and stop > low]
    near = [index for index, (start, stop) in enumerate(inside) if start < place[1] and stop > place[0]]
    if not near:
        return max(place[0], low), max(min(place[1], high), max(place[0], low) + 1)
    first, last = near[0], near[-1]
    while first > 0 and inside[first][0] - inside[first - 1][1] <= gap:
        first -= 1
    while last + 1 < len(inside) and inside[last + 1][0] - inside[last][1] <= gap:
        last += 1
    return float(inside[first][0]), float(inside[last][1])
