"""One round of pseudo-labelling on pictures of words: train, predict, review, train again.

    python benchmarks/pseudo_label_round_trip.py

A model trained on a few labelled pictures reads many unlabelled ones. Its least confident readings are
reviewed in the page of `prepare_data.py review`, opened in headless Chromium and worked with the keyboard; a
stand-in who knows what was drawn accepts what is right and types what is not. The export, with the
confident readings that nobody looked at, joins the labelled pictures. The same without a review is the
control. All models start from the same base and take the same number of steps. Prints a table and writes
outputs/benchmarks/pseudo_label_round_trip.json. Needs `chromium` on PATH.
"""

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vqa.cli import option, parse_arguments, run
from vqa.errors import UserError
from vqa.files import write_json
from vqa.questions import judge
from vqa.records import write_records
from vqa.synthesis.shape_scenes import WORDS

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "outputs/benchmarks"
QUESTION = "What does the word say?"
SIDE = 112  # pixels of a picture
KEYS = {"Enter": "\r", "Escape": "", "ArrowLeft": "", "ArrowRight": ""}


@dataclass
class RoundTripArguments:
    """How much to draw, to review and to train."""

    base: str = option("models/tiny-vqa-base", "the model that every training starts from")
    work_dir: str = option(
        "outputs/round_trip", "pictures, models and predictions; an earlier one is replaced"
    )
    labelled: int = option(200, "pictures with their word")
    unlabelled: int = option(1000, "pictures without")
    test: int = option(500, "pictures to judge with")
    review: int = option(300, "predictions reviewed, worst confidence first")
    accept_above: float = option(0.9, "confidence from which the model's word is taken unseen")
    steps: int = option(300, "steps of each training")
    batch_size: int = option(32, "records a step")
    learning_rate: float = option(1e-3, "its peak")
    seed: int = option(0, "of the pictures and of the trainings")
    screenshot: str | None = option(None, "picture of the page during the review (PNG)")


class Browser:
    """A page in headless Chromium, by the DevTools protocol over a pipe.

    Args:
        folder: for the browser's profile.

    Raises:
        UserError: there is no `chromium`.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 800) -> None:
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
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise RuntimeError(f"not true after {seconds} s: {expression}")
            time.sleep(0.01)

    def open(self, url: str) -> None:
        """Go to the page of a review and wait until it shows an item."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href == {json.dumps(url)} && Number(document.body?.dataset.ready) > 0")

    def press(self, key: str) -> None:
        """Press a key and wait until the page has done what it stands for."""
        before = self.evaluate("document.body.dataset.ready")
        text = KEYS.get(key, key)
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.wait_for(f"document.body.dataset.ready != {json.dumps(before)}")

    def correct(self, text: str) -> None:
        """Replace the answer by another: E, the text, Enter."""
        self.press("e")
        self.evaluate("document.getElementById('editor').select()")
        self.call("Input.insertText", text=text)
        self.press("Enter")

    def text(self, identity: str) -> str:
        """The text of an element."""
        return self.evaluate(f"document.getElementById({json.dumps(identity)}).textContent")

    def screenshot(self, path: str | Path) -> None:
        """The page as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("Browser.close")
        except RuntimeError:
            self._process.terminate()
        self._process.wait(20)


def stand_in_reviews(browser: Browser, truth: Mapping[str, str], count: int) -> dict[str, int]:
    """Decide the next `count` items: Enter when the answer shown is the true one, else the true one typed."""
    decided = {"accepted": 0, "edited": 0}
    for _ in range(count):
        word = truth[browser.text("record")]
        if browser.text("answer") == word:
            browser.press("Enter")
            decided["accepted"] += 1
        else:
            browser.correct(word)
            decided["edited"] += 1
        if browser.evaluate("!document.getElementById('error').hidden"):
            raise RuntimeError(browser.text("error"))
    return decided


def draw_word(rng: random.Random) -> tuple[Image.Image, str]:
    """A word in dark ink on light, noisy paper, somewhere, a little turned; Pillow's own font."""
    word = rng.choice(WORDS)
    paper, ink = (tuple(rng.randint(low, low + 40) for _ in range(3)) for low in (210, 10))
    font = ImageFont.load_default(size=rng.randint(22, 32))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(word))
    width, height = right - left, bottom - top
    mask = Image.new("L", (SIDE, SIDE))
    room = [max(4, side - 4) for side in (SIDE - width, SIDE - height)]
    spot = [rng.randint(4, space) for space in room]
    ImageDraw.Draw(mask).text((spot[0] - left, spot[1] - top), word, font=font, fill=255)
    center = (spot[0] + width / 2, spot[1] + height / 2)
    mask = mask.rotate(rng.uniform(-7, 7), Image.Resampling.BICUBIC, center=center)
    noise = Image.frombytes("RGB", (SIDE, SIDE), rng.randbytes(3 * SIDE * SIDE))
    image = Image.blend(Image.new("RGB", (SIDE, SIDE), paper), noise, rng.uniform(0.02, 0.2))
    image.paste(ink, mask=mask)
    return image, word


def draw_records(folder: Path, counts: Mapping[str, int], seed: int) -> dict[str, str]:
    """Write `folder/NAME.jsonl` of each count, `unlabelled` without answers; id -> word of every picture."""
    (folder / "images").mkdir(parents=True)
    truth: dict[str, str] = {}
    for name, count in counts.items():
        records = []
        for number in range(count):
            image, word = draw_word(random.Random(f"{seed}/{name}/{number}"))
            identity = f"{name}-{number:05d}"
            image.save(folder / f"images/{identity}.png")
            truth[identity] = word
            known = name != "unlabelled"
            records.append({
                "id": identity, "images": [f"images/{identity}.png"], "question": QUESTION,
                "answers": [word] if known else [], "answerable": known, "question_type": "extractive",
                "source": "words", "split": name, "meta": {} if known else {"label": {"by": "nobody"}},
            })  # fmt: skip
        write_records(records, folder / f"{name}.jsonl")
    return truth


