"""train_sft.py as its user runs it: plans, frozen parts, resume, adapters, bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.helpers import ROOT, run_script, write_color_records, write_records
from vqa.models import FAMILIES, load_model, load_processor
from vqa.runs import complete_checkpoints
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model

CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if "train_files" in path.read_text())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder with a saved tiny model of every family."""
    folder = tmp_path_factory.mktemp("tiny")
    for family in TINY_FAMILIES:
        model, processor = build_tiny_model(family)
        model.save_pretrained(folder / family)
        processor.save_pretrained(folder / family)
    return folder


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("records"), 40)


def train(model: Path, records: Path, output: Path, *more: str, **kwargs) -> subprocess.CompletedProcess:
    return run_script(
        "train_sft.py",
        *("--model_name_or_path", model, "--train_files", records, "--output_dir", output),
        *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--logging_steps", "1", *more),
        **kwargs,
    )


def losses(output: Path) -> list[float]:
    log = json.loads((output / "run.json").read_text())["log"]
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_trains_what_should_train_and_nothing_frozen(family, tiny, records, tmp_path):
    result = train(tiny / family, records, tmp_path, "--max_steps", "2", "--freeze", "vision")
    assert result.returncode == 0, result.stderr
    before = dict(load_model(str(tiny / family)).named_parameters())
    model = load_model(str(tmp_path))
    part_of = FAMILIES[model.config.model_type].part_of
    changed = {part: set() for part in ("vision", "connector", "llm")}
    for name, parameter in model.named_parameters():
        changed[part_of(name)].add(not torch.equal(parameter, before[name]))
    assert changed["vision"] == {False}
    assert True in changed["connector"] and True in changed["llm"]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["answer_style"] == "short" and run["box_format"] == "norm1000"
    assert run["data"][str(records)] and run["versions"]["torch"] and run["seed"] == 42
    load_processor(str(tmp_path))
    assert not list(tmp_path.rglob("*.bin")) or all(
        p.name == "training_args.bin" for p in tmp_path.rglob("*.bin")
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_shipped_config_passes_a_dry_run(config, records):
    arguments = ["--config", config, "--train_files", records, "--image_root", records.parent]
    if "validation_file" in config.read_text():
        arguments += ["--validation_file", records]
    script, told = "train_sft.py", "supervised tokens"
    if config.name.startswith("grpo_"):
        script, told = "train_grpo.py", "tokens a completion"
    elif config.parent.name == "distill":
        script = "train_distill.py"
    result = run_script(script, *arguments, "--dry_run")
    assert result.returncode == 0, result.stderr
    assert "trainable" in result.stdout and told in result.stdout and "GiB" in result.stdout


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_key_of_a_config_has_a_comment_in_its_group(config):
    keys = set(yaml.safe_load(config.read_text()))
    assert {"model_name_or_path", "train_files", "output_dir", "seed"} <= keys


@pytest.mark.parametrize("grouped", ["true", "false"])
def test_killed_and_resumed_run_ends_with_the_same_bits(grouped, tiny, records, tmp_path):
    steps = ["--max_steps", "14", "--save_steps", "4", "--freeze", "vision", "--group_by_image", grouped]
    assert train(tiny / "llava", records, tmp_path / "whole", *steps).returncode == 0
    command = [
        sys.executable,
        "train_sft.py",
        "--model_name_or_path",
        str(tiny / "llava"),
        "--train_files",
        str(records),
    ]
    command += [
        "--output_dir",
        str(tmp_path / "killed"),
        "--per_device_train_batch_size",
        "4",
        "--learning_rate",
        "1e-3",
    ]
    command += ["--logging_steps", "1", *steps]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while (
        not complete_checkpoints(tmp_path / "killed")
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a kill in the middle of a checkpoint leaves: no trainer state. It must not be taken for the latest.
    broken = tmp_path / "killed" / "checkpoint-9999"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    resumed = train(
        tiny / "llava", records, tmp_path / "killed", *steps, "--resume_from_checkpoint", "latest"
    )
    assert resumed.returncode == 0, resumed.stderr
    whole, again = (
        load_file(tmp_path / "whole/model.safetensors"),
        load_file(tmp_path / "killed/model.safetensors"),
    )
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert losses(tmp_path / "whole")[-3:] == losses(tmp_path / "killed")[-3:]


def test_cached_features_give_the_same_losses(tiny, records, tmp_path):
    steps = ["--max_steps", "4", "--freeze", "vision"]
    cache = ["--cache_vision_features", tmp_path / "features"]
    assert train(tiny / "llava", records, tmp_path / "plain", *steps).returncode == 0
    assert train(tiny / "llava", records, tmp_path / "cached", *steps, *cache).returncode == 0
    assert losses(tmp_path / "plain") == pytest.approx(losses(tmp_path / "cached"), rel=1e-5)


def test_questions_of_an_image_share_rows_by_default(tiny, tmp_path):
    records = write_color_records(tmp_path / "colors")
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    more = [row | {"id": f"{row['id']} again", "question": "what color has it?"} for row in rows]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows + more))
    plan = ["--max_steps", "2", "--dry_run"]
    grouped = train(tiny / "qwen2_vl", records, tmp_path, *plan)
    assert "grouped by image" in grouped.stdout and "questions an image" in grouped.stdout, grouped.stderr
    single = train(tiny / "qwen2_vl", records, tmp_path, *plan, "--group_by_image", "false")
    assert single.returncode == 0 and "grouped by image" not in single.stdout
    budget = ["--tokens_per_batch", "300", "--questions_per_image", "2", "--max_steps", "3"]
    result = train(tiny / "qwen2_vl", records, tmp_path, *budget)
    assert result.returncode == 0, result.stderr
    assert len(losses(tmp_path)) == 3
    small = train(tiny / "qwen2_vl", records, tmp_path, "--tokens_per_batch", "20")
    assert small.returncode == 2 and "tokens are more than --tokens_per_batch 20" in small.stderr
    assert "record red0: " in small.stderr and "Traceback" not in small.stderr


