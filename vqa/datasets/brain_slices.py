"""Slices of the brains: which are cut, how each lies in its picture, and which structures it shows where.

Display is the radiological one: on axial and coronal slices the picture's left is the person's right, marked
by a drawn R. Sagittal slices face left or right by chance. Scale, place and a slight tilt differ by slice,
so that no structure stands where it stood before.
"""

import random
from dataclasses import dataclass, field
from itertools import product

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

from vqa.datasets.brain_volumes import BRAINS, GREY, STRUCTURES, SYMMETRIC, T1, WHITE, Volume

SIZE = 224  # pixels a side
CENTRE = (0.0, -18.0, 4.0)  # mm: the middle of a brain
SCALE = (1.02, 1.16)  # pixels per mm
SHIFT = 5.0  # pixels
TILT = 6.0  # degrees
GAMMA = (0.85, 1.2)
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
STEP = 2  # mm between neighbouring slices
# First and last mm of blocks of slices; blocks of two splits are 6 mm or more apart. They are the same for
# all brains, since at one place they all look alike; sagittal ones go by the distance from the midline, since
# the halves of a brain look alike too. At the midline itself the atlas has gaps.
BLOCKS = {
    "axial": {
        "train": [(-54, -30), (-14, -2), (16, 28), (44, 54), (68, 70)],
        "validation": [(-24, -20), (60, 62)],
        "test": [(4, 10), (34, 38)],
    },
    "coronal": {
        "train": [(-96, -78), (-60, -46), (-30, -16), (2, 12), (26, 36), (52, 60)],
        "validation": [(-40, -36), (18, 20)],
        "test": [(-72, -66), (-10, -4), (42, 46)],
    },
    "sagittal": {
        "train": [(4, 10), (28, 36), (52, 60)],
        "validation": [(42, 46)],
        "test": [(16, 22)],
    },
}
# Structures that a map does not set off from what is around them.
HIDDEN = {
    GREY: ("lateral ventricle",),
    WHITE: (
        *("insula", "cingulate gyrus", "lateral ventricle", "caudate nucleus", "hippocampus", "amygdala"),
    ),
}
HELD_OUT = "icbm2009a"  # the brain whose T1 is never trained on
EVERY = 3  # of the tissue maps' slices only every third
ABSENT_MARGIN = 8  # mm to either side without a voxel of a structure before it is said not to be in a slice
FRAGMENT = (20.0, 0.15)  # parts below so many mm2, or of that share of the largest, are dropped
DARK = 20  # grey value up to which a pixel may be outside of the brain
MIDLINE = 8  # mm from it within which nobody is asked for a side
CROSS_ARM, CROSS_WIDTH = 9, 3  # pixels
CROSS_DEPTH = 4.0  # pixels from the cross's middle to the edge of its structure, at least
YELLOW = (255, 220, 0)


@dataclass(frozen=True)
class Cut:
    """A slice to make: of which brain, in which plane, at how many mm, for which split."""

    brain: str
    plane: str
    position: int
    split: str

    @property
    def name(self) -> str:
        return f"{self.brain}_{self.plane}_{self.position:+04d}"


@dataclass(frozen=True)
class Part:
    """A connected part of a structure in a slice.

    Attributes:
        side: of the person, `left` or `right`; "" for what is not paired.
        box: x0, y0, x1, y1 in pixels, the last two exclusive.
        area: pixels.
        mask: (SIZE, SIZE) bool.
    """

    side: str
    box: tuple[int, int, int, int]
    area: int
    mask: np.ndarray = field(repr=False)


