"""The demo: what it asks, draws and says; who and what it keeps out; and the page in a browser."""

import asyncio
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from html import escape
from pathlib import Path

import httpx2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import demo
import predict
from benchmarks.browser import Browser
from tests.helpers import COLORS, ROOT, run_main, save_structured_model, write_structured_records
from vqa.answer_settings import AnswerSettings
from vqa.demo.cards import answer_card, head, verdict
from vqa.demo.examples import pick_examples
from vqa.demo.pictures import EVIDENCE, REMOVED, draw_boxes
from vqa.demo.server import Guard, free_port
from vqa.demo.session import (
    MAX_BOXES,
    Asker,
    Turn,
    answer_changed,
    is_withheld,
    parse_boxes,
    write_boxes,
)
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.tiny_models import build_tiny_model

QUESTION, CANDIDATES = "what color is it?", ", ".join(COLORS)
PATCH = "3, 3, 33, 35"  # all of every picture's patch
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
NEEDS_CHROMIUM = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")


def turn(
    pred="red", confidence=0.9, abstained=False, qtype="color", candidates=("red", "blue"), **more
) -> Turn:
    line = {"pred": pred, "confidence": confidence, "abstained": abstained, "qtype": qtype}
    line |= {"answer_candidates": list(candidates) if candidates else None, "boxes": [], "caption": None}
    return Turn({}, line | {"reasoning": [], "raw": pred} | more, {}, [])


# Boxes and pictures

WHOLE = st.integers(0, 300)


@given(st.lists(st.tuples(WHOLE, WHOLE, WHOLE, WHOLE), max_size=4))
@settings(max_examples=50, deadline=None)
def test_boxes_that_are_written_are_read_again(corners):
    boxes = [[min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1] for x0, y0, x1, y1 in corners]
    assert parse_boxes(write_boxes(boxes), (301, 301)) == boxes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1, 2, 3", "four numbers"),
        ("a, b, c, d", "four numbers"),
        ("nan, 0, 5, 5", "four numbers"),
        ("0, 0, 1e999, 5", "four numbers"),
        (f"{'9' * 400}, 0, 5, 5", "four numbers"),
        ("5, 0, 5, 9", "x0 < x1 and y0 < y1"),
        ("50, 0, 60, 9", "outside of the picture of 40x20"),
        ("-9, 0, 0, 9", "outside"),
        ("0,0,1,1\n" * (MAX_BOXES + 1), "at most 32"),
    ],
)
def test_a_box_that_is_none_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_boxes(text, (40, 20))


def test_boxes_are_cut_to_the_picture_and_may_stand_in_brackets_and_behind_semicolons():
    assert parse_boxes("[-5, 1.5, 90, 9]; 0,0,1,1\n\n", (40, 20)) == [[0, 1.5, 40, 9], [0, 0, 1, 1]]


def test_a_box_is_drawn_around_what_it_holds_and_a_removed_one_in_dashes():
    image = Image.new("RGB", (64, 32), "white")
    shown = np.array(draw_boxes(image, [[16, 8, 32, 16]], [[40, 8, 56, 16]], side=640))
    assert shown.shape == (320, 640, 3)
    red = (shown == EVIDENCE).all(-1)
    assert not red[80:160, 160:320].any() and red[76:80, 156:324].all() and red[160:164, 156:324].all()
    rim = (shown == REMOVED).all(-1)[76:80, 396:564]
    assert 0.4 < rim.mean() < 0.7


@given(st.integers(1, 3000), st.integers(1, 60), st.booleans())
@settings(max_examples=30, deadline=None)
def test_pictures_of_any_shape_are_drawn(long, short, upright):
    size = (short, long) if upright else (long, short)
    box = [[0, 0, *size]]
    shown = draw_boxes(Image.new("RGB", size), box, box, side=100)
    assert max(shown.size) == 100 and min(shown.size) >= 1


