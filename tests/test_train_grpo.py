"""train_grpo.py as its user runs it: what trains, logs, plans, adapters, resume, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

import train_grpo
from rewards import DEFAULT_WEIGHTS
from tests.helpers import (
    ROOT,
    plain_score,
    run_main,
    run_script,
    save_structured_model,
    sharpened,
    write_records,
    write_structured_records,
)
from vqa.adapters import lora_targets
from vqa.errors import UserError
from vqa.feature_memory import remember_features
from vqa.models import FAMILIES, freeze, load_model, load_processor
from vqa.records import load_dataset
from vqa.rollouts import STYLE, admit_records_without_images, as_record, rollout_processor, rollout_rows
from vqa.runs import complete_checkpoints
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model

# Rewards that need no sentence encoder.
QUICK = "format=0.4,answer=0.3,counterfactual=0.3"


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    return write_structured_records(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def sft(records, tmp_path_factory):
    return save_structured_model(records, tmp_path_factory.mktemp("sft"))


def save_tiny(family: str, folder: Path) -> Path:
    model, processor = build_tiny_model(family)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def options(model: Path, records: Path, output: Path, *more: object) -> list[str]:
    """The arguments of a short run: two prompts a step, four completions of each."""
    chosen = [
        *("--sft_checkpoint", model, "--train_files", records, "--output_dir", output, "--freeze", "vision"),
        *("--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 100),
        *("--learning_rate", 1e-3, "--logging_steps", 1, "--disable_tqdm", "true", *more),
    ]
    return list(map(str, chosen))


def grpo(model: Path, records: Path, output: Path, *more: object) -> None:
    """Train in this process."""
    more = more if "--weights" in more or "--config" in more else ("--weights", QUICK, *more)
    run_main(train_grpo, *options(model, records, output, *more))


def run_file(output: Path) -> dict:
    return json.loads((output / "run.json").read_text(encoding="utf-8"))


def log(output: Path, key: str = "loss") -> list[float]:
    return [entry[key] for entry in run_file(output)["log"] if key in entry]


def changed_parts(before: Path, after: Path) -> dict[str, set[bool]]:
    """For each part, whether its weights changed: {True}, {False} or both."""
    known = dict(load_model(str(before)).named_parameters())
    model = load_model(str(after))
    changed = {part: set() for part in ("vision", "connector", "llm")}
    for name, parameter in model.named_parameters():
        changed[FAMILIES[model.config.model_type].part_of(name)].add(not torch.equal(parameter, known[name]))
    return changed


# A whole run


@pytest.fixture(scope="session")
def whole(sft, records, tmp_path_factory):
    """A run with all defaults of the rewards, as a user starts it."""
    output = tmp_path_factory.mktemp("whole") / "out"
    more = [
        "--validation_file",
        records,
        "--validation_sample",
        2,
        "--eval_strategy",
        "steps",
        "--eval_steps",
        2,
    ]
    result = run_script("train_grpo.py", *options(sft, records, output, "--max_steps", 3, *more))
    assert result.returncode == 0, result.stderr
    return output, result.stdout


def test_trains_what_should_train_and_nothing_frozen(whole, sft):
    changed = changed_parts(sft, whole[0])
    assert changed["vision"] == {False}
    assert True in changed["connector"] and True in changed["llm"]


def test_the_log_says_what_was_earned_and_where_time_went(whole):
    entries = [entry for entry in run_file(whole[0])["log"] if "loss" in entry]
    assert len(entries) == 3
    for entry in entries:
        means = {name: entry[f"rewards/{name}/mean"] for name in DEFAULT_WEIGHTS}
        assert all(0 <= mean <= 1 for mean in means.values())
        assert all(f"rewards/{name}/std" in entry for name in DEFAULT_WEIGHTS)
        total = sum(weight * means[name] for name, weight in DEFAULT_WEIGHTS.items())
        assert entry["reward"] == pytest.approx(total, abs=1e-5)
        seconds = {name: value for name, value in entry.items() if name.startswith("seconds/")}
        assert set(seconds) == {f"seconds/{n}" for n in ("generation", "counterfactual", "rewards", "update")}
        assert all(value > 0 for value in seconds.values())
        assert sum(seconds.values()) < run_file(whole[0])["train_seconds"]
    assert max(log(whole[0], "rewards/format/mean")) > 0.2 and max(log(whole[0], "rewards/answer/mean")) > 0
    assert all(0 <= mean <= 1 for mean in log(whole[0], "eval_rewards/format/mean"))


def test_the_plan_of_a_run(whole):
    plan = " ".join(whole[1].split())
    for text in (
        "structured, boxes in norm1000",
        "format 0.2, answer 0.4, consistency 0.2, counterfactual 0.2",
    ):
        assert all(word in plan for word in text.split()), text
    assert "measured" in plan and "frozen" in plan and "2 prompts x 4" in plan
    assert "4 an epoch, 3 in all" in plan


def test_the_run_file_says_what_prediction_must_repeat(whole, records):
    run = run_file(whole[0])
    assert run["answer_style"] == "structured" and run["box_format"] == "norm1000"
    assert run["trained_on_unanswerable"] is False and run["seed"] == 42
    assert run["data"][str(records)] and run["versions"]["trl"] and run["steps"] == 3
    assert run["arguments"]["training"]["weights"] == str(DEFAULT_WEIGHTS)
    checkpoint = json.loads((whole[0] / "checkpoint-3/run.json").read_text())
    assert checkpoint["answer_style"] == "structured"


def test_the_processor_is_saved_as_it_was(whole, sft):
    for folder in (whole[0], whole[0] / "checkpoint-3"):
        for name in (
            "processor_config.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "chat_template.jinja",
        ):
            assert (folder / name).read_text() == (sft / name).read_text(), name


def test_prediction_needs_no_flags(whole, records, tmp_path):
    result = run_script(
        "predict.py",
        *("--model_name_or_path", whole[0], "--records", records, "--output_file", tmp_path / "p.jsonl"),
    )
    assert result.returncode == 0, result.stderr
    predictions = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(predictions) == 8 and all(line["valid_format"] is True for line in predictions)
    assert any(line["caption"] == "a patch" and line["boxes"] for line in predictions)


# Plans


def plan(capsys, *arguments) -> str:
    run_main(train_grpo, *arguments, "--dry_run")
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_dry_run_loads_no_weights(sft, records, tmp_path, capsys):
    shutil.copytree(sft, tmp_path / "bare")
    (tmp_path / "bare/model.safetensors").unlink()
    found = plan(capsys, *options(tmp_path / "bare", records, tmp_path / "out"))
    for text in ("trainable", "tokens a prompt", "counterfactuals measured", "GiB", "counterfactual 0.2"):
        assert text in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--weights", "0.1,0.2,0.3,0.4"], "format 0.1, answer 0.2, consistency 0.3, counterfactual 0.4"),
        (["--weights", "answer=0.7, grounding=0.3"], "answer 0.7, grounding 0.3"),
        ("weights: [0.1, 0.2, 0.3, 0.4]", "format 0.1, answer 0.2, consistency 0.3, counterfactual 0.4"),
        ("weights: 0.1,0.2,0.3,0.4", "format 0.1, answer 0.2, consistency 0.3, counterfactual 0.4"),
        ("weights:\n  grounding: 0.3\n  answer: 1", "grounding 0.3, answer 1"),
        ("weights:\n  answer: 1\nreward_options:\n  answer:\n    tolerance: 0.1", "answer 1"),
        (["--weights", "answer=1", "--reward_options", '{"answer": {"tolerance": 0.1}}'], "answer 1"),
    ],
)
def test_forms_of_weights(given, line, sft, records, tmp_path, capsys):
    if isinstance(given, str):
        (tmp_path / "config.yaml").write_text(given)
        given = ["--config", tmp_path / "config.yaml"]
    found = plan(capsys, *options(sft, records, tmp_path / "out", *given))
    assert f"rewards {line} counterfactuals" in found
    assert ("no reward asks" in found) == ("counterfactual 0" not in line)


# What it may be asked


def test_recorded_differences_train_without_a_live_pass(sft, records, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("train_grpo.LiveCounterfactuals", None)
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    recorded = {"delta_cf_roi": 0.75, "delta_cf_rand": 0.25}
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(json.dumps(row | recorded) + "\n" for row in rows))
    more = ["--image_root", records.parent, "--max_steps", 2]
    grpo(sft, path, tmp_path / "out", *more)
    assert "counterfactuals recorded" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert not log(tmp_path / "out", "seconds/counterfactual") and log(tmp_path / "out", "seconds/rewards")
    # Every right answer earns the recorded difference, 0.5.
    for right, earned in zip(
        log(tmp_path / "out", "rewards/answer/mean"),
        log(tmp_path / "out", "rewards/counterfactual/mean"),
        strict=True,
    ):
        assert earned == pytest.approx(right / 2)
    assert max(log(tmp_path / "out", "rewards/answer/mean")) > 0


OWN = """
import json

