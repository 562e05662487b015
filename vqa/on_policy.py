"""Distillation on the student's own answers: TRL's trainer, fed with records.

The student answers, and the teacher says of every token of that answer what it would have said (Agarwal et
al. 2023, arXiv:2306.13649). Added to TRL's trainer are records in an order that a resumed run repeats,
checkpoints that say where they come from, accuracy from real answers, and cross-entropy of the records' own
answers beside the divergence.
"""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import ProcessorMixin, TrainerCallback
from trl import DistillationTrainer

from vqa.answer_training import AnswerTraining
from vqa.branches import attend_to_branches
from vqa.checkpoints import TraceableCheckpoints
from vqa.collators import AnswerCollator
from vqa.feature_cache import fingerprint
from vqa.feature_memory import remember_features
from vqa.head import answer_loss
from vqa.rollouts import (
    GroupSampler,
    admit_records_without_images,
    as_record,
    check_prompts,
    end_completions_at,
    rollout_processor,
    rollout_rows,
)
from vqa.row_training import AnswersForReal
from vqa.sampling import EpochSampler, order_seed
from vqa.teachers import Teacher


class OnPolicyTrainer(AnswersForReal, TraceableCheckpoints, DistillationTrainer):
    """`DistillationTrainer` on rows of `vqa.rollouts.rollout_rows`.

    Args:
        collator: makes batches of records' own answers, where `alpha` is below 1.
        processor: saved with the checkpoints; the one given as `processing_class` is for generation.
        run_file: what `vqa.runs.describe_run` returned; written beside every checkpoint.
        sampling_weights: one weight per training record, or None.
        validation_records: records answered for real at each evaluation.
        alpha: weight of the divergence; that of the cross-entropy is 1 - alpha.
    """

    def __init__(
        self,
        *,
        collator: AnswerCollator,
        processor: ProcessorMixin,
        run_file: dict[str, Any],
        sampling_weights: list[float] | None = None,
        validation_records: Iterable[dict[str, Any]] = (),
        alpha: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.collator = collator
        self.processor = processor
        self.run_file = run_file
        self.sampling_weights = sampling_weights
        self.validation_records = list(validation_records)
        self.alpha = alpha
        self.asked: list[dict[str, Any]] = []
        super().__init__(**kwargs)

    def _get_train_sampler(self, dataset=None) -> GroupSampler:
        records = EpochSampler(len(self.train_dataset), self.sampling_weights, order_seed(self.args))
        accumulated = self.args.gradient_accumulation_steps
        prompts = self.args.per_device_train_batch_size * self.accelerator.num_processes * accumulated
        return GroupSampler(records, generations=1, prompts=prompts, repeats=accumulated)

    def _generate(self, prompts: list):
        *found, images, tool_images = super()._generate(prompts)
        # TRL says None of a prompt without images, which processors do not take beside others.
        return *found, images and [row or [] for row in images], tool_images

    def _prepare_inputs(self, generation_batch):
        count = self.args.gradient_accumulation_steps if self.model.training else 1
        size, part = len(generation_batch) // count, self._step % count
        self.asked = [as_record(row) for row in generation_batch[part * size : (part + 1) * size]]
        return super()._prepare_inputs(generation_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """alpha x divergence on the student's answers + (1 - alpha) x cross-entropy of the records' own."""
        divergence = super().compute_loss(model, inputs, False, num_items_in_batch)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["divergence"].append(divergence.item())
        loss = divergence
        if self.alpha < 1:
            batch = super(DistillationTrainer, self)._prepare_inputs(self.collator(self.asked))
            answered = answer_loss(
                model,
                self.model.get_output_embeddings(),
                attend_to_branches(self.model, batch),
                self.args.max_logits,
            )
            cross_entropy = answered.total / answered.count.clamp(min=1)
            self._metrics[mode]["cross_entropy"].append(cross_entropy.item())
            parts = self.args.gradient_accumulation_steps if self.model.training else 1
            loss = self.alpha * divergence + (1 - self.alpha) * cross_entropy / parts
        return (loss, None) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self.processor.save_pretrained(output_dir or self.args.output_dir)


def on_policy_trainer(
    training: AnswerTraining, teacher: Teacher, callbacks: list[TrainerCallback]
) -> OnPolicyTrainer:
    """The trainer of a run, its records turned into rows to generate from.

    Raises:
        UserError: the chat template gives other prompts than prediction's, or records cannot be mixed.
    """
    args, encoder, style = training.args, training.encoder, training.style
    rows, validation = (
        records and rollout_rows(records, encoder, args.box_format, style)
        for records in (training.train, training.validation)
    )
    generating = rollout_processor(training.processor, encoder)
    check_prompts(generating, encoder, [rows[index] for index in range(min(len(rows), 8))], style)
    end_completions_at(training.model, encoder.end_token_id)
    arguments = training.trainer_arguments()
    del arguments["rows"]
    trainer = OnPolicyTrainer(
        **arguments | {"train_dataset": rows, "eval_dataset": validation, "processing_class": generating},
        processor=training.processor,
        teacher_model=teacher.model,
        alpha=args.alpha,
        callbacks=callbacks,
    )
    data = [training.train, training.validation]
    admit_records_without_images([trainer.model, trainer.teacher_model], data, sharded=False)
    limit = int(args.feature_memory * 2**30)
    memory = remember_features(trainer.model, limit)
    same_tower = fingerprint(training.model, encoder) == fingerprint(teacher.model, encoder)
    remember_features(trainer.teacher_model, limit, memory.features if memory and same_tower else None)
    return trainer
