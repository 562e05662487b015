"""comparison.html: two runs on the same records, the difference by type, what the second fixed and broke."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa.files import atomic_write
from vqa.report.charts import risk_curve
from vqa.report.gallery import Album, Card, card_bytes, count_images, in_turns, page_key, within_bytes
from vqa.report.headline import side_by_side
from vqa.report.rendering import render
from vqa.report.taxonomy import KINDS, answers_by_page, error_kind

Prediction = dict[str, Any]
FIXED, BROKEN = "fixed", "broken"


def write_comparison(
    path: str | Path,
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    comparison: Mapping[str, Any],
    *,
    correct_a: Sequence[bool],
    correct_b: Sequence[bool],
    names: tuple[str, str],
    image_root: str | Path,
    max_gallery: int = 200,
) -> None:
    """Write the run-against-run page atomically.

    Args:
        path: of the HTML file.
        a, b: predictions of both runs, complete; joined by id. What only one of them has is not shown.
        comparison: `overall` and `by_question_type {TYPE: ...}`, each `{count, accuracy_a, accuracy_b,
            difference, interval, p_value, ...}`, b less a; `metrics` `{a, b}`, the content of both
            metrics.json, is optional.
        correct_a, correct_b: whether each prediction of a, of b is right.
        names: what to call the two.
        image_root: the folder that relative image paths start from.
        max_gallery: at most so many fixed (wrong in a, right in b) and broken records are shown.
    """
    others = {row["id"]: (row, right) for row, right in zip(b, correct_b, strict=True)}
    changed: dict[str, str] = {}
    rows: list[Prediction] = []
    for row, right in zip(a, correct_a, strict=True):
        if row["id"] in others and others[row["id"]][1] != right:
            changed[row["id"]] = BROKEN if right else FIXED
            rows.append(row)
    shown = in_turns(rows, max_gallery, lambda row: changed[row["id"]] + "/" + row["qtype"])
    shown = within_bytes(
        sorted(shown, key=lambda row: changed[row["id"]]),
        lambda row: card_bytes(row) + card_bytes(others[row["id"]][0]),
    )
    pages_a, pages_b = answers_by_page(a), answers_by_page(b)
    album = Album(image_root, count_images(shown))
    cards = []
    for row in shown:
        other, change = others[row["id"]][0], changed[row["id"]]
        kind = error_kind(other, pages_b) if change == BROKEN else error_kind(row, pages_a)
        cards.append(Card(row, f"{change}, {kind}", album.of(row), other))
    title = f"{names[0]} against {names[1]}"
    page = render(
        "comparison.html.j2",
        title=title,
        key=page_key(title, shown),
        names=names,
        overall=comparison["overall"],
        by_type=comparison["by_question_type"],
        rates=side_by_side(**comparison["metrics"]) if "metrics" in comparison else [],
        curves=[risk_curve(a, correct_a), risk_curve(b, correct_b)],
        chart=[{"name": name, **row} for name, row in comparison["by_question_type"].items()],
        fixed=sum(kind == FIXED for kind in changed.values()),
        broken=sum(kind == BROKEN for kind in changed.values()),
        all_kinds=(FIXED, BROKEN, *KINDS),
        cards=cards,
        thumbnails=album.embedded(),
    )
    with atomic_write(path) as file:
        file.write(page)