def call(*command: object) -> None:
    """Run one of the project's commands."""
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)


def train(args: RoundTripArguments, files: list[Path], output: Path) -> None:
    """Fine-tune the base on record files, in the `short` style."""
    call(
        "train_sft.py", "--model_name_or_path", args.base, "--train_files", *files, "--output_dir", output,
        "--freeze", "vision", "--cache_vision_features", output.parent / "features", "--seed", args.seed,
        "--answer_style", "short", "--max_steps", args.steps, "--save_strategy", "no",
        "--per_device_train_batch_size", args.batch_size, "--learning_rate", args.learning_rate,
        "--lr_scheduler_type", "cosine", "--warmup_steps", 0.05, "--weight_decay", 0.05, "--adam_beta2", 0.98,
    )  # fmt: skip


def predict(model: Path, records: Path, output: Path) -> list[dict[str, Any]]:
    """The model's answers."""
    call("predict.py", "--model_name_or_path", model, "--records", records, "--output_file", output,
         "--batch_size", 64, "--cache_vision_features", model.parent / "features")  # fmt: skip
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def accuracy(predictions: list[dict[str, Any]]) -> dict[str, Any]:
    """How many are right, by the rule of `evaluate.py`."""
    right = sum(map(judge, predictions))
    return {"count": len(predictions), "right": right, "accuracy": right / len(predictions)}


def review(args: RoundTripArguments, command: list[object], truth: dict[str, str]) -> dict[str, int]:
    """Start the page as a user does, work it, and end it with Ctrl-C."""
    server = subprocess.Popen(
        [sys.executable, *map(str, command), "--port", "0", "--reviewer", "stand-in"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        first = server.stdout.readline()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(Path(profile))
            try:
                browser.open(first.split()[-1])
                half = min(args.review, args.unlabelled) // 2
                decided = stand_in_reviews(browser, truth, half)
                browser.call("Page.reload")  # a reload goes on where it was
                browser.wait_for("Number(document.body?.dataset.ready) > 0")
                if args.screenshot:
                    browser.screenshot(args.screenshot)
                rest = stand_in_reviews(browser, truth, min(args.review, args.unlabelled) - half)
            finally:
                browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    return {name: decided[name] + rest[name] for name in decided}


def judge_labels(folder: Path, truth: dict[str, str]) -> dict[str, Any]:
    """How many labels an export holds, from whom, and how many are true."""
    rows = [
        json.loads(line) for line in (folder / "unlabelled.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    right = sum(row["answers"] == [truth[row["id"]]] for row in rows)
    people = sum(row["meta"]["label"]["by"] == "person" for row in rows)
    return {"count": len(rows), "right": right, "by_person": people, "by_model": len(rows) - people}


def main() -> None:
    """The round trip, and its control without a review."""
    (args,) = parse_arguments(RoundTripArguments, description=__doc__)
    work = (ROOT / args.work_dir).resolve()
    shutil.rmtree(work, ignore_errors=True)
    counts = {"labelled": args.labelled, "unlabelled": args.unlabelled, "test": args.test}
    truth = draw_records(work / "data", counts, args.seed)
    labelled, unlabelled, test_file = (work / f"data/{name}.jsonl" for name in counts)

    train(args, [labelled], work / "before")
    before = accuracy(predict(work / "before", test_file, work / "before.jsonl"))
    readings = predict(work / "before", unlabelled, work / "readings.jsonl")
    read_right = sum(line["pred"] == truth[line["id"]] for line in readings)

    command = [
        "prepare_data.py",
        "review",
        unlabelled,
        "--predictions",
        work / "readings.jsonl",
        "--output_dir",
    ]
    export = ["--export", "--accept_above", args.accept_above]
    decided = review(args, [*command, work / "reviewed"], truth)
    result: dict[str, Any] = {
        "settings": asdict(args),
        "readings": {"count": len(readings), "right": read_right},
        "reviewed": decided,
        "labelled only": {"records": args.labelled, "pseudo_labels": None, "test": before},
    }
    for name, folder in (("and confident readings", "unseen"), ("and reviewed readings", "reviewed")):
        call(*command, work / folder, *export)
        train(args, [labelled, work / folder / "unlabelled.jsonl"], work / f"after_{folder}")
        pseudo = judge_labels(work / folder, truth)
        after = accuracy(predict(work / f"after_{folder}", test_file, work / f"after_{folder}.jsonl"))
        result[name] = {"records": args.labelled + pseudo["count"], "pseudo_labels": pseudo, "test": after}
    write_json(OUTPUT / "pseudo_label_round_trip.json", result)

    print(f"{decided['accepted']} readings accepted, {decided['edited']} corrected in the page")
    print("| trained on | records | pseudo-labels right | test accuracy |\n|---|---|---|---|")
    for name in ("labelled only", "and confident readings", "and reviewed readings"):
        row, pseudo, test = result[name], result[name]["pseudo_labels"], result[name]["test"]
        labels_right = f"{pseudo['right']} of {pseudo['count']}" if pseudo else "-"
        tested = f"{test['accuracy']:.1%} ({test['right']} of {test['count']})"
        print(f"| {name} | {row['records']} | {labels_right} | {tested} |")


if __name__ == "__main__":
    run(main)
