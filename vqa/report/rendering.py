"""Templates to pages: every value escaped, one script and one style sheet inside, nothing fetched."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2

from vqa.report.formatting import coordinate, number, p_value, percent, points, shown

BATCH = 60  # cards shown at once; the script shows more as the reader scrolls
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """The HTML of a page. The only script that it may run is our own, named by its hash in the policy."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "percent": percent,
        "points": points,
        "number": number,
        "p_value": p_value,
        "coordinate": coordinate,
        "compact": _compact,
    }
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        script=script,
        script_hash=_csp_hash(script),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        batch=BATCH,
        **values,
    )


def _compact(html: str) -> str:
    """Markup without the line breaks between tags: they are a third of a long gallery's nodes."""
    return re.sub(r">\n\s*<", "><", html)


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
