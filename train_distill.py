"""Distillation: a student learns from a teacher's answers or distributions, and may be pruned on the way.

A teacher's traces; its whole distributions, live; a small unbiased sample of them, kept on disk by one pass
of the teacher and read without it; its distributions on the student's own answers (docs/distillation.md):
    python train_distill.py --config configs/distill/easy_vqa.yaml --method traces
    python train_distill.py --config configs/distill/easy_vqa.yaml --method dense
    python train_distill.py --config configs/distill/easy_vqa.yaml --method sparse --cache_teacher CACHE
    python train_distill.py --config configs/distill/easy_vqa.yaml --method on_policy

One 80 GB GPU, Qwen2-VL-7B teaches Qwen2-VL-2B; several (docs/scaling.md):
    python train_distill.py --config configs/distill/qwen2_vl.yaml
    accelerate launch --config_file accelerate_configs/ddp.yaml train_distill.py --config FILE.yaml

A student that is cut out of its teacher, half of the language model at once, or in three rounds; and what a
cut of Gemma-3-27B to 9B would leave, from its config alone:
    python train_distill.py --config FILE.yaml --prune structured --target_sparsity 0.5
    python train_distill.py --config FILE.yaml --prune structured --target_params 9e9 --prune_rounds 3
    python train_distill.py --plan --model_name_or_path google/gemma-3-27b-it --prune structured \
        --target_params 9e9 --prune_dimensions ffn heads layers --prune_rounds 3

Look before you train, go on after a crash:
    python train_distill.py --config FILE.yaml --dry_run
    python train_distill.py --config FILE.yaml --resume_from_checkpoint latest
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from trl import DistillationConfig, SFTConfig, SFTTrainer

from vqa import runs
from vqa.answer_training import finish, prepare
from vqa.arguments import DataArguments, ModelArguments, RecordTrainingArguments
from vqa.branches import attend_to_branches
from vqa.checkpoints import TraceableCheckpoints
from vqa.cli import is_main_process, option, parse_arguments, run
from vqa.collators import TaughtCollator
from vqa.distillation import DistillationLoss, dense_loss, sparse_loss
from vqa.errors import UserError
from vqa.head import answer_loss
from vqa.on_policy import on_policy_trainer
from vqa.pruning.arguments import PruningArguments, check_pruning
from vqa.pruning.plan import print_pruning_plan
from vqa.pruning.training import pruning_rounds, start_pruning
from vqa.row_training import TrainsOnRows, tokens_of
from vqa.sparse_logits import DEFAULT_SIZES
from vqa.sparse_logits import METHODS as SPARSE_METHODS
from vqa.teacher_pass import live_teacher, teacher_cache
from vqa.teachers import Teacher

METHODS = ("traces", "dense", "sparse", "on_policy")


@dataclass
class VQADistillConfig(RecordTrainingArguments, SFTConfig, DistillationConfig):
    """TRL's `SFTConfig` and `DistillationConfig` with this project's defaults and options."""

    output_dir: str | None = option("outputs/distill", "where checkpoints and the run file go")
    method: str = option("dense", f"what is learnt from: {', '.join(METHODS)}")
    alpha: float = option(0.5, "weight of the teacher; that of the answers' cross-entropy is 1 - alpha")
    temperature: float = option(1.0, "of both distributions; on_policy: of sampling too")
    beta: float | None = option(
        None, "0: forward KL, 1: reverse KL, between: generalised JSD; default: 0, of on_policy 1"
    )
    sparse_method: str = option("gumbel_ht", f"how tokens are drawn: {', '.join(SPARSE_METHODS)}")
    sparse_size: int | None = option(None, "draws of rs, tokens kept by the others; default: 50, 12")
    teacher_dtype: str = option("auto", "auto, float32, bfloat16 or float16")
    teacher_load_in_4bit: bool = option(False, "the teacher's language model in NF4")
    teacher_device: str | None = option(
        None, "where the teacher computes, cuda:1 say; default: the student's"
    )
    teacher_batch_size: int = option(32, "sparse: questions in a forward of the teacher's pass")
    cache_teacher: str | None = option(None, "sparse: folder of the teacher's kept tokens, made if need be")
    cache_only: bool = option(False, "sparse: stop when the cache is whole")
    plan: bool = option(False, "print what --prune would leave, from the config alone, and stop")
    feature_memory: float = option(1.0, "on_policy: GiB of vision features kept where the tower is frozen")
    vision_learning_rate: float | None = option(
        None, "learning rate of the vision tower; default: learning_rate"
    )
    connector_learning_rate: float | None = option(
        None, "learning rate of the connector; default: learning_rate"
    )
    max_length: int | None = option(None, "longest row in tokens; a longer one is an error, never cut")

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, *DistillationConfig._VALID_DICT_FIELDS]

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"--method {self.method}: choose from {', '.join(METHODS)}")
        if self.sparse_method not in SPARSE_METHODS:
            raise UserError(f"--sparse_method {self.sparse_method}: choose from {', '.join(SPARSE_METHODS)}")
        self.beta = float(self.method == "on_policy") if self.beta is None else self.beta
        self.sparse_size = self.sparse_size or DEFAULT_SIZES[self.sparse_method]
        for name in ("alpha", "beta"):
            if not 0 <= vars(self)[name] <= 1:
                raise UserError(f"--{name} {vars(self)[name]}: from 0 to 1")
        if not self.temperature > 0:
            raise UserError(f"--temperature {self.temperature}: more than 0")
        if self.sparse_size < 1:
            raise UserError(f"--sparse_size {self.sparse_size}: 1 or more")
        if self.method in ("dense", "on_policy") and not self.teacher_model_name_or_path and not self.plan:
            raise UserError(f"--method {self.method}: --teacher_model_name_or_path is needed")
        if self.cache_only and self.method != "sparse":
            raise UserError(f"--cache_only: only --method sparse has a cache, not {self.method}")
        if self.method == "sparse" and not self.cache_teacher:
            raise UserError("--method sparse: name the folder of the teacher's cache: --cache_teacher FOLDER")
        super().__post_init__()


class VQADistillationTrainer(TrainsOnRows, TraceableCheckpoints, SFTTrainer):
    """`SFTTrainer` fed with records, whose loss mixes a teacher's distributions with the answers.

    Args:
        teacher: live (`dense`); None: batches bring what it said (`sparse`), or answers are its (`traces`).
    """

    def __init__(self, *, teacher: Teacher | None, **kwargs: Any) -> None:
        self.teacher = teacher
        super().__init__(**kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """alpha x T^2 x divergence + (1 - alpha) x cross-entropy, of a supervised token."""
        self.check_grouping(model)
        sample = [inputs.pop(name) for name in ("teacher_ids", "teacher_weights") if name in inputs]
        mask = tokens_of(inputs)
        student_inputs = attend_to_branches(self.model, inputs)
        if return_outputs:
            return super().compute_loss(model, student_inputs, return_outputs, num_items_in_batch)
        head, args = self.model.get_output_embeddings(), self.args
        if args.method == "traces" or not (sample or self.teacher):
            return self.mean_loss(
                answer_loss(model, head, student_inputs, args.max_logits), mask, num_items_in_batch
            )
        rule = {"alpha": args.alpha, "temperature": args.temperature, "max_logits": args.max_logits}
        if sample:
            loss = sparse_loss(model, head, student_inputs, *sample, **rule)
        else:
            hidden = self.teacher.hidden(inputs).to(head.weight.device)
            rule["beta"] = args.beta
            loss = dense_loss(model, head, student_inputs, hidden, self.teacher.logits, **rule)
        self.log_parts(loss)
        return self.mean_loss(loss, mask, num_items_in_batch)

    def log_parts(self, loss: DistillationLoss) -> None:
        """Divergence (T^2 in it; sparse: with the teacher's entropy) and cross-entropy, a token."""
        parts = torch.stack([loss.divergence, loss.cross_entropy, loss.count])
        *totals, count = self.accelerator.reduce(parts).tolist()
        mode = "train" if self.model.training else "eval"
        for name, total in zip(("divergence", "cross_entropy"), totals, strict=True):
            self._metrics[mode][name].append(total / max(count, 1))


def main() -> None:
    """Parse; then check the data, print the plan, cut and train, once or in rounds."""
    data, names, args, pruning = parse_arguments(
        DataArguments, ModelArguments, VQADistillConfig, PruningArguments, description=__doc__
    )
    check_pruning(pruning)
    if args.plan:
        if not names.model_name_or_path:
            raise UserError("--plan: name the model or its folder: --model_name_or_path")
        print_pruning_plan(names.model_name_or_path, pruning)
        return
    for arguments in pruning_rounds(names, args, pruning):
        train(data, *arguments)


def train(
    data: DataArguments, names: ModelArguments, args: VQADistillConfig, pruning: PruningArguments
) -> None:
    """One run, from records to a saved student."""
    if args.method == "on_policy":  # it generates from pixels, and keeps features in memory
        names = replace(names, cache_vision_features=None)
    training = prepare(data, names, args, TaughtCollator)
    if args.dry_run:
        if pruning.prune == "structured" and is_main_process():
            print_pruning_plan(names.model_name_or_path, pruning)
        return
    checkpoint = runs.find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    training.check_labels()
    training.keep_features()
    if args.method == "sparse":
        training.collator.cache, training.notes["teacher_cache"] = teacher_cache(training)
        training.train = training.train.add_column("place", range(len(training.train)))
        if args.cache_only:
            return
    teacher = live_teacher(training) if args.method in ("dense", "on_policy") else None
    pruned = start_pruning(training, pruning)
    callbacks = pruned.callbacks if pruned else []
    if args.method == "on_policy":
        trainer = on_policy_trainer(training, teacher, callbacks)
    else:
        trainer = VQADistillationTrainer(teacher=teacher, **training.trainer_arguments(), callbacks=callbacks)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if pruned:
        pruned.finish(trainer)
    finish(trainer, result.metrics)


if __name__ == "__main__":
    run(main)
