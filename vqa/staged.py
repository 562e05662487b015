"""Stages of one training: each starts from what came of the last.

`train_sft.py` runs the `stages` of its config one after the other: a projector on captions, then adapters on
instructions, say, each with its own freezing, rates and data.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vqa import runs
from vqa.cli import is_main_process
from vqa.errors import UserError


def stage_runs(stages: dict[str, tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each stage that is to run; the last goes to OUTPUT, others to `OUTPUT/1-NAME` and on.

    A run that is resumed passes over stages that are finished. A stage starts from the last one's model, with
    its adapter merged; in a dry run, which writes none, from the first one's.

    Args:
        stages: name -> (data, model, training, ...), as `vqa.cli.parse_stages` gives them. The training
            arguments' `stage` names the only one to run; those before it must be finished. None: all.

    Raises:
        UserError: no such stage, or one before it has not run.
    """
    wanted = next(iter(stages.values()))[2].stage
    if wanted is not None and wanted not in stages:
        raise UserError(f"--stage {wanted}: the config has {', '.join(filter(None, stages)) or 'no stages'}")
    start: Path | None = None
    for number, (name, (data, names, args, *rest)) in enumerate(stages.items(), start=1):
        last = number == len(stages)
        if not last:
            args.output_dir = str(Path(args.output_dir) / f"{number}-{name}")
            args.merge_adapter = names.lora_rank > 0
        if start is not None and not args.dry_run:
            names = replace(names, model_name_or_path=str(start))
        finished = runs.is_finished(args.output_dir)
        start = Path(args.output_dir) / ("merged" if args.merge_adapter else "")
        if wanted not in (None, name):
            if not finished and not args.dry_run:
                raise UserError(f"--stage {wanted}: stage {name} before it has not run: {args.output_dir}")
            continue
        if name and args.resume_from_checkpoint and finished:
            continue
        if name and is_main_process():
            Console().rule(f"stage {number} of {len(stages)}: {name}")
        yield data, names, args, *rest
        if name == wanted:
            return