@dataclass
class Slice:
    """A slice in its picture.

    Attributes:
        cut: what it is.
        kind: what the brain's volume shows: T1-weighted MRI or one of the maps.
        grey: (SIZE, SIZE) uint8, without marks.
        parts: of every visible structure, by name, the largest first.
        absent: structures that are surely not in it; the rest can be argued about and is never asked for.
        whereabouts: of an absent structure, how this slice lies to it.
        brain_box: of the brain itself, pixels.
        x: (SIZE, SIZE) float, how many mm each pixel lies to the person's right.
        facing: where the front of the head points in the picture; None on coronal slices.
        cross: (column, row) of the yellow cross's middle and the structure and part it lies on.
    """

    cut: Cut
    kind: str
    grey: np.ndarray
    parts: dict[str, list[Part]]
    absent: list[str]
    whereabouts: dict[str, str]
    brain_box: tuple[int, int, int, int]
    x: np.ndarray
    facing: str | None
    cross: tuple[int, int, str, Part] | None = None

    @property
    def flat(self) -> bool:
        """Whether the slice shows both sides of the person, the right one at the left of the picture."""
        return self.cut.plane != "sagittal"

    def area(self, name: str) -> int:
        """Pixels of a visible structure."""
        return sum(part.area for part in self.parts[name])

    def cross_side(self) -> str | None:
        """The person's side that the cross lies on; None in sagittal slices and near the midline."""
        if self.cross is None or not self.flat:
            return None
        x = self.x[self.cross[1], self.cross[0]]
        return None if abs(x) < MIDLINE else "right" if x > 0 else "left"


def cuts() -> list[Cut]:
    """All slices, brain by brain, in order of plane and position."""
    found = []
    for brain, plane in product(BRAINS, BLOCKS):
        places = [
            (position, split)
            for split, blocks in BLOCKS[plane].items()
            for first, last in blocks
            for position in range(first, last + 1, STEP)
        ]
        if plane == "sagittal" and brain not in SYMMETRIC:
            places += [(-position, split) for position, split in places]
        places.sort()
        if BRAINS[brain][1] != T1:
            places = places[::EVERY]
        found += [
            Cut(brain, plane, position, split)
            for position, split in places
            if brain != HELD_OUT or split != "train"
        ]
    return found


def cut_slice(cut: Cut, brain: Volume, white_level: float, atlas: Volume, reach: dict) -> Slice:
    """Make the picture of a slice and find the structures in it.

    Args:
        cut: which one.
        brain: the volume that is shown.
        white_level: its value that becomes white.
        atlas: of `read_structures`.
        reach: of `extents`.
    """
    rng = random.Random(f"brain_atlas/{cut.name}/frame")
    scale = rng.uniform(*SCALE)
    faces_left = rng.random() < 0.5
    points = _points(cut, scale, (rng.uniform(-SHIFT, SHIFT), rng.uniform(-SHIFT, SHIFT)), rng, faces_left)
    values = np.clip(brain.sample(points, order=1) / white_level, 0, 1) ** rng.uniform(*GAMMA)
    grey = np.round(255 * values).astype(np.uint8)
    codes = atlas.sample(points, order=0)
    if BRAINS[cut.brain][1] == T1:
        codes[~binary_fill_holes(grey > DARK)] = 0  # where the atlas reaches beyond this brain
    hidden = HIDDEN.get(BRAINS[cut.brain][1], ())
    parts = {name: found for name, found in _parts(codes, scale).items() if name not in hidden}
    absent, whereabouts = _absent(cut, reach)
    # The map of white matter alone is dark where the brain is not.
    rows, columns = np.nonzero((grey > DARK) | (codes > 0))
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    facing = {"axial": "top", "coronal": None, "sagittal": "left" if faces_left else "right"}[cut.plane]
    return Slice(
        cut,
        BRAINS[cut.brain][1],
        grey,
        parts,
        [name for name in absent if name not in hidden],
        whereabouts,
        box,
        points[0],
        facing,
    )


