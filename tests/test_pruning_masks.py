"""Masks on single weights: which, how many, when, and that they stay through training and resuming."""

import os
import socket
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations import HfDeepSpeedConfig

from vqa.checkpoints import TraceableCheckpoints
from vqa.cli import parse_arguments
from vqa.errors import UserError
from vqa.models import freeze, load_model
from vqa.pruning.arguments import PruningArguments, check_pruning
from vqa.pruning.callback import PRUNING_MASKS, PruningCallback, check_can_prune
from vqa.pruning.magnitude import MagnitudePruner, TwoFourPruner, prunable_weights
from vqa.pruning.schedule import cubic_sparsity
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Matrices(nn.Module):
    """Linear layers and nothing else, in the place of a language model; the first one is used twice."""

    def __init__(self, shapes, seed, dtype=torch.float32):
        super().__init__()
        self.config = SimpleNamespace(model_type="llava")
        generator = np.random.default_rng(seed)
        self.layers = nn.ModuleList()
        for rows, columns in shapes:
            layer = nn.Linear(columns, rows, dtype=dtype)
            # Few values, so that many magnitudes are equal, and zeros among them; or nearly equal ones.
            values = generator.integers(-9, 10, (rows, columns)) / 8
            values *= 1 + seed % 2 * generator.integers(0, 99, (rows, columns)) / 2**14
            layer.weight.data = torch.from_numpy(values).to(dtype)
            self.layers.append(layer)
        self.again = self.layers[0]
        self.head = nn.Linear(4, 4)

    def get_output_embeddings(self):
        return self.head

    def arrays(self):
        return [layer.weight.detach().float().numpy().copy() for layer in self.layers]


def stable_masks(arrays, count):
    """The obvious way: sort all magnitudes, the first of equal ones first."""
    flat = np.concatenate([np.abs(array).ravel() for array in arrays])
    masked = np.zeros(flat.size, dtype=bool)
    masked[np.argsort(flat, kind="stable")[:count]] = True
    ends = np.cumsum([array.size for array in arrays])[:-1]
    return [part.reshape(array.shape) for part, array in zip(np.split(masked, ends), arrays, strict=True)]


shapes = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 13)), min_size=1, max_size=4)
shares = st.floats(0, 1)


# Which weights


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_only_matrices_of_language_model_and_connector_are_pruned(family):
    model, _ = build_tiny_model(family)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    MagnitudePruner(model, "layer").prune(0.5)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == set(prunable_weights(model))
    for name in changed:
        assert before[name].ndim == 2 and name.endswith("weight")
        assert not any(word in name for word in ("embed", "norm", "lm_head", "vision", "patch"))
        assert "visual" not in name or "merger" in name
    for piece in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        assert sum(piece in name and "vision" not in name for name in changed) == 2  # two layers each
    connector = {"llava": "multi_modal_projector", "idefics3": "connector", "smolvlm": "connector"}
    assert any(connector.get(family, "visual.merger") in name for name in changed)


def test_a_head_tied_to_the_embeddings_and_frozen_parts_stay():
    model, _ = build_tiny_model("llava")
    model.lm_head.weight = model.get_input_embeddings().weight
    freeze(model, ["connector"])
    names = prunable_weights(model)
    assert names and not any("embed" in name or "lm_head" in name or "projector" in name for name in names)
    freeze(model, ["llm"])
    with pytest.raises(UserError, match="--prune.*frozen"):
        MagnitudePruner(model, "global")


# How many, and which of them


@settings(max_examples=60, deadline=None)
@given(shapes, shares, shares, st.integers(0, 99), st.sampled_from(DTYPES), st.booleans())
def test_unstructured_masks_are_those_of_sorting_and_only_grow(shapes, first, second, seed, dtype, layerwise):
    model = Matrices(shapes, seed, dtype)
    arrays = model.arrays()
    pruner = MagnitudePruner(model, "layer" if layerwise else "global")
    before = None
    for share in sorted((first, second)):
        pruner.prune(share)
        found = [mask.numpy() for mask in pruner.state().values()]
        if layerwise:
            expected = [stable_masks([array], round(share * array.size))[0] for array in arrays]
        else:
            expected = stable_masks(arrays, round(share * sum(array.size for array in arrays)))
        for weight, array, mask, right in zip(model.arrays(), arrays, found, expected, strict=True):
            np.testing.assert_array_equal(mask, right)
            np.testing.assert_array_equal(weight, np.where(right, 0, array))
        assert before is None or all((new >= old).all() for new, old in zip(found, before, strict=True))
        before = found
    total = sum(array.size for array in arrays)
    assert pruner.report() == {"sparsity": sum(mask.sum() for mask in found) / total}


