"""A file of records answered, batch by batch, by all processes."""

import time
from collections.abc import Callable, Sequence

from accelerate import PartialState
from tqdm import tqdm

from vqa.decisions import Decision, Record
from vqa.prediction_runs import Line, PartialPredictions, check_confidence, prediction_line

Asker = Callable[[list[Record]], list[Decision]]


def answer_records(
    partial: PartialPredictions,
    records: Sequence[Record],
    batches: list[list[int]],
    load_asker: Callable[[], Asker],
    state: PartialState,
) -> list[Line]:
    """Answer what is missing of a prediction file, every process its share of the batches.

    Args:
        partial: read already.
        batches: indices of the records.
        load_asker: what gives the function from records to decisions; called only if something is missing.

    Returns:
        The lines of all processes, in the records' order; in every process.
    """
    missing = [batch for batch in batches if not partial.lines.keys() >= set(batch)]
    state.wait_for_everyone()  # all have read the shards before one is written to
    ask = load_asker() if missing else None
    partial.open_shard(state.process_index)
    mine = missing[state.process_index :: state.num_processes]
    done = sum(len(batch) for batch in batches) - sum(len(batch) for batch in missing)
    total = done + sum(len(batch) for batch in mine)
    with tqdm(total=total, initial=done, unit="q", disable=not state.is_main_process) as bar:
        for batch in mine:
            begun = time.perf_counter()
            rows = [records[index] for index in batch]
            lines = [prediction_line(*pair) for pair in zip(rows, ask(rows), strict=True)]
            check_confidence(lines)
            partial.add(batch, lines, time.perf_counter() - begun)
            bar.update(len(batch))
    partial.close()
    state.wait_for_everyone()
    found = partial.all_lines(len(records))
    state.wait_for_everyone()  # all have read the shards before they are removed
    return found
