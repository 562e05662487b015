"""Record files read and their images hashed in one go: an image is decoded once, whoever names it."""

from collections.abc import Iterable
from pathlib import Path

from vqa.files import sha256_file
from vqa.image_hashes import perceptual_hash
from vqa.images import ImageFacts, ImageProblem, open_image, resolve_inside
from vqa.record_checks import Record
from vqa.record_reader import ImageChecker, RecordReader

Hashes = dict[str, tuple[str, int]]


class ImageHasher:
    """What reading needs of image files, and what they look like, from one look at the pixels.

    One hasher serves all record files of a command.
    """

    def __init__(self) -> None:
        self._known: dict[Path, tuple[ImageFacts, int]] = {}

    def facts(self, path: Path, max_pixels: int) -> ImageFacts:
        """Size and sha256 of an image file, decoded if no one has asked yet. Raises ImageProblem."""
        if path not in self._known:
            image = open_image(path, max_pixels)
            facts = ImageFacts(image.width, image.height, sha256_file(path))
            self._known[path] = facts, perceptual_hash(image)
        return self._known[path][0]

    def of(self, records: Iterable[Record]) -> Hashes:
        """Path -> (sha256, `perceptual_hash`) of each image of records that were read, in their order."""
        hashes: Hashes = {}
        for record in records:
            for path in record["images"]:
                if path not in hashes:
                    facts, phash = self._known[Path(path)]
                    hashes[path] = facts.sha256, phash
        return hashes


class HashingChecker(ImageChecker):
    """An `ImageChecker` that leaves the images' hashes with a hasher."""

    def __init__(self, root: Path, max_pixels: int, threads: int | None, hasher: ImageHasher) -> None:
        super().__init__(root, max_pixels, threads)
        self.hasher = hasher

    def _check(self, name: str) -> tuple[str, ImageFacts] | str:
        try:
            path = resolve_inside(self.root, name)
            return str(path), self.hasher.facts(path, self.max_pixels)
        except ImageProblem as problem:
            return f"{name!r} {problem}"


def open_records(
    path: str | Path,
    image_root: str | Path | None,
    max_pixels: int,
    check_images: bool = True,
    num_proc: int | None = None,
    hasher: ImageHasher | None = None,
) -> RecordReader:
    """A reader of one record file.

    Args:
        path, image_root, max_pixels, check_images: as for `RecordReader`.
        num_proc: images looked at at a time; default: one a core, eight at most.
        hasher: takes the hashes of the images; None: they are not hashed perceptually.

    Raises:
        UserError: as `RecordReader`.
    """
    reader = RecordReader(path, image_root, max_pixels, check_images)
    root = reader.checker.root
    reader.checker.close()
    if hasher is None:
        reader.checker = ImageChecker(root, max_pixels, num_proc)
    else:
        reader.checker = HashingChecker(root, max_pixels, num_proc, hasher)
    return reader
