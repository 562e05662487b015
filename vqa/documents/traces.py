"""A teacher's answer to one question about a document, and how it came to it: a trace.

    OCR -> FindText -> QA -> GroundAnswer -> Format

Each step is a module of this package and can be exchanged; a trace keeps what went into it and came out, how
long it took and what it cost. `judge_trace` says whether a student should learn from it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vqa.answers import UNANSWERABLE, StructuredAnswer, is_abstention, write_structured
from vqa.documents.grounding import Grounding, ground_answer
from vqa.documents.pages import OcrPage
from vqa.documents.reader import Reader, Reading
from vqa.documents.retrieval import Passage
from vqa.page_boxes import boxes_to_text
from vqa.questions import is_correct

Record = dict[str, Any]
# What becomes of a trace. Ungrounded: right or without gold, but its answer stands nowhere on the pages.
KEPT, UNGROUNDED, WRONG, FAILED = "kept", "ungrounded", "wrong", "failed"
MAX_QUOTE = 200  # characters of a passage in the reasoning


@dataclass
class Trace:
    """One question, answered.

    Attributes:
        answer: "" where the teacher found none.
        boxes, box_images: where it stands, pixels of the original images, and which image each is on.
        caption, reasoning: what the student is taught to say before it.
        steps: `{"step", "input", "output", "seconds", "cost"}` in the order they were taken; cost in calls
            and tokens.
        text: all of it to read.
        error: why there is no answer; None where nothing failed.
    """

    id: str
    answer: str = ""
    boxes: list[list[float]] = field(default_factory=list)
    box_images: list[int] = field(default_factory=list)
    caption: str = ""
    reasoning: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    error: str | None = None
    outcome: str = ""

    @contextmanager
    def step(self, name: str, given: Any) -> Iterator[dict[str, Any]]:
        """Note a step: what is put into the yielded dict under `output` and `cost` is kept."""
        begun = time.perf_counter()
        noted: dict[str, Any] = {"step": name, "input": given, "output": None}
        yield noted
        seconds = round(time.perf_counter() - begun, 4)
        self.steps.append({**noted, "seconds": seconds, "cost": noted.get("cost", {})})


@dataclass(frozen=True)
class Teacher:
    """The fixed plan: each step once, in order.

    Args:
        read_pages: OCR of a record's images.
        find: question and pages to the passages that matter, best first.
        reader: passages to an answer.
        threshold: of GroundAnswer.
    """

    read_pages: Callable[[Record], list[OcrPage]]
    find: Callable[[str, Sequence[OcrPage]], list[Passage]]
    reader: Reader
    threshold: float

    def answer(self, record: Record, trace: Trace) -> None:
        """Take all steps, and note them in the trace, those before a fault too.

        Raises:
            UserError, BudgetSpent: nothing can go on.
            FailedCall: this question cannot be answered now.
        """
        self.take_fixed_steps(trace, record, self.read(trace, record))

    def take_fixed_steps(self, trace: Trace, record: Record, pages: list[OcrPage]) -> None:
        """All steps after OCR."""
        passages = self.find_text(trace, record["question"], pages)
        with trace.step("qa", {"reader": self.reader.name, "question": record["question"]}) as step:
            reading = self.reader.read(record["question"], passages, record)
            step["input"] |= {"prompt": reading.prompt}
            step["output"] = {"answer": reading.answer, "raw": reading.raw}
            step["cost"] = asdict(reading.usage)
        found = self.ground(trace, reading.answer, pages, passages)
        write_trace(trace, record, pages, passages, reading, found)

    def read(self, trace: Trace, record: Record) -> list[OcrPage]:
        """OCR of the record's pages."""
        with trace.step("ocr", [Path(path).name for path in record["images"]]) as step:
            pages = self.read_pages(record)
            step["output"] = [page.text for page in pages]
        return pages

    def find_text(self, trace: Trace, query: str, pages: Sequence[OcrPage]) -> list[Passage]:
        """FindText."""
        with trace.step("find_text", query) as step:
            passages = self.find(query, pages)
            step["output"] = [{"text": p.text, "page": p.page, "score": round(p.score, 4)} for p in passages]
        return passages

    def ground(
        self, trace: Trace, answer: str, pages: Sequence[OcrPage], passages: Sequence[Passage]
    ) -> Grounding | None:
        """GroundAnswer; nothing to look for where there is no answer."""
        with trace.step("ground_answer", answer) as step:
            found = self.place(answer, pages, passages)
            step["output"] = found and {"text": found.text, "page": found.page, "boxes": found.boxes}
        return found

    def place(self, answer: str, pages: Sequence[OcrPage], passages: Sequence[Passage]) -> Grounding | None:
        """Where a text stands, None for "" too."""
        return ground_answer(answer, pages, passages, self.threshold) if answer else None


