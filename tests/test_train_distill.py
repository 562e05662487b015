"""train_distill.py: every method learns from its teacher, caches are bound, cuts are plain models."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

import train_distill
from tests.helpers import ROOT, run_main, run_script, write_color_records
from vqa import teacher_cache
from vqa.distillation import generalized_jsd
from vqa.errors import UserError
from vqa.models import FAMILIES, load_model
from vqa.tiny_models import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A teacher and a student of the same tokenizer, and records."""
    folder = tmp_path_factory.mktemp("distill")
    write_color_records(folder / "records")
    for family in ("llava", "qwen2_vl"):
        for name, seed in (("teacher", 0), ("student", 1)):
            model, processor = build_tiny_model(family, seed)
            if name == "teacher":  # not indifferent, as fresh ones are
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.ndim > 1:
                            parameter.mul_(4)
            model.save_pretrained(folder / f"{family}_{name}")
            processor.save_pretrained(folder / f"{family}_{name}")
    return folder


def options(folder, output, method, *more, family="llava"):
    return [
        *("--model_name_or_path", folder / f"{family}_student", "--method", method, "--output_dir", output),
        *("--teacher_model_name_or_path", folder / f"{family}_teacher"),
        *("--train_files", folder / "records/colors.jsonl", "--per_device_train_batch_size", 8),
        *("--max_steps", 4, "--learning_rate", 1e-2, "--logging_steps", 1, "--freeze", "vision"),
        *("--save_strategy", "no", "--disable_tqdm", "true", "--max_completion_length", 8, *more),
    ]


def log(output, name):
    entries = json.loads((output / "run.json").read_text())["log"]
    return [entry[name] for entry in entries if name in entry]


SPARSE = {method: ["sparse", "--sparse_method", method] for method in ("rs", "gumbel_ht", "topk")}


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("method", ["traces", "dense", "rs", "gumbel_ht", "topk", "on_policy"])
def test_every_method_trains_the_student_and_nothing_frozen(method, family, folder, tmp_path):
    arguments = SPARSE.get(method, [method])
    if method in SPARSE:
        arguments = [*arguments, "--cache_teacher", tmp_path / "cache"]
    run_main(train_distill, *options(folder, tmp_path / "out", *arguments, family=family))
    before, after, teacher = (
        dict(load_model(str(path)).named_parameters())
        for path in (folder / f"{family}_student", tmp_path / "out", folder / f"{family}_teacher")
    )
    changed = {"vision": set(), "connector": set(), "llm": set()}
    for name, parameter in after.items():
        changed[FAMILIES[family].part_of(name)].add(not torch.equal(parameter, before[name]))
    assert changed["vision"] == {False} and True in changed["llm"]
    assert not all(torch.equal(teacher[name], after[name]) for name in after)
    if method not in ("traces",):
        assert len(log(tmp_path / "out", "divergence")) == 4


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_is_trls(beta, temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(7, 50, generator=generator) * 3 for _ in "ab")
    identity = torch.eye(50)
    rest = (beta, temperature, 1.0, None, 1.0, None)
    expected, _ = ChunkedDivergenceFunction.apply(student, identity, None, teacher, identity, None, *rest)
    torch.testing.assert_close(generalized_jsd(student, teacher, beta, temperature), expected)


def test_a_dense_student_approaches_its_teacher(folder, tmp_path):
    more = ["--alpha", 1, "--max_steps", 40, "--temperature", 2]
    run_main(train_distill, *options(folder, tmp_path, "dense", *more))
    divergence = log(tmp_path, "divergence")
    assert divergence[-1] < divergence[0] / 5
    # The factor T^2 is in it, and alpha 1 leaves the answers out.
    assert log(tmp_path, "loss") == pytest.approx(divergence, rel=1e-3)


def test_loss_is_the_mix_and_blocks_change_nothing(folder, tmp_path):
    found = {}
    for name, more in {"one": [], "blocks": ["--max_logits", 1000]}.items():
        run_main(train_distill, *options(folder, tmp_path / name, "dense", "--alpha", 0.3, *more))
        parts = [log(tmp_path / name, part) for part in ("loss", "divergence", "cross_entropy")]
        for loss, divergence, cross_entropy in zip(*parts, strict=True):
            assert loss == pytest.approx(0.3 * divergence + 0.7 * cross_entropy, rel=1e-3)
        found[name] = parts[0]
    assert found["one"] == pytest.approx(found["blocks"], rel=1e-4)


def test_grouped_rows_get_each_question_its_own_targets(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "records/colors.jsonl").read_text().splitlines()]
    more = [row | {"id": row["id"] + "b", "question": "which color has it, say?"} for row in rows]
    records = folder / "records/pairs.jsonl"
    records.write_text("".join(json.dumps(row) + "\n" for row in rows + more))
    found = {}
    for grouped in ("true", "false"):
        arguments = [
            "--train_files",
            records,
            "--group_by_image",
            grouped,
            "--per_device_train_batch_size",
            32,
        ]
        arguments += ["--max_steps", 2, "--sparse_method", "topk", "--cache_teacher", tmp_path / "cache"]
        run_main(train_distill, *options(folder, tmp_path / grouped, "sparse", *arguments))
        found[grouped] = log(tmp_path / grouped, "divergence")
    # One step holds all records: their targets must be the same, whatever row they stand in.
    assert found["true"] == pytest.approx(found["false"], rel=1e-3)


