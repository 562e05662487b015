"""How an answer is decided, and how sure the model is of it: one function for every caller.

1. The styles `structured` and `think` first write what stands before the answer, under its grammar.
2. Closed types are *scored*: every candidate's log p (canonical tokens and end token) given all that stands
   before; the highest wins and the softmax over the sums is the confidence.
3. Everything else is generated greedily, under a grammar where style or type has one; confidence is
   exp(mean log p) over the answer's tokens and the end token, of the unmasked distribution.

`decoding="free"` lifts it all: whatever the model writes, taken apart afterwards.
What the prompts about one image begin with, the image above all, is run once for all of them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn
from tqdm import tqdm

from vqa.answers import complete_structured, complete_structured_head, complete_think_head, head_boxes
from vqa.branches import shared_length
from vqa.confidences import softmax
from vqa.constraints import (
    admit_unanswerable,
    json_answer_grammar,
    structured_head_grammar,
    think_head_grammar,
    untagged_grammar,
)
from vqa.decisions import (
    MAX_NEW_TOKENS,
    Decision,
    Record,
    answer_rule,
    candidates_of,
    first_answer_token,
    is_closed,
    mean_probability,
    plan_batches,
    read_decision,
)
from vqa.documents.pages import OcrPage
from vqa.documents.places import TextPlaces, text_places
from vqa.encoding import EncodedPrompt, PromptEncoder
from vqa.generation import Generated, generate
from vqa.prefixes import PrefilledPrompts, prefill
from vqa.scoring import score_completions
from vqa.stages import stage

DECODINGS = ("constrained", "free")


@dataclass(frozen=True)
class _Settings:
    model: nn.Module
    encoder: PromptEncoder
    style: str
    allow_unanswerable: bool
    box_format: str
    max_new_tokens: int
    share: bool
    answer_from_page: bool


def decide(
    model: nn.Module,
    encoder: PromptEncoder,
    records: list[Record],
    style: str,
    *,
    decoding: str = "constrained",
    allow_unanswerable: bool = False,
    box_format: str = "norm1000",
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    group_by_image: bool = True,
    progress: bool = False,
    pages: Sequence[Sequence[OcrPage]] | None = None,
    answer_from_page: bool = False,
) -> list[Decision]:
    """Answer every record, in their order.

    Args:
        model: an image-text-to-text model; put into eval mode for the time.
        records: complete records (`vqa.records.read_records`); their answers are not looked at.
        style: one of `vqa.prompts.STYLES`.
        decoding: `constrained` or `free`.
        allow_unanswerable: whether constraints admit the word `unanswerable`: if the model was trained on it.
        box_format: coordinates in the model's text, `norm1000` or `pixels` of the resized image.
        max_new_tokens: limit for the answer, and another such limit for what stands before it;
            default: by style.
        batch_size: records a batch.
        group_by_image: put records about the same images in one batch and run their images once.
        progress: show a bar.
        pages: the text of each record's images: its boxes can then only be those of words, runs of words in a
            line, and lines (style `structured`, constrained).
        answer_from_page: answers of no other constraint are words of the boxes chosen.
    """
    limit = MAX_NEW_TOKENS[style] if max_new_tokens is None else max_new_tokens
    settings = _Settings(
        model, encoder, style, allow_unanswerable, box_format, limit, group_by_image, answer_from_page
    )
    decide_batch = {"constrained": _decide_constrained, "free": _decide_free}[decoding]
    decisions: list[Decision | None] = [None] * len(records)
    training = model.training
    model.eval()
    try:
        with tqdm(total=len(records), unit="q", disable=not progress) as bar:
            for indices in plan_batches(records, style, batch_size, group_by_image):
                batch = [records[index] for index in indices]
                texts = pages and [pages[index] for index in indices]
                for index, decision in zip(indices, decide_batch(settings, batch, texts), strict=True):
                    decisions[index] = decision
                bar.update(len(indices))
    finally:
        model.train(training)
    return decisions


# Constrained decoding


def _decide_constrained(
    settings: _Settings, records: list[Record], pages: list[Sequence[OcrPage]] | None
) -> Iterator[Decision]:
    encoded, prompts = _read_prompts(settings, records)
    places = [None] * len(records)
    if pages:
        sizes = [tuple(prompt.resized_sizes) for prompt in encoded]
        places = [
            text_places(tuple(read), settings.box_format, size)
            for read, size in zip(pages, sizes, strict=True)
        ]
    with stage("before the answer"):
        heads = _write_heads(settings, prompts, records, places)
    closed = [index for index, record in enumerate(records) if is_closed(record)]
    opened = [index for index, record in enumerate(records) if not is_closed(record)]
    decided: dict[int, tuple] = {}
    for indices, method in ((closed, _score), (opened, _generate_answers)):
        if indices:
            chosen, texts, text_of = ([rows[index] for index in indices] for rows in (records, heads, places))
            with stage("answer"):
                answers = list(method(settings, chosen, prompts, indices, texts, text_of))
            decided |= zip(indices, answers, strict=True)
    for index, record in enumerate(records):
        yield _decision(settings, record, encoded[index], *decided[index])


def _read_prompts(settings: _Settings, records: list[Record]) -> tuple[list[EncodedPrompt], PrefilledPrompts]:
    with stage("images and prompts"):
        encoded = settings.encoder.encode(records, settings.style)
    with stage("prefill"):
        return encoded, prefill(settings.model, settings.encoder, encoded, settings.share)


def _write_heads(
    settings: _Settings,
    prompts: PrefilledPrompts,
    records: list[Record],
    places: list[TextPlaces | None],
) -> list[str]:
    """The text before each answer: thoughts, or the object up to its answer; closed if the limit cut it."""
    if settings.style == "structured":
        grammars = [
            structured_head_grammar(
                box_format=settings.box_format,
                box_rule=place and place.box_rule,
                images=len(record["images"]),
            )
            for record, place in zip(records, places, strict=True)
        ]
        complete = complete_structured_head
    elif settings.style == "think":
        grammars, complete = [think_head_grammar()] * len(places), complete_think_head
    else:
        return [""] * len(places)
    rows = _generate(settings, prompts, grammars)
    return [complete(_text(settings.encoder, row.ids)) for row in rows]


def _generate(
    settings: _Settings, prompts: PrefilledPrompts, grammars: list[str | None], free: bool = False
) -> list[Generated]:
    return generate(settings.model, settings.encoder, prompts, grammars, settings.max_new_tokens, free)


def _score(
    settings: _Settings,
    records: list[Record],
    prompts: PrefilledPrompts,
    indices: list[int],
    heads: list[str],
    places: list[TextPlaces | None],
) -> Iterator[tuple]:
    encoder = settings.encoder
    written, shared, own = [], [], []
    for record, head in zip(records, heads, strict=True):
        candidates = candidates_of(record, settings.allow_unanswerable)
        written.append({candidate: head + _written(settings, candidate) for candidate in candidates})
        ids = [encoder.answer_ids(text) for text in written[-1].values()]
        # A head's tokens belong to the prompt, but for the last few, which may merge with the answer's.
        count = shared_length([encoder.answer_ids(head), *ids])
        shared.append(ids[0][:count])
        own.append([row[count:] for row in ids])
    scores = score_completions(settings.model, encoder, prompts.continued(indices, shared), own)
    for texts, sums in zip(written, scores, strict=True):
        probabilities = softmax(sums)
        best = max(range(len(sums)), key=sums.__getitem__)
        yield texts[list(texts)[best]], probabilities[best], dict(zip(texts, sums, strict=True))


def _written(settings: _Settings, candidate: str) -> str:
    """A candidate as it stands in the text, with all that comes after it."""
    if settings.style == "structured":
        return json.dumps(candidate, ensure_ascii=False)[1:] + "}"
    return candidate


def _generate_answers(
    settings: _Settings,
    records: list[Record],
    prompts: PrefilledPrompts,
    indices: list[int],
    heads: list[str],
    places: list[TextPlaces | None],
) -> Iterator[tuple]:
    encoder = settings.encoder
    grammars = []
    for record, head, place in zip(records, heads, places, strict=True):
        rule = answer_rule(record, settings.allow_unanswerable)
        if rule is None and place is not None and settings.answer_from_page:
            rule = place.answer_grammar(head_boxes(head))
            if rule and settings.allow_unanswerable:
                rule = admit_unanswerable(rule)
        if settings.style == "structured":
            rule = json_answer_grammar(rule)
        elif settings.style == "think" and rule is None:
            rule = untagged_grammar()
        grammars.append(rule)
    prompts = prompts.continued(indices, [encoder.answer_ids(head)[:-1] if head else [] for head in heads])
    for head, row in zip(heads, _generate(settings, prompts, grammars), strict=True):
        text = head + _text(encoder, row.ids)
        if settings.style == "structured" and not row.finished:
            text = complete_structured(text)
        yield text, mean_probability(row.log_probs), None


# Free decoding


def _decide_free(settings: _Settings, records: list[Record], pages: None) -> Iterator[Decision]:
    encoder = settings.encoder
    encoded, prompts = _read_prompts(settings, records)
    with stage("answer"):
        rows = _generate(settings, prompts, [None] * len(records), free=True)
    for record, prompt, row in zip(records, encoded, rows, strict=True):
        first = first_answer_token(row.ids, settings.style, lambda ids: _text(encoder, ids))
        confidence = mean_probability(row.log_probs[first:])
        yield _decision(settings, record, prompt, _text(encoder, row.ids), confidence, None)


def _decision(settings, record, prompt, text, confidence, scores) -> Decision:
    return read_decision(
        record,
        settings.style,
        text,
        confidence,
        box_format=settings.box_format,
        resized_sizes=prompt.resized_sizes,
        scores=scores,
    )


def _text(encoder: PromptEncoder, ids: list[int]) -> str:
    return encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
