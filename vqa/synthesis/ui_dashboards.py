"""Dashboards: tabs, cards with a figure and its change, a list of machines with their states, bars."""

import random

from vqa.synthesis.document_canvas import Ask, Canvas, Page
from vqa.synthesis.fonts import Face
from vqa.synthesis.ui_questions import add, ask
from vqa.synthesis.ui_widgets import Brush, draw_scheme

METRICS = (
    "Active users;New orders;Revenue;Open tickets;Page views;Conversion rate;Response time;"
    "Error rate;Sign-ups;Refunds;Sessions;Average basket;Uptime;Queue length"
).split(";")
MACHINES = "web-01;web-02;db-main;db-replica;cache-1;mail;queue;backup;proxy;search;build-3;auth".split(";")
STATES = ("Running", "Stopped", "Warning", "Updating")
VOLUMES = "Disk C;Disk D;Memory;CPU;Network;Swap;GPU;Archive".split(";")
_TABS = "Overview;Reports;Traffic;Billing;Alerts;Teams".split(";")
_COLORS = {
    "Running": (35, 165, 90),
    "Stopped": (150, 150, 155),
    "Warning": (215, 120, 10),
    "Updating": (50, 110, 220),
}


def draw_dashboard(rng: random.Random, face: Face) -> Page:
    """A dashboard with 3 or 4 cards, and a list of machines or bars or both."""
    size = rng.randint(15, 17)
    metrics = rng.sample(METRICS, rng.randint(3, 4))
    parts = rng.choice([("machines",), ("volumes",), ("machines", "volumes")])
    width = rng.randint(720, 860)
    step = round(size * 2.3)
    scheme = draw_scheme(rng)
    rows = rng.randint(3, 5)
    height = 300 + rows * step
    brush = Brush(Canvas.blank((width, height), face, scheme.back), scheme, size)
    page = Page(brush.canvas.image, "dashboard", f"A dashboard with {len(metrics)} figures.")
    _tabs(rng, brush, page, shown=rng.random() < 0.7)
    wide = (width - 40 - 14 * (len(metrics) - 1)) / len(metrics)
    for number, name in enumerate(metrics):
        _card(rng, brush, page, name, 20 + number * (wide + 14), wide)
    half = (width - 40 - 14) / 2 if len(parts) == 2 else width - 40
    for number, part in enumerate(parts):
        draw = _machines if part == "machines" else _volumes
        draw(rng, brush, page, 20 + number * (half + 14), 222, half, rows, step)
    for name in rng.sample([name for name in METRICS if name not in metrics], 4):
        for question in (_figure_ask(name), _change_ask(name), _rise_ask(name)):
            page.absent.append((question, f'There is no figure "{name}".'))
    return page


def _tabs(rng: random.Random, brush: Brush, page: Page, shown: bool) -> None:
    names, x = rng.sample(_TABS, rng.randint(3, 5)), 24.0
    question = ask("open tab", _OPEN_TAB, names)
    if not shown:
        brush.words(x, 40, rng.choice(["Dashboard", "Today", "Summary"]), brush.size + 4, bold=True)
        page.absent.append((question, "There are no tabs on the screen."))
        return
    opened = rng.choice(names)
    for name in names:
        box = brush.words(
            x, 40, name, bold=name == opened, fill=brush.scheme.accent if name == opened else None
        )
        if name == opened:
            brush.canvas.rule(box[0], 50, box[2], 50, brush.scheme.accent, 3)
            add(page, question, name, [box], "One of the tabs is underlined.")
        x = box[2] + 30
    brush.canvas.rule(0, 53, brush.canvas.image.width, 53, brush.scheme.line)


def _figure(rng: random.Random, name: str) -> str:
    if name in ("Conversion rate", "Error rate", "Uptime"):
        return f"{rng.randint(10, 999) / 10}%"
    if name == "Response time":
        return f"{rng.randint(12, 980)} ms"
    if name in ("Revenue", "Average basket"):
        return f"${rng.randint(20, 98000):,}"
    return f"{rng.randint(3, 99000):,}"


_OPEN_TAB = ("Which tab is selected?", "Which tab is open?", "Which of the tabs is underlined?")
_FIGURE = (
    "What is the current value of {name}?",
    "Which figure is shown for {name}?",
    "What does the card {name} say?",
    "What does the screen show for {name}?",
    "Read the figure of {name}.",
    "Give the number on the card {name}.",
)
_CHANGE = (
    "By how much did {name} change?",
    "What is the change of {name}?",
    "Which percentage stands below {name}?",
    "What is the percentage of change on the card {name}?",
)


def _figure_ask(name: str) -> Ask:
    return ask(f"value/{name}", [text.format(name=name) for text in _FIGURE])