# The cache


def test_sparse_training_never_loads_the_teacher(folder, tmp_path, monkeypatch):
    cache = ["--cache_teacher", tmp_path / "cache"]
    run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *cache, "--cache_only", "true"))
    assert not (tmp_path / "a/model.safetensors").exists()
    monkeypatch.setattr("vqa.teacher_pass.load_teacher", lambda *_, **__: pytest.fail("loaded"))
    arguments = options(folder, tmp_path / "b", "sparse", *cache)
    run_main(train_distill, *arguments)
    place = arguments.index("--teacher_model_name_or_path")
    run_main(train_distill, *arguments[:place], *arguments[place + 2 :], "--output_dir", tmp_path / "c")
    assert log(tmp_path / "b", "loss") == log(tmp_path / "c", "loss")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--sparse_size", "9"], "size 12, here 9"),
        (["--sparse_method", "topk"], "method gumbel_ht, here topk"),
        (["--temperature", "2"], "temperature 1.0, here 2.0"),
        (["--answer_style", "structured"], "prompts"),
        (["--train_files", "other"], "records"),
        (["--teacher_model_name_or_path", "other"], "teacher"),
    ],
)
def test_a_cache_of_something_else_is_refused_by_name(more, named, folder, tmp_path):
    cache = ["--cache_teacher", tmp_path / "cache"]
    run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *cache, "--cache_only", "true"))
    if more[-1] == "other":
        rows = (folder / "records/colors.jsonl").read_text().splitlines(keepends=True)
        (folder / "records/fewer.jsonl").write_text("".join(rows[1:]))
        path = {"records": folder / "records/fewer.jsonl", "teacher": folder / "llava_student"}[named]
        more = [more[0], path]
    with pytest.raises(UserError, match=named):
        run_main(train_distill, *options(folder, tmp_path / "b", "sparse", *cache, *more))


def test_a_pass_that_was_cut_off_goes_on_and_damage_is_found(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "RECORDS_PER_SHARD", 5)
    whole = ["--cache_teacher", tmp_path / "whole", "--cache_only", "true"]
    run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *whole))
    shards = sorted((tmp_path / "whole").glob("*.bin"))
    assert len(shards) == 4
    again = ["--cache_teacher", tmp_path / "again", "--cache_only", "true"]
    run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *again))
    for number in (1, 3):
        for end in ("bin", "json"):
            (tmp_path / f"again/shard-{number:05d}.{end}").unlink()
    kept = (tmp_path / "again/shard-00000.bin").stat().st_mtime_ns
    run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *again))
    assert (tmp_path / "again/shard-00000.bin").stat().st_mtime_ns == kept
    assert [path.read_bytes() for path in shards] == [
        (tmp_path / "again" / path.name).read_bytes() for path in shards
    ]
    blob = bytearray(shards[2].read_bytes())
    blob[3] ^= 1
    shards[2].write_bytes(blob)
    with pytest.raises(UserError, match=r"shard-00002\.bin: damaged"):
        run_main(train_distill, *options(folder, tmp_path / "a", "sparse", *whole))


def test_missing_shards_without_a_teacher(folder, tmp_path):
    arguments = options(folder, tmp_path / "a", "sparse", "--cache_teacher", tmp_path / "cache")
    place = arguments.index("--teacher_model_name_or_path")
    with pytest.raises(UserError, match="1 of 1 shards are missing; name the teacher"):
        run_main(train_distill, *arguments[:place], *arguments[place + 2 :])


# Teachers that do not fit


def test_another_tokenizer_is_an_error_that_says_so(folder, tmp_path):
    model, processor = build_tiny_model("smolvlm")
    model.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    arguments = options(folder, tmp_path / "out", "dense")
    with pytest.raises(UserError, match="another tokenizer than the student's: .* tokens differ"):
        run_main(train_distill, *arguments, "--teacher_model_name_or_path", tmp_path / "other")


@pytest.mark.parametrize("larger", ["teacher", "student"])
@pytest.mark.parametrize("method", ["dense", "sparse", "on_policy"])
def test_padded_vocabularies_are_cut_to_fit(method, larger, folder, tmp_path):
    model, processor = build_tiny_model("llava", 5)
    model.resize_token_embeddings(model.config.get_text_config().vocab_size + 64)
    model.save_pretrained(tmp_path / "padded")
    processor.save_pretrained(tmp_path / "padded")
    role = {"teacher": "--teacher_model_name_or_path", "student": "--model_name_or_path"}[larger]
    more = ["--cache_teacher", tmp_path / "cache", role, tmp_path / "padded"]
    run_main(train_distill, *options(folder, tmp_path / "out", method, *more))
    assert len(log(tmp_path / "out", "divergence")) == 4


