"""The promise of the README: the shipped quickstart config learns easy-VQA in minutes on a laptop's CPU."""

import json

import pytest

from tests.helpers import ROOT, run_script


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_quickstart_reaches_its_accuracy(tmp_path):
    def script(name, *arguments):
        result = run_script(name, *map(str, arguments), timeout=3000)
        assert result.returncode == 0, result.stdout + result.stderr

    quickstart = ROOT / "configs/quickstart"
    data, model, predictions = tmp_path / "data", tmp_path / "model", tmp_path / "predictions.jsonl"
    features = ("--cache_vision_features", tmp_path / "features")
    script("prepare_data.py", "convert", "--dataset", "easy_vqa", "--output_dir", data)
    train = ("--train_files", data / "train.jsonl", "--output_dir", model)
    script("train_sft.py", "--config", quickstart / "train.yaml", *train, *features)
    test = ("--records", data / "test.jsonl", "--output_file", predictions)
    script(
        "predict.py", "--config", quickstart / "predict.yaml", "--model_name_or_path", model, *test, *features
    )
    script("evaluate.py", "--predictions_file", predictions, "--output_dir", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["count"] == 9673
    assert metrics["overall"]["accuracy"] >= 0.95
