"""Chat completions from any OpenAI-compatible endpoint: retries, a budget, and faults that say what to do.

The official client does the work. It tries again after 408, 409, 429, 5xx, timeouts and cut connections, as
often as it is told, and waits as long as `Retry-After` asks (up to two minutes), else 0.5, 1, 2, ... 8 s less
a random quarter. What it leaves out is done in hooks of its HTTP client: every attempt is paid from the
budget, a body that is no completion is an attempt that failed, and threads told to come back at one moment
do not.
"""

import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from vqa.documents.budget import Budget, FailedCall
from vqa.documents.chat_json import is_completion, most_tokens, storable, tokens_of
from vqa.documents.reading import Usage
from vqa.errors import UserError

Message = dict[str, Any]

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_REQUEST = {"temperature": 0, "max_tokens": 64}
# Seconds over which threads spread their second and later attempts.
RETRY_SPREAD = 0.25
# The header by which the client knows what its caller wants; others of its kind tell of the machine.
_KEPT_HEADER = "x-stainless-raw-response"
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Completion:
    """A model's turn.

    Attributes:
        text: "" where it only calls tools.
        tool_calls: as received, `{"id", "type", "function": {"name", "arguments"}}`.
        usage: of all attempts.
    """

    text: str
    tool_calls: list[dict[str, Any]]
    usage: Usage

    @property
    def message(self) -> Message:
        """The turn as it is sent back in a conversation, with what an endpoint adds to its calls (Gemini)."""
        calls = {"tool_calls": self.tool_calls} if self.tool_calls else {}
        return {"role": "assistant", "content": self.text or None, **calls}


