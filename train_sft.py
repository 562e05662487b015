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

import torch
from transformers import EarlyStoppingCallback, set_seed
from trl import SFTConfig, SFTTrainer

from vqa import plans, runs
from vqa.adapters import save_merged
from vqa.arguments import (
    DataArguments,
    ModelArguments,
    RecordTrainingArguments,
    build_model,
    load_records,
)
from vqa.branches import attend_to_branches, check_kernel
from vqa.checkpoints import TraceableCheckpoints
from vqa.cli import is_main_process, option, parse_arguments, run
from vqa.collators import AnswerCollator
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import image_paths, use_cached_features
from vqa.head import answer_loss
from vqa.overfit import StopWhenLearnt, blank_images, configure_overfit, overfit_sample, run_overfit_check
from vqa.row_training import TrainsOnRows
from vqa.rows import plan_rows
from vqa.sampling import spread
from vqa.training import (
    StyleMix,
    check_supervision,
    split_by_part,
    supervised_example,
)
from vqa.validation import answer_accuracy


@dataclass
class VQASFTConfig(RecordTrainingArguments, SFTConfig):
    """TRL's `SFTConfig` with this project's defaults and options."""

    output_dir: str | None = option("outputs/sft", "where checkpoints and the run file go")
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
    sanity_overfit: int | None = field(
        default=None,
        metadata={
            "help": "memorise N records and judge the set-up; 64 when given alone",
            "nargs": "?",
            "const": 64,
        },
    )
    sanity_learning_rate: float = option(1e-3, "learning rate of the overfit check")
    max_length: int | None = option(None, "longest row in tokens; a longer one is an error, never cut")


class VQASFTTrainer(TrainsOnRows, TraceableCheckpoints, SFTTrainer):
    """`SFTTrainer` fed with records: answer-only loss, weighted epochs, rates by part, accuracy from answers.

    Args:
        collator: turns records into batches; loss falls on its labels.
        run_file: what `vqa.runs.describe_run` returned; written beside every checkpoint.
        sampling_weights: one weight per training record, or None.
        rows: plans each epoch's batches where questions share rows or batches have a token budget, or None.
        validation_records: records answered for real at each evaluation.
    """

    def __init__(
        self,
        *,
        collator: AnswerCollator,
        run_file: dict,
        sampling_weights=None,
        rows=None,
        validation_records=(),
        **kwargs,
    ):
        self.collator = collator
        self.run_file = run_file
        self.sampling_weights = sampling_weights
        self.rows = rows
        self.validation_records = list(validation_records)
        self.grouping_checked = rows is None or not rows.shares_rows
        super().__init__(data_collator=collator, **kwargs)

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
        """Cross-entropy of the supervised tokens, the language head run at their positions only.

        An answer is a few tokens behind hundreds of prompt and image tokens; TRL's fused head runs over all
        of them where there is no Triton, and counts tokens by an attention mask of two dimensions.
        """
        self.check_grouping(model)
        mask = inputs["branches"] >= 0 if "branches" in inputs else inputs["attention_mask"]
        inputs = attend_to_branches(self.model, inputs)
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = answer_loss(model, self.model.get_output_embeddings(), inputs, self.args.max_logits)
        totals = self.accelerator.reduce(torch.stack([loss.right, loss.count, mask.sum()])).tolist()
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["mean_token_accuracy"].append(totals[0] / max(totals[1], 1))
        self._total_train_tokens += int(totals[2]) if mode == "train" else 0
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        if num_items_in_batch is None:
            return loss.total / loss.count.clamp(min=1)
        # The count is that of every process, and DDP averages their gradients.
        world = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return loss.total / num_items_in_batch * world

    def answer_accuracy(self, records: list[dict]) -> float:
        """Share of records answered right, decided as `predict.py` decides."""
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        return answer_accuracy(self.model, self.collator, records, self.accelerator, sharded)

    # `on_evaluate` fires inside `Trainer.evaluate`, so the number that picks the best checkpoint joins here.
    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.validation_records:
            output.metrics[f"{metric_key_prefix}_accuracy"] = self.answer_accuracy(self.validation_records)
        return output


