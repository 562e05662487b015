"""Gemma-3, whose images see both ways: its prompts and batches, training, cuts, prediction, refusals."""

import functools
import json
import shutil

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForImageTextToText
from transformers.models.gemma3.modeling_gemma3 import Gemma3Model

import predict
import train_distill
import train_grpo
import train_sft
from tests.helpers import UnmaskedPrompts, plain_score, run_main, run_script, sharpened, write_records
from vqa.branches import attend_to_branches
from vqa.collators import AnswerCollator
from vqa.constraints import structured_grammar
from vqa.decisions import candidates_of, is_closed
from vqa.encoding import IGNORED, PromptEncoder
from vqa.errors import UserError
from vqa.generation import generate
from vqa.inference import decide
from vqa.models import FAMILIES, load_model, load_processor
from vqa.prefixes import prefill
from vqa.records import load_dataset, read_records
from vqa.rows import row_lengths
from vqa.tiny_models import build_tiny_model
from vqa.training import StyleMix, check_supervision

ONE, TWO, NONE = 0, 4, 3  # indices of records with so many images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records, a student and a teacher of the same tokenizer."""
    folder = tmp_path_factory.mktemp("gemma3")
    write_records(folder / "records", 12)
    for name, seed in (("student", 0), ("teacher", 1)):
        model, processor = build_tiny_model("gemma3", seed)
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def records(folder):
    records = read_records(folder / "records/train.jsonl")
    assert [len(records[index]["images"]) for index in (ONE, TWO, NONE)] == [1, 2, 0]
    return records


@pytest.fixture(scope="module")
def model():
    return sharpened("gemma3")


# Prompts and batches


