"""Deciding answers on a tiny model of every family: exact scores, confidences, formats."""

import math

import pytest
import torch
from transformers import DynamicCache

import vqa.head
import vqa.prefixes
import vqa.scoring
from tests.helpers import plain_score, sharpened, write_records
from vqa.answers import parse_structured
from vqa.constraints import number_grammar, structured_grammar
from vqa.decisions import (
    candidates_of,
    completion_grammar,
    first_answer_token,
    is_closed,
    plan_batches,
    read_decision,
)
from vqa.generation import generate
from vqa.inference import decide
from vqa.prefixes import prefill
from vqa.records import read_records
from vqa.scoring import score_completions
from vqa.tiny_models import TINY_FAMILIES


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Questions of several types, on one image, two images and none."""
    return read_records(write_records(tmp_path_factory.mktemp("records"), 30))


@pytest.fixture(scope="module", params=TINY_FAMILIES)
def any_model(request):
    return sharpened(request.param)


@pytest.fixture(scope="module")
def model():
    return sharpened("qwen2_vl")


def score(model, encoder, prompts, completions, **options):
    return score_completions(model, encoder, prefill(model, encoder, prompts, **options), completions)


def write(model, encoder, prompts, grammars, limit, **options):
    return generate(model, encoder, prefill(model, encoder, prompts), grammars, limit, **options)


# Scoring


def test_scores_equal_a_plain_forward(any_model, records):
    model, encoder = any_model
    closed = [record for record in records if is_closed(record)]
    assert {len(record["images"]) for record in closed} == {0, 1, 2}
    prompts = encoder.encode(closed, "short")
    completions = [[encoder.answer_ids(text) for text in candidates_of(record, True)] for record in closed]
    scores = score(model, encoder, prompts, completions)
    for prompt, texts, sums in zip(prompts, completions, scores, strict=True):
        expected = [plain_score(model, encoder, prompt, text) for text in texts]
        assert sums == pytest.approx(expected, abs=1e-4)
    assert max(max(sums) - min(sums) for sums in scores) > 1


def test_scores_depend_on_the_image(any_model, records):
    model, encoder = any_model
    prompt, other = encoder.encode(
        [record for record in records if len(record["images"]) == 1][:4:3], "short"
    )
    other.input_ids, text = prompt.input_ids, [encoder.answer_ids("yes")]
    if prompt.image_inputs["pixel_values"].shape != other.image_inputs["pixel_values"].shape:
        pytest.skip("the images take different numbers of tokens")
    (first,), (second,) = score(model, encoder, [prompt, other], [text, text])
    assert abs(first - second) > 1e-3


def test_completions_that_share_their_beginning(any_model, records):
    model, encoder = any_model
    prompts = encoder.encode(records[:2], "short")
    texts = [
        [encoder.answer_ids(text) for text in row] for row in (["light blue", "light green"], ["light blue"])
    ]
    scores = score(model, encoder, prompts, texts)
    for prompt, rows, sums in zip(prompts, texts, scores, strict=True):
        assert sums == pytest.approx([plain_score(model, encoder, prompt, row) for row in rows], abs=1e-4)


def test_scores_in_small_blocks(model, records, monkeypatch):
    encoder, closed = model[1], [record for record in records if is_closed(record)]
    prompts = encoder.encode(closed, "short")
    texts = [[encoder.answer_ids(text) for text in record["answer_candidates"]] for record in closed]
    whole = score(model[0], encoder, prompts, texts)
    monkeypatch.setattr(vqa.head, "MAX_LOGITS", 1)
    monkeypatch.setattr(vqa.scoring, "ROW_TOKENS", 40)
    monkeypatch.setattr(vqa.scoring, "MAX_CACHE_BYTES", 1)
    blocks = score(model[0], encoder, prompts, texts)
    assert [pytest.approx(row, abs=1e-4) for row in whole] == blocks


def test_caches_of_another_kind_fall_back_to_full_forwards(model, records, monkeypatch):
    encoder = model[1]
    prompts = encoder.encode(records[:3], "short")
    texts = [[encoder.answer_ids(text) for text in ("red", "dark red")]] * 3
    expected = score(model[0], encoder, prompts, texts)
    expected_texts = [row.ids for row in write(model[0], encoder, prompts, [None] * 3, 6)]
    monkeypatch.setattr(vqa.prefixes, "_has_rows", lambda cache: not isinstance(cache, DynamicCache))
    with pytest.warns(UserWarning, match="cannot be copied by row"):
        scores = score(model[0], encoder, prompts, texts)
    assert [pytest.approx(row, abs=1e-4) for row in scores] == expected
    with pytest.warns(UserWarning, match="cannot be copied by row"):
        assert [row.ids for row in write(model[0], encoder, prompts, [None] * 3, 6)] == expected_texts


# Deciding


@pytest.mark.parametrize("style", ["short", "structured", "think", "transcribe"])
def test_constrained_answers_are_valid(any_model, records, style):
    model, encoder = any_model
    decisions = decide(model, encoder, records, style, max_new_tokens=24)
    for record, decision in zip(records, decisions, strict=True):
        assert 0 <= decision.confidence <= 1
        assert decision.valid_format is (True if style in ("structured", "think") else None)
        if is_closed(record):
            assert decision.answer in record["answer_candidates"]
            best = max(decision.scores.values())
            total = sum(math.exp(score - best) for score in decision.scores.values())
            assert decision.scores[decision.answer] == best
            assert decision.confidence == pytest.approx(1 / total, rel=1e-6)
        elif record["question_type"] in ("size_numeric", "count_numeric"):
            assert any(digit in decision.answer for digit in "0123456789")
        if style == "structured":
            assert parse_structured(decision.raw).caption == decision.caption
        for x0, y0, x1, y1 in decision.boxes:
            width, height = record["image_sizes"][0]
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


@pytest.mark.parametrize("style", ["short", "structured", "think"])
@pytest.mark.parametrize("decoding", ["constrained", "free"])
def test_answers_do_not_depend_on_the_batch(model, records, style, decoding):
    options = {"decoding": decoding, "max_new_tokens": 16}
    together = decide(*model, records, style, batch_size=16, **options)
    backwards = decide(*model, records[::-1], style, batch_size=3, **options)[::-1]
    for one, other in zip(together, backwards, strict=True):
        assert (one.answer, one.raw, one.boxes) == (other.answer, other.raw, other.boxes)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_closed_confidence_in_the_structured_style_is_exact(model, records):
    """The scores are those of the whole text that would have been trained on."""
    closed = [record for record in records if is_closed(record) and len(record["images"]) == 1][:4]
    model, encoder = model
    for record, decision in zip(
        closed, decide(model, encoder, closed, "structured", max_new_tokens=12), strict=True
    ):
        (prompt,) = encoder.encode([record], "structured")
        head = decision.raw[: -len(decision.answer + '"}')]
        whole = {
            text: plain_score(model, encoder, prompt, encoder.answer_ids(head + text + '"}'))
            for text in record["answer_candidates"]
        }
        best = max(whole.values())
        assert decision.confidence == pytest.approx(
            1 / sum(math.exp(v - best) for v in whole.values()), abs=1e-4
        )


def test_open_confidence_is_that_of_a_plain_forward(any_model, records):
    """The log p of answer and end token, unmasked, though a grammar forbade what was more probable."""
    model, encoder = any_model
    prompt = encoder.encode([records[0]], "short")
    grammar = number_grammar(["mm"])
    (row,) = write(model, encoder, prompt, [grammar], 40)
    assert row.finished and row.ids[-1] == encoder.end_token_id
    expected = plain_score(model, encoder, prompt[0], row.ids)
    assert sum(row.log_probs) == pytest.approx(expected, abs=1e-3)
    (free,) = write(model, encoder, prompt, [None], 40)
    assert free.ids != row.ids


def test_grammars_differ_by_row(model, records):
    encoder = model[1]
    prompts = encoder.encode(records[:3], "short")
    grammars = ['root ::= "red" | "light red"', None, "root ::= [0-9]{3}"]
    first, second, third = write(model[0], encoder, prompts, grammars, 12)
    decode = encoder.tokenizer.decode
    assert decode(first.ids[:-1]) in ("red", "light red")
    assert decode(third.ids[:-1]).isdigit() and len(decode(third.ids[:-1])) == 3
    assert second.ids == write(model[0], encoder, prompts[1:2], [None], 12)[0].ids


def test_special_tokens_are_no_text(model, records):
    """With weights that favour an image placeholder, only free decoding writes it."""
    network, encoder = model
    image_token = encoder.processor.image_token_id
    hook = network.lm_head.register_forward_hook(
        lambda module, inputs, output: output.index_fill(-1, torch.tensor([image_token]), 1e4)
    )
    try:
        prompts = encoder.encode(records[:1], "structured")
        for grammar in (None, structured_grammar()):
            (row,) = write(network, encoder, prompts, [grammar], 8)
            assert image_token not in row.ids
        (row,) = write(network, encoder, prompts, [None], 8, free=True)
        assert row.ids == [image_token] * 8
    finally:
        hook.remove()


def test_checkpoint_settings_do_not_reshape_the_answer(model, records):
    network, encoder = model
    expected = decide(network, encoder, records[:6], "transcribe", decoding="free", max_new_tokens=8)
    config = network.generation_config
    config.repetition_penalty, config.do_sample, config.top_k, config.no_repeat_ngram_size = 5.0, True, 1, 1
    try:
        assert (
            decide(network, encoder, records[:6], "transcribe", decoding="free", max_new_tokens=8) == expected
        )
    finally:
        config.repetition_penalty, config.do_sample, config.top_k, config.no_repeat_ngram_size = (
            1.0,
            False,
            50,
            0,
        )


def test_training_mode_comes_back(model, records):
    model[0].train()
    decide(*model, records[:1], "short", max_new_tokens=2)
    assert model[0].training
    model[0].eval()


def test_unanswerable_is_admitted_only_on_request(model, records):
    closed = [record for record in records if is_closed(record)][:3]
    for decision in decide(*model, closed, "short"):
        assert "unanswerable" not in decision.scores
    for decision in decide(*model, closed, "short", allow_unanswerable=True):
        assert "unanswerable" in decision.scores
    numeric = {
        "question_type": "count_numeric",
        "answer_candidates": None,
        "question": "how many?",
        "answers": [],
    }
    assert "unanswerable" in completion_grammar(numeric, "short", True, "norm1000")
    assert "unanswerable" not in completion_grammar(numeric, "short", False, "norm1000")


# From text to decision


def record_of(candidates=None, size=(200, 100)):
    return {"question_type": "open_ended", "answer_candidates": candidates, "image_sizes": [list(size)]}


def read(text, style="structured", record=None, box_format="norm1000", resized=(400, 200)):
    return read_decision(
        record or record_of(), style, text, 0.5, box_format=box_format, resized_sizes=[resized]
    )


def test_boxes_come_back_in_original_pixels():
    text = (
        '{"caption": "", "reasoning": [], "boxes": [[0, 500, 500, 1000], [900, 0, 2000, 10]], "answer": "a"}'
    )
    assert read(text).boxes == [[0, 50, 100, 100], [180, 0, 200, 1]]
    text = '{"caption": "", "reasoning": [], "boxes": [[0, 100, 200, 200], [500, 0, 600, 10]], "answer": "a"}'
    assert read(text, box_format="pixels").boxes == [[0, 50, 100, 100]]
    without_image = record_of() | {"image_sizes": []}
    decision = read_decision(without_image, "structured", text, 0.5, box_format="norm1000", resized_sizes=[])
    assert (decision.boxes, decision.answer) == ([], "a")


def test_abstaining():
    assert (read("Unanswerable.", "short").answer, read("Unanswerable.", "short").abstained) == ("", True)
    assert read("Unanswerable.", "short").raw == "Unanswerable."
    offered = read("cannot tell", "short", record_of(["yes", "no", "cannot tell"]))
    assert (offered.answer, offered.abstained) == ("cannot tell", False)


def test_answer_begins_after_its_head():
    tokens = ["<think>", "a</thi", "nk>", "red", "<end>"]
    decode = lambda ids: "".join(tokens[index] for index in ids)  # noqa: E731
    assert first_answer_token([0, 1, 2, 3, 4], "think", decode) == 3
    assert first_answer_token([0, 1], "think", decode) == 0
    assert first_answer_token([0, 1, 2, 3, 4], "short", decode) == 0


@pytest.mark.parametrize("style", ["short", "structured", "think"])
@pytest.mark.parametrize("decoding", ["constrained", "free"])
def test_grouped_answers_are_those_of_one_record_at_a_time(any_model, records, style, decoding):
    options = {"decoding": decoding, "max_new_tokens": 12}
    grouped = decide(*any_model, records, style, batch_size=12, **options)
    for record, decision in zip(records, grouped, strict=True):
        (alone,) = decide(*any_model, [record], style, group_by_image=False, **options)
        assert (decision.answer, decision.raw, decision.boxes) == (alone.answer, alone.raw, alone.boxes)
        assert decision.confidence == pytest.approx(alone.confidence, abs=1e-4)


def test_grouped_prediction_runs_an_image_once(model, records):
    network, encoder = model
    seen = []
    hook = network.model.visual.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    try:
        same = [record for record in records if record["images"] == records[0]["images"]]
        assert len(same) > 1
        decide(network, encoder, same, "short", max_new_tokens=4)
        decide(network, encoder, same, "short", max_new_tokens=4, group_by_image=False)
    finally:
        hook.remove()
    assert seen == [1, len(same)]


def test_eager_models_are_decided_alike(model, records):
    network, encoder = model
    expected = decide(network, encoder, records[:8], "short", max_new_tokens=4)
    text = network.config.get_text_config()
    text._attn_implementation = "eager"
    try:
        assert [row.raw for row in decide(network, encoder, records[:8], "short", max_new_tokens=4)] == [
            row.raw for row in expected
        ]
        assert text._attn_implementation == "eager"
    finally:
        text._attn_implementation = "sdpa"


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_batches_are_planned_from_the_records_alone(records, batch_size):
    batches = plan_batches(records, "short", batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(records)))
    assert batches == plan_batches(records, "short", batch_size)
    assert max(map(len, batches)) <= batch_size
    assert plan_batches([], "short", batch_size) == []
    # An image's records are divided only where they are more than a batch.
    holders = {}
    for number, batch in enumerate(batches):
        for index in batch:
            if records[index]["images"]:
                holders.setdefault(tuple(records[index]["images"]), set()).add(number)
    if batch_size >= 4:
        assert all(len(numbers) == 1 for numbers in holders.values())


def test_ungrouped_batches_hold_one_kind_each(records):
    batches = plan_batches(records, "short", 4, group_by_image=False)
    assert {len(batch) for batch in batches[:-1]} == {4}
    kinds = [is_closed(records[index]) for batch in batches for index in batch]
    assert kinds == sorted(kinds, reverse=True)
