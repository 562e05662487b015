"""What a script that learns records' answers does before it trains, and after."""

from dataclasses import asdict, dataclass, field
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, ProcessorMixin, Trainer, set_seed

from vqa import plans, runs
from vqa.adapters import save_merged
from vqa.arguments import DataArguments, ModelArguments, build_model, load_records
from vqa.branches import check_kernel, may_share_rows
from vqa.cli import is_main_process
from vqa.collators import AnswerCollator
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.feature_cache import image_paths, use_cached_features
from vqa.rows import RowSampler, plan_rows
from vqa.sampling import spread
from vqa.training import StyleMix, check_supervision, supervised_example


@dataclass
class AnswerTraining:
    """Model and data, checked and planned.

    Attributes:
        processor, encoder, collator: None in a dry run far from the hub.
        lora: the adapter to be made, or None.
        weights: one sampling weight per training record, or None.
        rows: plans batches in which questions share rows, or None.
        notes: what else the run file is to say.
    """

    data: DataArguments
    names: ModelArguments
    args: Any
    style: StyleMix
    model: PreTrainedModel
    processor: ProcessorMixin | None
    encoder: PromptEncoder | None
    lora: LoraConfig | None
    train: Dataset
    validation: Dataset | None
    weights: list[float] | None
    collator: AnswerCollator | None
    rows: RowSampler | None
    notes: dict[str, Any] = field(default_factory=dict)

    def trainer_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a trainer with `vqa.row_training.TrainsOnRows`."""
        return {
            "model": self.model,
            "args": self.args,
            "collator": self.collator,
            "run_file": self.run_file(),
            "sampling_weights": self.weights,
            "rows": self.rows,
            "validation_records": self.validation or [],
            "train_dataset": self.train,
            "eval_dataset": self.validation,
            "processing_class": self.processor,
            "peft_config": self.lora,
        }

    def run_file(self) -> dict[str, Any]:
        """What is written beside every checkpoint."""
        data, names = self.data, self.names
        return runs.describe_run(
            {"data": asdict(data), "model": asdict(names), "training": self.args.to_sanitized_dict()},
            [*data.train_files, *([data.validation_file] if data.validation_file else [])],
            {
                "answer_style": self.style.main,
                "box_format": self.args.box_format,
                "min_pixels": names.min_pixels,
                "max_pixels": names.max_pixels,
                "trained_on_unanswerable": not all(self.train["answerable"]),
                "seed": self.args.seed,
                **self.notes,
            },
        )

    def check_labels(self) -> None:
        """Check the labels of some records, and show one example.

        Raises:
            UserError: the loss would not fall on the answers.
        """
        sample = [self.train[index] for index in spread(len(self.train), 32)]
        try:
            check_supervision(self.collator, sample)
        finally:
            if is_main_process():
                print("\nOne example; the loss falls on the part between >>> and <<<:")
                print(supervised_example(self.collator, sample[0]), flush=True)

    def keep_features(self, more: list[dict[str, Any]] = ()) -> None:
        """With --cache_vision_features the frozen tower runs once an image, those of `more` records too."""
        names = self.names
        if names.cache_vision_features:
            if "vision" not in names.freeze and (self.lora is None or "vision" in names.lora_parts):
                raise UserError("--cache_vision_features needs a tower that does not change: --freeze vision")
            paths = image_paths(self.train, self.validation or [], more)
            with self.args.distributed_state.main_process_first():
                use_cached_features(names.cache_vision_features, self.model, self.encoder, paths)
        # In one process too: else its optimizer skips the tower in a step without images, and several do not.
        with_image = next((record for record in self.train if record["images"]), None)
        self.collator.filler = with_image and self.encoder.encode([with_image], self.style.main)[0]


def prepare(
    data: DataArguments, names: ModelArguments, args: Any, collator_type: type[AnswerCollator]
) -> AnswerTraining:
    """Read and check the data, load the model, plan the batches, and print the plan.

    Raises:
        UserError: every fault in data and options that can be found before a step is made.
    """
    if not data.train_files or not names.model_name_or_path:
        raise UserError("--train_files and --model_name_or_path are needed (or a --config that names them)")
    style = StyleMix(args.answer_style)
    set_seed(args.seed)
    with args.distributed_state.main_process_first():
        train, validation, weights = load_records(data)  # every fault in the data is reported here

    model, processor, lora = build_model(names, args)
    plans.check_trainable(plans.parameter_counts(model, lora))
    if not may_share_rows(model.config, args.group_by_image):
        args.group_by_image = False
    encoder = collator = None
    if processor is not None:
        limits = {"min_pixels": names.min_pixels, "max_pixels": names.max_pixels}
        encoder = PromptEncoder(processor, image_max_pixels=data.max_image_pixels, **limits)
        collator = collator_type(encoder, style, args.box_format, args.max_length)
    rows = plan_rows(train, style, encoder, args, weights) if collator else None
    if rows is not None and rows.shares_rows:
        check_kernel(model)
        collator.group_by_image = True
    if is_main_process():
        plans.print_plan(model, lora, collator, train, rows, names, args)
    return AnswerTraining(
        *(data, names, args, style, model, processor, encoder, lora),
        *(train, validation, weights, collator, rows),
    )


def finish(trainer: Trainer, metrics: dict[str, float], merge_adapter: bool = False) -> None:
    """Save the model, and write down how the run went; leave together with the other processes.

    Args:
        metrics: of `trainer.train()`.
        merge_adapter: also save base and adapter as one model, in OUTPUT/merged.
    """
    output = trainer.args.output_dir
    trainer.save_model()
    if is_main_process():
        runs.write_run_file(output, trainer.run_file | runs.outcome(trainer.state, metrics))
        if merge_adapter:
            save_merged(trainer.model, trainer.processing_class, f"{output}/merged")
            runs.write_run_file(f"{output}/merged", trainer.run_file)
    leave(trainer)


def leave(trainer: Trainer) -> None:
    """End together: a process that leaves while another still talks to it dies of it (gloo, ZeRO-3)."""
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
