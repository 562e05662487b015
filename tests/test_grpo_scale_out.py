"""train_grpo.py on two processes: every strategy finishes, whatever each has to measure, and alike."""

import json
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT, run_script, save_structured_model, write_records, write_structured_records
from tests.test_scale_out import COMPILE_TIMEOUT, TIMEOUT, deepspeed
from vqa.models import load_model
from vqa.sampling import EpochSampler

STEPS = 3
# Says what each process had to measure: how many completions have boxes.
COUNTING = """
import os
from rewards.completions import read_answers

def counting(completions, **columns):
    pointing = sum(answer is not None and bool(answer.boxes) for answer in read_answers(completions))
    if completions:
        with open(os.environ["COUNTS"] + os.environ["RANK"], "a") as file:
            print(pointing, file=file)
    return [0.0] * len(completions)
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Path, Path]:
    """A model that writes structured answers, and records."""
    folder = tmp_path_factory.mktemp("inputs")
    records = write_structured_records(folder / "records")
    return save_structured_model(records, folder), records


def train(strategy: str, inputs: tuple[Path, Path], folder: Path, timeout: int, *more: object) -> Path:
    """The output of a short run on two processes."""
    model, records = inputs
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(COUNTING)
    result = run_script(
        *("-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"),
        *("--config_file", ROOT / f"accelerate_configs/{strategy}_cpu.yaml", "train_grpo.py"),
        *("--sft_checkpoint", model, "--train_files", records, "--output_dir", folder / "out"),
        *("--freeze", "vision", "--per_device_train_batch_size", 4, "--num_generations", 4),
        *(
            "--max_steps",
            STEPS,
            "--max_completion_length",
            100,
            "--learning_rate",
            1e-3,
            "--logging_steps",
            1,
        ),
        # So small batches that the processes have different numbers of them.
        *("--counterfactual_batch_size", 1, "--disable_tqdm", "true", "--logging_steps", 1),
        *("--weights", f"format=0.4,answer=0.3,counterfactual=0.3,{folder / 'own.py'}:counting=0", *more),
        env={"COUNTS": f"{folder}/counts", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return folder / "out"


def entries(output: Path) -> list[dict]:
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert run["hardware"]["world_size"] == 2
    found = [entry for entry in run["log"] if "loss" in entry]
    assert len(found) == STEPS
    return found


@pytest.fixture(scope="module")
def ddp(inputs, tmp_path_factory) -> Path:
    return train("ddp", inputs, tmp_path_factory.mktemp("ddp"), TIMEOUT)


def test_processes_with_different_numbers_of_boxes(ddp, inputs):
    first, second = ([int(n) for n in (ddp.parent / f"counts{rank}").read_text().split()] for rank in (0, 1))
    assert len(first) == len(second) == STEPS and first != second
    for entry in entries(ddp):
        for name in ("format", "answer", "counterfactual"):
            assert 0 <= entry[f"rewards/{name}/mean"] <= 1
        assert entry["seconds/counterfactual"] > 0
    assert any(entry["reward"] > 0 for entry in entries(ddp))


@pytest.mark.parametrize(
    ("strategy", "trace", "timeout"),
    [
        pytest.param("fsdp2", "pytorch_model_fsdp.bin", TIMEOUT),
        pytest.param(
            "zero2", "global_step*/zero_pp_rank_1_*_optim_states.pt", COMPILE_TIMEOUT, marks=deepspeed
        ),
    ],
)
def test_sharded_training_follows_ddp(strategy, trace, timeout, ddp, inputs, tmp_path):
    """Same completions, rewards and weights, in a run that really sharded."""
    output = train(strategy, inputs, tmp_path, timeout)
    assert list((output / f"checkpoint-{STEPS}").glob(trace))
    for found, expected in zip(entries(output), entries(ddp), strict=True):
        for name in (
            "reward",
            "loss",
            "completions/mean_length",
            "rewards/counterfactual/mean",
            "num_tokens",
        ):
            assert found[name] == pytest.approx(expected[name], abs=1e-4), name
    base, expected = load_model(str(inputs[0])).state_dict(), load_model(str(ddp)).state_dict()
    for name, weight in load_model(str(output)).state_dict().items():
        # They are equal here; elsewhere rounding may differ, which AdamW's first steps blow up.
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-4, msg=name)
    assert max(float((expected[name] - base[name]).abs().max()) for name in base) > 5e-4


def test_one_process_may_have_images_where_the_other_has_none(inputs, tmp_path):
    records = write_records(tmp_path / "records", 6)
    has_image = [bool(json.loads(line)["images"]) for line in records.read_text().splitlines()]
    order = list(EpochSampler(6, seed=42))
    assert any(has_image[order[i]] != has_image[order[i + 1]] for i in (0, 2, 4))
    more = ["--beta", 0.1, "--max_completion_length", 10]
    assert len(entries(train("ddp", (inputs[0], records), tmp_path, TIMEOUT, *more))) == STEPS
