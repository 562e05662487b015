"""Records as TRL's trainers that generate take them: a prompt, its images, and columns for rewards."""

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from datasets import Dataset
from torch import nn
from torch.utils.data import Sampler
from transformers import PreTrainedModel, ProcessorMixin
from trl.data_utils import prepare_multimodal_messages

from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.sampling import EpochSampler

STYLE = "structured"
RECORDED = ("delta_cf_roi", "delta_cf_rand")


def structured(record: dict[str, Any]) -> str:
    """The answer style of every record."""
    return STYLE


def rollout_rows(
    records: Dataset,
    encoder: PromptEncoder,
    box_format: str,
    style: Callable[[dict[str, Any]], str] = structured,
) -> Dataset:
    """The records as rows that are made when they are read: images are opened then, each once a batch.

    A row has the record's columns and `prompt` (messages), `images` (those that a family resizes by area are
    resized already, so that every engine that generates sees the same), `image_paths`, `image_size` and
    `resized_size` ([width, height] of the first image as it is and as the model sees it, or None),
    `box_format`. `boxes` are those on the first image, which is where a completion's boxes lie.
    """
    return records.with_transform(partial(_rows, encoder=encoder, box_format=box_format, style=style))


def _rows(batch: dict[str, list], encoder: PromptEncoder, box_format: str, style) -> dict[str, list]:
    records = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    opened = {path: encoder.load_image(path) for path in sorted({p for r in records for p in r["images"]})}
    rows = []
    for record in records:
        images = [opened[path] for path in record["images"]]
        owners = record["box_images"] or [0] * len(record["boxes"])
        row = {
            "prompt": encoder.messages(record, style(record)),
            "images": images,
            "image_paths": record["images"],
            "image_size": record["image_sizes"][0] if images else None,
            "resized_size": list(images[0].size) if images else None,
            "box_format": box_format,
            "boxes": [box for box, owner in zip(record["boxes"], owners, strict=True) if owner == 0],
        }
        rows.append(record | row)
    return {name: [row[name] for row in rows] for name in rows[0]}


def as_record(row: dict[str, Any], images: Sequence[str] | None = None) -> dict[str, Any]:
    """The record of a row, about other images than its own where some are given."""
    return row | {"images": list(row["image_paths"] if images is None else images)}


def with_recorded_differences(records: Dataset) -> Dataset:
    """The records, with `delta_cf_roi` and `delta_cf_rand` as columns where all of them have both in `meta`.

    Raises:
        UserError: some records have them and others do not, or one is no number.
    """
    found = [json.loads(meta) for meta in records["meta"]]
    having = [name in meta for meta in found for name in RECORDED]
    if not any(having):
        return records
    if not all(having):
        lacking = records[having.index(False) // len(RECORDED)]["id"]
        raise UserError(
            f"record {lacking}: no recorded {' and '.join(RECORDED)}, which other records have; "
            "train on both kinds one after the other"
        )
    for name in RECORDED:
        column = [meta[name] for meta in found]
        for identifier, value in zip(records["id"], column, strict=True):
            if value is not None and not (type(value) in (int, float) and math.isfinite(value)):
                raise UserError(f"record {identifier}: {name}: {value!r} is not a number")
        records = records.add_column(name, [None if value is None else float(value) for value in column])
    return records


def end_completions_at(model: PreTrainedModel, token_id: int) -> None:
    """Let the chat template's end token end a completion, also where the checkpoint does not say so."""
    known = model.generation_config.eos_token_id
    known = known if isinstance(known, list) else [known] * (known is not None)
    model.generation_config.eos_token_id = sorted({*known, token_id})


def rollout_processor(processor: ProcessorMixin, encoder: PromptEncoder) -> ProcessorMixin:
    """A copy of the processor for generation: pads on the left, and leaves images that are resized alone."""
    processor = copy.deepcopy(processor)
    processor.tokenizer.padding_side = "left"
    if encoder.is_qwen:
        processor.image_processor.do_resize = False
    if encoder.is_gemma:  # its template writes the token, and TRL tokenises what the template wrote
        processor.tokenizer.add_bos_token = False
    return processor


def check_prompts(
    processor: ProcessorMixin,
    encoder: PromptEncoder,
    rows: Sequence[dict[str, Any]],
    style: Callable[[dict[str, Any]], str] = structured,
) -> None:
    """Refuse to train where a trainer that tokenises by chat template sees other tokens than `predict.py`.

    Raises:
        UserError: it does.
    """
    for row in rows:
        messages = prepare_multimodal_messages(row["prompt"], images=row["images"])
        seen = processor.apply_chat_template(
            [messages], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        expected = encoder.encode([as_record(row)], style(row))[0].input_ids
        if list(seen) != expected:
            raise UserError(
                f"record {row['id']}: the chat template gives {len(seen)} tokens, prediction's prompt has "
                f"{len(expected)}, and they differ: {type(processor).__name__} cannot be trained here"
            )


def admit_records_without_images(
    models: Sequence[nn.Module | None], data: Sequence[Dataset | None], sharded: bool
) -> None:
    """Let models take the records that have no image, out of a batch that has some.

    TRL cuts batches into parts, and a part without images has empty image tensors, which no family takes.

    Args:
        models: the policy, and the reference where there is one.
        data: training and validation records.
        sharded: by FSDP or DeepSpeed, under which all processes must run the same parts of the model.

    Raises:
        UserError: there are such records, and weights are sharded; or the family is Idefics3 or SmolVLM and
            other records have several images, which TRL mixes up then.
    """
    given = [records for records in data if records is not None]
    counts = [len(images) for records in given for images in records["images"]]
    if all(counts):
        return
    without = [name for records in given for name in records["id"]][counts.index(0)]
    if sharded:
        raise UserError(f"record {without}: no image, and with FSDP and DeepSpeed every record needs one")
    kind = models[0].config.model_type
    if kind in ("idefics3", "smolvlm") and max(counts) > 1:
        raise UserError(f"record {without}: no image, while others have several: {kind} cannot have both")
    for model in models:
        if model is not None:
            model.register_forward_pre_hook(_drop_empty_images, with_kwargs=True)


def _drop_empty_images(
    module: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    pixels = kwargs.get("pixel_values")
    # Idefics has a row of zeros for a prompt without images.
    if pixels is not None and (not pixels.numel() or (pixels.ndim == 5 and not pixels.any())):
        images = ("pixel_values", "pixel_attention_mask", "image_grid_thw")
        kwargs = {name: value for name, value in kwargs.items() if name not in images}
    return args, kwargs


class GroupSampler(Sampler[int]):
    """TRL's order of rows, over epochs that are given by (seed, epoch) alone.

    Rows come in blocks of `prompts`, every row `generations` times, every block `repeats` times: the trainer
    generates for the block once, and then walks over it. What does not fill a block is left out. TRL's own
    `RepeatSampler` has a state that a resumed run does not get back, and knows no weights.

    Args:
        records: draws an epoch's rows.
        generations: completions of a prompt.
        prompts: different prompts in a block, over all processes.
        repeats: how often the trainer asks for the same block.
    """

    def __init__(self, records: EpochSampler, generations: int, prompts: int, repeats: int) -> None:
        self.records = records
        self.generations = generations
        self.prompts = prompts
        self.repeats = repeats

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.records.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.records) // self.prompts * self.prompts * self.generations * self.repeats

    def __iter__(self) -> Iterator[int]:
        drawn = list(self.records)
        for first in range(0, len(drawn) - self.prompts + 1, self.prompts):
            for _ in range(self.repeats):
                for index in drawn[first : first + self.prompts]:
                    yield from [index] * self.generations
