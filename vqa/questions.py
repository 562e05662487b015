"""The registry of question types: how each is recognised, what may be answered, when an answer is right.

A type is added in one place, here: write a `QuestionType` and `register` it (docs/question_types.md shows
one). Reading records, prompts, constraints of decoding and judging all go through this table.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vqa.answers import is_abstention
from vqa.constraints import candidates_grammar, number_grammar
from vqa.metrics.matching import (
    matches_count,
    matches_option,
    matches_size,
    matches_text,
    matches_yes_no,
    normalize_text,
    parse_options,
)
from vqa.metrics.numbers import read_quantity

DEFAULT_TOLERANCE = 0.05
YES_NO = ("yes", "no")
COLORS = (
    *("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink"),
    *("brown", "teal", "cyan", "magenta", "violet", "turquoise", "beige", "tan", "gold", "silver"),
    *("maroon", "navy"),
    *("light blue", "dark blue", "light green", "dark green"),
)

Record = dict[str, Any]
Answers = Sequence[str]
Candidates = Sequence[str] | None


@dataclass(frozen=True)
class QuestionType:
    """One type of question.

    Attributes:
        name: as in records and metrics.
        infers: (question, answers, given candidates) -> whether a record without a type has this one.
        candidates: (question, answers) -> the closed set that may be answered, or None for an open type. It
            must not look at the answers for more than their form: the set would give them away.
        matches: (prediction, answers, candidates, tolerance) -> whether an answer is right. Abstentions
            never reach it.
        answer_grammar: record -> EBNF of the bare answer for constrained generation; None: anything.
        scored: decided by scoring the candidates; else generated.
    """

    name: str
    infers: Callable[[str, Answers, Candidates], bool]
    candidates: Callable[[str, Answers], list[str] | None]
    matches: Callable[[str, Answers, Candidates, float], bool]
    answer_grammar: Callable[[Record], str | None]
    scored: bool = False


QUESTION_TYPES: dict[str, QuestionType] = {}


def register(question_type: QuestionType, before: str | None = "open_ended") -> None:
    """Add a type, to be tried before the type named `before` (None: last) when a record's type is inferred.

    Raises:
        ValueError: a type of that name exists, or `before` does not.
    """
    if question_type.name in QUESTION_TYPES:
        raise ValueError(f"question type {question_type.name!r} is registered already")
    if before is not None and before not in QUESTION_TYPES:
        raise ValueError(f"no question type {before!r} to stand before; known: {', '.join(QUESTION_TYPES)}")
    later = []
    if before is not None:
        names = list(QUESTION_TYPES)
        later = [QUESTION_TYPES.pop(name) for name in names[names.index(before) :]]
    for item in (question_type, *later):
        QUESTION_TYPES[item.name] = item


def infer_question_type(question: str, answers: Answers, candidates: Candidates = None) -> str:
    """The first type in the registry's order that claims the record; `open_ended` claims what is left.

    Args:
        question: its text.
        answers: every accepted answer; empty when there is none, or none is known (at prediction).
        candidates: the record's own closed set, if it has one.
    """
    for name, question_type in QUESTION_TYPES.items():
        if question_type.infers(question, answers, candidates):
            return name
    return "open_ended"


def build_candidates(question_type: str, question: str, answers: Answers) -> list[str] | None:
    """The closed set of a question of this type, or None where it is open or no options are named."""
    return QUESTION_TYPES[question_type].candidates(question, answers)


def is_correct(
    question_type: str,
    prediction: str,
    answers: Answers,
    candidates: Candidates = None,
    tolerance: float = DEFAULT_TOLERANCE,
    answerable: bool = True,
) -> bool:
    """Whether an answer is right by the rule of its type.

    An unanswerable question is answered right by abstaining and only so; an answerable one is never answered
    right by abstaining (`abstains`).

    Args:
        tolerance: relative, for `size_numeric`; counts are exact.
    """
    if not answerable:
        return is_abstention(prediction)
    if is_abstention(prediction):
        return not abstains(prediction, answers, candidates, answerable)
    return QUESTION_TYPES[question_type].matches(prediction, answers, candidates, tolerance)


def abstains(prediction: str, answers: Answers, candidates: Candidates, answerable: bool) -> bool:
    """Whether a text abstains: it says so, and is not what an accepted answer of an answerable question says.

    "N/A" on a form is an answer, and so is the option "cannot be determined", given by text or by letter.
    """
    if not is_abstention(prediction):
        return False
    return not (answerable and prediction.strip() and matches_option(prediction, answers, candidates))


def judge(prediction: Record, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether one line of a prediction file is right (fields of docs/contract.md)."""
    candidates = candidates_of(prediction)
    text = "" if prediction.get("abstained") else prediction["pred"]
    answerable = prediction.get("answerable", True)
    return is_correct(prediction["qtype"], text, prediction["answers"], candidates, tolerance, answerable)


