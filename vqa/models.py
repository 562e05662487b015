"""Loading a vision-language model and naming its parts.

Every supported family has the same three parts under names of its own: a vision tower, a connector
that maps its features into the language model, and the language model with its head.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from peft import PeftConfig, PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.integrations import is_deepspeed_zero3_enabled

from vqa.errors import UserError
from vqa.mini_llava import perceiver  # noqa: F401 - the Auto classes know the family from here on

ARCHITECTURES = Path(__file__).resolve().parent.parent / "configs/architectures"
PARTS = ("vision", "connector", "llm")


@dataclass(frozen=True)
class Family:
    """Where a family keeps its parts: prefixes of parameter names below `model.`; the rest is the LLM.

    Attributes:
        mrope: an image takes fewer positions than it has tokens.
        shares_rows: a mask made here can let several questions follow one image (vqa/branches.py).
    """

    vision: tuple[str, ...]
    connector: tuple[str, ...]
    mrope: bool = False
    shares_rows: bool = True

    def part_of(self, name: str) -> str:
        """The part (`vision`, `connector` or `llm`) that a parameter or module belongs to."""
        name = name.removeprefix("base_model.model.").removeprefix("model.") + "."
        if name.startswith(tuple(prefix + "." for prefix in self.connector)):
            return "connector"
        if name.startswith(tuple(prefix + "." for prefix in self.vision)):
            return "vision"
        return "llm"


_LLAVA = Family(vision=("vision_tower",), connector=("multi_modal_projector", "image_newline"))
_IDEFICS = Family(vision=("vision_model",), connector=("connector",))
_QWEN = Family(vision=("visual",), connector=("visual.merger", "visual.deepstack_merger_list"), mrope=True)
# The tokens of an image see each other in both directions, and most layers no more than a window of tokens.
_GEMMA = Family(vision=("vision_tower",), connector=("multi_modal_projector",), shares_rows=False)
FAMILIES = {
    "llava": _LLAVA,
    "llava_perceiver": _LLAVA,
    "llava_next": _LLAVA,
    "llava_onevision": _LLAVA,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "gemma3": _GEMMA,
}


def family_of(config: Any) -> Family:
    """The family of a model's config.

    Raises:
        UserError: a model type whose parts are not known here.
    """
    if config.model_type not in FAMILIES:
        raise UserError(
            f"model type '{config.model_type}' is not supported; supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[config.model_type]


def resolve_model_path(name_or_path: str) -> str:
    """The name as given, after checking that what looks like a folder is a complete checkpoint.

    Raises:
        UserError: a missing folder, a folder without a config, or the base model without its tower.
    """
    path = Path(name_or_path)
    if not path.exists():
        if name_or_path.startswith((".", "/")) or name_or_path.count("/") != 1:
            raise UserError(f"{name_or_path}: no such model folder")
        return name_or_path
    if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
        raise UserError(f"{path}: no config.json there, so this is not a model folder")
    if (path / "model.safetensors.index.json").is_file():
        shards = set(json.loads((path / "model.safetensors.index.json").read_text())["weight_map"].values())
        missing = sorted(shard for shard in shards if not (path / shard).is_file())
        if missing:
            raise UserError(f"{path}: {missing[0]} is missing; run `make offline-weights`")
    return name_or_path


def load_config(name_or_path: str, trust_remote_code: bool = False) -> Any:
    """The model's config; of an adapter folder, the config of its base model."""
    resolve_model_path(name_or_path)
    if (Path(name_or_path) / "adapter_config.json").is_file():
        name_or_path = PeftConfig.from_pretrained(name_or_path).base_model_name_or_path
    try:
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name_or_path}: cannot load the model's config: {str(error).splitlines()[0]}"
        ) from error


def load_processor(name_or_path: str, trust_remote_code: bool = False) -> ProcessorMixin:
    """Tokenizer, chat template and image processor of a checkpoint.

    Raises:
        UserError: there is none, or it has no chat template.
    """
    resolve_model_path(name_or_path)
    try:
        processor = AutoProcessor.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise UserError(f"{name_or_path}: cannot load the processor: {str(error).splitlines()[0]}") from error
    if not isinstance(processor, ProcessorMixin) or processor.chat_template is None:
        raise UserError(
            f"{name_or_path}: no processor with a chat template there: not a chat vision-language model"
        )
    return processor


def set_image_size(model: nn.Module, processor: ProcessorMixin, pixels: int) -> None:
    """Let a processor resize images to `pixels` a side: more for small print, fewer for speed.

    The processor keeps it when it is saved. DINOv2 interpolates its positions to any size.

    Raises:
        UserError: the tower takes images of one size, or the size is no multiple of its patches.
    """
    config = model.config.vision_config
    if not config.model_type.startswith("dinov2"):
        raise UserError(
            f"--image_size serves DINOv2 towers, not {config.model_type}; the Qwen families take "
            "--min_pixels and --max_pixels"
        )
    if pixels < 1 or pixels % config.patch_size:
        raise UserError(f"--image_size {pixels}: a multiple of the tower's patches of {config.patch_size}")
    processor.image_processor.size = {"height": pixels, "width": pixels}


