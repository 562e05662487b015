"""Rows of one image and several questions: a shared prefix, and a branch for each question.

A branch sees the prefix and itself, and its positions start where the prefix ends, as if it stood there
alone: loss and gradients are those of the questions asked one by one, while image and system line are
computed once. Two levels of branches serve scoring: a question's candidates are branches of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from vqa.encoding import IGNORED, EncodedPrompt, PromptEncoder, pad
from vqa.errors import UserError
from vqa.models import family_of, inner_model

PADDING = -1  # as a token's branch
# Kernels that take a mask of (rows, 1, length, length). Eager adds a boolean mask as if it were a bias, flash
# attention drops it: both wrong, and silently.
MASKED_ATTENTION = ("sdpa", "flex_attention")


@dataclass
class BranchedRow:
    """One image's prompts with their completions, what they begin with taken out.

    Attributes:
        prefix: token ids that all prompts begin with, image and all.
        branches: for each question the rest of its prompt, and its completion.
        image_inputs: tensors of the images, once.
    """

    prefix: list[int]
    branches: list[tuple[list[int], list[int]]]
    image_inputs: dict[str, torch.Tensor]

    def __len__(self) -> int:
        """Tokens in the row."""
        return len(self.prefix) + sum(len(rest) + len(completion) for rest, completion in self.branches)


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, leaving each at least one of its own.

    The last token of a prompt predicts the first of its completion, so it stands in the branch.
    """
    first, last = min(rows), max(rows)  # what these two share, all do
    longest = min(map(len, rows)) - 1
    count = 0
    while count < longest and first[count] == last[count]:
        count += 1
    return count


def branch(prompts: list[EncodedPrompt], completions: list[list[int]]) -> BranchedRow:
    """Prompts about the same images as one row."""
    count = shared_length([prompt.input_ids for prompt in prompts])
    rests = [prompt.input_ids[count:] for prompt in prompts]
    return BranchedRow(
        prompts[0].input_ids[:count], list(zip(rests, completions, strict=True)), prompts[0].image_inputs
    )


def batch_rows(encoder: PromptEncoder, rows: list[BranchedRow]) -> dict[str, torch.Tensor]:
    """Rows padded to one batch; `attend_to_branches` makes of it what a model takes.

    Returns:
        `input_ids`, `labels` (completions; `IGNORED` elsewhere), `branches` (0 in the prefix, then the number
        of the branch, `PADDING` at the end) and `depths` (tokens before this one on its own path), all
        (rows, length); image tensors as in `PromptEncoder.batch`.
    """
    columns: dict[str, list[list[int]]] = {"ids": [], "labels": [], "branches": [], "depths": []}
    for row in rows:
        ids, labels = list(row.prefix), [IGNORED] * len(row.prefix)
        branches, depths = [0] * len(row.prefix), list(range(len(row.prefix)))
        for number, (rest, completion) in enumerate(row.branches, start=1):
            length = len(rest) + len(completion)
            ids += rest + completion
            labels += [IGNORED] * len(rest) + completion
            branches += [number] * length
            depths += range(len(row.prefix), len(row.prefix) + length)
        for name, values in zip(columns, (ids, labels, branches, depths), strict=True):
            columns[name].append(values)
    batch = {
        "input_ids": pad(columns["ids"], encoder.pad_token_id, "right"),
        "labels": pad(columns["labels"], IGNORED, "right"),
        "branches": pad(columns["branches"], PADDING, "right"),
        "depths": pad(columns["depths"], 0, "right"),
    }
    return batch | encoder.image_tensors([row.image_inputs for row in rows], batch["input_ids"])


def attend_to_branches(model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch with `branches` and `depths` turned into mask and positions; other batches as they are.

    Args:
        model: the model, below wrappers for several processes.
    """
    if "branches" not in batch:
        return batch
    branches, depths = batch["branches"], batch["depths"]
    rest = {name: value for name, value in batch.items() if name not in ("branches", "depths")}
    return rest | {
        "attention_mask": attention_mask(model, branches),
        "position_ids": positions(model, rest, branches == 0, depths),
    }


def attention_mask(model: nn.Module, branches: torch.Tensor) -> torch.Tensor | BlockMask:
    """What each token sees: bool (rows, 1, length, length), or a block mask for FlexAttention."""
    check_kernel(model)
    if attention_kernel(model) == "flex_attention":

        def sees(row, head, query, key):
            own = branches[row, query]
            return (query >= key) & ((branches[row, key] == 0) | (branches[row, key] == own))

        rows, length = branches.shape
        return create_block_mask(sees, rows, None, length, length, device=branches.device)
    length = torch.arange(branches.shape[1], device=branches.device)
    return (visible(branches, branches) & (length[:, None] >= length))[:, None]


def visible(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Whether a key lies on a query's path: in the prefix, or in the same branch. Order is not looked at.

    Args:
        queries, keys: branch of each token, (rows, n) and (rows, m). Padding sees the prefix and itself, so
            that no softmax is empty.

    Returns:
        (rows, n, m), bool.
    """
    return (keys[:, None, :] == 0) | (keys[:, None, :] == queries[:, :, None])


def positions(
    model: nn.Module, batch: dict[str, torch.Tensor], in_prefix: torch.Tensor, depths: torch.Tensor
) -> torch.Tensor:
    """Positions as each path would have them alone: (rows, length), or (3, rows, length) for M-RoPE.

    In M-RoPE (Wang et al. 2024, arXiv:2409.12191) an image's tokens take fewer positions than they are, so a
    branch goes on from the prefix's last position and not from its length.

    Args:
        in_prefix, depths: (rows, length).
    """
    if not family_of(model.config).mrope:
        return depths
    if "image_grid_thw" not in batch:
        return depths.expand(3, -1, -1)
    of_prefix, shift = inner_model(model).get_rope_index(
        input_ids=batch["input_ids"],
        mm_token_type_ids=batch["mm_token_type_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=in_prefix.long(),
    )
    return torch.where(in_prefix, of_prefix, depths + shift)


def attention_kernel(model: nn.Module) -> str:
    """The attention implementation of the language model."""
    return model.config.get_text_config()._attn_implementation


def may_share_rows(config: Any, asked: bool | None, option: str = "--group_by_image") -> bool:
    """Whether questions of an image can share a row in a model of this config.

    Args:
        asked: the option's value; None where it was left open.

    Raises:
        UserError: it was asked for, and they cannot.
    """
    possible = family_of(config).shares_rows
    if asked and not possible:
        raise UserError(
            f"{option} true: {config.model_type} makes masks of its own, under which questions of a row "
            f"would see each other; use {option} false"
        )
    return possible


def check_kernel(model: nn.Module, option: str = "--group_by_image") -> None:
    """Refuse a model or attention implementation under which questions of a row would see each other.

    Args:
        option: what asked for such rows.

    Raises:
        UserError: the family cannot, or the implementation is none of `MASKED_ATTENTION`.
    """
    may_share_rows(model.config, True, option)
    kernel = attention_kernel(model)
    if kernel in MASKED_ATTENTION:
        return
    reason = "adds a boolean mask as if it were a bias" if kernel == "eager" else "takes no such mask"
    raise UserError(
        f"--attn_implementation {kernel}: {reason}, so branches of a row would see each other; "
        f"use {' or '.join(MASKED_ATTENTION)}, or {option} false"
    )
