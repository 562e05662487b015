"""log p(answer | prompt) for each of several answers, the prompt computed once.

The prompt but for its last token is run first and its keys and values kept; then every candidate runs
on a copy of them as a row of its own, that last token in front, so that the logits of a row are those
of the candidate's tokens and no others.
"""

from dataclasses import replace

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from vqa.encoding import EncodedPrompt, PromptEncoder, pad
from vqa.models import family_of, inner_model

MAX_LOGITS = 2**26  # numbers in one block of logits: 256 MiB in float32
MAX_CACHE_BYTES = 2**30


@torch.no_grad()
def score_completions(
    model: nn.Module, encoder: PromptEncoder, prompts: list[EncodedPrompt], completions: list[list[list[int]]]
) -> list[list[float]]:
    """log p of every completion of every prompt: sums over its tokens, in nats.

    Args:
        prompts: one a record, run as one batch.
        completions: for each prompt, the token ids of its completions, none of them empty.
    """
    shared = [_common_prefix(rows) for rows in completions]
    heads = [[*p.input_ids, *rows[0][:n]] for p, rows, n in zip(prompts, completions, shared, strict=True)]
    # What all completions of a prompt begin with joins the prompt, and its log p is added back below.
    prefixes = [replace(p, input_ids=head[:-1]) for p, head in zip(prompts, heads, strict=True)]
    batch = to_device(encoder.batch(prefixes), model.device)
    kept = _shared_positions(prompts, shared)
    outputs = model(**batch, use_cache=True, logits_to_keep=kept.to(model.device))
    cache = outputs.past_key_values
    if not _can_be_expanded(cache):
        return score_by_full_forward(model, encoder, prompts, completions)
    shared_sums = _shared_log_probs(outputs.logits, kept, prompts, completions, shared)
    del outputs
    next_positions = _next_positions(model, batch)

    rows, suffixes = [], []
    for index, (head, texts, count) in enumerate(zip(heads, completions, shared, strict=True)):
        rows += [index] * len(texts)
        suffixes += [[head[-1], *text[count:]] for text in texts]
    sums = _score_suffixes(model, encoder, cache, batch["attention_mask"], next_positions, rows, suffixes)
    scores: list[list[float]] = [[] for _ in prompts]
    for index, value in zip(rows, sums, strict=True):
        scores[index].append(value + shared_sums[index])
    return scores


@torch.no_grad()
def score_by_full_forward(
    model: nn.Module, encoder: PromptEncoder, prompts: list[EncodedPrompt], completions: list[list[list[int]]]
) -> list[list[float]]:
    """`score_completions` with prompt and completion run anew for each: for caches that cannot be copied."""
    scores = []
    for prompt, texts in zip(prompts, completions, strict=True):
        scores.append([])
        for text in texts:
            batch = to_device(encoder.batch([prompt], [text]), model.device)
            labels = batch.pop("labels")
            logits = model(**batch, use_cache=False, logits_to_keep=len(text) + 1).logits[:, :-1]
            scores[-1].append(_token_log_probs(logits, labels[:, -len(text) :]).sum().item())
    return scores


def _score_suffixes(model, encoder, cache, prefix_mask, next_positions, rows, suffixes) -> list[float]:
    """Sum of log p over each suffix but its first token, which is the context's last."""
    vocabulary = model.config.get_text_config().vocab_size
    row_bytes = sum(2 * layer.keys[0].numel() * layer.keys.element_size() for layer in cache.layers)
    longest = max(len(suffix) for suffix in suffixes)
    size = max(1, min(MAX_LOGITS // (vocabulary * longest), MAX_CACHE_BYTES // row_bytes))
    mrope = family_of(model.config).mrope
    sums = []
    for first in range(0, len(rows), size):
        chosen = torch.tensor(rows[first : first + size], device=model.device)
        chunk = suffixes[first : first + size]
        ids = pad(chunk, encoder.pad_token_id, "right").to(model.device)
        mask = pad([[1] * len(suffix) for suffix in chunk], 0, "right").to(model.device)
        positions = next_positions[chosen, None] + torch.arange(ids.shape[1], device=model.device)
        logits = model(
            input_ids=ids,
            attention_mask=torch.cat([prefix_mask[chosen], mask], dim=1),
            position_ids=positions.expand(3, -1, -1) if mrope else positions,
            past_key_values=_select(cache, chosen),
            use_cache=True,
        ).logits[:, :-1]
        log_probs = _token_log_probs(logits, ids[:, 1:])
        sums += (log_probs * mask[:, 1:]).sum(-1).tolist()
    return sums


def _token_log_probs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log p of `ids` (rows, length) under `logits` (rows, length, vocabulary), in float32."""
    logits = logits.float()
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def _common_prefix(rows: list[list[int]]) -> int:
    """How many tokens all rows begin with, leaving each at least one of its own."""
    count = 0
    for tokens in zip(*(row[:-1] for row in rows), strict=False):
        if len(set(tokens)) > 1:
            break
        count += 1
    return count


def _shared_positions(prompts: list[EncodedPrompt], shared: list[int]) -> torch.Tensor:
    """Positions in the padded prefixes whose logits predict shared tokens; at least one."""
    wanted = set()
    for prompt, count in zip(prompts, shared, strict=True):
        start = len(prompt.input_ids) - 1
        wanted |= set(range(start, start + count))
    return torch.tensor(sorted(wanted) or [0])


def _shared_log_probs(logits, kept, prompts, completions, shared) -> list[float]:
    """Sum of log p over each prompt's shared tokens."""
    column = {position: index for index, position in enumerate(kept.tolist())}
    sums = []
    for row, (prompt, texts, count) in enumerate(zip(prompts, completions, shared, strict=True)):
        start = len(prompt.input_ids) - 1
        columns = [column[start + step] for step in range(count)]
        ids = torch.tensor(texts[0][:count], device=logits.device)
        sums.append(_token_log_probs(logits[row, columns], ids).sum().item() if count else 0.0)
    return sums


def _next_positions(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(rows,): the position after each prefix. In M-RoPE an image takes fewer positions than tokens."""
    lengths = batch["attention_mask"].sum(-1)
    if not family_of(model.config).mrope or "image_grid_thw" not in batch:
        return lengths
    _, deltas = inner_model(model).get_rope_index(
        input_ids=batch["input_ids"],
        mm_token_type_ids=batch["mm_token_type_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=batch["attention_mask"],
    )
    return lengths + deltas[:, 0]


def _can_be_expanded(cache: object) -> bool:
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _select(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """A new cache that holds the given rows, which may repeat."""
    selected = DynamicCache()
    for index, layer in enumerate(cache.layers):
        selected.update(layer.keys[rows], layer.values[rows], index)
    return selected


def to_device(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """The batch's tensors on a device."""
    return {name: value.to(device) for name, value in batch.items()}
