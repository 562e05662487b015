"""How many tokens images and texts take, by model family, and which records `max_length` would cut.

Without a model the images are counted by the arithmetic of the families' own processors, at the settings of
the released checkpoints, and the text is estimated from its bytes; with a model both are its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from vqa.image_tokens import Counter, idefics_tokens, qwen_tokens
from vqa.preparation.suspicions import Suspicion, suspicion
from vqa.prompts import SYSTEM_LINES, build_answer, question_text
from vqa.record_checks import Record

if TYPE_CHECKING:  # else every `validate` would wait for torch
    from vqa.encoding import PromptEncoder

# Bytes of UTF-8 to a token, on the careful side: English text takes 4 and more, Vietnamese about 3.
BYTES_PER_TOKEN = 3
# Roles and separators of a chat template.
TEMPLATE_TOKENS = 20


@dataclass(frozen=True)
class Length:
    """Tokens of one record: its images with the tokens around them, its prompt's text, its answer."""

    images: int
    question: int
    answer: int

    @property
    def total(self) -> int:
        return self.images + self.question + self.answer


def families(min_pixels: int | None = None, max_pixels: int | None = None) -> dict[str, Counter]:
    """Model family -> (width, height) -> tokens of an image, at the released checkpoints' settings.

    Args:
        min_pixels, max_pixels: limits of the Qwen families; default: qwen-vl-utils', 4 and 16,384 tokens.
    """
    counters = {
        "qwen2_vl": qwen_tokens(14, min_pixels, max_pixels),
        "qwen2_5_vl": qwen_tokens(14, min_pixels, max_pixels),
        "qwen3_vl": qwen_tokens(16, min_pixels, max_pixels),
        "idefics3": idefics_tokens(4 * 364, 364, 169),
        "smolvlm (2.2B)": idefics_tokens(4 * 384, 384, 81),
        "smolvlm (256M, 500M)": idefics_tokens(4 * 512, 512, 64),
        "llava (1.5)": lambda width, height: (336 // 14) ** 2,
    }
    return {family: cache(counter) for family, counter in counters.items()}


def estimate_lengths(
    records: Sequence[Record], style: str, min_pixels: int | None = None, max_pixels: int | None = None
) -> dict[str, list[Length | None]]:
    """Family -> length of each record: images counted, texts estimated. None: the family refuses an image."""
    texts = []
    for record in records:
        prompt = f"{SYSTEM_LINES[style]}\n{question_text(record, style)}"
        texts.append((_estimate(prompt) + TEMPLATE_TOKENS, _estimate(build_answer(record, style)) + 1))
    lengths: dict[str, list[Length | None]] = {}
    for family, count in families(min_pixels, max_pixels).items():
        lengths[family] = []
        for record, (question, answer) in zip(records, texts, strict=True):
            try:
                images = sum(count(*size) for size in record["image_sizes"])
                lengths[family].append(Length(images, question, answer))
            except ValueError:
                lengths[family].append(None)
    return lengths


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def measure_lengths(records: Sequence[Record], style: str, encoder: "PromptEncoder") -> list[Length]:
    """Lengths by a model's own tokenizer and processor; each size of image is processed once."""
    of_sizes: dict[tuple, int] = {}
    lengths = []
    for record in tqdm(records, desc="Counting tokens", unit=" records", delay=2, disable=None):
        text = len(encoder.encode([{**record, "images": []}], style)[0].input_ids)
        sizes = tuple(map(tuple, record["image_sizes"]))
        if sizes not in of_sizes:
            of_sizes[sizes] = len(encoder.encode([record], style)[0].input_ids) - text
        lengths.append(Length(of_sizes[sizes], text, len(encoder.answer_ids(build_answer(record, style)))))
    return lengths


def check_lengths(
    records: Sequence[Record], lengths: dict[str, list[Length | None]], max_length: int | None
) -> Iterator[Suspicion]:
    """Records of more than `max_length` tokens, whose answer would be cut; images that a family refuses."""
    for index, record in enumerate(records):
        reasons, tokens = [], {}
        for family, counted in lengths.items():
            length = counted[index]
            if length is None:
                reasons.append(f"{family}: refuses an image whose sides are more than 200 : 1")
            elif max_length is not None and length.total > max_length:
                tokens[family] = length.total
                parts = f"{length.images} image + {length.question} question + {length.answer} answer"
                cut = "part" if length.total - length.answer < max_length else "all"
                reasons.append(f"{family}: {length.total} tokens ({parts}) would lose {cut} of the answer")
        if reasons:
            yield suspicion(record, "max_length", "; ".join(reasons), tokens=tokens)


def length_table(lengths: dict[str, list[Length | None]], max_length: int | None) -> list[str]:
    """Lines with least, median and greatest number of tokens by family."""
    head = f"{'tokens':<24}{'image: min':>12}{'median':>9}{'max':>9}{'row: median':>14}{'max':>9}"
    lines = [head + (f"{f'over {max_length}':>12}" if max_length is not None else "")]
    for family, counted in lengths.items():
        known = [length for length in counted if length is not None]
        if not known:
            continue
        images, totals = [length.images for length in known], [length.total for length in known]
        line = f"{family:<24}{min(images):>12,}{median(images):>9,.0f}{max(images):>9,}"
        line += f"{median(totals):>14,.0f}{max(totals):>9,}"
        if max_length is not None:
            line += f"{sum(total > max_length for total in totals):>12,}"
        lines.append(line)
    return lines
