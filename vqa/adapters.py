"""LoRA adapters: which layers get them, how one is read back, how one is merged."""

from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftConfig, PeftModel
from torch import nn
from transformers import ProcessorMixin

from vqa.errors import UserError
from vqa.models import family_of


def lora_targets(model: nn.Module, parts: list[str], whole: Sequence[str] = ()) -> list[str]:
    """Full names of the linear layers of the given parts, but the LM head: what LoRA adapts.

    Args:
        whole: modules that train whole instead, by `whole_modules`.
    """
    family = family_of(model.config)
    head = model.get_output_embeddings()
    inside = tuple(f"{name}." for name in whole)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and family.part_of(name) in parts
        and not name.startswith(inside)
    ]


def whole_modules(model: nn.Module, parts: list[str], top_blocks: int) -> list[str]:
    """Full names of the modules that train whole beside adapters.

    Args:
        parts: `connector`, or none.
        top_blocks: how many of the language model's last blocks.

    Raises:
        UserError: another part, or more blocks than there are.
    """
    if set(parts) - {"connector"}:
        raise UserError(f"--lora_whole_parts {' '.join(parts)}: connector, or none")
    family = family_of(model.config)
    names = dict(model.named_modules())
    found = [name for name in names if parts and name.removeprefix("model.").startswith(family.connector)]
    found = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    blocks = [
        name for name in names if family.part_of(name) == "llm" and name.rpartition(".")[0].endswith("layers")
    ]
    if top_blocks > len(blocks):
        raise UserError(f"--lora_top_blocks {top_blocks}: the language model has {len(blocks)} blocks")
    return found + blocks[len(blocks) - top_blocks :]


def adapter_of(model: nn.Module, folder: str) -> LoraConfig:
    """The LoRA config of an adapter's folder, its layers by their full names in `model`."""
    config = PeftConfig.from_pretrained(folder)
    # PEFT writes the shortest endings that tell the layers apart.
    endings = tuple(f".{name}" for name in config.target_modules)
    config.target_modules = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f".{name}".endswith(endings)
    ]
    return config


def save_merged(model: PeftModel, processor: ProcessorMixin, output_dir: str | Path) -> None:
    """Save base and adapter as one plain model, with its processor."""
    merged = model.merge_and_unload()
    merged.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)


def with_adapter(model: nn.Module, folder: str) -> PeftModel:
    """A model with an adapter on it.

    Raises:
        UserError: the adapter does not fit.
    """
    try:
        return PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--adapter {folder}: does not fit the model: {str(error).splitlines()[0]}"
        ) from error
