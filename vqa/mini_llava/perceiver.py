"""LLaVA with a Perceiver resampler for a connector: every image becomes the same small number of tokens.

Learnt latents look at the patches by cross-attention (Perceiver, Jaegle et al. 2021, arXiv:2103.03206; as a
resampler of image features: Flamingo, Alayrac et al. 2022, arXiv:2204.14198). Model, config and processor are
transformers' LLaVA but for that one module, and register here, so that the Auto classes know them once
`vqa.models` is imported.
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.processing_utils import MultiModalData


class LlavaPerceiverConfig(LlavaConfig):
    """`LlavaConfig`, and the resampler's sizes; it is as wide as the tower and has as many heads."""

    model_type = "llava_perceiver"

    num_latents: int = 64
    num_perceiver_layers: int = 2


class PerceiverLayer(nn.Module):
    """Latents attend to patches and latents, then pass an MLP; norms in front, residuals around."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.latents_norm, self.patches_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, latents: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """(images, latents, width) and (images, patches, width) -> (images, latents, width)."""
        queries = self.latents_norm(latents)
        seen = torch.cat([self.patches_norm(patches), queries], dim=1)
        attended = scaled_dot_product_attention(
            *(self._by_head(part) for part in (self.query(queries), self.key(seen), self.value(seen)))
        )
        latents = latents + self.output(attended.transpose(1, 2).flatten(2))
        return latents + self.mlp(self.mlp_norm(latents))

    def _by_head(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PerceiverResampler(nn.Module):
    """Patches -> a fixed number of tokens. Its first and last layer have the names of the MLP's."""

    def __init__(self, config: LlavaPerceiverConfig) -> None:
        super().__init__()
        tower, layers = config.vision_config, config.vision_feature_layer
        width, taken = tower.hidden_size, 1 if isinstance(layers, int) else len(layers)
        self.linear_1 = nn.Linear(width * taken, width)
        self.latents = nn.Parameter(torch.randn(config.num_latents, width))
        self.layers = nn.ModuleList(
            PerceiverLayer(width, tower.num_attention_heads) for _ in range(config.num_perceiver_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.linear_2 = nn.Linear(width, config.text_config.hidden_size)

    def forward(self, image_features: torch.Tensor) -> torch.Tensor:
        """(images, patches, tower's width) -> (images, latents, language model's width)."""
        patches = self.linear_1(image_features)
        latents = self.latents.expand(len(patches), -1, -1)
        for layer in self.layers:
            latents = layer(latents, patches)
        return self.linear_2(self.norm(latents))


class LlavaPerceiverForConditionalGeneration(LlavaForConditionalGeneration):
    """`LlavaForConditionalGeneration` with the resampler in place of the MLP."""

    config: LlavaPerceiverConfig

    def __init__(self, config: LlavaPerceiverConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = PerceiverResampler(config)


class LlavaPerceiverProcessor(LlavaProcessor):
    """`LlavaProcessor` that puts `num_latents` placeholders in an image's place, whatever its size."""

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        patch_size=None,
        vision_feature_select_strategy=None,
        chat_template=None,
        image_token="<image>",
        num_additional_image_tokens=0,
        num_latents=64,
        **kwargs,
    ):
        self.num_latents = num_latents
        super().__init__(
            image_processor,
            tokenizer,
            patch_size,
            vision_feature_select_strategy,
            chat_template,
            image_token,
            num_additional_image_tokens,
            **kwargs,
        )

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        """The text that one placeholder becomes."""
        return self.image_token * self.num_latents

    def _get_num_multimodal_tokens(self, image_sizes=None, **kwargs) -> MultiModalData:
        if image_sizes is None:
            return MultiModalData()
        return MultiModalData(
            num_image_tokens=[self.num_latents] * len(image_sizes), num_image_patches=[1] * len(image_sizes)
        )


AutoConfig.register(LlavaPerceiverConfig.model_type, LlavaPerceiverConfig)
AutoModelForImageTextToText.register(LlavaPerceiverConfig, LlavaPerceiverForConditionalGeneration)
AutoProcessor.register(LlavaPerceiverConfig, LlavaPerceiverProcessor)
