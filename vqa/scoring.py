"""log p(answer | prompt) for each of several answers of each of several prompts, in one forward.

Behind a prefix that has been run (vqa/prefixes.py) the questions about it stand in a row, and behind each
question its candidates: branches of branches, of which each token sees its own path only. A candidate's last
token is predicted and never read, so it takes no place.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from vqa.branches import PADDING, shared_length, visible
from vqa.encoding import PromptEncoder, pad, to_device
from vqa.head import log_probs_at
from vqa.models import family_of
from vqa.prefixes import PrefilledPrompts, masked_attention

# Tokens behind a prefix in one row: in a longer one attention over the others' masked tokens costs more than
# another copy of the prefix's keys and values.
ROW_TOKENS = 256
MAX_CACHE_BYTES = 2**30


@dataclass
class _Row:
    """Questions about one prefix with their candidates, as tokens, and the log probabilities wanted of them.

    Attributes:
        prefix: row in the cache.
        ids, questions, candidates, depths: of each token its id, its question and candidate (from 1; 0: the
            question's own token), and how many tokens of its path stand behind the prefix before it.
        wanted: (column, token id, prompt, completion): log p of the token after the column counts for it.
    """

    prefix: int
    ids: list[int] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    wanted: list[tuple[int, int, int, int]] = field(default_factory=list)

    def add(self, prompt: int, rest: list[int], completions: list[list[int]]) -> None:
        """Put a question and its candidates at the end."""
        question = 1 + max(self.questions, default=0)
        shared = shared_length(completions)
        head = rest + completions[0][:shared]
        start = len(self.ids)
        self._append(head, question, 0, 0)
        last = len(self.ids) - 1
        for number, completion in enumerate(completions):
            for step in range(shared):
                column = start + len(rest) - 1 + step
                self.wanted.append((column, completion[step], prompt, number))
            own, first = completion[shared:], len(self.ids)
            self._append(own[:-1], question, 1 + max(self.candidates, default=0), len(head))
            for step, token in enumerate(own):
                column = last if step == 0 else first + step - 1
                self.wanted.append((column, token, prompt, number))

    def _append(self, ids: list[int], question: int, candidate: int, depth: int) -> None:
        self.ids += ids
        self.questions += [question] * len(ids)
        self.candidates += [candidate] * len(ids)
        self.depths += range(depth, depth + len(ids))


@torch.no_grad()
def score_completions(
    model: nn.Module,
    encoder: PromptEncoder,
    prompts: PrefilledPrompts,
    completions: list[list[list[int]]],
    max_cache_bytes: int | None = MAX_CACHE_BYTES,
) -> list[list[float]]:
    """log p of every completion of every prompt: sums over its tokens, in nats.

    Args:
        completions: for each prompt, the token ids of its completions, none of them empty.
        max_cache_bytes: of copied keys and values in a forward; what goes beyond takes another. None: all in
            one, where several processes have to run the same number.
    """
    scores = [[0.0] * len(texts) for texts in completions]
    if prompts.cache is None:
        return _score_by_full_forward(model, encoder, prompts, completions)
    rows = _rows(prompts, completions)
    size = len(rows) if max_cache_bytes is None else max(1, max_cache_bytes // prompts.row_bytes())
    with masked_attention(model):
        for first in range(0, len(rows), size):
            _score_rows(model, encoder, prompts, rows[first : first + size], scores)
    return scores


def _rows(prompts: PrefilledPrompts, completions: list[list[list[int]]]) -> list[_Row]:
    """As few rows a prefix as hold its questions, of about one length: all are padded to the longest."""
    lengths = [
        len(rest) + sum(map(len, texts)) for rest, texts in zip(prompts.rests, completions, strict=True)
    ]
    members: dict[int, list[int]] = {}
    for index, prefix in enumerate(prompts.row_of):
        members.setdefault(prefix, []).append(index)
    rows: list[_Row] = []
    for prefix, indices in members.items():
        count = -(-sum(lengths[index] for index in indices) // ROW_TOKENS)
        own = [_Row(prefix) for _ in range(min(count, len(indices)))]
        for index in sorted(indices, key=lambda index: -lengths[index]):
            shortest = min(own, key=lambda row: len(row.ids))
            shortest.add(index, prompts.rests[index], completions[index])
        rows += own
    return rows


def _score_rows(model, encoder, prompts: PrefilledPrompts, rows: list[_Row], scores) -> None:
    def tensor(values: list[list[int]], value: int) -> torch.Tensor:
        return pad(values, value, "right").to(model.device)

    prefixes = torch.tensor([row.prefix for row in rows], device=model.device)
    ids = tensor([row.ids for row in rows], encoder.pad_token_id)
    questions = tensor([row.questions for row in rows], PADDING)
    candidates = tensor([row.candidates for row in rows], 0)
    order = torch.arange(ids.shape[1], device=model.device)
    own = visible(questions, questions) & visible(candidates, candidates) & (order[:, None] >= order)
    before = prompts.mask[prefixes].bool()[:, None, :].expand(-1, ids.shape[1], -1)
    positions = prompts.next_positions[prefixes, None] + tensor([row.depths for row in rows], 0)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.cat([before, own], dim=-1)[:, None],
        "position_ids": positions.expand(3, -1, -1) if family_of(model.config).mrope else positions,
        "past_key_values": prompts.select(prefixes),
        "use_cache": True,
    }
    # Several tokens may be wanted after one position: its logits are computed once.
    by_place: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for number, row in enumerate(rows):
        for column, token, prompt, completion in row.wanted:
            by_place.setdefault((number, column), []).append((token, prompt, completion))
    places = sorted(by_place)
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[tuple(torch.tensor(places, device=model.device).T)] = True
    targets = tensor([[token for token, _, _ in by_place[place]] for place in places], 0)
    found = log_probs_at(model, inputs, chosen, targets).tolist()
    for place, log_probs in zip(places, found, strict=True):
        for (_, prompt, completion), log_prob in zip(by_place[place], log_probs, strict=False):
            scores[prompt][completion] += log_prob


def _score_by_full_forward(
    model: nn.Module, encoder: PromptEncoder, prompts: PrefilledPrompts, completions: list[list[list[int]]]
) -> list[list[float]]:
    """Prompt and completion run anew for each: for caches that cannot be copied."""
    scores = []
    for prompt, texts in zip(prompts.prompts, completions, strict=True):
        scores.append([])
        for text in texts:
            batch = to_device(encoder.batch([prompt], [text]), model.device)
            labels = batch.pop("labels")
            chosen = torch.zeros_like(labels, dtype=torch.bool)
            chosen[:, -len(text) - 1 : -1] = True
            log_probs = log_probs_at(
                model, {**batch, "use_cache": False}, chosen, labels[0, -len(text) :, None]
            )
            scores[-1].append(log_probs.sum().item())
    return scores
