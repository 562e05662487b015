"""predict.py as it is run: whole files, kills, several processes, one question, and what goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model

import predict
from tests.helpers import ROOT, run_script, write_records
from vqa.decisions import Decision, completion_grammar, is_closed
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.prediction_runs import prediction_line
from vqa.predictions import read_predictions
from vqa.records import load_dataset, read_records
from vqa.runs import write_run_file
from vqa.tiny_models import build_tiny_model

FIELDS = (
    "id pred gt qtype answers answerable source confidence abstained boxes gt_boxes answer_candidates "
    "caption reasoning valid_format raw images question"
).split()


@pytest.fixture(scope="module", autouse=True)
def dataset_cache(tmp_path_factory):
    """Arrow files of these tests go where the tests' other files go."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("cache"))
        patch.setenv("HF_DATASETS_CACHE", folder)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("data"), 24)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def test_a_line_keeps_what_judging_needs_of_a_records_meta(data):
    (record,) = load_dataset(write_records(data.parent / "one", 1), image_root=data.parent / "one")
    removed = {"kind": "roi", "regions": [[1, 2, 3, 4]], "region_images": [0]}
    for meta, kept in (
        ({}, None),
        ({"kind": "shape"}, None),
        ({"kind": "shape", "answers": ["a"] * 10}, {"answers": ["a"] * 10}),
        ({"counterfactual": removed}, {"counterfactual": removed}),
    ):
        line = prediction_line(record | {"meta": json.dumps(meta)}, Decision("red", 0.5, "red"))
        assert line.get("meta") == kept


def save_model(folder, family="qwen2_vl"):
    network, processor = build_tiny_model(family)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def main(monkeypatch, *arguments):
    """predict.py in this process: quicker than a new one."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    predict.main()


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def arguments(model, data, output, *more):
    return ["--model_name_or_path", model, "--records", data, "--output_file", output, *more]


@pytest.fixture(scope="module")
def plain(model, data, tmp_path_factory):
    """The predictions of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("plain") / "predictions.jsonl"
    done = run_script("predict.py", *arguments(model, data, output))
    assert done.returncode == 0, done.stderr
    return output


# A file of records


def test_predictions_are_as_the_contract_says(plain, data, model):
    lines, records = read_lines(plain), read_records(data)
    assert [line["id"] for line in lines] == [record["id"] for record in records]
    for line, record in zip(lines, records, strict=True):
        assert list(line) == FIELDS
        assert (line["gt"], line["qtype"], line["gt_boxes"]) == (
            record["answers"][0] if record["answerable"] else None,
            record["question_type"],
            record["boxes"],
        )
        assert 0 <= line["confidence"] <= 1
        assert line["valid_format"] is None
        if is_closed(record):
            assert line["pred"] in record["answer_candidates"]
    assert len(read_predictions(plain)) == len(records)
    assert sorted(path.name for path in plain.parent.iterdir()) == [
        "predictions.jsonl",
        "predictions.manifest.json",
    ]


def test_manifest(plain, data, model):
    manifest = json.loads(plain.with_suffix(".manifest.json").read_text())
    assert manifest["model"] == str(model)
    assert manifest["data"] == {str(data): sha256_file(data)}
    assert manifest["count"] == len(read_lines(plain))
    assert manifest["questions_per_second"] == pytest.approx(
        manifest["count"] / manifest["seconds"], rel=0.01
    )
    assert manifest["peak_memory_bytes"] > 2**20
    assert manifest["config"]["resolved"]["style"] == "short"
    assert manifest["versions"]["torch"] and "commit" in manifest["git"] and manifest["adapter"] is None


