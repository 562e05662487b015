"""The planner's loop over a real HTTP server that plays the model."""

import json
import re

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.openai_server import OpenAIServer, Reply, calls, error, says
from vqa.documents.budget import Budget, BudgetSpent
from vqa.documents.openai_client import ChatClient
from vqa.documents.planner import MAX_RESULT, TOOLS, _arguments, _Malformed, plan_and_answer
from vqa.documents.reading import Usage
from vqa.errors import UserError

QUESTION = "What is the due date?"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)


class Document:
    """Two pages and what was asked of them."""

    def __init__(self):
        self.asked = []

    def ocr_page(self, page):
        self.asked.append(("ocr_page", page))
        if page > 1:
            raise ValueError(f"there is no page {page}")
        return ["Invoice 7", "Due date: 5 May 2020"][page]

    def find_text(self, query, k=5):
        self.asked.append(("find_text", query, k))
        return [{"text": "Due date: 5 May 2020", "page": 1}]

    def ground_answer(self, text):
        self.asked.append(("ground_answer", text))
        return {"page": 1, "boxes": [[1, 2, 3, 4]]}

    @property
    def tools(self):
        return {name: vars(Document)[name].__get__(self) for name in TOOLS if name != "answer"}


def plan(script, max_steps=6, **options):
    document = Document()
    with OpenAIServer(script) as server:
        client = ChatClient(server.url, "tiny", **options)
        planned = plan_and_answer(client, QUESTION, document.tools, max_steps, pages=2)
        return planned, document, server.requests


def test_the_model_decides_order_and_repetition():
    planned, document, requests = plan(
        [
            calls(("find_text", {"query": "due date", "k": 3})),
            calls(("ocr_page", {"page": 1})),
            calls(("ocr_page", {"page": 0})),
            calls(("ground_answer", {"text": "5 May 2020"})),
            calls(("answer", {"text": "5 May 2020", "page": 1})),
        ]
    )
    assert (planned.answer, planned.page, planned.fault) == ("5 May 2020", 1, "")
    assert document.asked == [
        ("find_text", "due date", 3), ("ocr_page", 1), ("ocr_page", 0), ("ground_answer", "5 May 2020")
    ]  # fmt: skip
    assert [step["tool"] for step in planned.steps] == [name for name, *_ in document.asked] + ["answer"]
    assert (
        planned.steps[1]["arguments"] == {"page": 1} and planned.steps[1]["result"] == "Due date: 5 May 2020"
    )
    assert all(step["seconds"] >= 0 for step in planned.steps)
    assert planned.usage == Usage(5, 50, 10)
    json.dumps(planned.steps)

    first, last = requests[0].body, requests[-1].body
    assert QUESTION in first["messages"][0]["content"] and "2 page(s)" in first["messages"][0]["content"]
    assert [tool["function"]["name"] for tool in first["tools"]] == list(TOOLS)
    assert [message["role"] for message in last["messages"]] == ["user"] + ["assistant", "tool"] * 4
    for turn, result in zip(last["messages"][1::2], last["messages"][2::2], strict=True):
        assert result["tool_call_id"] == turn["tool_calls"][0]["id"]
    assert last["messages"][4]["content"] == "Due date: 5 May 2020"
    assert json.loads(last["messages"][8]["content"]) == {"page": 1, "boxes": [[1, 2, 3, 4]]}


def test_several_calls_in_a_turn_are_carried_out_in_order_up_to_the_answer():
    planned, document, requests = plan(
        [
            calls(("find_text", {"query": "a"}), ("ocr_page", {"page": 0})),
            calls(("find_text", {"query": "b"}), ("answer", {"text": "x"}), ("ocr_page", {"page": 1})),
        ]
    )
    assert planned.answer == "x" and planned.page is None and len(requests) == 2
    assert document.asked == [("find_text", "a", 5), ("ocr_page", 0), ("find_text", "b", 5)]
    assert [message["role"] for message in requests[1].body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]


def test_what_an_endpoint_adds_to_its_calls_goes_back_to_it():
    script = [calls(("ocr_page", {"page": 0})), calls(("answer", {"text": "x"}))]
    signed = script[0].body["choices"][0]["message"]["tool_calls"][0]
    signed["extra_content"] = {"google": {"thought_signature": "abc"}}
    _, _, requests = plan(script)
    assert requests[1].body["messages"][1]["tool_calls"] == [signed]


@pytest.mark.parametrize(("said", "answer"), [('"5 May 2020".', "5 May 2020"), ("Unanswerable", "")])
def test_the_answer_is_read_as_any_model_s(said, answer):
    planned, _, _ = plan([calls(("answer", {"text": said}))])
    assert planned.answer == answer and planned.fault == ""


