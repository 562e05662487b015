"""The fonts that synthetic documents, screens and handwriting are drawn with, out of npm packages.

`fonts.lock` pins every package by the sha256 of its tarball and every font file by its own, and says what
it is for: `sans`, `serif`, `mono` or `handwriting`, the subfolder it goes to. Nothing is installed and no
script of a package runs: `npm pack` only fetches the tarball. All are under the SIL Open Font License 1.1.

Run by `make fonts`: python -m vqa.offline_fonts .cache/packages .cache/fonts
"""

import hashlib
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from vqa.cli import run
from vqa.errors import UserError
from vqa.files import atomic_write, sha256_file

LOCK = Path(__file__).resolve().parent.parent / "fonts.lock"
KINDS = ("sans", "serif", "mono", "handwriting")
_PACKAGE = re.compile(r"(@[a-z0-9-]+/[a-z0-9-]+)@([0-9.]+) sha256=([0-9a-f]{64})")
_MEMBER = re.compile(r"    (\S+\.ttf) sha256=([0-9a-f]{64}) (\w+)")


@dataclass(frozen=True)
class PinnedFont:
    """One font file of a package: its path in the tarball, its hash, what it is for."""

    member: str
    sha256: str
    kind: str

    @property
    def path(self) -> str:
        """Where it goes, relative to the folder of fonts."""
        return f"{self.kind}/{self.member.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class PinnedPackage:
    """One npm package and the fonts taken from it."""

    name: str
    version: str
    sha256: str
    fonts: tuple[PinnedFont, ...]

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def read_lock(path: Path = LOCK) -> list[PinnedPackage]:
    """The packages of a lock file. Raises UserError naming the line that is not of its form."""
    packages: list[PinnedPackage] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if package := _PACKAGE.fullmatch(line):
            packages.append(PinnedPackage(*package.groups(), fonts=()))
        elif (member := _MEMBER.fullmatch(line)) and packages and member[3] in KINDS:
            last = packages.pop()
            fonts = (*last.fonts, PinnedFont(*member.groups()))
            packages.append(PinnedPackage(last.name, last.version, last.sha256, fonts))
        else:
            raise UserError(f"{path}:{number}: neither a package nor one of its fonts: {line.strip()[:80]!r}")
    return packages


def missing_fonts(package: PinnedPackage, folder: Path) -> list[PinnedFont]:
    """Those of its fonts that are not in `folder` with the pinned hash."""
    paths = [(font, folder / font.path) for font in package.fonts]
    return [font for font, path in paths if not path.is_file() or sha256_file(path) != font.sha256]


def extract(package: PinnedPackage, tarball: Path, folder: Path) -> int:
    """Write the fonts of `package` into the subfolders of `folder`, and return how many.

    Raises:
        UserError: the tarball or a file in it is not the pinned one; nothing is written from it then.
    """
    if sha256_file(tarball) != package.sha256:
        raise UserError(
            f"{tarball}: sha256 is not that of {package.name} {package.version}; delete it and run again"
        )
    found = {}
    with tarfile.open(tarball, "r:gz") as archive:
        for font in package.fonts:
            data = archive.extractfile(font.member).read()
            if hashlib.sha256(data).hexdigest() != font.sha256:
                raise UserError(f"{tarball}: {font.member} does not have the expected sha256")
            found[font.path] = data
    for path, data in found.items():
        with atomic_write(folder / path, "wb") as file:
            file.write(data)
    return len(found)


def fetch(package: PinnedPackage, packages_dir: Path) -> Path:
    """The package's tarball in `packages_dir`, fetched with npm when it is not there.

    Raises:
        UserError: npm is not there, or cannot fetch it.
    """
    tarball = packages_dir / package.tarball
    if not tarball.is_file():
        packages_dir.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(packages_dir)]
        try:
            subprocess.run(
                [*command, f"{package.name}@{package.version}"], check=True, capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise UserError("npm is not there; it fetches the fonts (Debian: apt install npm)") from error
        except subprocess.CalledProcessError as error:
            reason = " ".join((error.stderr or error.stdout).split())[-300:]
            raise UserError(f"npm cannot fetch {package.name} {package.version}: {reason}") from error
    return tarball


def main() -> None:
    """Fetch and extract what is not there yet."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m vqa.offline_fonts PACKAGES_DIR FONTS_DIR")
    packages_dir, folder = Path(sys.argv[1]), Path(sys.argv[2])
    packages = read_lock()
    written = sum(
        extract(package, fetch(package, packages_dir), folder)
        for package in packages
        if missing_fonts(package, folder)
    )
    total = sum(len(package.fonts) for package in packages)
    print(f"{folder}: {total} fonts of {len(packages)} packages, {written} of them new")


if __name__ == "__main__":
    run(main)
