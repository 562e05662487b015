"""A LLaVA (Liu et al. 2023, arXiv:2304.08485) put together from a vision tower and any causal language model.

Nothing of the language model changes: its weights, its tokenizer, its chat template's text, its number of
embeddings. New is the connector alone, which starts so that images look to the language model like words.
"""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import (
    AutoModelForImageTextToText,
    BaseImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from vqa.cli import option
from vqa.errors import UserError
from vqa.mini_llava.chat import multimodal_template, reserve_image_token
from vqa.mini_llava.parts import TOWERS, load_llm, load_text_config, load_tower, load_vision_config
from vqa.mini_llava.perceiver import LlavaPerceiverConfig, LlavaPerceiverProcessor
from vqa.mini_llava.start import check_language_model, check_same_logits, generation_config, start_connector

CONNECTORS = ("mlp", "perceiver")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TILINGS = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))  # rows and columns; LLaVA-NeXT's


@dataclass
class PartArguments:
    """The parts of a model that is put together, and how they are joined."""

    llm_name: str | None = option(
        None, "put a LLaVA together: hub name, folder or GGUF file of its causal language model"
    )
    vision_name: str = option("dinov2-small", "hub name or folder of a CLIP, SigLIP, SigLIP2 or DINOv2 tower")
    connector: str = option("mlp", "mlp, or perceiver: a resampler with a fixed number of tokens an image")
    num_latents: int = option(64, "perceiver: tokens an image")
    num_perceiver_layers: int = option(2, "perceiver: its depth")
    vision_feature_layer: list[int] = option(
        [], "tower's layers for the connector, several side by side; default: -2, of DINOv2 -1"
    )
    tiling: bool = option(
        False, "LLaVA-NeXT: an image also in two to four tiles of the tower's size, for documents; with mlp"
    )
    image_token: str | None = option(
        None, "token of the language model to stand for images; default: found in its vocabulary"
    )


@dataclass
class MiniLlavaArguments(PartArguments):
    """Parts, and what a training script has among its own arguments."""

    llm_name: str = option("smollm2-135m", "hub name, folder or GGUF file of a causal language model")
    image_size: int | None = option(
        None, "DINOv2: pixels a side that images are resized to; default 224. Others have their own"
    )
    dtype: str = option("float32", "of the weights: float32, bfloat16 or float16")
    seed: int = option(0, "of the connector's first weights")


def check_arguments(args: MiniLlavaArguments) -> None:
    """Refuse values that no model can be built with."""
    if args.connector not in CONNECTORS:
        raise UserError(f"--connector {args.connector}: choose from {', '.join(CONNECTORS)}")
    if args.dtype not in DTYPES:
        raise UserError(f"--dtype {args.dtype}: choose from {', '.join(DTYPES)}")
    if args.tiling and args.connector != "mlp":
        raise UserError(f"--tiling goes with --connector mlp, not {args.connector}")
    for name in ("num_latents", "num_perceiver_layers"):
        if vars(args)[name] < 1:
            raise UserError(f"--{name} {vars(args)[name]}: 1 or more")


def image_side(args: MiniLlavaArguments, vision: Any) -> int:
    """Pixels a side of the images that the tower is to see.

    Raises:
        UserError: `--image_size` is not to be had from this tower.
    """
    if not TOWERS[vision.model_type].any_size:
        if args.image_size not in (None, vision.image_size):
            raise UserError(f"--image_size {args.image_size}: this tower takes images of {vision.image_size}")
        return vision.image_size
    side = 224 if args.image_size is None else args.image_size
    if side < 1 or side % vision.patch_size:
        raise UserError(f"--image_size {side}: a multiple of the tower's patches of {vision.patch_size}")
    if args.tiling and side != vision.image_size:
        raise UserError(f"--tiling: this tower's tiles take --image_size {vision.image_size}")
    return side


