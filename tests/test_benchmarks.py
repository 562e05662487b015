"""The speed benchmarks: what they write, that both sides compute the same, that they run at a small size."""

import json
from dataclasses import replace
from multiprocessing import Pipe

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from benchmarks import arms, grouping, results
from benchmarks.stock import generate_answers, stock_rows
from benchmarks.windows import Arm, Stopwatch, alternate
from benchmarks.workloads import QWEN_TINY, TYPES, Workload, qwen_model, qwen_processor, write_records
from tests.helpers import run_script
from vqa.encoding import IGNORED, PromptEncoder
from vqa.models import load_model, load_processor
from vqa.records import read_records

QUESTIONS = 6


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> Workload:
    """Four small pictures of six questions, and a tiny Qwen2-VL."""
    folder = tmp_path_factory.mktemp("workload")
    processor = qwen_processor(56)
    qwen_model(processor, QWEN_TINY).save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return Workload(
        write_records(folder, 4, QUESTIONS, 56), folder / "model", 2 * QUESTIONS, max_new_tokens=2
    )


def run_in_windows(work, *arguments, amounts=(1, 2)):
    """The windows of an arm, in this process."""
    ours, theirs = Pipe()
    for amount in (*amounts, None):
        ours.send(amount)
    work(Stopwatch(theirs), *arguments)
    return [ours.recv() for _ in amounts]


def test_the_newest_result_of_a_name_stays(tmp_path):
    path = tmp_path / "results.json"
    results.record("b", 30.0, 4.0, "questions/s", path, prefix_tokens=162)
    results.record("a", 1.0, 2.0, "s", path)
    results.record("b", 40.0, 4.0, "questions/s", path)
    a, b = json.loads(path.read_text())
    assert (a["name"], a["ratio"], a["unit"]) == ("a", 0.5, "s")
    assert (b["name"], b["ours"], b["baseline"], b["ratio"]) == ("b", 40.0, 4.0, 10.0)
    assert {"machine", "commit"} <= b.keys() and "prefix_tokens" not in b


def test_pictures_have_their_questions_types_in_turn(workload):
    records = read_records(workload.records)
    assert len({record["images"][0] for record in records}) == 4
    assert [record["question_type"] for record in records] == [TYPES[i % 4] for i in range(24)]
    assert len({(r["images"][0], r["question"], str(r["answer_candidates"])) for r in records}) == 24


def test_both_trainers_read_the_same_tokens(workload):
    processor = load_processor(str(workload.model))
    records = read_records(workload.records)[:QUESTIONS]
    collate = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)
    theirs = collate([dict(row) for row in stock_rows(records)])
    ours = arms.collator(workload, group_by_image=False)(records)
    newline = processor.tokenizer("\n", add_special_tokens=False)["input_ids"]
    for row in range(QUESTIONS):
        read = theirs["input_ids"][row][theirs["attention_mask"][row] == 1].tolist()
        # TRL also supervises what the template writes behind the end token.
        assert read == ours["input_ids"][row][ours["attention_mask"][row] == 1].tolist() + newline
        supervised = theirs["labels"][row][theirs["labels"][row] != IGNORED].tolist()
        assert supervised == ours["labels"][row][ours["labels"][row] != IGNORED].tolist() + newline
    assert torch.equal(theirs["pixel_values"], ours["pixel_values"])


def test_training_windows_count_steps_questions_and_tokens(workload):
    grouped, single, stock = (
        run_in_windows(*arm)
        for arm in (
            (arms.train_ours, workload, True),
            (arms.train_ours, workload, False),
            (arms.train_stock, workload),
        )
    )
    for windows in (grouped, single, stock):
        assert [window.questions for window in windows] == [2 * QUESTIONS, 4 * QUESTIONS]
        assert all(window.seconds > 0 and window.peak_memory > 2**26 for window in windows)
    assert grouped[1].tokens < min(single[1].tokens, stock[1].tokens)


def test_prediction_windows_count_pictures(workload):
    ours = run_in_windows(arms.predict_ours, workload, 32, amounts=(1, 5))
    stock = run_in_windows(arms.predict_stock, workload, 4, amounts=(1, 5))
    assert [w.questions for w in ours] == [w.questions for w in stock] == [QUESTIONS, 5 * QUESTIONS]
    assert ours[1].tokens < stock[1].tokens


def test_generate_gives_an_answer_a_record(workload):
    model, processor = load_model(str(workload.model)), load_processor(str(workload.model))
    records = read_records(workload.records)[:3]
    together = generate_answers(model, processor, records, 2)
    assert together == [generate_answers(model, processor, [record], 2)[0] for record in records]


def test_arms_are_processes_that_take_turns(workload):
    done = alternate({"a": Arm(arms.predict_ours, replace(workload, limit=QUESTIONS), 32)}, {"a": 2}, 2)
    assert len(done["a"].rates) == 2
    assert done["a"].tokens_per_question > 0


def test_what_is_said_of_a_workload(workload):
    said = grouping.describe(workload)
    encoder = PromptEncoder(load_processor(str(workload.model)))
    lengths = [len(prompt.input_ids) for prompt in encoder.encode(read_records(workload.records), "short")]
    assert said["questions_per_image"] == QUESTIONS
    assert said["prefix_tokens"] + said["question_tokens"] > sum(lengths) / len(lengths) + 2


def test_gpu_benchmark_at_a_small_size(tmp_path):
    output = tmp_path / "gpu.json"
    done = run_script("-m", "benchmarks.gpu", "--small", "--output", output, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    rows = {(row["trains"], row["arm"]): row for row in json.loads(output.read_text())}
    assert len(rows) == 6
    for trains in ("lora", "full"):
        assert "processors" in rows[trains, "flex_attention"]["problem"]
        stock, ours = rows[trains, "stock"], rows[trains, "sdpa"]
        assert ours["difference_from_one_by_one"] < 1e-2
        assert ours["batch_shape"][0] == 2 and stock["batch_shape"][0] == 22
        for row in (stock, ours):
            assert 0 < row["mfu_useful"] < row["mfu"] < 1
