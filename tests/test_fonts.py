"""Fonts: pinned and checked when fetched, and never used for a letter they lack."""

import hashlib
import io
import re
import tarfile
from pathlib import Path

import matplotlib
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph

from vqa.errors import UserError
from vqa.offline_fonts import LOCK, extract, fetch, missing_fonts, read_lock
from vqa.synthesis import fonts
from vqa.synthesis.vietnamese_sentences import SENTENCES

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
FETCHED = LOCK.parent / fonts.DEFAULT_FOLDER


def ascii_only(target: Path) -> Path:
    """DejaVu without anything but ASCII."""
    font = TTFont(DEJAVU)
    cutter = subset.Subsetter()
    cutter.populate(text="".join(map(chr, range(32, 127))))
    cutter.subset(font)
    target.parent.mkdir(parents=True, exist_ok=True)
    font.save(target)
    return target


def pack(folder: Path, data: bytes, pinned: bytes | None = None) -> tuple[Path, Path]:
    """A tarball `x-demo-1.0.0.tgz` with one file in it, and a lock that pins `pinned` (default: the same)."""
    tarball = folder / "x-demo-1.0.0.tgz"
    with tarfile.open(tarball, "w:gz") as archive:
        for name in ("package/400Regular/Demo_400Regular.ttf", "package/other.js"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    lock = folder / "demo.lock"
    lock.write_text(
        f"# demo\n\n@x/demo@1.0.0 sha256={hashlib.sha256(tarball.read_bytes()).hexdigest()}\n"
        "    package/400Regular/Demo_400Regular.ttf "
        f"sha256={hashlib.sha256(data if pinned is None else pinned).hexdigest()} handwriting\n"
    )
    return tarball, lock


def test_the_lock_is_read_whole_and_names_no_host():
    packages = read_lock()
    assert [package for package in packages if not package.fonts] == []
    names = [font.path for package in packages for font in package.fonts]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == {"sans", "serif", "mono", "handwriting"}
    assert "://" not in LOCK.read_text(encoding="utf-8")
    assert packages[0].tarball == f"expo-google-fonts-roboto-{packages[0].version}.tgz"


@pytest.mark.parametrize(
    "line",
    [
        "@x/demo@latest sha256=" + "0" * 64,
        "    package/Demo.ttf sha256=" + "0" * 64 + " cursive",
        "    ../Demo.woff sha256=" + "0" * 64 + " sans",
        "demo 1.0",
    ],
)
def test_a_bad_line_of_the_lock_is_named(tmp_path, line):
    lock = tmp_path / "fonts.lock"
    lock.write_text(f"@x/demo@1.0.0 sha256={'0' * 64}\n{line}\n")
    with pytest.raises(UserError, match=r"fonts\.lock:2: neither"):
        read_lock(lock)


def test_only_the_pinned_fonts_are_taken_out(tmp_path):
    tarball, lock = pack(tmp_path, b"letters")
    (package,) = read_lock(lock)
    assert fetch(package, tmp_path) == tarball  # there already: npm is not asked
    assert [font.kind for font in missing_fonts(package, tmp_path / "fonts")] == ["handwriting"]
    assert extract(package, tarball, tmp_path / "fonts") == 1
    files = [path for path in (tmp_path / "fonts").rglob("*") if path.is_file()]
    assert [path.relative_to(tmp_path / "fonts").as_posix() for path in files] == [
        "handwriting/Demo_400Regular.ttf"
    ]
    assert files[0].read_bytes() == b"letters"
    assert missing_fonts(package, tmp_path / "fonts") == []
    files[0].write_bytes(b"damaged")
    assert len(missing_fonts(package, tmp_path / "fonts")) == 1


def test_another_tarball_or_font_is_refused(tmp_path):
    tarball, lock = pack(tmp_path, b"letters", pinned=b"others")
    (package,) = read_lock(lock)
    with pytest.raises(UserError, match=r"Demo_400Regular\.ttf does not have the expected sha256"):
        extract(package, tarball, tmp_path / "fonts")
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"sha256 is not that of @x/demo 1\.0\.0"):
        extract(package, tarball, tmp_path / "fonts")
    assert not (tmp_path / "fonts").exists()


def test_without_npm_the_message_says_so(tmp_path, monkeypatch):
    _, lock = pack(tmp_path, b"letters")
    (package,) = read_lock(lock)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not there"):
        fetch(package, tmp_path / "empty")


def test_a_font_without_a_glyph_of_the_text_is_left_out(tmp_path):
    folder = tmp_path / "handwriting"
    ascii_only(folder / "Plain.ttf")
    (folder / "Whole.ttf").write_bytes(DEJAVU.read_bytes())
    assert [Path(path).name for path in fonts.handwriting_fonts(tmp_path, "Hue")] == [
        "Plain.ttf",
        "Whole.ttf",
    ]
    assert [Path(path).name for path in fonts.handwriting_fonts(tmp_path, "Huế")] == ["Whole.ttf"]


def test_a_glyph_without_an_outline_does_not_count(tmp_path):
    font = TTFont(DEJAVU)
    font["glyf"][font.getBestCmap()[ord("ế")]] = Glyph()
    font.save(tmp_path / "hollow.ttf")
    assert fonts.can_write(str(tmp_path / "hollow.ttf"), "Huê ")
    assert not fonts.can_write(str(tmp_path / "hollow.ttf"), "Huế")


@pytest.mark.parametrize("data", [b"", b"no font", DEJAVU.read_bytes()[:3000]])
def test_a_file_that_is_no_font_is_named(tmp_path, data):
    (tmp_path / "sans").mkdir()
    (tmp_path / "sans" / "Broken_400Regular.ttf").write_bytes(data)
    with pytest.raises(UserError, match=r"Broken_400Regular\.ttf: not a usable TrueType font"):
        fonts.document_faces(tmp_path)


def test_dejavu_is_always_there_and_bold_cuts_are_paired(tmp_path):
    assert [face.kind for face in fonts.document_faces(tmp_path / "nothing")] == ["sans", "serif", "mono"]
    for name in ("Demo_400Regular", "Demo_700Bold", "Lone_400Regular"):
        ascii_only(tmp_path / "serif" / f"{name}.ttf")
    assert len(fonts.document_faces(tmp_path)) == 3, "without a euro sign they cannot set an invoice"
    for path in (tmp_path / "serif").glob("*.ttf"):
        path.write_bytes(DEJAVU.read_bytes())
    fonts.characters.cache_clear()
    demo, lone = fonts.document_faces(tmp_path)[3:]
    assert (Path(demo.regular).stem, Path(demo.bold).stem) == ("Demo_400Regular", "Demo_700Bold")
    assert lone.regular == lone.bold


@pytest.mark.skipif(not (FETCHED / "handwriting").is_dir(), reason="`make fonts` was not run")
def test_the_fetched_handwritings_write_vietnamese_all_but_caveat():
    letters = "".join(sorted(set("".join(SENTENCES))))
    able = {Path(path).name for path in fonts.handwriting_fonts(FETCHED, letters)}
    pinned = [font for package in read_lock() for font in package.fonts if font.kind == "handwriting"]
    names = {Path(font.path).name for font in pinned}
    assert names - able == {name for name in names if re.match("Caveat", name)}