@settings(max_examples=60, deadline=None)
@given(shapes, st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 99), st.sampled_from(DTYPES))
def test_two_of_four_turn_by_groups(shapes, first, second, seed, dtype):
    model = Matrices(shapes, seed, dtype)
    arrays = model.arrays()
    pruner = TwoFourPruner(model)
    groups = sum(len(array) * (array.shape[1] // 4) for array in arrays)
    before = None
    for share in [*sorted((first, second)), 0.5]:
        pruner.prune(share)
        masks = [mask.numpy() for mask in pruner.state().values()]
        turned, cost_turned, cost_kept = 0, [0.0], [np.inf]
        for array, mask in zip(arrays, masks, strict=True):
            width = array.shape[1] // 4 * 4
            assert not mask[:, width:].any()  # the tail stays dense
            for four, masked in zip(
                np.abs(array[:, :width]).reshape(-1, 4), mask[:, :width].reshape(-1, 4), strict=True
            ):
                assert masked.sum() in (0, 2)
                two = np.argsort(four, kind="stable")[:2]
                if masked.any():
                    assert set(np.flatnonzero(masked)) == set(two)
                turned += int(masked.any())
                (cost_turned if masked.any() else cost_kept).append(four[two].sum())
        assert turned == round(share / 0.5 * groups)
        assert max(cost_turned) <= min(cost_kept)
        assert before is None or all((new >= old).all() for new, old in zip(masks, before, strict=True))
        before = masks
    assert turned == groups


def test_masked_weights_stay_masked_though_others_become_zero():
    model = Matrices([(8, 8)], 0)
    pruner = MagnitudePruner(model, "global")
    pruner.prune(0.5)
    kept = ~pruner.state()["layers.0.weight"]
    with torch.no_grad():
        model.layers[0].weight.masked_fill_(kept.flip(0) & kept, 0)  # unmasked zeros, some in front
    old = pruner.state()["layers.0.weight"]
    pruner.prune(0.5)
    assert torch.equal(pruner.state()["layers.0.weight"], old)


def test_apply_undoes_what_momentum_does():
    model = Matrices([(6, 8)], 3)
    pruner = MagnitudePruner(model, "global")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

    def step():
        model.layers[0].weight.square().sub(1).abs().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    pruner.prune(0.5)
    mask = pruner.state()["layers.0.weight"]
    step()
    assert model.layers[0].weight[mask].any()
    pruner.apply()
    assert not model.layers[0].weight[mask].any() and model.layers[0].weight[~mask].all()


def test_masks_of_another_model_are_refused():
    pruner = MagnitudePruner(Matrices([(4, 4), (2, 4)], 0), "global")
    pruner.prune(0.5)
    good = pruner.state()
    other = MagnitudePruner(Matrices([(4, 4), (2, 4)], 1), "global")
    other.load_state(good)
    assert all(torch.equal(mask, good[name]) for name, mask in other.state().items())
    name = "layers.1.weight"
    for bad in (
        {name: good[name]},
        good | {"more": good[name]},
        good | {name: good[name].T},
        good | {name: good[name].float()},
    ):
        with pytest.raises(UserError, match="masks of another model.*(layers|more)"):
            other.load_state(bad)
    other.load_state({})  # saved before the first pruning
    assert other.report() == {"sparsity": 0}


# When


@given(st.integers(0, 500), st.integers(1, 400), st.floats(0.01, 1))
def test_schedule_is_the_formula(step, last, final):
    share = cubic_sparsity(step, last, final)
    expected = final + (0 - final) * (1 - min(step, last) / last) ** 3
    assert share == pytest.approx(expected, abs=1e-12)
    assert cubic_sparsity(0, last, final) == 0 and cubic_sparsity(last, last, final) == final
    assert cubic_sparsity(step, 0, final) == final


class Recorder:
    """A pruner that notes what it is told to do."""

    def __init__(self):
        self.asked = []

    def prune(self, sparsity):
        self.asked.append(round(sparsity, 4))

    def apply(self):
        self.asked.append("apply")


@pytest.mark.parametrize(
    ("steps", "frequency", "expected"),
    [
        (0.5, 2, {2: 0.4688, 4: 0.6562, 5: 0.664}),
        (4, 3, {3: 0.6562, 4: 0.6667}),
        (10, 4, {4: 0.5227, 8: 0.6613, 10: 0.6667}),
        (0.05, 100, {1: 0.6667}),
        (0, 1, {0: 0.6667}),
    ],
)
def test_prunes_every_so_many_steps_and_at_the_last(steps, frequency, expected):
    final = 2 / 3
    pruner = Recorder()
    callback = PruningCallback(pruner, final=final, frequency=frequency, steps=steps)
    state = SimpleNamespace(global_step=0, max_steps=10, best_metric=0.9)
    callback.on_train_begin(None, state, None)
    found = {0: pruner.asked[0]} if pruner.asked else {}
    for step in range(1, 11):
        pruner.asked.clear()
        callback.on_optimizer_step(None, state, None)
        state.global_step = step
        callback.on_step_end(None, state, None)
        assert pruner.asked[0] == "apply"
        found |= dict.fromkeys([step] * len(pruner.asked[1:]), pruner.asked[-1])
    last = 5 if steps == 0.5 else max(expected)
    assert found.keys() == expected.keys()
    for step, share in found.items():
        assert share == pytest.approx(cubic_sparsity(step, last, final) if last else final, abs=1e-4)


def test_steps_that_training_does_not_have_are_refused():
    callback = PruningCallback(Recorder(), final=0.5, frequency=1, steps=11)
    with pytest.raises(UserError, match="--pruning_steps 11: .*10 steps"):
        callback.on_train_begin(None, SimpleNamespace(global_step=0, max_steps=10), None)


# While a model trains


class CheckpointedTrainer(TraceableCheckpoints, Trainer):
    run_file = {}


def rows(count=16):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(20, 200, (count, 12), generator=generator)
    return [{"input_ids": row, "labels": row, "attention_mask": torch.ones_like(row)} for row in ids]


def train(family, output, pruner_of, *, steps=0.5, resume=None, dtype=torch.float32, callbacks=(), **more):
    """Eight steps that prune to 0.65 at every second one; the trainer after them."""
    set_seed(0)
    model = build_tiny_model(family)[0].to(dtype)
    settings = {"per_device_train_batch_size": 4, "max_steps": 8, "save_steps": 4, "learning_rate": 1e-2}
    settings |= {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_steps": 2} | more
    args = TrainingArguments(str(output), resume_from_checkpoint=resume, **settings)
    final = PruningArguments(prune="2:4" if pruner_of is TwoFourPruner else "unstructured").final_sparsity
    callback = PruningCallback(pruner_of(model), final=final, frequency=2, steps=steps)
    trainer = CheckpointedTrainer(
        model, args, train_dataset=rows(), eval_dataset=rows(4), callbacks=[*callbacks, callback]
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def global_pruner(model):
    return MagnitudePruner(model, "global")


def layer_pruner(model):
    return MagnitudePruner(model, "layer")


def weights(trainer):
    return {name: weight.detach() for name, weight in trainer.model.named_parameters()}


def check_masked(trainer, folder, sparsity):
    """Exactly the masked weights are zero, as many as asked for, and everything else has been trained."""
    masks = load_file(folder / PRUNING_MASKS)
    trained = weights(trainer)
    assert masks.keys() == prunable_weights(trainer.model).keys()
    for name, mask in masks.items():
        assert torch.equal(trained[name] == 0, mask), name
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(sparsity * total)


@pytest.mark.parametrize(
    ("family", "pruner_of", "sparsity", "dtype"),
    [
        ("llava", global_pruner, 0.65, torch.float32),
        ("qwen2_vl", TwoFourPruner, 0.5, torch.float32),
        ("qwen2_vl", global_pruner, 0.65, torch.bfloat16),
    ],
)
def test_masks_last_and_a_resumed_run_ends_with_the_same_bits(family, pruner_of, sparsity, dtype, tmp_path):
    # Sparsity rises over six of the eight steps, so the masks of the checkpoint, at four, are not the last.
    options = {"steps": 6, "dtype": dtype}
    whole = train(family, tmp_path / "whole", pruner_of, **options)
    check_masked(whole, tmp_path / "whole/checkpoint-8", sparsity)
    middle = tmp_path / "whole/checkpoint-4"
    resumed = train(family, tmp_path / "resumed", pruner_of, resume=str(middle), **options)
    expected = weights(whole)
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, expected[name]), name
    masks = [load_file(tmp_path / run / "checkpoint-8" / PRUNING_MASKS) for run in ("whole", "resumed")]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    shares = [entry["sparsity"] for entry in whole.state.log_history if "loss" in entry]
    goal = [cubic_sparsity(step, 6, sparsity) for step in (2, 4, 6, 8)]
    assert shares == pytest.approx(goal, abs=1e-4)
    saved = load_model(str(tmp_path / "whole/checkpoint-8"))
    assert all(torch.equal(weight, expected[name]) for name, weight in saved.named_parameters())


def test_pruned_whole_before_the_first_step(tmp_path):
    trainer = train("llava", tmp_path, layer_pruner, steps=0, save_steps=8)
    assert [entry["sparsity"] for entry in trainer.state.log_history] == pytest.approx([0.65] * 5, abs=1e-3)
    for mask in load_file(tmp_path / "checkpoint-8" / PRUNING_MASKS).values():
        assert int(mask.sum()) == round(0.65 * mask.numel())


class SameMetric(TrainerCallback):
    """An evaluation that never gets better."""

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        metrics["eval_same"] = 1.0


def test_a_denser_model_is_never_the_best(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "load_best_model_at_end": True}
    options |= {"metric_for_best_model": "same", "greater_is_better": True}
    trainer = train(
        "llava",
        tmp_path,
        global_pruner,
        callbacks=[SameMetric(), EarlyStoppingCallback(early_stopping_patience=1)],
        **options,
    )
    # Sparsity is final at 4; the evaluation at 6 is the first that fails to be better than a peer.
    assert trainer.state.best_global_step == 4 and trainer.state.global_step == 6
    check_masked(trainer, tmp_path / "checkpoint-4", 0.65)


def test_resuming_without_the_masks_of_that_checkpoint_is_refused(tmp_path):
    train("llava", tmp_path / "run", layer_pruner)
    folder = tmp_path / "run/checkpoint-4"
    with pytest.raises(UserError, match="not of the checkpoint that training resumes from"):
        train("llava", tmp_path / "run", layer_pruner, resume=str(folder), callbacks=[Misled()])
    masks = load_file(folder / PRUNING_MASKS)
    save_file(dict(list(masks.items())[1:]), folder / PRUNING_MASKS)
    with pytest.raises(UserError, match=f"checkpoint-4/{PRUNING_MASKS}: masks of another model"):
        train("llava", tmp_path / "run", layer_pruner, resume=str(folder))
    (folder / PRUNING_MASKS).write_bytes(b"half")
    with pytest.raises(UserError, match=f"checkpoint-4/{PRUNING_MASKS}"):
        train("llava", tmp_path / "run", layer_pruner, resume=str(folder))
    (folder / PRUNING_MASKS).unlink()
    with pytest.raises(UserError, match=f"checkpoint-4: no {PRUNING_MASKS}"):
        train("llava", tmp_path / "run", layer_pruner, resume=str(folder))


class Misled(TrainerCallback):
    """Arguments that name another checkpoint than the one that training resumes from."""

    def on_train_begin(self, args, state, control, **kwargs):
        args.resume_from_checkpoint = args.resume_from_checkpoint.replace("checkpoint-4", "checkpoint-8")


# On two processes


def _ddp_worker(rank, port, output):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    options = {"steps": 6, "per_device_train_batch_size": 2, "ddp_backend": "gloo"}
    whole = train("llava", output / "whole", global_pruner, **options)
    assert whole.accelerator.num_processes == 2
    pruner = next(c for c in whole.callback_handler.callbacks if isinstance(c, PruningCallback)).pruner
    save_file(pruner.state(), output / f"rank{rank}.safetensors")
    check_masked(whole, output / "whole/checkpoint-8", 0.65)
    middle = str(output / "whole/checkpoint-4")
    resumed = train("llava", output / "resumed", global_pruner, resume=middle, **options)
    expected = weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(resumed).items())


@pytest.mark.slow
def test_two_processes_have_the_same_masks_and_resume_with_the_same_bits(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_ddp_worker, (port, tmp_path), nprocs=2)
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": "random"}, "--prune random: choose from structured, unstructured, 2:4"),
        ({"target_sparsity": 1.0}, "--target_sparsity 1.0: above 0 and below 1"),
        ({"target_sparsity": 0.0}, "--target_sparsity"),
        ({"target_sparsity": float("nan")}, "--target_sparsity nan"),
        ({"pruning_frequency": 0}, "--pruning_frequency 0: 1 or more"),
        ({"pruning_steps": -1}, "--pruning_steps -1"),
        ({"pruning_steps": 1.5}, "--pruning_steps 1.5: a whole number"),
        ({"pruning_steps": float("inf")}, "--pruning_steps inf"),
        ({"pruning_steps": float("nan")}, "--pruning_steps nan"),
        ({"prune": "unstructured", "pruning_scope": "model"}, "--pruning_scope model: choose from global"),
        ({"prune": "2:4", "pruning_scope": "layer"}, "--pruning_scope layer: only with --prune unstructured"),
        ({"prune": "structured", "prune_dimensions": ["ffn", "depth"]}, "--prune_dimensions depth: choose"),
        ({"prune": "structured", "prune_dimensions": []}, "--prune_dimensions"),
        ({"prune_dimensions": ["ffn"]}, "--prune_dimensions ffn: only with --prune structured"),
        ({"prune": "structured", "prune_importance": "wanda"}, "--prune_importance wanda: choose"),
        ({"prune": "2:4", "prune_importance": "activation"}, "--prune_importance activation: only with"),
        ({"prune": "structured", "prune_rounds": 0}, "--prune_rounds 0: 1 or more"),
        ({"prune": "unstructured", "prune_rounds": 2}, "--prune_rounds 2: only with --prune structured"),
        ({"target_params": 9e9}, "--target_params 9000000000.0: only with --prune structured"),
        ({"prune": "2:4", "target_params": 9e9}, "--target_params"),
        ({"prune": "structured", "target_params": 0.5}, "--target_params 0.5: a number of parameters"),
        ({"prune": "structured", "target_params": 9e9, "target_sparsity": 0.5}, "--target_params.*in place"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message) as error:
        check_pruning(replace(PruningArguments(), **options))
    assert "\n" not in str(error.value)


def test_options_are_read_from_yaml_and_command_line(tmp_path):
    config = tmp_path / "prune.yaml"
    config.write_text("prune: structured\ntarget_params: 9e9\nprune_dimensions: [ffn, layers]\n")
    (args,) = parse_arguments(PruningArguments, argv=["--config", str(config), "--pruning_steps", "0.25"])
    check_pruning(args)
    assert args.target_params == 9e9 and args.prune_dimensions == ["ffn", "layers"]
    assert args.pruning_steps == 0.25 and args.pruning_frequency == 100
    for kind in (None, "unstructured", "2:4", "structured"):
        check_pruning(PruningArguments(prune=kind))
    assert PruningArguments(prune="2:4").final_sparsity == 0.5


def test_weights_that_masks_cannot_hold_are_refused(tmp_path, monkeypatch):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    model, _ = build_tiny_model("llava")
    check_can_prune(model, args)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="--prune: FSDP.*DDP"):
        check_can_prune(model, args)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    zero2 = HfDeepSpeedConfig({"zero_optimization": {"stage": 2}})
    check_can_prune(model, args)
    zero3 = HfDeepSpeedConfig({"zero_optimization": {"stage": 3}})
    with pytest.raises(UserError, match="--prune: ZeRO-3.*DDP"):
        check_can_prune(model, args)
    del zero2, zero3
    check_can_prune(model, args)
    with pytest.raises(UserError, match="--prune: adapters.*--lora_rank"):
        check_can_prune(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), args)
    model, _ = build_tiny_model("llava")
    model.lm_head.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match="--prune: quantised.*--load_in_4bit"):
        check_can_prune(model, args)
