"""The document teacher as a whole: what its answers are worth, how fast it is, and many calls at once.

On the pages that `python -m benchmarks.document_steps` drew: answers without a model, by a language model in
this process (`make smollm`), and by one behind an endpoint, if there is one; then a server on this machine
that takes half a second for each call, asked by 1, 4 and 16 threads.

    python -m benchmarks.document_teacher
    python -m benchmarks.document_teacher --base_url http://127.0.0.1:8791/v1 --qa_model FOLDER

Writes OUTPUT/document_teacher.json and prints its tables.
"""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.openai_server import OpenAIServer, says
from vqa.cli import option, parse_arguments, run
from vqa.documents.traces import has_gold
from vqa.files import write_json
from vqa.metrics.text import anls
from vqa.records import read_records
from vqa.runs import git_commit, hardware

ROOT = Path(__file__).resolve().parent.parent
DELAY = 0.5


@dataclass
class TeacherArguments:
    """On which pages, with which models."""

    records: str = option(
        "outputs/benchmarks/document_steps/documents_200_seed0/test.jsonl", "pages with their questions"
    )
    limit: int = option(300, "questions, the first so many")
    model_limit: int = option(60, "questions for a language model on this machine")
    calls: int = option(96, "of the server with a fixed delay")
    base_url: str | None = option(None, "an endpoint to be measured too")
    qa_model: str | None = option(None, "the endpoint's model")
    ocr_cache: str = option(".cache/ocr", "pages that were read")
    output_dir: str = option("outputs/benchmarks", "where the numbers go")


def teach(args: TeacherArguments, folder: Path, *options: Any) -> tuple[list[dict[str, Any]], float]:
    """Traces made by the command, and the seconds that took."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "prepare_data.py", "traces", args.records, "--output_dir", folder]
    command += ["--ocr_cache_dir", args.ocr_cache, "--pictures", 0, *options]
    begun = time.perf_counter()
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    log = folder / "traces" / "traces.jsonl"
    if not log.is_file():
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()], time.perf_counter() - begun


def judged(args: TeacherArguments, folder: Path, *options: Any) -> dict[str, Any]:
    """What a teacher's answers are worth: ANLS over what can be answered, abstentions over what cannot."""
    traces, seconds = teach(args, folder, *options)
    gold = {record["id"]: record for record in read_records(args.records) if has_gold(record)}
    answerable = [trace for trace in traces if gold[trace["id"]]["answerable"]]
    scores = [anls(trace["answer"], gold[trace["id"]]["answers"]) for trace in answerable]
    others = [trace for trace in traces if not gold[trace["id"]]["answerable"]]
    took = Counter()
    for trace in traces:
        took.update({step["step"]: step["seconds"] for step in trace["steps"]})
    return {
        "questions": len(traces),
        "anls": sum(scores) / len(scores),
        "abstains_rightly": sum(not trace["answer"] for trace in others) / len(others) if others else None,
        "outcomes": dict(Counter(trace["outcome"] for trace in traces)),
        "seconds_a_question": {name: round(value / len(traces), 4) for name, value in took.items()},
        "seconds": round(seconds, 1),
    }


def calls_a_second(args: TeacherArguments, folder: Path, threads: int) -> float:
    """Calls a second by so many threads, from the first call that came in to the last answer."""
    with OpenAIServer([says("unanswerable")], delay=DELAY) as server:
        options = ("--qa_backend", "openai", "--qa_model", "fixed", "--base_url", server.url)
        # Passages by their words: the encoder's work would be measured beside the calls.
        more = ("--retrieval", "bm25", "--concurrency", threads, "--limit", args.calls)
        teach(args, folder, *options, *more)
        begun = server.requests[0].time
        return len(server.requests) / (server.requests[-1].time + DELAY - begun)


def main() -> None:
    """Measure, print, write."""
    (args,) = parse_arguments(TeacherArguments, description=__doc__)
    output = Path(args.output_dir)
    work = output / "document_teacher"
    teachers = {
        "gold": ("--qa_backend", "gold", "--limit", args.limit),
        "extractive": ("--qa_backend", "extractive", "--limit", args.limit),
        "local": ("--qa_backend", "local", "--limit", args.model_limit, "--concurrency", 1),
    }
    if args.base_url:
        served = ("--qa_backend", "openai", "--base_url", args.base_url, "--qa_model", args.qa_model)
        teachers["openai"] = (*served, "--limit", args.model_limit, "--concurrency", 1, "--timeout", 300)
    found = {name: judged(args, work / name, *options) for name, options in teachers.items()}
    rates = {threads: calls_a_second(args, work / "delayed", threads) for threads in (1, 4, 16)}
    columns = ("QA", "questions", "ANLS", "abstains rightly", "outcomes", "seconds a question")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, row in found.items():
        abstains = "" if row["abstains_rightly"] is None else f"{row['abstains_rightly']:.1%}"
        print(
            f"| {name} | {row['questions']} | {row['anls']:.3f} | {abstains} | "
            f"{', '.join(f'{count} {kind}' for kind, count in row['outcomes'].items())} | "
            f"{', '.join(f'{step} {value}' for step, value in row['seconds_a_question'].items())} |"
        )
    for threads, rate in rates.items():
        print(f"{threads} threads: {rate:.2f} calls a second, {threads / DELAY:.0f} at most")
    write_json(
        output / "document_teacher.json",
        {"teachers": found, "calls_a_second": rates, "git": git_commit(), "hardware": hardware()},
    )


if __name__ == "__main__":
    run(main)
