"""Settings pages: a list of sections at the side, rows with switches, values to choose, and options."""

import random

from vqa.synthesis.document_canvas import Canvas, Page
from vqa.synthesis.fonts import Face
from vqa.synthesis.ui_questions import add, add_state, ask, choice_ask, state_ask, value_ask
from vqa.synthesis.ui_widgets import Brush, draw_scheme

SWITCHES = (
    "Bluetooth;Wi-Fi;Airplane mode;Location services;Automatic updates;Dark mode;Night light;"
    "Notifications;Do not disturb;Battery saver;Two-factor sign-in;Usage reports;Auto-lock;"
    "Data saver;Mobile hotspot;Subtitles;Spell check;Offline access;Keyboard sounds;"
    "Screen reader;Guest account;Daily backup"
).split(";")
CHOSEN = {
    "Language": "English;Deutsch;Polski;Italiano;Suomi",
    "Time zone": "UTC;UTC+1;UTC+7;UTC-5;UTC+9",
    "Screen timeout": "30 seconds;2 minutes;5 minutes;15 minutes;Never",
    "Default printer": "Office-2F;Lobby Laser;Home Inkjet;Save as PDF",
    "Sync interval": "Every hour;Every 6 hours;Daily;Manual",
    "Download folder": "Downloads;Desktop;D:/Media;Projects",
    "Ringtone": "Chimes;Marimba;Crystal;Old phone;Waves",
    "Keyboard layout": "US;UK;QWERTZ;AZERTY;Dvorak",
    "Currency": "USD;EUR;GBP;JPY;VND",
    "Backup location": "Cloud;External drive;NAS-01;None",
}
OPTIONS = {
    "Text size": ("Small", "Medium", "Large"),
    "Theme": ("Light", "Dark", "System"),
    "Units": ("Metric", "Imperial"),
    "Clock": ("12-hour", "24-hour"),
    "Video quality": ("Low", "HD", "Full HD"),
    "Profile visibility": ("Public", "Friends", "Private"),
    "Layout": ("List", "Grid"),
}
_SECTIONS = "General;Network;Display;Sound;Privacy;Accounts;Storage;Security;Updates;About".split(";")


def draw_settings(rng: random.Random, face: Face) -> Page:
    """A settings page of 5 to 9 rows."""
    size = rng.randint(15, 18)
    step = round(size * rng.uniform(2.7, 3.3))
    switches = rng.sample(SWITCHES, rng.randint(3, 5))
    chosen = rng.sample(list(CHOSEN), rng.randint(1, 3))
    options = rng.sample(list(OPTIONS), rng.randint(1, 2))
    rows = [*switches, *chosen, *options]
    rng.shuffle(rows)
    side = rng.choice([0, 170, 190])
    width, height = side + rng.randint(520, 640), 120 + len(rows) * step + 40
    scheme = draw_scheme(rng)
    brush = Brush(Canvas.blank((width, height), face, scheme.back), scheme, size)
    section = rng.choice(_SECTIONS)
    page = Page(
        brush.canvas.image, "settings page", f"A settings page, {section}, with {len(rows)} settings."
    )
    if side:
        _sidebar(rng, brush, page, section, side)
    left, right = side + 30, width - 30
    brush.words(left, 62, section, size + 10, bold=True)
    brush.canvas.frame(
        [left, 88, right, 88 + len(rows) * step + 12], fill=scheme.panel, outline=scheme.line, radius=8
    )
    for number, name in enumerate(rows):
        middle = 94 + number * step + step / 2
        if number:
            brush.canvas.rule(left, middle - step / 2, right, middle - step / 2, scheme.line)
        _row(rng, brush, page, name, left + 16, right - 16, middle)
    _absent(rng, page, rows)
    return page


def _sidebar(rng: random.Random, brush: Brush, page: Page, section: str, side: int) -> None:
    """The sections, one of them open; its name is asked for only here."""
    scheme, canvas = brush.scheme, brush.canvas
    canvas.frame([0, 0, side, canvas.image.height], fill=scheme.panel)
    canvas.rule(side, 0, side, canvas.image.height, scheme.line)
    step = round(brush.size * 2.3)
    most = max(4, (canvas.image.height - 80) // step)
    others = [name for name in _SECTIONS if name != section]
    names = sorted([section, *rng.sample(others, min(len(others), most - 1))], key=_SECTIONS.index)
    for number, name in enumerate(names):
        y = 62 + number * step
        if name == section:
            row = (10, round(y - step * 0.62), side - 10, round(y + step * 0.28))
            canvas.frame(row, fill=scheme.accent, radius=6)
            wordings = (
                "Which section is open?",
                "Which section is highlighted in the list at the left?",
                "Which entry of the side bar is selected?",
            )
            box = brush.words(22, y, name, fill=(255, 255, 255))
            add(
                page,
                ask("open section", wordings),
                name,
                [box],
                "One entry of the list at the left is filled.",
            )
        else:
            brush.words(22, y, name)


def _row(
    rng: random.Random, brush: Brush, page: Page, name: str, left: float, right: float, middle: float
) -> None:
    label = brush.words(left, middle + brush.size * 0.36, name)
    if name in OPTIONS:
        pick = rng.randrange(len(OPTIONS[name]))
        box = brush.segments(right, middle, OPTIONS[name], pick)
        question = choice_ask(name, OPTIONS[name])
        add(
            page, question, OPTIONS[name][pick], [box], f'The row "{name}" is found.', "One option is filled."
        )
    elif name in CHOSEN:
        value = rng.choice(CHOSEN[name].split(";"))
        box = brush.dropdown(right, middle, value)
        add(page, value_ask(name), value, [box], f'The row "{name}" is found.', "Its value is read.")
    else:
        on = rng.random() < 0.5
        add_state(rng, page, name, on, [brush.switch(right, middle, on), label])


def _absent(rng: random.Random, page: Page, rows: list[str]) -> None:
    def missing(name: str) -> str:
        return f'There is no row "{name}" on the screen.'

    for name in rng.sample([name for name in SWITCHES if name not in rows], 4):
        page.absent.append((state_ask(rng, name)[0], missing(name)))
    for name in rng.sample([name for name in CHOSEN if name not in rows], 3):
        page.absent.append((value_ask(name), missing(name)))
    for name in rng.sample([name for name in OPTIONS if name not in rows], 2):
        page.absent.append((choice_ask(name, OPTIONS[name]), missing(name)))
