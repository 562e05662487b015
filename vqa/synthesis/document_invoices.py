"""Invoices: seller and buyer, numbers and dates in a block, a table of positions, sums, where to pay."""

import random

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask, Canvas, Page, dark_ink
from vqa.synthesis.document_entries import INVOICE_FOOT, Entry, invoice_facts
from vqa.synthesis.document_questions import ask_for, found
from vqa.synthesis.fonts import Face

GOODS = (
    "Office chair;Desk lamp;Laser printer;Toner cartridge;Network cable;Steel bracket;"
    "Safety helmet;Work gloves;Consulting day;Site survey;Annual licence;Support contract;"
    "Copy paper A4;Shipping crate;Filter unit;LED panel;Water pump;Drill set;Wall paint 10 l;"
    "Oak shelf;Glass pane;Power adapter;Keyboard;Monitor 24 in;Training course"
).split(";")
_COLUMNS = {
    "quantity": ("Qty", "Quantity", "Units"),
    "unit price": ("Unit price", "Price", "Rate"),
    "amount": ("Amount", "Line total", "Sum"),
}
_SUMS = {
    "subtotal": ("subtotal", ("Subtotal", "Net amount")),
    "shipping": ("shipping cost", ("Shipping", "Freight")),
    "vat": ("VAT amount", ("VAT", "VAT 20%", "Sales tax")),
    "total": ("total amount due", ("Total due", "TOTAL", "Balance due")),
}


def draw_invoice(rng: random.Random, face: Face, handwriting: tuple[str, ...]) -> Page:
    """An invoice with two to five positions."""
    size, width = rng.randint(15, 18), rng.randint(740, 860)
    step = round(size * 1.75)
    goods = rng.sample(GOODS, rng.randint(2, 5))
    entries = invoice_facts(rng.randrange(5))
    facts, foot = rng.sample(entries, rng.randint(3, 6)), rng.sample(INVOICE_FOOT, rng.randint(1, 4))
    sums = [key for key in _SUMS if key == "total" or rng.random() < 0.6]
    height = 250 + (max(len(facts), 5) + len(goods) + len(sums) + len(foot) + 4) * step
    canvas = Canvas.blank(
        (width, height), face, rng.choice([(255, 255, 255), (253, 252, 247)]), dark_ink(rng)
    )
    accent = rng.choice([(30, 60, 120), (120, 30, 40), (20, 90, 70), (40, 40, 44)])
    page = Page(canvas.image, "invoice", f"An invoice over {len(goods)} positions.")
    y = _head(rng, canvas, page, accent, size)
    y = _parties(rng, canvas, page, facts, y, size, step)
    y = _positions(rng, canvas, page, goods, sums, y, size, step, accent)
    y += step
    canvas.rule(40, y - step * 0.8, width - 40, y - step * 0.8, accent)
    for entry in foot:
        _labelled(rng, canvas, page, entry, 40, y, size - 1, 12)
        y += step
    for entry in (*entries, *INVOICE_FOOT):
        if entry not in (*facts, *foot):
            page.absent.append((entry.ask("invoice"), f"The invoice does not show the {entry.noun}."))
    bottom = y + rng.randint(1, 6) * step
    page.image = page.image.crop((0, 0, width, min(round(bottom), height)))
    return page


def _head(rng: random.Random, canvas: Canvas, page: Page, accent: tuple[int, int, int], size: int) -> float:
    """The seller's name and the word INVOICE, on one side each."""
    width = canvas.image.width
    seller = values.firm(rng, "invoice")
    ask = ask_for("seller", "name of the seller", "invoice", ("Which company issued this invoice?",))
    left = rng.random() < 0.5
    word, (x, align), (other, opposite) = (
        rng.choice(["INVOICE", "Invoice", "Tax Invoice"]),
        (40, "left") if left else (width - 40, "right"),
        (width - 40, "right") if left else (40, "left"),
    )
    canvas.text(other, 84, word, 36, bold=True, fill=accent, align=opposite)
    if rng.random() < 0.7:
        box = canvas.text(x, 76, seller, canvas.fit(seller, 25, width * 0.5, True), bold=True, align=align)
        page.fields.append(found(ask, seller, [box], "The seller's name stands at the head of the invoice."))
    else:
        page.absent.append((ask, "The invoice does not name the seller."))
    return 150.0


