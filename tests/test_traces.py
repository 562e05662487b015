"""`prepare_data.py traces`: what becomes of each question, on good days and on bad ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from PIL import Image

from tests.helpers import ROOT, run_script
from tests.openai_server import OpenAIServer, calls, error, says
from vqa.documents.pages import OcrPage, Word
from vqa.documents.reader import GoldReader
from vqa.documents.retrieval import find_text
from vqa.documents.trace_log import TraceLog
from vqa.documents.traces import KEPT, UNGROUNDED, WRONG, Teacher, Trace, explain, judge_trace, taught
from vqa.errors import UserError
from vqa.preparation import traces as command
from vqa.records import read_records

LINES = ["Invoice number: 4711", "Due date: 5 May 2020", "Total amount: $85.20", "Paid by Anna Berg"]
QUICK = ("--ocr_engine", "record", "--retrieval", "bm25", "--pictures", "1")
# Question, accepted answers, the words on which line hold it.
QUESTIONS = [
    ("What is the invoice number?", ["4711"]),
    ("When is it due?", ["5 May 2020"]),
    ("What is the total amount?", ["$85.20"]),
    ("Who paid?", ["Anna Berg"]),
    ("What is the phone number?", []),
    ("Is it paid?", ["yes"]),
]


def words() -> list[dict]:
    """The page's words as `meta.ocr` holds them: 20 high, lines 40 apart, words 10 a letter wide."""
    found = []
    for row, line in enumerate(LINES):
        left = 10
        for text in line.split():
            right = left + 10 * len(text)
            found.append({"text": text, "box": [left, 10 + 40 * row, right, 30 + 40 * row], "line": row})
            left = right + 10
    return found


