"""A page in headless Chromium, driven over the DevTools protocol: keys, text, JavaScript, screenshots.

Only `chromium` (or `google-chrome`) on PATH is needed: the protocol goes through two pipes, so no port is
opened and no driver is installed. Commands and events: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from vqa.errors import UserError

_TEXTS = {"Enter": "\r", "Escape": "", "ArrowLeft": "", "ArrowRight": "", "ArrowUp": "", "ArrowDown": ""}


class Browser:
    """One page.

    Args:
        folder: for the browser's profile.
        width, height: of the page, in pixels.

    Raises:
        UserError: there is no Chromium.
    """

    def __init__(self, folder: str | Path, width: int = 1280, height: int = 800) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise UserError("chromium is not on PATH")
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
                 "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={folder}"]  # fmt: skip
        # Chromium reads the protocol from file 3 and answers on file 4.
        launch = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", launch, program, *flags], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._to, self._from = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb", buffering=0)
        self._unread, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result; events that come before it are kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._unread:
                received = self._from.read(1 << 16)
                if not received:
                    raise RuntimeError("the browser ended")
                self._unread += received
            line, _, self._unread = self._unread.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20) -> None:
        """Return when an expression is true; RuntimeError when it does not become so."""
        end = time.monotonic() + seconds
        while not self._holds(expression):
            if time.monotonic() > end:
                raise RuntimeError(f"not true after {seconds} s: {expression}")
            time.sleep(0.005)

    def _holds(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except RuntimeError as error:
            if "navigated" in str(error):  # the page went away while it was asked: the next one is asked
                return False
            raise

    def open(self, url: str, ready: str = "document.readyState == 'complete'") -> None:
        """Go to an address and wait until `ready`, a JavaScript expression, is true there."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href == {json.dumps(url)} && {ready}")

    def press(self, key: str) -> None:
        """Press a key, by its name in `KeyboardEvent.key`, and let it go."""
        text = _TEXTS.get(key, key)
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def text(self, identity: str) -> str:
        """The text of the element of that id."""
        return self.evaluate(f"document.getElementById({json.dumps(identity)}).textContent")

    def screenshot(self, path: str | Path) -> None:
        """The page as it is seen, as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("Browser.close")
        except (RuntimeError, BrokenPipeError):
            self._process.terminate()
        self._process.wait(20)


class ReviewPage(Browser):
    """The page of `prepare_data.py review`, worked with the keyboard."""

    _READY = "Number(document.body?.dataset.ready) > 0"  # counts what the page has done

    def open(self, url: str, ready: str = _READY) -> None:
        """Go to a review and wait until it shows an item."""
        super().open(url, ready)

    def reload(self) -> None:
        """Load the page again, as after a pause."""
        self.evaluate("document.body.dataset.ready = 0")
        self.call("Page.reload")
        self.wait_for(self._READY)

    def press(self, key: str) -> None:
        """Press a key and wait until the page has done what it stands for."""
        before = self.evaluate("document.body.dataset.ready")
        super().press(key)
        self.wait_for(f"document.body.dataset.ready != {json.dumps(before)}")

    def correct(self, text: str) -> None:
        """Replace the answer by another: E, the text, Enter."""
        self.press("e")
        self.evaluate("document.getElementById('editor').select()")
        self.call("Input.insertText", text=text)
        self.press("Enter")

    def decide(self, truth: str | None) -> str:
        """Decide the item shown as one who knows the truth, None where nothing can be read.

        Returns:
            What was done: `rejected` (R), `accepted` (Enter) or `edited`.

        Raises:
            RuntimeError: the page says that something went wrong.
        """
        if truth is None:
            kind = "rejected"
            self.press("r")
        elif self.text("answer") == truth:
            kind = "accepted"
            self.press("Enter")
        else:
            kind = "edited"
            self.correct(truth)
        if self.evaluate("!document.getElementById('error').hidden"):
            raise RuntimeError(self.text("error"))
        return kind
