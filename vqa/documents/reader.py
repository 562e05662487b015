"""QA: who reads the answer out of the passages. `READERS` names them all.

gold        the record's own answer: traces to learn from, without a model
extractive  a rule: the value that stands beside the words of the question
local       a model in this process
openai      a model behind an OpenAI-compatible endpoint
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqa.documents.budget import Budget
from vqa.documents.reading import Reader, Reading, Record, Usage
from vqa.documents.retrieval import Passage
from vqa.errors import UserError

if TYPE_CHECKING:
    from vqa.documents.openai_client import ChatClient

__all__ = ["READERS", "GoldReader", "Reader", "ReaderOptions", "Reading", "Usage", "build_reader"]


@dataclass(frozen=True)
class ReaderOptions:
    """What readers can be told; each takes what concerns it.

    Attributes:
        model: of `local`, None for the packaged one, and of `openai`.
        base_url, key_variable, timeout, retries, budget: of `openai`, as `ChatClient` takes them.
        max_new_tokens: of an answer of a model.
    """

    model: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 5
    budget: Budget | None = None
    max_new_tokens: int = 32


class GoldReader:
    """The first accepted answer; "" where the page does not hold one."""

    name = "gold"

    def read(self, question: str, passages: Sequence[Passage], record: Record) -> Reading:
        """The record's answer and its reasoning."""
        answer = record["answers"][0] if record["answerable"] else ""
        return Reading(answer, list(record["reasoning"]), raw=answer)


def build_reader(backend: str, options: ReaderOptions = ReaderOptions()) -> Reader:
    """The reader of a name.

    Raises:
        UserError: there is none of that name, it lacks an option, or its model cannot be had.
    """
    if backend not in READERS:
        raise UserError(f"--qa_backend {backend}: choose from {', '.join(READERS)}")
    return READERS[backend](options)


# Readers are imported where they are asked for: a model's takes seconds, and most runs need another.
def _extractive(options: ReaderOptions) -> Reader:
    from vqa.documents.extractive_reader import ExtractiveReader

    return ExtractiveReader()


def _local(options: ReaderOptions) -> Reader:
    from vqa.documents.local_reader import LocalReader
    from vqa.documents.packaged_llm import DEFAULT_LLM

    return LocalReader(options.model or DEFAULT_LLM, options.max_new_tokens)


def _openai(options: ReaderOptions) -> Reader:
    from vqa.documents.openai_reader import OpenAIReader

    return OpenAIReader(build_client(options, options.max_new_tokens))


def build_client(options: ReaderOptions, max_tokens: int) -> "ChatClient":
    """A client of the endpoint that the options name, whose turns have `max_tokens` at most.

    Raises:
        UserError: an option is missing, or none such.
    """
    from vqa.documents.openai_client import ChatClient

    for name, value in (("--qa_model", options.model), ("--base_url", options.base_url)):
        if not value:
            raise UserError(f"--qa_backend openai: {name} is missing")
    return ChatClient(
        options.base_url,
        options.model,
        key_variable=options.key_variable,
        timeout=options.timeout,
        retries=options.retries,
        budget=options.budget,
        request={"temperature": 0, "max_tokens": max_tokens},
    )


READERS: dict[str, Callable[[ReaderOptions], Reader]] = {
    "gold": lambda options: GoldReader(),
    "extractive": _extractive,
    "local": _local,
    "openai": _openai,
}
