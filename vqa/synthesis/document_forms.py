"""Filled forms: titles, labels in four layouts, typed or written values, ticked boxes, empty lines."""

import random

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask, Canvas, Page, dark_ink
from vqa.synthesis.document_entries import Entry
from vqa.synthesis.document_form_entries import FORM_ENTRIES
from vqa.synthesis.document_questions import found
from vqa.synthesis.fonts import Face, can_write
from vqa.synthesis.paper import Box

TITLES = (
    "Registration Form;Membership Application;Patient Intake Form;Travel Request;Job Application;"
    "Loan Application;Visitor Record;Enrolment Form;Insurance Claim;Permit Application"
).split(";")
_PAPERS = ((255, 255, 255), (255, 255, 255), (252, 250, 242), (246, 248, 252), (250, 244, 238))


def draw_form(rng: random.Random, face: Face, handwriting: tuple[str, ...]) -> Page:
    """A form with 6 to 13 of 26 entries; up to two of them are left empty."""
    columns = rng.choice([1, 1, 2])
    # A narrow column has no room for a row of four boxes.
    offered = [entry for entry in FORM_ENTRIES if columns == 1 or len(entry.options) < 4]
    chosen = rng.sample(offered, rng.randint(6, 9) if columns == 1 else rng.randint(8, 13))
    empty = set(rng.sample(range(len(chosen)), rng.choice([0, 0, 1, 2])))
    size, width = rng.randint(16, 21), rng.randint(680, 860)
    layout = rng.choice(["above", "boxed"] if columns == 2 else ["beside", "above", "boxed", "dotted"])
    step = round(size * {"beside": 2.3, "dotted": 2.4, "above": 3.6, "boxed": 3.4}[layout])
    rows = -(-len(chosen) // columns)
    canvas = Canvas.blank((width, 150 + rows * step + 90), face, rng.choice(_PAPERS), dark_ink(rng))
    owner, title = values.firm(rng, "form"), rng.choice(TITLES)
    _head(rng, canvas, owner, title)
    page = Page(canvas.image, "form", f"A filled form, {title}, of {owner}.")
    pen = rng.choice(handwriting) if handwriting and rng.random() < 0.4 else None
    blue = rng.choice([(20, 40, 140), (25, 25, 30), (40, 60, 120)])
    cell = (width - 2 * 46) / columns
    for number, entry in enumerate(chosen):
        x, y = 46 + (number % columns) * cell, 165 + (number // columns) * step
        label = rng.choice(entry.labels)
        ask = entry.ask("form")
        left, line = _place(canvas, layout, label, x, y, cell - 18, size, step)
        room = x + cell - 22 - left
        if number in empty:
            page.absent.append((ask, f'The line for "{label}" is left empty.'))
            if entry.options:
                _tick(canvas, entry.options, -1, left, line, size, room)
            continue
        if entry.options:
            ticked = rng.randrange(len(entry.options))
            box = _tick(canvas, entry.options, ticked, left, line, size, room)
            value, step_text = entry.options[ticked], f'Beside "{label}" one box is ticked.'
        else:
            value = entry.make(rng)
            font = pen if pen and can_write(pen, value) else None
            larger = round(size * 1.25) if font else size
            fitted = canvas.fit(value, larger, room, font=font)
            box = canvas.text(left, line, value, fitted, font=font, fill=blue if font else None)
            step_text = f'The value that belongs to the label "{label}" is read.'
        page.fields.append(found(ask, value, [box], f'The form has an entry "{label}".', step_text))
    _ask_for_the_rest(page, chosen)
    foot = round(canvas.image.height - 34)
    canvas.text(46, foot, rng.choice(["Please write clearly.", "For office use only", "Page 1 of 1", ""]), 13)
    return page


def _ask_for_the_rest(page: Page, chosen: list[Entry]) -> None:
    for entry in FORM_ENTRIES:
        if entry not in chosen:
            ask: Ask = entry.ask("form")
            page.absent.append((ask, f"The form has no entry for the {entry.noun}."))


def _head(rng: random.Random, canvas: Canvas, owner: str, title: str) -> None:
    width = canvas.image.width
    if rng.random() < 0.4:
        shade = rng.choice([(225, 230, 240), (235, 235, 235), (232, 240, 230)])
        canvas.frame([30, 26, width - 30, 118], fill=shade)
    centred = rng.random() < 0.5
    x, align = (width / 2, "center") if centred else (46, "left")
    canvas.text(x, 62, owner, rng.randint(18, 22), align=align)
    canvas.text(
        x, 102, title, canvas.fit(title, rng.randint(26, 34), width - 92, True), bold=True, align=align
    )


def _place(
    canvas: Canvas, layout: str, label: str, x: float, y: float, width: float, size: int, step: int
) -> tuple[float, float]:
    """Print the label with the line or box that belongs to it; return where the value starts."""
    gray = (130, 130, 135)
    if layout in ("beside", "dotted"):
        colon = ":" if layout == "beside" else ""
        start = x + max(0.34 * width, canvas.width(label, size) + 24)
        canvas.text(x, y, label + colon, size, bold=layout == "beside")
        if layout == "dotted":
            dots = "." * int((x + width - start) / max(1, canvas.width(".", size)))
            canvas.text(start, y + 7, dots, size, fill=gray)
        return start + 4, y
    small = round(size * 0.78)
    if layout == "above":
        canvas.text(x, y, label, small, bold=True)
        canvas.rule(x, y + size * 1.7 + 6, x + width, y + size * 1.7 + 6, gray)
        return x + 4, y + size * 1.7
    canvas.frame([x - 6, y - small - 6, x + width, y - small - 6 + step - 8], outline=gray)
    canvas.text(x, y, label, small, fill=(70, 70, 90))
    return x + 4, y + size * 1.55


def _tick(
    canvas: Canvas, options: tuple[str, ...], ticked: int, x: float, y: float, size: int, room: float
) -> Box:
    """Boxes with their options in a row; returns the box around the ticked one and its word."""

    def needed(small: int) -> float:
        return sum(canvas.width(option, small) + small * 2.2 for option in options)

    while size > 10 and needed(size) > room:
        size -= 1
    result = (0, 0, 1, 1)
    for number, option in enumerate(options):
        square = [round(x), round(y - size * 0.8), round(x + size * 0.8), round(y)]
        canvas.frame(square, outline=canvas.ink)
        word = canvas.text(x + size * 1.2, y, option, size)
        if number == ticked:
            canvas.rule(square[0] + 2, square[1] + 2, square[2] - 2, square[3] - 2, canvas.ink, 2)
            canvas.rule(square[0] + 2, square[3] - 2, square[2] - 2, square[1] + 2, canvas.ink, 2)
            result = (square[0], min(square[1], word[1]), word[2], max(square[3] + 1, word[3]))
        x += canvas.width(option, size) + size * 2.2
    return result
