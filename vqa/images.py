"""Images: opened within limits, hashed, kept inside their root; and the conventions for boxes.

Nothing here trusts a file: the header's size is compared with the pixel limit before a single pixel is
decoded, only raster formats are tried (never a format that starts another program), and a path cannot
lead out of the folder it is relative to.
"""

import hashlib
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

DEFAULT_MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
EXIF_ORIENTATION = 0x0112
# What Pillow's decoders raise for damaged files, in all their variety.
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    OverflowError, MemoryError,
)  # fmt: skip
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's own limit is a warning about what `_opened` refuses with a message of its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageProblem(ValueError):
    """Why an image cannot be used, as a phrase that follows the image's path."""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image that was decoded once: size as seen (EXIF applied), sha256 of its bytes."""

    width: int
    height: int
    sha256: str


def check_image(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Decode an image fully and return its (width, height) in pixels, EXIF orientation applied.

    Raises:
        ImageProblem: missing, empty, truncated, not an image, or more than `max_pixels` (in which case
            it was not decoded).
    """
    with _opened(path, max_pixels) as image:
        return _oriented_size(image)


def image_size(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """(width, height) in pixels from the header alone, EXIF orientation applied; nothing is decoded.

    Raises:
        ImageProblem: as `check_image`, but for damage behind the header.
    """
    with _opened(path, max_pixels, decode=False) as image:
        return _oriented_size(image)


def image_facts(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageFacts:
    """`check_image` and the sha256 of the file's bytes. Raises `ImageProblem`."""
    width, height = check_image(path, max_pixels)
    with open(path, "rb") as file:
        return ImageFacts(width, height, hashlib.file_digest(file, "sha256").hexdigest())


def open_image(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """An image as RGB: EXIF orientation applied, transparency on white, deep greyscale brought to 8 bits.

    16-bit greyscale keeps its high byte; 32-bit and float greyscale are stretched from their minimum
    to their maximum. Of an animation or a multi-page file it is the first frame.

    Raises:
        ImageProblem: as `check_image`.
    """
    with _opened(path, max_pixels) as image:
        transpose = _TRANSPOSE.get(_orientation(image))
        rgb = _to_rgb(image)
        return rgb.transpose(transpose) if transpose is not None else rgb


def resolve_inside(root: str | Path, relative: str) -> Path:
    """The absolute path of `relative` under `root`, symlinks followed.

    Raises:
        ImageProblem: `relative` is empty, absolute, contains `..` or a NUL, or leads out of `root`
            through a symlink.
    """
    if not relative or "\0" in relative:
        raise ImageProblem("is empty or holds a NUL character")
    pure = PurePosixPath(relative)
    if pure.is_absolute():
        raise ImageProblem("is an absolute path; images are named relative to the image root")
    if ".." in pure.parts:
        raise ImageProblem("leaves the image root with '..'")
    base = os.path.realpath(root)
    resolved = os.path.realpath(os.path.join(base, relative))
    if not resolved.startswith(base.rstrip(os.sep) + os.sep):
        raise ImageProblem("leaves the image root through a symlink")
    return Path(resolved)


def boxes_to_text_coordinates(
    boxes: Sequence[Sequence[float]],
    image_size: Sequence[int],
    box_format: str,
    resized_size: Sequence[int] | None = None,
) -> list[list[int]]:
    """Boxes in original pixels as the integers a model writes.

    Coordinates are rounded and kept inside the frame; a box thinner than one unit is widened to one.

    Args:
        boxes: [x0, y0, x1, y1] each, pixels of the original image.
        image_size: (width, height) of the original image.
        box_format: `norm1000` (0-1000 of width and height) or `pixels` (of the resized image).
        resized_size: (width, height) as the model sees it; needed for `pixels`.
    """
    frame = text_frame(box_format, resized_size)
    converted = []
    for box in boxes:
        scaled = [round(value / image_size[axis % 2] * frame[axis % 2]) for axis, value in enumerate(box)]
        clipped = [min(max(value, 0), frame[axis % 2]) for axis, value in enumerate(scaled)]
        for low, high in ((0, 2), (1, 3)):
            if clipped[high] <= clipped[low]:
                clipped[low] = min(clipped[low], frame[low] - 1)
                clipped[high] = clipped[low] + 1
        converted.append(clipped)
    return converted


def boxes_to_pixels(
    boxes: Sequence[Sequence[float]],
    image_size: Sequence[int],
    box_format: str,
    resized_size: Sequence[int] | None = None,
) -> list[list[float]]:
    """The inverse of `boxes_to_text_coordinates`, up to its rounding: boxes in original pixels."""
    frame = text_frame(box_format, resized_size)
    return [
        [value / frame[axis % 2] * image_size[axis % 2] for axis, value in enumerate(box)] for box in boxes
    ]


def text_frame(box_format: str, resized_size: Sequence[int] | None) -> tuple[int, int]:
    """The (width, height) that coordinates in a model's text are measured in.

    Raises:
        ValueError: an unknown format, or `pixels` without the size of the resized image.
    """
    if box_format == "norm1000":
        return 1000, 1000
    if box_format != "pixels":
        raise ValueError(f"box_format is 'norm1000' or 'pixels', not {box_format!r}")
    if resized_size is None:
        raise ValueError("box_format 'pixels' needs the size of the resized image")
    return int(resized_size[0]), int(resized_size[1])


@contextmanager
def _opened(path: str | Path, max_pixels: int, decode: bool = True) -> Iterator[Image.Image]:
    """A Pillow image, decoded unless told otherwise, every failure turned into an `ImageProblem`."""
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise ImageProblem("does not exist") from error
    except OSError as error:
        raise ImageProblem(f"cannot be read: {error.strerror}") from error
    # A pipe or a device would block or never end.
    if not stat.S_ISREG(status.st_mode):
        raise ImageProblem("is not a file")
    if status.st_size == 0:
        raise ImageProblem("is empty (0 bytes)")
    # Pillow refuses at twice its own limit; a user who allows more raises it for the whole process.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageProblem(f"has {width}x{height} pixels, more than the limit of {max_pixels:,}")
            if decode:
                image.load()
            yield image
    except ImageProblem:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageProblem(f"is not an image of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise ImageProblem(f"has more pixels than the limit of {max_pixels:,}") from error
    except PermissionError as error:
        raise ImageProblem("cannot be read: permission denied") from error
    except _DECODING_ERRORS as error:
        raise ImageProblem(f"cannot be decoded, it is damaged or truncated ({_one_line(error)})") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or the EXIF block is damaged."""
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except _DECODING_ERRORS:
        return 1


def _oriented_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
        low, high = values.min(), values.max()
        scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
        return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
