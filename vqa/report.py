"""report.html: one file that opens from disk, with numbers, charts and the failures worth looking at.

Everything that comes from data is escaped by the template; the page forbids itself any network access and
any script but its own (Content-Security-Policy), so that hostile text stays text.
"""

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from vqa.files import atomic_write
from vqa.images import ImageProblem, open_image, resolve_inside
from vqa.metrics.selective import calibration_bins, risk_coverage
from vqa.metrics.summary import with_confidence

TEMPLATE = "report.html.j2"
THUMBNAIL_SIDE = 320
IMAGES_PER_CARD = 4
BOXES_PER_CARD = 32
CURVE_POINTS = 300
TEXT_LIMIT = 600  # characters of a question or an answer that are shown

Prediction = dict[str, Any]

# What turns the direction of text around or is not to be seen: shown by its code point instead.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


@dataclass
class Thumbnail:
    """A picture of the gallery, embedded once however many cards show it; `uri` is None for a missing one."""

    key: str
    width: int
    height: int
    uri: str | None
    problem: str = ""


@dataclass
class Card:
    """One failure of the gallery."""

    prediction: Prediction
    kind: str
    thumbnails: list[Thumbnail] = field(default_factory=list)


def write_report(
    path: str | Path,
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    metrics: dict[str, Any],
    *,
    title: str,
    image_root: str | Path,
    max_gallery: int = 200,
) -> None:
    """Write the report atomically.

    Args:
        path: of the HTML file.
        predictions, correct, metrics: as given to and got from `vqa.metrics.summary.summarize`.
        title: the page's heading.
        image_root: the folder that relative image paths start from. Images that cannot be read are
            replaced by a placeholder.
        max_gallery: at most so many failures are shown, the most confident ones of every type.
    """
    failures = [row for row, right in zip(predictions, correct, strict=True) if not right]
    cards, thumbnails = _gallery(choose_failures(failures, max_gallery), Path(image_root))
    page = render_report(
        title=title,
        metrics=metrics,
        rows={"type": _rows(metrics, "by_question_type"), "source": _rows(metrics, "by_source")},
        overall=metrics["overall"] | {"interval": metrics["intervals"]["overall/accuracy"]},
        flat=list(_flatten(metrics)),
        curve=_curve(predictions, correct),
        bins=_bins(predictions, correct),
        cards=cards,
        thumbnails=[thumbnail for thumbnail in thumbnails if thumbnail.uri],
        failures=len(failures),
        shown_types=_counts(card.prediction["qtype"] for card in cards),
    )
    with atomic_write(path) as file:
        file.write(page)


def render_report(**values: Any) -> str:
    """The page's HTML, every value escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "percent": percent, "number": number, "csp_hash": _csp_hash}
    return environment.get_template(TEMPLATE).render(**values, boxes_limit=BOXES_PER_CARD)


def choose_failures(failures: Sequence[Prediction], limit: int) -> list[Prediction]:
    """At most `limit` failures, worst first: the most confident first, those without a confidence last.

    Each type has its turn, so that a frequent type does not crowd the others out of the gallery.
    """
    by_type: dict[str, list[Prediction]] = {}
    for row in sorted(failures, key=_badness):
        by_type.setdefault(row["qtype"], []).append(row)
    turns = [row for turn in zip_longest(*by_type.values()) for row in turn if row is not None]
    return sorted(turns[:limit], key=_badness)


def shown(text: str) -> str:
    """A text as the page shows it: cut to a limit, control characters by their code point."""
    text = text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… ({len(text)} characters)"
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def percent(rate: float | None) -> str:
    """A fraction as a percentage with one decimal, a dash for None."""
    return "–" if rate is None else f"{100 * rate:.1f}%"


def number(value: Any) -> str:
    """A metric's value for the table of all metrics."""
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _badness(row: Prediction) -> float:
    return 1.0 if row["confidence"] is None else -row["confidence"]


def _counts(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _rows(metrics: dict[str, Any], key: str) -> list[dict[str, Any]]:
    intervals = metrics["intervals"]
    return [
        {"name": name, "interval": intervals[f"{key}/{name}/accuracy"], **row}
        for name, row in metrics[key].items()
    ]


def _flatten(value: Any, path: str = "") -> Any:
    """(path, value) of every number of the metrics but the tables and intervals."""
    for key, item in value.items():
        if key in ("by_question_type", "by_source", "intervals"):
            continue
        name = f"{path}/{key}" if path else key
        if isinstance(item, dict):
            yield from _flatten(item, name)
        else:
            yield name, item


def _curve(predictions: Sequence[Prediction], correct: Sequence[bool]) -> list[tuple[float, float]]:
    """Points (coverage, risk) of the risk-coverage curve, thinned; [] where there is none."""
    chosen = with_confidence(predictions, correct, answerable_only=True)
    if chosen is None:
        return []
    curve = risk_coverage(*chosen)
    last = len(curve.coverage) - 1
    kept = np.unique(np.linspace(0, last, min(last + 1, CURVE_POINTS)).round().astype(int))
    return [(float(curve.coverage[i]), float(curve.risk[i])) for i in kept]


def _bins(predictions: Sequence[Prediction], correct: Sequence[bool]) -> list[Any]:
    chosen = with_confidence(predictions, correct, answerable_only=False)
    return calibration_bins(*chosen, bins=10) if chosen else []


def _kind(row: Prediction) -> str:
    if row["abstained"]:
        return "abstained, though it can be answered"
    return "wrong" if row["answerable"] else "answered, though it cannot be"


def _gallery(rows: Sequence[Prediction], image_root: Path) -> tuple[list[Card], list[Thumbnail]]:
    thumbnails: dict[str, Thumbnail] = {}
    cards = []
    for row in rows:
        card = Card(row, _kind(row))
        for path in row["images"][:IMAGES_PER_CARD]:
            if path not in thumbnails:
                thumbnails[path] = _thumbnail(path, image_root, f"image{len(thumbnails)}")
            card.thumbnails.append(thumbnails[path])
        cards.append(card)
    return cards, list(thumbnails.values())


def _thumbnail(path: str, image_root: Path, key: str) -> Thumbnail:
    try:
        # An absolute path is what a run on this machine wrote; a relative one may not leave its root.
        file = Path(path) if Path(path).is_absolute() else resolve_inside(image_root, path)
        image = open_image(file)
    except ImageProblem as problem:
        return Thumbnail(key, 4, 3, None, str(problem))
    width, height = image.size
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return Thumbnail(key, width, height, _data_uri(image))


def _data_uri(image: Image.Image) -> str:
    """The smaller of PNG (drawings) and JPEG (photographs)."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=72)
    name, data = min((("png", png.getvalue()), ("jpeg", jpeg.getvalue())), key=lambda pair: len(pair[1]))
    return f"data:image/{name};base64,{base64.b64encode(data).decode('ascii')}"


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(str(script).encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