def _change_ask(name: str) -> Ask:
    return ask(f"change/{name}", [text.format(name=name) for text in _CHANGE])


def _rise_ask(name: str) -> Ask:
    wordings = (f"Did {name} go up?", f"Has {name} risen?", f"Does the arrow of {name} point upwards?")
    return ask(f"rise/{name}", wordings, yes_no=True)


def _card(rng: random.Random, brush: Brush, page: Page, name: str, x: float, wide: float) -> None:
    """A figure under its name, and how it changed with an arrow."""
    scheme = brush.scheme
    brush.canvas.frame([x, 72, x + wide, 202], fill=scheme.panel, outline=scheme.line, radius=8)
    brush.words(x + 14, 98, name, brush.size - 1, muted=True, width=wide - 28)
    value = _figure(rng, name)
    box = brush.words(x + 14, 144, value, brush.size + 13, bold=True, width=wide - 28)
    add(page, _figure_ask(name), value, [box], f'The card "{name}" is found.', "Its large figure is read.")
    up = rng.random() < 0.5
    # Light texts stand on dark cards, where the same green and red would be hard to read.
    green, red = ((90, 215, 135), (255, 120, 110)) if scheme.text[0] > 128 else ((20, 135, 70), (205, 50, 45))
    color = green if up else red
    left, y = round(x + 16), 182
    points = (
        [(left, y), (left + 12, y), (left + 6, y - 11)]
        if up
        else [(left, y - 11), (left + 12, y - 11), (left + 6, y)]
    )
    brush.canvas.draw.polygon(points, fill=color)
    change = f"{rng.randint(1, 399) / 10}%"
    words = brush.words(x + 36, y, change, fill=color)
    add(
        page,
        _change_ask(name),
        change,
        [words],
        f'The card "{name}" is found.',
        "Below stands the change.",
    )
    arrow = (left, y - 11, left + 13, y + 1)
    reason = f"Its arrow points {'up' if up else 'down'}."
    add(page, _rise_ask(name), "yes" if up else "no", [arrow], f'The card "{name}" is found.', reason)


def _panel(brush: Brush, x: float, y: float, wide: float, rows: int, step: int, title: str) -> float:
    brush.canvas.frame(
        [x, y, x + wide, y + 44 + rows * step], fill=brush.scheme.panel, outline=brush.scheme.line, radius=8
    )
    brush.words(x + 16, y + 30, title, brush.size + 2, bold=True)
    return y + 44


def _machine_ask(name: str) -> Ask:
    wordings = (
        f"What is the state of {name}?",
        f"Which state is shown for {name}?",
        f"What is the status of {name}?",
    )
    return ask(f"state/{name}", wordings, STATES)


def _machines(
    rng: random.Random, brush: Brush, page: Page, x: float, y: float, wide: float, rows: int, step: int
) -> None:
    names = rng.sample(MACHINES, rows)
    y = _panel(brush, x, y, wide, rows, step, rng.choice(["Servers", "Machines", "Services"]))
    for number, name in enumerate(names):
        line, state = y + number * step + step * 0.6, rng.choice(STATES)
        brush.words(x + 16, line, name)
        start = x + wide - 130
        brush.canvas.draw.ellipse([start - 18, line - 11, start - 8, line - 1], fill=_COLORS[state])
        box = brush.words(start, line, state)
        add(
            page,
            _machine_ask(name),
            state,
            [box],
            f'The line "{name}" is found.',
            "Its state stands at the right.",
        )
    for name in rng.sample([name for name in MACHINES if name not in names], 3):
        page.absent.append((_machine_ask(name), f'The list has no line "{name}".'))


def _volumes(
    rng: random.Random, brush: Brush, page: Page, x: float, y: float, wide: float, rows: int, step: int
) -> None:
    names = rng.sample(VOLUMES, rows)
    y = _panel(brush, x, y, wide, rows, step, rng.choice(["Load", "Capacity", "Usage"]))
    for number, name in enumerate(names):
        line, share = y + number * step + step * 0.6, rng.randint(2, 99)
        brush.words(x + 16, line, name, width=90)
        brush.bar(x + 112, line - brush.size * 0.34, wide - 190, share / 100)
        box = brush.words(x + wide - 16, line, f"{share}%", align="right")
        add(
            page,
            _volume_ask(name),
            f"{share}%",
            [box],
            f'The line "{name}" is found.',
            "Its share stands at the right.",
        )
    for name in rng.sample([name for name in VOLUMES if name not in names], 2):
        page.absent.append((_volume_ask(name), f'The list has no line "{name}".'))


def _volume_ask(name: str) -> Ask:
    wordings = (
        f"How much of {name} is in use?",
        f"What percentage is shown for {name}?",
        f"Which share of {name} is in use?",
    )
    return ask(f"share/{name}", wordings)
