"""A DICOM file's first frame as an 8-bit picture, windowed as the file says.

Formulas: PS3.3 C.11.2.1.2 (linear, LINEAR_EXACT and SIGMOID windows), C.11.1 (rescale) and C.11.2.1.1 (VOI
LUT). Without a window the values are stretched from the lowest to the highest. Nothing is decoded before the
header's size is known to be within the limit.
"""

import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

# Elements longer than this, such as embedded documents, stay on disk.
DEFERRED_BYTES = "1 MB"
# What compressed pixels may take beyond four times their decoded size: headers, thumbnails, private data.
OTHER_BYTES = 8 * 2**20
# What pydicom and its decoders raise for damaged or unsupported files.
_FAULTS = (
    InvalidDicomError, BytesLengthException, OSError, ValueError, RuntimeError, NotImplementedError,
    AttributeError, KeyError,
    TypeError, IndexError, EOFError, OverflowError, MemoryError, SyntaxError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_FRAME_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_FRAME_SEQUENCES = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
# Of a picture, not of a person: no name, date or number that leads to a patient.
_KEPT = {
    "modality": "Modality", "body_part": "BodyPartExamined", "view": "ViewPosition",
    "photometric": "PhotometricInterpretation", "burned_in_annotation": "BurnedInAnnotation",
}  # fmt: skip


class DicomProblem(ValueError):
    """Why a DICOM file gives no picture."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame, what may be told of it, and what had to be decided."""

    image: Image.Image
    meta: dict[str, Any]
    repairs: tuple[str, ...] = field(default=())


def read_picture(path: Path, max_pixels: int) -> Picture:
    """The first frame of a DICOM file in 8 bits, grey or RGB.

    Args:
        path: a file with a DICOM header (PS3.10).
        max_pixels: limit for rows x columns x frames.

    Raises:
        DicomProblem: no DICOM, no pixels, more than the limit, damaged, or a compression that no installed
            decoder reads.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity of a header
            if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                raise DicomProblem("is deflated as a whole, which cannot be read within limits")
            data = dcmread(path, stop_before_pixels=True, defer_size=DEFERRED_BYTES)
            frames = _check_size(data, path, max_pixels)
            values = pixel_array(path, index=0)
            image, repairs = _to_image(values, data)
    except DicomProblem:
        raise
    except InvalidDicomError as error:
        raise DicomProblem("is not a DICOM file") from error
    except _FAULTS as error:
        raise DicomProblem(f"cannot be decoded: {_one_line(error)}") from error
    meta = {name: str(data.get(keyword)) for name, keyword in _KEPT.items() if data.get(keyword)}
    if frames > 1:
        repairs.append("first frame of several")
        meta["frames"] = frames
    return Picture(image, meta, tuple(repairs))


def _check_size(data: Dataset, path: Path, max_pixels: int) -> int:
    """The number of frames. Raises DicomProblem for an object without pixels, or with too many."""
    rows, columns = data.get("Rows"), data.get("Columns")
    frames = int(data.get("NumberOfFrames") or 1)
    if not rows or not columns or frames < 1:
        raise DicomProblem("holds no picture (no Rows and Columns)")
    if rows * columns * frames > max_pixels:
        shape = f"{columns}x{rows}" + (f" in {frames} frames" if frames > 1 else "")
        raise DicomProblem(f"has {shape} pixels, more than the limit of {max_pixels:,}")
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        if not get_decoder(syntax).is_available:
            raise DicomProblem(f"is compressed as {syntax.name}, which no installed decoder reads")
        decoded = rows * columns * frames * int(data.SamplesPerPixel) * int(data.BitsAllocated) // 8
        if path.stat().st_size > 4 * decoded + OTHER_BYTES:
            raise DicomProblem("holds far more compressed data than its pixels need")
    return frames


def _to_image(values: np.ndarray, data: Dataset) -> tuple[Image.Image, list[str]]:
    if data.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(values, data)
        values = (colors >> 8).astype(np.uint8) if colors.dtype == np.uint16 else colors
    if values.ndim == 3:
        # pixel_array has turned YBR into RGB already; deep colour keeps its high byte.
        shift = max(int(data.BitsStored) - 8, 0) if values.dtype != np.uint8 else 0
        return Image.fromarray((values >> shift).astype(np.uint8)).convert("RGB"), []
    grey, repairs = windowed(values, _of_first_frame(data))
    if data.PhotometricInterpretation == "MONOCHROME1":  # lowest value is white
        grey = 1.0 - grey
    return Image.fromarray(np.rint(grey * 255).astype(np.uint8)), repairs


def _of_first_frame(data: Dataset) -> Dataset:
    """Rescale and window of frame 1: enhanced objects keep them in groups, others at the top."""
    merged = Dataset()
    for source in (data, *_group_items(data)):
        for keyword in (
            "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter",
            "WindowWidth", "VOILUTFunction", "BitsStored", "PixelRepresentation",
        ):  # fmt: skip
            if keyword in source:
                merged[keyword] = source[keyword]
    return merged


def _group_items(data: Dataset) -> list[Dataset]:
    groups = [group[0] for name in reversed(_FRAME_GROUPS) if (group := data.get(name))]
    return [items[0] for group in groups for name in _FRAME_SEQUENCES if (items := group.get(name))]


def windowed(values: np.ndarray, data: Dataset) -> tuple[np.ndarray, list[str]]:
    """Stored values as brightness from 0 to 1, and what had to be repaired.

    Args:
        values: 2-D, as stored.
        data: rescale or modality LUT, VOI LUT or window; of several windows the first.
    """
    values = np.asarray(apply_modality_lut(values, data), dtype=np.float64)
    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        return np.clip(apply_voi(np.rint(values).astype(np.int64), data) / (2**bits - 1), 0, 1), []
    center, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if center is None or width is None:
        return _stretched(values), []
    if width <= 0 or (function == "LINEAR" and width < 1):
        return _stretched(values), ["window without width"]
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))), []
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1), []
    # At width 1 the linear window is a step, which the division cannot say.
    if width == 1:
        return (values > center - 0.5).astype(np.float64), []
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1), []


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _first(value: Any) -> float | None:
    """The first of an element's values as a number; None where it is absent or empty."""
    if value is None or isinstance(value, str | int | float):
        return float(value) if value not in (None, "") else None
    return float(value[0]) if len(value) else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
