"""Tables and pictures of docs/report.md, out of the runs' own files.

    python -m benchmarks.mini_llava && python -m benchmarks.report

Between the lines `<!-- begin NAME -->` and `<!-- end NAME -->` of the page stands what this writes; all else
is by hand.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.medical import ROOT
from benchmarks.mini_llava import ARMS, MAIN, TESTS, folder_name, table
from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import atomic_write
from vqa.images import open_image
from vqa.predictions import read_predictions
from vqa.questions import judge
from vqa.report.taxonomy import answers_by_page, error_kind

FINAL = "stage 3: specialised"
STAGES = {
    "untrained": "untrained",
    "stage 1: captions": "1: captions",
    MAIN: "2: instructions",
    FINAL: "3: specialisation",
}
GALLERY_COLUMNS, GALLERY_ROWS = 4, 3


@dataclass
class ReportArguments:
    """Where the runs are, and where the page is."""

    study: str = option("outputs/mini_llava/study", "what benchmarks.mini_llava wrote")
    page: str = option("docs/report.md", "the page whose tables are written anew")


@dataclass
class Failure:
    """A wrong answer, and what kind of error it is."""

    row: dict[str, Any]
    kind: str


def failures_of(study: Path, name: str, test: str) -> tuple[int, list[Failure]]:
    """Records asked, and the wrong answers among them, the surest first."""
    rows = read_predictions(study / "answers" / folder_name(name) / test / "test.jsonl")
    pages = answers_by_page(rows)
    wrong = [row for row in rows if not judge(row)]
    wrong.sort(key=lambda row: -(row["confidence"] or 0))
    return len(rows), [Failure(row, error_kind(row, pages)) for row in wrong]


def errors_table(study: Path, names: list[str]) -> str:
    """Kinds of errors of some models on both tests, in Markdown: shares of all questions."""
    found = {(name, test): failures_of(study, name, test) for name in names for test in TESTS}
    kinds = list(dict.fromkeys(failure.kind for _, wrong in found.values() for failure in wrong))
    lines = ["| | questions | right | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 3) + "|"]
    for (name, test), (count, wrong) in found.items():
        counts = Counter(failure.kind for failure in wrong)
        shares = [f"{counts[kind] / count:.1%}" if counts[kind] else "" for kind in kinds]
        right = f"{1 - len(wrong) / count:.1%}"
        lines.append(f"| {STAGES.get(name, name)}, {test} | {count} | {right} | {' | '.join(shares)} |")
    return "\n".join(lines)


def draw_gallery(study: Path, path: Path) -> None:
    """Wrong answers of the final model, kinds in turn, the surest of each first, no picture twice."""
    waiting: dict[tuple[str, str], list[Failure]] = {}
    for test in TESTS:
        for failure in failures_of(study, FINAL, test)[1]:
            waiting.setdefault((test, failure.kind), []).append(failure)
    chosen: list[tuple[str, Failure]] = []
    while any(waiting.values()) and len(chosen) < GALLERY_COLUMNS * GALLERY_ROWS:
        for (test, _), queue in waiting.items():
            shown = {tuple(failure.row["images"]) for _, failure in chosen}
            while queue and tuple(queue[0].row["images"]) in shown:
                queue.pop(0)
            if queue and len(chosen) < GALLERY_COLUMNS * GALLERY_ROWS:
                chosen.append((test, queue.pop(0)))
    figure, axes = plt.subplots(GALLERY_ROWS, GALLERY_COLUMNS, figsize=(13, 10.5), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (test, failure) in zip(axes.flat, chosen, strict=False):
        row = failure.row
        said = "(abstained)" if row["abstained"] else f"“{row['pred']}”"
        truth = " / ".join(row["answers"]) if row["answerable"] else "(unanswerable)"
        image = open_image(image_file(study, test, row))
        axis.imshow(image, interpolation="nearest" if max(image.size) < 100 else "antialiased")
        sure = "" if row["confidence"] is None else f", {row['confidence']:.0%} sure"
        text = f"{failure.kind}\n{row['question']}\nsaid {said}{sure}\nright: {truth}"
        axis.set_title(text.replace("$", r"\$"), fontsize=9, loc="left", wrap=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def image_file(study: Path, test: str, row: dict[str, Any]) -> Path:
    """Where a prediction's picture is."""
    folder = study / "data" / test
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return (folder / manifest["image_root"] / row["images"][0]).resolve()


def loss_curve(study: Path, run_file: str) -> tuple[list[int], list[float]]:
    """Steps and losses of a run."""
    log = json.loads((study / run_file).read_text(encoding="utf-8"))["log"]
    lines = [line for line in log if "loss" in line]
    return [line["step"] for line in lines], [line["loss"] for line in lines]


def draw_losses(study: Path, rows: dict[str, dict[str, Any]], path: Path) -> None:
    """On the left one stage after the other, on the right the arms of stage 2."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    done = 0
    for name, title in STAGES.items():
        if "run" in rows[name]:
            steps, losses = loss_curve(study, rows[name]["run"])
            left.plot([done + step for step in steps], losses, label=title)
            done += steps[-1]
    for name in ARMS:
        right.plot(*loss_curve(study, rows[name]["run"]), label=name, alpha=0.8)
    left.set_title("stage by stage")
    right.set_title("stage 2, each choice")
    left.set_ylabel("loss on answers")
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_parts(page: Path, parts: dict[str, str]) -> None:
    """Put each part between its marks.

    Raises:
        UserError: the page lacks the marks of a part.
    """
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, count = marks.subn(lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text)
        if count != 1:
            raise UserError(f"{page}: needs one pair of <!-- begin {name} --> and <!-- end {name} -->")
    with atomic_write(page) as file:
        file.write(text)


def main() -> None:
    """Read the runs, write the page's parts and pictures."""
    (args,) = parse_arguments(ReportArguments, description=__doc__)
    study, page = ROOT / args.study, ROOT / args.page
    summary = study / "summary.json"
    if not summary.is_file():
        raise UserError(f"{summary}: not there; run `python -m benchmarks.mini_llava`")
    rows = json.loads(summary.read_text(encoding="utf-8"))
    parts = {
        "stages": table({title: rows[name] for name, title in STAGES.items()}),
        "choices": table({name: rows[name] for name in ARMS}),
        "errors": errors_table(study, ["LoRA 16, nothing unanswerable", MAIN, FINAL]),
    }
    write_parts(page, parts)
    draw_losses(study, rows, page.parent / "images/mini_llava_losses.png")
    draw_gallery(study, page.parent / "images/mini_llava_failures.png")


if __name__ == "__main__":
    run(main)
