"""A teacher: loaded, given the student's vocabulary, asked at the supervised positions; its identity."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from vqa.branches import attend_to_branches
from vqa.encoding import IGNORED, to_device
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.head import head_computes, next_tokens
from vqa.models import load_model, load_processor
from vqa.sparse_logits import sparsify

SAME_IMAGES = ("image_processor_type", "image_mean", "image_std", "patch_size", "merge_size")
SHOWN_TOKENS = 4  # in the message about tokenizers that differ
UNREAD_COLUMNS = ("meta", "source", "split", "place")


class Teacher:
    """A frozen model that says how likely every token was.

    Args:
        model: with the student's vocabulary (`same_vocabulary`).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it computes; may be another than the student's."""
        return self.model.device

    @torch.no_grad()
    def hidden(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """What enters the head at the n supervised positions of a batch of the collator: (n, width)."""
        captured: list[torch.Tensor] = []
        head = self.model.get_output_embeddings()
        inputs = self._inputs(batch)
        chosen = next_tokens(inputs.pop("labels")) != IGNORED

        def capture(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            captured.append(args[0][chosen])
            return (captured[0][:1][None],)

        hook = head.register_forward_pre_hook(capture)
        try:
            self.model(**inputs, use_cache=False)
        finally:
            hook.remove()
        return captured[0]

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The head's logits of some of `hidden`, on the device that these lie on."""
        return self.model.get_output_embeddings()(hidden.to(self.device)).to(hidden.device)

    @torch.no_grad()
    def sparse(
        self, batch: dict[str, torch.Tensor], method: str, size: int, temperature: float, generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and weights at the supervised positions, (n, k) each, on the CPU."""
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []

        def compute(logits: torch.Tensor) -> torch.Tensor:
            kept.append(sparsify(logits, method, size, temperature, generator))
            return logits[:, :1]

        inputs = self._inputs(batch)
        chosen = next_tokens(inputs.pop("labels")) != IGNORED
        with head_computes(self.model.get_output_embeddings(), compute, chosen, ()):
            self.model(**inputs, use_cache=False)
        ids, weights = zip(*kept, strict=True)
        return torch.cat(ids).cpu(), torch.cat(weights).cpu()

    def _inputs(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        return attend_to_branches(self.model, to_device(batch, self.device))


def load_teacher(name_or_path: str, *, dtype: str, load_in_4bit: bool, device: str) -> PreTrainedModel:
    """A teacher's weights, on a device as torch names it."""
    return load_model(name_or_path, dtype=dtype, load_in_4bit=load_in_4bit, device_map={"": device})


def check_same_processor(teacher: str, student: ProcessorMixin) -> None:
    """Refuse a teacher whose tokens are not the student's, or that takes other images.

    Added tokens that only one of them has do no harm.

    Raises:
        UserError: they differ; the message shows by what.
    """
    processor = load_processor(teacher)
    theirs, ours = processor.tokenizer.get_vocab(), student.tokenizer.get_vocab()
    added = {*processor.tokenizer.get_added_vocab(), *student.tokenizer.get_added_vocab()}
    differing = [
        token
        for token in sorted({*theirs, *ours})
        if theirs.get(token) != ours.get(token)
        and not (token in added and (token in theirs) != (token in ours))
    ]
    if differing:
        shown = ", ".join(
            f"{token!r} is {theirs.get(token, 'none')}, here {ours.get(token, 'none')}"
            for token in differing[:SHOWN_TOKENS]
        )
        raise UserError(
            f"--teacher_model_name_or_path {teacher}: another tokenizer than the student's: {len(differing)} "
            f"tokens differ ({shown}); --method traces learns from its answers"
        )
    images = [each.image_processor.to_dict() for each in (processor, student)]
    for name in SAME_IMAGES:
        if images[0].get(name) != images[1].get(name):
            raise UserError(
                f"--teacher_model_name_or_path {teacher}: takes other images than the student: {name} is "
                f"{images[0].get(name)}, here {images[1].get(name)}"
            )


def same_vocabulary(teacher: PreTrainedModel, student: PreTrainedModel, tokens: int) -> None:
    """Cut the padded rows by which one model's embeddings exceed the other's.

    Qwen2.5 pads its vocabulary to 151,936 rows in the small sizes and to 152,064 in the large ones.

    Args:
        tokens: number of tokens of the tokenizer, below which nothing is cut.

    Raises:
        UserError: a vocabulary lacks some of the tokenizer's tokens.
    """
    sizes = [model.config.get_text_config().vocab_size for model in (teacher, student)]
    if min(sizes) < tokens:
        raise UserError(
            f"the tokenizer has {tokens} tokens; teacher and student have rows for {sizes[0]} and {sizes[1]}"
        )
    for model, size in zip((teacher, student), sizes, strict=True):
        if size > min(sizes):
            model.resize_token_embeddings(min(sizes))


def teacher_identity(name_or_path: str) -> str:
    """A hash of a local checkpoint's weights and config, or the name of one on the hub."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return name_or_path
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    return text_identity([(file.name, sha256_file(file)) for file in files])


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of the tokens and their numbers."""
    return text_identity(sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]))


def records_identity(records: Any) -> str:
    """A hash of all that prompts and answers are made of, record by record in their order.

    Images count by their sha256 where records have it, else by their files' names.
    """
    columns = [name for name in records.column_names if name not in UNREAD_COLUMNS]
    rows = []
    for row in records.select_columns(columns):
        names = [] if row["image_sha256"] else [Path(image).name for image in row["images"]]
        rows.append([row | {"images": names}])
    return text_identity(rows)


def text_identity(value: Any) -> str:
    """A hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
