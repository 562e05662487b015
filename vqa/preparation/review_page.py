"""What the page of `review` shows and does, as JSON values: items, images, decisions, undo."""

import io
import threading
import unicodedata
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2

from vqa.answers import UNANSWERABLE
from vqa.images import DEFAULT_MAX_PIXELS, ImageProblem, open_image
from vqa.preparation.decisions_log import DECISIONS, Decision, DecisionsLog
from vqa.preparation.review_items import Item, label_problems, labelled

TEMPLATE = "review.html.j2"
MAX_SHOWN_PIXELS = 25_000_000  # of an image as the page gets it


class Refused(Exception):
    """A request that is not served: its HTTP status, and why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Review:
    """What the page asks for, in JSON values.

    Args:
        title: what is reviewed, in a word.
        items: in the order of the page.
        log: opened for writing.
        model: name of the model that predicted, for the page.
        reviewer: who sits in front of it.
        max_pixels: images of more are not decoded.
    """

    def __init__(
        self,
        title: str,
        items: list[Item],
        log: DecisionsLog,
        model: str | None,
        reviewer: str,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.title, self.items, self.log = title, items, log
        self.model, self.reviewer = model, reviewer
        self.max_pixels = max_pixels
        self._numbers = {item.record["id"]: number for number, item in enumerate(items)}
        self._writing = threading.Lock()
        self._decoding = threading.BoundedSemaphore(2)  # two decoded images at a time

    def decided(self) -> int:
        """How many items have a decision."""
        return sum(item.record["id"] in self.log.current for item in self.items)

    def summary(self) -> list[list[Any]]:
        """Type, confidence and decision of every item."""
        return [
            [item.record["question_type"], item.prediction["confidence"], self._decision(item)["decision"]]
            for item in self.items
        ]

    def item(self, number: int) -> dict[str, Any]:
        """All that the page shows of one item."""
        item = self._at(number)
        record, prediction = item.record, item.prediction
        evidence = [
            {"image": image, "box": box, "kind": "evidence"}
            for box, image in zip(record["boxes"], record["box_images"], strict=True)
        ]
        predicted = [{"image": 0, "box": box, "kind": "predicted"} for box in prediction["boxes"]]
        return {
            "id": record["id"],
            "type": record["question_type"],
            "question": record["question"],
            "text": item.text,
            "confidence": prediction["confidence"],
            "candidates": record["answer_candidates"] or [],
            "caption": prediction["caption"],
            "reasoning": prediction["reasoning"],
            "sizes": record["image_sizes"],
            "boxes": evidence + (predicted if record["images"] else []),
            **self._decision(item),
        }

    def image(self, number: int, which: int) -> bytes:
        """An image of one item as PNG, at most `MAX_SHOWN_PIXELS`."""
        images = self._at(number).record["images"]
        if which >= len(images):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such image")
        with self._decoding:
            try:
                image = open_image(images[which], self.max_pixels)
            except ImageProblem as problem:
                raise Refused(HTTPStatus.NOT_FOUND, f"the image {problem}") from problem
            shrink = (MAX_SHOWN_PIXELS / (image.width * image.height)) ** 0.5
            if shrink < 1:
                image.thumbnail((max(1, int(image.width * shrink)), max(1, int(image.height * shrink))))
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def decide(self, number: Any, kind: Any, text: Any) -> dict[str, Any]:
        """Save a decision; an edit to the predicted text is an acceptance."""
        item = self._at(number)
        if kind not in DECISIONS or not isinstance(text, str):
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a decision and a text")
        if kind == "edited":
            text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
            text = "" if text.casefold() == UNANSWERABLE else text
            kind = "accepted" if text == item.text else "edited"
        else:
            text = item.text if kind == "accepted" else ""
        decision = Decision(item.record["id"], kind, text, self.reviewer)
        record = labelled(item, decision, self.model)
        problems = label_problems(record) if record else []
        if problems:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(problems))
        with self._writing:
            self._saving(lambda: self.log.add(decision))
        return self._decision(item)

    def undo(self) -> dict[str, Any]:
        """Take the last decision back; says of which item, and what it goes back to."""
        with self._writing:
            undone = self._saving(self.log.undo)
        if undone is None:
            raise Refused(HTTPStatus.CONFLICT, "there is nothing to undo")
        number = self._numbers.get(undone.id)
        if number is None:
            raise Refused(HTTPStatus.CONFLICT, f"undone; record {undone.id!r} is no longer there")
        return {"number": number, **self._decision(self.items[number])}

    def _saving(self, work: Callable[[], Decision | None]) -> Decision | None:
        try:
            return work()
        except OSError as error:
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, f"not saved: {error}") from error

    def _at(self, number: Any) -> Item:
        if type(number) is not int or not 0 <= number < len(self.items):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such item")
        return self.items[number]

    def _decision(self, item: Item) -> dict[str, Any]:
        decision = self.log.current.get(item.record["id"])
        if decision is None:
            return {"decision": None, "decided": None}
        return {"decision": decision.decision, "decided": decision.text}


def render_page(review: Review, token: str, nonce: str) -> str:
    """The page's HTML, every value escaped; its one script and style carry the nonce."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    config = {"token": token, "model": review.model, "reviewer": review.reviewer, "title": review.title}
    return environment.get_template(TEMPLATE).render(config=config, nonce=nonce)
