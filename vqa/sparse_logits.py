"""A teacher's distribution kept as a few tokens with weights, and the loss of a student against it.

A distribution over 150,000 tokens takes 300 kB a position; a sample of it takes 40 bytes. The sample is
unbiased where the expectation of its weights, token by token, is the teacher's probability: then loss and
gradient are, on average over samples, those of the whole distribution.

- `rs`: N draws with replacement; a token's weight is its share of the draws (Anshumann et al. 2025, Sparse
  Logit Sampling, arXiv:2503.16870). Unbiased. About 12 different tokens for N = 50.
- `gumbel_ht`: K tokens without replacement by Gumbel-top-K (Kool et al. 2019, arXiv:1903.06059), weighted by
  Horvitz and Thompson: probability by chance of being drawn, given the threshold that the draw left (the
  estimator of priority sampling, Duffield et al. 2007). Unbiased, K tokens always, and less noise than `rs`
  where the teacher is nearly sure, as it is of short answers.
- `topk`: the K likeliest with their probabilities; `topk_normalized`: divided by their sum. Both biased: a
  student that minimises this loss gives the tail nothing. They are what published caches keep.
"""

import torch

METHODS = ("rs", "gumbel_ht", "topk", "topk_normalized")
DEFAULT_SIZES = {"rs": 50, "gumbel_ht": 12, "topk": 12, "topk_normalized": 12}


@torch.no_grad()
def sparsify(
    logits: torch.Tensor,
    method: str,
    size: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A few tokens of each distribution softmax(logits / temperature), with weights.

    Args:
        logits: (..., vocabulary).
        method: one of `METHODS`.
        size: draws (`rs`), or tokens kept (the others).
        generator: of the chance, on the logits' device; None: torch's own.

    Returns:
        token ids (..., k), int64, and weights (..., k) in the logits' precision, float32 at least. k is
        `size`, or the whole vocabulary where that is less. The ids of a row differ, heavier ones come first;
        what `rs` did not draw weighs 0.

    Raises:
        ValueError: an unknown method, a size below 1, or a temperature that is not positive.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}: choose from {', '.join(METHODS)}")
    if size < 1 or not temperature > 0:
        raise ValueError(f"size {size}, temperature {temperature}: at least 1, and more than 0")
    log_probs = (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)
    kept = min(size, logits.shape[-1])
    if method == "rs":
        return _random_sampling(log_probs, size, kept, generator)
    if method == "gumbel_ht":
        return _horvitz_thompson(log_probs, kept, generator)
    weights, token_ids = log_probs.exp().topk(kept)
    if method == "topk_normalized":
        weights = weights / weights.sum(-1, keepdim=True)
    return token_ids, weights


def sparse_kd_loss(
    student_logits: torch.Tensor, token_ids: torch.Tensor, weights: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Cross-entropy of the student under the kept tokens' weights, mean over positions, times temperature^2.

    With unbiased weights its expectation is the cross-entropy under the teacher's whole distribution: the
    forward KL divergence plus the teacher's entropy, which has no gradient. The factor keeps gradients of one
    size over temperatures (Hinton et al. 2015, arXiv:1503.02531).

    Args:
        student_logits: (..., vocabulary).
        token_ids, weights: (..., k), of `sparsify` with the same temperature.

    Returns:
        a scalar, in nats.
    """
    # Only the kept tokens' logits are gathered: no tensor of the vocabulary's size is made of the target.
    scaled = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32))
    if temperature != 1:  # which would only copy them
        scaled = scaled / temperature
    log_probs = scaled.gather(-1, token_ids) - scaled.logsumexp(-1, keepdim=True)
    return -(weights * log_probs).sum(-1).mean() * temperature**2


def _random_sampling(log_probs, draws, kept, generator):
    probabilities = log_probs.exp().flatten(0, -2)
    drawn = torch.multinomial(probabilities, draws, replacement=True, generator=generator)
    counts = torch.zeros_like(probabilities).scatter_add_(
        -1, drawn, torch.ones_like(drawn, dtype=probabilities.dtype)
    )
    counts, token_ids = counts.topk(kept)
    shape = (*log_probs.shape[:-1], kept)
    return token_ids.view(shape), (counts / draws).view(shape)


def _horvitz_thompson(log_probs, kept, generator):
    if kept == log_probs.shape[-1]:  # nothing is left out
        weights, token_ids = log_probs.exp().topk(kept)
        return token_ids, weights
    # -log of an exponential variate is a Gumbel one. In double precision, so that tokens of a probability
    # of 1e-9 are drawn as often as they should be.
    noise = torch.empty_like(log_probs, dtype=torch.float64).exponential_(generator=generator).log_()
    perturbed, token_ids = (log_probs - noise).topk(kept + 1)
    token_ids = token_ids[..., :-1]
    log_p = log_probs.gather(-1, token_ids).double()
    # Given the threshold kappa, a token is among the K with probability 1 - exp(-exp(log p - kappa)).
    inclusion = -torch.expm1(-(log_p - perturbed[..., -1:]).exp())
    weights = torch.where(log_p.isneginf(), 0.0, log_p.exp() / inclusion).to(log_probs.dtype)
    weights, order = weights.sort(descending=True, stable=True)
    return token_ids.gather(-1, order), weights
