"""What a value in a row says: numbers, answers, and what a closed question offers."""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

# What comes after the first comma or colon: "..., heart or lung?", "...,left,top or upper left?"
_OFFER = re.compile(r"[,:，：]\s*(?P<list>.+?)\s*[?？]?\s*$", re.S)
_BETWEEN = re.compile(r"\s*[,，、]\s*(?:or\s+)?|\s+or\s+|还是", re.I)
# In Chinese also before the question word: 图中肺、心脏和肝脏哪个更大?
_WHICH = re.compile(r"(?:^|中)(?P<list>[^中]+?)哪个")
_JOINED = re.compile(r"[,，、]|和|或者|还是")
_ASKS = re.compile(r"\b(?:which|what|where|how)\b|[\u4e00-\u9fff]", re.I)
_LAST = re.compile(r"\s+or\s+|还是", re.I)
_MOST_WORDS = 4

# Answers of Chinese yes-no questions: the closed set of the form, and the spelling that is trained on.
_CHINESE_PAIRS = (
    ("是的", "不是"), ("包含", "不包含"), ("有", "没有"), ("可以", "不可以"), ("存在", "不存在"),
    ("包括", "不包括"), ("正常", "不正常"),
)  # fmt: skip
_CHINESE_SPELLINGS = {"是": "是的", "否": "不是"}


def number(value: Any) -> float | int | None:
    """A finite number, or the one that a text states, as some exports have it; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if isfinite(value) and value == int(value) else value
    return value if type(value) in (int, float) and isfinite(value) else None


def numbers(values: Any, *lengths: int) -> list[float] | None:
    """A list of numbers of one of these lengths; None for anything else."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) not in lengths:
        return None
    found = [number(value) for value in values]
    return None if None in found else found


def texts_of(value: Any) -> list[str]:
    """The answers in a published cell, in order: a text, a number, or a list of these or of {answer: ...}.

    Empty ones and what is neither text nor number are left out.
    """
    values = value if isinstance(value, list) else [value]
    bare = [item.get("answer") if isinstance(item, dict) else item for item in values]
    texts = [str(item).strip() for item in bare if type(item) in (str, int, float)]
    return [text for text in texts if text]


def answer_text(value: Any) -> tuple[Any, tuple[str, ...]]:
    """An answer as text, and what was mended: a bare number, stray spaces. Other types stay as they are."""
    if type(value) in (int, float):
        return str(value), ("number as answer",)
    if isinstance(value, str) and value != " ".join(value.split()):
        return " ".join(value.split()), ("stray space in an answer",)
    return value, ()


def alternatives(question: str) -> list[str]:
    """What a question offers after its first comma: "Which is bigger, heart or lung?" -> heart, lung.

    [] where it ends otherwise, or may have begun its list before the comma ("Is this a CT, MRI or X-ray?").
    In Chinese the last two are joined by 还是, or all stand before 哪个.
    """
    offer, which = _OFFER.search(question), _WHICH.search(question)
    if offer is not None and _LAST.search(offer["list"]) and _ASKS.search(question[: offer.start()]):
        options = [option.strip() for option in _BETWEEN.split(offer["list"])]
    elif which is not None:
        options = [option.strip() for option in _JOINED.split(which["list"])]
    else:
        return []
    distinct = {option.casefold() for option in options}
    short = all(0 < len(option.split()) <= _MOST_WORDS for option in options)
    return options if short and len(options) == len(distinct) > 1 else []


def closed_fields(question: Any, answer: Any) -> dict[str, Any]:
    """Fields of a question that its publication calls closed: type and candidates where they can be told.

    Yes and no in English are inferred later. A Chinese pair such as 是的 and 不是 is an `mcq`: the rule of
    `yes_no` reads English. {} where the question names no alternatives, or its answer is none of them.
    """
    if not isinstance(question, str) or not isinstance(answer, str):
        return {}
    spelling = _CHINESE_SPELLINGS.get(answer, answer)
    for pair in _CHINESE_PAIRS:
        if spelling in pair:
            accepted = [answer] if spelling == answer else [spelling, answer]
            return {"question_type": "mcq", "answer_candidates": list(pair), "answers": accepted}
    options = alternatives(question)
    if answer.casefold() in (option.casefold() for option in options):
        return {"question_type": "mcq", "answer_candidates": options}
    return {}
