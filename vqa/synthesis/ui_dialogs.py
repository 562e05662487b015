"""Dialogs: a window on a dimmed screen with a title, lines to fill in, boxes to tick, and buttons."""

import random
from collections.abc import Callable

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask, Canvas, Page
from vqa.synthesis.fonts import Face
from vqa.synthesis.ui_questions import add, add_state, ask, state_ask, value_ask
from vqa.synthesis.ui_widgets import Brush, draw_scheme

TITLES = (
    "Export report;Create account;Save changes?;Connect to server;Print document;Share folder;"
    "New appointment;Rename file;Add printer;Schedule backup;Invite member;Upload image"
).split(";")
ENTRIES: dict[str, Callable[[random.Random], str]] = {
    "File name": lambda rng: (
        rng.choice(["report", "scan", "notes", "budget"]) + f"_{rng.randint(1, 99):02d}.pdf"
    ),
    "User name": lambda rng: f"{rng.choice(values.FIRST).lower()}{rng.randint(1, 99)}",
    "Server": lambda rng: f"srv{rng.randint(1, 40)}.example.org",
    "Port": lambda rng: str(rng.choice([22, 80, 443, 993, 3306, 5432, 8080, 8443])),
    "Email": values.email,
    "Date": lambda rng: values.date(rng, 1, 2024, 2027),
    "Copies": lambda rng: str(rng.randint(1, 40)),
    "Page range": lambda rng: f"{rng.randint(1, 9)}-{rng.randint(10, 60)}",
    "Folder": lambda rng: rng.choice(["/home/projects", "/srv/archive", "/data/images", "C:/Reports"]),
    "Title": lambda rng: rng.choice(["Quarterly review", "Team lunch", "Site visit", "Planning", "Dentist"]),
    "Tags": lambda rng: rng.choice(["draft, internal", "urgent", "finance", "photos, 2025"]),
    "Owner": values.name,
}
BOXES = (
    "Remember me;Overwrite existing files;Send a copy to me;Include hidden files;Print in color;"
    "Keep me signed in;Compress files;Open after saving;Apply to all items;Notify members;"
    "Make public;Verify after writing"
).split(";")
_PAIRS = (("Save", "Cancel"), ("OK", "Cancel"), ("Send", "Back"), ("Create", "Close"), ("Continue", "Back"))
_THIRD = ("Help", "Preview", "Reset", "Options", "Advanced")

_TITLE = (
    "What is the title of the dialog?",
    "What does the heading of this window say?",
    "Which title does the dialog carry?",
)
_HIGHLIGHTED = (
    "Which button is highlighted?",
    "Which button stands out in color?",
    "Which button is the default one?",
)


def draw_dialog(rng: random.Random, face: Face) -> Page:
    """A dialog with 2 to 4 entries, 1 to 3 boxes and 2 or 3 buttons."""
    size = rng.randint(15, 18)
    entries, boxes = rng.sample(list(ENTRIES), rng.randint(2, 4)), rng.sample(BOXES, rng.randint(1, 3))
    title = rng.choice(TITLES)
    wide, line = rng.randint(420, 520), round(size * 3.9)
    high = 76 + len(entries) * line + len(boxes) * round(size * 2.1) + round(size * 4.4)
    width, height = wide + rng.randint(60, 240), high + rng.randint(50, 140)
    scheme = draw_scheme(rng)
    dimmed = tuple(value * 2 // 3 for value in scheme.back)
    brush = Brush(Canvas.blank((width, height), face, dimmed), scheme, size)
    page = Page(brush.canvas.image, "dialog", f"A dialog titled {title}.")
    left, top = rng.randint(25, width - wide - 25), rng.randint(20, height - high - 20)
    brush.canvas.frame([left, top, left + wide, top + high], fill=scheme.back, outline=scheme.line, radius=9)
    if rng.random() < 0.85:
        box = brush.words(left + 24, top + 42, title, size + 5, bold=True)
        add(page, ask("title", _TITLE), title, [box], "The title stands at the top of the window.")
    else:
        page.caption = "A dialog without a title."
        page.absent.append((ask("title", _TITLE), "Nothing stands at the top of the window."))
    y = top + 78.0
    for name in entries:
        brush.words(left + 24, y, name, size - 2, muted=True)
        value = ENTRIES[name](rng) if rng.random() < 0.88 else ""
        typed = brush.entry(left + 24, y + 7, wide - 48, value)
        if typed is None:
            page.absent.append((value_ask(name), f'The entry "{name}" is empty.'))
        else:
            add(
                page,
                value_ask(name),
                value,
                [typed],
                f'The entry "{name}" is found.',
                "What is typed in it is read.",
            )
        y += line
    for name in boxes:
        on = rng.random() < 0.5
        mark = brush.checkbox(left + 24, y, on)
        label = brush.words(left + 24 + size * 1.7, y + size * 0.36, name)
        add_state(rng, page, name, on, [mark, label], ticked=True)
        y += round(size * 2.1)
    _buttons(rng, brush, page, left + wide - 24, top + high - size * 3.2)
    _absent(rng, page, entries, boxes)
    return page


def _buttons(rng: random.Random, brush: Brush, page: Page, right: float, top: float) -> None:
    """One stands out as a rule; the others may be greyed out."""
    names = list(rng.choice(_PAIRS)) + ([rng.choice(_THIRD)] if rng.random() < 0.5 else [])
    looks = ["primary" if rng.random() < 0.8 else "plain"] + [
        rng.choice(["plain", "disabled"]) for _ in names[1:]
    ]
    order = list(zip(names, looks, strict=True))
    if rng.random() < 0.3:
        order.reverse()
    highlighted = ask("highlighted button", _HIGHLIGHTED, [name for name, _ in order])
    for name, look in order:
        box = brush.button(right, top, name, look)
        right = box[0] - 12
        if look == "primary":
            add(page, highlighted, name, [box], "One of the buttons is filled with color.")
        else:
            gray = look == "disabled"
            reason = f'The button "{name}" is found.', f"It is {'greyed out' if gray else 'not greyed out'}."
            add(page, _disabled_ask(name), "yes" if gray else "no", [box], *reason)
    if "primary" not in looks:
        page.absent.append((highlighted, "No button is filled with color."))
    others = sorted({*_THIRD, *(name for pair in _PAIRS for name in pair)} - set(names))
    for name in rng.sample(others, 2):
        page.absent.append((_disabled_ask(name), f'There is no button "{name}".'))


def _disabled_ask(name: str) -> Ask:
    wordings = (f"Is the button {name} greyed out?", f"Is the button {name} unavailable at the moment?")
    return ask(f"disabled/{name}", wordings, yes_no=True)


def _absent(rng: random.Random, page: Page, entries: list[str], boxes: list[str]) -> None:
    for name in rng.sample([name for name in ENTRIES if name not in entries], 4):
        page.absent.append((value_ask(name), f'The dialog has no entry "{name}".'))
    for name in rng.sample([name for name in BOXES if name not in boxes], 3):
        page.absent.append((state_ask(rng, name, ticked=True)[0], f'The dialog has no box "{name}".'))
