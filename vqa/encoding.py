"""Records become a model's prompts: token ids with the image placeholders expanded, and image tensors.

Prompt and answer are tokenised apart and joined, so that training sees exactly the tokens that
generation continues from, and the supervised ones are the answer's and its end token's, no more.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jinja2
import torch
from PIL import Image
from qwen_vl_utils import fetch_image
from transformers import ProcessorMixin

from vqa.errors import UserError
from vqa.feature_cache import FeatureCache
from vqa.images import DEFAULT_MAX_PIXELS, open_image
from vqa.prompts import build_prompt

IGNORED = -100
GEMMA_PROCESSOR = "Gemma3Processor"
QWEN_PROCESSORS = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")


@dataclass
class EncodedPrompt:
    """One record's prompt: token ids with the image placeholders expanded, and its images' tensors."""

    input_ids: list[int]
    image_inputs: dict[str, torch.Tensor]
    resized_sizes: list[tuple[int, int]]


class PromptEncoder:
    """Turns records into prompts, answers and padded batches for one model's processor.

    Args:
        processor: the model's processor, with a chat template.
        min_pixels, max_pixels: limits for the image as the model sees it, for families that resize by area.
        image_max_pixels: larger image files are refused (decompression bombs).
        feature_cache: vision features computed before; then `pixel_values` holds features.

    Attributes:
        open: an image by its path; another function may give images that lie in no file.
        image_token_id: the token whose embeddings become an image's features.
        token_types: the model's input that says which tokens those are; None where it asks for none.

    Raises:
        UserError: pixel limits for a family that has none, or a processor that cuts images into crops.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        image_max_pixels: int = DEFAULT_MAX_PIXELS,
        feature_cache: FeatureCache | None = None,
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.open: Callable[[str], Image.Image] = partial(open_image, max_pixels=image_max_pixels)
        self.feature_cache = feature_cache
        self.is_qwen = type(processor).__name__ in QWEN_PROCESSORS
        if not self.is_qwen and (min_pixels or max_pixels):
            raise UserError(
                "--min_pixels and --max_pixels serve the Qwen families; others take their processor's size"
            )
        self.is_gemma = type(processor).__name__ == GEMMA_PROCESSOR
        if self.is_gemma and processor.image_processor.do_pan_and_scan:
            raise UserError(
                "do_pan_and_scan: images cut into crops are not supported; set it to false in the model's "
                "preprocessor_config.json or processor_config.json"
            )
        # Gemma's `processor.image_token` stands in the text, and becomes a token before and one after these.
        self.image_token_id = self.tokenizer.image_token_id if self.is_gemma else processor.image_token_id
        self.token_types = (
            "mm_token_type_ids" if self.is_qwen else "token_type_ids" if self.is_gemma else None
        )
        self.pixel_limits = {
            name: limit for name, limit in (("min_pixels", min_pixels), ("max_pixels", max_pixels)) if limit
        }
        self.pad_token_id = self.tokenizer.pad_token_id
        if self.pad_token_id is None:
            self.pad_token_id = self.tokenizer.eos_token_id
        special = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        self._special_ids = set(self.tokenizer.convert_tokens_to_ids(special))
        self._special = re.compile("|".join(map(re.escape, [*special, processor.image_token])))
        self._system_role = self._template_takes_system_role()
        self.end_token_id = self._find_end_token()

    # Text

    def messages(self, record: dict[str, Any], style: str) -> list[dict[str, Any]]:
        """Chat messages that ask a record's question, as the model's chat template takes them."""
        messages = [
            {**message, "content": [self._as_plain_text(part) for part in message["content"]]}
            for message in build_prompt(record, style)
        ]
        if not self._system_role:
            system, user = messages
            messages = [{**user, "content": [*system["content"], *user["content"]]}]
        return messages

    def render(self, record: dict[str, Any], style: str) -> str:
        """The prompt's text by the model's chat template, open for the assistant's answer."""
        messages = self.messages(record, style)
        return self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def _as_plain_text(self, part: dict[str, Any]) -> dict[str, Any]:
        """A question may quote `<image>` or an end token; broken by a space, it is text and not a command."""
        if part["type"] != "text":
            return part
        return {
            **part,
            "text": self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", part["text"]),
        }

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer and its end token; a special token's name in the answer is plain text."""
        plain = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [*plain, self.end_token_id]

    def _template_takes_system_role(self) -> bool:
        messages = [
            {"role": "system", "content": [{"type": "text", "text": "a-system-line"}]},
            {"role": "user", "content": [{"type": "text", "text": "a-question"}]},
        ]
        try:
            text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError:
            return False
        return "a-system-line" in text

    def _find_end_token(self) -> int:
        """The special token the chat template puts after an assistant's turn, else the tokenizer's eos."""
        user = {"role": "user", "content": [{"type": "text", "text": "a-question"}]}
        assistant = {"role": "assistant", "content": [{"type": "text", "text": "an-answer"}]}
        text = self.processor.apply_chat_template([user, assistant], tokenize=False)
        after = self.tokenizer(text.rpartition("an-answer")[2].strip(), add_special_tokens=False)["input_ids"]
        if after and after[0] in self._special_ids:
            return after[0]
        return self.tokenizer.eos_token_id

    # Images

    def load_image(self, path: str) -> Image.Image:
        """The image as the processor takes it; the Qwen families are resized here, by qwen-vl-utils' rule.

        qwen-vl-utils and transformers disagree on very thin images (the former rounds a side up to one
        patch before it looks at the area); training and prediction both use the former's sizes.
        """
        image = self.open(path)
        if not self.is_qwen:
            return image
        patch_size = self.processor.image_processor.patch_size
        try:
            return fetch_image({"image": image, **self.pixel_limits}, image_patch_size=patch_size)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error

    # Prompts

    def encode(self, records: list[dict[str, Any]], style: str) -> list[EncodedPrompt]:
        """Encode the prompt of each record in one answer style; records with the same images share them."""
        texts = [self.render(record, style) for record in records]
        first: dict[tuple[str, ...], tuple[EncodedPrompt, list[int], int]] = {}
        prompts = []
        for record, text in zip(records, texts, strict=True):
            images = tuple(record["images"])
            if not images:
                prompts.append(EncodedPrompt(self._text_ids(text), {}, []))
                continue
            if self.is_gemma:  # the newlines that it puts around an image merge with the text's own
                prompts.append(self._encode_one(record["images"], text))
                continue
            upto_image, after_image = self._around_last_image(text)
            if images in first:
                prompt, same, shared = first[images]
                if upto_image == same:
                    prompts.append(replace(prompt, input_ids=prompt.input_ids[:shared] + after_image))
                    continue
            prompts.append(self._encode_one(record["images"], text))
            first[images] = prompts[-1], upto_image, len(prompts[-1].input_ids) - len(after_image)
        return prompts

    def _around_last_image(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids up to and with the last image placeholder, not expanded, and those behind it."""
        ids = self._text_ids(text)
        end = len(ids) - ids[::-1].index(self.processor.image_token_id)
        return ids[:end], ids[end:]

    def _encode_one(self, paths: list[str], text: str) -> EncodedPrompt:
        if self.feature_cache is not None:
            cached = [self.feature_cache.load(path) for path in paths]
            expanded = self.feature_cache.expand(text, cached)
            return EncodedPrompt(
                self._text_ids(expanded),
                concatenate([image.inputs for image in cached]),
                [image.resized_size for image in cached],
            )
        images = [self.load_image(path) for path in paths]
        kwargs = {"do_resize": False} if self.is_qwen else {}
        encoded = dict(
            self.processor(
                text=[text], images=[images], return_tensors="pt", add_special_tokens=False, **kwargs
            )
        )
        input_ids = encoded.pop("input_ids")[0].tolist()
        for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
            encoded.pop(name, None)
        return EncodedPrompt(input_ids, encoded, [image.size for image in images])

    def _text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    # Batches

    def batch(
        self,
        encoded: list[EncodedPrompt],
        completions: list[list[int]] | None = None,
        padding_side: str = "right",
    ) -> dict[str, torch.Tensor]:
        """Pad prompts, each followed by its completion where given, into one batch.

        Returns:
            `input_ids` and `attention_mask`, both (batch, length), the image tensors the model takes
            (concatenated over images), (batch, length) `mm_token_type_ids` or `token_type_ids` (1 on image
            tokens) where the family needs them, and with completions `labels` (batch, length): the
            completion's ids, `IGNORED` elsewhere.
        """
        rows = [prompt.input_ids for prompt in encoded]
        if completions is not None:
            rows = [row + completion for row, completion in zip(rows, completions, strict=True)]
        batch = {
            "input_ids": pad(rows, self.pad_token_id, padding_side),
            "attention_mask": pad([[1] * len(row) for row in rows], 0, padding_side),
        }
        if completions is not None:
            labels = [
                [IGNORED] * len(prompt.input_ids) + completion
                for prompt, completion in zip(encoded, completions, strict=True)
            ]
            batch["labels"] = pad(labels, IGNORED, padding_side)
        return batch | self.image_tensors([prompt.image_inputs for prompt in encoded], batch["input_ids"])

    def image_tensors(
        self, image_inputs: list[dict[str, torch.Tensor]], input_ids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The images of a batch's rows joined, in the rows' order, and what a family needs to place them."""
        with_images = [inputs for inputs in image_inputs if inputs]
        tensors = concatenate(with_images) if with_images else {}
        if self.token_types is not None:
            tensors[self.token_types] = (input_ids == self.image_token_id).int()
        return tensors


def pad(rows: list[list[int]], value: int, side: str) -> torch.Tensor:
    """Rows of different lengths as one (rows, longest) tensor."""
    longest = max(len(row) for row in rows)
    filled = [
        row + [value] * (longest - len(row)) if side == "right" else [value] * (longest - len(row)) + row
        for row in rows
    ]
    return torch.tensor(filled)


def concatenate(inputs: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join image tensors along the first dimension; Idefics' tiles (batch, tiles, ...) are padded with zeros.

    Idefics3 and LLaVA-NeXT drop all-zero tiles themselves.
    """
    joined = {}
    for name in inputs[0]:
        tensors = [row[name] for row in inputs]
        if name in ("pixel_values", "pixel_attention_mask") and tensors[0].ndim >= 4 and _tiled(inputs[0]):
            most = max(tensor.shape[1] for tensor in tensors)
            tensors = [
                torch.cat([t, t.new_zeros(t.shape[0], most - t.shape[1], *t.shape[2:])], dim=1)
                for t in tensors
            ]
        joined[name] = torch.cat(tensors, dim=0)
    return joined


def _tiled(inputs: dict[str, torch.Tensor]) -> bool:
    return inputs["pixel_values"].ndim == 5


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """The batch's tensors on a device."""
    return {name: value.to(device) for name, value in batch.items()}
