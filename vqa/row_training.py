"""What every trainer of records does about rows: the order of records, planned batches, a check of both."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from vqa.branches import attend_to_branches
from vqa.collators import AnswerCollator
from vqa.errors import UserError
from vqa.head import answer_loss
from vqa.rows import PlannedBatches, RowSampler, sample_rows
from vqa.sampling import EpochSampler, order_seed


class TrainsOnRows:
    """Mixin for a `transformers.Trainer` whose records share rows by image where `rows` plans so.

    Attributes:
        collator: turns records, or planned rows of them, into batches.
        sampling_weights: one weight per training record, or None.
        rows: plans each epoch's batches; None: batches of a fixed number of records.
        grouping_checked: whether `check_grouping` has nothing to do any more.
    """

    collator: AnswerCollator
    sampling_weights: list[float] | None
    rows: RowSampler | None
    grouping_checked: bool

    def get_train_dataloader(self) -> DataLoader:
        if self.rows is None:
            return super().get_train_dataloader()
        # One planned batch is one item, so the loader shards and resumes whole batches.
        return self._get_dataloader(
            PlannedBatches(self.train_dataset), "Training", 1, lambda _: self.rows, is_training=True
        )

    def _get_train_sampler(self, train_dataset=None) -> EpochSampler:
        return EpochSampler(len(self.train_dataset), self.sampling_weights, order_seed(self.args))

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
        losses = []
        for batch in ([rows], [[[record] for row in rows for record in row]]):
            inputs = attend_to_branches(self.model, self._prepare_inputs(self.collator(batch)))
            loss = answer_loss(model, self.model.get_output_embeddings(), inputs, self.args.max_logits)
            losses.append((loss.total / loss.count).item())
        model.train(training)
        in_16_bits = self.args.bf16 or self.args.fp16 or self.model.dtype != torch.float32
        compare_losses(*losses, tolerance=1e-3 if in_16_bits else 1e-5)


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
