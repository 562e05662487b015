"""VinText: text in 2,000 Vietnamese street scenes, 56,000 marked regions (Nguyen et al., CVPR 2021).

Schema from github.com/VinAIResearch/dict-guided and mmocr's preparation of its archive:
`vietnamese/{train_images, test_image, unseen_test_images}/imNNNN.jpg` and `vietnamese/labels/gt_N.txt`, whose
lines are `x1,y1,x2,y2,x3,y3,x4,y4,TEXT`: a quadrilateral in pixels and a text that may itself hold commas;
`###` is a region that cannot be read. Images 1-1200 are train, 1201-1500 test, 1501-2000 unseen test (a
split `unseen_test`). mmocr's renamed folders, `annotations` and `imgs/training` and so on, are read too.

A picture holds many texts, and a record is one question of one picture. So each readable region becomes a
question that points at it, by the box around its quadrilateral in thousandths of the image's width and height
(the contract's norm1000), with that box as evidence. No image is cropped.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.datasets.layouts import IMAGE_SUFFIXES, files_inside, natural_key, publication_folder
from vqa.datasets.raw_json import read_lines
from vqa.errors import UserError
from vqa.images import ImageProblem, boxes_to_text_coordinates, image_size, resolve_inside

QUESTION = "What text is written in the box {box}?"
ILLEGIBLE = "###"
_LABEL_FOLDERS = ("labels", "annotations")
_IMAGE_FOLDERS = {
    "train": ("train_images", "imgs/training", "training"),
    "test": ("test_image", "test_images", "imgs/test"),
    "unseen_test": ("unseen_test_images", "imgs/unseen_test"),
}
_COORDINATE = re.compile(r"\s*-?\d+(\.\d+)?\s*")


def find_input(given: Path | None) -> Path:
    """The folder with `labels` and `train_images`: as given, or one below it such as `vietnamese`."""
    return publication_folder(
        given,
        "VinText",
        "labels/ with train_images/ beside it",
        lambda f: _label_folder(f) and _image_folders(f),
    )


def _label_folder(root: Path) -> str:
    return next((name for name in _LABEL_FOLDERS if (root / name).is_dir()), "")


def _image_folders(root: Path) -> list[tuple[str, str]]:
    return [
        (split, name) for split, names in _IMAGE_FOLDERS.items() for name in names if (root / name).is_dir()
    ]


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield one row per marked region, image by image; and one per image or label file without the other."""
    labels = _label_folder(root)
    images = {}
    for split, folder in _image_folders(root):
        for path in files_inside(root, root / folder, IMAGE_SUFFIXES):
            number = re.search(r"\d+", path.name)
            images.setdefault(int(number[0]) if number else path.name, (split, f"{folder}/{path.name}"))
    files = {}
    for path in files_inside(root, root / labels, (".txt",)):
        number = re.search(r"\d+", path.name)
        files[int(number[0]) if number else path.name] = path
    for key in sorted({*images, *files}, key=lambda key: natural_key(str(key))):
        split, image = images.get(key, (_split_of_number(key), None))
        where = files[key].name if key in files else str(image)
        if image is None:
            yield RawRow(split, {"labels": where}, where, reason=f"no image of number {key}")
        elif key not in files:
            yield RawRow(split, {"image": image}, where, reason=f"no gt_{key}.txt in {labels}/")
        else:
            yield from _image_rows(root, split, image, files[key], options)


def _split_of_number(key: int | str) -> str:
    """By the published ranges, for a label file whose image is missing."""
    if not isinstance(key, int) or key <= 1200:
        return "train"
    return "test" if key <= 1500 else "unseen_test"


def _image_rows(root: Path, split: str, image: str, path: Path, options: ConvertOptions) -> Iterator[RawRow]:
    if options.splits and split not in options.splits:
        size: tuple[int, int] | str = "not looked at"
    else:
        try:
            size = image_size(resolve_inside(root, image), options.max_pixels)
        except ImageProblem as problem:
            size = f"images[0]: {image!r} {problem}"
    try:
        lines = read_lines(path)
    except UserError as error:
        yield RawRow(split, {"labels": path.name}, path.name, reason=str(error))
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path.name}: line {number}"
            row = {"image": image, "line": line}
            if isinstance(size, str):
                yield RawRow(split, row, where, reason=size)
                continue
            identity = f"vintext/{split}/{Path(image).stem}/{number:03d}"
            yield _region(RawRow(split, row, where), line, size, image, identity)


def _region(raw: RawRow, line: str, size: tuple[int, int], image: str, identity: str) -> RawRow:
    """The row with its record, or with the reason why there is none."""
    cells = line.lstrip("\ufeff").split(",", 8)
    if len(cells) < 9 or not all(_COORDINATE.fullmatch(cell) for cell in cells[:8]):
        return RawRow(raw.split, raw.row, raw.where, reason="expected x1,y1,...,x4,y4,text")
    text = cells[8].strip()
    if text == ILLEGIBLE:
        return RawRow(raw.split, raw.row, raw.where, reason=f"{ILLEGIBLE}: the region cannot be read")
    points = [float(cell) if "." in cell else int(cell) for cell in cells[:8]]
    whole = [min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])]
    box = [max(whole[0], 0), max(whole[1], 0), min(whole[2], size[0]), min(whole[3], size[1])]
    if box[0] >= box[2] or box[1] >= box[3]:
        return RawRow(raw.split, raw.row, raw.where, reason=f"boxes: {whole} has no area in the image")
    (pointed,) = boxes_to_text_coordinates([box], size, "norm1000")
    record = {
        "id": identity,
        "images": [image],
        "question": QUESTION.format(box=pointed),
        "answers": [text],
        "answerable": True,
        "question_type": "transcription",
        "boxes": [box],
        "meta": {"polygon": [points[start : start + 2] for start in range(0, 8, 2)]},
    }
    repairs = ("box cut to its image",) if box != whole else ()
    return RawRow(raw.split, raw.row, raw.where, record, repairs=repairs)


VINTEXT = Converter("vintext", licence="research and education only", find_input=find_input, rows=rows)
