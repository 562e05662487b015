"""Pruning in a training script: what happens before it trains, while it does, and after."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer

from vqa import runs
from vqa.answer_training import AnswerTraining
from vqa.arguments import ModelArguments
from vqa.branches import attend_to_branches
from vqa.encoding import to_device
from vqa.errors import UserError
from vqa.feature_cache import replay_features
from vqa.head import answer_loss
from vqa.models import load_config
from vqa.pruning.arguments import PruningArguments
from vqa.pruning.callback import Pruner, PruningCallback, check_can_prune
from vqa.pruning.cut import cut_model
from vqa.pruning.magnitude import MagnitudePruner, TwoFourPruner
from vqa.pruning.structured import StructuredPruner
from vqa.pruning.widths import current_widths, model_size, resolve_target, round_targets, solve_widths
from vqa.sampling import spread

CALIBRATION_RECORDS = 64
TOLERANCE = {torch.float32: 1e-4}  # of the loss, relative, between the masked model and the cut one
LOOSE_TOLERANCE = 2e-2  # the same in 16 bits


@dataclass
class Pruning:
    """What a run prunes.

    Attributes:
        options: as given.
        training: whose model is pruned.
        pruner: None where nothing is left to do while the model trains.
        parameters: of the model before.
    """

    options: PruningArguments
    training: AnswerTraining
    pruner: Pruner | None
    parameters: int

    @property
    def callbacks(self) -> list[PruningCallback]:
        """For the trainer."""
        if self.pruner is None:
            return []
        rule = {"frequency": self.options.pruning_frequency, "steps": self.options.pruning_steps}
        return [PruningCallback(self.pruner, final=self.options.final_sparsity, **rule)]

    def finish(self, trainer: Trainer) -> None:
        """After training: cut what is masked, and say in the run file what came of it."""
        zeros = 0.0
        if isinstance(self.pruner, StructuredPruner):
            trainer.model = trainer.model_wrapped = checked_cut(self.training, trainer.model, self.pruner)
        elif self.pruner is not None:
            self.pruner.apply()
            zeros = self.pruner.report()["sparsity"]
        trainer.run_file["pruning"] = {
            "parameters_before": self.parameters,
            "parameters": trainer.model.num_parameters(),
            "zeros_among_pruned_weights": zeros,  # zeros only: neither smaller nor faster
        }


def start_pruning(training: AnswerTraining, options: PruningArguments) -> Pruning | None:
    """What `--prune` asks for, checked; with `--pruning_steps 0` structures are cut out here and now.

    Raises:
        UserError: a model, or a way of training, that cannot be pruned like this.
    """
    if options.prune is None:
        return None
    model, args = training.model, training.args
    if training.lora is not None:
        raise UserError(
            "--prune: adapters leave the weights alone; leave --lora_rank out, or merge them first"
        )
    check_can_prune(model, args)
    pruning = Pruning(options, training, None, model.num_parameters())
    if options.prune == "unstructured":
        pruning.pruner = MagnitudePruner(model, options.pruning_scope)
    elif options.prune == "2:4":
        pruning.pruner = TwoFourPruner(model)
    else:
        if "vision_ffn" in options.prune_dimensions and training.names.cache_vision_features:
            raise UserError(
                "--prune_dimensions vision_ffn: the tower changes, so leave --cache_vision_features out"
            )
        widths = solve_widths(
            model.config,
            options.prune_dimensions,
            target_params=options.target_params and int(options.target_params),
            target_sparsity=options.target_sparsity,
        )
        pruning.pruner = StructuredPruner(
            model, options.prune_dimensions, widths, options.prune_importance, final=options.final_sparsity
        )
        if not options.pruning_steps:
            cut_at_once(training, pruning.pruner)
            pruning.pruner = None
    return pruning


@torch.no_grad()
def cut_at_once(training: AnswerTraining, pruner: StructuredPruner) -> None:
    """Replace the model by a small one before it trains."""
    if pruner.statistics is not None:  # it has to see something first
        for index in spread(len(training.train), CALIBRATION_RECORDS):
            _loss(training, training.model, [training.train[index]])
    pruner.prune(pruner.final)
    training.model = checked_cut(training, training.model, pruner)


@torch.no_grad()
def checked_cut(
    training: AnswerTraining, model: PreTrainedModel, pruner: StructuredPruner
) -> PreTrainedModel:
    """The small model, after comparing its loss on some records with that of the masked one.

    Raises:
        RuntimeError: they differ, so the cut is wrong.
    """
    model.eval()
    records = [training.train[index] for index in spread(len(training.train), 8)]
    pruner.apply()
    masked = _loss(training, model, records)
    small = cut_model(model, pruner).eval()
    if training.encoder.feature_cache is not None:
        replay_features(small)
    cut = _loss(training, small, records)
    if abs(cut - masked) > TOLERANCE.get(small.dtype, LOOSE_TOLERANCE) * max(masked, 1e-3):
        raise RuntimeError(f"the cut model's loss is {cut:.6g}, the masked one's {masked:.6g}")
    return small


def _loss(training: AnswerTraining, model: PreTrainedModel, records: list[dict[str, Any]]) -> float:
    batch = to_device(training.collator.join(training.collator.encode([[r] for r in records])), model.device)
    loss = answer_loss(model, model.get_output_embeddings(), attend_to_branches(model, batch))
    return (loss.total / loss.count).item()


def pruning_rounds(
    names: ModelArguments, args: Any, options: PruningArguments
) -> Iterator[tuple[ModelArguments, Any, PruningArguments]]:
    """The arguments of each round of cut and training; one round where there are no more.

    A round starts from what came of the last, in `OUTPUT/round-N`; the last one's is in OUTPUT. A run that is
    resumed passes over rounds that are finished.
    """
    # A dry run leaves nothing that a second round could start from.
    if options.prune_rounds == 1 or args.dry_run:
        yield names, args, options
        return
    config = load_config(names.model_name_or_path, args.trust_remote_code)
    size, widths = model_size(config), current_widths(config)
    params = options.target_params
    target = resolve_target(size, widths, options.prune_dimensions, params, options.target_sparsity)
    default = PruningArguments().target_sparsity
    for number, goal in enumerate(round_targets(size.total(widths), target, options.prune_rounds), start=1):
        round_args = copy.copy(args)
        if number < options.prune_rounds:
            round_args.output_dir = str(Path(args.output_dir) / f"round-{number}")
        if not (args.resume_from_checkpoint and runs.is_finished(round_args.output_dir)):
            yield names, round_args, replace(options, target_params=goal, target_sparsity=default)
        names = replace(names, model_name_or_path=round_args.output_dir)