def write_trace(
    trace: Trace,
    record: Record,
    pages: Sequence[OcrPage],
    passages: Sequence[Passage],
    reading: Reading,
    found: Grounding | None,
) -> None:
    """Format: what the student is to say, and the whole trace as text."""
    trace.answer = "" if is_abstention(reading.answer) else reading.answer
    trace.caption = record["caption"] or describe_pages(pages)
    if found is not None:
        trace.boxes = [list(box) for box in found.boxes]
        trace.box_images = [found.page] * len(found.boxes)
    trace.reasoning = list(reading.reasoning) or explain(trace.answer, pages, passages, found)
    parts = [f"[OCR] {sum(len(page.words) for page in pages)} words on {len(pages)} page(s)"]
    parts += [f"[FindText] {one_line(passage.text)}" for passage in passages]
    parts += [f"[QA] {trace.answer or UNANSWERABLE}"]
    place = f"{one_line(found.text)} at {found.boxes}, page {found.page}" if found else "not found"
    parts += [f"[GroundAnswer] {place}"]
    trace.text = "\n".join([*parts, f"[Format] {structured_text(trace, pages)}"])


def structured_text(trace: Trace, pages: Sequence[OcrPage]) -> str:
    """The trace in the structured style, coordinates in thousandths of the page."""
    sizes = [page.size for page in pages]
    boxes = boxes_to_text(trace.boxes, trace.box_images, sizes, "norm1000")
    return write_structured(
        StructuredAnswer(trace.caption, trace.reasoning, boxes, trace.answer or UNANSWERABLE)
    )


def one_line(text: str) -> str:
    """Lines of a page, parted by slashes."""
    return " / ".join(text.split("\n"))


def describe_pages(pages: Sequence[OcrPage]) -> str:
    """A caption for a document that has none: its first line of text."""
    first = next((page.text.split("\n")[0] for page in pages if page.words), "")
    return f'a document that begins "{_quoted(first)}"' if first else "a page without text"


def explain(
    answer: str, pages: Sequence[OcrPage], passages: Sequence[Passage], found: Grounding | None
) -> list[str]:
    """The steps that lead to an answer, in words a reader can check on the page.

    Quoted is the line that holds it; where that says no more than the answer, the best passage around it.
    """
    if not answer:
        return ["The document does not say it."]
    if found is None:
        return [f'The text nearest to the question is "{_quoted(passages[0].text)}".'] if passages else []
    place, page = set(found.words), pages[found.page]
    lines = [line for line in page.lines if place.intersection(line)]
    source = "\n".join(" ".join(page.words[index].text for index in line) for line in lines)
    if sum(map(len, lines)) == len(place):
        around = [p.text for p in passages if p.page == found.page and place <= set(p.words)]
        source = next((text for text in around if text != source), source)
    return [f'The document says "{_quoted(source)}".']


def _quoted(text: str) -> str:
    line = " ".join(text.split()).replace('"', "'")
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1].rstrip() + "…"


def judge_trace(trace: Trace, record: Record) -> str:
    """What becomes of a trace.

    The teacher's answer is compared with the accepted ones by the matcher of the question's type, where
    there are any; a question that nobody has answered (`meta.label.by` is `nobody`) has none.
    """
    if trace.error is not None:
        return FAILED
    if has_gold(record):
        if not record["answerable"]:
            return WRONG if trace.answer else KEPT
        kind, candidates = record["question_type"], record["answer_candidates"]
        if not trace.answer or not is_correct(kind, trace.answer, record["answers"], candidates):
            return WRONG
    if not trace.answer:
        return KEPT
    return KEPT if trace.boxes else UNGROUNDED


def has_gold(record: Record) -> bool:
    """Whether somebody has said what the answer is, or that there is none."""
    label = record["meta"].get("label")
    return record["answerable"] or not (isinstance(label, dict) and label.get("by") == "nobody")


def taught(record: Record, trace: Trace, model: str) -> Record:
    """The record as a student learns it: the trace's words and boxes; gold answers stay.

    Without gold the teacher's answer is a pseudo-label, and `meta.label` says whose.
    """
    learnt = {
        "caption": trace.caption,
        "reasoning": trace.reasoning,
        "boxes": trace.boxes,
        "box_images": trace.box_images,
    }
    if not has_gold(record):
        label = {"by": "model", "model": model, "confidence": None, "decision": "accepted", "reviewer": None}
        learnt |= {"answers": [trace.answer] if trace.answer else [], "answerable": bool(trace.answer)}
        learnt |= {"meta": record["meta"] | {"label": label}}
    return record | learnt
