"""The fonts that synthetic pages are drawn with, and which letters each of them has.

A folder of fonts has the subfolders `sans`, `serif`, `mono` and `handwriting`; `make fonts` fills them, and
any TrueType file put there is used as well. DejaVu, which matplotlib brings along, is always there.
"""

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont

from vqa.errors import UserError
from vqa.files import sha256_file

DEFAULT_FOLDER = ".cache/fonts"
# What a typeface must hold to set documents and screens: printable ASCII and the currencies in use.
PRINTED = "".join(map(chr, range(32, 127))) + "€£"
_DEJAVU = {"sans": "DejaVuSans", "serif": "DejaVuSerif", "mono": "DejaVuSansMono"}


@dataclass(frozen=True)
class Face:
    """A typeface: its name, `sans`, `serif` or `mono`, and the files of its regular and bold cut."""

    name: str
    kind: str
    regular: str
    bold: str


def document_faces(folder: Path) -> tuple[Face, ...]:
    """DejaVu and the typefaces under `folder` that can set English, in a fixed order.

    A file `NAME_400Regular.ttf` goes with `NAME_700Bold.ttf`; one without a bold cut serves as its own.

    Raises:
        UserError: a file there is not a font.
    """
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [
        Face(name, kind, str(dejavu / f"{name}.ttf"), str(dejavu / f"{name}-Bold.ttf"))
        for kind, name in _DEJAVU.items()
    ]
    for kind in _DEJAVU:
        for regular in sorted((folder / kind).glob("*.ttf")):
            name = typeface(str(regular))
            if "Bold" in regular.stem or not can_write(str(regular), PRINTED):
                continue
            bold = regular.with_name(f"{name}_700Bold.ttf")
            faces.append(Face(name, kind, str(regular), str(bold if bold.is_file() else regular)))
    return tuple(faces)


def handwriting_fonts(folder: Path, text: str = "") -> tuple[str, ...]:
    """The handwriting fonts under `folder` that hold every letter of `text`, in a fixed order."""
    paths = sorted((folder / "handwriting").glob("*.ttf"))
    return tuple(str(path) for path in paths if can_write(str(path), text))


def typeface(path: str) -> str:
    """The name of a font file's typeface: what stands before its weight."""
    return Path(path).stem.split("_")[0]


def can_write(path: str, text: str) -> bool:
    """Whether a font has a visible glyph of its own for every letter of `text` (NFC), and a space.

    Raises:
        UserError: the file is not a font.
    """
    return characters(path).issuperset(text)


@cache
def characters(path: str) -> frozenset[str]:
    """The characters a font can show. Those that its table maps to an empty outline do not count."""
    try:
        with TTFont(path, lazy=True) as font:
            names = font.getBestCmap() or {}
            loca = font["loca"] if "loca" in font else None
            found = set()
            for code, name in names.items():
                glyph = font.getGlyphID(name)
                empty = loca is not None and loca[glyph] == loca[glyph + 1]
                if glyph != 0 and (not empty or chr(code).isspace()):
                    found.add(chr(code))
            return frozenset(found)
    except (TTLibError, OSError, struct.error, KeyError, IndexError, ValueError, AssertionError) as error:
        raise UserError(f"{path}: not a usable TrueType font ({' '.join(str(error).split())})") from error


@cache
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at `size` pixels, laid out by Pillow itself, which does the same on every machine."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def fingerprints(paths: list[str]) -> dict[str, str]:
    """File name -> sha256 of fonts, for a manifest: what is drawn depends on them."""
    return {
        Path(path).name: sha256_file(path) for path in sorted(set(paths), key=lambda path: Path(path).name)
    }
