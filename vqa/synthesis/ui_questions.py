"""How the parts of a screen are asked for."""

import random
from collections.abc import Sequence

from vqa.synthesis.document_canvas import Ask, Field, Page
from vqa.synthesis.paper import Box

_ON = (
    "Is {name} switched on?",
    "Is {name} turned on?",
    "Is {name} enabled?",
    "Is the switch for {name} on?",
    "Is the setting {name} active?",
    "Does the screen show {name} as switched on?",
)
_OFF = (
    "Is {name} switched off?",
    "Is {name} turned off?",
    "Is {name} disabled?",
    "Is the switch for {name} off?",
    "Does the screen show {name} as switched off?",
)
_TICKED = (
    "Is {name} ticked?",
    "Is {name} checked?",
    "Is the box {name} ticked?",
    "Is there a tick in front of {name}?",
    "Does the box {name} carry a tick?",
)
_UNTICKED = ("Is {name} left unticked?", "Is the box {name} empty?", "Is {name} unchecked?")
_VALUE = (
    "What is {name} set to?",
    "Which value is shown for {name}?",
    "What does the screen show for {name}?",
    "Read the value of {name}.",
    "What is the current value of {name}?",
    "Give the value beside {name}.",
    "What stands in {name}?",
)
_CHOICE = (
    "Which option is chosen for {name}?",
    "Which option of {name} is selected?",
    "What is selected for {name}?",
    "{name}: which option is highlighted?",
)
YES_NO = ("yes", "no")


def add_state(
    rng: random.Random, page: Page, name: str, on: bool, boxes: Sequence[Box], ticked: bool = False
) -> None:
    """Ask whether a switch is on, or a box ticked; half of the time whether it is off."""
    ask, asks_on = state_ask(rng, name, ticked)
    state = ("ticked" if on else "not ticked") if ticked else ("on" if on else "off")
    answer = "yes" if on == asks_on else "no"
    reasoning = (f'"{name}" is found on the screen.', f"It is {state}.")
    page.fields.append(Field(ask, answer, tuple(boxes), reasoning))


def state_ask(rng: random.Random, name: str, ticked: bool = False) -> tuple[Ask, bool]:
    """A yes/no question about a switch or a box, and whether it asks for the state "on"."""
    asks_on = rng.random() < 0.6
    if ticked:
        wordings = _TICKED if asks_on else _UNTICKED
    else:
        wordings = _ON if asks_on else _OFF
    return Ask(f"state/{name}", _fill(wordings, name), name, "yes_no", YES_NO), asks_on


def value_ask(name: str) -> Ask:
    """An extractive question for the value beside a name."""
    return Ask(f"value/{name}", _fill(_VALUE, name), name)


def choice_ask(name: str, options: Sequence[str]) -> Ask:
    """A choice between the options of a setting."""
    return Ask(f"choice/{name}", _fill(_CHOICE, name), name, "mcq", tuple(options))


def ask(key: str, wordings: Sequence[str], options: Sequence[str] | None = None, yes_no: bool = False) -> Ask:
    """A question in words of its own: a choice where there are options, else extractive or yes/no."""
    kind = "yes_no" if yes_no else "mcq" if options else "extractive"
    return Ask(key, tuple(wordings), key, kind, YES_NO if yes_no else tuple(options) if options else None)


def add(page: Page, question: Ask, value: str, boxes: Sequence[Box], *reasoning: str) -> None:
    """A field of the screen and how it is found."""
    page.fields.append(Field(question, value, tuple(boxes), reasoning))


def _fill(wordings: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(text.format(name=name) for text in wordings)
