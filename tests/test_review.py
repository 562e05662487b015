"""review: every decision is kept, the export accounts for every record, and the page lets nobody else in."""

import http.client
import json
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.browser import ReviewPage
from benchmarks.pseudo_label_round_trip import draw_records
from vqa.errors import UserError
from vqa.files import sha256_file
from vqa.preparation.decisions_log import Decision, DecisionsLog
from vqa.preparation.folders import read_folder
from vqa.preparation.review import export, main
from vqa.preparation.review_items import labelled, model_name, read_items
from vqa.preparation.review_page import Review
from vqa.preparation.review_server import MAX_BODY_BYTES, TOKEN_HEADER, ReviewServer, is_loopback

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> \u202etxt"
NEEDS_CHROMIUM = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


RECORDS = [
    {"id": "word", "images": ["a.png"], "question": "What does it say?", "answers": [], "answerable": False,
     "question_type": "extractive", "boxes": [[1, 2, 30, 20]], "reasoning": ["a guess"], "meta": {"page": 4}},
    {"id": "closed", "images": ["a.png", "b.png"], "question": "Is it red?", "answers": [],
     "answerable": False, "question_type": "yes_no"},
    {"id": "sure", "images": ["b.png"], "question": "What color is it?", "answers": [], "answerable": False,
     "question_type": "color", "answer_candidates": ["red", "blue"]},
    {"id": "text only", "images": [], "question": "Which?", "answers": ["this"],
     "question_type": "open_ended"},
    {"id": "unread", "images": ["b.png"], "question": "And?", "answers": [], "answerable": False,
     "question_type": "extractive"},
]  # fmt: skip
PREDICTIONS = [
    {"id": "word", "pred": "cat", "confidence": 0.4, "qtype": "extractive", "answers": [],
     "answerable": False, "boxes": [[2, 3, 31, 21]]},
    {"id": "closed", "pred": "maybe", "confidence": 0.2, "qtype": "yes_no", "gt": None,
     "question": "Is it red?"},
    {"id": "sure", "pred": "red", "confidence": 0.97, "qtype": "color", "answers": []},
    {"id": "text only", "pred": "", "abstained": True, "confidence": None, "qtype": "open_ended",
     "gt": "this"},
]  # fmt: skip
ORDER = ["text only", "closed", "word", "sure"]


