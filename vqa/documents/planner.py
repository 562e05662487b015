"""The planner: a model decides which step of the teacher to take next, by calling it as a tool.

The loop is that of every tool-calling agent: the model's turn, its calls carried out, their results sent
back, until it calls `answer` or has used up its steps. Left out on purpose: errors are not sent back for the
model to mend. What is malformed ends the plan, and the caller takes the fixed steps instead.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vqa.documents.budget import FailedCall
from vqa.documents.openai_client import ChatClient
from vqa.documents.reading import Usage, read_answer

MAX_RESULT = 6000  # characters of a tool's result that the model is shown
ANSWER = "answer"
_TYPES = {"string": str, "integer": int}


def _tool(name: str, purpose: str, required: list[str], **parameters: tuple[str, str]) -> dict[str, Any]:
    properties = {key: {"type": kind, "description": text} for key, (kind, text) in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": purpose, "parameters": schema}}


TOOLS = {
    "ocr_page": _tool(
        "ocr_page", "All text of a page, line by line.", ["page"], page=("integer", "page number, from 0")
    ),
    "find_text": _tool(
        "find_text",
        "The passages of the document that fit a query best.",
        ["query"],
        query=("string", "the question, or what to look for"),
        k=("integer", "how many passages"),
    ),
    "ground_answer": _tool(
        "ground_answer",
        "Where on the pages a text stands, or that it stands nowhere.",
        ["text"],
        text=("string", "the answer as it is spelt in the document"),
    ),
    ANSWER: _tool(
        ANSWER,
        "Give the final answer and end.",
        ["text"],
        text=("string", "words from the document, as few as possible; unanswerable if it is not there"),
        page=("integer", "number of the page where it stands, from 0"),
    ),
}
_INSTRUCTIONS = """You answer a question about a document of {pages} page(s) that you cannot see. Use the
tools, one call a turn and at most {steps} calls: find or read the text, check where the answer stands, then
call `answer`.

Question: {question}"""


@dataclass
class PlannedAnswer:
    """What came of a plan.

    Attributes:
        answer: "" where the model says that there is none; None where the plan ended without one.
        page: where it says that the answer stands.
        steps: `{"tool", "arguments", "result", "seconds"}` of each call that was carried out.
        usage: of all turns.
        fault: one line on why there is no answer, and the fixed plan is to be taken; "" where there is one.
    """

    answer: str | None = None
    page: int | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = Usage()
    fault: str = ""


class _Malformed(Exception):
    """What the model did instead of a call that can be carried out."""


def plan_and_answer(
    client: ChatClient, question: str, tools: Mapping[str, Callable[..., Any]], max_steps: int, pages: int = 1
) -> PlannedAnswer:
    """Let the model call tools until it answers.

    Args:
        tools: by the names of `TOOLS` other than `answer`, with the parameters given there; they return JSON
            values, and raise ValueError for a page that is not there.
        max_steps: calls of tools, the answer included.
        pages: of the document.

    Raises:
        BudgetSpent, UserError: as `ChatClient.complete`. A `FailedCall` is a fault of the plan.
    """
    planned = PlannedAnswer()
    offered = [TOOLS[name] for name in (*tools, ANSWER)]
    prompt = _INSTRUCTIONS.format(pages=pages, steps=max_steps, question=question)
    messages = [{"role": "user", "content": prompt}]
    try:
        while planned.answer is None:
            turn = client.complete(messages, offered)
            planned.usage += turn.usage
            if not turn.tool_calls:
                raise _Malformed("the model called no tool")
            messages.append(turn.message)
            for call in turn.tool_calls:
                result = _carry_out(call["function"], tools, planned)
                if planned.answer is not None:
                    break
                if len(planned.steps) == max_steps:
                    raise _Malformed(f"no answer within {max_steps} steps")
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    except _Malformed as fault:
        planned.fault = str(fault)
    except FailedCall as failed:
        planned.usage += failed.usage
        planned.fault = f"the call failed: {failed.reason}"
    return planned


def _carry_out(
    function: dict[str, str], tools: Mapping[str, Callable[..., Any]], planned: PlannedAnswer
) -> str:
    """Call one tool, note the step, and return the result as the model is shown it."""
    name = function["name"]
    if name not in tools and name != ANSWER:
        raise _Malformed(f"the model called {name[:40]!r}, which is no tool")
    arguments = _arguments(name, function["arguments"])
    begun = time.perf_counter()
    if name == ANSWER:
        planned.answer, planned.page, result = read_answer(arguments["text"]), arguments.get("page"), None
    else:
        try:
            result = tools[name](**arguments)
        except ValueError as error:
            raise _Malformed(f"{name}: {error}") from error
    seconds = round(time.perf_counter() - begun, 4)
    planned.steps.append({"tool": name, "arguments": arguments, "result": result, "seconds": seconds})
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " ..."


def _arguments(name: str, text: str) -> dict[str, Any]:
    """The arguments of a call, of the types and names that the tool has."""
    parameters = TOOLS[name]["function"]["parameters"]
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"{name}: its arguments are not JSON: {text[:80]!r}") from error
    if not isinstance(given, dict):
        raise _Malformed(f"{name}: its arguments are no object: {text[:80]!r}")
    given = {key: value for key, value in given.items() if value is not None}  # null: left out
    missing = [key for key in parameters["required"] if key not in given]
    unknown = [key for key in given if key not in parameters["properties"]]
    if missing or unknown:
        wrong = f"takes no {unknown[0][:40]!r}" if unknown else f"{missing[0]!r} is missing"
        raise _Malformed(f"{name}: {wrong}")
    for key, value in given.items():
        kind = parameters["properties"][key]["type"]
        if type(value) is not _TYPES[kind]:
            raise _Malformed(f"{name}: {key!r} is no {kind}: {str(value)[:40]!r}")
    return given