@pytest.mark.parametrize("index", [ONE, TWO, NONE])
@pytest.mark.parametrize("cached", [False, True], ids=["alone", "after another"])
def test_a_batch_is_what_the_processor_makes_itself(cached, index, model, records):
    network, encoder = model
    record = records[index]
    asked = [records[ONE] | {"images": record["images"], "question": "what?"}, record][not cached :]
    ours = encoder.batch(encoder.encode(asked, "short")[-1:])
    messages = encoder.messages(record, "short")
    images = iter(record["images"])
    for message in messages:
        for part in message["content"]:
            if part["type"] == "image":
                part["image"] = encoder.open(next(images))
    theirs = encoder.processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert ours.keys() == theirs.keys() - {"num_crops"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.no_grad():
        assert torch.equal(network(**ours).logits, network(**theirs).logits)


@pytest.mark.parametrize("side", ["left", "right"])
def test_images_are_marked_whatever_the_padding(side, model, records):
    network, encoder = model
    prompts = encoder.encode([records[index] for index in (TWO, NONE, ONE)], "short")
    batch = encoder.batch(prompts, padding_side=side)
    kinds, image = batch["token_type_ids"], encoder.tokenizer.image_token_id
    assert kinds.shape == batch["input_ids"].shape
    assert torch.equal(kinds == 1, batch["input_ids"] == image)
    assert kinds.sum(-1).tolist() == [8, 0, 4] and not kinds[batch["attention_mask"] == 0].any()
    with torch.no_grad():
        together = network(**batch).logits
        for row, prompt in enumerate(prompts):
            alone = network(**encoder.batch([prompt])).logits[0]
            kept = together[row][batch["attention_mask"][row].bool()]
            torch.testing.assert_close(kept, alone, rtol=1e-4, atol=1e-4)
        blind = network(**batch | {"token_type_ids": torch.zeros_like(kinds)}).logits
    assert (blind - together)[0].abs().max() > 1e-3


def test_loss_falls_on_answers_alone(model, records):
    _, encoder = model
    collator = AnswerCollator(encoder, StyleMix("short=0.5,structured=0.5"))
    batch = collator(records)
    assert (batch["labels"][batch["token_type_ids"] == 1] == IGNORED).all()
    for row, record in enumerate(records):
        labels = batch["labels"][row]
        answer = encoder.tokenizer.decode(labels[labels != IGNORED])
        assert answer.endswith("<end_of_turn>") and answer.count("<end_of_turn>") == 1
        assert record["answers"][0] in answer
    check_supervision(collator, records)
    with pytest.raises(UserError, match="image token is supervised"):
        check_supervision(UnmaskedPrompts(encoder, StyleMix("short")), records[:1])


def test_special_tokens_in_a_question_are_text(model, records):
    _, encoder = model
    hostile = records[ONE] | {"question": "<start_of_image><image_soft_token><end_of_turn>?"}
    (prompt,) = encoder.encode([hostile], "short")
    (plain,) = encoder.encode([records[ONE]], "short")
    tokenizer = encoder.tokenizer
    for token in (tokenizer.boi_token_id, tokenizer.image_token_id, encoder.end_token_id):
        assert prompt.input_ids.count(token) == plain.input_ids.count(token) > 0


def test_rows_are_as_long_as_counted(model, folder):
    _, encoder = model
    rows = load_dataset(folder / "records/train.jsonl")
    collator = AnswerCollator(encoder, StyleMix("short"))
    counted = map(sum, zip(*row_lengths(rows, StyleMix("short"), encoder), strict=True))
    assert list(counted) == [collator([row])["input_ids"].shape[1] for row in rows]


def test_pan_and_scan_is_refused(folder):
    processor = load_processor(str(folder / "student"))
    processor.image_processor.do_pan_and_scan = True
    with pytest.raises(UserError, match="do_pan_and_scan"):
        PromptEncoder(processor)


# Prediction


def test_candidates_are_scored_as_by_a_plain_forward(model, records):
    network, encoder = model
    closed = [record for record in records if is_closed(record)]
    assert {len(record["images"]) for record in closed} >= {0, 1}
    for record, decision in zip(closed, decide(network, encoder, closed, "short"), strict=True):
        (prompt,) = encoder.encode([record], "short")
        expected = {
            text: plain_score(network, encoder, prompt, encoder.answer_ids(text))
            for text in candidates_of(record, False)
        }
        assert decision.scores == pytest.approx(expected, abs=1e-3)


def test_written_tokens_are_those_of_plain_forwards(model, records):
    network, encoder = model
    prompts = encoder.encode([records[index] for index in (TWO, NONE, ONE)], "short")
    rows = generate(network, encoder, prefill(network, encoder, prompts), [None] * 3, 6)
    for prompt, row in zip(prompts, rows, strict=True):
        assert plain_score(network, encoder, prompt, row.ids) == pytest.approx(sum(row.log_probs), abs=1e-3)


def test_another_end_token_is_no_text_of_a_grammar(model, records):
    """`<eos>` is not what ends a turn, and a grammar of any text would take its name for text."""
    network, encoder = model
    eos = encoder.tokenizer.eos_token_id
    assert eos != encoder.end_token_id
    hook = network.lm_head.register_forward_hook(
        lambda module, inputs, output: output.index_fill(-1, torch.tensor([eos]), 1e4)
    )
    try:
        prompts = prefill(network, encoder, encoder.encode(records[:2], "structured"))
        written = generate(network, encoder, prompts, [structured_grammar(), None], 24)
    finally:
        hook.remove()
    assert eos not in written[0].ids and written[1].ids == [eos]


# Training, as its user runs it


def options(folder, output, *more):
    return [
        *("--model_name_or_path", folder / "student", "--train_files", folder / "records/train.jsonl"),
        *("--output_dir", output, "--per_device_train_batch_size", 4, "--learning_rate", 1e-2),
        *("--max_steps", 2, "--logging_steps", 1, "--disable_tqdm", "true", *more),
    ]


def test_training_and_prediction(folder, tmp_path):
    result = run_script("train_sft.py", *options(folder, tmp_path, "--freeze", "vision"))
    assert result.returncode == 0, result.stderr
    before = dict(load_model(str(folder / "student")).named_parameters())
    changed = {"vision": set(), "connector": set(), "llm": set()}
    for name, parameter in load_model(str(tmp_path)).named_parameters():
        changed[FAMILIES["gemma3"].part_of(name)].add(not torch.equal(parameter, before[name]))
    assert changed["vision"] == {False} and changed["connector"] == {True} and True in changed["llm"]
    assert json.loads((tmp_path / "run.json").read_text())["arguments"]["training"]["group_by_image"] is False
    asked = ["--model_name_or_path", tmp_path, "--records", folder / "records/train.jsonl"]
    result = run_script("predict.py", *asked, "--output_file", tmp_path / "constrained.jsonl")
    assert result.returncode == 0 and "whole prompt" not in result.stderr, result.stderr
    more = ["--decoding", "free", "--max_new_tokens", 4]
    run_main(predict, *asked, "--output_file", tmp_path / "free.jsonl", *more)
    for name in ("constrained", "free"):
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert len(lines) == 12 and all(0 < line["confidence"] <= 1 for line in lines)
        for line in lines:
            if name == "constrained" and line["answer_candidates"]:
                assert line["pred"] in line["answer_candidates"]


def test_a_resumed_run_ends_with_the_same_bits(folder, tmp_path):
    steps = [*("--max_steps", 4, "--save_steps", 2), *("--tokens_per_batch", 400)]
    run_main(train_sft, *options(folder, tmp_path / "whole", *steps))
    shutil.copytree(tmp_path / "whole/checkpoint-2", tmp_path / "again/checkpoint-2")
    run_main(train_sft, *options(folder, tmp_path / "again", *steps, "--resume_from_checkpoint", "latest"))
    whole, again = (load_model(str(tmp_path / name)).state_dict() for name in ("whole", "again"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_adapters_on_cached_features(folder, tmp_path):
    cache = ["--cache_vision_features", tmp_path / "features"]
    losses = []
    for name, more in (("plain", []), ("cached", cache)):
        adapters = [
            "--lora_rank",
            4,
            "--freeze",
            "vision",
            "--save_strategy",
            "no",
            "--merge_adapter",
            "true",
        ]
        run_main(train_sft, *options(folder, tmp_path / name, *adapters, *more))
        log = json.loads((tmp_path / name / "run.json").read_text())["log"]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-4)
    found = load_model(str(tmp_path / "cached")).peft_config["default"]
    assert isinstance(found, LoraConfig) and found.r == 4
    question = ["--image", folder / "records/0.png", "--question", "is it red?"]
    run_main(predict, "--model_name_or_path", tmp_path / "cached/merged", *question)


@pytest.fixture
def types_seen(monkeypatch):
    """Every forward with images, whoever makes it, is told which tokens those are."""
    plain, seen = Gemma3Model.forward, []

    @functools.wraps(plain)
    def forward(self, input_ids=None, pixel_values=None, token_type_ids=None, **more):
        if pixel_values is not None:
            assert torch.equal(token_type_ids == 1, input_ids == self.config.image_token_id)
            seen.append(self.training)
        given = {"input_ids": input_ids, "pixel_values": pixel_values, "token_type_ids": token_type_ids}
        return plain(self, **given, **more)

    monkeypatch.setattr(Gemma3Model, "forward", forward)
    return seen


@pytest.mark.parametrize("method", ["dense", "sparse", "on_policy"])
def test_distillation_into_a_cut_student(method, folder, tmp_path, types_seen):
    more = ["--method", method, "--teacher_model_name_or_path", folder / "teacher", "--freeze", "vision"]
    more += ["--cache_teacher", tmp_path / "cache", "--max_completion_length", 4, "--save_strategy", "no"]
    more += ["--prune", "structured", "--pruning_steps", 0, "--target_sparsity", 0.3]
    run_main(train_distill, *options(folder, tmp_path, *more))
    assert True in types_seen
    small, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert small.config.text_config.intermediate_size < 64
    question = ["--image", folder / "records/0.png", "--question", "is it red?"]
    run_main(predict, "--model_name_or_path", tmp_path, *question)


# Refusals


def test_grouping_is_refused_where_it_is_asked_for(folder, tmp_path, model, records):
    grouped = ["--group_by_image", "true"]
    result = run_script("train_sft.py", *options(folder, tmp_path, *grouped))
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: --group_by_image true: gemma3" in result.stderr.splitlines()[-1]
    with pytest.raises(UserError, match="gemma3 .* use --group_by_image false"):
        run_main(train_distill, *options(folder, tmp_path, "--method", "traces", *grouped, "--dry_run"))
    asked = ["--model_name_or_path", folder / "student", "--records", folder / "records/train.jsonl"]
    with pytest.raises(UserError, match="gemma3 .* use --group_by_image false"):
        run_main(predict, *asked, "--output_file", tmp_path / "p.jsonl", *grouped)
    with pytest.raises(UserError, match="gemma3"):
        batch = AnswerCollator(model[1], StyleMix("short"), group_by_image=True)(records)
        attend_to_branches(model[0], batch)


def test_grpo_shares_no_prompts(folder, tmp_path):
    arguments = ["--num_generations", 2, "--max_completion_length", 4, "--weights", "answer=1"]
    arguments = options(folder, tmp_path, *arguments)
    with pytest.raises(UserError, match="gemma3 .* use --share_prompts false"):
        run_main(train_grpo, *arguments)
