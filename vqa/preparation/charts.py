"""Charts of a record folder: small multiples by question type, one colour per split."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vqa.files import atomic_write
from vqa.record_checks import Record

# Told apart by most colour-blind people (Okabe and Ito, 2008).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
BINS = 24

Files = Mapping[str, Sequence[Record]]


def draw_charts(files: Files, tokens: Mapping[str, int], folder: Path) -> list[Path]:
    """Draw `types.png`, `answers.png`, `images.png` and, with tokens, `tokens.png`; return their paths.

    Args:
        files: split -> records with `image_sizes`.
        tokens: text -> number of tokens; empty: no chart of tokens.
        folder: where the pictures go.
    """
    kinds = sorted({record["question_type"] for records in files.values() for record in records})
    figures = {
        "types": _types(files, kinds),
        "answers": _by_type(
            files, kinds, lambda record: len(record["answers"][0]), "characters of the first answer"
        ),
        "images": _images(files),
    }
    if tokens:
        figures["tokens"] = _by_type(
            files,
            kinds,
            lambda record: tokens[record["question"]] + tokens[record["answers"][0]],
            "tokens of question and first answer",
        )
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with atomic_write(paths[-1], "wb") as file:
            FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return paths


def _types(files: Files, kinds: Sequence[str]) -> Figure:
    """Bars: what share of a split each type has, with its count."""
    figure = Figure(figsize=(8, 1.2 + 0.2 * len(kinds) * (len(files) + 0.6)), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    height = 0.85 / len(files)
    for number, (split, records) in enumerate(files.items()):
        counts = Counter(record["question_type"] for record in records)
        places = np.arange(len(kinds)) + (number - (len(files) - 1) / 2) * height
        shares = [counts[kind] / len(records) for kind in kinds]
        label = f"{split} ({len(records):,})"
        bars = axes.barh(places, shares, height * 0.92, label=label, color=COLORS[number % len(COLORS)])
        axes.bar_label(bars, [f"{counts[kind]:,}" for kind in kinds], padding=3, fontsize=8)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of the split's records")
    _finish(axes, "Question types")
    _legend(figure, axes)
    return figure


def _by_type(files: Files, kinds: Sequence[str], measure, label: str) -> Figure:
    """A histogram per type: share of the split's answerable records of that type, by length."""
    columns = min(4, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    figure = Figure(figsize=(3 * columns + 0.5, 2.3 * rows + 0.9), dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(kinds) :]:
        axes.remove()
    for axes, kind in zip(grid, kinds, strict=False):
        values = {
            split: [measure(r) for r in records if r["question_type"] == kind and r["answers"]]
            for split, records in files.items()
        }
        _histogram(axes, values)
        _finish(axes, kind)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("share of the type's records", fontsize=10)
    _legend(figure, grid[0])
    return figure


def _histogram(axes: Axes, values: Mapping[str, Sequence[int]]) -> None:
    """Histograms over common bins of whole numbers: the first split filled, the others outlined."""
    every = [value for group in values.values() for value in group]
    if not every:
        axes.text(0.5, 0.5, "no answers", ha="center", va="center", transform=axes.transAxes)
    low, high = (min(every), max(every)) if every else (0, 1)
    width = max(1, math.ceil((high - low + 1) / BINS))
    edges = np.arange(low, high + width + 1, width) - 0.5
    for number, (split, group) in enumerate(values.items()):
        heights = np.histogram(group, edges)[0] / max(1, len(group))
        color = COLORS[number % len(COLORS)]
        if number == 0:
            axes.stairs(heights, edges, color=color, alpha=0.25, fill=True)
        axes.stairs(heights, edges, label=split, color=color, linewidth=1.6)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    middle = (low + high) / 2
    axes.set_xlim(min(edges[0], max(middle - 2, -0.5)), max(edges[-1], middle + 2))
    axes.set_ylim(bottom=0)


def _images(files: Files) -> Figure:
    """Sizes of distinct images, and questions per image."""
    figure = Figure(figsize=(10, 4.4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    per_image = {}
    for number, (split, records) in enumerate(files.items()):
        sizes = {p: tuple(s) for r in records for p, s in zip(r["images"], r["image_sizes"], strict=True)}
        counts = Counter(sizes.values())
        if counts:
            widths, heights = zip(*counts, strict=True)
            areas = [14 + 220 * count / len(sizes) for count in counts.values()]
            left.scatter(
                widths, heights, areas, color=COLORS[number % len(COLORS)], alpha=0.55,
                label=f"{split} ({len(sizes):,} images)", linewidth=0,
            )  # fmt: skip
        per_image[split] = list(Counter(path for record in records for path in record["images"]).values())
    left.set_xlim(0, max(left.get_xlim()[1], 1) * 1.05)
    left.set_ylim(0, max(left.get_ylim()[1], 1) * 1.05)
    left.set_xlabel("width in pixels")
    left.set_ylabel("height in pixels")
    _finish(left, "Image sizes (larger dot: more images)")
    _histogram(right, per_image)
    right.set_xlabel("questions per image")
    right.set_ylabel("share of the images")
    _finish(right, "Questions per image")
    _legend(figure, left)
    return figure


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    for handle in legend.legend_handles:
        if "sizes" in handle.properties():
            handle.set_sizes([40])
