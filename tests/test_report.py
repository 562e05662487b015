"""report.html: hostile text stays text, nothing is fetched, the gallery shows the worst and stays small."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image, ImageDraw

from vqa.metrics.summary import summarize
from vqa.report import choose_failures, shown, write_report

HOSTILE = (
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> "
    "\"q\" 'q' {{ 7*7 }} \u202etxt.exe &lt;b&gt;"
)


def _line(number: int, **fields) -> dict:
    line = {
        "id": f"r{number}", "pred": "wrong", "gt": "right", "qtype": "open_ended", "answers": ["right"],
        "answerable": True, "source": "s", "confidence": 0.5, "abstained": False, "boxes": [], "gt_boxes": [],
        "answer_candidates": None, "caption": None, "reasoning": [], "valid_format": None, "raw": "",
        "images": [], "question": "Which?",
    }  # fmt: skip
    return line | fields


class _Page(HTMLParser):
    """Elements with their attributes, and the text of each kind of element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def render(tmp_path):
    def write(lines, correct=None, **options) -> tuple[str, _Page]:
        correct = correct or [False] * len(lines)
        options = {"title": "run/predictions.jsonl", "image_root": tmp_path} | options
        write_report(tmp_path / "report.html", lines, correct, summarize(lines, correct), **options)
        html = (tmp_path / "report.html").read_text(encoding="utf-8")
        return html, _Page(html)

    return write


@pytest.fixture
def picture(tmp_path) -> str:
    image = Image.new("RGB", (800, 600), "white")
    ImageDraw.Draw(image).ellipse((100, 100, 400, 500), fill="red")
    image.save(tmp_path / "picture.png")
    return "picture.png"


def test_hostile_text_stays_text(render):
    line = _line(
        0, question=HOSTILE, pred=HOSTILE, answers=[HOSTILE], id=HOSTILE, source=HOSTILE, qtype=HOSTILE,
        images=[HOSTILE], gt=HOSTILE,
    )  # fmt: skip
    html, page = render([line, line | {"source": "other", "qtype": "mcq", "id": "2"}], title=HOSTILE)
    (script,) = page.texts["script"]
    assert "alert" not in script and len(page.all("script")) == 1
    assert page.all("img") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "\u202e" not in html and "⟨U+202E⟩txt.exe" in html
    assert "49" not in "".join(page.texts["dd"]) and any("{{ 7*7 }}" in text for text in page.texts["dd"])
    assert any(HOSTILE.split(" \u202e")[0] in text for text in page.texts["bdi"])
    # What was escaped before is shown as it was.
    assert any("&lt;b&gt;" in text for text in page.texts["bdi"])
    assert {item["data-type"] for item in page.all("article")} == {shown(HOSTILE), "mcq"}


def test_nothing_is_fetched_and_only_our_script_may_run(render, picture):
    html, page = render([_line(0, images=[picture])])
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    assert page.all("link") == [] and "@import" not in html and "url(" not in html.replace("url(data:image/", "")
    (policy,) = [item["content"] for item in page.all("meta") if item.get("http-equiv")]
    digest = hashlib.sha256(page.texts["script"][0].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "default-src 'none'" in policy


def test_an_image_is_embedded_once_and_boxes_are_drawn(render, picture):
    boxes = {"gt_boxes": [[100, 100, 400, 500]], "boxes": [[90, 90, 300, 200]]}
    lines = [_line(i, images=[picture], **boxes) for i in range(5)]
    html, page = render(lines)
    (embedded,) = re.findall(r"data:image/\w+;base64,([\w+/=]+)", html)
    with Image.open(io.BytesIO(base64.b64decode(embedded))) as thumbnail:
        assert thumbnail.size == (320, 240)
    gold = [item for item in page.all("rect") if item.get("class") == "gold"]
    predicted = [item for item in page.all("rect") if item.get("class") == "predicted"]
    assert len(gold) == len(predicted) == 5
    assert [gold[0][name] for name in ("x", "y", "width", "height")] == ["100", "100", "300", "400"]
    # Boxes stand in the coordinates of the original image, whatever the thumbnail's size.
    pictures = [item for item in page.all("svg") if item.get("aria-label") == "image of the question"]
    assert {item["viewbox"] for item in pictures} == {"0 0 800 600"}


def test_missing_and_forbidden_images_get_a_placeholder(render, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    images = ["absent.png", "broken.png", "../secret.png"]
    html, page = render([_line(i, images=[name]) for i, name in enumerate(images)])
    assert html.count('class="missing"') == 3 and "data:image/" not in html
    assert any("leaves the image root" in text for text in page.texts["bdi"])


def test_the_gallery_is_worst_first_and_limited(render):
    lines = [_line(i, confidence=i / 100) for i in range(100)] + [_line(100, confidence=None)]
    html, page = render(lines, max_gallery=10)
    assert re.findall(r'<dd class="soft">(r\d+)</dd>', html) == [f"r{i}" for i in range(99, 89, -1)]
    assert any("10 of 101 shown" in text for text in page.texts["p"])
    html, page = render(lines, max_gallery=0)
    assert page.all("article") == []


def test_every_type_has_its_place_in_the_gallery():
    frequent = [_line(i, qtype="mcq", confidence=0.9) for i in range(50)]
    rare = [_line(99, qtype="yes_no", confidence=None)]
    chosen = choose_failures(frequent + rare, 10)
    assert len(chosen) == 10 and chosen[-1] is rare[0]


def test_right_answers_are_not_in_the_gallery(render):
    html, page = render([_line(0), _line(1, pred="right")], [False, True])
    assert len(page.all("article")) == 1 and ">r1<" not in html
    html, page = render([_line(1, pred="right")], [True])
    assert page.all("article") == [] and "None." in html


def test_charts_are_there_when_there_is_something_to_draw(render):
    names = ["mcq", "yes_no"] * 4
    lines = [_line(i, qtype=name, source=name, confidence=0.1 * i) for i, name in enumerate(names)]
    _, page = render(lines, [True, False] * 4)
    labels = {item.get("aria-label") for item in page.all("svg")}
    assert {"accuracy by question type", "accuracy by source"} <= labels
    assert {"risk-coverage curve", "calibration plot"} <= labels
    _, page = render([_line(0, confidence=None)])
    labels = {item.get("aria-label") for item in page.all("svg")}
    assert "accuracy by question type" in labels and "risk-coverage curve" not in labels


def test_a_large_gallery_stays_small(render, tmp_path):
    for number in range(40):
        Image.effect_noise((1200, 900), 60).convert("RGB").save(tmp_path / f"{number}.jpg", quality=95)
    html, _ = render([_line(i, images=[f"{i % 40}.jpg"]) for i in range(2000)])
    assert html.count("data:image/webp") == 40 and len(html) < 3_000_000


def test_shown_cuts_and_reveals():
    assert shown("a\u202eb\x00c") == "a⟨U+202E⟩b⟨U+0000⟩c"
    assert shown("Tiếng Việt\nhai dòng") == "Tiếng Việt\nhai dòng"
    assert len(shown("x" * 5000)) < 700 and "5000 characters" in shown("x" * 5000)