def looks(completions, *, least=0.0, **columns):
    with open({path!r}, "a") as file:
        first = {{name: str(value[0]) for name, value in columns.items() if type(value) is list and value}}
        print(json.dumps(first), file=file)
    if completions:
        columns["log_metric"]("own", 3.0)
    return [max(least, len(completion[0]["content"]) / 100) for completion in completions]
"""


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_reward_of_ones_own_trains_every_family(family, records, tmp_path):
    """Random models never write the object: only the user's own reward, a text's length, tells them apart."""
    tiny = save_tiny(family, tmp_path / "tiny")
    (tmp_path / "own.py").write_text(OWN.format(path=str(tmp_path / "columns.jsonl")))
    name = f"{tmp_path / 'own.py'}:looks"
    config = {"weights": {"counterfactual": 0.5, name: 1.0}, "reward_options": {name: {"least": 0.001}}}
    if family.startswith("qwen"):
        config |= {"min_pixels": 4096, "max_pixels": 50176}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    more = ["--max_steps", 2, "--max_completion_length", 12, "--save_strategy", "no"]
    grpo(tiny, records, tmp_path / "out", "--config", tmp_path / "config.yaml", *more)
    changed = changed_parts(tiny, tmp_path / "out")
    assert changed["vision"] == {False}
    assert True in changed["connector"] and True in changed["llm"]
    assert log(tmp_path / "out", f"rewards/{name}/mean") == pytest.approx(log(tmp_path / "out", "reward"))
    assert log(tmp_path / "out", "rewards/counterfactual/mean") == [0, 0] and log(
        tmp_path / "out", "own"
    ) == [3, 3]
    columns = json.loads((tmp_path / "columns.jsonl").read_text().splitlines()[-1])
    assert {"question", "answers", "boxes", "image_size", "box_format", "delta_cf_roi"} <= set(columns)
    assert columns["image_size"] == "[40, 40]" and columns["question"] == "what color is it?"
    run = run_file(tmp_path / "out")
    by_family = "pixels" if family == "qwen2_5_vl" else "norm1000"
    assert run["box_format"] == columns["box_format"] == by_family
    assert (run["min_pixels"], run["max_pixels"]) == (config.get("min_pixels"), config.get("max_pixels"))
    before, after = load_processor(str(tiny)), load_processor(str(tmp_path / "out"))
    assert after.tokenizer.padding_side == before.tokenizer.padding_side
    assert after.image_processor.to_dict() == before.image_processor.to_dict()


def test_a_generation_is_used_for_several_updates(sft, records, tmp_path):
    more = ["--num_iterations", 2, "--gradient_accumulation_steps", 2, "--per_device_train_batch_size", 4]
    grpo(sft, records, tmp_path / "out", *more, "--max_steps", 4, "--save_strategy", "no")
    entries = [entry for entry in run_file(tmp_path / "out")["log"] if "loss" in entry]
    assert len(entries) == 4
    for name in ("seconds/generation", "seconds/counterfactual", "completions/mean_length"):
        assert [entry["step"] for entry in entries if name in entry] == [1, 3]
    assert all(entry["seconds/update"] > 0 for entry in entries)


# Adapters


def save_adapter(base: Path, folder: Path) -> Path:
    """An adapter that says something else than its base."""
    model = load_model(str(base))
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=lora_targets(model, ["llm"]), init_lora_weights=False)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.1)
    adapted.save_pretrained(folder)
    load_processor(str(base)).save_pretrained(folder)
    shutil.copy(base / "run.json", folder)
    return folder


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_an_adapter_goes_on_training(beta, sft, records, tmp_path):
    start = save_adapter(sft, tmp_path / "start")
    grpo(start, records, tmp_path / "out", "--max_steps", 3, "--beta", beta, "--weights", "format=1,answer=1")
    before = load_file(start / "adapter_model.safetensors")
    after = load_file(tmp_path / "out/adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["base_model_name_or_path"] == str(
        sft
    )
    model = load_model(str(tmp_path / "out"))  # as predict.py reads it
    assert model.peft_config["default"].r == 4
    kl = log(tmp_path / "out", "kl")
    assert len(kl) == (3 if beta else 0)
    if beta:  # the reference is the adapter that it started from, not the base model
        assert kl[0] == pytest.approx(0, abs=1e-7) and kl[2] > 1e-6


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_new_adapter_on_a_whole_model(beta, sft, records, tmp_path):
    grpo(sft, records, tmp_path / "out", "--max_steps", 3, "--beta", beta, "--lora_rank", 4)
    adapter = load_file(tmp_path / "out/adapter_model.safetensors")
    assert adapter and all("language_model" in name for name in adapter)
    assert any(tensor.any() for name, tensor in adapter.items() if "lora_B" in name)
    assert set(changed_parts(sft, sft)["llm"]) == {False}
    kl = log(tmp_path / "out", "kl")
    assert len(kl) == (3 if beta else 0)
    if beta:
        assert kl[0] == pytest.approx(0, abs=1e-7) and kl[2] > 1e-6


def test_a_whole_model_with_a_reference(sft, records, tmp_path):
    grpo(sft, records, tmp_path / "out", "--max_steps", 3, "--beta", 0.5, "--save_strategy", "no")
    kl = log(tmp_path / "out", "kl")
    assert kl[0] == pytest.approx(0, abs=1e-7) and kl[2] > 1e-6


# What TRL computes of a batch


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Records about one image (0, 1), two images (4, 9) and none (3, 10)."""
    records = load_dataset(write_records(tmp_path_factory.mktemp("mixed"), 12))
    assert [len(records[index]["images"]) for index in (0, 1, 4, 9, 3, 10)] == [1, 1, 2, 2, 0, 0]
    return records


