"""Which slices are cut, and for which split: splits go by brain and by blocks of neighbouring slices."""

from dataclasses import dataclass
from itertools import product

from vqa.datasets.brain_volumes import BRAINS, SYMMETRIC, T1

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of millimetres that a plane is cut across
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
HELD_OUT = "icbm2009a"  # the brain whose T1 is never trained on
EVERY = 3  # of the tissue maps' slices only every third


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
