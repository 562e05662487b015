"""Images in the columns of a table: their bytes, and files for them."""

import base64
import binascii
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image

from vqa.files import atomic_write
from vqa.images import ImageProblem, resolve_inside

MAX_IMAGE_BYTES = 2**28
_SIGNATURES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\0\0\0\x0cjP": ".jp2",
    **{b"P%d" % number: ".ppm" for number in range(1, 7)},
}
_SHORTEST_BASE64 = 100


def image_bytes(value: Any, root: Path, max_pixels: int) -> Iterator[bytes]:
    """The encoded bytes of each image in a cell: none, one, or a list.

    A cell holds {"bytes", "path"} as `datasets` stores images, bytes, a file name relative to `root`, base64,
    or, for an image that was only stored decoded, nested lists of pixels from 0 to 255, which become a PNG.

    Raises:
        ImageProblem: the file is missing or lies elsewhere, the pixels are none, or too many.
    """
    if value is None:
        return
    if isinstance(value, dict):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield _from_text(value, root)
    elif isinstance(value, np.ndarray) or (isinstance(value, list) and _is_pixels(value)):
        yield _png(np.asarray(value), max_pixels)
    elif isinstance(value, list):
        for item in value:
            yield from image_bytes(item, root, max_pixels)
    else:
        raise ImageProblem(f"images: {value!r:.60} is no image")


def _is_pixels(value: list[Any]) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, int | float)


def _from_text(text: str, root: Path) -> bytes:
    head, _, body = text.partition(";base64,")
    if body or len(text) > _SHORTEST_BASE64:
        try:
            content = base64.b64decode(body or head, validate=True)
        except binascii.Error:
            content = b""
        if _suffix(content):
            return content
    path = _inside(text, root)
    if not os.path.isfile(path):  # which, unlike Path.is_file, takes any name
        raise ImageProblem(f"images: {text!r:.200} does not exist")
    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise ImageProblem(f"images: {text!r} is larger than {MAX_IMAGE_BYTES // 2**20} MiB")
    return path.read_bytes()


def _inside(text: str, root: Path) -> Path:
    """The file, which must lie in the data set's folder, or where the library keeps what it downloaded."""
    folder = root if root.is_dir() else root.parent
    if not Path(text).is_absolute():
        try:
            return resolve_inside(folder, text)
        except ImageProblem as problem:
            raise ImageProblem(f"images: {text!r:.200} {problem}") from problem
    path = Path(text).resolve()
    allowed = (folder, Path(HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE))
    if not any(path.is_relative_to(place.resolve()) for place in allowed):
        raise ImageProblem(f"images: {text!r:.200} lies outside of the data set's folder")
    return path


def _png(pixels: np.ndarray, max_pixels: int) -> bytes:
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, 2)  # channels first
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "iu" or pixels.size == 0:
        raise ImageProblem(f"images: an array of {pixels.dtype} of shape {pixels.shape} is no image")
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        raise ImageProblem(
            f"images: has {pixels.shape[1]}x{pixels.shape[0]} pixels, more than {max_pixels:,}"
        )
    if pixels.min() < 0 or pixels.max() > 255:
        raise ImageProblem("images: its pixels are not from 0 to 255")
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _suffix(content: bytes) -> str:
    """The suffix of a file that begins so; empty for no known image."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in _SIGNATURES.items() if content.startswith(start)), "")


def write_image(content: bytes, folder: Path) -> str:
    """Write an image's bytes as they are, unless they are there; return `images/HASH.SUFFIX`.

    Raises:
        ImageProblem: the bytes do not begin as an image does. They are not decoded.
    """
    suffix = _suffix(content)
    if not suffix:
        raise ImageProblem("images: the bytes are of no known image format")
    path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
    if not path.is_file():
        with atomic_write(path, "wb") as file:
            file.write(content)
    return f"{folder.name}/{path.name}"