def _parties(
    rng: random.Random, canvas: Canvas, page: Page, facts: list[Entry], y: float, size: int, step: int
) -> float:
    """The buyer's address at the left, numbers and dates at the right."""
    ask = ask_for(
        "buyer", "name of the customer", "invoice", ("Who is billed?", "Who is the invoice addressed to?")
    )
    address = ask_for("address", "address of the customer", "invoice", ("Where does the customer live?",))
    if rng.random() < 0.8:
        label = rng.choice(["Bill to", "Billed to", "Customer", "Invoice to"])
        canvas.text(40, y, f"{label}:", size, bold=True)
        buyer = values.name(rng)
        reason = f'The customer stands below "{label}".'
        page.fields.append(found(ask, buyer, [canvas.text(40, y + step, buyer, size)], reason))
        if rng.random() < 0.7:
            lines = [values.street(rng), f"{values.digits(rng, 5)} {values.city(rng)}"]
            boxes = [canvas.text(40, y + step * (2 + row), text, size) for row, text in enumerate(lines)]
            page.fields.append(
                found(address, " ".join(lines), boxes, reason, "The address are the lines after the name.")
            )
        else:
            page.absent.append((address, "No address stands below the customer's name."))
    else:
        page.absent.append((ask, "The invoice does not name a customer."))
        page.absent.append((address, "The invoice does not name a customer."))
    x = round(canvas.image.width * 0.5)
    labels = [rng.choice(entry.labels) for entry in facts]
    indent = max(canvas.width(f"{label}:", size, True) for label in labels) + 14
    for row, (entry, label) in enumerate(zip(facts, labels, strict=True)):
        _labelled(rng, canvas, page, entry, x, y + row * step, size, indent, label)
    return y + step * (max(len(facts), 4) + 0.8)


def _labelled(
    rng: random.Random,
    canvas: Canvas,
    page: Page,
    entry: Entry,
    x: float,
    y: float,
    size: int,
    indent: float,
    label: str | None = None,
) -> None:
    """`Label: value`; the value starts `indent` to the right, or that far after a label of its own."""
    given = label is not None
    label = label or rng.choice(entry.labels)
    words = canvas.text(x, y, f"{label}:", size, bold=True)
    value = entry.make(rng)
    start = x + indent if given else words[2] + indent
    fitted = canvas.fit(value, size, canvas.image.width - 36 - start)
    box = canvas.text(start, y, value, fitted)
    page.fields.append(
        found(
            entry.ask("invoice"), value, [box], f'The label "{label}" is found.', "What follows it is read."
        )
    )


def _cell_ask(column: str, good: str) -> Ask:
    wordings = (
        f"What is the {column} of the {good}?",
        f"Which {column} is printed for {good}?",
        f"Give the {column} of {good}.",
        f"What {column} does the invoice show for the {good}?",
        f"Read the {column} in the line of {good}.",
    )
    return Ask(f"{column}/{good}", wordings, f"{column} of {good}")


def _positions(
    rng: random.Random,
    canvas: Canvas,
    page: Page,
    goods: list[str],
    sums: list[str],
    y: float,
    size: int,
    step: int,
    accent: tuple[int, int, int],
) -> float:
    width, currency = canvas.image.width, rng.choice(["$", "€", "£", "EUR", ""])
    # Now and then a column is not there at all.
    columns = [column for column in _COLUMNS if column == "amount" or rng.random() < 0.85]
    stops = dict(
        zip(columns, [width - 52 - (len(columns) - 1 - n) * 140 for n in range(len(columns))], strict=True)
    )
    canvas.frame([40, y - step * 0.75, width - 40, y + step * 0.3], fill=accent)
    white = (255, 255, 255)
    canvas.text(50, y, rng.choice(["Description", "Item", "Article"]), size, bold=True, fill=white)
    for column in columns:
        canvas.text(
            stops[column], y, rng.choice(_COLUMNS[column]), size, bold=True, fill=white, align="right"
        )
    total, lined = 0, rng.random() < 0.6
    for good in goods:
        y += step
        count, cents = rng.randint(1, 40), rng.randint(250, 49000)
        total += count * cents
        canvas.text(50, y, good, size)
        cells = (str(count), values.money(cents, currency), values.money(count * cents, currency))
        for column, value in zip(_COLUMNS, cells, strict=True):
            ask = _cell_ask(column, good)
            if column not in columns:
                page.absent.append((ask, f"The table has no column for the {column}."))
                continue
            box = canvas.text(stops[column], y, value, canvas.fit(value, size, 128), align="right")
            reason = f"The line of {good} is found.", f"Its {column} is read."
            page.fields.append(found(ask, value, [box], *reason))
        if lined:
            canvas.rule(40, y + step * 0.33, width - 40, y + step * 0.33, (190, 190, 195))
    for good in rng.sample([name for name in GOODS if name not in goods], 3):
        page.absent.append((_cell_ask(rng.choice(list(_COLUMNS)), good), f"There is no line for {good}."))
    shipping = rng.randint(500, 9000)
    tax = round(total * 0.2)
    due = total + shipping * ("shipping" in sums) + tax * ("vat" in sums)
    amounts = {"subtotal": total, "shipping": shipping, "vat": tax, "total": due}
    y += step * 0.4
    for key, (noun, labels) in _SUMS.items():
        ask = ask_for(key, noun, "invoice", (f"How much is the {noun}?",))
        if key not in sums:
            page.absent.append((ask, f"The invoice has no line for the {noun}."))
            continue
        y += step
        label, value, bold = rng.choice(labels), values.money(amounts[key], currency), key == "total"
        canvas.text(width * 0.55, y, label, size, bold=bold)
        box = canvas.text(width - 52, y, value, size, bold=bold, align="right")
        page.fields.append(
            found(ask, value, [box], f'The line "{label}" is found.', "Its amount stands at the right.")
        )
    return y + step
