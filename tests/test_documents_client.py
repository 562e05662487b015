"""Chat completions over a real HTTP server that misbehaves by a script."""

import json
import logging
import random
import re
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.openai_server import OpenAIServer, Reply, calls, error, says
from vqa.documents import openai_client
from vqa.documents.budget import Budget, BudgetSpent, FailedCall
from vqa.documents.chat_json import is_completion, most_tokens, tokens_of
from vqa.documents.openai_client import ChatClient
from vqa.documents.reading import Usage
from vqa.errors import UserError

KEY = "sk-secret-0123456789abcdef"
ASK = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The key is set, and backoff is fifty times as fast."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(openai_client, "RETRY_SPREAD", 0.005)


def ask(script, **options):
    """The completion and the requests that it took."""
    with OpenAIServer(script) as server:
        return ChatClient(server.url, "tiny", **options).complete(ASK), server.requests


def fault(script, kind, **options):
    """The exception that a script ends in, and the requests that it took."""
    with OpenAIServer(script) as server:
        client = ChatClient(server.url, "tiny", **options)
        with pytest.raises(kind) as caught:
            client.complete(ASK)
        assert KEY not in str(caught.value) and "\n" not in str(caught.value)
        assert KEY not in "".join(traceback.format_exception(caught.value))
        return caught.value, server


def test_an_answer_comes_with_what_it_cost():
    completion, requests = ask([says(" Paris \n")])
    assert completion.text == "Paris" and completion.usage == Usage(1, 10, 2)
    assert completion.message == {"role": "assistant", "content": "Paris"}
    (request,) = requests
    assert request.path == "/v1/chat/completions" and request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 64}


def test_fields_of_the_request_can_be_others():
    _, (request,) = ask([says("Paris")], request={"max_completion_tokens": 9, "seed": 3})
    assert request.body == {"model": "tiny", "messages": ASK, "max_completion_tokens": 9, "seed": 3}


def test_nothing_is_told_about_the_machine():
    _, (_, again) = ask([error(500), says("Paris")])
    told = {name for name in again.headers if name.startswith("x-stainless")}
    assert told == {"x-stainless-raw-response"}


@pytest.mark.parametrize(("header", "seconds"), [("retry_after", 1), ("retry_after_ms", 300)])
def test_retry_after_is_waited_for(header, seconds):
    completion, requests = ask([error(429, **{header: seconds}), says("Paris")])
    waited = requests[1].time - requests[0].time
    expected = seconds / 1000 if header.endswith("ms") else seconds
    assert completion.text == "Paris" and completion.usage.calls == 2
    assert expected <= waited < expected + 0.5


def test_without_retry_after_it_backs_off_with_jitter(monkeypatch):
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.1)
    completion, requests = ask([error(429), error(429), says("Paris")])
    gaps = [later.time - former.time for former, later in zip(requests, requests[1:], strict=False)]
    assert completion.text == "Paris" and completion.usage == Usage(3, 10, 2)
    assert 0.075 <= gaps[0] < 0.6 and 0.15 <= gaps[1] < 0.7


def test_threads_that_must_wait_as_long_come_back_spread(monkeypatch):
    monkeypatch.setattr(openai_client, "RETRY_SPREAD", 0.4)
    random.seed(0)
    with OpenAIServer(
        lambda number, _: says("x") if number >= 8 else error(429, retry_after_ms=50)
    ) as server:
        client = ChatClient(server.url, "tiny")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.complete(ASK), range(8)))
        came = sorted(request.time for request in server.requests[8:])
    assert len(came) == 8 and came[-1] - came[0] > 0.15


@pytest.mark.parametrize(
    "bad",
    [
        error(500),
        error(503),
        error(408),
        error(409),
        Reply(b"<html>502</html>", 502),
        Reply(cut=True),
        Reply({"choices": []}, cut=True),
        Reply(b'{"choices": [{"message": {"con'),
        Reply(b"ok", headers={"content-type": "text/plain"}),
        Reply({"error": {"message": "upstream"}}),
        Reply({"choices": []}),
        Reply({"choices": [{"message": {"content": 7}}]}),
        Reply({"choices": [{"message": {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}}]}),
        Reply(b"[" * 100_000),
        Reply(b"\xff\xfe"),
    ],
)
def test_what_may_pass_is_tried_again(bad):
    completion, requests = ask([bad, says("Paris")])
    assert completion.text == "Paris" and completion.usage.calls == len(requests) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (error(500, "boom"), "500: .*boom"),
        (error(429, "slow down"), "429: .*slow down"),
        (Reply(cut=True), "connection broke"),
        (Reply(b"{"), "no chat completion in JSON"),
        (says("late", delay=1.0), "no answer within 0.5 s"),
    ],
)
def test_what_does_not_pass_fails_this_question_alone(bad, reason):
    failed, server = fault([bad] * 3 + [says("Paris")], FailedCall, retries=2, timeout=0.5)
    assert failed.usage == Usage(calls=3) and len(server.requests) == 3
    assert re.search(reason, failed.reason)


