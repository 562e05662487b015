"""A teacher made ready for a student's training: live, or by one pass over the records into its cache."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers.integrations import is_deepspeed_zero3_enabled

from vqa.answer_training import AnswerTraining
from vqa.cli import is_main_process
from vqa.collators import AnswerCollator
from vqa.errors import UserError
from vqa.feature_cache import fingerprint, replay_features
from vqa.teacher_cache import Binding, TeacherCache
from vqa.teachers import (
    Teacher,
    check_same_processor,
    load_teacher,
    records_identity,
    same_vocabulary,
    teacher_identity,
    text_identity,
    tokenizer_identity,
)

Record = dict[str, Any]


def live_teacher(training: AnswerTraining) -> Teacher:
    """The teacher of a run, with the student's vocabulary, on what images the student's processor makes.

    Raises:
        UserError: it does not fit the student, or weights are sharded, which a live teacher's are not.
    """
    args, student = training.args, training.model
    name = args.teacher_model_name_or_path
    if is_deepspeed_zero3_enabled() or args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise UserError(
            "--teacher_model_name_or_path: a live teacher is not sharded by FSDP and ZeRO-3; launch with DDP "
            "or ZeRO-2, or read a cache made before (--method sparse)"
        )
    check_same_processor(name, training.processor)
    model = load_teacher(
        name,
        dtype=args.teacher_dtype,
        load_in_4bit=args.teacher_load_in_4bit,
        device=args.teacher_device or f"{args.device}",
    )
    same_vocabulary(model, student, len(training.processor.tokenizer))
    if training.encoder.feature_cache is not None:
        differing = [
            name
            for name, value in fingerprint(model, training.encoder).items()
            if value != training.encoder.feature_cache.index["fingerprint"].get(name)
        ]
        if differing:
            raise UserError(
                f"--cache_vision_features: the teacher has another {' and '.join(differing)} than the "
                "student, and cannot use its features; leave it out"
            )
        replay_features(model)
    return Teacher(model)


def teacher_cache(training: AnswerTraining) -> tuple[TeacherCache, dict[str, float]]:
    """The cache of a run, and what `verify` counted in it; processes share in making what is missing.

    Raises:
        UserError: it is of something else or damaged, or shards are missing and there is no teacher.
    """
    args, student = training.args, training.model
    name = args.teacher_model_name_or_path
    sampling = {
        "method": args.sparse_method,
        "size": args.sparse_size,
        "temperature": args.temperature,
        "seed": args.seed,
    }
    binding = cache_binding(
        training.collator,
        training.train,
        student.config.get_text_config().vocab_size,
        teacher=name and teacher_identity(name),
        sampling=sampling,
    )
    cache = TeacherCache(args.cache_teacher, binding, len(training.train))
    missing = cache.missing()
    if missing:
        if not name:
            raise UserError(
                f"{cache.directory}: {len(missing)} of {cache.num_shards} shards are missing; "
                "name the teacher: --teacher_model_name_or_path"
            )
        process = args.distributed_state
        ranks = (process.process_index, process.num_processes)
        teacher = live_teacher(training)
        questions = args.teacher_batch_size
        fill_cache(cache, teacher, training.collator, training.train, questions, *ranks)
        process.wait_for_everyone()
    report = cache.verify()
    if is_main_process():
        print(
            f"\nTeacher cache {cache.directory}: {report['records']:,} records, "
            f"{report['positions']:,} positions, {report['kept_per_position']:.1f} tokens and "
            f"{report['bytes_per_position']:.1f} bytes a position "
            f"({2 * cache.binding['vocabulary']:,} in bfloat16)",
            flush=True,
        )
    return cache, report


def cache_binding(
    collator: AnswerCollator, records: Any, vocabulary: int, *, teacher: str | None, sampling: dict[str, Any]
) -> Binding:
    """What a cache for these records, asked in the way of this collator, is of.

    Args:
        records: a `datasets.Dataset` of records.
        teacher: its `vqa.teachers.teacher_identity`, or None.
        sampling: `method`, `size`, `temperature`, `seed`.
    """
    encoder, first = collator.encoder, records[0]
    prompt = encoder.render(first, collator.style(first))
    return {
        "teacher": teacher,
        "tokenizer": tokenizer_identity(encoder.tokenizer),
        "prompts": text_identity([prompt, collator.style.shares, collator.box_format, encoder.pixel_limits]),
        "records": records_identity(records),
        "vocabulary": vocabulary,
        **sampling,
    }


def fill_cache(
    cache: TeacherCache,
    teacher: Teacher,
    collator: AnswerCollator,
    records: Any,
    questions: int,
    process: int = 0,
    processes: int = 1,
) -> None:
    """Make the shards that are missing.

    Each shard has a chance of its own, so that a pass that was cut off ends with the same bytes.

    Args:
        records: a `datasets.Dataset` of records.
        questions: in a forward of the teacher.
        process, processes: which of how many shares the shards out.
    """
    cache.write_manifest()
    mine = cache.missing()[process::processes]
    with tqdm(total=sum(len(shard) for _, shard in mine), desc="teacher", disable=process > 0) as bar:
        for number, shard in mine:
            generator = torch.Generator(teacher.device).manual_seed((cache.binding["seed"] << 32) + number)
            chosen = [records[index] | {"place": place} for place, index in enumerate(shard)]
            found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
            for batch in batches_of_rows(collator.rows(chosen), questions):
                found |= _ask(cache, teacher, collator, batch, generator)
                bar.update(sum(map(len, batch)))
            rounding = np.random.default_rng([cache.binding["seed"], number])
            cache.write_shard(number, [found[place] for place in range(len(chosen))], rounding)


def batches_of_rows(rows: Sequence[list[Record]], questions: int) -> list[list[list[Record]]]:
    """Rows in batches of at most so many questions; longer rows are divided."""
    batches: list[list[list[Record]]] = [[]]
    for row in rows:
        for part in (row[first : first + questions] for first in range(0, len(row), questions)):
            if batches[-1] and sum(map(len, batches[-1])) + len(part) > questions:
                batches.append([])
            batches[-1].append(part)
    return batches


def _ask(cache, teacher, collator, batch, generator) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    encoded = collator.encode(batch)
    sampling = [cache.binding[name] for name in ("method", "size", "temperature")]
    ids, weights = teacher.sparse(collator.join(encoded), *sampling, generator)
    places = [record["place"] for row in batch for record in row]
    lengths = [len(answer) for _, answers in encoded for answer in answers]
    return dict(zip(places, zip(ids.split(lengths), weights.split(lengths), strict=True), strict=True))
