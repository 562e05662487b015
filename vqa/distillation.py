"""Losses of a student against a teacher, at the supervised positions alone.

Everything is computed inside the student's head, block by block (vqa/head.py), so that memory does not grow
with the length of answers times the vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from vqa.encoding import IGNORED
from vqa.head import MAX_LOGITS, AnswerLoss, head_computes, next_tokens

Parts = tuple[torch.Tensor, torch.Tensor]  # divergence and cross-entropy of each position, (m,) each


@dataclass
class DistillationLoss(AnswerLoss):
    """`total` is the mix; `divergence` and `cross_entropy` are its parts, summed over supervised tokens."""

    divergence: torch.Tensor
    cross_entropy: torch.Tensor


def generalized_jsd(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, beta: float, temperature: float = 1.0
) -> torch.Tensor:
    """Divergence of two distributions at each position.

    beta KL(p || m) + (1 - beta) KL(q || m), with p of the teacher, q of the student, m = beta p +
    (1 - beta) q (Agarwal et al. 2023, arXiv:2306.13649). At the ends, as in TRL, `beta` 0 is the forward
    KL(p || q), and 1 the reverse KL(q || p).

    Args:
        student_logits, teacher_logits: (..., vocabulary).

    Returns:
        (...), in nats, without the factor temperature^2.
    """
    log_p, log_q = ((logits / temperature).log_softmax(-1) for logits in (teacher_logits, student_logits))
    return _jsd(log_p, log_q, beta)


def _jsd(log_p: torch.Tensor, log_q: torch.Tensor, beta: float) -> torch.Tensor:
    if beta == 0:
        return _kl(log_p, log_q)
    if beta == 1:
        return _kl(log_q, log_p)
    weights = torch.tensor([beta, 1 - beta], dtype=log_p.dtype, device=log_p.device).log()
    log_m = torch.logsumexp(torch.stack([log_p + weights[0], log_q + weights[1]]), dim=0)
    return beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)


def _kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def dense_loss(
    model: nn.Module,
    head: nn.Module,
    inputs: dict[str, torch.Tensor],
    teacher_hidden: torch.Tensor,
    teacher_head: Callable[[torch.Tensor], torch.Tensor],
    *,
    alpha: float,
    beta: float = 0.0,
    temperature: float = 1.0,
    max_logits: int = MAX_LOGITS,
) -> DistillationLoss:
    """alpha x T^2 x divergence from a teacher's whole distributions + (1 - alpha) x cross-entropy.

    Args:
        model, head, inputs, max_logits: the student's, as for `vqa.head.answer_loss`.
        teacher_hidden: (n, width): what enters the teacher's head at the n supervised positions.
        teacher_head: of a block of them the logits over the student's vocabulary, on the student's device.
    """

    def parts(logits: torch.Tensor, wanted: torch.Tensor, hidden: torch.Tensor) -> Parts:
        with torch.no_grad():
            log_p = (teacher_head(hidden).float() / temperature).log_softmax(-1)
        log_q = (logits / temperature).log_softmax(-1)
        plain = log_q if temperature == 1 else logits.log_softmax(-1)
        return _jsd(log_p, log_q, beta), -plain.gather(-1, wanted[:, None])[:, 0]

    return _loss(model, head, inputs, parts, (teacher_hidden,), alpha, temperature, max_logits)


def sparse_loss(
    model: nn.Module,
    head: nn.Module,
    inputs: dict[str, torch.Tensor],
    token_ids: torch.Tensor,
    weights: torch.Tensor,
    *,
    alpha: float,
    temperature: float = 1.0,
    max_logits: int = MAX_LOGITS,
) -> DistillationLoss:
    """alpha x T^2 x cross-entropy under a teacher's kept tokens + (1 - alpha) x cross-entropy of the answer.

    Args:
        token_ids, weights: (n, k), at the n supervised positions (vqa/sparse_logits.py).
    """

    def parts(logits: torch.Tensor, wanted: torch.Tensor, ids: torch.Tensor, shares: torch.Tensor) -> Parts:
        # As `sparse_cross_entropy`, but one gather and, at temperature 1, one sum serve both losses.
        chosen = logits.gather(-1, torch.cat([wanted[:, None], ids], dim=-1))
        total = logits.logsumexp(-1, keepdim=True)
        tempered = total if temperature == 1 else (logits / temperature).logsumexp(-1, keepdim=True)
        return -(shares * (chosen[:, 1:] / temperature - tempered)).sum(-1), (total - chosen[:, :1])[:, 0]

    return _loss(model, head, inputs, parts, (token_ids, weights), alpha, temperature, max_logits)


def _loss(model, head, inputs, parts, targets, alpha, temperature, max_logits) -> DistillationLoss:
    tokens = next_tokens(inputs["labels"])
    supervised = tokens != IGNORED

    def losses(logits: torch.Tensor, wanted: torch.Tensor, *taught: torch.Tensor) -> torch.Tensor:
        divergence, cross_entropy = parts(logits, wanted, *taught)
        right = (logits.argmax(-1) == wanted).float()
        return torch.stack([divergence * temperature**2, cross_entropy, right], dim=-1)

    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    with head_computes(head, losses, supervised, (tokens[supervised], *targets), max_logits):
        rows = model(**prompt, use_cache=False).logits[0]
    taught, answered, right = rows.sum(0)
    return DistillationLoss(
        total=alpha * taught + (1 - alpha) * answered,
        right=right.detach(),
        count=supervised.sum(),
        divergence=taught.detach(),
        cross_entropy=answered.detach(),
    )
