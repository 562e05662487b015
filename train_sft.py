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

Several stages in one config (docs/mini_llava.md), all or one of them:
    python train_sft.py --config configs/mini_llava/smollm2_135m.yaml
    python train_sft.py --config configs/mini_llava/smollm2_135m.yaml --stage projector

A smaller model, its structures cut out while it trains (docs/pruning.md):
    python train_sft.py --config FILE.yaml --prune structured --target_sparsity 0.3
"""

from dataclasses import dataclass, field

from transformers import EarlyStoppingCallback
from trl import SFTConfig, SFTTrainer

from vqa import runs
from vqa.answer_training import AnswerTraining, finish, prepare
from vqa.arguments import DataArguments, ModelArguments, RecordTrainingArguments
from vqa.branches import attend_to_branches
from vqa.checkpoints import TraceableCheckpoints
from vqa.cli import option, parse_stages, run
from vqa.collators import AnswerCollator
from vqa.errors import UserError
from vqa.head import answer_loss
from vqa.mini_llava.build import PartArguments
from vqa.mini_llava.training import compose
from vqa.overfit import StopWhenLearnt, blank_images, configure_overfit, overfit_sample, run_overfit_check
from vqa.pruning.arguments import PruningArguments, check_pruning
from vqa.pruning.training import pruning_rounds, start_pruning
from vqa.row_training import TrainsOnRows, tokens_of
from vqa.rows import plan_rows
from vqa.staged import stage_runs


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
    stage: str | None = option(None, "run this one of the config's stages only; default: one after the other")
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
    """`SFTTrainer` fed with records: answer-only loss, weighted epochs, rates by part, real accuracy."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Cross-entropy of the supervised tokens, the language head run at their positions only.

        An answer is a few tokens behind hundreds of prompt and image tokens; TRL's fused head runs over all
        of them where there is no Triton, and counts tokens by an attention mask of two dimensions.
        """
        self.check_grouping(model)
        mask = tokens_of(inputs)
        inputs = attend_to_branches(self.model, inputs)
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = answer_loss(model, self.model.get_output_embeddings(), inputs, self.args.max_logits)
        return self.mean_loss(loss, mask, num_items_in_batch)


def main() -> int | None:
    """Parse; then check the data, print the plan and train: once, in stages, in rounds of pruning."""
    kinds = (DataArguments, ModelArguments, VQASFTConfig, PruningArguments, PartArguments)
    stages = parse_stages(*kinds, description=__doc__)
    for name, (data, names, args, pruning, parts) in stages.items():
        check_pruning(pruning)
        stages[name] = data, compose(parts, names, args), args, pruning
    status = None
    for data, *stage in stage_runs(stages):
        for arguments in pruning_rounds(*stage):
            status = train(data, *arguments)
    return status


def train(
    data: DataArguments, names: ModelArguments, args: VQASFTConfig, pruning: PruningArguments
) -> int | None:
    """One run, from records to a saved model."""
    training = prepare(data, names, args, AnswerCollator)
    if args.dry_run:
        return 0
    checkpoint = runs.find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    if args.sanity_overfit is not None:
        return overfit_check(training)

    training.check_labels()
    training.keep_features()
    pruned = start_pruning(training, pruning)
    callbacks = pruned.callbacks if pruned else []
    if args.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    trainer = VQASFTTrainer(**training.trainer_arguments(), callbacks=callbacks)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if pruned:
        pruned.finish(trainer)
    finish(trainer, result.metrics, args.merge_adapter and training.lora is not None)
    return None


def overfit_check(training: AnswerTraining) -> int:
    """Memorise a few records and judge the set-up: 0 if it can learn, 1 if not."""
    args, label_problem = training.args, None
    try:
        training.check_labels()
    except UserError as error:
        label_problem = str(error)
    training.train = overfit_sample(training.train, args.sanity_overfit, args.seed)
    training.validation = training.weights = None
    blanked = blank_images(list(training.train), args.output_dir)
    configure_overfit(args, len(training.train))
    training.rows = plan_rows(training.train, training.style, training.encoder, args, None)
    training.collator.group_by_image = training.rows is not None and training.rows.shares_rows
    training.keep_features(blanked)
    trainer = VQASFTTrainer(**training.trainer_arguments(), callbacks=[StopWhenLearnt()])
    return run_overfit_check(trainer, list(training.train), blanked, label_problem)


if __name__ == "__main__":
    run(main)
