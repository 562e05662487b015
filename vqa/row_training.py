"""What every trainer that learns records' answers does, whatever its loss.

Order of records, planned batches, rates by part, means over supervised tokens, accuracy from real answers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from vqa.branches import attend_to_branches
from vqa.collators import AnswerCollator
from vqa.errors import UserError
from vqa.head import AnswerLoss, answer_loss
from vqa.rows import PlannedBatches, RowSampler, sample_rows
from vqa.sampling import EpochSampler, order_seed
from vqa.training import split_by_part
from vqa.validation import answer_accuracy


class AnswersForReal:
    """Mixin for a `transformers.Trainer` whose evaluations answer records as `predict.py` does.

    Attributes:
        collator: its encoder, main style and box format are those of the answers.
        validation_records: records to answer.
    """

    collator: AnswerCollator
    validation_records: list[dict[str, Any]]

    def answer_accuracy(self, records: list[dict[str, Any]]) -> float:
        """Share of records answered right."""
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        return answer_accuracy(self.model, self.collator, records, self.accelerator, sharded)

    # `on_evaluate` fires inside `Trainer.evaluate`, so the number that picks the best checkpoint joins here.
    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.validation_records:
            output.metrics[f"{metric_key_prefix}_accuracy"] = self.answer_accuracy(self.validation_records)
        return output


class TrainsOnRows(AnswersForReal):
    """Mixin for TRL's `SFTTrainer`, fed with records, which share rows by image where `rows` plans so.

    Args:
        collator: turns records, or planned rows of them, into batches; loss falls on its labels.
        run_file: what `vqa.runs.describe_run` returned; written beside every checkpoint.
        sampling_weights: one weight per training record, or None.
        rows: plans each epoch's batches; None: batches of a fixed number of records.
        validation_records: records answered for real at each evaluation.
    """

    def __init__(
        self,
        *,
        collator: AnswerCollator,
        run_file: dict[str, Any],
        sampling_weights: list[float] | None = None,
        rows: RowSampler | None = None,
        validation_records: Iterable[dict[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        self.collator = collator
        self.run_file = run_file
        self.sampling_weights = sampling_weights
        self.rows = rows
        self.validation_records = list(validation_records)
        self.grouping_checked = rows is None or not rows.shares_rows
        super().__init__(data_collator=collator, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        super().create_optimizer(model)
        rates = {
            "vision": self.args.vision_learning_rate,
            "connector": self.args.connector_learning_rate,
            "llm": None,
        }
        if any(rates.values()):
            split_by_part(self.optimizer, self.model if model is None else model, rates)
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader:
        if self.rows is None:
            return super().get_train_dataloader()
        # One planned batch is one item, so the loader shards and resumes whole batches.
        return self._get_dataloader(
            PlannedBatches(self.train_dataset), "Training", 1, lambda _: self.rows, is_training=True
        )

    def _get_train_sampler(self, train_dataset=None) -> EpochSampler:
        return EpochSampler(len(self.train_dataset), self.sampling_weights, order_seed(self.args))

    def mean_loss(
        self, loss: AnswerLoss, mask: torch.Tensor, num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """The loss of a supervised token, mean over those of a step; accuracy and tokens go to the log.

        Args:
            mask: (rows, length): tokens that are no padding.
            num_items_in_batch: supervised tokens of the step, over all processes; None: those of this batch.
        """
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

    @torch.no_grad()
    def check_grouping(self, model: nn.Module) -> None:
        """Once: the loss of some real questions in shared rows must be their loss one by one.

        Args:
            model: as wrapped for training; every process runs the same two forwards.

        Raises:
            UserError: it is not, so questions of a row see each other.
        """
        if self.grouping_checked:
            return
        self.grouping_checked = True
        rows = [[self.train_dataset[index] for index in row] for row in sample_rows(self.rows.plan(0))]
        if not rows:
            return
        training = model.training
        model.eval()

        def losses() -> list[float]:
            found = []
            for batch in (rows, [[record] for row in rows for record in row]):
                joined = self.collator.join(self.collator.encode(batch))
                inputs = attend_to_branches(self.model, self._prepare_inputs(joined))
                loss = answer_loss(model, self.model.get_output_embeddings(), inputs, self.args.max_logits)
                found.append((loss.total / loss.count).item())
            return found

        autocast = self.args.bf16 or self.args.fp16
        if autocast or self.model.dtype != torch.float32:
            # Rounding alone moves the few tokens' loss by up to a percent: only float32 tells it from a leak.
            compare_losses(*losses(), tolerance=2e-2)
        if self.model.dtype == torch.float32:
            with without_autocast(self.model) if autocast else nullcontext():
                compare_losses(*losses(), tolerance=1e-5)
        model.train(training)


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Take off the mixed precision that accelerate puts around the forward of a model."""
    decorated = model.__dict__.pop("forward", None)  # DeepSpeed has its own
    try:
        yield
    finally:
        if decorated is not None:
            model.forward = decorated


def compare_losses(grouped: float, single: float, tolerance: float) -> None:
    """Refuse to train where questions that share a row see each other.

    Args:
        grouped, single: mean loss of the same questions in shared rows and one by one.
        tolerance: how far apart they may be, as a share of the loss.

    Raises:
        UserError: they are further apart.
    """
    difference = abs(grouped - single) / max(abs(single), 1e-12)
    if not difference <= tolerance:
        raise UserError(
            f"--group_by_image: loss {grouped:.6g} in shared rows, {single:.6g} one by one, {difference:.1e} "
            f"apart (limit {tolerance:g}): attention does not follow the mask; use --group_by_image false"
        )


def tokens_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Which tokens of a batch are no padding: (rows, length), bool."""
    return batch["branches"] >= 0 if "branches" in batch else batch["attention_mask"].bool()
