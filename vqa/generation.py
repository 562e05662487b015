"""Greedy generation, each row under a grammar of its own, with the log probabilities of what it wrote."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import xgrammar
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from vqa.encoding import PromptEncoder, pad, to_device
from vqa.models import family_of
from vqa.prefixes import PrefilledPrompts, masked_attention
from vqa.stages import stage

GRAMMAR_CACHE_BYTES = 512 * 2**20


@dataclass
class Generated:
    """One row: its token ids with the end token (if it came to that), and log p of each, in nats.

    The probabilities are the model's own, before a grammar took tokens away.
    """

    ids: list[int]
    log_probs: list[float]
    finished: bool


@torch.no_grad()
def generate(
    model: nn.Module,
    encoder: PromptEncoder,
    prompts: PrefilledPrompts,
    grammars: list[str | None],
    max_new_tokens: int,
    free: bool = False,
) -> list[Generated]:
    """Continue every prompt greedily until its end token or `max_new_tokens`.

    Args:
        prompts: run as one batch, from their prefixes on.
        grammars: EBNF for each row (`vqa.constraints`); None: any text.
        free: lift even the rule that special tokens (image placeholders, padding) are no text.
    """
    end_tokens = {encoder.end_token_id, encoder.tokenizer.eos_token_id} - {None}
    recorder = _GrammarMask(model, encoder, grammars, end_tokens, free)
    batch = _rest_of_prompts(model, encoder, prompts)
    # Everything that reshapes the distribution is spelled out, or the checkpoint's own settings would apply.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=sorted(end_tokens),
        pad_token_id=encoder.pad_token_id,
        use_cache=True,
    )
    with masked_attention(model):
        model.generate(**batch, generation_config=config, logits_processor=LogitsProcessorList([recorder]))
    return [
        Generated(ids, log_probs, finished)
        for ids, log_probs, finished in zip(recorder.ids, recorder.log_probs, recorder.finished, strict=True)
    ]


def _rest_of_prompts(model: nn.Module, encoder: PromptEncoder, prompts: PrefilledPrompts) -> dict[str, Any]:
    """What `generate` goes on from: a row of the cache for each prompt, and the tokens behind its prefix."""
    if prompts.cache is None:
        return to_device(encoder.batch(prompts.prompts, padding_side="left"), model.device)
    rows = torch.tensor(prompts.row_of, device=model.device)
    ids = pad(prompts.rests, encoder.pad_token_id, "left").to(model.device)
    mask = pad([[1] * len(rest) for rest in prompts.rests], 0, "left").to(model.device)
    positions = prompts.next_positions[rows, None] + (mask.cumsum(-1) - 1).clamp(min=0)
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([prompts.mask[rows], mask], dim=-1),
        "position_ids": positions.expand(3, -1, -1) if family_of(model.config).mrope else positions,
        "past_key_values": prompts.select(rows),
    }


class _GrammarMask(LogitsProcessor):
    """Masks what the rows' grammars forbid and notes the greedy choice with its unmasked log p."""

    def __init__(
        self,
        model: nn.Module,
        encoder: PromptEncoder,
        grammars: list[str | None],
        end_tokens: set[int],
        free: bool,
    ) -> None:
        vocabulary = model.config.get_text_config().vocab_size
        self.end_tokens = end_tokens
        self.other_ends = sorted(end_tokens - {encoder.end_token_id})
        self.ids: list[list[int]] = [[] for _ in grammars]
        self.log_probs: list[list[float]] = [[] for _ in grammars]
        self.finished = [False] * len(grammars)
        self.matchers: list[xgrammar.GrammarMatcher | None] = [None] * len(grammars)
        self.bitmask = xgrammar.allocate_token_bitmask(len(grammars), vocabulary)
        if any(grammars):
            compiler = _compiler(encoder.tokenizer, vocabulary, encoder.end_token_id)
            with stage("grammar"):  # the compiler keeps what it has compiled
                self.matchers = [
                    xgrammar.GrammarMatcher(compiler.compile_grammar(grammar)) if grammar else None
                    for grammar in grammars
                ]
        forbidden = set() if free else _special_tokens(encoder.tokenizer) - end_tokens
        self.forbidden = torch.tensor([index for index in forbidden if index < vocabulary], dtype=torch.long)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        scores = scores.float()
        log_norms = scores.logsumexp(-1)
        masked = scores.clone()
        masked[:, self.forbidden.to(scores.device)] = -torch.inf
        if any(self.matchers):
            self.bitmask.fill_(-1)
            for row, matcher in enumerate(self.matchers):
                if matcher is not None and not matcher.is_terminated():
                    matcher.fill_next_token_bitmask(self.bitmask, row)
                    masked[
                        row, self.other_ends
                    ] = -torch.inf  # a grammar of any text takes their names for it
            xgrammar.apply_token_bitmask_inplace(masked, self.bitmask.to(scores.device))
        chosen = masked.argmax(-1)
        log_probs = (scores.gather(-1, chosen[:, None])[:, 0] - log_norms).tolist()
        for row, token in enumerate(chosen.tolist()):
            if self.finished[row]:
                continue
            self.ids[row].append(token)
            self.log_probs[row].append(log_probs[row])
            self.finished[row] = token in self.end_tokens
            matcher = self.matchers[row]
            if matcher is not None and not matcher.accept_token(token):
                raise RuntimeError(f"token {token} is outside the grammar that chose it")
        return masked


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    # `all_special_ids` names only those with a role (eos, pad, ...), not every image placeholder.
    marked = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return marked | set(tokenizer.all_special_ids)


@lru_cache(maxsize=4)
def _compiler(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, end_token: int
) -> xgrammar.GrammarCompiler:
    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=vocabulary, stop_token_ids=[end_token]
    )
    return xgrammar.GrammarCompiler(info, max_threads=4, cache_limit_bytes=GRAMMAR_CACHE_BYTES)
