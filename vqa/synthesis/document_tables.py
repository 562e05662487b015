"""Tables: a title, a row of headings, a column of names, and a value in every other cell."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask, Canvas, Page, dark_ink
from vqa.synthesis.document_questions import found
from vqa.synthesis.fonts import Face


@dataclass(frozen=True)
class _Theme:
    """Title, what a row is called, names of rows, columns with what makes their values."""

    title: str
    corner: str
    rows: tuple[str, ...]
    columns: dict[str, Callable[[random.Random], str]]


def _number(low: int, high: int, form: str = "{:,}") -> Callable[[random.Random], str]:
    return lambda rng: form.format(rng.randint(low, high))


def _tenths(low: int, high: int, form: str = "{:.1f}") -> Callable[[random.Random], str]:
    return lambda rng: form.format(rng.randint(low, high) / 10)


_THEMES = (
    _Theme(
        "Sales by region",
        "Region",
        tuple("North South East West Central Coastal Overseas Highlands".split()),
        {f"Q{n}": _number(1200, 98000) for n in range(1, 5)} | {"Target": _number(40000, 400000)},
    ),
    _Theme(
        "Examination results",
        "Student",
        tuple(values.FIRST[:24]),
        {
            subject: _number(31, 100)
            for subject in ("Biology", "Chemistry", "History", "Mathematics", "Music", "Physics", "Geography")
        },
    ),
    _Theme(
        "Laboratory report",
        "Test",
        (
            "Glucose",
            "Sodium",
            "Potassium",
            "Calcium",
            "Creatinine",
            "Albumin",
            "Iron",
            "Urea",
            "Hemoglobin",
            "Chloride",
        ),
        {
            "Result": _tenths(8, 1900),
            "Previous": _tenths(8, 1900),
            "Lower limit": _tenths(5, 900),
            "Upper limit": _tenths(900, 2500),
            "Unit": lambda rng: rng.choice(["mg/dl", "mmol/l", "g/l", "U/l"]),
        },
    ),
    _Theme(
        "Climate",
        "City",
        tuple(values.CITIES[:24]),
        {
            "January": _tenths(-150, 120),
            "April": _tenths(10, 190),
            "July": _tenths(120, 310),
            "October": _tenths(40, 220),
            "Rain (mm)": _number(180, 2100),
            "Sun (h)": _number(1100, 2900),
        },
    ),
    _Theme(
        "Staff directory",
        "Name",
        tuple(values.LAST[:40]),
        {
            "Room": lambda rng: f"{rng.choice('ABCD')}{rng.randint(100, 499)}",
            "Extension": _number(2000, 8999, "{}"),
            "Start date": lambda rng: values.date(rng, 0, 2001, 2025),
            "Team": lambda rng: rng.choice(["Audit", "Design", "Legal", "Payroll", "Quality", "Sales"]),
            "Leave days": _number(2, 34),
        },
    ),
    _Theme(
        "Stock list",
        "Article",
        tuple(
            "Anchor;Bolt M8;Clamp;Cable tie;Fuse 16 A;Gasket;Hinge;Lever;Nozzle;Rivet;"
            "Spring;Valve;Washer".split(";")
        ),
        {
            "In stock": _number(0, 4200),
            "Ordered": _number(0, 900),
            "Shelf": lambda rng: f"{rng.choice('EFGHK')}-{rng.randint(1, 60):02d}",
            "Unit price": _tenths(2, 1900, "{:.2f}"),
            "Weight (g)": _number(3, 1500),
        },
    ),
    _Theme(
        "Timetable",
        "Stop",
        (
            "Airport",
            "Castle",
            "City Hall",
            "Harbour",
            "Hospital",
            "Main Station",
            "Museum",
            "Park Gate",
            "Stadium",
            "Zoo",
        ),
        {f"Line {n}": values.time for n in (2, 5, 9, 11, 14, 27)},
    ),
)


def draw_table(rng: random.Random, face: Face, handwriting: tuple[str, ...]) -> Page:
    """A table of 3 to 6 rows and 2 to 4 columns of values, among them now and then an empty cell."""
    theme = rng.choice(_THEMES)
    rows = rng.sample(theme.rows, rng.randint(3, 6))
    picked = rng.sample(list(theme.columns), rng.randint(2, 4))
    columns = [name for name in theme.columns if name in picked]
    size = rng.randint(16, 20)
    step = round(size * rng.uniform(1.9, 2.5))
    first, cell = rng.randint(160, 190), rng.randint(120, 150)
    canvas = Canvas.blank(
        (first + cell * len(columns) + 80, 170 + step * (len(rows) + 1)),
        face,
        rng.choice([(255, 255, 255), (252, 251, 246), (247, 249, 252)]),
        dark_ink(rng),
    )
    page = Page(
        canvas.image, "table", f"A table, {theme.title}, of {len(rows)} rows and {len(columns)} columns."
    )
    title = f"{theme.title} {rng.randint(2015, 2026)}" if rng.random() < 0.5 else theme.title
    canvas.text(
        40, 72, title, canvas.fit(title, rng.randint(24, 30), canvas.image.width - 80, True), bold=True
    )
    top = 72 + 28
    grid, shaded = rng.choice(["all", "rows", "head"]), rng.random() < 0.5
    edges = [40, *(40 + first + cell * n for n in range(len(columns) + 1))]
    if rng.random() < 0.6:
        canvas.frame([40, top, edges[-1], top + step], fill=rng.choice([(215, 225, 240), (225, 225, 225)]))
    base = step * 0.5 + size * 0.36
    canvas.text(50, top + base, theme.corner, size, bold=True)
    for number, column in enumerate(columns):
        canvas.text(
            edges[number + 2] - 12,
            top + base,
            column,
            canvas.fit(column, size, cell - 18, True),
            bold=True,
            align="right",
        )
    hole = (rng.choice(rows), rng.choice(columns)) if rng.random() < 0.3 else None
    for line, row in enumerate(rows, 1):
        y = top + line * step
        if shaded and line % 2:
            canvas.frame([40, y, edges[-1], y + step], fill=(240, 242, 245))
        canvas.text(50, y + base, row, canvas.fit(row, size, first - 20))
        for number, column in enumerate(columns):
            ask = _ask(theme, row, column)
            if (row, column) == hole:
                canvas.text(edges[number + 2] - 12, y + base, "-", size, align="right")
                page.absent.append((ask, f'The cell of "{row}" under "{column}" holds a dash.'))
                continue
            value = theme.columns[column](rng)
            box = canvas.text(
                edges[number + 2] - 12, y + base, value, canvas.fit(value, size, cell - 18), align="right"
            )
            reason = f'The row "{row}" is found.', f'Under "{column}" its value is read.'
            page.fields.append(found(ask, value, [box], *reason))
    _lines(canvas, grid, top, step, len(rows), edges)
    _add_absent(rng, page, theme, rows, columns)
    return page


def _ask(theme: _Theme, row: str, column: str) -> Ask:
    corner = theme.corner.lower()
    wordings = (
        f'What is the value of "{column}" for {row}?',
        f"What does the table show for {row} under {column}?",
        f'Which entry stands in row "{row}", column "{column}"?',
        f'Read the cell "{column}" of the {corner} {row}.',
        f'Give the entry for {row} in the column "{column}".',
        f'What is listed under "{column}" for the {corner} {row}?',
        f"{row}, {column}: what is the value?",
    )
    return Ask(f"{row}/{column}", wordings, f"{column} of {row}")


def _lines(canvas: Canvas, grid: str, top: float, step: int, rows: int, edges: list[int]) -> None:
    gray = (120, 120, 125)
    for line in range(rows + 2):
        if grid != "head" or line in (0, 1, rows + 1):
            canvas.rule(edges[0], top + line * step, edges[-1], top + line * step, gray)
    if grid == "all":
        for x in edges:
            canvas.rule(x, top, x, top + (rows + 1) * step, gray)


def _add_absent(rng: random.Random, page: Page, theme: _Theme, rows: list[str], columns: list[str]) -> None:
    """Rows of the same sort that are not there, and columns that are not there."""
    others = [row for row in theme.rows if row not in rows]
    for row in rng.sample(others, min(3, len(others))):
        column = rng.choice(columns)
        page.absent.append((_ask(theme, row, column), f'The table has no row "{row}".'))
    missing = [column for column in theme.columns if column not in columns]
    for column in missing[:3]:
        page.absent.append((_ask(theme, rng.choice(rows), column), f'The table has no column "{column}".'))