def test_null_is_an_argument_left_out():
    planned, document, _ = plan(
        [calls(("find_text", {"query": "a", "k": None})), calls(("answer", {"text": "x", "page": None}))]
    )
    assert planned.answer == "x" and document.asked == [("find_text", "a", 5)]


def test_a_long_result_is_cut_for_the_model_alone():
    document = Document()
    tools = document.tools | {"ocr_page": lambda page: "x" * 2 * MAX_RESULT}
    with OpenAIServer([calls(("ocr_page", {"page": 0})), calls(("answer", {"text": "x"}))]) as server:
        planned = plan_and_answer(ChatClient(server.url, "tiny"), QUESTION, tools, 3)
        shown = server.requests[1].body["messages"][2]["content"]
    assert len(shown) == MAX_RESULT + 4 and len(planned.steps[0]["result"]) == 2 * MAX_RESULT


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (says("It is 5 May 2020."), "the model called no tool"),
        (calls(("open_door", {})), "'open_door', which is no tool"),
        (calls(("find_text", "{query: due}")), "find_text: its arguments are not JSON"),
        (calls(("find_text", '["due"]')), "find_text: its arguments are no object"),
        (calls(("find_text", {})), "find_text: 'query' is missing"),
        (calls(("find_text", {"query": None})), "find_text: 'query' is missing"),
        (calls(("find_text", {"query": "a", "n": 1})), "find_text: takes no 'n'"),
        (calls(("find_text", {"query": 7})), "find_text: 'query' is no string"),
        (calls(("ocr_page", {"page": "1"})), "ocr_page: 'page' is no integer"),
        (calls(("ocr_page", {"page": True})), "ocr_page: 'page' is no integer"),
        (calls(("ocr_page", {"page": 9})), "ocr_page: there is no page 9"),
        (calls(("answer", {})), "answer: 'text' is missing"),
        (says(""), "the call failed: empty completion"),
        (says(None, refusal="no"), "the call failed: refused: no"),
        (error(400, "tools are not supported"), "the call failed: 400: .*tools are not supported"),
        (Reply(b"{"), "the call failed: the answer is no chat completion"),
    ],
)
def test_what_is_malformed_ends_the_plan_with_what_it_cost(bad, fault):
    planned, document, requests = plan([calls(("ocr_page", {"page": 0})), bad], retries=1)
    assert planned.answer is None
    assert re.search(fault, planned.fault) and "\n" not in planned.fault
    assert planned.usage.calls == len(requests) and planned.usage.prompt_tokens >= 10
    assert [step["tool"] for step in planned.steps] == ["ocr_page"] and document.asked[0] == ("ocr_page", 0)


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_are_limited_and_no_turn_is_paid_beyond(steps):
    planned, document, requests = plan([calls(("ocr_page", {"page": 0}))], max_steps=steps)
    assert planned.answer is None and planned.fault == f"no answer within {steps} steps"
    assert len(planned.steps) == len(document.asked) == len(requests) == steps


def test_the_last_step_may_be_the_answer():
    planned, _, _ = plan([calls(("ocr_page", {"page": 0})), calls(("answer", {"text": "x"}))], max_steps=2)
    assert planned.answer == "x" and len(planned.steps) == 2


def test_many_calls_in_a_turn_are_limited_too():
    planned, document, requests = plan([calls(*[("ocr_page", {"page": 0})] * 50)], max_steps=4)
    assert planned.fault and len(document.asked) == 4 and len(requests) == 1


def test_a_spent_budget_and_a_wrong_key_are_no_faults_of_the_plan():
    with pytest.raises(BudgetSpent):
        plan([calls(("ocr_page", {"page": 0}))], budget=Budget(max_calls=2))
    with pytest.raises(UserError):
        plan([error(401)])


@given(
    name=st.sampled_from(list(TOOLS)),
    text=st.text(max_size=30)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["page", "query", "k", "text", "x"]), inner, max_size=3)
        ),
    ).map(json.dumps),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arguments_are_those_of_the_tool_or_malformed(name, text):
    try:
        arguments = _arguments(name, text)
    except _Malformed as fault:
        assert "\n" not in str(fault)
        return
    parameters = TOOLS[name]["function"]["parameters"]
    assert set(parameters["required"]) <= set(arguments) <= set(parameters["properties"])
    for key, value in arguments.items():
        assert type(value) is {"string": str, "integer": int}[parameters["properties"][key]["type"]]
