"""Look at predictions, worst confidence first, and make training records of them.

A page in the browser shows image and answer; keys accept, correct or reject it. Every decision is saved at
once, so the page can be left at any time; started again, it goes on where it was:
    python prepare_data.py review data/unlabelled/train.jsonl --predictions outputs/predictions.jsonl

When enough is decided, write the records; `meta.label` of each says who or what labelled it. The second form
also takes what nobody looked at, where the model was sure:
    python prepare_data.py review data/unlabelled/train.jsonl --predictions outputs/predictions.jsonl --export
    python prepare_data.py review ... --export --accept_above 0.95

A picture that has no answer yet is a record with `"answers": [], "answerable": false` and a
`question_type`; what its record says of the answer is neither shown nor kept.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa.cli import option, parse_arguments, positional_first
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation.decisions_log import LOG_FILE, DecisionsLog
from vqa.preparation.folders import Folder, check_output_dir, read_folder, write_folder
from vqa.preparation.review_items import Item, label_problems, labelled, model_name, read_items
from vqa.preparation.review_page import Review
from vqa.preparation.review_server import ReviewServer, is_loopback
from vqa.record_checks import Record

COMMAND = "review"


@dataclass
class ReviewArguments:
    """What to review, where, and what to make of it."""

    records: str = field(metadata={"help": "record file or folder that was predicted"})
    predictions: str = field(metadata={"help": "its predictions (JSONL, as predict.py writes them)"})
    output_dir: str | None = option(
        None, "where decisions are saved, and records exported to; default: PREDICTIONS_reviewed, beside them"
    )
    reviewer: str = option("unnamed", "who decides; goes into the records' meta.label")
    image_root: str | None = option(
        None, "folder that image paths start from; default: the manifest's, or the file's"
    )
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    num_proc: int = option(4, "images checked at a time")

    # The page
    host: str = option("127.0.0.1", "address to listen on; any other lets other machines in")
    port: int = option(8765, "port to listen on; 0 takes a free one")

    # The records
    export: bool = option(False, "write the decided records instead of showing the page")
    accept_above: float | None = option(
        None, "with --export: take undecided answers of at least this confidence as well"
    )

    def __post_init__(self) -> None:
        if self.accept_above is not None and not 0 < self.accept_above <= 1:
            raise UserError(f"--accept_above {self.accept_above}: above 0, at most 1")
        if self.accept_above is not None and not self.export:
            raise UserError("--accept_above is for --export")
        if self.num_proc < 1:
            raise UserError("--num_proc must be at least 1")
        if not self.reviewer.strip():
            raise UserError("--reviewer is empty")
        if self.output_dir is None:
            predictions = Path(self.predictions)
            self.output_dir = str(predictions.with_name(f"{predictions.stem}_reviewed"))


def main(argv: Sequence[str]) -> None:
    """Show the page, or export."""
    (args,) = parse_arguments(
        ReviewArguments,
        description=__doc__,
        argv=positional_first(argv, "records"),
        prog="prepare_data.py review",
    )
    folder = read_folder(args.records, args.image_root, args.max_pixels, num_proc=args.num_proc)
    check_output_dir(args.output_dir, COMMAND, folder)
    items, model = read_items(folder, args.predictions), model_name(args.predictions)
    log = DecisionsLog(Path(args.output_dir) / LOG_FILE, sha256_file(args.predictions))
    if args.export:
        log.read()
        manifest = export(folder, items, log, args.output_dir, model, args.accept_above)
        print_export(manifest, args.output_dir)
        return
    log.open()
    try:
        review = Review(Path(args.records).name, items, log, model, args.reviewer.strip(), args.max_pixels)
        serve(ReviewServer(review, args.host, args.port))
    finally:
        log.close()


def serve(server: ReviewServer) -> None:
    """Say where the page is and serve it until Ctrl-C."""
    review = server.review
    if not is_loopback(server.host):
        print(
            f"warning: --host {server.host} lets every machine that reaches this one see the images, "
            "once it knows the address below; nothing is encrypted",
            file=sys.stderr,
        )
    print(f"{len(review.items)} predictions to review, {review.decided()} decided: {server.url}")
    print(f"Every decision is saved in {review.log.path}. Ctrl-C ends.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(f"\n{review.decided()} of {len(review.items)} decided; --export writes them as records")
    finally:
        server.server_close()


def export(
    folder: Folder,
    items: Sequence[Item],
    log: DecisionsLog,
    output_dir: str | Path,
    model: str | None,
    accept_above: float | None = None,
) -> dict[str, Any]:
    """Write the records that have a label now and return the manifest.

    Filtered are those `undecided` and `without a prediction`. Rejects, with their reason: what the reviewer
    rejected, and a label that does not fit the contract, which only one that nobody looked at can be.

    Raises:
        UserError: no record is left, or `output_dir` holds what another command wrote.
    """
    by_id = {item.record["id"]: item for item in items}
    files: dict[str, list[Record]] = {}
    filtered, labels, rejects = Counter(), Counter(), []
    for record in folder.records:
        item, decision = by_id.get(record["id"]), log.current.get(record["id"])
        new = item and labelled(item, decision, model, accept_above)
        problems = label_problems(new) if new else []
        if item is None:
            filtered["without a prediction"] += 1
        elif decision is not None and decision.decision == "rejected":
            rejects.append(
                {"where": record["id"], "reason": f"rejected by {decision.reviewer}", "row": record}
            )
        elif new is None:
            filtered["undecided"] += 1
        elif problems:
            rejects.append({"where": record["id"], "reason": "; ".join(problems), "row": new})
        else:
            files.setdefault(record["split"], []).append(new)
            label = new["meta"]["label"]
            labels["accepted unseen" if label["reviewer"] is None else label["decision"]] += 1
    return write_folder(
        output_dir,
        files,
        folder.image_root,
        command=COMMAND,
        rows_in=len(folder.records),
        filtered=filtered,
        rejects=rejects,
        details={"model": model, "accept_above": accept_above, "labels": dict(sorted(labels.items()))},
        source=folder,
    )


def print_export(manifest: dict[str, Any], output_dir: str) -> None:
    """Say in a table what became of the predictions."""
    rows = manifest["rows"]
    for title, counts in (("labels", manifest[COMMAND]["labels"]), ("left out", manifest["filtered"])):
        if counts:
            print(title)
        for name, count in counts.items():
            print(f"  {name:<24}{count:>10,}")
    print(
        f"{rows['in']:,} rows in = {rows['records']:,} records + {rows['filtered']:,} filtered "
        f"+ {rows['rejects']:,} rejects -> {output_dir}"
    )
