"""The text of an answer, written and read: structured and think styles, and what counts as abstaining.

The parser is strict, because the share of valid answers is a metric and a reward: what it accepts is
exactly the form that the prompt asks for.
"""

import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

UNANSWERABLE = "unanswerable"

# What counts as abstaining: whole answers, some a line, compared after `_normalize`, bare or inside a
# sentence ("This question is not answerable from the image"). "Unknown" or "none" answer questions.
_PHRASES = """
unanswerable; not answerable; n/a; no answer; there is no answer
cannot answer; can't answer; unable to answer; cannot be answered; can't be answered
cannot be determined; can't be determined; cannot determine; can't determine
unable to determine; impossible to determine; cannot tell; can't tell; don't know; do not know
insufficient information; not enough information
not in the image; not in image; not in the picture; not in the document
not shown in the image; not visible in the image; not present in the image; not mentioned in the document
không thể trả lời; không trả lời được; không có câu trả lời; không xác định được; không có trong ảnh
"""
ABSTENTIONS = frozenset({"", *(phrase.strip() for phrase in re.split("[;\n]", _PHRASES))})
_OPENING = re.compile(
    r"(?:(?:the|this|that) (?:question|answer|information)|it|this|that)(?: is| are)? |i am |i'm |i "
)
_CLOSING = re.compile(
    r"(?: the (?:answer|question))?"
    r"(?: (?:from|in|by|based on|given) (?:the|this|that) (?:given |provided )?"
    r"(?:image|picture|photo|scan|page|document|context|information))?$"
)

MAX_ABSTENTION = 200  # characters; what is longer says more than that
MAX_BOXES = 32
MAX_COORDINATE = 99_999  # beyond any image that is read; keeps later arithmetic in the range of floats
STRUCTURED_KEYS = ("caption", "reasoning", "boxes", "answer")
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


@dataclass
class StructuredAnswer:
    """The object of the structured style; `boxes` are [x0, y0, x1, y1] in the coordinates of the text."""

    caption: str
    reasoning: list[str]
    boxes: list[list[int]]
    answer: str


@dataclass
class ParsedAnswer:
    """A model's text taken apart; `valid_format` is None where the style has no format."""

    answer: str
    caption: str | None = None
    reasoning: list[str] = field(default_factory=list)
    boxes: list[list[int]] = field(default_factory=list)
    valid_format: bool | None = None


def is_abstention(text: str) -> bool:
    """Whether an answer, as a whole, says that the question cannot be answered from the image."""
    text = _normalize(text)
    if text in ABSTENTIONS or len(text) > MAX_ABSTENTION:
        return text in ABSTENTIONS
    opened = _OPENING.sub("", text, count=1) if _OPENING.match(text) else text
    return any(
        core and core in ABSTENTIONS for core in (opened, _CLOSING.sub("", text), _CLOSING.sub("", opened))
    )


def _normalize(text: str) -> str:
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'").casefold()
    return " ".join(text.split()).replace("can not ", "cannot ").strip(" .!?,;:\"'()[]*`")


def write_structured(answer: StructuredAnswer) -> str:
    """The answer as compact JSON in the key order of the style, letters unescaped."""
    fields = {key: value for key, value in zip(STRUCTURED_KEYS, _values(answer), strict=True)}
    return json.dumps(fields, ensure_ascii=False, separators=(", ", ": "))


def _values(answer: StructuredAnswer) -> tuple:
    return answer.caption, answer.reasoning, answer.boxes, answer.answer


def parse_structured(text: str) -> StructuredAnswer | None:
    """Read a structured answer, or None when anything deviates from the form.

    The text is one JSON object and nothing around it; its keys are `STRUCTURED_KEYS`, in order, each
    once; at most `MAX_BOXES` boxes of four integers with 0 <= x0 < x1 and 0 <= y0 < y1.
    """
    fields = read_fields(text)
    if fields is None or tuple(key for key, _ in fields) != STRUCTURED_KEYS:
        return None
    if not all(is_field(key, value) for key, value in fields):
        return None
    return StructuredAnswer(*(value for _, value in fields))


def read_fields(text: str) -> list[tuple[str, Any]] | None:
    """The (key, value) pairs of a text that is one JSON object and nothing else, repeated keys and all."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):  # no JSON, an integer of thousands of digits, thousands of brackets
        return None


def is_field(key: str, value: object) -> bool:
    """Whether `value` is what the structured style holds under `key`."""
    if key == "reasoning":
        return _is_list(value) and all(_is_text(step) for step in value)
    if key == "boxes":
        return _is_list(value) and len(value) <= MAX_BOXES and all(is_box(box) for box in value)
    return key in STRUCTURED_KEYS and _is_text(value)


class _Pairs(list):
    """An object's (key, value) pairs: keeps the order and repeated keys, which a dict would hide."""


def _is_list(value: object) -> bool:
    return isinstance(value, list) and not isinstance(value, _Pairs)


def _is_text(value: object) -> bool:
    # "\ud800" is valid JSON, but no text: half a surrogate pair cannot be written as UTF-8.
    return isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value)


