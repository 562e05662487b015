"""Supervised fine-tuning of a vision-language model on question-answer records; loss on the answer only.

On a laptop (two CPU cores, 8 minutes), easy-VQA on the base model of this repository:
    python train_sft.py --config configs/quickstart/train.yaml

One GPU, LoRA on Qwen2-VL-2B:
    python train_sft.py --config configs/surgical/sft_qwen2_vl_2b_lora.yaml

Eight GPUs, or several machines (docs/scaling.md):
    accelerate launch --config_file accelerate_configs/zero3.yaml train_sft.py --config FILE.yaml

Look before you train, prove that the set-up can learn, go on after a crash:
    python train_sft.py --config FILE.yaml --dry_run
    python train_sft.py --config FILE.yaml --sanity_overfit
    python train_sft.py --config FILE.yaml --resume_from_checkpoint latest
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import SFTConfig, SFTTrainer

from vqa import plans, runs
from vqa.cli import is_main_process, option, parse_arguments, run
from vqa.collators import IGNORED, AnswerCollator, PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import build_feature_cache, replay_features
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.inference import decide
from vqa.models import (
    build_on_meta,
    freeze,
    load_model,
    load_processor,
    load_weights,
    load_with_unsloth,
    lora_targets,
    save_merged,
)
from vqa.overfit import blank_images, configure_overfit, overfit_sample, verdict
from vqa.questions import is_correct
from vqa.records import load_dataset
from vqa.training import (
    EpochSampler,
    StyleMix,
    allow_fsdp_on_cpu,
    check_box_format,
    check_supervision,
    parse_weights,
    record_weights,
    split_by_part,
    spread,
    supervised_example,
    text_lengths,
)


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
    load_in_4bit: bool = option(False, "QLoRA: the language model's weights in NF4")
    min_pixels: int | None = option(None, "Qwen families: smallest image area the model sees")
    max_pixels: int | None = option(None, "Qwen families: largest image area the model sees")
    cache_vision_features: str | None = option(None, "folder to keep a frozen tower's features in")


@dataclass
class VQASFTConfig(SFTConfig):
    """TRL's `SFTConfig` with this project's defaults and options."""

    output_dir: str | None = option("outputs/sft", "where checkpoints and the run file go")
    answer_style: str = option(
        "short", "short, structured, think, transcribe, or shares: short=0.7,structured=0.3"
    )
    box_format: str = option("norm1000", "coordinates in the text: norm1000, or pixels of the resized image")
    vision_learning_rate: float | None = option(
        None, "learning rate of the vision tower; default: learning_rate"
    )
    connector_learning_rate: float | None = option(
        None, "learning rate of the connector; default: learning_rate"
    )
    early_stopping_patience: int | None = option(
        None, "evaluations without a better accuracy before training stops"
    )
    merge_adapter: bool = option(
        False, "at the end, also save base and adapter as one model in OUTPUT/merged"
    )
    dry_run: bool = option(False, "check data and config, print the plan; no weights, no network")
    sanity_overfit: int | None = field(
        default=None,
        metadata={
            "help": "memorise N records and judge the set-up; 64 when given alone",
            "nargs": "?",
            "const": 64,
        },
    )
    sanity_learning_rate: float = option(1e-3, "learning rate of the overfit check")
    max_logits: int = option(
        2**27, "most logits built at once; a batch with more goes through TRL's fused head"
    )
    bf16: bool | None = option(None, "bfloat16 autocast; default: where there is a GPU that has it")
    max_length: int | None = option(None, "longest row in tokens; a longer one is an error, never cut")
    remove_unused_columns: bool | None = option(False, "keep false: the collator reads the records' fields")
    gradient_checkpointing: bool = option(False, "recompute activations in the backward pass")
    report_to: list[str] = option(["none"], "trackio, wandb, tensorboard or none")
    logging_steps: float = option(10, "log every so many steps")

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported() and not self.fp16
        self.use_cpu = self.use_cpu or not torch.cuda.is_available()
        super().__post_init__()
        allow_fsdp_on_cpu()


class VQASFTTrainer(SFTTrainer):
    """`SFTTrainer` fed with records: answer-only labels, weighted epochs, rates by part, accuracy from answers.

    Args:
        collator: turns records into batches; loss falls on its labels.
        run_file: what `vqa.runs.describe_run` returned; written beside every checkpoint.
        sampling_weights: one weight per training record, or None.
        validation_records: records answered for real at each evaluation.
    """

    def __init__(
        self,
        *,
        collator: AnswerCollator,
        run_file: dict,
        sampling_weights=None,
        validation_records=(),
        **kwargs,
    ):
        self.collator = collator
        self.run_file = run_file
        self.sampling_weights = sampling_weights
        self.validation_records = list(validation_records)
        super().__init__(data_collator=collator, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        lengths = None
        if self.args.train_sampling_strategy == "group_by_length":
            lengths = text_lengths(self.train_dataset, self.collator.style)
        return EpochSampler(
            len(self.train_dataset),
            self.sampling_weights,
            seed,
            lengths,
            self.args.per_device_train_batch_size,
        )

    def create_optimizer(self, model=None):
        super().create_optimizer(model)
        rates = {
            "vision": self.args.vision_learning_rate,
            "connector": self.args.connector_learning_rate,
            "llm": None,
        }
        if any(rates.values()):
            split_by_part(self.optimizer, self.model if model is None else model, rates)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Cross-entropy of the supervised tokens, from logits at their positions only.

        An answer is a few tokens behind hundreds of prompt and image tokens; TRL's fused head runs over all
        of them. Long answers over a large vocabulary still take that head, which never builds the logits.
        """
        columns = supervised_columns(inputs["labels"])
        vocabulary = self.model.config.get_text_config().vocab_size
        too_many = inputs["labels"].shape[0] * len(columns) * vocabulary > self.args.max_logits
        # All processes take the same way: the two gather different numbers.
        if return_outputs or self.accelerator.gather(torch.tensor([too_many], device=columns.device)).any():
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, right, count = supervised_loss(model, inputs, columns)
        totals = self.accelerator.reduce(torch.stack([right, count])).tolist()
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["mean_token_accuracy"].append(totals[0] / max(totals[1], 1))
        if num_items_in_batch is None:
            return loss / count.clamp(min=1)
        # The count is that of every process, and DDP averages their gradients.
        world = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return loss / num_items_in_batch * world

    def answer_accuracy(self, records: list[dict]) -> float:
        """Share of records answered right, decided as `predict.py` decides; every process gets the same number."""
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        # Sharded weights are gathered by all processes together, so all must run the same forwards.
        mine = (
            records if sharded else records[self.accelerator.process_index :: self.accelerator.num_processes]
        )
        self.model.eval()
        decisions = decide(
            self.model,
            self.collator.encoder,
            mine,
            self.collator.style.main,
            box_format=self.collator.box_format,
        )
        right = sum(
            is_correct(
                r["question_type"], d.answer, r["answers"], r["answer_candidates"], answerable=r["answerable"]
            )
            for r, d in zip(mine, decisions, strict=True)
        )
        totals = torch.tensor([right, len(mine)], device=self.accelerator.device, dtype=torch.float64)
        right, count = (totals if sharded else self.accelerator.reduce(totals)).tolist()
        return right / count

    # `on_evaluate` fires inside `Trainer.evaluate`, so the number that picks the best checkpoint joins here.
    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.validation_records:
            output.metrics[f"{metric_key_prefix}_accuracy"] = self.answer_accuracy(self.validation_records)
        return output

    # transformers saves a model under its hub's parameter names but resumes by plain `load_state_dict`, which
    # skips every renamed weight with a mere warning; `from_pretrained` knows both names.
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_weights(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._load_best_model()
        load_weights(self.model, self.state.best_model_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        super()._save(output_dir, state_dict)
        runs.write_run_file(output_dir or self.args.output_dir, self.run_file)


def main() -> int | None:
    """Parse, check, plan, train."""
    data, model_args, args = parse_arguments(DataArguments, ModelArguments, VQASFTConfig, description=__doc__)
    if not data.train_files or not model_args.model_name_or_path:
        raise UserError("--train_files and --model_name_or_path are needed (or a --config that names them)")
    style = StyleMix(args.answer_style)
    check_box_format(args.box_format)
    set_seed(args.seed)

    # Data: every fault is reported here, before any model is loaded.
    with args.distributed_state.main_process_first():
        train = load_dataset(data.train_files, data.image_root, data.max_image_pixels)
        validation = None
        if data.validation_file:
            validation = load_dataset([data.validation_file], data.image_root, data.max_image_pixels)
            validation = validation.select(spread(len(validation), data.validation_sample))
    weights = record_weights(
        train["source"],
        train["question_type"],
        parse_weights("source_weights", data.source_weights),
        parse_weights("type_weights", data.type_weights),
    )

    # Model
    if args.dry_run:
        model = build_on_meta(model_args.model_name_or_path, args.trust_remote_code)
        processor = plans.processor_if_local(model_args.model_name_or_path)
    elif model_args.backend == "unsloth":
        model, processor = load_with_unsloth(model_args.model_name_or_path, model_args.load_in_4bit)
    else:
        processor = load_processor(model_args.model_name_or_path, args.trust_remote_code)
        model = load_model(
            model_args.model_name_or_path,
            dtype=model_args.model_dtype,
            attn_implementation=model_args.attn_implementation,
            load_in_4bit=model_args.load_in_4bit,
            trust_remote_code=args.trust_remote_code,
        )
    lora = None
    if model_args.lora_rank:
        lora = LoraConfig(
            r=model_args.lora_rank,
            lora_alpha=model_args.lora_alpha,
            lora_dropout=model_args.lora_dropout,
            target_modules=lora_targets(model, model_args.lora_parts),
            task_type="CAUSAL_LM",
        )
    freeze(model, model_args.freeze)
    plans.check_trainable(plans.parameter_counts(model, lora))
    collator = None
    if processor is not None:
        encoder = PromptEncoder(
            processor,
            min_pixels=model_args.min_pixels,
            max_pixels=model_args.max_pixels,
            image_max_pixels=data.max_image_pixels,
        )
        collator = AnswerCollator(encoder, style, args.box_format, args.max_length)
    if is_main_process():
        plans.print_plan(model, lora, collator, train, model_args, args)
    if args.dry_run:
        return 0
    return train_model(model, lora, collator, train, validation, weights, data, model_args, args)


def train_model(model, lora, collator, train, validation, weights, data, model_args, args) -> int | None:
    """The run itself: supervision check, cached features, trainer, checkpoints."""
    records = [train[index] for index in spread(len(train), 32)]
    problem = None
    try:
        check_supervision(collator, records)
    except UserError as error:
        if args.sanity_overfit is None:
            raise
        problem = str(error)
    if is_main_process():
        print(
            f"\nOne example; the loss falls on the part between >>> and <<<:\n{supervised_example(collator, records[0])}\n"
        )

    if model_args.cache_vision_features:
        if "vision" not in model_args.freeze and (lora is None or "vision" in model_args.lora_parts):
            raise UserError("--cache_vision_features needs a tower that does not change: --freeze vision")
        if is_deepspeed_zero3_enabled():
            raise UserError(
                "--cache_vision_features does not go with ZeRO-3, which shards the tower; use ZeRO-2"
            )
        used = [train["images"], validation["images"] if validation else []]
        paths = sorted({path for column in used for row in column for path in row})
        with args.distributed_state.main_process_first():
            collator.encoder.feature_cache = build_feature_cache(
                model_args.cache_vision_features, model, collator.encoder, paths
            )
        replay_features(model)

    run_file = runs.describe_run(
        {"data": asdict(data), "model": asdict(model_args), "training": args.to_sanitized_dict()},
        [*data.train_files, *([data.validation_file] if data.validation_file else [])],
        {
            "answer_style": collator.style.main,
            "box_format": args.box_format,
            "min_pixels": model_args.min_pixels,
            "max_pixels": model_args.max_pixels,
            "trained_on_unanswerable": not all(train["answerable"]),
            "seed": args.seed,
        },
    )
    # In one process too: else its optimizer skips the tower in a step without images, and several do not.
    with_image = next((record for record in train if record["images"]), None)
    collator.filler = with_image and collator.encoder.encode([with_image], collator.style.main)[0]
    callbacks = []
    if args.sanity_overfit is not None:
        train = overfit_sample(train, args.sanity_overfit, args.seed)
        weights, validation = None, None
        configure_overfit(args, len(train))
        callbacks = [StopWhenLearnt()]
    elif args.early_stopping_patience:
        callbacks = [EarlyStoppingCallback(args.early_stopping_patience)]
    trainer = VQASFTTrainer(
        model=model,
        args=args,
        collator=collator,
        run_file=run_file,
        sampling_weights=weights,
        validation_records=validation or [],
        train_dataset=train,
        eval_dataset=validation,
        processing_class=collator.encoder.processor,
        peft_config=lora,
        callbacks=callbacks,
    )
    if args.sanity_overfit is not None:
        return sanity_overfit(trainer, list(train), problem)

    checkpoint = runs.find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if is_main_process():
        runs.write_run_file(args.output_dir, run_file | runs.outcome(trainer.state, result.metrics))
        if args.merge_adapter and lora is not None:
            save_merged(trainer.model, collator.encoder.processor, f"{args.output_dir}/merged")
            runs.write_run_file(f"{args.output_dir}/merged", run_file)
    return None


if __name__ == "__main__":
    run(main)