class ChatClient:
    """One model behind one endpoint, for any number of threads.

    Args:
        base_url: up to and with `/v1`, or whatever the provider has there.
        model: as the endpoint calls it.
        key_variable: the environment variable that holds the key; unset where the endpoint asks for none. The
            key goes into the header of requests, and nowhere else.
        timeout: seconds without a byte from the server after which an attempt has failed.
        retries: attempts after the first.
        budget: may be shared with other clients; None: no limits.
        request: fields of every request, `DEFAULT_REQUEST` if None. Models that refuse `max_tokens` take
            `max_completion_tokens`.

    Raises:
        UserError: no such URL, or a key that cannot be one.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str = DEFAULT_KEY_VARIABLE,
        timeout: float = 60.0,
        retries: int = 5,
        budget: Budget | None = None,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        _check_url(base_url)
        self.base_url, self.model, self.timeout, self.retries = base_url, model, timeout, retries
        self.budget = budget or Budget()
        self.request = dict(DEFAULT_REQUEST if request is None else request)
        self._key_variable, self._key = key_variable, _read_key(key_variable)
        self._answered = self._worked = False
        self._attempts = threading.local()
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=self._key or "none",
            timeout=timeout,
            max_retries=retries,
            http_client=openai.DefaultHttpxClient(
                event_hooks={"request": [self._before], "response": [self._after]}
            ),
        )

    def complete(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None = None
    ) -> Completion:
        """The model's next turn.

        Args:
            tools: functions it may call, as the API describes them.

        Raises:
            FailedCall: refused, empty, filtered, too long for the model, or failing still after all retries.
            BudgetSpent: before the call, or between two attempts.
            UserError: no call can succeed: wrong key, unknown model, no server, no quota.
        """
        fields = storable({"messages": messages} | ({"tools": tools} if tools else {}))
        most = most_tokens(fields, self.request)
        self.budget.set_aside(most)
        self._attempts.count, tokens = 0, Usage()
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                model=self.model, **fields, extra_body=self.request
            )
            body = storable(json.loads(answer.content))
            self._worked, tokens = True, tokens_of(body.get("usage"))
            return self._turn(body["choices"][0], Usage(calls=self._attempts.count) + tokens)
        except openai.APIStatusError as error:
            raise self._status_fault(error) from None  # the chain would hold the request and its headers
        except openai.APIConnectionError as error:
            raise self._connection_fault(error) from None
        finally:
            self.budget.settle(most, tokens.tokens)

    def _turn(self, choice: dict[str, Any], usage: Usage) -> Completion:
        message, finish = choice["message"], choice.get("finish_reason")
        text, calls = (message.get("content") or "").strip(), message.get("tool_calls") or []
        if finish == "content_filter":
            raise FailedCall("stopped by the endpoint's content filter", usage)
        if message.get("refusal"):
            raise FailedCall(self._reason(f"refused: {message['refusal']}"), usage)
        if not text and not calls:
            hint = ": all tokens went into thoughts" if finish == "length" else ""
            raise FailedCall(f"empty completion{hint}", usage)
        return Completion(text, calls, usage)

    def _before(self, request: httpx2.Request) -> None:
        """Runs before each attempt, in the thread that makes it."""
        if request.headers.get("x-stainless-retry-count", "0") != "0":
            time.sleep(random.uniform(0, RETRY_SPREAD))
        for name in list(request.headers):
            if name.startswith("x-stainless-") and name != _KEPT_HEADER:
                del request.headers[name]
        self.budget.take_call()
        self._attempts.count += 1

    def _after(self, response: httpx2.Response) -> None:
        """Runs on each answer, before the client looks at it."""
        self._answered = True
        if response.is_success and not is_completion(response.read()):
            raise httpx2.DecodingError("no chat completion", request=response.request)

    def _connection_fault(self, error: openai.APIConnectionError) -> Exception:
        """What it means that the last attempt brought no answer, or none that can be read."""
        cause, usage = error.__cause__, Usage(calls=self._attempts.count)
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout) and not self._answered:
            return UserError(f"{self.base_url}: nothing answers; start the server or correct --base_url")
        if isinstance(cause, httpx2.TimeoutException):
            return FailedCall(f"no answer within {self.timeout:g} s", usage)
        if isinstance(cause, httpx2.DecodingError):
            return FailedCall("the answer is no chat completion in JSON", usage)
        return FailedCall(f"the connection broke ({type(cause).__name__})", usage)

    def _status_fault(self, error: openai.APIStatusError) -> Exception:
        """What a status means that is left after all attempts."""
        status, text, attempts = error.status_code, error.response.text, self._attempts.count
        # Gemini answers a wrong key with 400.
        if status in (401, 403) or (status == 400 and "api key" in text.casefold()):
            state = "set" if self._key else "not set"
            return UserError(
                f"{self.base_url}: refuses the key ({status}); the variable {self._key_variable} is {state}, "
                "another one is named with --api_key_env"
            )
        # To an unknown model a server says 404, or 400 with its name (`transformers serve`).
        if status == 404 or (status == 400 and self.model in text and not self._worked):
            return UserError(
                f"{self.base_url}: has no model {self.model!r} ({status}); correct --qa_model or --base_url"
            )
        if status == 402 or error.code == "insufficient_quota":
            return UserError(
                f"{self.base_url}: the account is used up ({status}); run it again when it is not"
            )
        if status in (429, 503) and attempts <= self.retries:
            wait = error.response.headers.get("retry-after", "long")
            return UserError(
                f"{self.base_url}: asks to come back later ({status}, Retry-After: {wait}); run it again then"
            )
        return FailedCall(self._reason(f"{status}: {text}"), Usage(calls=attempts))

    def _reason(self, text: str) -> str:
        """One short line that does not hold the key, whatever the server says."""
        text = " ".join(text.split())
        return (text.replace(self._key, "[key]") if self._key else text)[:_LONGEST_REASON]


def _check_url(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--base_url {base_url!r}: expected one such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise UserError(
            "--base_url: holds a user or a query; a key belongs into the environment (--api_key_env)"
        )


def _read_key(variable: str) -> str:
    """The key, "" where the variable is not set."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"--api_key_env {variable}: what the variable holds is no key: not printable ASCII")
    return key
