"""From pictures made one by one to a record folder: in parallel, in order, a few in memory."""

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from tqdm import tqdm

from vqa.files import atomic_write, write_jsonl
from vqa.synthesis.document_questions import Record

# A picture: the file's bytes, its suffix, and its answerable and unanswerable records.
Drawn = tuple[bytes, str, list[Record], list[Record]]
Make = Callable[[int], Drawn]


def write_set(
    output_dir: Path, split: str, num_images: int, make: Make, ratio: Fraction, num_proc: int = 1
) -> int:
    """Write `images/<split>-NNNNNN.*` and `<split>.jsonl`; return how many records there are.

    Pictures are written whole or not at all, and the records last, so that an interrupted run can be run
    again. An earlier split of that name is replaced. What is written does not depend on `num_proc`.

    Args:
        make: draws picture number n; picklable, and what it makes depends on the number alone.
        ratio: share of unanswerable questions among all, at most 0.9. It is met to the whole number over
            the set, as long as the pictures offer enough of either.
    """

    (output_dir / f"{split}.jsonl").unlink(missing_ok=True)
    for earlier in (output_dir / "images").glob(f"{split}-" + "[0-9]" * 6 + ".*"):
        earlier.unlink()

    def rows() -> Iterator[Record]:
        books = _Books(ratio)
        for index, drawn in enumerate(_map(make, num_images, num_proc, output_dir.name)):
            answerable, spare = _write_picture(output_dir, split, index, drawn, ratio)
            records = [*answerable, *spare[: books.due(len(answerable), len(spare))]]
            # Their order tells nothing: it follows a hash of what is asked.
            records.sort(key=lambda record: hashlib.sha256(record["question"].encode()).digest())
            for number, record in enumerate(records):
                yield record | {"id": f"{record['id']}-{number:02d}"}

    return write_jsonl(output_dir / f"{split}.jsonl", rows())


class _Books:
    """How many unanswerable questions are due, so that their share stays as near to `ratio` as can be."""

    def __init__(self, ratio: Fraction) -> None:
        self.odds = ratio / (1 - ratio)
        self.asked = self.given = 0

    def due(self, answerable: int, spare: int) -> int:
        """How many to take of `spare`, with so many answerable ones more."""
        self.asked += answerable
        # floor(x + 1/2): the whole number nearest to what the ratio wants.
        wanted = (self.asked * self.odds + Fraction(1, 2)).__floor__() - self.given
        taken = min(max(wanted, 0), spare)
        self.given += taken
        return taken


def _map(make: Make, count: int, num_proc: int, name: str) -> Iterator[Drawn]:
    progress = partial(tqdm, total=count, desc=f"drawing {name}", unit="image", disable=None)
    if num_proc <= 1:
        yield from progress(map(make, range(count)))
        return
    # Ctrl-C reaches every process; the one that asked for the pictures ends the others.
    deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with multiprocessing.get_context("spawn").Pool(num_proc, **deaf) as pool:
        yield from progress(pool.imap(make, range(count), chunksize=8))


def _write_picture(
    output_dir: Path, split: str, index: int, drawn: Drawn, ratio: Fraction
) -> tuple[list[Record], list[Record]]:
    data, suffix, answerable, spare = drawn
    if ratio:
        # A page that cannot offer enough unanswerable questions asks fewer of the others.
        most = (max(len(spare) - 1, 0) * (1 - ratio) / ratio).__floor__()
        answerable = answerable[:most]
    name = f"images/{split}-{index:06d}{suffix}"
    with atomic_write(output_dir / name, "wb") as file:
        file.write(data)
    digest = hashlib.sha256(data).hexdigest()
    for record in (*answerable, *spare):
        record |= {
            "id": f"{record['source']}-{split}-{index:06d}",
            "images": [name],
            "split": split,
            "image_sha256": [digest],
        }
    return answerable, spare
