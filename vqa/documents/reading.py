"""What is asked of a reader of documents, and what it gives back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vqa.answers import THINK_CLOSE, UNANSWERABLE, is_abstention
from vqa.documents.retrieval import Passage

Record = dict[str, Any]

_INSTRUCTION = (
    f"Copy the answer from the text, in as few words as possible. Say {UNANSWERABLE} if it is not there."
)
# Small models take the form of an answer from examples, not from an instruction.
_EXAMPLES = (
    ("Tel. 555 0123\nShip to: Maria Lopez\nTotal $19.90", "What is the phone number?", "555 0123"),
    ("Order AB-1207\nDate: 3 June 2011\nBread 2 $3.10", "How much is the bread?", "$3.10"),
    ("Room 12\nDr. Smith\nOrder AB-1207", "Which order number is printed?", "AB-1207"),
)
_PREFIX = re.compile(
    r"(?:the |my )?(?:final |short |correct )?answer(?: to (?:the|this) question)?(?: is\b:?|:)\s*",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`"}
# Full stops that belong to the word: "U.S.", "p.m.", and these.
_ABBREVIATION = re.compile(
    r"(?:^|\W)(?:(?:\w\.)+\w|inc|ltd|co|corp|jr|sr|st|ave|no|approx|etc)\.$", re.IGNORECASE
)


@dataclass(frozen=True)
class Usage:
    """What an answer cost: calls of a model, every attempt counted, and tokens as the model reports them."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @property
    def tokens(self) -> int:
        """Of prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Reading:
    """A reader's answer.

    Attributes:
        answer: "" where the reader says that the text does not hold it.
        reasoning: steps that lead to it, where the reader has any.
        prompt: what the model was given; "" without a model.
        raw: what it said.
        usage: what that cost.
    """

    answer: str
    reasoning: list[str] = field(default_factory=list)
    prompt: str = ""
    raw: str = ""
    usage: Usage = Usage()


class Reader(Protocol):
    """Answers a question from passages of its document; from several threads at once.

    Attributes:
        name: of the backend, with the model where there is one.
    """

    name: str

    def read(self, question: str, passages: Sequence[Passage], record: Record) -> Reading:
        """The answer that the passages hold.

        Args:
            passages: best first.
            record: the question's record; `images` are absolute paths of the pages.

        Raises:
            vqa.documents.budget.FailedCall: this question could not be answered; others can.
            vqa.documents.budget.BudgetSpent: no call is left.
            UserError: no question can be answered.
        """
        ...


def qa_messages(question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
    """The question as a chat: examples as earlier turns, then the passages, one a line, the best one last.

    The instruction opens the first turn, since not every chat template has a place for a system line.
    """
    asked = [f"{text}\n\nQuestion: {example}" for text, example, _ in _EXAMPLES]
    asked.append(f"{_context(passages)}\n\nQuestion: {question}")
    asked[0] = f"{_INSTRUCTION}\n\n{asked[0]}"
    messages = []
    for text, (_, _, answer) in zip(asked, _EXAMPLES, strict=False):
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": asked[-1]}]


def qa_text(question: str, passages: Sequence[Passage]) -> str:
    """The question as a text to be continued: examples first, the passages, one a line, the best one last."""
    parts = [f"Text:\n{text}\nQuestion: {asked}\nAnswer: {answer}\n" for text, asked, answer in _EXAMPLES]
    return "\n".join([*parts, f"Text:\n{_context(passages)}\nQuestion: {question}\nAnswer:"])


def chat_text(messages: Sequence[dict[str, str]]) -> str:
    """A chat as text, to be read in a trace."""
    return "\n\n".join(f"[{message['role']}] {message['content']}" for message in messages)


def _context(passages: Sequence[Passage]) -> str:
    return "\n".join(" ".join(passage.text.split()) for passage in reversed(passages))


def read_answer(raw: str) -> str:
    """The answer in a model's words; "" where they say that there is none."""
    answer = clean_answer(raw)
    return "" if is_abstention(answer) else answer


def clean_answer(text: str) -> str:
    """The answer in a model's words, without what models put around it.

    Thoughts up to `</think>`, every line but the first, "Answer:", Markdown's stars, quotes around the whole
    and full stops at the end are dropped, the stops of abbreviations excepted. Idempotent.
    """
    text = text.rpartition(THINK_CLOSE)[2]
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    # Models that are fond of headings put "Answer:" on a line of its own.
    return next(filter(None, map(_peeled, lines)), "")


def _peeled(text: str) -> str:
    while True:
        shorter = _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
        shorter = shorter.removeprefix("**").removesuffix("**").strip()
        if shorter.endswith(".") and not _ABBREVIATION.search(shorter):
            shorter = shorter.rstrip(". ")
        if len(shorter) > 1 and _QUOTES.get(shorter[0]) == shorter[-1] and shorter[0] not in shorter[1:-1]:
            shorter = shorter[1:-1].strip()
        if shorter == text:
            return text
        text = shorter