@pytest.fixture
def records(tmp_path):
    """Six questions about one page, whose words the records bring along."""
    folder = tmp_path / "records"
    folder.mkdir()
    Image.new("RGB", (400, 200), "white").save(folder / "page.png")
    rows = [
        {
            "id": f"q{number}",
            "images": ["page.png"],
            "question": question,
            "answers": answers,
            "question_type": "yes_no" if answers == ["yes"] else "extractive",
            "meta": {"ocr": words()},
        }
        for number, (question, answers) in enumerate(QUESTIONS)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def traces(records, *arguments):
    """Run the command in this process; bm25 needs no encoder."""
    output = records.parent / "out"
    code = command.main([str(records), "--output_dir", str(output), *QUICK, *map(str, arguments)])
    return code, output


def openai_options(server, *more):
    return "--qa_backend", "openai", "--qa_model", "tiny", "--base_url", server.url, "--retries", "1", *more


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answered(number, body):
    """The model of a server that reads well, but for one answer."""
    text = body["messages"][-1]["content"]
    for question, answers in QUESTIONS:
        if f"Question: {question}" in text:
            return says("$85.30" if answers == ["$85.20"] else (answers or ["unanswerable"])[0])
    raise AssertionError(text)


def test_gold_traces_are_records_with_boxes_reasoning_and_every_step(records):
    code, output = traces(records)
    assert code is None
    kept = {row["id"]: row for row in rows_of(output / "train.jsonl")}
    assert kept.keys() == {"q0", "q1", "q2", "q3", "q4"}
    assert kept["q1"]["boxes"] == [[110, 50, 210, 70]] and kept["q1"]["answers"] == ["5 May 2020"]
    assert kept["q1"]["reasoning"] == ['The document says "Due date: 5 May 2020".']
    assert kept["q4"]["boxes"] == [] and kept["q4"]["reasoning"] == ["The document does not say it."]
    # "yes" stands nowhere on the page.
    assert [row["id"] for row in rows_of(output / "ungrounded" / "train.jsonl")] == ["q5"]
    read_records(output / "train.jsonl"), read_records(output / "ungrounded" / "train.jsonl")
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["rows"] == {"in": 6, "records": 5, "filtered": 1, "rejects": 0}
    log = rows_of(output / "traces" / "traces.jsonl")
    assert [row["id"] for row in log] == [f"q{number}" for number in range(6)]
    assert [step["step"] for step in log[1]["steps"]] == ["ocr", "find_text", "qa", "ground_answer"]
    assert all(step["seconds"] >= 0 for row in log for step in row["steps"])
    assert '"boxes": [[275, 250, 525, 350]], "answer": "5 May 2020"}' in log[1]["text"]
    assert Image.open(output / "pictures" / "trace-1.png").width > 400


def test_takes_a_config(records, tmp_path):
    config = tmp_path / "traces.yaml"
    given = {"records": str(records), "output_dir": str(tmp_path / "out"), "ocr_engine": "record"}
    config.write_text(json.dumps(given | {"retrieval": "bm25", "pictures": 0, "limit": 2}))
    assert command.main(["--config", str(config), "--limit", "3"]) is None
    assert len(rows_of(tmp_path / "out" / "train.jsonl")) == 3
    config.write_text(json.dumps(given | {"no_such_key": 1}))
    with pytest.raises(UserError, match="traces.yaml: unknown key: no_such_key"):
        command.main(["--config", str(config)])


def test_answers_are_filtered_by_gold_and_the_rest_is_accounted_for(records, capsys):
    with OpenAIServer(answered) as server:
        code, output = traces(records, *openai_options(server))
    assert code is None and len(server.requests) == 6
    assert {row["id"] for row in rows_of(output / "train.jsonl")} == {"q0", "q1", "q3", "q4"}
    (reject,) = rows_of(output / "rejects.jsonl")
    assert (
        reject["row"]["images"] == ["page.png"]
        and reject["row"]["id"] == "q2"
        and "'$85.30', not ['$85.20']" in reject["reason"]
    )
    assert "yield: 4 of 6 questions asked (66.7%)" in capsys.readouterr().out
    log = rows_of(output / "traces" / "traces.jsonl")
    qa = next(step for step in log[0]["steps"] if step["step"] == "qa")
    assert qa["cost"] == {"calls": 1, "prompt_tokens": 10, "completion_tokens": 2}
    assert "Invoice number: 4711" in qa["input"]["prompt"] and qa["output"]["raw"] == "4711"


def test_nothing_is_asked_or_paid_twice(records):
    with OpenAIServer(answered) as server:
        code, output = traces(records, *openai_options(server, "--max_calls", 2, "--concurrency", 1))
        assert code == 1 and len(server.requests) == 2
        assert len(rows_of(output / "train.jsonl")) == 2
        assert json.loads((output / "manifest.json").read_text())["filtered"] == {"not asked yet": 4}
        code, _ = traces(records, *openai_options(server))
        assert code is None and len(server.requests) == 6
        traces(records, *openai_options(server))
        assert len(server.requests) == 6


def test_a_failed_call_is_its_questions_affair_and_is_tried_again(records):
    def refuses_one(number, body):
        return error(500) if "Who paid" in body["messages"][-1]["content"] else answered(number, body)

    with OpenAIServer(refuses_one) as server:
        code, output = traces(records, *openai_options(server))
        assert code is None
        reasons = {row["row"]["id"]: row["reason"] for row in rows_of(output / "rejects.jsonl")}
        assert reasons.keys() == {"q2", "q3"} and reasons["q3"].startswith("failed: 500")
        log = {row["id"]: row for row in rows_of(output / "traces" / "traces.jsonl")}
        assert [step["step"] for step in log["q3"]["steps"]] == ["ocr", "find_text", "qa"]
        assert log["q3"]["steps"][2]["cost"]["calls"] == 2
    with OpenAIServer(answered) as server:
        traces(records, *openai_options(server, "--base_url", server.url))
        assert len(server.requests) == 1  # the address is where a model is, not which
    assert {row["id"] for row in rows_of(output / "train.jsonl")} == {"q0", "q1", "q3", "q4"}


def test_a_wrong_key_stops_at_once_with_one_line(records, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with OpenAIServer([error(401)]) as server, pytest.raises(UserError) as fault:
        traces(records, *openai_options(server, "--concurrency", 1))
    assert len(server.requests) == 1
    assert "refuses the key" in str(fault.value) and "\n" not in str(fault.value)
    output = records.parent / "out"
    assert not any("sk-secret" in path.read_text() for path in output.rglob("*") if path.is_file())


def test_other_settings_do_not_mix_with_finished_traces(records):
    traces(records)
    with pytest.raises(UserError, match="made with another top_k"):
        traces(records, "--top_k", 3)


def test_a_planner_decides_and_a_bad_plan_falls_back(records):
    def plans(number, body):
        content = body["messages"][0]["content"]
        if "tools" not in body:
            return answered(number, body)
        if "Who paid" in content:
            return says("I would rather not.")
        if len(body["messages"]) == 1:
            return calls(("find_text", {"query": "invoice"}))
        question = content.rpartition("Question: ")[2]
        return calls(("answer", {"text": (dict(QUESTIONS)[question] or ["unanswerable"])[0], "page": 0}))

    with OpenAIServer(plans) as server:
        code, output = traces(records, *openai_options(server, "--planner", "true"))
    log = {row["id"]: row for row in rows_of(output / "traces" / "traces.jsonl")}
    assert [step["step"] for step in log["q0"]["steps"]] == ["ocr", "plan", "ground_answer"]
    fallen = [step["step"] for step in log["q3"]["steps"]]
    assert fallen == ["ocr", "plan", "find_text", "qa", "ground_answer"]
    assert log["q3"]["steps"][1]["output"]["fault"] == "the model called no tool"
    assert {row["id"] for row in rows_of(output / "train.jsonl")} == {"q0", "q1", "q2", "q3", "q4"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--qa_backend", "oracle"), "--qa_backend oracle: choose from gold"),
        (("--qa_backend", "openai"), "--qa_model is missing"),
        (("--planner", "true"), "--planner calls tools"),
        (("--top_k", "0"), "--top_k 0: 1 or more"),
        (("--ground_threshold", "2"), "--ground_threshold 2"),
        (("--retrieval", "psychic"), "--retrieval psychic"),
        (("--timeout", "0"), "--timeout 0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(records, arguments, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        traces(records, *arguments)
    assert not (records.parent / "out").exists()


def test_killed_and_run_again_no_trace_is_lost_or_paid_for_twice(records, tmp_path):
    with OpenAIServer(answered, delay=0.4) as server:
        options = [
            *openai_options(server),
            "--concurrency",
            "1",
            "--ocr_engine",
            "record",
            "--retrieval",
            "bm25",
        ]
        run = [
            sys.executable,
            "prepare_data.py",
            "traces",
            records,
            "--output_dir",
            tmp_path / "out",
            *options,
        ]
        process = subprocess.Popen(list(map(str, run)), cwd=ROOT, stdout=subprocess.DEVNULL)
        log = tmp_path / "out" / "traces" / "traces.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_bytes().count(b"\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        finished = log.read_bytes().count(b"\n")
        log.write_bytes(log.read_bytes() + b'{"key": "train/q5", "id": "q')  # and a line cut short
        sent = len(server.requests)
        done = run_script(*run[1:])
        assert done.returncode == 0, done.stderr
        assert len(server.requests) - sent == 6 - finished
    assert [row["id"] for row in rows_of(log)] == [f"q{number}" for number in range(6)]


def test_a_disk_that_fills_up_is_one_line_and_loses_nothing(records, tmp_path):
    # A limit on the size of files fails as a full disk does, in the middle of a write.
    limit = "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); sys.argv = sys.argv[1:]; "
    limit += "sys.path.insert(0, '.'); runpy.run_path(sys.argv[0], run_name='__main__')"
    options = ("--output_dir", tmp_path / "out", *QUICK)
    done = run_script("-c", limit, "prepare_data.py", "traces", records, *options, "--concurrency", "1")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "traces.jsonl: cannot be written: File too large" in line and "Traceback" not in done.stderr
    log = TraceLog(
        tmp_path / "out" / "traces", json.loads((tmp_path / "out/traces/settings.json").read_text())
    )
    assert 1 <= len(log.traces) < 6
    done = run_script("prepare_data.py", "traces", records, *options)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "out" / "train.jsonl")) == 5


def test_the_log_is_put_in_order_and_later_lines_count(tmp_path):
    log = TraceLog(tmp_path / "log", {"a": 1})
    log.add("2", Trace("2", outcome=KEPT))
    log.add("1", Trace("1", outcome="failed", error="x"))
    log.add("1", Trace("1", outcome=KEPT))
    log.close(["1", "2"])
    assert [row["key"] for row in rows_of(log.path)] == ["1", "2"]
    assert TraceLog(tmp_path / "log", {"a": 1}).finished.keys() == {"1", "2"}
    log.path.write_text('{"no": "trace"}\n')
    with pytest.raises(UserError, match="traces.jsonl:1: not a trace"):
        TraceLog(tmp_path / "log", {"a": 1})


def test_two_runs_do_not_write_to_one_log(tmp_path):
    first, second = (TraceLog(tmp_path / "log", {"a": 1}) for _ in range(2))
    first.add("1", Trace("1", outcome=KEPT))
    with pytest.raises(UserError, match="another run writes to it"):
        second.add("1", Trace("1", outcome=KEPT))
    first.close(["1"])
    assert TraceLog(tmp_path / "log", {"a": 1}).finished.keys() == {"1"}


# One trace


def page() -> OcrPage:
    return OcrPage(
        tuple(Word(row["text"], tuple(row["box"]), 1.0, row["line"]) for row in words()), (400, 200)
    )


def record(**changes):
    row = {"id": "r", "images": ["p.png"], "question": "When is it due?", "answers": ["5 May 2020"]}
    row |= {"answerable": True, "question_type": "extractive", "answer_candidates": None, "caption": None}
    return row | {"reasoning": [], "boxes": [], "box_images": [], "meta": {}} | changes


WAITING = {"answers": [], "answerable": False, "meta": {"label": {"by": "nobody"}}}


@pytest.mark.parametrize(
    ("answer", "boxes", "changes", "outcome"),
    [
        ("5 May 2020", [[1, 2, 3, 4]], {}, KEPT),
        ("5 may 2020", [[1, 2, 3, 4]], {}, KEPT),
        ("6 May 2020", [[1, 2, 3, 4]], {}, WRONG),
        ("", [], {}, WRONG),
        ("5 May 2020", [], {}, UNGROUNDED),
        ("", [], {"answers": [], "answerable": False}, KEPT),
        ("never", [[1, 2, 3, 4]], {"answers": [], "answerable": False}, WRONG),
        (
            "never",
            [[1, 2, 3, 4]],
            {"answers": [], "answerable": False, "meta": {"label": {"by": "nobody"}}},
            KEPT,
        ),
        ("", [], {"answers": [], "answerable": False, "meta": {"label": {"by": "nobody"}}}, KEPT),
    ],
)
def test_what_becomes_of_a_trace(answer, boxes, changes, outcome):
    assert judge_trace(Trace("r", answer, boxes), record(**changes)) == outcome


def test_without_gold_the_teachers_answer_is_a_pseudo_label():
    waiting = record(answers=[], answerable=False, meta={"label": {"by": "nobody"}, "page": 3})
    learnt = taught(waiting, Trace("r", "never", [[1, 2, 3, 4]], [0]), "openai:tiny")
    assert learnt["answers"] == ["never"] and learnt["answerable"] and learnt["meta"]["page"] == 3
    assert learnt["meta"]["label"]["by"] == "model" and learnt["meta"]["label"]["model"] == "openai:tiny"


def test_the_page_is_part_of_a_trace():
    teacher = Teacher(lambda _: [OcrPage((), (10, 10)), page()], find_text, GoldReader(), 0.7)
    trace = Trace("r")
    teacher.answer(record(), trace)
    assert trace.box_images == [1] and "[[275, 1250, 525, 1350]]" in trace.text
    assert trace.caption == 'a document that begins "Invoice number: 4711"'


def test_an_answer_that_stands_nowhere_is_explained_without_a_place():
    passages = find_text("When is it due?", [page()], method="bm25")
    assert explain("yes", [page()], passages, None) == [
        f'The text nearest to the question is "{passages[0].text}".'
    ]
    assert explain("", [page()], passages, None) == ["The document does not say it."]


def test_counts_of_steps_do_not_depend_on_threads(records):
    with OpenAIServer(answered) as server:
        _, output = traces(records, *openai_options(server, "--concurrency", 8))
    log = rows_of(output / "traces" / "traces.jsonl")
    assert Counter(step["step"] for row in log for step in row["steps"]) == dict.fromkeys(
        ("ocr", "find_text", "qa", "ground_answer"), 6
    )