def main() -> int | None:
    """Parse, check the data, print the plan, train."""
    data, names, args = parse_arguments(DataArguments, ModelArguments, VQASFTConfig, description=__doc__)
    if not data.train_files or not names.model_name_or_path:
        raise UserError("--train_files and --model_name_or_path are needed (or a --config that names them)")
    style = StyleMix(args.answer_style)
    set_seed(args.seed)
    with args.distributed_state.main_process_first():
        train, validation, weights = load_records(data)  # every fault in the data is reported here

    model, processor, lora = build_model(names, args)
    plans.check_trainable(plans.parameter_counts(model, lora))
    collator = None
    if processor is not None:
        limits = {"min_pixels": names.min_pixels, "max_pixels": names.max_pixels}
        encoder = PromptEncoder(processor, image_max_pixels=data.max_image_pixels, **limits)
        collator = AnswerCollator(encoder, style, args.box_format, args.max_length)
    rows = plan_rows(train, style, encoder, args, weights) if collator else None
    if rows is not None and rows.shares_rows:
        check_kernel(model)
        collator.group_by_image = True
    if is_main_process():
        plans.print_plan(model, lora, collator, train, rows, names, args)
    if args.dry_run:
        return 0
    checkpoint = runs.find_checkpoint(args.output_dir, args.resume_from_checkpoint)

    label_problem = None
    sample = [train[index] for index in spread(len(train), 32)]
    try:
        check_supervision(collator, sample)
    except UserError as error:
        if args.sanity_overfit is None:
            raise
        label_problem = str(error)
    if is_main_process():
        print("\nOne example; the loss falls on the part between >>> and <<<:")
        print(supervised_example(collator, sample[0]), flush=True)

    run_file = runs.describe_run(
        {"data": asdict(data), "model": asdict(names), "training": args.to_sanitized_dict()},
        [*data.train_files, *([data.validation_file] if data.validation_file else [])],
        {
            "answer_style": style.main,
            "box_format": args.box_format,
            **limits,
            "trained_on_unanswerable": not all(train["answerable"]),
            "seed": args.seed,
        },
    )
    callbacks, blanked = [], []
    if args.sanity_overfit is not None:
        train, validation, weights = overfit_sample(train, args.sanity_overfit, args.seed), None, None
        blanked = blank_images(list(train), args.output_dir)
        configure_overfit(args, len(train))
        rows = plan_rows(train, style, encoder, args, weights)
        collator.group_by_image = rows is not None and rows.shares_rows
        callbacks = [StopWhenLearnt()]
    elif args.early_stopping_patience:
        callbacks = [EarlyStoppingCallback(args.early_stopping_patience)]
    if names.cache_vision_features:
        if "vision" not in names.freeze and (lora is None or "vision" in names.lora_parts):
            raise UserError("--cache_vision_features needs a tower that does not change: --freeze vision")
        paths = image_paths(train, validation or [], blanked)
        with args.distributed_state.main_process_first():
            use_cached_features(names.cache_vision_features, model, encoder, paths)
    # In one process too: else its optimizer skips the tower in a step without images, and several do not.
    with_image = next((record for record in train if record["images"]), None)
    collator.filler = with_image and encoder.encode([with_image], style.main)[0]

    trainer = VQASFTTrainer(
        model=model,
        args=args,
        collator=collator,
        run_file=run_file,
        sampling_weights=weights,
        rows=rows,
        validation_records=validation or [],
        train_dataset=train,
        eval_dataset=validation,
        processing_class=processor,
        peft_config=lora,
        callbacks=callbacks,
    )
    if args.sanity_overfit is not None:
        return run_overfit_check(trainer, list(train), blanked, label_problem)

    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if is_main_process():
        runs.write_run_file(args.output_dir, run_file | runs.outcome(trainer.state, result.metrics))
        if args.merge_adapter and lora is not None:
            save_merged(trainer.model, processor, f"{args.output_dir}/merged")
            runs.write_run_file(f"{args.output_dir}/merged", run_file)
    # A process that leaves while another still talks to it dies of it (gloo, ZeRO-3).
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return None


if __name__ == "__main__":
    run(main)
