"""The pieces of a composed model: a tower with its image processor, a language model with its tokenizer.

Each has a name of the hub, a folder, or a name of its own for the weights that packages bring
(`dinov2-small`, `smollm2-135m`; for a language model also a GGUF file, here or on the hub).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BaseImageProcessor,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from vqa.documents.packaged_llm import is_packaged, packaged_llm
from vqa.errors import UserError
from vqa.models import load_config, load_model, load_processor, resolve_model_path, shipped_config

PACKAGED_TOWER, PACKAGED_LLM = "dinov2-small", "smollm2-135m"
PACKAGED_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the hub's name of the packaged language model
TINY_BASE = str(Path(__file__).resolve().parents[2] / "models/tiny-vqa-base")  # holds the packaged tower


@dataclass(frozen=True)
class TowerKind:
    """How LLaVA takes the features of a tower.

    Attributes:
        layer: whose output goes into the connector, by LLaVA's convention.
        class_token: whether the tower has one, which is left out.
        any_size: whether it interpolates its positions to images of any size.
    """

    layer: int
    class_token: bool
    any_size: bool = False


TOWERS = {
    "clip_vision_model": TowerKind(layer=-2, class_token=True),
    "siglip_vision_model": TowerKind(layer=-2, class_token=False),  # SigLIP2 of a fixed size, too
    "dinov2": TowerKind(layer=-1, class_token=True, any_size=True),
}


def load_vision_config(name: str) -> Any:
    """The config of a tower; of a model with a text side, its vision part.

    Raises:
        UserError: there is none, or it is of no kind in `TOWERS`.
    """
    config = load_config(TINY_BASE if name == PACKAGED_TOWER else shipped_config(name))
    config = vars(config).get("vision_config", config)
    if config.model_type not in TOWERS:
        raise UserError(
            f"--vision_name {name}: a tower of type '{config.model_type}'; supported: {', '.join(TOWERS)} "
            "(SigLIP2 in its fixed-resolution form)"
        )
    return config


def load_tower(name: str, config: Any, dtype: torch.dtype) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """The tower with its weights, and its image processor.

    Raises:
        UserError: it cannot be loaded, or lacks weights.
    """
    if name == PACKAGED_TOWER:
        model = load_model(TINY_BASE, dtype=dtype)
        return model.model.vision_tower, load_processor(TINY_BASE).image_processor
    resolve_model_path(name)
    try:
        tower, info = AutoModel.from_pretrained(
            name, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(f"--vision_name {name}: cannot be loaded: {str(error).splitlines()[0]}") from error
    if info["missing_keys"]:
        raise UserError(f"--vision_name {name}: the weights lack {sorted(info['missing_keys'])[0]}")
    return tower, processor


def llm_source(name: str) -> dict[str, str]:
    """Where a language model lies, as arguments of `from_pretrained`.

    Raises:
        UserError: no such folder or file, or the packaged model is not installed.
    """
    if name == PACKAGED_LLM or is_packaged(name):
        return {"pretrained_model_name_or_path": str(packaged_llm())}
    if not name.endswith(".gguf"):
        return {"pretrained_model_name_or_path": resolve_model_path(name)}
    folder, _, file = name.rpartition("/")
    if not Path(name).is_file() and folder.count("/") != 1:
        raise UserError(f"--llm_name {name}: no such file")
    return {"pretrained_model_name_or_path": folder or ".", "gguf_file": file}


def load_text_config(name: str, shipped: bool = False) -> Any:
    """The config of a language model.

    Args:
        shipped: of a model on the hub take the config that lies here (`configs/architectures`).

    Raises:
        UserError: there is none, or it is not that of a causal language model alone.
    """
    if shipped:
        packaged = name == PACKAGED_LLM or is_packaged(name)
        name = shipped_config(PACKAGED_ON_HUB if packaged else name)
    source = llm_source(name)
    try:
        config = AutoConfig.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise UserError(f"--llm_name {name}: cannot be loaded: {str(error).splitlines()[0]}") from error
    kind = type(config)
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING or kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise UserError(f"--llm_name {name}: '{config.model_type}' is no language model for text alone")
    return config


def load_llm(name: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer; GGUF is unpacked to `dtype`.

    Raises:
        UserError: one of them cannot be loaded.
    """
    source = llm_source(name)
    unpacked = {"quantization_config": GgufConfig(dequantize=True)} if "gguf_file" in source else {}
    safe = {} if "gguf_file" in source else {"use_safetensors": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(**source, **unpacked, **safe, dtype=dtype)
        return model, AutoTokenizer.from_pretrained(**source)
    except (OSError, ValueError) as error:
        raise UserError(f"--llm_name {name}: cannot be loaded: {str(error).splitlines()[0]}") from error
