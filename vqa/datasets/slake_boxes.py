"""SLAKE's object boxes: read from `detection.json`, and matched with the objects that a question names."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from vqa.datasets.raw_json import read_json
from vqa.datasets.row_values import numbers
from vqa.errors import UserError

MAX_DETECTION_BYTES = 2**20
Objects = list[tuple[str, list[float]]]

# The Chinese names of organs and findings in the published questions -> the English words of the labels.
_CHINESE = {
    "非增强型脑肿瘤": "brain non-enhancing tumor", "非增强型脑瘤": "brain non-enhancing tumor",
    "增强型脑肿瘤": "brain enhancing tumor", "增强型脑瘤": "brain enhancing tumor", "脑肿瘤": "brain tumor",
    "脑瘤": "brain tumor", "脑水肿": "brain edema", "心脏肥大": "cardiomegaly", "肺结节": "nodule",
    "肺肿块": "mass", "肺不张": "atelectasis", "肺浸润": "infiltration", "肺癌": "lung cancer",
    "肺炎": "pneumonia", "气胸": "pneumothorax", "积液": "effusion", "肝癌": "liver cancer",
    "肾癌": "kidney cancer", "肺支气管": "pulmonary bronchus", "左侧肾脏": "left kidney",
    "右侧肾脏": "right kidney", "左肾脏": "left kidney", "右肾脏": "right kidney", "左肾": "left kidney",
    "右肾": "right kidney", "肾脏": "kidney", "肾": "kidney", "左上肺": "left lung", "左下肺": "left lung",
    "右上肺": "right lung", "右中肺": "right lung", "右下肺": "right lung", "左肺": "left lung",
    "右肺": "right lung", "肺": "lung", "心脏": "heart", "肝脏": "liver", "肝": "liver", "脾脏": "spleen",
    "脾": "spleen", "十二指肠": "duodenum", "小肠": "small bowel", "大肠": "large bowel", "结肠": "colon",
    "直肠": "rectum", "胃": "stomach", "膀胱": "bladder", "食管": "esophagus", "食道": "esophagus",
    "气管": "trachea", "喉": "larynx", "脊髓": "spinal cord", "大脑": "brain", "脑部": "brain",
    "脑干": "brain stem",
    "左颞叶": "left temporal lobe", "右颞叶": "right temporal lobe", "颞叶": "temporal lobe",
    "下颌骨": "mandible", "腮腺": "parotid", "眼": "eye", "牙齿": "teeth", "胰腺": "pancreas",
    "左股骨头": "left femoral head", "右股骨头": "right femoral head", "股骨头": "femoral head",
}  # fmt: skip
_CHINESE_NAME = re.compile("|".join(sorted(_CHINESE, key=len, reverse=True)))
_SIDES = ("left", "right")


def read_objects(path: Path) -> tuple[Objects, bool]:
    """The (label, [x, y, width, height]) of a `detection.json`, and whether all of it could be read.

    Published is a list of one-key objects; one object, and several boxes for a label, are read as well. A
    file that is not there is whole and empty.
    """
    if not os.path.isfile(path):
        return [], True
    try:
        value = read_json(path, MAX_DETECTION_BYTES)
    except UserError:
        return [], False
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return [], False
    objects: Objects = []
    whole = True
    for entry in entries:
        for label, boxes in entry.items() if isinstance(entry, dict) else [("", entry)]:
            for box in boxes if _is_list_of_lists(boxes) else [boxes]:
                corner_and_size = numbers(box, 4)
                if label.strip() and corner_and_size:
                    objects.append((label.strip(), corner_and_size))
                else:
                    whole = False
    return objects, whole


def corners(box: Sequence[float], size: tuple[int, int] | None) -> list[float] | None:
    """[x, y, width, height] as [x0, y0, x1, y1], clipped to an image of `size`; None when nothing is left."""
    x, y, width, height = box
    x0, y0, x1, y1 = x, y, x + width, y + height
    if size is not None:
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, size[0]), min(y1, size[1])
    return [x0, y0, x1, y1] if x0 < x1 and y0 < y1 else None


def mentioned(labels: Sequence[str], text: str) -> set[str]:
    """Which labels a text names: whole words, any case, plurals, Chinese names; the longest name first.

    "lung cancer" names `Lung Cancer` and not `Lung`; "lungs" names `Left Lung` and `Right Lung` where no
    plain `Lung` is labelled.
    """
    if not text.isascii():
        text = _CHINESE_NAME.sub(lambda name: f" ; {_CHINESE[name[0]]} ; ", text)
    words = _words(text)
    by_name: dict[tuple[str, ...], set[str]] = {}
    for label in labels:
        by_name.setdefault(_name(label), set()).add(label)
    found: set[str] = set()
    for name in sorted(by_name, key=lambda name: (-len(name), name)):
        if name and _take(words, name):
            found |= by_name[name]
    sided = {name for name in by_name if len(name) > 1 and name[0] in _SIDES}
    for organ in sorted({name[1:] for name in sided}, key=lambda name: (-len(name), name)):
        if _take(words, organ):
            found |= {label for name in sided if name[1:] == organ for label in by_name[name]}
    return found


@lru_cache(maxsize=1024)
def _name(label: str) -> tuple[str, ...]:
    return tuple(_words(label))


def _words(text: str) -> list[str]:
    # Punctuation stays as a word of its own, so that no name reaches across it.
    return [_singular(word) for word in re.findall(r"[a-z0-9]+|[,;.?/]", text.casefold())]


def _singular(word: str) -> str:
    plural = len(word) > 3 and word[-1] == "s" and word[-2] not in "sui"
    return word[:-1] if plural else word


def _take(words: list[str], name: tuple[str, ...]) -> bool:
    """Whether `name` stands in `words`; where it does, its words are used up."""
    taken = False
    if name[0] not in words:
        return False
    for start in range(len(words) - len(name) + 1):
        if words[start] == name[0] and tuple(words[start : start + len(name)]) == name:
            words[start : start + len(name)] = [";"] * len(name)
            taken = True
    return taken


def _is_list_of_lists(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, list) for item in value)