# Resuming


@pytest.mark.parametrize("method", ["sparse", "dense"])
def test_killed_and_resumed_run_ends_with_the_same_bits(method, folder, tmp_path):
    more = ["--cache_teacher", tmp_path / "cache", "--max_steps", 12, "--save_strategy", "steps"]
    more += ["--save_steps", 4]
    run_main(train_distill, *options(folder, tmp_path / "whole", method, *more))
    arguments = options(folder, tmp_path / "killed", method, *more)
    process = subprocess.Popen(
        [sys.executable, "train_distill.py", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    state = tmp_path / "killed/checkpoint-4/trainer_state.json"
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_main(train_distill, *arguments, "--resume_from_checkpoint", "latest")
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert log(tmp_path / "whole", "loss")[-4:] == log(tmp_path / "killed", "loss")[-4:]


# Pruning


@pytest.mark.parametrize("steps", ["0", "0.5"])
@pytest.mark.parametrize("method", ["dense", "on_policy"])
def test_a_cut_student_is_a_plain_small_model(method, steps, folder, tmp_path):
    more = ["--prune", "structured", "--target_sparsity", 0.2, "--pruning_steps", steps]
    more += ["--pruning_frequency", 1]
    run_main(train_distill, *options(folder, tmp_path, method, *more))
    small = load_model(str(tmp_path))
    pruning = json.loads((tmp_path / "run.json").read_text())["pruning"]
    assert small.num_parameters() == pruning["parameters"] < pruning["parameters_before"]
    assert small.config.text_config.intermediate_size < 64
    answer = ["--image", folder / "records/red0.png", "--question", "what color is it?"]
    result = run_script("predict.py", "--model_name_or_path", tmp_path, *answer)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("kind", "share"), [("unstructured", 0.65), ("2:4", 0.5)])
def test_zeros_are_called_zeros(kind, share, folder, tmp_path):
    more = ["--prune", kind, "--pruning_steps", 2, "--pruning_frequency", 1]
    run_main(train_distill, *options(folder, tmp_path, "dense", *more))
    pruning = json.loads((tmp_path / "run.json").read_text())["pruning"]
    assert pruning["zeros_among_pruned_weights"] == pytest.approx(share, abs=0.001)
    assert pruning["parameters"] == pruning["parameters_before"]


def test_rounds_cut_train_and_cut_again(folder, tmp_path):
    more = ["--prune", "structured", "--target_sparsity", 0.3, "--pruning_steps", 0, "--prune_rounds", 2]
    arguments = options(folder, tmp_path, "dense", *more, "--max_steps", 2)
    run_main(train_distill, *arguments)
    sizes = [
        load_model(str(path)).num_parameters()
        for path in (folder / "llava_student", tmp_path / "round-1", tmp_path)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    before = (tmp_path / "round-1/run.json").stat().st_mtime_ns
    run_main(train_distill, *arguments, "--resume_from_checkpoint", "latest")  # not made again
    assert (tmp_path / "round-1/run.json").stat().st_mtime_ns == before


def test_a_dry_run_plans_every_round_and_writes_nothing(folder, tmp_path, capsys):
    more = ["--prune", "structured", "--target_sparsity", 0.3, "--prune_rounds", 2, "--dry_run"]
    run_main(train_distill, *options(folder, tmp_path / "out", "dense", *more))
    printed = capsys.readouterr().out
    assert "FLOPs a token" in printed and "│ 2 " in printed and not (tmp_path / "out").exists()


def test_plan_needs_a_model():
    with pytest.raises(UserError, match="--model_name_or_path"):
        run_main(train_distill, "--plan")


def test_plan_needs_a_config_only():
    config = ROOT / "tests/architectures/gemma-3-27b-it"
    options = ["--prune", "structured", "--target_params", "9e9", "--prune_rounds", "3"]
    options += ["--prune_dimensions", "ffn", "heads", "layers"]
    result = run_script("train_distill.py", "--plan", "--model_name_or_path", config, *options)
    assert result.returncode == 0, result.stderr
    assert "27,4" in result.stdout and "8,9" in result.stdout


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--method", "distil"], "--method distil: choose from"),
        (["--alpha", "1.5"], "--alpha 1.5"),
        (["--temperature", "0"], "--temperature 0"),
        (["--method", "sparse"], "--cache_teacher FOLDER"),
        (["--prune", "some"], "--prune some"),
        (["--cache_only", "true"], "--cache_only: only --method sparse"),
        (["--sparse_method", "top"], "--sparse_method top"),
        (["--teacher_model_name_or_path", "/nowhere"], "/nowhere"),
        (["--lora_rank", "4", "--prune", "structured"], "leave --lora_rank out"),
    ],
)
def test_mistakes_get_one_line(more, named, folder, tmp_path):
    arguments = options(folder, tmp_path, "dense", *more)
    with pytest.raises(UserError, match=named) as caught:
        run_main(train_distill, *arguments)
    assert "\n" not in str(caught.value)