def test_a_timeout_is_tried_again():
    completion, requests = ask([says("late", delay=1.0), says("Paris")], timeout=0.5)
    assert completion.text == "Paris" and len(requests) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (says(""), "empty completion"),
        (says(None), "empty completion"),
        (says(" \n"), "empty completion"),
        (says("", finish="length"), "empty completion: all tokens went into thoughts"),
        (says(None, refusal="I cannot\nhelp"), "refused: I cannot help"),
        (says("Par", finish="content_filter"), "content filter"),
        (error(400, "maximum context length is 10 tokens"), "400: .*maximum context length"),
        (error(413), "413"),
        (error(422), "422"),
    ],
)
def test_what_cannot_pass_is_not_tried_again(bad, reason):
    failed, server = fault([bad], FailedCall)
    assert len(server.requests) == failed.usage.calls == 1
    assert re.search(reason, failed.reason)


def test_a_completion_that_cannot_be_used_has_its_price():
    failed, _ = fault([says("")], FailedCall)
    assert failed.usage == Usage(1, 10, 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (error(401, f"Incorrect API key provided: {KEY}"), "refuses the key .* OPENAI_API_KEY is set"),
        (error(403, KEY), "refuses the key"),
        (Reply([{"error": {"code": 400, "message": "API key not valid. Please pass one."}}], 400), "refuses"),
        (error(404, "no such model"), "has no model 'tiny' .404.; correct --qa_model or --base_url"),
        (error(400, "pinned to 'a'; requested 'tiny'."), "has no model 'tiny' .400."),
        (error(402), "account is used up"),
        (error(429, code="insufficient_quota"), "account is used up"),
        (error(429, retry_after=3600), "come back later .429, Retry-After: 3600"),
    ],
)
def test_what_no_question_can_pass_stops_the_run_at_once(bad, message):
    options = {"retries": 0} if "insufficient" in str(bad.body) else {}
    stopped, server = fault([bad], UserError, **options)
    assert len(server.requests) == 1
    assert str(stopped).startswith(server.url) and re.search(message, str(stopped))


def test_a_model_that_has_worked_is_not_unknown():
    with OpenAIServer([says("Paris"), error(400, "tiny takes 10 tokens at most")]) as server:
        client = ChatClient(server.url, "tiny")
        client.complete(ASK)
        with pytest.raises(FailedCall, match="10 tokens at most"):
            client.complete(ASK)


def test_a_key_that_is_not_set_is_named(monkeypatch):
    stopped, server = fault([error(401)], UserError, key_variable="GEMINI_API_KEY")
    assert "GEMINI_API_KEY is not set" in str(stopped)
    assert KEY not in str(server.requests)


def test_a_server_that_repeats_the_key_does_not_put_it_into_a_reason():
    failed, _ = fault([error(422, f"header {KEY} is bad")], FailedCall)
    assert "header [key] is bad" in failed.reason


def test_the_key_is_in_no_log(caplog):
    with caplog.at_level(logging.DEBUG):
        ask([error(429), says("Paris")])
    assert caplog.records and KEY not in caplog.text


def test_no_server_is_one_line_and_not_a_wait_of_minutes():
    with OpenAIServer([says("x")]) as server:
        url = server.url
    with pytest.raises(UserError, match=rf"{url}: nothing answers; start the server or correct --base_url"):
        ChatClient(url, "tiny", retries=2).complete(ASK)


def test_a_server_that_goes_away_fails_questions_not_the_run():
    last = says("Paris")
    with OpenAIServer([Reply(last.body, headers={"connection": "close"})]) as server:
        client = ChatClient(server.url, "tiny", retries=1)
        client.complete(ASK)
    with pytest.raises(FailedCall, match="connection broke .ConnectError.") as failed:
        client.complete(ASK)
    assert failed.value.usage == Usage(calls=2)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000/v1", "ftp://host/v1", "http:///v1", "http://me:pw@host/v1", "https://h/v1?key=x"],
)
def test_urls_that_are_none_or_hold_a_secret(url):
    with pytest.raises(UserError, match="--base_url") as caught:
        ChatClient(url, "tiny")
    assert "pw" not in str(caught.value) and "key=x" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-é", "sk-\x07a", "two\nlines"])
