"""GRPO on question-answer records: rewards for structured answers that look at the image.

Starts from a model that was fine-tuned to write structured answers (train_sft.py, --answer_style
short=0.3,structured=0.7). On two CPU cores, on the easy-VQA model of configs/medical (docs/grpo.md):
    python train_grpo.py --config configs/medical/grpo_easy_vqa.yaml

One 80 GB GPU, Qwen2-VL-2B on SLAKE and VQA-RAD; completions by vLLM in the same process; by a server:
    python train_grpo.py --config configs/medical/grpo_qwen2_vl_2b.yaml
    python train_grpo.py --config configs/medical/grpo_qwen2_vl_2b.yaml --use_vllm --vllm_mode colocate
    python train_grpo.py --config configs/medical/grpo_qwen2_vl_2b.yaml --use_vllm --vllm_mode server

Eight GPUs, or several machines (docs/scaling.md):
    accelerate launch --config_file accelerate_configs/zero2.yaml train_grpo.py --config FILE.yaml

Choose and weigh rewards, put in your own, look before you train, go on after a crash:
    python train_grpo.py --config FILE.yaml --weights "answer=0.6,grounding=0.2,my_rewards.py:brevity=0.2"
    python train_grpo.py --config FILE.yaml --dry_run
    python train_grpo.py --config FILE.yaml --resume_from_checkpoint latest
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import ProcessorMixin, set_seed
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import GRPOConfig, GRPOTrainer

from rewards import find_reward, parse_weights
from rewards.completions import read_answers
from rewards.configured import configured_rewards, sentence_similarity
from vqa import plans, runs
from vqa.answer_settings import answer_settings
from vqa.arguments import DataArguments, ModelArguments, TrainerArguments, build_model, load_records
from vqa.branches import check_kernel
from vqa.checkpoints import TraceableCheckpoints
from vqa.cli import is_main_process, option, parse_arguments, run
from vqa.completion_rows import completion_log_probs, images_of_rows
from vqa.counterfactuals import METHODS
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.feature_memory import remember_features
from vqa.live_counterfactuals import LiveCounterfactuals
from vqa.models import family_of, shipped_config
from vqa.rollout_plan import print_rollout_plan
from vqa.rollouts import (
    RECORDED,
    STYLE,
    GroupSampler,
    admit_records_without_images,
    check_prompts,
    end_completions_at,
    rollout_processor,
    rollout_rows,
    with_recorded_differences,
)
from vqa.sampling import EpochSampler, order_seed
from vqa.step_clock import StepClock
from vqa.training import check_box_format
from vqa.vllm_engine import check_vllm


@dataclass
class VQAGRPOConfig(TrainerArguments, GRPOConfig):
    """TRL's `GRPOConfig` with this project's defaults and options."""

    output_dir: str | None = option("outputs/grpo", "where checkpoints and the run file go")
    sft_checkpoint: str | None = option(
        None, "folder of the fine-tuned model or adapter to start from; default: model_name_or_path"
    )
    box_format: str | None = option(
        None, "coordinates in the text: norm1000, or pixels of the resized image; default: as fine-tuned"
    )
    weights: dict | str | None = option(
        None, "weight of each reward: numbers in order, or NAME=NUMBER,... (docs/rewards.md)"
    )
    reward_options: dict | str | None = option(
        None, 'options of rewards by name, as JSON: {"format": {"partial_credit": true}}'
    )
    sentence_encoder: str | None = option(
        None, "of the consistency reward: name or folder; default: all-MiniLM-L6-v2 from its package"
    )
    counterfactual_method: str = option("telea", f"how regions are removed: {', '.join(METHODS)}")
    counterfactual_batch_size: int = option(16, "questions a forward, when counterfactuals are measured")
    # TRL's default sends all images to all processes at every step, and waits where one process has none.
    log_multimodal: bool = option(False, "with --log_completions: images too; every record needs one then")
    share_prompts: bool = option(True, "a prompt and its completions are one row when they are learnt from")
    feature_memory: float = option(1.0, "GiB of vision features kept in memory where the tower is frozen")

    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "reward_options"]

    def __post_init__(self) -> None:
        if self.counterfactual_method not in METHODS:
            raise UserError(
                f"--counterfactual_method {self.counterfactual_method}: choose from {', '.join(METHODS)}"
            )
        if self.counterfactual_batch_size < 1:
            raise UserError(f"--counterfactual_batch_size {self.counterfactual_batch_size}: 1 or more")
        if not self.feature_memory >= 0:
            raise UserError(f"--feature_memory {self.feature_memory}: 0 or more GiB")
        if self.box_format is not None:
            check_box_format(self.box_format)
        super().__post_init__()


class VQAGRPOTrainer(TraceableCheckpoints, GRPOTrainer):
    """`GRPOTrainer` that measures what an answer owes to its evidence, and hands it to the rewards.

    Args:
        counterfactuals: measures it for each completion; None: the rows bring it along, or no reward asks.
        encoder: of the policy.
        processor: saved with the checkpoints; the one given as `processing_class` is for generation.
        run_file: what `vqa.runs.describe_run` returned; written beside every checkpoint.
        sampling_weights: one weight per training record, or None.
    """

    def __init__(
        self,
        *,
        counterfactuals: LiveCounterfactuals | None,
        encoder: PromptEncoder,
        processor: ProcessorMixin,
        run_file: dict,
        sampling_weights: list[float] | None = None,
        **kwargs,
    ) -> None:
        self.counterfactuals = counterfactuals
        self.encoder = encoder
        self.processor = processor
        self.run_file = run_file
        self.sampling_weights = sampling_weights
        self.clock = StepClock()
        super().__init__(**kwargs)
        self.add_callback(self.clock)

    def _get_train_sampler(self, dataset=None) -> GroupSampler:
        records = EpochSampler(len(self.train_dataset), self.sampling_weights, order_seed(self.args))
        return GroupSampler(
            records,
            self.num_generations,
            self.args.generation_batch_size // self.num_generations,
            self.num_iterations * self.args.steps_per_generation,
        )

    def _generate(self, prompts: list):
        with self.clock.measure("generation"):
            *found, images, tool_images = super()._generate(prompts)
        # TRL says None of a prompt without images, which processors do not take beside others.
        return *found, images and [row or [] for row in images], tool_images

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self.counterfactuals is not None:
            with self.clock.measure("counterfactual"):
                answers = read_answers(completions)
                roi, rand = self.counterfactuals.differences(self.model, inputs, answers, self.accelerator)
            inputs = [
                row | dict(zip(RECORDED, pair, strict=True))
                for row, *pair in zip(inputs, roi, rand, strict=True)
            ]
        with self.clock.measure("rewards"):
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, *args, **kwargs
    ):
        if not self.args.share_prompts:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, *args, **kwargs
            )
        tensors = ("num_images", "pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes")
        images = images_of_rows(len(input_ids), **{name: kwargs.get(name) for name in tensors})
        rows = (self.encoder, input_ids, attention_mask, logits_to_keep, self.temperature, images, batch_size)
        with self.accelerator.autocast():
            return *completion_log_probs(model, self.accelerator.unwrap_model(model), *rows), None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | (self.clock.read() if "loss" in logs else {}), start_time)

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self.processor.save_pretrained(output_dir or self.args.output_dir)


def main() -> None:
    """Parse, check the data and the rewards, print the plan, train."""
    data, names, args = parse_arguments(DataArguments, ModelArguments, VQAGRPOConfig, description=__doc__)
    start = args.sft_checkpoint or names.model_name_or_path
    if args.dry_run and names.model_name_or_path and not any(Path(start).glob("*config.json")):
        start = names.model_name_or_path  # the first stage has not run yet
    if not data.train_files or not start:
        raise UserError(
            "--train_files and --sft_checkpoint or --model_name_or_path are needed (or a --config with them)"
        )
    if args.use_vllm:
        check_vllm("--use_vllm")
    args.weights = parse_weights(args.weights)
    args.reward_weights = list(args.weights.values())
    similarity = None
    if "consistency" in args.weights and not args.dry_run:
        similarity = sentence_similarity(args.sentence_encoder, str(args.device))
    rewards = configured_rewards(args.weights, find_reward, args.reward_options, similarity)
    settings = answer_settings(
        start,
        shipped_config(start) if args.dry_run else start,
        box_format=args.box_format,
        min_pixels=names.min_pixels,
        max_pixels=names.max_pixels,
    )
    args.box_format = settings.box_format
    set_seed(args.seed)
    with args.distributed_state.main_process_first():
        train, validation, sampling_weights = load_records(data)  # every fault in the data is reported here
        train = with_recorded_differences(train)
        validation = validation and with_recorded_differences(validation)

    model, processor, lora = build_model(replace(names, model_name_or_path=start), args)
    plans.check_trainable(plans.parameter_counts(model, lora))
    encoder = processor and PromptEncoder(
        processor, image_max_pixels=data.max_image_pixels, **settings.pixel_limits
    )
    live = "counterfactual" in rewards and not set(RECORDED) <= set(train.column_names)
    if is_main_process():
        source = "measured" if live else "recorded" if "counterfactual" in rewards else "no reward asks"
        print_rollout_plan(model, lora, encoder, train, source, names, args)
    if args.dry_run:
        return
    checkpoint = runs.find_checkpoint(args.output_dir, args.resume_from_checkpoint)
    if settings.style != STYLE and is_main_process():
        print(f"warning: {start}: not fine-tuned on {STYLE} answers; few may earn", file=sys.stderr)

    if args.share_prompts:
        check_kernel(model, "--share_prompts")
    rows = rollout_rows(train, encoder, settings.box_format)
    generating = rollout_processor(processor, encoder)
    check_prompts(generating, encoder, [rows[index] for index in range(min(len(rows), 8))])
    end_completions_at(model, encoder.end_token_id)
    knows_abstaining = settings.allow_unanswerable or not all(train["answerable"])
    run_file = runs.describe_run(
        {"data": asdict(data), "model": asdict(names), "training": args.to_sanitized_dict()},
        [*data.train_files, *([data.validation_file] if data.validation_file else [])],
        {
            "answer_style": STYLE,
            "box_format": settings.box_format,
            **settings.pixel_limits,
            "trained_on_unanswerable": knows_abstaining,
            "seed": args.seed,
        },
    )
    counterfactuals = live and LiveCounterfactuals(
        encoder,
        allow_unanswerable=knows_abstaining,
        method=args.counterfactual_method,
        seed=args.seed,
        batch_size=args.counterfactual_batch_size,
    )
    trainer = VQAGRPOTrainer(
        model=model,
        args=args,
        counterfactuals=counterfactuals or None,
        encoder=encoder,
        processor=processor,
        run_file=run_file,
        sampling_weights=sampling_weights,
        reward_funcs=list(rewards.values()),
        train_dataset=rows,
        eval_dataset=validation and rollout_rows(validation, encoder, settings.box_format),
        processing_class=generating,
        peft_config=lora,
    )
    trainer.reward_func_names = list(rewards)  # as in the config, for the logs
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if counterfactuals and sharded and not family_of(model.config).shares_rows:
        # Its candidates are scored by a forward each, and all processes must run as many.
        raise UserError(
            f"--weights counterfactual: in {model.config.model_type} it cannot be measured with FSDP and "
            "DeepSpeed; launch with DDP, or leave it out"
        )
    admit_records_without_images([trainer.model, trainer.ref_model], [train, validation], sharded)
    if not (trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled()):  # there every process runs the tower
        remember_features(trainer.model, int(args.feature_memory * 2**30))

    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    if is_main_process():
        runs.write_run_file(args.output_dir, run_file | runs.outcome(trainer.state, result.metrics))
    # A process that leaves while another still talks to it dies of it (gloo, ZeRO-3).
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    run(main)