def length(completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]


def in_memory(family: str, records, folder: Path, share_prompts: bool) -> train_grpo.VQAGRPOTrainer:
    """A trainer that generates for three prompts at once, in three parts, with a remembered tower."""
    model, encoder = sharpened(family)
    freeze(model, ["vision"])
    args = train_grpo.VQAGRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_generations=4,
        steps_per_generation=3,
        gradient_accumulation_steps=1,
        max_completion_length=5,
        max_steps=1,
        share_prompts=share_prompts,
    )
    trainer = train_grpo.VQAGRPOTrainer(
        model=model,
        args=args,
        counterfactuals=None,
        encoder=encoder,
        processor=encoder.processor,
        run_file={},
        reward_funcs=[length],
        train_dataset=rollout_rows(records, encoder, "norm1000"),
        processing_class=rollout_processor(encoder.processor, encoder),
    )
    admit_records_without_images([trainer.model, None], [records, None], sharded=False)
    remember_features(trainer.model, 2**30)
    trainer.model.train()
    return trainer, encoder


def log_probs(trainer, part) -> torch.Tensor:
    """Log probabilities of the completions' tokens, as the loss takes them."""
    names = ("pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "mm_token_type_ids")
    names += ("token_type_ids",)
    with torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([part["prompt_ids"], part["completion_ids"]], 1),
            torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
            part["completion_ids"].shape[1],
            **{name: part.get(name) for name in names},
        )[0]