def candidates_of(prediction: Record) -> list[str] | None:
    """The closed set of one line of a prediction file, from the line or from its question; None without one.

    Of lettered options the given candidates may be the letters alone; their texts stand in the question.
    """
    given = prediction.get("answer_candidates")
    if given is not None and any(len(candidate) > 1 for candidate in given):
        return given
    return (
        build_candidates(prediction["qtype"], prediction.get("question", ""), prediction["answers"]) or given
    )


def _normalized(texts: Iterable[str]) -> set[str]:
    return {normalize_text(text) for text in texts}


# "Is there", "does the", "are they": a question that yes or no answers, when no answer is known. The first
# word is not enough: "Can you name ...?"; an alternative ("a CT or an MRI?") wants one of its two.
_ASKS_YES_NO = re.compile(
    r"\s*(?:is|are|was|were|does|do|did|has|have|can|could|will)\b(?!.*\bor\b)(?! you\b)", re.I | re.S
)
_ASKS_COLOR = re.compile(r"\b(?:what|which)(?:'s| is| are)?(?: the)? colou?rs?\b", re.I)
_ASKS_COUNT = re.compile(r"\bhow many\b|\bnumber of\b", re.I)
_ASKS_SIZE = re.compile(
    r"\b(?:sizes?|diameter|dimensions?|length|width|height|thickness|depth|area|volume)\b"
    r"|\bhow (?:large|big|long|wide|tall|high|thick|deep|small)\b",
    re.I,
)


def _infers_yes_no(question: str, answers: Answers, candidates: Candidates) -> bool:
    if candidates and not _normalized(candidates) <= set(YES_NO):
        return False
    if answers:
        return _normalized(answers) <= set(YES_NO)
    return bool(candidates) or _ASKS_YES_NO.match(question) is not None


def _infers_color(question: str, answers: Answers, candidates: Candidates) -> bool:
    if candidates and not _all_are_colors(candidates):
        return False
    named = bool(answers) and _all_are_colors(answers)
    return (named or _ASKS_COLOR.search(question) is not None) and not parse_options(question)


def _all_are_colors(texts: Iterable[str]) -> bool:
    return {_american(text) for text in texts} <= set(COLORS)


def _infers_mcq(question: str, answers: Answers, candidates: Candidates) -> bool:
    return bool(candidates) or bool(parse_options(question))


def _infers_count(question: str, answers: Answers, candidates: Candidates) -> bool:
    return _ASKS_COUNT.search(question) is not None and _all_state_a_number(answers)


def _infers_size(question: str, answers: Answers, candidates: Candidates) -> bool:
    return _ASKS_SIZE.search(question) is not None and bool(answers) and _all_state_a_number(answers)


def _all_state_a_number(answers: Answers) -> bool:
    return all(read_quantity(answer) is not None for answer in answers)


def _never(question: str, answers: Answers, candidates: Candidates) -> bool:
    return False  # said by the data set, never inferred


def _no_candidates(question: str, answers: Answers) -> None:
    return None


def _candidates_of_record(record: Record) -> str | None:
    return candidates_grammar(record["answer_candidates"]) if record["answer_candidates"] else None


def _free(record: Record) -> None:
    return None


def _same_text(prediction: str, answers: Answers, candidates: Candidates, tolerance: float) -> bool:
    return matches_text(prediction, answers)


def _same_color(prediction: str, answers: Answers, candidates: Candidates, tolerance: float) -> bool:
    # One colour, two spellings: American and British.
    return matches_text(_american(prediction), [_american(answer) for answer in answers])


def _american(text: str) -> str:
    """Normalized, with "grey" as in `COLORS`."""
    return re.sub(r"\bgrey", "gray", normalize_text(text))


for _question_type in (
    QuestionType(
        "yes_no",
        infers=_infers_yes_no,
        candidates=lambda question, answers: list(YES_NO),
        matches=lambda prediction, answers, *_: matches_yes_no(prediction, answers),
        answer_grammar=_candidates_of_record,
        scored=True,
    ),
    QuestionType(
        "color",
        infers=_infers_color,
        candidates=lambda question, answers: list(COLORS),
        matches=_same_color,
        answer_grammar=_candidates_of_record,
        scored=True,
    ),
    QuestionType(
        "mcq",
        infers=_infers_mcq,
        candidates=lambda question, answers: parse_options(question) or None,
        matches=lambda prediction, answers, candidates, _: matches_option(prediction, answers, candidates),
        answer_grammar=_candidates_of_record,
        scored=True,
    ),
    QuestionType(
        "count_numeric",
        infers=_infers_count,
        candidates=_no_candidates,
        matches=lambda prediction, answers, *_: matches_count(prediction, answers),
        answer_grammar=lambda record: number_grammar((), whole=True),
    ),
    QuestionType(
        "size_numeric",
        infers=_infers_size,
        candidates=_no_candidates,
        matches=lambda prediction, answers, _, tolerance: matches_size(prediction, answers, tolerance),
        answer_grammar=lambda record: number_grammar(ranges=True),
    ),
    QuestionType("transcription", _never, _no_candidates, _same_text, _free),
    QuestionType("extractive", _never, _no_candidates, _same_text, _free),
    QuestionType("open_ended", lambda question, answers, candidates: True, _no_candidates, _same_text, _free),
):
    register(_question_type, before=None)