def test_killed_and_run_again(plain, data, model, tmp_path):
    """Killed, with half a line on disk, it computes what is missing and ends with the same bytes."""
    whole = tmp_path / "whole.jsonl"
    options = ["--answer_style", "structured", "--max_new_tokens", "60", "--batch_size", "2"]
    assert run_script("predict.py", *arguments(model, data, whole, *options)).returncode == 0

    output = tmp_path / "killed.jsonl"
    partial = tmp_path / "killed.jsonl.partial"
    process = subprocess.Popen(
        [sys.executable, "predict.py", *map(str, arguments(model, data, output, *options))],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not partial.exists() or partial.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    kept = partial.read_bytes()
    finished = [
        json.loads(line)["indices"] for line in kept.splitlines(keepends=True)[1:] if line[-1:] == b"\n"
    ]
    done = sum(map(len, finished))
    assert len(finished) >= 3 and done < 24

    partial.write_bytes(kept + b'{"indices": [0, 1], "seconds": 0.1, "predic')
    again = run_script("predict.py", *arguments(model, data, output, *options))
    assert again.returncode == 0, again.stderr
    assert f"{done}/24" in again.stderr  # where the progress bar starts
    assert output.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def test_finished_batches_are_not_computed_again(plain, data, model, tmp_path, monkeypatch):
    output = tmp_path / "p.jsonl"
    real, asked = predict.decide, []

    def interrupted(network, encoder, rows, **options):
        asked.append([row["id"] for row in rows])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(network, encoder, rows, **options)

    monkeypatch.setattr(predict, "decide", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(monkeypatch, *arguments(model, data, output))
    main(monkeypatch, *arguments(model, data, output))
    assert len(asked) == 4 and asked[1] == asked[2] and len({*asked[0], *asked[2], *asked[3]}) == 24
    assert output.read_bytes() == plain.read_bytes()
    # With everything in the shard, not even the model is needed.
    main(monkeypatch, *arguments(model, data, output))
    assert output.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize(
    ("more", "named"), [(["--max_new_tokens", "9"], "max_new_tokens"), (["--batch_size", "3"], "batch_size")]
)
def test_a_partial_file_of_other_arguments_is_refused(data, model, tmp_path, monkeypatch, more, named):
    output = begun(data, model, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=f"begun with another {named}; delete it"):
        main(monkeypatch, *arguments(model, data, output, *more))


def test_a_partial_file_of_another_model_or_other_data_is_refused(data, model, tmp_path, monkeypatch):
    copy, records = tmp_path / "model", tmp_path / "data"
    shutil.copytree(model, copy)
    shutil.copytree(data.parent, records)
    output = begun(records / data.name, copy, tmp_path, monkeypatch)
    weights = copy / "model.safetensors"
    before = weights.stat().st_mtime_ns
    os.utime(weights, ns=(before, before + 10**9))
    with pytest.raises(UserError, match="another model files; delete"):
        main(monkeypatch, *arguments(copy, records / data.name, output))
    os.utime(weights, ns=(before, before))
    with open(records / data.name, "a", encoding="utf-8") as file:
        file.write('{"question": "is it red?", "answers": ["no"], "images": []}\n')
    with pytest.raises(UserError, match="another data; delete"):
        main(monkeypatch, *arguments(copy, records / data.name, output))


def begun(data, model, folder, monkeypatch):
    """A prediction file whose making was interrupted."""
    output = folder / "p.jsonl"

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "decide", interrupt)
        with pytest.raises(KeyboardInterrupt):
            main(patch, *arguments(model, data, output))
    return output


def test_two_processes_share_the_work(plain, data, model, tmp_path):
    output = tmp_path / "p.jsonl"
    launch = ["-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/ddp_cpu.yaml"]
    launch += ["--num_processes", "2", "--main_process_port", "0"]
    done = run_script(*launch, "predict.py", *arguments(model, data, output))
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == plain.read_bytes()
    manifest = json.loads(output.with_suffix(".manifest.json").read_text())
    assert manifest["config"]["processes"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl", "p.manifest.json"]


def test_one_process_goes_on_where_two_were(plain, data, model, tmp_path, monkeypatch):
    lines = read_lines(plain)
    output = begun(data, model, tmp_path, monkeypatch)
    head = (tmp_path / "p.jsonl.partial").read_text().splitlines()[0]
    batches = [[0, 1, 2], [3, 4]]
    for name, batch in zip(("p.jsonl.partial", "p.jsonl.partial-1"), batches, strict=True):
        body = {"indices": batch, "seconds": 1.0, "predictions": [lines[index] for index in batch]}
        (tmp_path / name).write_text(f"{head}\n{json.dumps(body)}\n")
    main(monkeypatch, *arguments(model, data, output))
    assert output.read_bytes() == plain.read_bytes()
    assert not list(tmp_path.glob("*.partial*"))


def test_limit(plain, data, model, tmp_path, monkeypatch):
    main(monkeypatch, *arguments(model, data, tmp_path / "p.jsonl", "--limit", "5"))
    predictions = [line["pred"] for line in read_lines(tmp_path / "p.jsonl")]
    assert predictions == [line["pred"] for line in read_lines(plain)[:5]]


def test_cached_vision_features_give_the_same(plain, data, model, tmp_path, monkeypatch):
    output, cache = tmp_path / "p.jsonl", tmp_path / "features"
    main(monkeypatch, *arguments(model, data, output, "--cache_vision_features", cache))
    for line, expected in zip(read_lines(output), read_lines(plain), strict=True):
        assert line["pred"] == expected["pred"]
        assert line["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)


# What the checkpoint says


def test_style_and_limits_come_from_the_checkpoint(data, model, tmp_path, monkeypatch):
    trained = tmp_path / "run" / "checkpoint-1"
    shutil.copytree(model, trained)
    run = {
        "answer_style": "structured",
        "box_format": "pixels",
        "min_pixels": 4 * 28 * 28,
        "max_pixels": 6 * 28 * 28,
        "trained_on_unanswerable": True,
    }
    write_run_file(trained.parent, run)
    output = tmp_path / "p.jsonl"
    main(monkeypatch, *arguments(trained, data, output, "--max_new_tokens", "30"))
    assert all(line["valid_format"] is True for line in read_lines(output))
    resolved = json.loads(output.with_suffix(".manifest.json").read_text())["config"]["resolved"]
    assert resolved == {
        "style": "structured",
        "box_format": "pixels",
        "min_pixels": 4 * 28 * 28,
        "max_pixels": 6 * 28 * 28,
        "allow_unanswerable": True,
    }
    main(monkeypatch, *arguments(trained, data, output, "--answer_style", "think", "--max_new_tokens", "10"))
    assert read_lines(output)[0]["raw"].startswith("<think>")


def test_free_decoding_lifts_the_constraints(data, model, tmp_path, monkeypatch):
    output = tmp_path / "p.jsonl"
    main(monkeypatch, *arguments(model, data, output, "--decoding", "free", "--max_new_tokens", "5"))
    closed = [line for line in read_lines(output) if line["answer_candidates"]]
    assert not all(line["pred"] in line["answer_candidates"] for line in closed)
    assert all(0 < line["confidence"] <= 1 for line in closed)


def test_adapter(plain, data, model, tmp_path, monkeypatch):
    network, processor = build_tiny_model("qwen2_vl")
    network = type(network).from_pretrained(model)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapter = tmp_path / "adapter"
    torch.manual_seed(0)
    get_peft_model(network, config).save_pretrained(adapter)
    processor.save_pretrained(adapter)
    apart, inside = tmp_path / "apart.jsonl", tmp_path / "inside.jsonl"
    main(monkeypatch, *arguments(model, data, apart, "--adapter", adapter))
    main(monkeypatch, *arguments(adapter, data, inside))
    assert apart.read_bytes() == inside.read_bytes() != plain.read_bytes()
    assert json.loads(apart.with_suffix(".manifest.json").read_text())["adapter"] == str(adapter)


# One question


def test_one_question(data, model):
    ask = ["--model_name_or_path", model, "--image", data.parent / "0.png", "--question", "What is it?"]
    done = run_script("predict.py", *ask, "--candidates", "red, green,blue")
    assert done.returncode == 0, done.stderr
    answer, _, rest = done.stdout.partition(" ")
    assert answer in ("red", "green", "blue")
    assert "confidence" in rest and "mcq" in rest


def test_one_question_as_json(data, model, monkeypatch, capsys):
    ask = [
        "--model_name_or_path",
        model,
        "--image",
        data.parent / "0.png",
        data.parent / "1.png",
        "--json",
        "true",
    ]
    main(monkeypatch, *ask, "--question", "Are they alike?")
    line = json.loads(capsys.readouterr().out)
    assert list(line) == FIELDS
    assert (line["qtype"], line["answer_candidates"], len(line["images"])) == ("yes_no", ["yes", "no"], 2)
    assert line["pred"] in ("yes", "no")


def test_one_question_without_an_image(model, monkeypatch, capsys):
    main(
        monkeypatch,
        "--model_name_or_path",
        model,
        "--question",
        "How many?",
        "--question_type",
        "count_numeric",
    )
    assert capsys.readouterr().out.split()[0].isdigit()


# vLLM


def test_vllm_gets_the_same_grammars(data, model, tmp_path, monkeypatch):
    """With a stand-in for vLLM that answers a closed question with its last candidate, others with 7."""
    records = read_records(data)
    seen = []

    class LLM:
        def __init__(self, **options):
            assert options["logprobs_mode"] == "raw_logprobs" and options["limit_mm_per_prompt"] == {
                "image": 2
            }
            self.encoder = None

        def generate(self, prompts, parameters, use_tqdm):
            processor = build_tiny_model("qwen2_vl")[1]
            outputs = []
            for prompt, parameter in zip(prompts, parameters, strict=True):
                seen.append((prompt, parameter))
                record = next(row for row in records if f"Question: {row['question']}" in prompt["prompt"])
                text = record["answer_candidates"][-1] if is_closed(record) else "7"
                ids = [*processor.tokenizer(text)["input_ids"], parameter.stop_token_ids[0]]
                logprobs = [{token: SimpleNamespace(logprob=-0.5)} for token in ids]
                completion = SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason="stop")
                outputs.append(SimpleNamespace(outputs=[completion]))
            return outputs

    vllm, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vllm.LLM, vllm.SamplingParams = LLM, SimpleNamespace
    sampling.StructuredOutputsParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    monkeypatch.setattr("vqa.vllm_engine.importlib.util.find_spec", lambda name: name)
    output = tmp_path / "p.jsonl"
    main(monkeypatch, *arguments(model, data, output, "--engine", "vllm"))
    for line, record in zip(read_lines(output), records, strict=True):
        assert line["pred"] == (record["answer_candidates"][-1] if is_closed(record) else "7")
        assert line["confidence"] == pytest.approx(0.6065, abs=1e-4)
    grammars = {parameter.structured_outputs.grammar for _, parameter in seen if parameter.structured_outputs}
    assert grammars == {completion_grammar(row, "short", False, "norm1000") for row in records} - {None}
    with_images = [prompt for prompt, _ in seen if "multi_modal_data" in prompt]
    assert all(
        prompt["prompt"].count("<|image_pad|>") == len(prompt["multi_modal_data"]["image"])
        for prompt in with_images
    )
    assert with_images


# Mistakes

MISTAKES = [
    ([], "--model_name_or_path is needed"),
    (["--model_name_or_path", "MODEL"], "give --records FILE"),
    (["--model_name_or_path", "MODEL", "--records", "DATA"], "--output_file is needed"),
    (["--model_name_or_path", "MODEL", "--records", "DATA", "--question", "?"], "give --records FILE"),
    (["--model_name_or_path", "nowhere", "--question", "is it?"], "nowhere: no such model folder"),
    (["--model_name_or_path", "TMP", "--question", "is it?"], "this is not a model folder"),
    (["--model_name_or_path", "MODEL", "--question", " "], "question"),
    (["--model_name_or_path", "MODEL", "--question", "is it?", "--image", "no.png"], "no.png"),
    (
        ["--model_name_or_path", "MODEL", "--question", "is it?", "--adapter", "TMP"],
        "--adapter TMP: no adapter_config",
    ),
    (
        ["--model_name_or_path", "MODEL", "--question", "?", "--question_type", "x"],
        "--question_type x: choose from",
    ),
    (["--model_name_or_path", "MODEL", "--question", "?", "--decoding", "x"], "--decoding x: choose from"),
    (
        ["--model_name_or_path", "MODEL", "--question", "?", "--answer_style", "x"],
        "--answer_style x: choose from",
    ),
    (["--model_name_or_path", "MODEL", "--question", "?", "--batch_size", "0"], "--batch_size 0: 1 or more"),
    (["--model_name_or_path", "MODEL", "--question", "?", "--engine", "vllm"], "vllm is not installed"),
    (["--model_name_or_path", "MODEL", "--question", "?", "--colour", "x"], "colour"),
    (["--model_name_or_path", "MODEL", "--records", "nowhere.jsonl", "--output_file", "o"], "nowhere.jsonl"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES)
def test_mistakes_get_one_line(given, message, data, model, tmp_path, monkeypatch):
    places = {"MODEL": str(model), "DATA": str(data), "TMP": str(tmp_path)}
    with pytest.raises(UserError) as error:
        main(monkeypatch, *(places.get(argument, argument) for argument in given))
    assert message.replace("TMP", str(tmp_path)) in str(error.value)
    assert "\n" not in str(error.value)


def test_faulty_records_are_listed_before_a_model_is_loaded(model, tmp_path, monkeypatch):
    faulty = tmp_path / "faulty.jsonl"
    faulty.write_text(
        '{"question": "is it?"\n{"question": "is it?", "answers": ["no"], "images": ["no.png"]}\n'
    )
    monkeypatch.setattr(predict, "load_model", lambda *args, **options: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match="(?s)faulty.jsonl:1.*faulty.jsonl:2.*no.png"):
        main(monkeypatch, *arguments(model, faulty, tmp_path / "p.jsonl"))


def test_a_mistake_on_the_command_line_shows_no_traceback(model):
    done = run_script(
        "predict.py", "--model_name_or_path", model, "--question", "is it?", "--image", "no.png"
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("predict.py: error: image no.png: does not exist")
    assert "Traceback" not in done.stderr


def test_numbers_that_are_none(data, model, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    network = build_tiny_model("qwen2_vl")[0]
    with torch.no_grad():
        network.lm_head.weight.fill_(torch.nan)
    network.save_pretrained(broken)
    with pytest.raises(UserError, match="not a number; try --dtype"):
        main(monkeypatch, *arguments(broken, data, tmp_path / "p.jsonl"))
