"""Till receipts: narrow, monospaced more often than not, articles, prices, sums, small print."""

import random

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask, Canvas, Page, dark_ink
from vqa.synthesis.document_entries import RECEIPT_END, RECEIPT_FACTS, RECEIPT_TOP, Entry
from vqa.synthesis.document_questions import ask_for, found
from vqa.synthesis.fonts import Face

ARTICLES = (
    "Espresso;Green Tea;Orange Juice;Croissant;Bagel;Tomato Soup;Caesar Salad;Cheese Toast;"
    "Apple Pie;Chocolate Cake;Whole Milk;Brown Bread;Olive Oil;Basmati Rice;Bananas;Oat Flakes;"
    "Mineral Water;Toothpaste;Hand Soap;AA Batteries;Notebook A5;Ball Pen;Light Bulb;"
    "Paper Towels;Cough Syrup;Vitamin C;Garden Gloves;Wood Screws;Honey;Black Pepper"
).split(";")
CURRENCIES = ("$", "$", "£", "€", "", "EUR", "USD")


_SUMS = {
    "subtotal": ("subtotal", ("Subtotal", "SUBTOTAL", "Sub-total")),
    "tax": ("tax amount", ("Tax", "VAT", "Sales Tax")),
    "tip": ("tip", ("Tip", "Gratuity")),
    "discount": ("discount", ("Discount", "Coupon")),
    "total": ("total amount", ("TOTAL", "Total", "Total due", "AMOUNT DUE")),
}


def draw_receipt(rng: random.Random, face: Face, handwriting: tuple[str, ...]) -> Page:
    """A receipt with two to eight articles."""
    size, width = rng.randint(17, 20), rng.randint(400, 480)
    step = round(size * rng.uniform(1.45, 1.75))
    top, facts, end = (_some(rng, entries) for entries in (RECEIPT_TOP, RECEIPT_FACTS, RECEIPT_END))
    articles = rng.sample(ARTICLES, rng.randint(2, 8))
    sums = [
        key for key in _SUMS if key == "total" or rng.random() < (0.7 if key in ("subtotal", "tax") else 0.3)
    ]
    lines = 8 + len(top) + len(facts) + len(end) + len(articles) + len(sums)
    paper = rng.choice([(255, 255, 255), (253, 252, 248), (248, 248, 244)])
    canvas = Canvas.blank((width, 60 + lines * step), face, paper, dark_ink(rng))
    shop = values.firm(rng, "receipt")
    page = Page(canvas.image, "receipt", f"A receipt of {shop} with {len(articles)} articles.")
    y = 56.0
    ask = ask_for("shop", "name of the shop", "receipt", ("Which shop is this receipt from?",))
    if rng.random() < 0.75:
        box = canvas.text(
            width / 2, y, shop, canvas.fit(shop, 30, width - 60, True), bold=True, align="center"
        )
        page.fields.append(found(ask, shop, [box], "The shop's name stands at the head of the receipt."))
    else:
        page.absent.append((ask, "The receipt does not name the shop."))
        page.caption = f"A receipt with {len(articles)} articles."
    for entry in top:
        y += step
        value, label = entry.make(rng), rng.choice(entry.labels)
        small = canvas.fit(label + value, size - 2, width - 50)
        start = (width - canvas.width(label + value, small)) / 2
        if label:
            canvas.text(start, y, label, small)
        box = canvas.text(start + canvas.width(label, small), y, value, small)
        page.fields.append(
            found(entry.ask("receipt"), value, [box], "It stands below the head of the receipt.")
        )
    y += step * 1.4
    y = _rows(rng, canvas, page, facts, y, step, size)
    _separator(rng, canvas, y - step * 0.4)
    y = _articles(rng, canvas, page, articles, sums, y + step * 0.7, step, size)
    _separator(rng, canvas, y - step * 0.4)
    y = _rows(rng, canvas, page, end, y + step * 0.7, step, size)
    canvas.text(
        width / 2,
        y + step * 0.6,
        rng.choice(["Thank you!", "Please come again", "* * *"]),
        size,
        align="center",
    )
    for entry in (*RECEIPT_TOP, *RECEIPT_FACTS, *RECEIPT_END):
        if entry not in (*top, *facts, *end):
            page.absent.append((entry.ask("receipt"), f"The receipt does not show the {entry.noun}."))
    # The strip is torn off below the last line.
    page.image = page.image.crop((0, 0, width, min(round(y + step * 2), page.image.height)))
    return page