def test_examples_are_one_a_picture_with_types_in_turn():
    def record(path, kind, **more):
        return {"images": [path], "question_type": kind} | more

    records = [record("a", "color"), record("a", "mcq"), record("b", "color"), record("b", "mcq")]
    records += [record("c", "color") | {"images": ["c", "d"]}, record("e", "color"), record("f", "mcq")]
    picked = [(item["images"][0], item["question_type"]) for item in pick_examples(records, 3)]
    assert picked == [("a", "color"), ("b", "mcq"), ("e", "color")]


# What is said


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (turn("red"), turn("red", 0.1), False),
        (turn("red"), turn("blue"), True),
        (turn("3", qtype="count_numeric", candidates=None), turn("three", qtype="count_numeric"), False),
        (turn("red"), turn("", abstained=True), True),
        (turn("", abstained=True), turn("", abstained=True), False),
        (turn("", abstained=True), turn("red"), True),
    ],
)
def test_an_answer_changes_by_the_rule_of_its_type(before, after, changed):
    assert answer_changed(before.line, after.line) is changed
    for elsewhere in (False, True):
        text = verdict(before, after, elsewhere)
        assert ("The answer changes" in text) is changed
        assert ("verdict good" in text) is (changed is not elsewhere)


def test_an_answer_is_withheld_below_the_threshold_or_when_the_model_abstains():
    assert not is_withheld(turn(confidence=0.5).line, 0.5)
    assert is_withheld(turn(confidence=0.499).line, 0.5)
    assert is_withheld(turn("", abstained=True).line, 0.0) and is_withheld(turn(confidence=None).line, 0.0)
    assert "Answer withheld" in answer_card(turn(confidence=0.3), 0.5)
    assert "No answer" in answer_card(turn("", abstained=True), 0.0)
    assert "withheld" not in answer_card(turn(confidence=0.3), 0.2)


def test_whatever_was_written_is_escaped():
    hostile = {"caption": HOSTILE, "reasoning": [HOSTILE], "qtype": HOSTILE}
    written = Turn({}, turn(HOSTILE).line | hostile, {HOSTILE: 0.9}, [])
    for text in (answer_card(written, 0.0), answer_card(written, 1.0), head(HOSTILE, HOSTILE)):
        assert "<img" not in text and escape(HOSTILE) in text
    assert "<img" not in verdict(turn(HOSTILE, qtype="open_ended", candidates=None), turn("x"), False)


def test_a_picture_that_the_model_cannot_take_is_said_without_its_path(tmp_path):
    model, processor = build_tiny_model("qwen2_vl")
    answers = AnswerSettings("structured", "norm1000", None, None, False)
    asker = Asker(model, PromptEncoder(processor), answers, 10_000_000, 16)
    Image.new("RGB", (3000, 2)).save(tmp_path / "strip.png")
    with pytest.raises(UserError, match="^the picture: absolute aspect ratio"):
        asker.ask(str(tmp_path / "strip.png"), "what is it?")


# Who is let in