@pytest.mark.parametrize("shared", [True, False], ids=["a row a prompt", "a row a completion"])
@pytest.mark.parametrize("drawn", [(0, 4, 1), (0, 4, 3), (3, 10, 1), (3, 10, 3)], ids=str)
@pytest.mark.parametrize("family", [*TINY_FAMILIES, "gemma3"])
def test_log_probs_are_those_of_prediction_whatever_images_a_batch_has(
    family, drawn, shared, mixed, tmp_path
):
    """Prompts with one, two and no images, shuffled and cut into parts, as for the loss and before it."""
    if family in ("idefics3", "smolvlm") and drawn == (0, 4, 3):
        pytest.skip("refused: the next test")
    if family == "gemma3" and shared:
        pytest.skip("refused: tests/test_gemma3.py")
    trainer, encoder = in_memory(family, mixed.select(drawn), tmp_path, shared)
    rows = list(trainer.train_dataset)
    known = {}
    for row in rows:
        (prompt,) = encoder.encode([as_record(row)], STYLE)
        known[tuple(prompt.input_ids)] = prompt
    seen = set()
    for trainer._step in range(3):
        part = trainer._prepare_inputs([row for row in rows for _ in range(4)])
        found, mask = log_probs(trainer, part), part["completion_mask"]
        for number in range(4):
            prompt = known[tuple(part["prompt_ids"][number][part["prompt_mask"][number].bool()].tolist())]
            completion = part["completion_ids"][number][mask[number].bool()].tolist()
            expected = plain_score(trainer.model, encoder, prompt, completion)
            for values in (found, part["old_per_token_logps"]):
                assert (values[number] * mask[number]).sum().item() == pytest.approx(expected, abs=1e-4)
            seen.add(tuple(prompt.input_ids))
    assert len(seen) == len({*drawn})


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_rows_of_a_prompt_have_the_gradient_of_a_row_for_each_completion(family, mixed, tmp_path):
    trainer, _ = in_memory(family, mixed.select([0, 1, 9]), tmp_path, True)
    rows = list(trainer.train_dataset)
    part = trainer._prepare_inputs([row for row in rows for _ in range(4)])
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    gradients, entropies = {}, {}
    for trainer.args.share_prompts in (True, False):
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, part).backward()
        found = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        gradients[trainer.args.share_prompts] = torch.cat(found)
        entropies[trainer.args.share_prompts] = trainer._metrics["train"]["entropy"].pop()
    difference = gradients[True] - gradients[False]
    assert gradients[False].norm() > 0
    assert difference.norm() <= 1e-4 * gradients[False].norm()
    assert entropies[True] == pytest.approx(entropies[False], rel=1e-4)


