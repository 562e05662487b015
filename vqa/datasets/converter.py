"""What a converter is: the rows that it yields, the options that it honours, and its functions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqa.images import DEFAULT_MAX_PIXELS


@dataclass(frozen=True)
class RawRow:
    """One row of a publication.

    Attributes:
        split: the split it belongs to.
        row: the raw row, whole, as it goes to the rejects.
        where: file and row for the reader of the rejects.
        record: in the contract's form or a raw one, images relative to the image root; None for a reject.
        reason: why there is no record.
        filtered: the option that leaves the row out (`language`); such a row is counted, not rejected.
        repairs: what was mended in the raw row, such as `misspelt answer type`; each kind is counted.
    """

    split: str
    row: Any
    where: str
    record: dict[str, Any] | None = None
    reason: str = ""
    filtered: str = ""
    repairs: tuple[str, ...] = ()

    def rejected(self, reason: str) -> "RawRow":
        """The same row, with the reason why it makes no record."""
        return replace(self, record=None, reason=reason)

    def made(self, record: dict[str, Any], repairs: tuple[str, ...] = ()) -> "RawRow":
        """The same row, with its record."""
        return replace(self, record=record, repairs=self.repairs + repairs)


@dataclass(frozen=True)
class ConvertOptions:
    """What a user can ask of a conversion.

    Attributes:
        splits: keep these only; the rows of others are counted as filtered. Empty: all.
        validation_images: hold out the last so many training images, for sets without a validation split.
        max_pixels: images of more are rejected without being decoded.
        language: of the questions, `all` or a code such as `en`, for sets in several.
        level: `line`, `word` or `all`, for handwriting sets that have both.
        questions: a table of questions, for sets that are folders of images.
        columns: field of the record -> column of the data set, for `hub`.
        image_dir: where the images that lie in no file of their own are written (DICOM, Parquet).
        image_root: what the records' images are relative to; None: the folder that is read.
        num_proc: images checked at a time.
    """

    splits: tuple[str, ...] = ()
    validation_images: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS
    language: str = "all"
    level: str = "all"
    questions: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    image_dir: Path | None = None
    image_root: Path | None = None
    num_proc: int = 4


@dataclass(frozen=True)
class Converter:
    """A data set that can be converted.

    Attributes:
        name: as given to `--dataset`, and the records' `source`.
        licence: of the publication, where known.
        find_input: the user's `--input` (or None) -> the folder to read, which is also the image root.
            Raises UserError when it does not hold the publication.
        rows: reads that folder.
        writes_images: whether the images of that folder lie in no files that can be used (DICOM, Parquet):
            then `rows` writes them into `options.image_dir` and names them `images/NAME`, and the record
            folder becomes the image root.
        can_hold_out: has no validation split of its own, so `rows` honours `options.validation_images`.
    """

    name: str
    licence: str | None
    find_input: Callable[[Path | None], Path]
    rows: Callable[[Path, ConvertOptions], Iterator[RawRow]]
    writes_images: Callable[[Path], object] = lambda root: False
    can_hold_out: bool = False
