"""A real HTTP server on this machine that answers chat completions as a script says.

    with OpenAIServer([error(429, retry_after=1), says("Paris")]) as server:
        client = ChatClient(server.url, "tiny")

The script's replies are given in turn, the last one again and again; or the script is a function of the
request's number (from 0) and its body. What came in is in `server.requests`.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request.

    Attributes:
        body: a JSON value, or bytes as they are.
        delay: seconds before the first byte.
        cut: the connection ends in the middle of the body; without a body, before any byte.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class Request:
    """A request as it came in; `time` in seconds of the monotonic clock."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float


def says(text: str | None, *, finish: str = "stop", delay: float = 0.0, **message: Any) -> Reply:
    """A completion with a text; further keywords go into the message."""
    return _completion({"role": "assistant", "content": text, **message}, finish, delay)


def calls(*functions: tuple[str, Any]) -> Reply:
    """A completion that calls functions; arguments that are no text are written as JSON."""
    tool_calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(functions)
    ]
    return _completion({"role": "assistant", "content": None, "tool_calls": tool_calls}, "tool_calls", 0.0)


def error(status: int, message: str = "scripted", code: str | None = None, **headers: Any) -> Reply:
    """An error; keywords are headers, `retry_after=1` is `retry-after: 1`."""
    named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return Reply({"error": {"message": message, "type": "scripted", "code": code}}, status, named)


def _completion(message: dict[str, Any], finish: str, delay: float) -> Reply:
    body = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
    return Reply(body, delay=delay)


class OpenAIServer:
    """The server, on a free port of the loopback interface while the `with` block lasts.

    Args:
        script: replies in turn, or a function of a request's number and body.
        delay: seconds before every reply, on top of its own.
    """

    def __init__(
        self, script: Sequence[Reply] | Callable[[int, dict[str, Any]], Reply], delay: float = 0.0
    ) -> None:
        self.script, self.delay = script, delay
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "OpenAIServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        """Note a request and look up what to do with it."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(Request(path, headers, body, time.monotonic()))
        if callable(self.script):
            return self.script(number, body)
        return self.script[min(number, len(self.script) - 1)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that left are no news."""


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body leave together, or each waits for the other's acknowledgement

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply(self.path, headers, body)
            time.sleep(server.delay + reply.delay)
            if reply.cut and reply.body is None:
                self.close_connection = True
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"content-type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if reply.cut else content)
            self.close_connection = self.close_connection or reply.cut

        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    return Handler
