"""What the command `traces` leaves behind: record folders, pictures, and what it cost."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa.documents.pages import OcrPage
from vqa.documents.trace_pictures import draw_trace
from vqa.documents.traces import FAILED, KEPT, UNGROUNDED, WRONG, Record, Trace, taught
from vqa.errors import UserError
from vqa.files import atomic_write
from vqa.images import open_image
from vqa.preparation.folders import Folder, write_folder
from vqa.preparation.summary import print_summary
from vqa.records import relative_image

COMMAND = "traces"
NOT_ASKED = "not asked yet"


def write_traces(
    output_dir: Path,
    source: Folder,
    asked: Sequence[tuple[str, Record]],
    traces: Mapping[str, Trace],
    settings: Mapping[str, Any],
    model: str,
) -> None:
    """The records to learn from, those that are not grounded, and the rejects.

    Args:
        asked: keys of traces, and their records.
        settings: what the traces depend on, for the manifest.
        model: the teacher's, for pseudo-labels.

    Raises:
        UserError: there is nothing to learn from.
    """
    sorted_out: dict[str, dict[str, list[Record]]] = {KEPT: {}, UNGROUNDED: {}}
    rejects, counts = [], Counter({NOT_ASKED: len(source.records) - len(asked)})
    for key, record in asked:
        trace = traces.get(key)
        outcome = trace.outcome if trace else NOT_ASKED
        counts[outcome] += 1
        if outcome in sorted_out:
            sorted_out[outcome].setdefault(record["split"], []).append(taught(record, trace, model))
        elif trace:
            reason = trace.error or f"the teacher answers {trace.answer!r}, not {record['answers']}"
            where = f"{record['split']}.jsonl: {record['id']}"
            row = {name: value for name, value in record.items() if name != "image_sizes"}
            row["images"] = [relative_image(path, source.image_root) for path in row["images"]]
            rejects.append({"where": where, "reason": f"{outcome}: {reason}", "row": row})
    if not sorted_out[KEPT]:
        raise UserError(
            f"{output_dir}: no trace can be learnt from: "
            + ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        )
    shared = {"command": COMMAND, "source": source}
    details = {
        "settings": dict(settings),
        "outcomes": {name: counts[name] for name in sorted(counts)},
    }
    manifest = write_folder(
        output_dir,
        sorted_out[KEPT],
        source.image_root,
        rows_in=len(source.records),
        filtered={name: counts[name] for name in (UNGROUNDED, NOT_ASKED) if counts[name]},
        rejects=rejects,
        details=details,
        **shared,
    )
    if sorted_out[UNGROUNDED]:
        write_folder(
            output_dir / UNGROUNDED,
            sorted_out[UNGROUNDED],
            source.image_root,
            rows_in=counts[UNGROUNDED],
            details=details,
            **shared,
        )
    print_summary(str(output_dir), manifest)
    judged = sum(counts[name] for name in (KEPT, UNGROUNDED, WRONG, FAILED))
    print(f"yield: {counts[KEPT]:,} of {judged:,} questions asked ({counts[KEPT] / judged:.1%})")


def draw_traces(
    folder: Path,
    asked: Sequence[tuple[str, Record]],
    traces: Mapping[str, Trace],
    read_pages: Callable[[Record], list[OcrPage]],
    count: int,
) -> None:
    """Some traces on their pages, one a document, those with boxes first."""
    seen: set[str] = set()
    for boxes in (True, False):
        for key, record in asked:
            trace = traces.get(key)
            if len(seen) == count or trace is None or bool(trace.boxes) != boxes or not trace.text:
                continue
            if record["images"][0] in seen:
                continue
            seen.add(record["images"][0])
            images = [open_image(path) for path in record["images"]]
            picture = draw_trace(record, trace, read_pages(record), images)
            with atomic_write(folder / f"trace-{len(seen)}.png", "wb") as file:
                picture.save(file, "PNG")


def print_costs(asked: Sequence[tuple[str, Record]], traces: Mapping[str, Trace]) -> None:
    """Seconds and cost by step, over all traces."""
    seconds, cost = Counter(), Counter()
    for key, _ in asked:
        for step in traces[key].steps if key in traces else []:
            seconds[step["step"]] += step.get("seconds", 0.0)
            cost.update(step["cost"])
    for name, value in seconds.items():
        print(f"  {name:<20}{value:>10.1f} s in all threads")
    if cost["calls"]:
        tokens = cost["prompt_tokens"] + cost["completion_tokens"]
        print(f"  {cost['calls']:,} calls, {tokens:,} tokens")
