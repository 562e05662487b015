"""Arguments that training scripts share, and what they load by them: records, model, processor, LoRA."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, ProcessorMixin, TrainingArguments

from vqa import plans
from vqa.adapters import adapter_of, lora_targets, whole_modules
from vqa.cli import option
from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.models import (
    build_on_meta,
    freeze,
    load_model,
    load_processor,
    load_with_unsloth,
    set_image_size,
)
from vqa.records import load_dataset
from vqa.sampling import balanced_weights, parse_weights, record_weights, spread
from vqa.training import allow_fsdp_on_cpu, check_box_format


@dataclass
class DataArguments:
    """Records to learn from."""

    train_files: list[str] = option([], "record files (JSONL) to train on")
    validation_file: str | None = option(None, "records to validate on")
    validation_sample: int = option(256, "how many of them are answered at each evaluation, for accuracy")
    image_root: str | None = option(
        None, "folder that image paths start from; default: the manifest's, or the file's"
    )
    max_image_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse image files with more pixels")
    source_weights: list[str] | None = option(None, "sampling weights by source: NAME=NUMBER ...")
    type_weights: list[str] | None = option(None, "sampling weights by question type: NAME=NUMBER ...")
    balance_answers: bool = option(
        False, "draw each answer to a question equally often, so that its wording does not tell it"
    )


@dataclass
class ModelArguments:
    """The model and which of its parts learn."""

    model_name_or_path: str | None = option(
        None, "hub name or folder of an image-text-to-text model, or of an adapter"
    )
    model_dtype: str = option("auto", "auto, float32, bfloat16 or float16")
    attn_implementation: str = option("sdpa", "attention kernel")
    backend: str = option("transformers", "transformers, or unsloth (its own environment: docs/scaling.md)")
    freeze: list[str] = option([], "parts that stay as they are: vision, connector, llm")
    lora_rank: int = option(0, "rank of LoRA adapters; 0: none, every unfrozen weight trains")
    lora_alpha: int = option(32, "scale of LoRA's update is alpha / rank")
    lora_dropout: float = option(0.0, "dropout in front of LoRA")
    lora_parts: list[str] = option(["llm"], "parts that get adapters: llm, vision, connector")
    lora_whole_parts: list[str] = option([], "parts that train whole beside adapters: connector")
    lora_top_blocks: int = option(0, "the language model's last blocks that train whole beside adapters")
    load_in_4bit: bool = option(False, "QLoRA: the language model's weights in NF4")
    min_pixels: int | None = option(None, "Qwen families: smallest image area the model sees")
    max_pixels: int | None = option(None, "Qwen families: largest image area the model sees")
    image_size: int | None = option(None, "DINOv2 towers: pixels a side that images are resized to")
    cache_vision_features: str | None = option(None, "folder to keep a frozen tower's features in")


@dataclass
class TrainerArguments:
    """What every trainer here takes; before a TRL config among the bases, it sets its defaults."""

    dry_run: bool = option(False, "check data and config, print the plan; no weights, no network")
    bf16: bool | None = option(None, "bfloat16 autocast; default: where there is a GPU that has it")
    remove_unused_columns: bool | None = option(False, "keep false: the records' fields are needed")
    gradient_checkpointing: bool = option(False, "recompute activations in the backward pass")
    report_to: list[str] = option(["none"], "trackio, wandb, tensorboard or none")
    logging_steps: float = option(10, "log every so many steps")

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported() and not self.fp16
        self.use_cpu = self.use_cpu or not torch.cuda.is_available()
        # To transformers None is off, too, and False an option by an old name, of which it warns.
        self.gradient_checkpointing = self.gradient_checkpointing or None
        super().__post_init__()
        allow_fsdp_on_cpu()


@dataclass
class RecordTrainingArguments(TrainerArguments):
    """What trainers take that learn from the records' own answers."""

    answer_style: str = option(
        "short", "short, structured, think, transcribe, or shares: short=0.7,structured=0.3"
    )
    box_format: str = option("norm1000", "coordinates in the text: norm1000, or pixels of the resized image")
    group_by_image: bool | None = option(
        None, "questions of an image share a row; default: where there are two or more on average"
    )
    questions_per_image: int | None = option(None, "most questions in a row; default: all that fit")
    tokens_per_batch: int | None = option(
        None, "tokens a device and step, padding and all, in place of per_device_train_batch_size"
    )
    max_logits: int = option(2**27, "most logits built at once")

    def __post_init__(self) -> None:
        check_box_format(self.box_format)
        for name in ("questions_per_image", "tokens_per_batch"):
            if vars(self)[name] is not None and vars(self)[name] < 1:
                raise UserError(f"--{name} {vars(self)[name]}: 1 or more")
        super().__post_init__()


