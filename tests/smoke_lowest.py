"""At the lower bounds of pyproject.toml: everything imports, every family runs, training starts and ends.

Not collected with the suite; `make test-lowest` runs it in an environment of its own.
"""

import importlib
import json
import pkgutil
from pathlib import Path

import pytest

import vqa
from tests.helpers import ROOT, run_script, write_color_records
from vqa.collators import AnswerCollator
from vqa.encoding import PromptEncoder
from vqa.records import read_records
from vqa.tiny_models import TINY_FAMILIES, build_tiny_model
from vqa.training import StyleMix


def test_everything_imports():
    names = [module.name for module in pkgutil.walk_packages(vqa.__path__, "vqa.")]
    names += [path.stem for path in ROOT.glob("*.py")]
    assert {"vqa.records", "train_sft"} <= set(names)
    for name in names:
        # Modules of the package `evaluate`, which run from here is our script (tests/test_hf_metrics.py).
        if not name.startswith("vqa.metrics.hf"):
            importlib.import_module(name)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_family_gives_a_loss(family, tmp_path):
    records = read_records(write_color_records(tmp_path))[:4]
    model, processor = build_tiny_model(family)
    batch = AnswerCollator(PromptEncoder(processor), StyleMix("short"))(records)
    loss = model(**batch).loss
    loss.backward()
    assert 3 < loss.item() < 9  # near ln(vocabulary) for random weights


@pytest.mark.parametrize("stage", [["--dry_run"], ["--max_steps", "2"]])
def test_train_sft(stage, tmp_path):
    records = write_color_records(tmp_path / "data")
    model, processor = build_tiny_model("llava")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    output = tmp_path / "output"
    base = ["--model_name_or_path", tmp_path / "model", "--train_files", records, "--output_dir", output]
    result = run_script("train_sft.py", *base, "--per_device_train_batch_size", "4", *stage)
    assert result.returncode == 0, result.stderr[-2000:]
    assert Path(output / "model.safetensors").is_file() == (stage != ["--dry_run"])
    if stage != ["--dry_run"]:
        assert json.loads((output / "run.json").read_text())["versions"]["torch"]