class Desk:
    """Records, predictions and a review of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "raw").mkdir(parents=True)
        for name, color in (("a.png", "red"), ("b.png", "blue")):
            Image.new("RGB", (40, 30), color).save(folder / "raw" / name)
        self.records = write_lines(folder / "raw/train.jsonl", RECORDS)
        self.predictions = write_lines(folder / "predictions.jsonl", PREDICTIONS)
        self.output = folder / "out"

    def folder_read(self):
        return read_folder(self.records)

    def items(self):
        return read_items(self.folder_read(), self.predictions)

    def log(self) -> DecisionsLog:
        return DecisionsLog(self.output / "decisions.log", sha256_file(self.predictions))

    def review(self) -> Review:
        log = self.log()
        log.open()
        return Review("train.jsonl", self.items(), log, "tiny", "Ann")

    def export(self, accept_above=None) -> dict:
        log = self.log()
        log.read()
        return export(self.folder_read(), self.items(), log, self.output, "tiny", accept_above)

    def written(self) -> dict[str, dict]:
        return {row["id"]: row for row in self.lines("train.jsonl")}

    def rejects(self) -> list[dict]:
        return self.lines("rejects.jsonl")

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.output / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


# ---- items and labels ----


def test_worst_confidence_first(desk):
    assert [item.record["id"] for item in desk.items()] == ORDER


@pytest.mark.parametrize(
    ("change", "message"),
    [({"id": "other"}, "of no record"), ({"question": "Is it blue?"}, "was asked 'Is it blue\\?'")],
)
def test_predictions_of_other_records_are_refused(desk, change, message):
    write_lines(desk.predictions, [PREDICTIONS[0] | change])
    with pytest.raises(UserError, match=message):
        desk.items()


def test_one_id_in_two_splits_is_refused(desk):
    write_lines(desk.folder / "raw/test.jsonl", RECORDS[:1])
    with pytest.raises(UserError, match="'word' is in split"):
        read_items(read_folder(desk.folder / "raw"), desk.predictions)


def test_model_name_from_the_manifest_beside_the_predictions(desk):
    assert model_name(desk.predictions) is None
    manifest = desk.predictions.with_suffix(".manifest.json")
    manifest.write_text('{"model": "base", "adapter": "lora"}', encoding="utf-8")
    assert model_name(desk.predictions) == "base + lora"
    manifest.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="JSON object"):
        model_name(desk.predictions)


def test_an_edited_record_whole(desk):
    review = desk.review()
    assert review.decide(2, "edited", "  ca\u0302t ") == {"decision": "edited", "decided": "cât"}
    review.log.close()
    desk.export()
    record = desk.written()["word"]
    digest = sha256_file(desk.folder / "raw/a.png")
    assert record == {
        "id": "word", "images": ["a.png"], "question": "What does it say?", "answers": ["cât"],
        "answerable": True, "question_type": "extractive", "answer_candidates": None,
        "boxes": [[1, 2, 30, 20]], "box_images": [0], "caption": None, "reasoning": [], "source": "raw",
        "split": "train", "image_sha256": [digest],
        "meta": {"page": 4, "label": {"by": "person", "model": "tiny", "confidence": 0.4,
                                      "decision": "edited", "reviewer": "Ann"}},
    }  # fmt: skip


def test_export_accounts_for_every_record(desk):
    review = desk.review()
    review.decide(ORDER.index("word"), "accepted", "")
    review.decide(ORDER.index("text only"), "rejected", "")
    review.log.close()
    manifest = desk.export()
    assert manifest["rows"] == {"in": 5, "records": 1, "filtered": 3, "rejects": 1}
    assert manifest["filtered"] == {"undecided": 2, "without a prediction": 1}
    (reject,) = desk.rejects()
    assert (reject["where"], reject["reason"], reject["row"]["question"]) == (
        "text only", "rejected by Ann", "Which?")  # fmt: skip
    label = {"by": "model", "model": "tiny", "confidence": 0.4, "decision": "accepted", "reviewer": "Ann"}
    assert desk.written()["word"]["meta"]["label"] == label
    assert desk.written()["word"]["answers"] == ["cat"]


def test_confident_undecided_answers_are_taken_unseen_and_bad_ones_rejected(desk):
    manifest = desk.export(accept_above=0.2)
    assert manifest["rows"] == {"in": 5, "records": 2, "filtered": 2, "rejects": 1}
    assert manifest["review"]["labels"] == {"accepted unseen": 2}
    label = {"by": "model", "model": "tiny", "confidence": 0.97, "decision": "accepted", "reviewer": None}
    assert desk.written()["sure"]["meta"]["label"] == label
    (reject,) = desk.rejects()
    assert reject["where"] == "closed" and "'maybe' is not among" in reject["reason"]


def test_the_same_decisions_give_the_same_records(desk):
    review = desk.review()
    review.decide(2, "accepted", "")
    review.log.close()
    desk.export()
    first = (desk.output / "train.jsonl").read_bytes()
    desk.export()
    assert (desk.output / "train.jsonl").read_bytes() == first


def test_an_accepted_abstention_says_that_the_image_does_not_hold_the_answer(desk):
    review = desk.review()
    assert review.decide(ORDER.index("text only"), "accepted", "") == {"decision": "accepted", "decided": ""}
    assert review.decide(ORDER.index("word"), "edited", "Unanswerable")["decided"] == ""
    review.log.close()
    desk.export()
    for identity, by in (("text only", "model"), ("word", "person")):
        record = desk.written()[identity]
        assert (record["answers"], record["answerable"]) == ([], False)
        assert record["meta"]["label"]["by"] == by


def test_reasoning_stays_with_the_answer_it_led_to(desk):
    item = desk.items()[ORDER.index("word")]
    item.record["answers"] = ["cat"]
    for text, kept in (("cat", ["a guess"]), ("dog", [])):
        record = labelled(item, Decision("word", "edited", text, "Ann"), None)
        assert record["reasoning"] == kept


def test_nothing_decided_is_nothing_to_export(desk):
    with pytest.raises(UserError, match="no record is left"):
        desk.export()


def test_export_command(desk, capsys):
    arguments = [str(desk.records), "--predictions", str(desk.predictions), "--output_dir", str(desk.output)]
    main([*arguments, "--export", "--accept_above", "0.95"])
    assert "accepted unseen                  1" in capsys.readouterr().out
    assert list(desk.written()) == ["sure"]
    main([*arguments[:-2], "--export", "--accept_above", "0.95"])  # without --output_dir
    assert (desk.folder / "predictions_reviewed/train.jsonl").is_file()
    for wrong, message in (
        (["--accept_above", "0.9"], "is for --export"),
        (["--export", "--accept_above", "1.5"], "at most 1"),
        (["--reviewer", " "], "is empty"),
        (["--port", "99999"], "cannot be listened on"),
    ):
        with pytest.raises(UserError, match=message):
            main([*arguments, *wrong])
    with pytest.raises(UserError, match="is the folder that is read"):
        main([*arguments[:-1], str(desk.folder / "raw")])


# ---- decisions ----


def filled_log(path: Path) -> DecisionsLog:
    log = DecisionsLog(path, "abc")
    log.open()
    log.add(Decision("a", "accepted", "một", "Ann"))
    log.add(Decision("b", "rejected", "", "Ann"))
    log.add(Decision("a", "edited", "hai", "Bo"))
    log.undo()
    log.close()
    return log


def test_a_log_cut_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path):
    log = filled_log(tmp_path / "decisions.log")
    content = log.path.read_bytes()
    steps = [{}, {}, {"a": "accepted"}, {"a": "accepted", "b": "rejected"}, {"a": "edited", "b": "rejected"},
             {"a": "accepted", "b": "rejected"}]  # fmt: skip
    for cut in range(len(content) + 1):
        log.path.write_bytes(content[:cut])
        again = DecisionsLog(log.path, "abc")
        again.open()
        assert {name: made.decision for name, made in again.current.items()} == steps[
            content[:cut].count(b"\n")
        ]
        again.add(Decision("c", "accepted", "x", "Ann"))
        again.close()
        reader = DecisionsLog(log.path, "abc")
        reader.read()
        assert reader.current == again.current


_DECISIONS = st.builds(
    Decision, st.sampled_from("abc"), st.sampled_from(["accepted", "edited", "rejected"]),
    st.text(max_size=5), st.just("Ann"),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), _DECISIONS), max_size=12))
def test_undo_is_the_inverse_and_reading_gives_what_was_noted(tmp_path_factory, steps):
    log = DecisionsLog(tmp_path_factory.mktemp("log") / "decisions.log", "abc")
    log.open()
    standing: list[Decision] = []
    for step in steps:
        if step is None:
            assert log.undo() == (standing.pop() if standing else None)
        else:
            log.add(Decision(step.id, step.decision, step.text.encode("utf-8", "replace").decode(), "Ann"))
            standing.append(log.current[step.id])
        assert log.current == {decision.id: decision for decision in standing}
    log.close()
    again = DecisionsLog(log.path, "abc")
    again.read()
    assert again.current == log.current


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"predictions": "xyz"}\n', "other predictions"),
        (b"my own notes\n", "not the decisions of a review"),
        (b"my own notes", "not the decisions of a review"),
        (b'{"predictions": "abc"}\n{"id": 1\n{"id": 2}\n', ":2: not valid JSON"),
        (
            b'{"predictions": "abc"}\n{"id": "a", "decision": "maybe", "text": "", "reviewer": "A"}\n',
            ":2: not a",
        ),
        (b'{"predictions": "abc"}\n{"id": "a", "decision": "undone"}\n', ":2: not a decision"),
        (b'{"predictions": "abc"}\n[]\n', ":2: not a decision"),
    ],
)
def test_a_file_that_is_no_log_is_left_alone(tmp_path, content, message):
    path = tmp_path / "decisions.log"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        DecisionsLog(path, "abc").open()
    assert path.read_bytes() == content


def test_two_reviews_do_not_write_to_one_log(tmp_path):
    first, second = (DecisionsLog(tmp_path / "decisions.log", "abc") for _ in range(2))
    first.open()
    with pytest.raises(UserError, match="another review"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_full_disk_leaves_no_half_decision(desk, monkeypatch):
    review = desk.review()
    before = review.log.path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="not saved: .*No space left") as refused:
        review.decide(0, "rejected", "")
    assert refused.value.status == 507
    assert review.log.path.read_bytes() == before and review.log.current == {}
    review.log.close()


# ---- the server ----


@pytest.fixture
def server(desk):
    review = desk.review()
    server = ReviewServer(review)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    review.log.close()


def ask(server, method: str, path: str, body: bytes | None = None, key: str | None = None, **headers: str):
    """One request; `path` comes after the key of the run, or after `key`. (status, headers, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    key = server.token if key is None else key
    connection.putrequest(method, f"/{key}/{path}" if key else f"/{path}", skip_host="Host" in headers)
    if body is not None and "Content-Length" not in headers:
        headers["Content-Length"] = str(len(body))
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def post(server, path: str, content, **headers: str) -> tuple[int, dict]:
    headers = {"Content-Type": "application/json", TOKEN_HEADER: server.token} | headers
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    status, _, answer = ask(server, "POST", path, body, **headers)
    return status, json.loads(answer)


def test_page_and_its_policy(server):
    status, headers, page = ask(server, "GET", "")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert (
        policy.startswith("default-src 'none'")
        and "unsafe" not in policy
        and "frame-ancestors 'none'" in policy
    )
    text = page.decode()
    assert text.count("<script") == text.count("<style") + 1 == 2
    assert text.count(f'nonce="{nonce}"') == 3
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert nonce not in ask(server, "GET", "")[2].decode()


def test_items_images_and_decisions(server, desk):
    assert json.loads(ask(server, "GET", "items")[2])[1] == ["yes_no", 0.2, None]
    item = json.loads(ask(server, "GET", "items/2")[2])
    assert (item["text"], item["sizes"], item["decision"]) == ("cat", [[40, 30]], None)
    assert item["boxes"] == [
        {"image": 0, "box": [1, 2, 30, 20], "kind": "evidence"},
        {"image": 0, "box": [2, 3, 31, 21], "kind": "predicted"},
    ]
    assert "a guess" not in json.dumps(item)  # what the record says of the answer would lead the reviewer
    status, headers, png = ask(server, "GET", "images/1/1")
    (desk.folder / "shown.png").write_bytes(png)
    with Image.open(desk.folder / "shown.png") as image:
        assert (status, headers["Content-Type"], image.getpixel((5, 5))) == (200, "image/png", (0, 0, 255))
    assert post(server, "decisions", {"number": 2, "decision": "edited", "text": "dog"}) == (
        200, {"decision": "edited", "decided": "dog"})  # fmt: skip
    saved = desk.log()
    saved.read()
    assert saved.current["word"] == Decision("word", "edited", "dog", "Ann")
    assert post(server, "undo", {}) == (200, {"number": 2, "decision": None, "decided": None})
    assert post(server, "undo", {})[0] == 409


def test_an_edit_back_to_the_prediction_is_an_acceptance(server):
    answer = post(server, "decisions", {"number": 2, "decision": "edited", "text": " cat\r\n"})
    assert answer == (200, {"decision": "accepted", "decided": "cat"})


@pytest.mark.parametrize("decision", [{"decision": "accepted"}, {"decision": "edited", "text": "perhaps"}])
def test_an_answer_outside_of_the_candidates_is_not_saved(server, decision):
    status, answer = post(server, "decisions", {"number": 1, **decision})
    assert status == 422 and "is not among the answer_candidates" in answer["error"]
    assert server.review.log.current == {}


@pytest.mark.parametrize(
    "path",
    ["images/0/0", "images/1/2", "images/9/0", "items/4", "items/-1", "items/99999999999", "images/1/../1",
     "../train.jsonl", "images/1/%2e%2e/a.png", "..%2f..%2fetc/passwd", "/etc/passwd", "items/²", "undo"],
)  # fmt: skip
def test_nothing_but_items_and_their_images_can_be_read(server, path):
    path = path.encode().decode("latin-1") if path.isascii() else "items/%C2%B2"
    assert ask(server, "GET", path)[0] == 404


@pytest.mark.parametrize("key", ["", "wrong", "..", "%2e%2e"])
def test_the_address_needs_the_key(server, key):
    for path in ("", "items", "images/1/0"):
        assert ask(server, "GET", path, key=key)[0] == 403
    status, _, _ = ask(server, "POST", "undo", b"{}", key=key, Content_Type="application/json")
    assert status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.5"]
)
def test_other_host_names_are_refused(server, host):
    assert ask(server, "GET", "", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_own_host_names_are_served_behind_a_forwarded_port_too(server, host):
    assert ask(server, "GET", "", Host=host)[0] == 200


def test_hosts_beyond_loopback():
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({TOKEN_HEADER: ""}, b"{}", 403),
        ({TOKEN_HEADER: "guess"}, b"{}", 403),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Length": str(MAX_BODY_BYTES + 1)}, b"{}", 413),
        ({"Content-Length": "-1"}, b"{}", 411),
        ({}, b"{", 400),
        ({}, b"[" * 100_000, 400),
        ({}, b"[]", 400),
        ({}, b'{"number": true, "decision": "accepted"}', 404),
        ({}, b'{"number": 2, "decision": "undone"}', 400),
        ({}, b'{"number": 2, "decision": "edited", "text": 3}', 400),
        ({}, b'{"number": 2, "decision": "edited", "text": "\\ud800"}', 422),
    ],
)
def test_faulty_requests_change_nothing(server, headers, body, status):
    assert post(server, "decisions", body, **headers)[0] == status
    assert server.review.log.current == {}


