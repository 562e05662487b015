"""The demo's side towards the network: what gradio leaves open is closed here.

Gradio decodes uploads without limits, fetches addresses that a client names, keeps files in a folder of
/tmp that everyone may read, and answers under any host name. Here events take files as they were uploaded
(`preprocess=False`, `uploaded_path`), no address is fetched, files live in a private folder that goes when
the server ends, only what the page needs is reachable, a foreign `Host` (DNS rebinding) is refused on
loopback, and a policy forbids the page any address but its own.
"""

import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, NoReturn

import gradio as gr
from gradio import processing_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vqa.errors import UserError
from vqa.preparation.review_server import LOCAL_HOSTS, is_loopback

# Gradio's page evaluates templates, and has styles and scripts of its own inline.
HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "base-uri 'self'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# What the page and gradio's own client ask for. Gradio answers more: recordings go through ffmpeg, proxies.
NEEDED = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json)?|/(assets|static)/.*"
    r"|/gradio_api/(info|upload|upload_progress|startup-events|queue/(join|data)|cancel|reset)"
    r"|/gradio_api/(file=|heartbeat/).*"
)
KEPT_SECONDS = (300, 3600)  # how often files are looked through, and how old they become
_SESSIONS = 100


class Guard:
    """Refuses addresses that nobody needs, and foreign host names where only this machine is served.

    Adds headers to what is answered.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app = app
        self.names = (*LOCAL_HOSTS, host.lower()) if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] == "http":
            name = re.sub(r":[0-9]*$", "", Headers(scope=scope).get("host", "")).lower()
            if self.names and name.removeprefix("[").removesuffix("]") not in self.names:
                answer = PlainTextResponse("This host name is not the demo's.", 403)
            elif not NEEDED.fullmatch(scope["path"]):
                answer = PlainTextResponse("There is no such address.", 404)
            else:
                answer = self.app
            await answer(scope, receive, send_with_headers)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)


@contextmanager
def private_cache() -> Iterator[None]:
    """Gradio's files in a folder for this user alone, removed at the end; entered before components exist."""
    with tempfile.TemporaryDirectory(prefix="vqa-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield


@contextmanager
def in_plain_words() -> Iterator[None]:
    """A `UserError` becomes a message on the page, which takes messages for HTML."""
    try:
        yield
    except UserError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from error


def uploaded_path(file: dict[str, Any] | None) -> str | None:
    """Where an uploaded file lies in gradio's cache; None without one. Nothing was decoded yet."""
    return file and file["path"]


async def refuse_address(url: str, cache_dir: str) -> NoReturn:
    """In place of gradio's download: who may name an address to a server looks around in its network."""
    raise gr.Error("addresses are not fetched: upload the picture itself", print_exception=False)


def free_port(host: str, port: int) -> int:
    """The port, or for 0 one that is free.

    Raises:
        UserError: the address cannot be listened on.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            return listener.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: cannot be listened on: {error}") from error


def serve(page: gr.Blocks, host: str, port: int, max_upload_mb: float, **look: Any) -> None:
    """Serve a page until Ctrl-C or SIGTERM, and say where it is.

    Args:
        page: built inside of `private_cache`.
        port: from `free_port`.
        max_upload_mb: larger files are refused, in megabytes (10^6 bytes).
        look: `theme` and `css`, as `gr.Blocks.launch` takes them.
    """
    if not is_loopback(host):
        print(
            f"warning: --host {host} lets every machine that reaches this one use the model; "
            "nothing is encrypted",
            file=sys.stderr,
        )
    processing_utils.async_ssrf_protected_download = refuse_address
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=int(max_upload_mb * 1e6),
            ssr_mode=False,
            mcp_server=False,
            run_history=False,  # gradio would keep questions and pictures in the browser
            footer_links=[],
            enable_monitoring=False,
            state_session_capacity=_SESSIONS,
            app_kwargs={"middleware": [Middleware(Guard, host=host)]},
            **look,
        )
        print(f"The demo is at {page.local_url} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close(verbose=False)