def is_box(value: object) -> bool:
    """Whether `value` is [x0, y0, x1, y1] in integers with 0 <= x0 < x1 and 0 <= y0 < y1."""
    if not _is_list(value) or len(value) != 4:
        return False
    if not all(type(number) is int and 0 <= number <= MAX_COORDINATE for number in value):
        return False
    x0, y0, x1, y1 = value
    return x0 < x1 and y0 < y1


def write_think(reasoning: list[str], answer: str) -> str:
    """`<think>` with one line per step, then the answer. Tags inside the texts are dropped."""
    steps = "\n".join(_without_tags(step) for step in reasoning)
    return f"{THINK_OPEN}{steps}{THINK_CLOSE}{_without_tags(answer)}"


def _without_tags(text: str) -> str:
    while THINK_OPEN in text or THINK_CLOSE in text:  # dropping one can join the halves of another
        text = text.replace(THINK_OPEN, "").replace(THINK_CLOSE, "")
    return text


def parse_answer(text: str, style: str) -> ParsedAnswer:
    """Take a model's text apart by its answer style.

    Where the format is broken, `valid_format` is False and the answer is read as leniently as it can be:
    the last `"answer"` field or what follows the last `</think>`, else the whole text.
    """
    if style == "structured":
        parsed = parse_structured(text)
        if parsed is None:
            return ParsedAnswer(_lenient_json_answer(text), valid_format=False)
        return ParsedAnswer(parsed.answer.strip(), parsed.caption, parsed.reasoning, parsed.boxes, True)
    if style == "think":
        return _parse_think(text)
    return ParsedAnswer(text.strip())


def _parse_think(text: str) -> ParsedAnswer:
    thoughts, closed, answer = text.rpartition(THINK_CLOSE)
    inner = thoughts.removeprefix(THINK_OPEN)
    steps = [line.strip() for line in inner.split("\n") if line.strip()]
    tags = (THINK_OPEN, THINK_CLOSE)
    valid = (
        bool(closed)
        and thoughts.startswith(THINK_OPEN)
        and bool(answer.strip())
        and not any(tag in inner or tag in answer for tag in tags)
    )
    return ParsedAnswer(answer.replace(THINK_OPEN, "").strip(), None, steps if closed else [], [], valid)


def _lenient_json_answer(text: str) -> str:
    found = re.findall(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*")', text, flags=re.DOTALL)
    if not found:
        return text.strip()
    try:
        answer = json.loads(found[-1], strict=False)
    except ValueError:
        answer = found[-1][1:-1]
    return re.sub(r"[\ud800-\udfff]", "\ufffd", answer).strip()


def complete_structured_head(text: str) -> str:
    """A structured answer cut off before its answer, brought to where the answer begins (`... "answer": "`).

    Open strings are closed, missing fields are empty, boxes that are cut off or not ordered are dropped; a
    complete head with good boxes comes back as it is.
    """
    caption, _, rest = text.removeprefix('{"caption": ').partition(', "reasoning": [')
    reasoning, _, rest = rest.partition('], "boxes": [')
    answer = StructuredAnswer(
        caption="".join(_strings(caption)[:1]), reasoning=_strings(reasoning), boxes=_boxes(rest), answer=""
    )
    return write_structured(answer).removesuffix('"}')


def head_boxes(head: str) -> list[list[int]]:
    """The boxes of a structured answer up to its answer, as `complete_structured_head` leaves it."""
    return _boxes(head.rpartition('], "boxes": [')[2])


def _boxes(text: str) -> list[list[int]]:
    boxes = [list(map(int, numbers)) for numbers in re.findall(r"\[(\d+), (\d+), (\d+), (\d+)\]", text)]
    return [box for box in boxes if is_box(box)]


_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)')


def _strings(text: str) -> list[str]:
    """The JSON strings that a list's text begins with, the last of which may be cut off."""
    found, position = [], 0
    while match := _JSON_STRING.match(text, position):
        body = match[1] if match[0].endswith('"') else re.sub(r"\\u[0-9a-f]{0,3}$|\ufffd+$", "", match[1])
        found.append(json.loads(f'"{body}"', strict=False))
        position = match.end()
        if not text.startswith(", ", position):
            break
        position += 2
    return found


def complete_structured(text: str) -> str:
    """A structured answer cut off inside its answer, closed."""
    for cut in range(min(8, len(text))):
        for closing in ("", "}", '"}'):
            closed = text[: len(text) - cut].rstrip("\ufffd") + closing
            if parse_structured(closed) is not None:
                return closed
    return text


def complete_think_head(text: str) -> str:
    """Thoughts with their closing tag, which is added where they were cut off before it."""
    if text.endswith(THINK_CLOSE):
        return text
    inner = re.sub(r"(<+/?t?h?i?n?k?|\ufffd+)$", "", text.removeprefix(THINK_OPEN))
    return THINK_OPEN + _without_tags(inner) + THINK_CLOSE
