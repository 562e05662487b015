"""report.html: numbers with their intervals, charts, counterfactual pairs, the failures worth looking at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa.files import atomic_write
from vqa.questions import DEFAULT_TOLERANCE
from vqa.report.charts import confusions, reliability, risk_curve, rows_with_intervals
from vqa.report.gallery import Album, Card, choose_failures, count_images, page_key, within_bytes
from vqa.report.headline import TILES, headline, leaves
from vqa.report.pairs import build_triples, choose_triples
from vqa.report.rendering import render
from vqa.report.taxonomy import KINDS, answers_by_page, count_kinds, error_kind

Prediction = dict[str, Any]


def write_report(
    path: str | Path,
    predictions: Sequence[Prediction],
    correct: Sequence[bool],
    metrics: dict[str, Any],
    *,
    title: str,
    image_root: str | Path,
    max_gallery: int = 200,
    counterfactual: Mapping[str, Mapping[str, Prediction]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> None:
    """Write the report atomically.

    Args:
        path: of the HTML file.
        predictions, correct, metrics: as given to and got from `vqa.metrics.summary.summarize`.
        title: the page's heading.
        image_root: the folder that relative image paths start from. Images that cannot be read are
            replaced by a placeholder.
        max_gallery: at most so many failures are shown, the most confident ones of every type; fewer where
            the page would become too large (`vqa.report.gallery.TEXT_BYTES`).
        counterfactual: predictions on masked images by id, under "roi" (evidence removed) and "random".
        tolerance: relative, of sizes: which of these are right.
    """
    failures = [row for row, right in zip(predictions, correct, strict=True) if not right]
    pages = answers_by_page(predictions)
    kinds = {id(row): error_kind(row, pages) for row in failures}
    shown = within_bytes(choose_failures(failures, max_gallery))
    masked = counterfactual or {}
    chosen = choose_triples(predictions, correct, masked, tolerance=tolerance)
    pictured = [row for row, *_ in chosen]
    pictured += [masked[kind][row["id"]] for row in pictured for kind in masked if row["id"] in masked[kind]]
    album = Album(image_root, count_images([*shown, *pictured]))
    triples = build_triples(chosen, masked, album)
    cards = [Card(row, kinds[id(row)], album.of(row)) for row in shown]
    rates = headline(metrics)
    page = render(
        "report.html.j2",
        title=title,
        key=page_key(title, shown),
        metrics=metrics,
        rates=rates,
        tiles=sorted((rate for rate in rates if rate.path in TILES), key=lambda rate: TILES.index(rate.path)),
        rows={key: rows_with_intervals(metrics, f"by_{key}") for key in ("question_type", "source")},
        flat=leaves(metrics),
        curve=risk_curve(predictions, correct),
        bins=reliability(predictions, correct),
        confusions=confusions(predictions, correct),
        triples=triples,
        kinds=count_kinds(list(kinds.values())),
        all_kinds=KINDS,
        cards=cards,
        thumbnails=album.embedded(),
        failures=len(failures),
    )
    with atomic_write(path) as file:
        file.write(page)
