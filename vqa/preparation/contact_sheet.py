"""A contact sheet: sampled images in a grid, each with its question, answer and evidence boxes."""

import random
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from vqa.errors import UserError
from vqa.files import atomic_write
from vqa.images import ImageProblem, open_image
from vqa.record_checks import Record

COLUMNS = 4
# Of a cell, in pixels.
CELL_WIDTH, IMAGE_HEIGHT, PADDING, LINE_HEIGHT = 380, 300, 12, 20
FONT_SIZE = 15
# Of heading, question and answer.
MAX_LINES = (1, 3, 3)
PAPER, FRAME, INK, FAINT, ANSWER = "#f6f6f6", "#c8c8c8", "#1a1a1a", "#6a6a6a", "#00539c"
BOX, BOX_EDGE = "#e00030", "#ffffff"

Font = ImageFont.FreeTypeFont


def sample(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """`count` records in their order: splits and types in turn, images not shown yet before others."""
    generator = random.Random(seed)
    order = list(range(len(records)))
    generator.shuffle(order)
    waiting: dict[tuple[str, str], list[int]] = {}
    for index in order:
        waiting.setdefault((records[index]["split"], records[index]["question_type"]), []).append(index)
    queues = [waiting[key] for key in sorted(waiting)]
    generator.shuffle(queues)
    chosen: list[int] = []
    seen: set[str] = set()
    while queues and len(chosen) < count:
        for queue in queues:
            fresh = (n for n, index in enumerate(queue) if not seen.intersection(records[index]["images"]))
            index = queue.pop(next(fresh, 0))
            seen.update(records[index]["images"])
            chosen.append(index)
        queues = [queue for queue in queues if queue]
    return [records[index] for index in sorted(chosen[:count])]


def draw_contact_sheet(
    records: Sequence[Record], path: Path, count: int, seed: int, max_pixels: int, fonts: tuple[Font, Font]
) -> None:
    """Draw `count` sampled records into a PNG; `fonts` are those of `load_fonts`.

    Raises:
        UserError: an image cannot be read.
    """
    chosen = sample(records, count, seed)
    regular, bold = fonts
    columns = min(COLUMNS, len(chosen))
    cells = [(_picture(record, max_pixels), _lines(record, regular, bold)) for record in chosen]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    # As high as the highest picture of a row: lines of text would stand in a void otherwise.
    pictures = [max(picture.height if picture else 0 for picture, _ in row) for row in rows]
    heights = [
        picture + 3 * PADDING + LINE_HEIGHT * max(len(texts) for _, texts in row)
        for picture, row in zip(pictures, rows, strict=True)
    ]
    sheet = Image.new("RGB", (columns * CELL_WIDTH, sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, image_height, height in zip(rows, pictures, heights, strict=True):
        for column, (picture, texts) in enumerate(row):
            left = column * CELL_WIDTH
            draw.rectangle([left, top, left + CELL_WIDTH - 1, top + height - 1], outline=FRAME)
            if picture is not None:
                x = left + (CELL_WIDTH - picture.width) // 2
                y = top + PADDING + (image_height - picture.height) // 2
                draw.rectangle([x - 1, y - 1, x + picture.width, y + picture.height], outline=FRAME)
                sheet.paste(picture, (x, y))
            y = top + 2 * PADDING + image_height
            for line, face, color in texts:
                draw.text((left + PADDING, y), line, font=face, fill=color)
                y += LINE_HEIGHT
        top += height
    with atomic_write(path, "wb") as file:
        sheet.save(file, "PNG")


def _picture(record: Record, max_pixels: int) -> Image.Image | None:
    """The image that the first box is on, fitted into the cell, with the boxes drawn; None without images."""
    if not record["images"]:
        return None
    owners = record["box_images"] or [0] * len(record["boxes"])
    shown = owners[0] if owners else 0
    try:
        image = open_image(record["images"][shown], max_pixels)
    except ImageProblem as problem:
        raise UserError(f"{record['images'][shown]}: {problem}") from problem
    scale = min((CELL_WIDTH - 2 * PADDING) / image.width, IMAGE_HEIGHT / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(fitted)
    for box, owner in zip(record["boxes"], owners, strict=True):
        if owner == shown:
            x0, y0, x1, y1 = (value * scale for value in box)
            # A white line around the red one keeps it visible on red; both lie outside of what they mark.
            draw.rectangle([x0 - 3, y0 - 3, x1 + 3, y1 + 3], outline=BOX_EDGE, width=1)
            draw.rectangle([x0 - 2, y0 - 2, x1 + 2, y1 + 2], outline=BOX, width=2)
    return fitted


def _lines(record: Record, regular: Font, bold: Font) -> list[tuple[str, Font, str]]:
    """What stands below a picture: text, font and colour of each line."""
    heading = f"{record['split']} · {record['question_type']}"
    if len(record["images"]) != 1:
        heading += f" · {len(record['images']) or 'no'} images"
    answer = " | ".join(record["answers"][:3]) if record["answerable"] else "(unanswerable)"
    if len(record["answers"]) > 3:
        answer += f" | +{len(record['answers']) - 3}"
    parts = ((heading, regular, FAINT), (record["question"], regular, INK), (answer, bold, ANSWER))
    return [
        (line, font, color)
        for (text, font, color), most in zip(parts, MAX_LINES, strict=True)
        for line in wrap(text, font, CELL_WIDTH - 2 * PADDING, most)
    ]


def wrap(text: str, font: Font, width: int, most: int) -> list[str]:
    """Lines no wider than `width` pixels, `most` at the most; an ellipsis where something is left out.

    Breaks at spaces, and inside of a word that is wider than a line.
    """
    lines, line = [], ""
    for word in text.split():
        joined = f"{line} {word}".strip()
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        line = ""
        for letter in word:
            if line and font.getlength(line + letter) > width:
                lines.append(line)
                line = ""
            line += letter
        if len(lines) > most:
            break
    lines.append(line)
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last.rstrip()}…"]
    return lines


def load_fonts(path: str | None) -> tuple[Font, Font]:
    """A font in its regular and bold cut, or `path` for both; DejaVu Sans has every Vietnamese letter.

    Basic layout, which is the same on every machine. Raises UserError.
    """
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = (path, path) if path else (dejavu / "DejaVuSans.ttf", dejavu / "DejaVuSans-Bold.ttf")
    try:
        regular, bold = (
            ImageFont.truetype(str(file), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC) for file in files
        )
    except OSError as error:
        raise UserError(f"--font {path}: not a TrueType font that can be read") from error
    return regular, bold