def answer_of(guard: Guard, host: str) -> dict:
    """Status and headers of a request."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())]}
    asyncio.run(guard(scope, None, send))
    return {"status": sent[0]["status"]} | {
        name.decode(): value.decode() for name, value in sent[0]["headers"]
    }


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("[::1]:7860", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:7860", 403),
        ("", 403),
    ],
)
def test_on_loopback_a_foreign_host_name_is_refused(host, status):
    found = answer_of(Guard(hello, "127.0.0.1"), host)
    assert found["status"] == status
    if status == 200:
        assert "default-src 'self'" in found["content-security-policy"]
    assert answer_of(Guard(hello, "0.0.0.0"), host)["status"] == 200


def test_a_taken_port_is_said(capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot be listened on"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(UserError, match="cannot be listened on"):
        free_port("127.0.0.1", 99_999)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_name_or_path is needed"),
        (["--method", "paint"], "--method paint: choose from telea, blur, mean"),
        (["--abstain_below", "1.5"], "--abstain_below 1.5: from 0 to 1"),
        (["--abstain_below", "0.5", "--target_risk", "0.1"], "not both"),
        (["--max_upload_mb", "0"], "--max_upload_mb 0.0: more than 0"),
        (["--max_queue", "0"], "--max_queue 0: 1 or more"),
        (["--examples", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    model = ["--model_name_or_path", "nowhere"] if arguments else []
    with pytest.raises(UserError, match=message):
        run_main(demo, *model, *arguments, "--port", 0)


# The app


class App:
    """A demo that runs, on a tiny model that points at things."""

    def __init__(self, folder: Path) -> None:
        self.records = write_structured_records(folder / "data")
        self.model = save_structured_model(self.records, folder)
        asker = demo.load_asker(demo.DemoArguments(model_name_or_path=str(self.model), max_new_tokens=64))
        self.told = {}  # what the model says of each colour, and without its patch
        for name in (f"{color}0" for color in COLORS):
            first = asker.ask(str(self.picture(name)), QUESTION, "color", CANDIDATES)
            self.told[name] = first, asker.ask_without(first, parse_boxes(PATCH, (40, 40)))[0]
        changes = [first.line["pred"] != second.line["pred"] for first, second in self.told.values()]
        assert any(changes), "the tiny model does not look at the picture"
        self.changing = list(self.told)[changes.index(True)]
        self.log = folder / "log.txt"
        command = [sys.executable, "demo.py", "--model_name_or_path", self.model, "--port", "0"]
        command += ["--examples", self.records, "--max_new_tokens", "64"]
        command += ["--max_upload_mb", "0.5", "--max_queue", "4"]
        self.files = folder / "tmp"
        self.files.mkdir()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.files)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self.process.stdout.readline()
        assert line.startswith("The demo is at "), self.log.read_text()
        self.url = line.split()[4]

    def client(self) -> Client:
        return Client(self.url, verbose=False, analytics_enabled=False)

    def picture(self, name: str) -> Path:
        return self.records.parent / f"{name}.png"


def ask(client, picture, *, candidates=CANDIDATES, question=QUESTION, abstain_below=0.0, kind="color"):
    """(path of the evidence picture, card, boxes, raw) of one question."""
    file = handle_file(picture) if picture is not None else None
    return client.predict(file, question, kind, candidates, abstain_below, api_name="/ask")[:4]


def without(client, boxes, method="telea", elsewhere=False):
    """(path of the picture without its evidence, card, verdict, raw)."""
    return client.predict(boxes, elsewhere, method, 0.0, api_name="/without")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    running = App(tmp_path_factory.mktemp("demo"))
    yield running
    running.process.terminate()
    assert running.process.wait(20) == 0
    assert "Traceback" not in running.log.read_text()
    assert [path for path in running.files.rglob("*") if path.is_file()] == []


def test_it_asks_draws_the_box_and_asks_again_without_it(app):
    client = app.client()
    for picture, (first, second) in app.told.items():
        shown, card, boxes, raw = ask(client, app.picture(picture))
        assert f'<div class="answer">{first.line["pred"]}</div>' in card and raw == first.line["raw"]
        assert parse_boxes(boxes, (40, 40)) == first.line["boxes"] != []  # multiples of 4 in this data
        assert (np.array(Image.open(shown)) == EVIDENCE).all(-1).any()
        masked, other, said, _ = without(client, PATCH)
        assert (np.array(Image.open(masked).convert("RGB"))[200:400, 200:400] > 235).mean() > 0.9  # no patch
        assert f'<div class="answer">{second.line["pred"]}</div>' in other
        changed = first.line["pred"] != second.line["pred"]
        assert ("The answer changes without its evidence" in said) == changed
    (folder,) = app.files.glob("vqa-demo-*")  # pictures that something was removed from left nothing behind
    assert folder.stat().st_mode & 0o777 == 0o700


def test_control_elsewhere_and_what_cannot_be_removed(app):
    client = app.client()
    with pytest.raises(AppError, match="ask a question first"):
        without(client, PATCH)
    ask(client, app.picture("red0"))
    said = without(client, "20, 20, 26, 26", "mean", elsewhere=True)[2]
    assert "though its evidence is still there" in said or "what was removed is not its evidence" in said
    for boxes, message in [
        ("", "there is no box to remove"),
        ("0, 0, 40, 40", "cover the picture"),
        ("1, 2", "four numbers"),
        (HOSTILE, "&lt;img src=x"),
    ]:
        with pytest.raises(AppError, match=message):
            without(client, boxes)
    with pytest.raises(AppError, match="no room for as much elsewhere"):
        without(client, PATCH, elsewhere=True)


def test_the_threshold_that_predict_keeps_is_where_the_slider_stands(app):
    model, records = app.model, app.records
    risk = ["--target_risk", "0.9"]
    with pytest.raises(UserError, match="abstention.json does not exist; give --calibration_file to make it"):
        run_main(demo, "--model_name_or_path", str(model), *risk, "--port", 0)
    run_main(predict, "--model_name_or_path", str(model), *risk, "--calibration_file", str(records))
    kept = json.loads((model / "abstention.json").read_text(encoding="utf-8"))["threshold"]
    args = demo.DemoArguments(model_name_or_path=str(model), target_risk=0.9)
    assert demo.kept_threshold(args, demo.load_asker(args)) == kept


def test_question_types_are_inferred_and_low_confidence_is_withheld(app):
    client = app.client()
    card = ask(client, app.picture("red0"), kind="", candidates="", question="is it red?")[1]
    assert "question type yes_no" in card
    card = ask(client, app.picture("red0"), abstain_below=1.0)[1]
    assert "Answer withheld" in card and "it would have been" in card
    hostile = ask(client, app.picture("red0"), kind="", candidates=f"{HOSTILE}, {HOSTILE}2")[1]
    assert "<img" not in hostile and escape(HOSTILE) in hostile


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large; there is hardly anything behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


def half_png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 60), 50).save(buffer, "PNG")
    return buffer.getvalue()[:1500]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", b"hello", "not an image of a known format"),
        ("empty.png", b"", "is empty"),
        ("half.png", half_png(), "damaged or truncated"),
        ("large.png", png_header(9_000, 9_000), "9000x9000 pixels, more than the limit of 25,000,000"),
        ("bomb.png", png_header(60_000, 60_000), "more pixels than the limit of 25,000,000"),
        (
            "picture.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
            "not an image of a known",
        ),
    ],
)
def test_a_bad_file_gets_a_message(app, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    client = app.client()
    with pytest.raises(AppError, match=message) as caught:
        ask(client, tmp_path / name)
    assert "Traceback" not in str(caught.value) and "/tmp" not in str(caught.value)
    assert client.predict(handle_file(tmp_path / name), api_name="/check") is None


def test_what_is_missing_too_large_or_elsewhere_is_refused(app, tmp_path):
    client = app.client()
    with pytest.raises(AppError, match="there is no picture yet"):
        ask(client, None)
    with pytest.raises(AppError, match="question"):
        ask(client, app.picture("red0"), question="  ")
    with pytest.raises(AppError, match="at most 2,000 characters"):
        ask(client, app.picture("red0"), question="why? " * 1000)
    with pytest.raises(AppError, match="addresses are not fetched"):
        file = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}
        client.predict(file, QUESTION, "color", CANDIDATES, 0.0, api_name="/ask")
    large = {"files": ("large.png", b"\0" * 600_000)}
    assert httpx2.post(f"{app.url}gradio_api/upload", files=large).status_code == 413
    assert httpx2.get(app.url, headers={"Host": "evil.example"}).status_code == 403
    for path in ("/etc/passwd", str(ROOT / "pyproject.toml"), str(app.records)):
        assert httpx2.get(f"{app.url}gradio_api/file={path}").status_code == 403
    for path in ("docs", "openapi.json", "gradio_api/runs", "gradio_api/proxy=https://a.hf.space/", "login/"):
        assert httpx2.get(f"{app.url}{path}").status_code == 404
    for path in ("process_recording", "vibe-edit/", "run/ask", "call/ask", "component_server"):
        assert httpx2.post(f"{app.url}gradio_api/{path}", json={}).status_code == 404


def test_a_full_queue_turns_questions_away(app):
    client = app.client()
    picture = handle_file(app.picture("red0"))
    jobs = [client.submit(picture, QUESTION, "color", CANDIDATES, 0.0, api_name="/ask") for _ in range(16)]
    errors = [str(job.exception()) for job in jobs if job.exception() is not None]
    assert 0 < len(errors) < 16 and all("queue is full" in error.lower() for error in errors), errors


def test_formats_that_browsers_do_not_show_become_png(app, tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.tiff")
    shown = app.client().predict(handle_file(tmp_path / "a.tiff"), api_name="/check")
    assert Image.open(shown).format == "PNG" and Image.open(shown).getpixel((0, 0)) == (255, 0, 0)


# The page


class Page(Browser):
    """The demo, worked with mouse and keyboard."""

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def write(self, identity: str, text: str) -> None:
        found = f"document.querySelector('#{identity} textarea, #{identity} input')"
        self.evaluate(f"{found}.focus(), {found}.select()")
        self.call("Input.insertText", text=text)

    def wait_for_text(self, identity: str, text: str) -> None:
        self.wait_for(
            f"document.getElementById({json.dumps(identity)}).textContent.includes({json.dumps(text)})"
        )


@NEEDS_CHROMIUM
def test_in_a_browser_the_answer_changes_when_the_evidence_is_removed(app, tmp_path):
    page = Page(tmp_path / "profile", 1280, 900)
    try:
        page.open(app.url, "document.querySelectorAll('#examples img').length == 8")
        number = [f"{color}{part}" for color in COLORS for part in (0, 1)].index(app.changing)
        page.evaluate(f"document.querySelectorAll('#examples .thumbnail-item')[{number}].click()")
        page.wait_for("document.querySelector('#picture img') !== null")
        page.click("#ask")
        page.wait_for("document.querySelector('#card .answer') !== null")
        first = page.evaluate("document.querySelector('#card .answer').textContent")
        source = page.evaluate("document.querySelector('#evidence img').src")
        shown = np.array(Image.open(io.BytesIO(httpx2.get(source).content)).convert("RGB"))
        assert (shown == EVIDENCE).all(-1).any()
        page.write("boxes", PATCH)
        page.click("#remove")
        page.wait_for_text("verdict", "The answer changes without its evidence")
        assert page.evaluate("document.querySelector('#card_without .answer').textContent") != first

        page.write("abstain", "1")
        page.press("Enter")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_text("card_without", "Answer withheld")

        page.write("question", HOSTILE)
        page.write("candidates", f"{HOSTILE}, b")
        page.click("#ask")
        page.wait_for_text("card", "onerror")
        assert page.evaluate("document.querySelector('#card img') === null && document.title != 'owned'")

        bad = tmp_path / "bad.png"
        bad.write_bytes(b"hello")
        page.click("#picture button[aria-label='Remove Image']")
        page.wait_for("document.querySelector('#picture input[type=file]') !== null")
        page.call("DOM.getDocument")
        root = page.call("Runtime.evaluate", expression="document.querySelector('#picture input[type=file]')")
        page.call("DOM.setFileInputFiles", objectId=root["result"]["objectId"], files=[str(bad)])
        page.wait_for("document.body.textContent.includes('not an image of a known format')")
        asked = [event["params"]["request"]["url"] for event in page.events
                 if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert [url for url in asked if not url.startswith((app.url, "data:", "blob:"))] == []
        assert [event for event in page.events if event["method"] == "Runtime.exceptionThrown"] == []
    finally:
        page.close()
