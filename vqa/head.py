"""The language head at the positions that matter, and nowhere else.

A few answer tokens stand behind hundreds of prompt and image tokens, and in a row of several questions they
stand anywhere, while a vocabulary has 150,000 entries. So the head is given other work inside the model's
own forward pass, where wrappers that gather sharded weights do so as ever: hidden states come in, and what is
wanted of their logits goes out, in blocks that are computed again in the backward pass where one block does
not hold them all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vqa.encoding import IGNORED

MAX_LOGITS = 2**26  # numbers in one block of logits: 256 MiB in float32


@dataclass
class AnswerLoss:
    """Of the supervised tokens: summed cross-entropy, how many were the likeliest, how many there are."""

    total: torch.Tensor
    right: torch.Tensor
    count: torch.Tensor


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """What each position has to predict: labels (rows, length) moved one left, `IGNORED` at the end."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)


def answer_loss(
    model: nn.Module, head: nn.Module, inputs: dict[str, torch.Tensor], max_logits: int = MAX_LOGITS
) -> AnswerLoss:
    """Cross-entropy of the supervised tokens.

    Args:
        model: the model as wrapped for training.
        head: its output embeddings.
        inputs: a batch with `labels` (rows, length), each at its token's own position.
        max_logits: numbers in one block of logits.
    """
    targets = next_tokens(inputs["labels"])
    supervised = targets != IGNORED

    def losses(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
        return torch.stack([loss, (logits.argmax(-1) == wanted).float()], dim=-1)

    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    with head_computes(head, losses, supervised, (targets[supervised],), max_logits):
        rows = model(**prompt, use_cache=False).logits[0]
    return AnswerLoss(rows[:, 0].sum(), rows[:, 1].detach().sum(), supervised.sum())


def log_probs_at(
    model: nn.Module, inputs: dict[str, torch.Tensor], chosen: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """log p of tokens after the chosen positions, in nats, float32.

    Args:
        inputs: a batch; the forward pass may write to a cache in it.
        chosen: (rows, length), bool: positions whose logits are wanted, n in all.
        targets: (n, k) token ids, in the positions' row-major order: k tokens for each.

    Returns:
        (n, k).
    """

    def log_probs(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return logits.gather(-1, wanted) - logits.logsumexp(-1, keepdim=True)

    with head_computes(model.get_output_embeddings(), log_probs, chosen, (targets,), MAX_LOGITS):
        return model(**inputs).logits[0]


def log_probs_and_entropies(
    model: nn.Module,
    head: nn.Module,
    inputs: dict[str, torch.Tensor],
    temperature: float,
    max_logits: int = MAX_LOGITS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every supervised token log p, and the entropy of the distribution it was drawn from; both in nats.

    Args:
        model, head, inputs: as for `answer_loss`.
        temperature: of that distribution.

    Returns:
        two of (n,): the tokens in the rows' order.
    """
    targets = next_tokens(inputs["labels"])
    supervised = targets != IGNORED

    def compute(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        log_probs = (logits / temperature).log_softmax(-1)
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        return torch.stack([log_probs.gather(-1, wanted[:, None])[:, 0], entropies], dim=-1)

    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    with head_computes(head, compute, supervised, (targets[supervised],), max_logits):
        rows = model(**prompt, use_cache=False).logits[0]
    return rows[:, 0], rows[:, 1]


@contextmanager
def head_computes(
    head: nn.Module,
    compute: Callable[..., torch.Tensor],
    chosen: torch.Tensor,
    targets: tuple[torch.Tensor, ...],
    max_logits: int = MAX_LOGITS,
) -> Iterator[None]:
    """For the time, the head gives `compute(logits, *targets)` of the chosen positions for logits.

    Args:
        compute: of a block of m positions: logits (m, vocabulary), float32, and the targets' rows for them;
            gives (m, k).
        chosen: (rows, length), bool: n positions.
        targets: tensors of n rows each, in the positions' row-major order.
    """
    logits_of = head.forward
    size = max(1, max_logits // head.out_features)

    def block(hidden: torch.Tensor, *wanted: torch.Tensor) -> torch.Tensor:
        return compute(logits_of(hidden).float(), *wanted)

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden[chosen]
        if len(hidden) <= size:
            return block(hidden, *targets)[None]
        blocks = zip(hidden.split(size), *(target.split(size) for target in targets), strict=True)
        return torch.cat([checkpoint(block, *parts, use_reentrant=False) for parts in blocks])[None]

    before = head.__dict__.get("forward")  # accelerate's hooks put one there
    head.forward = forward
    try:
        yield
    finally:
        if before is None:
            del head.forward  # uncovers the class's own
        else:
            head.forward = before