def load_model(
    name_or_path: str,
    *,
    dtype: torch.dtype | str = "auto",
    attn_implementation: str = "sdpa",
    load_in_4bit: bool = False,
    trust_remote_code: bool = False,
    device_map: Any = None,
    trainable_adapter: bool = False,
) -> PreTrainedModel:
    """An image-text-to-text model from safetensors; of an adapter folder, its base with the adapter on top.

    Args:
        dtype: `auto` takes the checkpoint's on CUDA and float32 elsewhere.
        attn_implementation: `flex_attention` is for the language model alone, the tower keeps SDPA.
        load_in_4bit: NF4 with double quantisation (QLoRA, Dettmers et al. 2023, arXiv:2305.14314); the
            vision tower and connector stay as they are.
        trainable_adapter: an adapter's weights are to be trained on.

    Raises:
        UserError: missing files, or a checkpoint that is not of a supported kind.
    """
    flex = attn_implementation == "flex_attention"
    if flex and not torch.cuda.is_available():
        raise UserError(
            "--attn_implementation flex_attention: it trains on GPUs only, and this machine has none"
        )
    config = load_config(name_or_path, trust_remote_code)
    family = family_of(config)
    if dtype == "auto" and not torch.cuda.is_available():
        dtype = torch.float32
    quantization = None
    if load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            llm_int8_skip_modules=["lm_head", *family.vision, *family.connector],
        )
    base, adapter = name_or_path, None
    if (Path(name_or_path) / "adapter_config.json").is_file():
        base, adapter = PeftConfig.from_pretrained(name_or_path).base_model_name_or_path, name_or_path
        resolve_model_path(base)
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            base,
            dtype=dtype,
            attn_implementation="sdpa" if flex else attn_implementation,
            quantization_config=quantization,
            trust_remote_code=trust_remote_code,
            device_map=device_map,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{base}: cannot load the model: {str(error).splitlines()[0]}") from error
    if flex:
        # Families that could take it do not all declare it (Qwen2-VL); training checks it on a real batch.
        model.config.get_text_config()._attn_implementation = attn_implementation
    # FSDP wraps these classes and stops at one that the model lacks (LLaVA over CLIP names CLIP's text side).
    present = {type(module).__name__ for module in model.modules()}
    model._no_split_modules = [name for name in model._no_split_modules or [] if name in present]
    if adapter is None:
        return model
    return PeftModel.from_pretrained(model, adapter, is_trainable=trainable_adapter)


def shipped_config(name_or_path: str) -> str:
    """The folder that holds a model's config here, or the name itself.

    The configs of the models that shipped recipes name lie in `configs/architectures`, so that these recipes
    can be checked where no hub is in reach.
    """
    known = ARCHITECTURES / name_or_path
    return str(known) if known.is_dir() else name_or_path


def build_on_meta(name_or_path: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """The architecture without weights (meta device): what a dry run needs to count parameters."""
    config = load_config(shipped_config(name_or_path), trust_remote_code)
    family_of(config)
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    model.tie_weights()  # which making weights on the meta device undoes
    return model


def inner_model(model: nn.Module) -> nn.Module:
    """The module that holds the parts (`LlavaModel`, `Qwen2VLModel`, ...), below heads and adapters."""
    model = model.get_base_model() if isinstance(model, PeftModel) else model
    return model.model


def count_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """Parameters by part: `{part: {"total": n, "trainable": m}}`; 4-bit weights count as what they encode."""
    family = family_of(model.config)
    counts = {part: {"total": 0, "trainable": 0} for part in PARTS}
    for name, parameter in model.named_parameters():
        quantized = parameter.__class__.__name__ == "Params4bit"
        # ZeRO-3 leaves an empty tensor on each rank and notes the whole size.
        numel = parameter.ds_numel if is_deepspeed_zero3_enabled() else parameter.numel()
        numel = numel * 2 if quantized else numel
        part = counts[family.part_of(name)]
        part["total"] += numel
        part["trainable"] += numel if parameter.requires_grad else 0
    return counts


def freeze(model: nn.Module, parts: list[str]) -> None:
    """Turn off gradients of the named parts (`vision`, `connector`, `llm`), adapters excepted.

    Raises:
        UserError: a name that is no part.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise UserError(f"--freeze {unknown[0]}: choose from {', '.join(PARTS)}")
    family = family_of(model.config)
    for name, parameter in model.named_parameters():
        if family.part_of(name) in parts and "lora_" not in name:
            parameter.requires_grad_(False)


def load_weights(model: PreTrainedModel, checkpoint: str | Path) -> None:
    """Copy a checkpoint's weights into a model that exists, every one of them.

    Raises:
        UserError: the checkpoint lacks a weight of the model, or has one too many.
    """
    loaded, info = type(model).from_pretrained(
        checkpoint, dtype=model.dtype, use_safetensors=True, output_loading_info=True
    )
    wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    if wrong:
        raise UserError(f"{checkpoint}: does not fit the model: {wrong[0]}")
    model.load_state_dict(loaded.state_dict())


def load_with_unsloth(name_or_path: str, load_in_4bit: bool) -> tuple[nn.Module, ProcessorMixin]:
    """Model and processor through unsloth's `FastVisionModel`.

    Raises:
        UserError: unsloth is not installed, or the machine has no GPU, which it needs.
    """
    if importlib.util.find_spec("unsloth") is None:
        raise UserError(
            "--backend unsloth: unsloth is not installed; `pip install -r requirements-unsloth.lock`"
        )
    if not torch.cuda.is_available():
        raise UserError("--backend unsloth: unsloth needs a GPU, and this machine has none")
    from unsloth import FastVisionModel

    return FastVisionModel.from_pretrained(name_or_path, load_in_4bit=load_in_4bit)
