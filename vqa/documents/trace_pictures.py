"""A trace drawn on its page: words as they were read, passages, and the answer's boxes."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from vqa.documents.pages import OcrPage
from vqa.documents.traces import Record, Trace

_WORD, _ANSWER, _PAPER, _INK = (140, 170, 210), (200, 30, 30), (250, 250, 247), (30, 30, 30)
_TEXT_WIDTH = 460


def draw_trace(
    record: Record, trace: Trace, pages: Sequence[OcrPage], images: Sequence[Image.Image]
) -> Image.Image:
    """The page of the answer (the first where there is none) with its boxes; question and trace beside it.

    Args:
        images: of the record, as they are seen.
    """
    number = trace.box_images[0] if trace.box_images else 0
    page = images[number].convert("RGB")
    pen = ImageDraw.Draw(page)
    for word in pages[number].words:
        pen.rectangle(word.box, outline=_WORD)
    for box, owner in zip(trace.boxes, trace.box_images, strict=True):
        if owner == number:
            pen.rectangle(_widened(box), outline=_ANSWER, width=3)
    gold = record["answers"][0] if record["answers"] else None
    lines = [f"Question: {record['question']}", f"Answer: {trace.answer or 'unanswerable'}"]
    lines += [f"Gold: {gold}"] if gold is not None else []
    lines += [f"Outcome: {trace.outcome}", "", *trace.text.split("\n")]
    font = ImageFont.load_default(size=15)
    text = "\n".join(part for line in lines for part in _wrapped(line, font))
    height = max(page.height, int(ImageDraw.Draw(page).multiline_textbbox((0, 0), text, font)[3]) + 24)
    sheet = Image.new("RGB", (page.width + _TEXT_WIDTH, height), _PAPER)
    sheet.paste(page, (0, 0))
    ImageDraw.Draw(sheet).multiline_text((page.width + 12, 12), text, _INK, font)
    return sheet


def _widened(box: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0 - 3, y0 - 3, x1 + 3, y1 + 3


def _wrapped(line: str, font: ImageFont.FreeTypeFont) -> list[str]:
    rows = [""]
    for word in line.split(" "):
        longer = f"{rows[-1]} {word}".strip()
        if font.getlength(longer) > _TEXT_WIDTH - 24 and rows[-1]:
            rows.append(f"  {word}")
        else:
            rows[-1] = longer
    return rows