def _points(
    cut: Cut, scale: float, shift: tuple[float, float], rng: random.Random, faces_left: bool
) -> np.ndarray:
    """The place of every pixel in mm, (3, SIZE, SIZE). Down is back (axial) or down (the others)."""
    angle = np.radians(rng.uniform(-TILT, TILT))
    columns, rows = np.meshgrid(np.arange(SIZE) - (SIZE - 1) / 2, np.arange(SIZE) - (SIZE - 1) / 2)
    across, down = (columns - shift[0]) / scale, (rows - shift[1]) / scale
    across, down = (
        across * np.cos(angle) + down * np.sin(angle),
        down * np.cos(angle) - across * np.sin(angle),
    )
    x, y, z = CENTRE
    flat = np.full_like(across, cut.position)
    if cut.plane == "axial":
        return np.stack([x - across, y - down, flat])
    if cut.plane == "coronal":
        return np.stack([x - across, flat, z - down])
    return np.stack([flat, y - across if faces_left else y + across, z - down])


def _parts(codes: np.ndarray, scale: float) -> dict[str, list[Part]]:
    """The connected parts of every structure that shows enough of itself, left and right ones apart."""
    found: dict[str, list[Part]] = {}
    for number, structure in enumerate(STRUCTURES, 1):
        parts = []
        for code, side in ((2 * number, "left" if structure.paired else ""), (2 * number + 1, "right")):
            numbered, count = label(codes == code)
            for index in range(1, count + 1):
                mask = numbered == index
                area = int(mask.sum())
                if area < FRAGMENT[0] * scale**2:
                    continue
                rows, columns = np.nonzero(mask)
                box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
                parts.append(Part(side, box, area, mask))
        parts.sort(key=lambda part: (-part.area, part.box))
        parts = [part for part in parts if part.area >= FRAGMENT[1] * parts[0].area]
        if sum(part.area for part in parts) >= structure.min_area * scale**2:
            found[structure.name] = parts
    return found


def _absent(cut: Cut, reach: dict[str, list[np.ndarray]]) -> tuple[list[str], dict[str, str]]:
    """Structures of which nothing lies within the margin of the slice, and how the slice lies to each."""
    axis = AXES[cut.plane]
    names, where = [], {}
    for name, axes in reach.items():
        places = axes[axis]
        if len(places) and np.abs(places - cut.position).min() <= ABSENT_MARGIN:
            continue
        names.append(name)
        if not len(places):
            continue
        if cut.plane == "sagittal":
            outside = abs(cut.position) > np.abs(places).max()
            where[name] = "further out to the side than" if outside else "nearer to the midline than"
        elif cut.position > places.max():
            where[name] = "above" if cut.plane == "axial" else "in front of"
        elif cut.position < places.min():
            where[name] = "below" if cut.plane == "axial" else "behind"
    return names, where


def place_cross(view: Slice, name: str) -> bool:
    """Put the cross well inside the largest or second part of a structure; False where it has no room."""
    rng = random.Random(f"brain_atlas/{view.cut.name}/cross/{name}")
    part = rng.choice(view.parts[name][:2])
    depth = distance_transform_edt(part.mask)
    if depth.max() < CROSS_DEPTH:
        return False
    rows, columns = np.nonzero(depth >= max(CROSS_DEPTH, 0.6 * depth.max()))
    index = rng.randrange(len(rows))
    view.cross = (int(columns[index]), int(rows[index]), name, part)
    return True


def draw(view: Slice) -> np.ndarray:
    """The picture as written: (SIZE, SIZE) grey, or (SIZE, SIZE, 3) RGB where the cross is on it."""
    picture = view.grey.copy()
    if view.flat:
        cv2.putText(picture, "R", (6, SIZE // 2 + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    if view.cross is None:
        return picture
    picture = np.stack([picture] * 3, axis=-1)
    column, row = view.cross[:2]
    half = CROSS_WIDTH // 2
    picture[row - half : row + half + 1, column - CROSS_ARM : column + CROSS_ARM + 1] = YELLOW
    picture[row - CROSS_ARM : row + CROSS_ARM + 1, column - half : column + half + 1] = YELLOW
    return picture