@pytest.mark.parametrize(
    ("family", "drawn", "sharded", "message"),
    [
        ("llava", (0, 4, 3), True, "record r3: no image, and with FSDP and DeepSpeed every record needs"),
        ("idefics3", (0, 3, 4), False, "record r3: no image, while others have several: idefics3"),
        ("smolvlm", (4, 10), False, "record r10: no image, while others have several: smolvlm"),
    ],
)
def test_records_without_images_that_cannot_be_served(family, drawn, sharded, message, mixed):
    model, _ = build_tiny_model(family)
    with pytest.raises(UserError, match=message):
        admit_records_without_images([model, None], [mixed.select(drawn), None], sharded)
    with pytest.raises(UserError, match=message):
        admit_records_without_images([model], [mixed.select([0, 1, drawn[1]]), mixed.select(drawn)], sharded)
    admit_records_without_images([model], [mixed.select([0, 4])], sharded)
    if not sharded:
        admit_records_without_images([model], [mixed.select([0, 3])], sharded)


def test_records_with_and_without_images_train(sft, mixed, tmp_path):
    more = ["--beta", 0.1, "--max_steps", 6, "--max_completion_length", 20, "--save_strategy", "no"]
    more += ["--num_generations", 2, "--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 3]
    records = Path(mixed[0]["images"][0]).parent / "train.jsonl"
    more += ["--validation_file", records, "--eval_strategy", "steps", "--eval_steps", 6]
    grpo(sft, records, tmp_path / "out", *more)
    assert len(log(tmp_path / "out")) == 6 and log(tmp_path / "out", "eval_reward")


# Going on after a crash


def killed(arguments: list[str], output: Path) -> None:
    """Start a run and kill it as soon as it has a complete checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "train_grpo.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not complete_checkpoints(output) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def assert_same_end(one: Path, other: Path, steps: int) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for key in ("loss", "reward", "completions/mean_length", "num_tokens"):
        assert log(one, key)[-steps:] == log(other, key)[-steps:], key


def test_killed_and_resumed_run_ends_with_the_same_bits(sft, records, tmp_path):
    """Four steps are an epoch: a resumed run goes on in the first, at its end, and in the second."""
    more = ["--weights", "format=0.4,answer=0.2,consistency=0.1,counterfactual=0.3"]
    more += ["--max_steps", 7, "--save_steps", 2, "--lr_scheduler_type", "constant"]
    grpo(sft, records, tmp_path / "whole", *more)
    assert len(set(log(tmp_path / "whole", "num_tokens"))) == 7
    killed(options(sft, records, tmp_path / "killed", *more), tmp_path / "killed")
    # What a kill in the middle of a checkpoint leaves must not be taken for the latest.
    (tmp_path / "killed/checkpoint-9999").mkdir()
    latest = [*more, "--resume_from_checkpoint", "latest"]
    resumed = run_script("train_grpo.py", *options(sft, records, tmp_path / "killed", *latest))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_end(tmp_path / "whole", tmp_path / "killed", 1)
    for step in (4, 6):
        again = [*more, "--resume_from_checkpoint", tmp_path / f"whole/checkpoint-{step}"]
        grpo(sft, records, tmp_path / f"from{step}", *again)
        assert_same_end(tmp_path / "whole", tmp_path / f"from{step}", 7 - step)


def test_resumed_with_several_updates_a_generation(sft, records, tmp_path):
    more = ["--num_iterations", 2, "--max_steps", 6, "--save_steps", 2, "--lr_scheduler_type", "constant"]
    grpo(sft, records, tmp_path / "whole", *more)
    again = [*more, "--resume_from_checkpoint", tmp_path / "whole/checkpoint-4"]
    grpo(sft, records, tmp_path / "resumed", *again)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


# Mistakes


def test_a_mistake_ends_the_script_with_one_line(sft, records, tmp_path):
    result = run_script("train_grpo.py", *options(sft, records, tmp_path / "out", "--weights", "fromat=1"))
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        "train_grpo.py: error: reward 'fromat': unknown; known: "
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--learning_rate", "fast"], "learning_rate"),
        (["--no_such_option", "1"], "no_such_option"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--weights", "0.2,0.4"], "weights: 2 for 4 rewards"),
        (["--weights", "answer=-1"], "weights: answer: expected a number"),
        (["--weights", "nowhere.py:f=1"], "nowhere.py: no such file"),
        (["--reward_options", '{"format": {"strict": true}}'], "format has no option 'strict'"),
        (["--reward_options", '{"grounding": {}}'], "grounding is not among the rewards"),
        (["--reward_options", "strict"], "reward_options"),
        (["--counterfactual_method", "erase"], "--counterfactual_method erase: choose from telea"),
        (["--counterfactual_batch_size", "0"], "--counterfactual_batch_size 0: 1 or more"),
        (["--box_format", "miles"], "--box_format miles"),
        (["--freeze", "wings"], "--freeze wings"),
        (["--freeze", "vision", "connector", "llm"], "nothing trains"),
        (["--per_device_train_batch_size", "6"], "num_generations"),
        (["--num_generations", "1"], "at least 2 generations"),
        (["--use_vllm"], "--use_vllm: vllm is not installed"),
        (["--sft_checkpoint", "./no/model"], "no such model folder"),
        (["--train_files", "no.jsonl"], "no.jsonl"),
        (["--source_weights", "mars=1"], "no record has the source 'mars'"),
        (["--resume_from_checkpoint", "no/checkpoint-1"], "not a complete checkpoint"),
        (["--max_pixels", "4000"], "Qwen families"),
        (["--feature_memory", "-1"], "--feature_memory"),
        (["--sentence_encoder", "./no/encoder", "--weights", "consistency=1"], "./no/encoder"),
    ],
)
def test_mistakes_get_one_clear_line(more, message, sft, records, tmp_path):
    weights = () if {"--weights", "--reward_options"} & set(more) else ("--weights", QUICK)
    with pytest.raises(UserError) as caught:
        run_main(train_grpo, *options(sft, records, tmp_path / "out", "--max_steps", 1, *weights, *more))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_needs_records_and_a_model(sft, records):
    for arguments in (["--sft_checkpoint", sft], ["--train_files", records]):
        with pytest.raises(UserError, match="--train_files and --sft_checkpoint or --model_name_or_path are"):
            run_main(train_grpo, *arguments)


def test_faults_of_records_are_named_before_a_model_is_loaded(sft, records, tmp_path, monkeypatch):
    monkeypatch.setattr("train_grpo.build_model", None)
    lines = records.read_text().splitlines()
    faulty = tmp_path / "faulty.jsonl"
    faulty.write_text("\n".join([lines[0], '{"question": ', lines[1].replace("red1.png", "gone.png")]))
    more = ["--image_root", records.parent]
    with pytest.raises(UserError) as caught:
        grpo(sft, faulty, tmp_path / "out", *more)
    assert f"{faulty}:2: not valid JSON" in str(caught.value) and f"{faulty}:3: images" in str(caught.value)
    rows = [json.loads(line) for line in lines[:2]]
    rows[0]["delta_cf_roi"] = rows[0]["delta_cf_rand"] = 0.5
    faulty.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="record red1: no recorded delta_cf_roi and delta_cf_rand"):
        grpo(sft, faulty, tmp_path / "out", *more)


def test_no_second_adapter_on_an_adapter(sft, records, tmp_path):
    start = save_adapter(sft, tmp_path / "start")
    for more in ([], ["--dry_run"]):
        with pytest.raises(UserError, match=f"--lora_rank: {start} is an adapter, which keeps its own rank"):
            grpo(start, records, tmp_path / "out", "--lora_rank", 4, *more)
