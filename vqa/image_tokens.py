"""How many tokens an image of a size becomes: the arithmetic of the families' own processors."""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:  # else whatever counts tokens without a model would wait for torch
    from vqa.encoding import PromptEncoder

Counter = Callable[[int, int], int]


def qwen_tokens(patch_size: int, min_pixels: int | None, max_pixels: int | None) -> Counter:
    """(width, height) -> tokens of Qwen-VL: a grid of merged 2x2 patches, with a token before and after.

    Sizes are those of qwen-vl-utils' `smart_resize`, which training here uses: both sides to the nearest
    multiple of a merged patch, or, beyond a limit of the area, scaled to it first. Its default limits are
    4 and 16,384 tokens. Raises ValueError for sides of more than 200 : 1.
    """
    unit = 2 * patch_size
    most = max_pixels or 16_384 * unit**2
    least = min_pixels or min(4 * unit**2, most)

    def count(width: int, height: int) -> int:
        sides = (height, width)
        if max(sides) / min(sides) > 200:
            raise ValueError(f"sides of {width} and {height} pixels")
        rows, columns = (max(1, round(side / unit)) for side in sides)
        if rows * columns * unit**2 > most:
            scale = math.sqrt(height * width / most)
            rows, columns = (math.floor(side / scale / unit) for side in sides)
        elif rows * columns * unit**2 < least:
            scale = math.sqrt(least / (height * width))
            rows, columns = (math.ceil(side * scale / unit) for side in sides)
        return rows * columns + 2

    return count


def idefics_tokens(longest_edge: int, tile: int, tokens_per_tile: int) -> Counter:
    """(width, height) -> tokens of Idefics3 and SmolVLM: a grid of tiles and the whole image once more.

    The sides are those of transformers' `Idefics3ImageProcessor`: the longer one becomes `longest_edge`, the
    shorter an even number; one tile alone is not cut out. Around each tile stand two tokens (its place, and a
    separator), at the end of a row one, around the whole image three.
    """

    def count(width: int, height: int) -> int:
        shorter = int(longest_edge / (max(width, height) / min(width, height)))
        across, along = math.ceil(max(1, shorter + shorter % 2) / tile), math.ceil(longest_edge / tile)
        rows, columns = (across, along) if width >= height else (along, across)
        if rows * columns == 1:
            rows = 0
        return rows * (columns * (tokens_per_tile + 2) + 1) + tokens_per_tile + 3

    return count


def image_token_counter(encoder: "PromptEncoder") -> Counter:
    """(width, height) -> tokens of an image, with those around it, as one model's processor makes them.

    Families without a rule here process a blank image of each new size.
    """
    processor, image_processor = encoder.processor, encoder.processor.image_processor
    kind = type(processor).__name__
    if encoder.is_qwen:
        limits = encoder.pixel_limits
        return cache(
            qwen_tokens(image_processor.patch_size, limits.get("min_pixels"), limits.get("max_pixels"))
        )
    if kind in ("Idefics3Processor", "SmolVLMProcessor") and image_processor.do_image_splitting:
        edges = image_processor.size["longest_edge"], image_processor.max_image_size["longest_edge"]
        return cache(idefics_tokens(*edges, processor.image_seq_len))
    if kind in ("LlavaProcessor", "LlavaPerceiverProcessor", "Gemma3Processor"):  # one size for all
        blank = cache(lambda: _processed(encoder, 64, 64))
        return lambda width, height: blank()
    return cache(lambda width, height: _processed(encoder, width, height))


def _processed(encoder: "PromptEncoder", width: int, height: int) -> int:
    text, image = encoder.processor.image_token, Image.new("RGB", (width, height))
    ids = encoder.processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=False)
    return ids["input_ids"].shape[1]