def build_config(args: MiniLlavaArguments, vision: Any, text: Any, image_token_id: int) -> LlavaConfig:
    """The composed model's config, from those of tower and language model.

    Raises:
        UserError: the tower has no such layer.
    """
    kind = TOWERS[vision.model_type]
    layers = args.vision_feature_layer or [kind.layer]
    for layer in layers:
        if not -vision.num_hidden_layers <= layer + 1 <= vision.num_hidden_layers + 1:
            raise UserError(f"--vision_feature_layer {layer}: the tower has {vision.num_hidden_layers}")
    side = image_side(args, vision)
    tokens = (side // vision.patch_size) ** 2
    common = {
        "vision_config": vision,
        "text_config": text,
        "image_token_index": image_token_id,
        "vision_feature_layer": layers[0] if len(layers) == 1 else layers,
        "vision_feature_select_strategy": "default" if kind.class_token else "full",
        "tie_word_embeddings": text.tie_word_embeddings,
        "dtype": DTYPES[args.dtype],
    }
    vision.name_or_path = text.name_or_path = ""  # folders of this machine
    if args.tiling:
        grids = [[rows * side, columns * side] for rows, columns in TILINGS]
        return LlavaNextConfig(image_seq_length=tokens, image_grid_pinpoints=grids, **common)
    if args.connector == "mlp":
        return LlavaConfig(image_seq_length=tokens, **common)
    return LlavaPerceiverConfig(
        image_seq_length=args.num_latents,
        num_latents=args.num_latents,
        num_perceiver_layers=args.num_perceiver_layers,
        **common,
    )


def build_processor(
    args: MiniLlavaArguments,
    config: LlavaConfig,
    image_processor: BaseImageProcessor,
    tokenizer: PreTrainedTokenizerBase,
    image_token: str,
) -> LlavaProcessor:
    """The tower's image processor beside the language model's tokenizer, with its template made multimodal.

    Images are squashed to a square, not cropped: boxes in thousandths of width and height stay true. Tiles
    keep an image's shape.
    """
    side = image_side(args, config.vision_config)
    image_processor.size = {"height": side, "width": side}
    image_processor.crop_size = {"height": side, "width": side}  # vLLM counts tokens by it
    image_processor.do_center_crop = False
    tokenizer.chat_template = multimodal_template(tokenizer, image_token)
    parts = {
        "image_processor": image_processor,
        "tokenizer": tokenizer,
        "patch_size": config.vision_config.patch_size,
        "num_additional_image_tokens": int(config.vision_feature_select_strategy == "default"),
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
        "chat_template": tokenizer.chat_template,
        "image_token": image_token,
    }
    if args.tiling:
        parts["image_processor"] = LlavaNextImageProcessor(
            size={"shortest_edge": side},
            crop_size=image_processor.crop_size,
            image_grid_pinpoints=config.image_grid_pinpoints,
            image_mean=image_processor.image_mean,
            image_std=image_processor.image_std,
            resample=image_processor.resample,
        )
        return LlavaNextProcessor(**parts)
    if args.connector == "mlp":
        return LlavaProcessor(**parts)
    return LlavaPerceiverProcessor(num_latents=config.num_latents, **parts)


def build_architecture(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model without weights (meta device)."""
    with init_empty_weights():
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()  # which making weights on the meta device undoes
    return model


def build_mini_llava(args: MiniLlavaArguments) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The composed model and its processor.

    Raises:
        UserError: a part that cannot be had or does not fit; the message names its option.
    """
    check_arguments(args)
    vision, text = load_vision_config(args.vision_name), load_text_config(args.llm_name)
    image_side(args, vision)
    check_language_model(args.llm_name, text)
    llm, tokenizer = load_llm(args.llm_name, DTYPES[args.dtype])
    image_token = reserve_image_token(tokenizer, llm.get_input_embeddings().num_embeddings, args.image_token)
    config = build_config(args, vision, text, tokenizer.convert_tokens_to_ids(image_token))
    tower, image_processor = load_tower(args.vision_name, vision, DTYPES[args.dtype])
    processor = build_processor(args, config, image_processor, tokenizer, image_token)
    model = build_architecture(config)
    inner = model.model
    inner.vision_tower, inner.language_model = tower, llm.base_model
    model.lm_head = llm.get_output_embeddings()
    torch.manual_seed(args.seed)
    inner.multi_modal_projector = type(inner.multi_modal_projector)(config).to(tower.dtype)
    model.eval()
    check_same_logits(args.llm_name, llm, model)
    start_connector(model, processor)
    model.generation_config = generation_config(llm, processor)
    return model, processor


def plan_mini_llava(args: MiniLlavaArguments) -> LlavaForConditionalGeneration:
    """The model without weights, from configs that lie here: what a dry run needs to count parameters.

    Raises:
        UserError: as `build_mini_llava`.
    """
    check_arguments(args)
    vision, text = load_vision_config(args.vision_name), load_text_config(args.llm_name, shipped=True)
    check_language_model(args.llm_name, text)
    return build_architecture(build_config(args, vision, text, image_token_id=0))
