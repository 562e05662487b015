"""A slice of a brain: how it lies in its picture, which structures it shows and where, and its drawn marks.

Display is the radiological one: on axial and coronal slices the picture's left is the person's right, marked
by a drawn R. Sagittal slices face left or right by chance. Scale, place and a slight tilt differ by slice,
so that no structure stands where it stood before.
"""

import random
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

from vqa.datasets.brain_cuts import AXES, Cut
from vqa.datasets.brain_volumes import BRAINS, GREY, STRUCTURES, T1, WHITE, Volume

SIZE = 224  # pixels a side
CENTRE = (0.0, -18.0, 4.0)  # mm: the middle of a brain
SCALE = (1.02, 1.16)  # pixels per mm
SHIFT = 5.0  # pixels
TILT = 6.0  # degrees
GAMMA = (0.85, 1.2)
# Structures that a map does not set off from what is around them.
HIDDEN = {
    GREY: ("lateral ventricle",),
    WHITE: (
        *("insula", "cingulate gyrus", "lateral ventricle", "caudate nucleus", "hippocampus", "amygdala"),
    ),
}
ABSENT_MARGIN = 8  # mm to either side without a voxel of a structure before it is said not to be in a slice
FRAGMENT = (30.0, 0.15)  # parts below so many mm2, or of that share of the largest, are dropped
DARK = 20  # grey value up to which a pixel may be outside of the brain
MIDLINE = 8  # mm from it within which nobody is asked for a side
CROSS_ARM, CROSS_WIDTH = 9, 3  # pixels
CROSS_DEPTH = 4.0  # pixels from the cross's middle to the edge of its structure, at least
YELLOW = (255, 220, 0)


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


@dataclass(frozen=True)
class Cross:
    """The yellow cross: its middle in pixels, and the structure and part that it lies on."""

    column: int
    row: int
    name: str
    part: Part


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
        cross: where one is drawn.
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
    cross: Cross | None = None

    @property
    def two_sided(self) -> bool:
        """Whether the slice shows both sides of the person, the right one at the left of the picture."""
        return self.cut.plane != "sagittal"

    def area(self, name: str) -> int:
        """Pixels of a visible structure."""
        return sum(part.area for part in self.parts[name])

    def cross_side(self) -> str | None:
        """The person's side that the cross lies on; None in sagittal slices and near the midline."""
        if self.cross is None or not self.two_sided:
            return None
        x = self.x[self.cross.row, self.cross.column]
        return None if abs(x) < MIDLINE else "right" if x > 0 else "left"


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
        points[0].astype(np.float32),
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
    view.cross = Cross(int(columns[index]), int(rows[index]), name, part)
    return True


def draw(view: Slice) -> np.ndarray:
    """The picture as written: (SIZE, SIZE) grey, or (SIZE, SIZE, 3) RGB where the cross is on it."""
    picture = view.grey.copy()
    if view.two_sided:
        cv2.putText(picture, "R", (6, SIZE // 2 + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    if view.cross is None:
        return picture
    picture = np.stack([picture] * 3, axis=-1)
    column, row = view.cross.column, view.cross.row
    half = CROSS_WIDTH // 2
    picture[row - half : row + half + 1, column - CROSS_ARM : column + CROSS_ARM + 1] = YELLOW
    picture[row - CROSS_ARM : row + CROSS_ARM + 1, column - half : column + half + 1] = YELLOW
    return picture