def load_records(data: DataArguments) -> tuple[Dataset, Dataset | None, list[float] | None]:
    """Training records, a sample of the validation records (or None), and sampling weights (or None)."""
    train = load_dataset(data.train_files, data.image_root, data.max_image_pixels)
    validation = None
    if data.validation_file:
        validation = load_dataset([data.validation_file], data.image_root, data.max_image_pixels)
        validation = validation.select(spread(len(validation), data.validation_sample))
    _refuse_unlabelled(train)
    by_source = parse_weights("source_weights", data.source_weights)
    by_type = parse_weights("type_weights", data.type_weights)
    weights = record_weights(train["source"], train["question_type"], by_source, by_type)
    if data.balance_answers:
        balanced = balanced_weights(train["question"], train["answers"])
        weights = [a * b for a, b in zip(weights or [1.0] * len(train), balanced, strict=True)]
    return train, validation, weights


def _refuse_unlabelled(train: Dataset) -> None:
    """Records that wait for a pseudo-label look like unanswerable ones; they are not to be learnt."""
    for identifier, answerable, meta in zip(train["id"], train["answerable"], train["meta"], strict=True):
        label = None if answerable else json.loads(meta).get("label")
        if isinstance(label, dict) and label.get("by") == "nobody":
            raise UserError(
                f"record {identifier}: nobody has labelled it (meta.label); export a review first: "
                "prepare_data.py review --help"
            )


def build_model(
    names: ModelArguments, args: TrainingArguments
) -> tuple[PreTrainedModel, ProcessorMixin | None, LoraConfig | None]:
    """The model, its processor (None in a dry run far from the hub) and the LoRA config (or None).

    From the folder of an adapter, that adapter goes on training, and no further one is put on it.
    """
    adapter = Path(names.model_name_or_path) / "adapter_config.json"
    if adapter.is_file() and names.lora_rank:
        raise UserError(
            f"--lora_rank: {names.model_name_or_path} is an adapter, which keeps its own rank; leave it out"
        )
    if args.dry_run:
        model = build_on_meta(names.model_name_or_path, args.trust_remote_code)
        processor = plans.processor_if_local(names.model_name_or_path)
        if adapter.is_file():
            return model, processor, adapter_of(model, names.model_name_or_path)
    elif names.backend == "unsloth":
        model, processor = load_with_unsloth(names.model_name_or_path, names.load_in_4bit)
    else:
        processor = load_processor(names.model_name_or_path, args.trust_remote_code)
        model = load_model(
            names.model_name_or_path,
            dtype=names.model_dtype,
            attn_implementation=names.attn_implementation,
            load_in_4bit=names.load_in_4bit,
            trust_remote_code=args.trust_remote_code,
            trainable_adapter=True,
        )
    if names.image_size is not None and processor is not None:
        set_image_size(model, processor, names.image_size)
    freeze(model, names.freeze)
    if not names.lora_rank:
        return model, processor, None
    whole = whole_modules(model, names.lora_whole_parts, names.lora_top_blocks)
    lora = LoraConfig(
        r=names.lora_rank,
        lora_alpha=names.lora_alpha,
        lora_dropout=names.lora_dropout,
        target_modules=lora_targets(model, names.lora_parts, whole),
        modules_to_save=whole or None,
        task_type="CAUSAL_LM",
    )
    return model, processor, lora
