"""Prunes while a Trainer trains, whatever it is that a pruner prunes."""

import json
import math
import os
from pathlib import Path
from typing import Protocol

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer import TRAINER_STATE_NAME

from vqa.errors import UserError
from vqa.files import atomic_write
from vqa.pruning.schedule import cubic_sparsity

PRUNING_MASKS = "pruning_masks.safetensors"


class Pruner(Protocol):
    """What is pruned of a model, and how it is chosen; by the same weights and masks always the same."""

    def prune(self, sparsity: float) -> None:
        """Decide anew what is masked at this share, and zero it."""

    def apply(self) -> None:
        """Zero what is masked."""

    def state(self) -> dict[str, torch.Tensor]:
        """The masks, as a checkpoint keeps them."""

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a checkpoint's masks.

        Raises:
            UserError: they do not fit the model.
        """

    def report(self) -> dict[str, float]:
        """Numbers for the log, such as `{"sparsity": 0.41}`."""


class PruningCallback(TrainerCallback):
    """Lets a pruner prune on the cubic schedule, and keeps its masks over steps and checkpoints.

    Pruning happens after an optimizer step, before the checkpoint and the evaluation of that step. A resumed
    run goes on from the checkpoint's masks and ends with the same bits as an unbroken one.

    The pruner's numbers join each entry of `state.log_history` and what callbacks after this one are told; a
    tracker comes before it and hears them only where this one is moved to the front of the handler's list.

    Args:
        pruner: what prunes the model that is trained.
        final: share that is pruned at the end.
        frequency: steps between two prunings.
        steps: over how many steps the share rises; below 1, over that share of all steps; 0: pruned whole
            before the first step.
    """

    def __init__(self, pruner: Pruner, *, final: float, frequency: int, steps: float) -> None:
        self.pruner = pruner
        self.final = final
        self.frequency = frequency
        self.steps = steps
        self.last_step = 0  # known when training begins

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Prune whole where nothing is to rise; of a resumed run, take the masks.

        Raises:
            UserError: training ends before the share is final, or the checkpoint has no masks that fit.
        """
        self.last_step = math.ceil(self.steps * state.max_steps) if self.steps < 1 else int(self.steps)
        if self.last_step > state.max_steps:
            raise UserError(f"--pruning_steps {self.last_step}: training has only {state.max_steps} steps")
        if state.global_step:
            self._load_masks(args, state)
        elif not self.last_step:
            self.pruner.prune(self.final)

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        """Adam's momentum has moved masked weights: back to zero."""
        self.pruner.apply()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Prune where it is time."""
        step = state.global_step
        if step > self.last_step or (step % self.frequency and step != self.last_step):
            return
        self.pruner.prune(cubic_sparsity(step, self.last_step, self.final))
        # A denser model is no rival: neither the best checkpoint nor early stopping may compare with it.
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def on_save(self, args, state, control, **kwargs) -> None:
        """Write the masks where the weights were written."""
        if args.should_save:
            with atomic_write(_checkpoint(args, state.global_step) / PRUNING_MASKS, "wb") as file:
                file.write(save(self.pruner.state()))

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Add the pruner's numbers to an entry that the history has already."""
        numbers = self.pruner.report()
        logs.update(numbers)
        state.log_history[-1].update(numbers)

    def _load_masks(self, args: TrainingArguments, state: TrainerState) -> None:
        # A Trainer does not tell callbacks what it resumes from; a script's argument does, or says `latest`.
        wanted = args.resume_from_checkpoint
        here = wanted in (None, "latest")
        path = (_checkpoint(args, state.global_step) if here else Path(wanted)) / PRUNING_MASKS
        if not path.is_file():
            raise UserError(
                f"{path.parent}: no {PRUNING_MASKS}: that run did not prune, or was cut off while it saved; "
                "resume from another checkpoint, or start anew from its weights"
            )
        saved = TrainerState.load_from_json(str(path.with_name(TRAINER_STATE_NAME)))
        if json.dumps(saved.log_history) != json.dumps(state.log_history):
            raise UserError(
                f"{path}: not of the checkpoint that training resumes from; name that in "
                "--resume_from_checkpoint too"
            )
        try:
            self.pruner.load_state(load_file(path))
        except (UserError, SafetensorError) as error:
            raise UserError(f"{path}: {error}") from error
        self.pruner.apply()  # ZeRO-1 and 2 load copies of their own, in which masked weights have moved


def _checkpoint(args: TrainingArguments, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"


def check_can_prune(model: nn.Module, trainer_args: TrainingArguments) -> None:
    """Refuse to prune weights that are not all here, or not what they seem.

    Args:
        model: as the trainer has it, adapters and all.

    Raises:
        UserError: FSDP, ZeRO-3, adapters, or quantised weights.
    """
    if isinstance(model, PeftModel):
        raise UserError(
            "--prune: adapters leave the weights alone; leave --lora_rank out, or merge them first"
        )
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        raise UserError("--prune: quantised weights cannot be masked; leave --load_in_4bit out")
    sharding = "FSDP" if trainer_args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true" else None
    sharding = "ZeRO-3" if is_deepspeed_zero3_enabled() else sharding
    if sharding:
        raise UserError(
            f"--prune: {sharding} leaves a process a shard of each weight; launch with DDP or ZeRO-2"
        )