def test_eager_attention_is_refused_by_name(tiny, records, tmp_path):
    eager = ["--attn_implementation", "eager"]
    result = train(tiny / "llava", records, tmp_path, *eager, "--group_by_image", "true")
    assert result.returncode == 2 and "--attn_implementation eager" in result.stderr
    assert "Traceback" not in result.stderr
    allowed = train(
        tiny / "llava", records, tmp_path, *eager, "--group_by_image", "false", "--max_steps", "1"
    )
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize("bf16", ["true", "false"])
def test_attention_that_ignores_the_mask_is_found_out(tiny, records, tmp_path, bf16):
    """A kernel registered as `sdpa` that looks at all earlier tokens, whatever the mask says."""
    (tmp_path / "sitecustomize.py").write_text(
        "import torch\n"
        "plain = torch.nn.functional.scaled_dot_product_attention\n"
        "def leaky(query, key, value, attn_mask=None, **kwargs):\n"
        "    if attn_mask is not None and attn_mask.ndim == 4 and query.shape[-2] > 1:\n"
        "        n = query.shape[-2]\n"
        "        attn_mask = torch.ones(n, key.shape[-2], dtype=torch.bool).tril()\n"
        "    return plain(query, key, value, attn_mask=attn_mask, **kwargs)\n"
        "torch.nn.functional.scaled_dot_product_attention = leaky\n"
    )
    options = ["--max_steps", "1", "--group_by_image", "true", "--bf16", bf16]
    result = train(tiny / "llava", records, tmp_path / "out", *options, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 2, result.stderr
    assert "attention does not follow the mask" in result.stderr and "Traceback" not in result.stderr


def test_rounding_is_no_leak(tiny, records, tmp_path):
    """Under autocast alone every second loss is half a percent off, as that of SmolLM2-135M was."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, torch\n"
        "plain, errors = torch.nn.functional.cross_entropy, itertools.cycle([1.0, 1.005])\n"
        "def coarse(*args, **kwargs):\n"
        "    loss = plain(*args, **kwargs)\n"
        "    return loss * next(errors) if torch.is_autocast_enabled('cpu') else loss\n"
        "torch.nn.functional.cross_entropy = coarse\n"
    )
    options = ["--max_steps", "1", "--group_by_image", "true", "--bf16", "true"]
    result = train(tiny / "llava", records, tmp_path / "out", *options, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 0, result.stderr


def test_blocks_of_logits_do_not_change_the_losses(tiny, records, tmp_path):
    steps = ["--max_steps", "4", "--gradient_accumulation_steps", "2"]
    assert train(tiny / "qwen2_vl", records, tmp_path / "few", *steps).returncode == 0
    assert train(tiny / "qwen2_vl", records, tmp_path / "blocks", *steps, "--max_logits", "0").returncode == 0
    assert losses(tmp_path / "few") == pytest.approx(losses(tmp_path / "blocks"), rel=1e-4)


def test_lora_trains_the_llm_only_and_merges_exactly(tiny, records, tmp_path):
    result = train(
        tiny / "llava", records, tmp_path, "--max_steps", "3", "--lora_rank", "4", "--merge_adapter"
    )
    assert result.returncode == 0, result.stderr
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    assert adapter and all("language_model" in name for name in adapter)
    with_adapter, merged = load_model(str(tmp_path)), load_model(str(tmp_path / "merged"))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            merged(input_ids=ids).logits, with_adapter(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )
        base = load_model(str(tiny / "llava"))
        assert not torch.equal(base(input_ids=ids).logits, merged(input_ids=ids).logits)


def test_qlora_trains_on_the_cpu(tiny, records, tmp_path):
    result = train(
        tiny / "qwen2_vl", records, tmp_path, "--max_steps", "3", "--lora_rank", "4", "--load_in_4bit"
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_rates_by_part(tiny, records, tmp_path):
    rates = ["--vision_learning_rate", "0", "--connector_learning_rate", "1e-2"]
    result = train(tiny / "llava", records, tmp_path, "--max_steps", "2", *rates)
    assert result.returncode == 0, result.stderr
    before = dict(load_model(str(tiny / "llava")).named_parameters())
    moved = {part: 0.0 for part in ("vision", "connector", "llm")}
    for name, parameter in load_model(str(tmp_path)).named_parameters():
        part = FAMILIES["llava"].part_of(name)
        moved[part] = max(moved[part], float((parameter - before[name]).abs().max()))
    assert moved["vision"] == 0 < moved["llm"] < moved["connector"]


def test_best_checkpoint_by_accuracy_of_answers(tiny, tmp_path):
    records = write_color_records(tmp_path / "colors")
    options = [
        "--validation_file",
        records,
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "2",
        "--save_steps",
        "2",
    ]
    options += [
        "--load_best_model_at_end",
        "--metric_for_best_model",
        "accuracy",
        "--early_stopping_patience",
        "2",
    ]
    result = train(tiny / "llava", records, tmp_path / "out", "--max_steps", "12", *options)
    assert result.returncode == 0, result.stderr
    run = json.loads((tmp_path / "out/run.json").read_text())
    accuracies = [entry["eval_accuracy"] for entry in run["log"] if "eval_accuracy" in entry]
    assert run["best_metric"] == max(accuracies)
    best = load_file(Path(run["best_checkpoint"]) / "model.safetensors")
    final = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(best[name], final[name]) for name in best)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--learning_rate", "fast"], "learning_rate"),
        (["--no_such_option", "1"], "no_such_option"),
        (["--config=x.yaml"], "--config x.yaml"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--answer_style", "long"], "--answer_style long"),
        (["--box_format", "miles"], "--box_format miles"),
        (["--freeze", "wings"], "--freeze wings"),
        (["--freeze", "vision", "connector", "llm"], "nothing trains"),
        (["--source_weights", "mars=1"], "no record has the source 'mars'"),
        (["--type_weights", "yes_no=-1"], "expected NAME=NUMBER"),
        (["--cache_vision_features", "f"], "--freeze vision"),
        (["--backend", "unsloth"], "unsloth"),
        (["--resume_from_checkpoint", "no/checkpoint-1"], "not a complete checkpoint"),
        (["--model_name_or_path", "./no/model"], "no such model folder"),
        (["--train_files", "no.jsonl"], "no.jsonl"),
        (["--max_length", "10"], "more than max_length 10"),
        (["--max_pixels", "4000"], "Qwen families"),
    ],
)
def test_mistakes_get_one_clear_line(options, message, tiny, records, tmp_path):
    result = train(tiny / "llava", records, tmp_path / "out", "--max_steps", "1", *options)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
