"""--prune in the training scripts: resumed runs end alike, cuts are checked, misfits are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import train_sft
from tests.helpers import run_main, write_color_records
from vqa.errors import UserError
from vqa.models import load_model
from vqa.pruning.cut import cut_model
from vqa.tiny_models import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruned")
    write_color_records(folder / "records")
    for family in ("llava", "qwen2_5_vl", "smolvlm"):
        model, processor = build_tiny_model(family)
        model.save_pretrained(folder / family)
        processor.save_pretrained(folder / family)
    return folder


def train(folder, output, *more, family="llava"):
    run_main(
        train_sft,
        *("--model_name_or_path", folder / family, "--train_files", folder / "records/colors.jsonl"),
        *("--output_dir", output, "--per_device_train_batch_size", 8, "--max_steps", 8, "--freeze", "vision"),
        *("--learning_rate", 1e-2, "--logging_steps", 1, "--save_steps", 4, "--disable_tqdm", "true"),
        *("--pruning_frequency", 2, "--pruning_steps", 6, *more),
    )


KINDS = {
    "structured": ["--prune", "structured", "--target_sparsity", 0.2],
    "unstructured": ["--prune", "unstructured"],
    "2:4": ["--prune", "2:4"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_run_ends_with_the_same_bits(kind, folder, tmp_path):
    train(folder, tmp_path / "whole", *KINDS[kind])
    shutil.copytree(tmp_path / "whole/checkpoint-4", tmp_path / "resumed/checkpoint-4")
    train(folder, tmp_path / "resumed", *KINDS[kind], "--resume_from_checkpoint", "latest")
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_without_masks_is_refused(folder, tmp_path):
    train(folder, tmp_path, *KINDS["unstructured"])
    (tmp_path / "checkpoint-8/pruning_masks.safetensors").unlink()
    with pytest.raises(UserError, match=r"checkpoint-8: no pruning_masks\.safetensors"):
        train(folder, tmp_path, *KINDS["unstructured"], "--resume_from_checkpoint", "latest")


@pytest.mark.parametrize("dimensions", [["ffn"], ["hidden"], ["layers", "ffn"]])
def test_families_are_cut_where_their_config_allows_it(dimensions, folder, tmp_path):
    more = [*KINDS["structured"], "--prune_dimensions", *dimensions]
    train(folder, tmp_path, *more, family="qwen2_5_vl")
    pruning = json.loads((tmp_path / "run.json").read_text())["pruning"]
    assert load_model(str(tmp_path)).num_parameters() == pruning["parameters"] < pruning["parameters_before"]


def test_activations_are_seen_before_a_cut_at_once(folder, tmp_path):
    more = [*KINDS["structured"], "--prune_importance", "activation", "--pruning_steps", 0]
    train(folder, tmp_path, *more)
    assert load_model(str(tmp_path)).config.text_config.intermediate_size < 64


def test_a_wrong_cut_is_found(folder, tmp_path, monkeypatch):
    def wrong(model, pruner):
        small = cut_model(model, pruner)
        with torch.no_grad():
            small.model.language_model.layers[0].mlp.down_proj.weight.add_(0.5)
        return small

    monkeypatch.setattr("vqa.pruning.training.cut_model", wrong)
    with pytest.raises(RuntimeError, match="the cut model's loss"):
        train(folder, tmp_path, *KINDS["structured"], "--pruning_steps", 0)


@pytest.mark.parametrize(
    ("family", "more", "named"),
    [
        ("smolvlm", [], "smolvlm"),
        ("qwen2_5_vl", ["--prune_dimensions", "heads"], "heads"),
        ("llava", ["--lora_rank", 4], "leave --lora_rank out"),
        ("llava", ["--target_sparsity", 0.99], "out of reach"),
        ("llava", ["--pruning_steps", 9], "--pruning_steps 9: training has only 8 steps"),
    ],
)
def test_what_cannot_be_pruned_gets_one_line(family, more, named, folder, tmp_path):
    with pytest.raises(UserError, match=named) as caught:
        train(folder, tmp_path, *KINDS["structured"], *more, family=family)
    assert "\n" not in str(caught.value)
