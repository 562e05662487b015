"""report.html: hostile text stays text, nothing is fetched, the gallery shows the worst and stays small."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image, ImageDraw

from benchmarks.browser import Browser
from vqa.metrics.paired import compare_paired
from vqa.metrics.summary import summarize
from vqa.predictions import read_predictions
from vqa.report import choose_failures, shown, write_comparison, write_report
from vqa.report.charts import confusions, risk_curve
from vqa.report.gallery import Album, card_bytes, within_bytes
from vqa.report.headline import side_by_side
from vqa.report.pairs import changed_regions, choose_triples

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
    assert (
        page.all("link") == [] and "@import" not in html and "url(" not in html.replace("url(data:image/", "")
    )
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
    assert all(item.get("role") == "img" for item in page.all("svg")) and page.texts["title"]
    assert {"risk-coverage curve", "calibration plot"} <= labels
    _, page = render([_line(0, confidence=None)])
    labels = {item.get("aria-label") for item in page.all("svg")}
    assert "accuracy by question type" in labels and "risk-coverage curve" not in labels


def test_a_large_gallery_stays_small(render, tmp_path):
    for number in range(10):
        Image.effect_noise((640, 480), 60).convert("RGB").save(tmp_path / f"{number}.bmp")
    html, _ = render([_line(i, images=[f"{i % 10}.bmp"]) for i in range(2000)])
    assert html.count("data:image/webp") == 10 and len(html) < 1_000_000


def test_shown_cuts_and_reveals():
    assert shown("a\u202eb\x00c") == "a⟨U+202E⟩b⟨U+0000⟩c"
    assert shown("Tiếng Việt\nhai dòng") == "Tiếng Việt\nhai dòng"
    assert len(shown("x" * 5000)) < 700 and "5000 characters" in shown("x" * 5000)


def test_the_headline_has_intervals_and_leaves_out_what_was_not_measured(render):
    lines = [_line(i, images=[f"{i}.png"]) for i in range(6)]
    html, page = render(lines, [True, False] * 3)
    assert any(text.startswith("Exact match") for text in page.texts["th"])
    assert "Character error rate" not in page.texts["th"]
    assert any(re.fullmatch(r"\d+\.\d% – \d+\.\d%", text) for text in page.texts["td"])


def test_confusion_of_closed_types(render):
    def say(number, pred, gold, **fields):
        return _line(number, qtype="yes_no", pred=pred, answers=[gold], gt=gold, **fields)

    lines = [say(0, "Yes.", "yes"), say(1, "yes", "no"), say(2, "hm", "no"), say(3, "", "no", abstained=True)]
    (table,) = confusions(lines, [True, False, False, False])
    assert table.gold == ["yes", "no"] and table.predicted == ["yes", "no", "(none of them)", "(abstained)"]
    assert table.counts == [[1, 0, 0, 0], [1, 0, 1, 1]]
    _, page = render(lines, [True, False, False, False])
    assert "Confusion: yes_no" in page.texts["h2"]


def test_confusion_of_options_that_differ_is_by_letter():
    options = [["liver", "lung"], ["heart", "bone"]]
    lines = [
        _line(i, qtype="mcq", pred=pred, answers=[gold], answer_candidates=options[i])
        for i, (pred, gold) in enumerate([("liver", "liver"), ("b", "heart")])
    ]
    (table,) = confusions(lines, [True, False])
    assert table.gold == table.predicted == ["A", "B"] and table.counts == [[1, 1], [0, 0]]
    same = [row | {"answer_candidates": ["liver", "lung", "heart", "bone"]} for row in lines]
    (table,) = confusions(same, [True, False])
    assert table.predicted == ["heart", "liver", "lung"] and table.counts[0] == [0, 0, 1]  # B is the lung


def test_many_labels_become_a_rest():
    names = [f"option {number:02d}" for number in range(40)]
    lines = [
        _line(i, qtype="mcq", pred=name, answers=[name], answer_candidates=names)
        for i, name in enumerate(names)
    ]
    (table,) = confusions(lines, [True] * 40)
    assert len(table.gold) == 13 and table.gold[-1] == "(others)" and table.counts[-1][-1] == 28


def test_counterfactual_pairs_stand_side_by_side(render, tmp_path):
    base = Image.new("RGB", (200, 100), "white")
    draw = ImageDraw.Draw(base)
    draw.rectangle((20, 20, 60, 60), fill="red")
    draw.rectangle((120, 20, 160, 60), fill="blue")
    for name, box in (("original", None), ("roi", (20, 20, 60, 60)), ("random", (120, 20, 160, 60))):
        image = base.copy()
        if box:
            ImageDraw.Draw(image).rectangle(box, fill="white")
        image.save(tmp_path / f"{name}.png")
    line = _line(0, pred="right", images=["original.png"], gt_boxes=[[20, 20, 61, 61]])
    masked = {
        "roi": {"r0": line | {"images": ["roi.png"]}},
        "random": {"r0": line | {"images": ["random.png"], "pred": "wrong"}},
    }
    _, page = render([line, _line(1)], [True, False], counterfactual=masked)
    assert {"original", "evidence removed", "random region removed"} <= set(page.texts["span"])
    assert "right without its evidence, wrong without something else" in page.texts["span"]
    removed = [item for item in page.all("rect") if item.get("class") == "removed"]
    assert [[item[name] for name in ("x", "y", "width", "height")] for item in removed] == [
        ["20", "20", "41", "41"],
        ["120", "20", "41", "41"],
    ]


def test_pairs_keep_to_the_tolerance_of_the_run():
    line = _line(0, qtype="size_numeric", pred="10 mm", answers=["10 mm"])
    masked = {"roi": {"r0": line | {"pred": "10.4 mm"}}}
    said = [choose_triples([line], [True], masked, tolerance=t)[0][1] for t in (0.05, 0.01)]
    assert said == ["still right without its evidence", "changes with its evidence"]


def test_removed_regions_are_those_that_predictions_name(tmp_path, render):
    Image.new("RGB", (200, 100), "white").save(tmp_path / "white.png")
    named = {"regions": [[1, 2, 31, 42], [5, 5, 9, 9]], "region_images": [0, 1]}
    row = {"id": "r0", "pred": "right", "qtype": "open_ended", "gt": "right", "images": ["white.png"]}
    metas = [{"counterfactual": named}, {"counterfactual": {"regions": [["<b>"]], "region_images": [0]}}] + [
        {"counterfactual": {"regions": 3, "region_images": []}},
        {"counterfactual": "x"},
        None,
    ]
    found = []
    for meta in metas:
        (tmp_path / "masked.jsonl").write_text(json.dumps(row | {"meta": meta}))
        (masked,) = read_predictions(tmp_path / "masked.jsonl")
        line = _line(0, pred="right", images=["white.png"])
        _, page = render([line], [True], counterfactual={"random": {"r0": masked}})
        boxes = [item for item in page.all("rect") if item.get("class") == "removed"]
        found.append([[item[name] for name in ("x", "y", "width", "height")] for item in boxes])
    assert found == [[["1", "2", "30", "40"]], [], [], [], []]  # a blank place has no pixels that differ


@pytest.mark.parametrize(
    "roi, random, verdict",
    [
        ("wrong", "right", "changes with its evidence only"),
        ("right", "right", "still right without its evidence"),
        ("wrong", None, "changes with its evidence"),
        (None, "wrong", "wrong without something else"),
    ],
)
def test_verdicts_of_pairs(roi, random, verdict):
    line = _line(0, pred="right")
    masked = {
        kind: {"r0": line | {"pred": pred}} for kind, pred in (("roi", roi), ("random", random)) if pred
    }
    ((_, said, *_),) = choose_triples([line], [True], masked)
    assert said == verdict
    assert choose_triples([line], [False], masked) == []


def test_a_page_keeps_to_its_budget(tmp_path):
    for number in range(12):
        Image.effect_noise((200, 200), 80).convert("RGB").save(tmp_path / f"{number}.bmp")
    album = Album(tmp_path, expected=12, budget=20_000)
    thumbnails = [album.get(f"{number}.bmp") for number in range(12)]
    assert sum(len(item.uri or "") for item in thumbnails) <= 20_000
    assert sum(item.uri is not None for item in thumbnails) >= 8
    assert all(item.problem for item in thumbnails if item.uri is None)
    long = [_line(i, question="<" * 600) for i in range(100)]
    fitting = within_bytes(long, budget=100_000)
    assert 0 < len(fitting) < 100 and sum(map(card_bytes, fitting)) <= 100_000


def test_cards_cost_no_more_than_they_are_counted_for(render):
    lines = [
        _line(i, question=HOSTILE * 9, pred="\0" * 700, answers=["ộ" * 300] * 9, raw="<" * 900,
              valid_format=False, boxes=[[1000.123456789, 2000.5, 3000.987654321, 4000.5]] * 40)
        for i in range(50)
    ]  # fmt: skip
    small, large = (len(render(lines[:count])[0].encode("utf-8")) for count in (10, 50))
    assert (large - small) / 40 <= card_bytes(lines[0]) < 1.3 * (large - small) / 40


def test_removed_regions_are_found():
    before = Image.new("RGB", (1500, 900), "white")
    after = before.copy()
    ImageDraw.Draw(after).rectangle((300, 300, 449, 389), fill="black")
    ((x0, y0, x1, y1),) = changed_regions(before, after)
    assert abs(x0 - 300) < 4 and abs(y0 - 300) < 4 and abs(x1 - 450) < 4 and abs(y1 - 390) < 4
    assert changed_regions(before, before) == [] == changed_regions(before, Image.new("RGB", (9, 9)))


def _compared(tmp_path, **fields):
    a = [_line(i, pred=pred, **fields) for i, pred in enumerate(["right", "wrong", "right", "wrong"])]
    b = [_line(i, pred=pred, **fields) for i, pred in enumerate(["wrong", "right", "right", "wrong"])]
    correct = [[row["pred"] == "right" for row in rows] for rows in (a, b)]
    clusters = [row["id"] for row in a]
    comparison = compare_paired(*correct, clusters, {"by_question_type": [row["qtype"] for row in a]})
    both = zip(("a", "b"), (a, b), correct, strict=True)
    comparison["metrics"] = {name: summarize(rows, right, resamples=20) for name, rows, right in both}
    options = {
        "correct_a": correct[0],
        "correct_b": correct[1],
        "names": (HOSTILE, "run b"),
        "image_root": tmp_path,
    }
    write_comparison(tmp_path / "comparison.html", a, b, comparison, **options)
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    return html, _Page(html)


def test_the_comparison_shows_what_was_fixed_and_broken(tmp_path):
    _, page = _compared(tmp_path)
    assert [item["data-id"] for item in page.all("article")] == ["r0", "r1"]
    tags = [item["value"] for item in page.all("input") if item.get("class") == "tags"]
    assert tags == ["broken, other", "fixed, other"]
    assert "p-value" in page.texts["div"] and "overall" in page.texts["bdi"]
    assert {"Exact match", "AURC", "Brier score"} <= set(page.texts["th"])
    labels = {item.get("aria-label") for item in page.all("svg")}
    assert "difference of accuracy by question type, in percentage points" in labels


def test_a_comparison_has_both_curves_and_every_metric_of_either(tmp_path):
    _, page = _compared(tmp_path)
    (chart,) = [item for item in page.all("svg") if "both runs" in item.get("aria-label", "")]
    assert [item["class"] for item in page.all("polyline")] == ["line of-a", "line"]
    boxless = {"valid_format": True, "raw": "<think></think>x"}
    runs = {
        name: summarize([_line(0, **fields), _line(1, **fields)], [True, False], resamples=20)
        for name, fields in (("a", boxless), ("b", boxless | {"boxes": [[0, 0, 5, 5]]}))
    }
    rows = {a.path: (a.shown, a.range, b.shown) for a, b in side_by_side(**runs)}
    assert rows["format/box_rate"] == ("–", "–", "100.0%") and "cer" not in rows
    _, page = _compared(tmp_path, confidence=None)
    assert not page.all("polyline")


def test_hostile_text_stays_text_in_a_comparison(tmp_path):
    html, page = _compared(tmp_path, question=HOSTILE, source=HOSTILE, images=[HOSTILE])
    assert len(page.all("script")) == 1 and "alert" not in page.texts["script"][0]
    assert page.all("img") == [] and "\u202e" not in html
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_nul_and_bidi_in_every_field(render):
    text = "a\0b\u202ec\u2066d\ud800e"
    line = _line(0, question=text, pred=text, answers=[text], id=text, source=text, images=[text, "/" + text],
                 raw=text, caption=text, reasoning=[text], valid_format=False)  # fmt: skip
    html, page = render([line], title=text)
    assert not re.search("[\0\u202e\u2066\ud800]", html)
    assert html.count('class="missing"') == 2
    assert page.all("article")[0]["data-id"] == "a⟨U+0000⟩b⟨U+202E⟩c⟨U+2066⟩d⟨U+D800⟩e"


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a browser")
def test_tags_and_filters_in_a_browser(render, tmp_path):
    lines = [_line(i, qtype="mcq" if i % 2 else "open_ended", question=f"Which {i}?") for i in range(80)]
    lines[3] |= {"question": HOSTILE, "id": HOSTILE}
    render(lines)
    url = (tmp_path / "report.html").as_uri()
    browser = Browser(tmp_path / "profile")
    seen = "[...document.querySelectorAll('article')].filter(card => !card.hidden).length"
    said = "document.querySelector('[data-tool=count]').textContent"

    def choose(tool, value, event="change"):
        browser.evaluate(
            f"(() => {{ const tool = document.querySelector('[data-tool={tool}]');"
            f" tool.value = {json.dumps(value)}; tool.dispatchEvent(new Event('{event}')); }})()"
        )

    def write(identity, tags):
        browser.evaluate(
            f"(() => {{ const input = document.querySelector('[data-id={identity}] .tags');"
            f" input.value = {json.dumps(tags)};"
            " input.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    try:
        browser.open(url)
        assert browser.evaluate(seen) == 60 and browser.evaluate(said) == "80 of 80"
        browser.evaluate("document.querySelector('.more').click()")
        assert browser.evaluate(seen) == 80
        choose("type", "mcq")
        assert browser.evaluate(seen) == 40
        choose("text", "which 17", "input")
        browser.wait_for(f"{said} == '1 of 80'")
        choose("text", "", "input")
        browser.wait_for(f"{said} == '40 of 80'")
        choose("type", "")
        write("r5", "glare, <b>x</b>")
        choose("tag", "<b>x</b>")
        assert browser.evaluate(said) == "1 of 80"
        # Kept in the browser, and found again.
        browser.evaluate("(() => { window.before = true; location.reload(); })()")
        browser.wait_for("!window.before && document.querySelectorAll('.tags.edited').length")
        assert browser.evaluate("document.querySelector('.tags.edited').value") == "glare, <b>x</b>"
        saved = browser.evaluate("localStorage.getItem(Object.keys(localStorage)[0])")
        assert json.loads(saved) == {"r5": ["glare", "<b>x</b>"]}
        # A file of tags is read.
        tags = json.dumps({"tags": {"r7": ["blur"], "unknown": ["x"], "r8": "no list"}})
        browser.evaluate(
            "(() => { const data = new DataTransfer();"
            f" data.items.add(new File([{json.dumps(tags)}], 'tags.json'));"
            " const input = document.querySelector('[data-tool=file]'); input.files = data.files;"
            " input.dispatchEvent(new Event('change')); })()"
        )
        browser.wait_for("document.querySelector('[data-tool=said]').textContent == 'tags of 1 records read'")
        assert (
            browser.evaluate("[...document.querySelectorAll('.tags')].filter(t => t.value === 'blur').length")
            == 1
        )
        faults = [
            item for item in browser.events if item["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]
        asked = [item["params"]["request"]["url"] for item in browser.events
                 if item["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert faults == [] and all(address.startswith(("file:", "data:")) for address in asked)
    finally:
        browser.close()


def test_the_curve_and_its_marks():
    lines = [_line(i, confidence=1 - i / 100) for i in range(100)]
    curve = risk_curve(lines, [i not in (49, 99) for i in range(100)])
    assert curve.points[-1] == (1.0, 0.02) and curve.best[-1] == (1.0, 0.02)
    assert curve.marks == [(0.01, 0.49, 0.0), (0.05, 1.0, 0.02), (0.1, 1.0, 0.02)]
    assert max(risk for _, risk in curve.best[:98]) == 0
    assert risk_curve([_line(0, confidence=None)], [True]) is None
