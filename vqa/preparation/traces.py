"""Traces of a teacher that reads documents, as records that a student learns from.

Reasoning and boxes for questions whose answers are known, no model needed:
    python prepare_data.py traces data/documents --output_dir data/documents_traces

Answers by a model behind an OpenAI-compatible endpoint, eight questions at a time, within a budget:
    export OPENAI_API_KEY=...
    python prepare_data.py traces data/documents --output_dir data/documents_traces --qa_backend openai \
        --qa_model Qwen/Qwen2.5-VL-7B-Instruct --base_url http://127.0.0.1:8000/v1 --concurrency 8 \
        --max_calls 5000

Answers by a model in this process; by a rule:
    python prepare_data.py traces data/documents --output_dir data/traces_local --qa_backend local
    python prepare_data.py traces data/documents --output_dir data/traces_rule --qa_backend extractive

For each question: OCR of its pages, the passages that matter, an answer, where it stands, and all of it
written as a structured answer (docs/documents.md). OUTPUT_DIR holds the records whose answer is right, where
one is known, and stands on the page; OUTPUT_DIR/ungrounded those that are right and stand nowhere;
rejects.jsonl what was wrong or failed; OUTPUT_DIR/traces every step of every trace. Killed, or out of budget,
and run again, it goes on where it was.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from vqa.cli import option, parse_arguments, positional_first
from vqa.documents.budget import Budget, BudgetSpent, FailedCall
from vqa.documents.grounding import DEFAULT_THRESHOLD
from vqa.documents.ocr import OcrArguments, build_page_reader
from vqa.documents.planned_teacher import PlanningTeacher
from vqa.documents.reader import READERS, ReaderOptions, build_client, build_reader
from vqa.documents.retrieval import METHODS, find_text
from vqa.documents.trace_log import TraceLog
from vqa.documents.traces import UNGROUNDED, Record, Teacher, Trace, judge_trace
from vqa.errors import UserError
from vqa.images import DEFAULT_MAX_PIXELS
from vqa.preparation.folders import Folder, check_output_dir, read_folder
from vqa.preparation.trace_output import COMMAND, draw_traces, print_costs, write_traces

LOG_FOLDER = "traces"


@dataclass
class TraceArguments(OcrArguments):
    """Arguments of `traces`."""

    records: str = field(default="", metadata={"help": "record folder or file"})
    output_dir: str | None = option(None, "record folder to write")
    image_root: str | None = option(None, "folder of the images; default: the manifest's")
    max_pixels: int = option(DEFAULT_MAX_PIXELS, "refuse images of more pixels, without decoding them")
    limit: int | None = option(None, "answer the first so many questions only")

    # FindText
    retrieval: str = option("dense", f"how passages are ranked: {', '.join(METHODS)}")
    top_k: int = option(5, "passages that the answer is read from")

    # QA
    qa_backend: str = option("gold", f"who answers: {', '.join(READERS)}")
    qa_model: str | None = option(None, "model of openai, or of local: name or folder; local has its own")
    base_url: str | None = option(None, "of openai: the endpoint, up to and with /v1")
    api_key_env: str = option("OPENAI_API_KEY", "environment variable that holds the endpoint's key")
    max_new_tokens: int = option(64, "tokens of an answer")
    planner: bool = option(False, "of openai: the model decides on the steps, by tool calls")
    max_steps: int = option(8, "of --planner: tool calls a question")

    # GroundAnswer
    ground_threshold: float = option(DEFAULT_THRESHOLD, "least similarity of answer and place, 0 to 1")

    # Cost
    concurrency: int = option(4, "questions worked on at a time")
    timeout: float = option(60.0, "seconds without a byte from the endpoint after which a call has failed")
    retries: int = option(5, "attempts after the first")
    max_calls: int | None = option(None, "budget of the run: calls, every attempt counted")
    max_tokens: int | None = option(None, "budget of the run: tokens of prompts and answers")

    pictures: int = option(5, "traces drawn on their pages, in OUTPUT_DIR/pictures")

    def __post_init__(self) -> None:
        if not self.records or not self.output_dir:
            raise UserError("the folder of records and --output_dir are needed")
        for name, value, known in (
            ("retrieval", self.retrieval, METHODS),
            ("qa_backend", self.qa_backend, READERS),
        ):
            if value not in known:
                raise UserError(f"--{name} {value}: choose from {', '.join(known)}")
        counts = ("limit", "top_k", "max_new_tokens", "max_steps", "concurrency", "max_calls", "max_tokens")
        for name in counts:
            value = vars(self)[name]
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: 1 or more")
        for name in ("retries", "pictures"):
            if vars(self)[name] < 0:
                raise UserError(f"--{name} {vars(self)[name]}: 0 or more")
        if not 0 < self.ground_threshold <= 1:
            raise UserError(f"--ground_threshold {self.ground_threshold}: above 0, at most 1")
        if not self.timeout > 0:
            raise UserError(f"--timeout {self.timeout}: above 0 seconds")
        if self.planner and self.qa_backend != "openai":
            raise UserError("--planner calls tools of --qa_backend openai")


def main(argv: Sequence[str]) -> int | None:
    """Read, ask what has not been asked, sort, write."""
    argv = positional_first(argv, "records")
    (args,) = parse_arguments(
        TraceArguments, description=__doc__, argv=argv, prog=f"prepare_data.py {COMMAND}"
    )
    output_dir = Path(args.output_dir)
    for folder in (output_dir, output_dir / UNGROUNDED):
        check_output_dir(folder, COMMAND, args.records)
    source = read_folder(args.records, args.image_root, args.max_pixels)
    asked = [(f"{record['split']}/{record['id']}", record) for record in source.records][: args.limit]
    log = TraceLog(output_dir / LOG_FOLDER, settings(args, source))
    budget = Budget(args.max_calls, args.max_tokens)
    teacher = build_teacher(args, budget)
    try:
        stopped = ask(teacher, [pair for pair in asked if pair[0] not in log.finished], log, args)
    finally:
        log.close(key for key, _ in asked)
    write_traces(output_dir, source, asked, log.traces, settings(args, source), teacher.reader.name)
    draw_traces(output_dir / "pictures", asked, log.traces, teacher.read_pages, args.pictures)
    print_costs(asked, log.traces)
    if stopped is not None:
        print(f"stopped: {stopped}; run it again with a larger budget, and it goes on")
        return 1
    return None


def settings(args: TraceArguments, source: Folder) -> dict[str, Any]:
    """What a trace depends on: not where it goes, how fast it is made and what it may cost."""
    given = asdict(args)
    for name in ("records", "output_dir", "image_root", "limit", "pictures", "ocr_cache_dir", "ocr_threads"):
        del given[name]
    for name in ("base_url", "api_key_env", "concurrency", "timeout", "retries", "max_calls", "max_tokens"):
        del given[name]
    return given | {"sha256": source.sha256}


def build_teacher(args: TraceArguments, budget: Budget) -> Teacher:
    """All steps, ready to be taken. Raises UserError for what is missing."""
    options = ReaderOptions(
        model=args.qa_model,
        base_url=args.base_url,
        key_variable=args.api_key_env,
        timeout=args.timeout,
        retries=args.retries,
        budget=budget,
        max_new_tokens=args.max_new_tokens,
    )
    steps = {
        "reader": build_reader(args.qa_backend, options),
        "read_pages": build_page_reader(args, args.max_pixels).read_record,
        "find": partial(find_text, k=args.top_k, method=args.retrieval),
        "threshold": args.ground_threshold,
    }
    if not args.planner:
        return Teacher(**steps)
    client = build_client(options, 4 * args.max_new_tokens)  # a call of a tool is longer than an answer
    return PlanningTeacher(**steps, client=client, max_steps=args.max_steps)


def ask(
    teacher: Teacher, missing: Sequence[tuple[str, Record]], log: TraceLog, args: TraceArguments
) -> BudgetSpent | None:
    """Answer the questions, each trace logged when finished; what spent the budget, if something did."""

    ended = threading.Event()

    def work(pair: tuple[str, Record]) -> None:
        key, record = pair
        if ended.is_set():
            return
        trace = Trace(record["id"])
        try:
            teacher.answer(record, trace)
        except FailedCall as failed:
            trace.error = failed.reason
            trace.steps.append({"step": "qa", "input": None, "output": None, "cost": asdict(failed.usage)})
        except (UserError, BudgetSpent):
            ended.set()  # here, or this thread would begin with the next question
            raise
        trace.outcome = judge_trace(trace, record)
        log.add(key, trace)

    spent = None
    pool = ThreadPoolExecutor(args.concurrency)
    try:
        working = [pool.submit(work, pair) for pair in missing]
        for done in tqdm(as_completed(working), total=len(working), unit="q", desc="Traces", disable=None):
            try:
                done.result()
            except BudgetSpent as error:
                spent = error
                break
    finally:
        ended.set()
        # What is under way is paid for and is waited for; what has not begun is not begun.
        pool.shutdown(cancel_futures=True)
    return spent
