"""LoRA adapters: which layers get them, how one is read back, how one is merged."""

from pathlib import Path

from peft import LoraConfig, PeftConfig, PeftModel
from torch import nn
from transformers import ProcessorMixin

from vqa.errors import UserError
from vqa.models import family_of


def lora_targets(model: nn.Module, parts: list[str]) -> list[str]:
    """Full names of the linear layers of the given parts, but the LM head: what LoRA adapts."""
    family = family_of(model.config)
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and family.part_of(name) in parts
    ]


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
