"""Stages in one config: each starts from the last, trains what it names, and is passed over when finished."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import train_sft
from tests.helpers import run_main, run_script, write_color_records
from vqa.errors import UserError
from vqa.models import family_of, load_model
from vqa.tiny_models import build_tiny_model

STAGES = [
    {"name": "projector", "freeze": ["vision", "llm"], "learning_rate": 1e-2},
    {
        **{"name": "instructions", "lora_rank": 4, "lora_whole_parts": ["connector"]},
        **{"max_steps": 3, "learning_rate": 5e-3},
    },
    {
        **{"name": "specialise", "lora_rank": 2, "lora_whole_parts": ["connector"], "lora_top_blocks": 1},
        **{"merge_adapter": True},
    },
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    write_color_records(folder / "records")
    model, processor = build_tiny_model("llava")
    model.save_pretrained(folder / "start")
    processor.save_pretrained(folder / "start")
    return folder


def write_config(folder, output, stages=STAGES, **keys):
    config = {
        "model_name_or_path": str(folder / "start"),
        "freeze": ["vision"],
        "train_files": [str(folder / "records/colors.jsonl")],
        "output_dir": str(output),
        "per_device_train_batch_size": 8,
        "max_steps": 4,
        "logging_steps": 1,
        "save_steps": 2,
        "disable_tqdm": True,
    }
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump(config | keys | {"stages": stages}), encoding="utf-8")
    return path


def changed_parts(before, after):
    """The parts of the model that differ, and for each whether all of its weights do."""
    before, after = (dict(load_model(str(path)).named_parameters()) for path in (before, after))
    family = family_of(build_tiny_model("llava")[0].config)
    parts = {}
    for name, parameter in after.items():
        parts.setdefault(family.part_of(name), set()).add(not torch.equal(parameter, before[name]))
    return {part: True in found for part, found in parts.items()}


def test_each_stage_trains_what_it_names_and_starts_from_the_last(folder, tmp_path):
    run_main(train_sft, "--config", write_config(folder, tmp_path))
    first, second = tmp_path / "1-projector", tmp_path / "2-instructions"
    assert changed_parts(folder / "start", first) == {"vision": False, "connector": True, "llm": False}
    assert changed_parts(first, second / "merged") == {"vision": False, "connector": True, "llm": True}
    last = changed_parts(second / "merged", tmp_path / "merged")
    assert last == {"vision": False, "connector": True, "llm": True}
    for folder_of_stage, steps in ((first, 4), (second, 3), (tmp_path, 4)):
        assert json.loads((folder_of_stage / "run.json").read_text())["steps"] == steps
    # The last block trains whole: every weight of it, norms and all; the first only by its adapters.
    before, after = (
        dict(load_model(str(path)).named_parameters()) for path in (second / "merged", tmp_path / "merged")
    )
    norms = [f"model.language_model.layers.{block}.input_layernorm.weight" for block in (0, 1)]
    assert [torch.equal(before[name], after[name]) for name in norms] == [True, False]
    assert any(
        "modules_to_save" in name or "layernorm" in name
        for name in load_file(tmp_path / "adapter_model.safetensors")
    )


def test_a_resumed_run_passes_over_finished_stages(folder, tmp_path):
    config = write_config(folder, tmp_path)
    run_main(train_sft, "--config", config, "--stage", "projector")
    done = tmp_path / "1-projector/model.safetensors"
    first = done.read_bytes(), done.stat().st_mtime_ns
    run_main(train_sft, "--config", config, "--resume_from_checkpoint", "latest")
    assert (done.read_bytes(), done.stat().st_mtime_ns) == first
    assert (tmp_path / "merged/model.safetensors").is_file()


def test_one_stage_alone_needs_those_before_it(folder, tmp_path):
    config = write_config(folder, tmp_path)
    with pytest.raises(UserError, match="--stage specialise: stage projector before it has not run"):
        run_main(train_sft, "--config", config, "--stage", "specialise")
    with pytest.raises(UserError, match="--stage last: the config has projector, instructions, specialise"):
        run_main(train_sft, "--config", config, "--stage", "last")


def test_dry_run_prints_every_stage(folder, tmp_path):
    result = run_script("train_sft.py", "--config", write_config(folder, tmp_path), "--dry_run")
    assert result.returncode == 0, result.stderr
    for number, name in enumerate(("projector", "instructions", "specialise"), start=1):
        assert f"stage {number} of 3: {name}" in result.stdout
    assert result.stdout.count("trainable") >= 3 and not tmp_path.joinpath("1-projector").exists()


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ([{"freeze": ["llm"]}], "each with a name"),
        ([{"name": "a"}, {"name": "a"}], "a name of its own"),
        ([{"name": "../a"}], "no /"),
        ({"name": "a"}, "a list of mappings"),
        ([{"name": "a", "learning_rates": 1}], "stage a: unknown key: learning_rates"),
        ([{"name": "a", "freeze": ["tower"]}], "--freeze tower"),
        ([{"name": "a", "lora_rank": 2, "lora_top_blocks": 9}], "--lora_top_blocks 9: .* has 2 blocks"),
        ([{"name": "a", "lora_rank": 2, "lora_whole_parts": ["llm"]}], "--lora_whole_parts llm"),
    ],
)
def test_mistakes_get_one_line(stages, named, folder, tmp_path):
    with pytest.raises(UserError, match=named) as caught:
        run_main(train_sft, "--config", write_config(folder, tmp_path, stages))
    assert "\n" not in str(caught.value)


def test_options_of_the_command_line_stand_above_all_stages(folder, tmp_path):
    run_main(train_sft, "--config", write_config(folder, tmp_path), "--max_steps", 1)
    assert json.loads((tmp_path / "2-instructions/run.json").read_text())["steps"] == 1


def test_captions_become_records(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "records/colors.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["caption"] = f"a {row['answers'][0]} patch" if number else None
    records = folder / "records/captioned.jsonl"
    records.write_text("".join(json.dumps(row) + "\n" for row in rows + [rows[1] | {"id": "again"}]))
    result = run_script("-m", "vqa.preparation.captions", records, "--output_dir", tmp_path / "captions")
    assert result.returncode == 0, result.stderr
    (file,) = [path for path in (tmp_path / "captions").glob("*.jsonl") if path.name != "rejects.jsonl"]
    made = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(made) == len(rows) - 1 and made[0]["answers"] == ["a red patch"]
    manifest = json.loads((tmp_path / "captions/manifest.json").read_text())
    assert manifest["filtered"] == {"further record of the same images": 1, "no caption": 1}


def test_a_model_is_put_together_for_the_first_stage_and_only_once(folder, tmp_path):
    """Another language model by `llm_name` alone."""
    model, processor = build_tiny_model("llava")
    text = type(model.config.text_config).from_dict(model.config.text_config.to_dict())
    for name in ("one", "two"):
        text.num_hidden_layers = len(name) - 1
        AutoModelForCausalLM.from_config(text).save_pretrained(tmp_path / name)
        processor.tokenizer.save_pretrained(tmp_path / name)
    config = write_config(
        folder,
        tmp_path / "out",
        STAGES[:1],
        **{"model_name_or_path": None, "llm_name": str(tmp_path / "one"), "image_size": 28, "max_steps": 1},
    )
    run_main(train_sft, "--config", config)
    start = (tmp_path / "out/start/model.safetensors").stat().st_mtime_ns
    assert load_model(str(tmp_path / "out")).config.text_config.num_hidden_layers == 2
    run_main(train_sft, "--config", config)
    assert (tmp_path / "out/start/model.safetensors").stat().st_mtime_ns == start
    with pytest.raises(UserError, match="was put together with --llm_name"):
        run_main(train_sft, "--config", config, "--llm_name", tmp_path / "two")
    with pytest.raises(UserError, match="leave one of them out"):
        run_main(train_sft, "--config", config, "--model_name_or_path", folder / "start")
