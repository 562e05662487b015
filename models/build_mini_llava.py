"""Put a LLaVA together from a vision tower, a connector and any causal language model; then train it.

    make offline-weights smollm
    python -m models.build_mini_llava --config configs/mini_llava/model_smollm2_135m.yaml
    python train_sft.py --model_name_or_path outputs/mini_llava/smollm2_135m/start --freeze vision llm ...

Another language model by one option, another connector, or only the table (no weights, no network):
    python -m models.build_mini_llava --config FILE.yaml --llm_name Qwen/Qwen2.5-0.5B-Instruct
    python -m models.build_mini_llava --config FILE.yaml --connector perceiver --num_latents 16
    python -m models.build_mini_llava --config FILE.yaml --dry_run
"""

from dataclasses import dataclass

from rich.console import Console

from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.mini_llava.build import MiniLlavaArguments, build_mini_llava, plan_mini_llava
from vqa.models import count_parameters
from vqa.plans import parameter_table


@dataclass
class BuildArguments(MiniLlavaArguments):
    """What is built, and where it goes."""

    output_dir: str | None = option(None, "folder for the model")
    dry_run: bool = option(False, "print the parameters only; no weights, no network")


def main() -> None:
    """Build the model, save it, print its parts."""
    (args,) = parse_arguments(BuildArguments, description=__doc__)
    if args.output_dir is None:
        raise UserError("--output_dir is needed (or a --config that names it)")
    if args.dry_run:
        model = plan_mini_llava(args)
    else:
        model, processor = build_mini_llava(args)
        model.save_pretrained(args.output_dir)
        processor.save_pretrained(args.output_dir)
    name = f"{args.vision_name} + {args.connector} + {args.llm_name}"
    Console().print(parameter_table(name, count_parameters(model), has_adapters=False))
    if not args.dry_run:
        unit = "tile" if args.tiling else "image"
        print(f"{args.output_dir}: {model.config.image_seq_length} tokens of each {unit}")


if __name__ == "__main__":
    run(main)