def _some(rng: random.Random, entries: tuple[Entry, ...]) -> list[Entry]:
    return [entry for entry in entries if rng.random() < 0.6]


def _separator(rng: random.Random, canvas: Canvas, y: float) -> None:
    for x in range(26, canvas.image.width - 26, 9):
        canvas.rule(x, y, x + 5, y, canvas.ink)


def _rows(
    rng: random.Random, canvas: Canvas, page: Page, entries: list[Entry], y: float, step: int, size: int
) -> float:
    """`label: value` or `label ....... value`, one a line."""
    spread = rng.random() < 0.5
    for entry in entries:
        label, value = rng.choice(entry.labels), entry.make(rng)
        words = canvas.text(26, y, label if spread else f"{label}:", size)
        if spread:
            box = canvas.text(canvas.image.width - 26, y, value, size, align="right")
        else:
            box = canvas.text(words[2] + 12, y, value, size)
        step_text = f'The line "{label}" is found.', "What stands beside it is read."
        page.fields.append(found(entry.ask("receipt"), value, [box], *step_text))
        y += step
    return y


def _price_ask(article: str) -> Ask:
    wordings = (
        f"How much is the {article}?",
        f"What is the price of the {article}?",
        f"What does the {article} cost?",
        f"Which amount is printed beside {article}?",
        f"Give the price of {article}.",
        f"What was charged for the {article}?",
        f"How much did they pay for the {article}?",
    )
    return Ask(f"price/{article}", wordings, f"price of {article}")


def _articles(
    rng: random.Random,
    canvas: Canvas,
    page: Page,
    articles: list[str],
    sums: list[str],
    y: float,
    step: int,
    size: int,
) -> float:
    currency, right = rng.choice(CURRENCIES), canvas.image.width - 26
    total = 0
    for article in articles:
        count, cents = rng.choice([1, 1, 1, 2, 3]), rng.randint(60, 2400)
        total += count * cents
        words = f"{count} x {article}" if count > 1 else article
        value = values.money(count * cents, currency)
        room = right - 26 - canvas.width(value, size) - 12
        canvas.text(26, y, words, canvas.fit(words, size, room))
        box = canvas.text(right, y, value, size, align="right")
        page.fields.append(
            found(
                _price_ask(article),
                value,
                [box],
                f'The line "{words}" is found.',
                "Its amount stands at the right.",
            )
        )
        y += step
    for article in rng.sample([name for name in ARTICLES if name not in articles], 4):
        page.absent.append((_price_ask(article), f"There is no {article} among the articles."))
    tax, tip, discount = (round(total * share) for share in (0.08, 0.1, 0.05))
    due = total + tax * ("tax" in sums) + tip * ("tip" in sums) - discount * ("discount" in sums)
    amounts = {"subtotal": total, "tax": tax, "tip": tip, "discount": discount, "total": due}
    for key, (noun, labels) in _SUMS.items():
        ask = ask_for(key, noun, "receipt", ("How much is the " + noun + "?",))
        if key not in sums:
            page.absent.append((ask, f"The receipt has no line for the {noun}."))
            continue
        label, value = rng.choice(labels), values.money(amounts[key], currency)
        bold = key == "total"
        canvas.text(26, y + 6, label, size, bold=bold)
        box = canvas.text(right, y + 6, value, size + 2 * bold, bold=bold, align="right")
        page.fields.append(
            found(ask, value, [box], f'The line "{label}" is found.', "Its amount stands at the right.")
        )
        y += step
    return y + 8