def test_an_image_that_went_away_is_said(server, desk):
    (desk.folder / "raw/a.png").unlink()
    status, _, body = ask(server, "GET", "images/2/0")
    assert status == 404 and "does not exist" in json.loads(body)["error"]


# ---- the page ----


@NEEDS_CHROMIUM
def test_the_page_is_worked_with_the_keyboard(tmp_path):
    truth = draw_records(tmp_path / "data", {"unlabelled": 6}, seed=0)
    folder = read_folder(tmp_path / "data/unlabelled.jsonl")
    guesses = ["saw", *list(truth.values())[1:5], HOSTILE]
    path = write_lines(
        tmp_path / "predictions.jsonl",
        [
            {"id": name, "pred": guess, "qtype": "extractive", "answers": [], "confidence": 0.1 * number}
            for number, (name, guess) in enumerate(zip(truth, guesses, strict=True))
        ],
    )
    log = DecisionsLog(tmp_path / "out/decisions.log", sha256_file(path))
    log.open()
    server = ReviewServer(Review(HOSTILE, read_items(folder, path), log, HOSTILE, "Ann"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    browser = ReviewPage(tmp_path / "profile")
    names = list(truth)
    try:
        browser.open(server.url)
        assert (browser.text("record"), browser.text("answer")) == (names[0], "saw")
        browser.press("e")
        browser.call("Input.insertText", text="x")
        browser.press("Escape")  # cancelled
        assert log.current == {} and browser.text("answer") == "saw"
        browser.correct(truth[names[0]])
        assert log.current[names[0]].decision == "edited" and browser.text("record") == names[1]
        browser.press("r")
        assert log.current[names[1]].decision == "rejected"
        browser.press("u")
        assert names[1] not in log.current and browser.text("record") == names[1]
        browser.press("a")
        browser.press("ArrowRight")
        assert browser.text("record") == names[3]
        browser.press("Enter")
        assert log.current[names[3]].decision == "accepted" and names[2] not in log.current
        browser.reload()
        assert browser.text("record") == names[2] and browser.text("progress") == "3 of 6 decided"
        decided = [browser.decide(truth[browser.text("record")]) for _ in range(2)]
        assert decided == ["accepted", "accepted"]
        assert browser.text("answer") == HOSTILE.replace("\u202e", "⟨U+202E⟩")
        browser.press("n")
        assert log.current[names[5]].text == "" and browser.text("progress") == "6 of 6 decided"
        assert browser.evaluate("document.querySelectorAll('img').length") == 1
        assert browser.evaluate("document.title") == "6/6 Review"
        kinds = {event["method"] for event in browser.events}
        assert "Runtime.exceptionThrown" not in kinds and "Log.entryAdded" not in kinds
        requests = [event["params"]["request"]["url"] for event in browser.events
                    if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert all(url.startswith((server.url, "data:")) for url in requests)
    finally:
        browser.close()
        server.shutdown()
        server.server_close()
        log.close()
