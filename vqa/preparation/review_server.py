"""The server of `review`: one page and the few requests it makes, for this machine only.

What a request can reach: the images of the records, by number, and the decisions. No path and no name out
of a URL touches the disk. Every address begins with a key drawn for this run, so that neither another user of
the machine nor a page of another site can look or decide; what changes anything repeats the key in a header,
which another site's form cannot send; and a foreign `Host` (DNS rebinding) is refused.
"""

import hmac
import ipaddress
import json
import re
import secrets
import socket
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from vqa.errors import UserError
from vqa.preparation.review_page import Refused, Review, render_page

MAX_BODY_BYTES = 2**18
TOKEN_HEADER = "X-Review-Token"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_ITEM = re.compile(r"items/([0-9]{1,9})")
_IMAGE = re.compile(r"images/([0-9]{1,9})/([0-9]{1,4})")
_SECONDS = 30  # an idle connection is closed after so many


class ReviewServer(socketserver.ThreadingTCPServer):
    """Serves a review at `url` until it is shut down.

    Args:
        review: what is reviewed.
        host: a name or address to listen on.
        port: 0 takes a free one.

    Raises:
        UserError: the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, review: Review, host: str = "127.0.0.1", port: int = 0) -> None:
        self.review, self.host = review, host
        self.token = secrets.token_urlsafe(24)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), ReviewHandler)
        except (OSError, OverflowError) as error:
            raise UserError(f"--host {host} --port {port}: cannot be listened on: {error}") from error

    @property
    def url(self) -> str:
        """The address of the page, which holds the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/{self.token}/"

    def knows_host(self, header: str) -> bool:
        """Whether a `Host` header names this server and not a site that a browser was led here from.

        A port may differ (a forwarded one). Beyond loopback any literal address will do: only a name
        can be made to point here.
        """
        name = re.sub(r":[0-9]*$", "", header.strip()).removeprefix("[").removesuffix("]").lower()
        if name in (*LOCAL_HOSTS, self.host.lower()):
            return True
        return not is_loopback(self.host) and _is_address(name)

    def handle_error(self, request, client_address) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class ReviewHandler(BaseHTTPRequestHandler):
    """Routes, checks and headers; what is shown and done is in `Review`."""

    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "review", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """The page, the summary of all items, one item, or an image of one."""
        try:
            route, review = self._route(), self.server.review
            if route == "":
                nonce = secrets.token_urlsafe(16)
                page = render_page(review, self.server.token, nonce).encode()
                self._send(HTTPStatus.OK, "text/html; charset=utf-8", page, nonce)
            elif route == "items":
                self._send_json(HTTPStatus.OK, review.summary())
            elif match := _ITEM.fullmatch(route):
                self._send_json(HTTPStatus.OK, review.item(int(match[1])))
            elif match := _IMAGE.fullmatch(route):
                self._send(HTTPStatus.OK, "image/png", review.image(int(match[1]), int(match[2])))
            else:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")
        except Refused as refused:
            self._send_json(refused.status, {"error": str(refused)})

    def do_POST(self) -> None:
        """A decision, or the last one taken back."""
        try:
            route = self._route()
            body = self._body()
            if route == "decisions":
                review = self.server.review
                self._send_json(
                    HTTPStatus.OK,
                    review.decide(body.get("number"), body.get("decision"), body.get("text", "")),
                )
            elif route == "undo":
                self._send_json(HTTPStatus.OK, self.server.review.undo())
            else:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such address")
        except Refused as refused:
            self.close_connection = True  # the body may be unread
            self._send_json(refused.status, {"error": str(refused)})

    def log_message(self, *args: Any) -> None:
        """Nothing: the address holds the key."""

    def _route(self) -> str:
        """What follows the key in the path."""
        if not self.server.knows_host(self.headers.get("Host", "")):
            raise Refused(HTTPStatus.FORBIDDEN, "this host name is not the review's")
        key, slash, rest = self.path.removeprefix("/").partition("/")
        if not slash or not self._is_token(key):
            raise Refused(
                HTTPStatus.FORBIDDEN, "open the address that the review printed when it was started"
            )
        return rest

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.server.token.encode())

    def _body(self) -> dict[str, Any]:
        if not self._is_token(self.headers.get(TOKEN_HEADER, "")):
            raise Refused(HTTPStatus.FORBIDDEN, "the token is missing")
        if self.headers.get_content_type() != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,12}", length):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing")
        if int(length) > MAX_BODY_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY_BYTES:,} bytes")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "not valid JSON") from error
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        return body

    def _send_json(self, status: HTTPStatus, content: Any) -> None:
        # A half surrogate pair, which a prediction can hold, goes out escaped: the text stays ASCII.
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes, nonce: str = "") -> None:
        policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        if nonce:
            policy += f"; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
            policy += "; img-src 'self' data:; connect-src 'self'"
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",  # pictures of patients do not belong in a browser's cache
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