def test_a_key_that_cannot_be_one(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        ChatClient("http://127.0.0.1:1/v1", "tiny")
    assert key not in str(caught.value)


def test_half_a_surrogate_pair_is_neither_sent_nor_kept():
    with OpenAIServer([Reply(b'{"choices": [{"message": {"content": "a\\ud800"}}]}')]) as server:
        client = ChatClient(server.url, "tiny")
        completion = client.complete([{"role": "user", "content": "b\ud800"}])
    assert completion.text == "a?" and server.requests[0].body["messages"][0]["content"] == "b?"
    assert completion.usage == Usage(calls=1)


def test_tool_calls_go_back_as_they_came():
    completion, _ = ask([calls(("find_text", {"query": "due"}))])
    (call,) = completion.tool_calls
    assert completion.text == "" and call["function"] == {
        "name": "find_text",
        "arguments": '{"query": "due"}',
    }
    assert completion.message == {"role": "assistant", "content": None, "tool_calls": [call]}


def spend(budget, threads=8, questions=60, script=None, delay=0.0):
    """Eight threads ask until the budget is spent: (answers, faults, requests that came)."""
    faults, answers, lock = [], [], threading.Lock()
    with OpenAIServer(script or [says("x")], delay) as server:
        client = ChatClient(server.url, "tiny", budget=budget, request={"max_tokens": 2})

        def one(_):
            try:
                completion = client.complete(ASK)
            except (BudgetSpent, FailedCall) as error:
                with lock:
                    faults.append(error)
            else:
                with lock:
                    answers.append(completion)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(questions)))
        return answers, faults, server.requests


def test_calls_are_never_more_than_the_budget():
    budget = Budget(max_calls=25)
    answers, faults, requests = spend(budget)
    assert len(requests) == len(answers) == budget.calls == 25
    assert len(faults) == 35 and "budget of 25 calls is spent" in str(faults[0])


def test_attempts_are_calls_too():
    budget = Budget(max_calls=25)
    answers, _, requests = spend(budget, script=lambda number, _: error(500) if number % 2 else says("x"))
    assert len(requests) == budget.calls == 25 and len(answers) == 13
    assert sum(answer.usage.calls for answer in answers) <= 25


def test_tokens_are_never_more_than_the_budget():
    budget = Budget(max_tokens=300)
    answers, faults, requests = spend(budget, delay=0.01)
    assert budget.tokens == 12 * len(answers) == 12 * len(requests) <= 300
    # 24 calls cost 288; a call that may cost more than is left, a token for each byte, is not made.
    assert len(answers) >= 15 and all("tokens of the budget of 300" in str(fault) for fault in faults)


def test_a_call_that_fails_gives_back_what_was_set_aside():
    budget = Budget(max_tokens=150)
    with OpenAIServer([error(400), says("x")]) as server:
        client = ChatClient(server.url, "tiny", budget=budget, request={"max_tokens": 2})
        with pytest.raises(FailedCall):
            client.complete(ASK)
        assert client.complete(ASK).text == "x"
    assert budget.tokens == 12


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "refusal",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(message=json_values, usage=json_values)
def test_bodies_are_judged_without_a_crash(message, usage):
    body = json.dumps({"choices": [{"message": message}]}).encode()
    if is_completion(body):
        assert isinstance(message.get("content") or "", str)
        for call in message.get("tool_calls") or []:
            assert isinstance(call["id"], str) and isinstance(call["function"]["arguments"], str)
    tokens_of(usage)


@given(st.binary(max_size=40))
def test_bytes_are_judged_without_a_crash(content):
    assert not is_completion(content)


def test_tokens_of_thoughts_count():
    assert tokens_of({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 20}) == Usage(0, 5, 15)
    assert tokens_of({"prompt_tokens": 5, "completion_tokens": None}) == Usage(0, 5, 0)
    assert tokens_of(None) == Usage()


def test_a_prompt_has_no_more_tokens_than_bytes():
    assert most_tokens({"messages": [{"role": "user", "content": "ầ" * 10}]}, {"max_tokens": 7}) >= 37
