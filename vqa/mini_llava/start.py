"""What a composed model starts from: the connector's first weights, proof that the language model fits."""

from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoModelForCausalLM,
    GenerationConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
)

from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.synthesis.shapes import generate_scene

PICTURES = 32  # that show what the tower's features are like
WORDS = 4096  # that show what the language model's embedded words are like


def check_language_model(name: str, config: Any) -> None:
    """Whether a language model is built as LLaVA takes it.

    Raises:
        UserError: it is another class than LLaVA would load, its head has a bias, or its head is tied to
            embeddings that LLaVA would not find.
    """
    with init_empty_weights():
        llm = AutoModelForCausalLM.from_config(config)
    head = llm.get_output_embeddings()
    embeddings = dict(llm.base_model.named_children()).get("embed_tokens")
    if (
        type(llm.base_model) is not MODEL_MAPPING[type(config)]
        or not isinstance(head, nn.Linear)
        or head.bias is not None
        or (config.tie_word_embeddings and embeddings is None)
    ):
        raise UserError(
            f"--llm_name {name}: {type(llm).__name__} is not built as LLaVA takes language models: one head "
            "without a bias, and `embed_tokens` where that is tied"
        )


@torch.no_grad()
def check_same_logits(name: str, llm: PreTrainedModel, model: LlavaForConditionalGeneration) -> None:
    """Without an image the model must say what its language model says.

    Raises:
        UserError: the logits of some token ids differ, so the language model scales or caps them on top of
            its head, or scales embeddings outside of their module.
    """
    words = llm.get_input_embeddings().num_embeddings
    ids = torch.linspace(0, words - 1, 16).long()[None]
    expected, got = llm(ids, use_cache=False).logits, model(input_ids=ids, use_cache=False).logits
    if not torch.allclose(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item()):
        raise UserError(
            f"--llm_name {name}: {type(llm).__name__} scales or caps its logits in a way that LLaVA does not"
        )


@torch.no_grad()
def start_connector(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> None:
    """Give the connector its first weights, fit for the features before it and the words behind it.

    Every layer keeps the variance of what comes in (LeCun et al. 1998, "Efficient BackProp"). The first sees
    features of mean 0 and variance 1, over drawn pictures: a tower's layers differ by orders of magnitude.
    The last gives vectors with the root mean square of embedded words, as they leave the embedding module
    (Gemma's multiplies by the square root of its width).
    """
    pictures = [generate_scene(0, index)[0] for index in range(PICTURES)]
    pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"].to(model.dtype)
    inner = model.model
    features = _features(inner, pixels if pixels.ndim == 4 else pixels[:, 0])
    embeddings = inner.get_input_embeddings()
    words = embeddings(torch.linspace(0, embeddings.num_embeddings - 1, WORDS).long()).float()

    connector = inner.multi_modal_projector.float()
    for module in connector.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    spread, mean = features.flatten(0, 1).std(0), features.flatten(0, 1).mean(0)
    connector.linear_1.weight /= spread.clamp(min=spread.mean() / 100)
    connector.linear_1.bias -= connector.linear_1.weight @ mean
    connector.linear_2.weight *= _rms(words) / _rms(connector(features))
    connector.to(model.dtype)
    if model.config.model_type == "llava_next":  # what stands at the end of each row of patches
        newline = _rms(words) * torch.randn(words.shape[-1])
        inner.image_newline = nn.Parameter(newline.to(model.dtype))


def _features(inner: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """What enters the connector for whole images, float32: (images, patches, width)."""
    layers = inner.config.vision_feature_layer
    hidden = inner.vision_tower(pixels, output_hidden_states=True).hidden_states
    features = torch.cat([hidden[layer] for layer in ([layers] if isinstance(layers, int) else layers)], -1)
    if inner.config.vision_feature_select_strategy == "default":
        features = features[:, 1:]  # without the class token
    return features.float()


def _rms(values: torch.Tensor) -> torch.Tensor:
    return values.square().mean().sqrt()


def generation_config(llm: PreTrainedModel, processor: LlavaProcessor) -> GenerationConfig:
    """Greedy decoding that ends at the language model's own end tokens and at that of its chat template."""
    encoder = PromptEncoder(processor)
    ends = llm.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return GenerationConfig(
        do_sample=False,
        bos_token_id=llm.generation_config.bos_token_id,
        eos_token_id=sorted({*ends, encoder.end_token_id, encoder.tokenizer.eos_token_id} - {None}),
        pad_token_id=encoder.pad_token_id,
    )
