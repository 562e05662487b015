"""Suspicions that the text of records raises: spelling, whitespace, brackets, answers that contradict."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from vqa.preparation.suspicions import READ_TYPES, Suspicion, fields_of_text, suspicion
from vqa.questions import is_correct
from vqa.raw_forms import IMAGE_NAMES
from vqa.record_checks import Record
from vqa.vietnamese import PLACEMENTS, find_tone_placements

# Spaces that look like one and are another character, or are not seen at all. U+3000 belongs to Chinese and
# Japanese text, the joiners U+200C and U+200D to other scripts.
ODD_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f"
INVISIBLE = "\u200b\u2060\ufeff\u00ad"
_WHITESPACE = {
    "spaces at an end": re.compile(r"^[ \t\n\r]|[ \t\n\r]$"),
    "several spaces in a row": re.compile(r"[ \t]{2,}"),
    "a tab": re.compile(r"\t"),
    "a space at the end of a line": re.compile(r"[ \t]\n|\n[ \t]+$"),
    "a carriage return": re.compile(r"\r"),
    "a special space character": re.compile(f"[{ODD_SPACES}]"),
    "an invisible character": re.compile(f"[{INVISIBLE}]"),
}
_SPACED = re.compile(r"\w[ ]+[,;:?!.](?=\s|$)")
_ATTACHED = re.compile(r"\w[,;:?!.](?=\s|$)")
_INTERVAL = re.compile(r"[(\[]\s*[-+]?[\w.∞]+\s*[,;]\s*[-+]?[\w.∞]+\s*[)\]]")
# Of the texts with brackets: the kind that fewer of them have may be misread.
RARE_BRACKETS = 0.1
_PARTNER = {")": "(", "]": "["}


def check_unicode(record_id: str, split: str, row: dict[str, Any]) -> Iterator[Suspicion]:
    """Text of the raw row that is not in NFC, most often decomposed (NFD); reading composes it."""
    for field, text in _raw_texts(row):
        if not unicodedata.is_normalized("NFC", text):
            decomposed = unicodedata.is_normalized("NFD", text)
            what = "decomposed (NFD)" if decomposed else "not composed (NFC)"
            yield Suspicion(
                record_id, split, "unicode", f"{field}: {text[:60]!r} is {what}", {"field": field}
            )


def check_whitespace(record: Record) -> Iterator[Suspicion]:
    """Whitespace that a model would have to learn for nothing."""
    for field, text in fields_of_text(record):
        found = [name for name, pattern in _WHITESPACE.items() if pattern.search(text)]
        if found:
            yield suspicion(record, "whitespace", f"{field}: {', '.join(found)}: {text[:60]!r}", field=field)


def check_space_before_punctuation(records: Sequence[Record]) -> Iterator[Suspicion]:
    """`word ,` where the set otherwise writes `word,`, and vice versa; questions and answers apart."""
    spaced: dict[str, list[tuple[Record, str, str]]] = defaultdict(list)
    attached: dict[str, list[tuple[Record, str, str]]] = defaultdict(list)
    for record in records:
        for field, text in fields_of_text(record, ("question", "answers")):
            kind = field.split("[")[0]
            if _SPACED.search(text):
                spaced[kind].append((record, field, text))
            elif _ATTACHED.search(text):
                attached[kind].append((record, field, text))
    for kind in spaced:
        few, many = sorted((spaced[kind], attached[kind]), key=len)
        which = "a space" if few is spaced[kind] else "no space"
        for record, field, text in few:
            reason = f"{field}: {which} before punctuation, unlike {len(many)} others: {text[:60]!r}"
            yield suspicion(record, "whitespace", reason, field=field)


def check_spacing_of_answers(records: Sequence[Record]) -> Iterator[Suspicion]:
    """Answers that differ from a more frequent one in spaces only: `5mm` beside `5 mm`."""
    spellings: dict[str, Counter] = defaultdict(Counter)
    for record in records:
        for answer in record["answers"]:
            if any(character.isalpha() for character in answer):
                spellings["".join(answer.split()).casefold()][" ".join(answer.split()).casefold()] += 1
    usual = {key: counter.most_common(1)[0] for key, counter in spellings.items() if len(counter) > 1}
    for record in records:
        for index, answer in enumerate(record["answers"]):
            most, count = usual.get("".join(answer.split()).casefold(), (None, 0))
            if most is not None and " ".join(answer.split()).casefold() != most:
                reason = (
                    f"answers[{index}]: {answer[:60]!r} is written {most[:60]!r} elsewhere ({count} times)"
                )
                yield suspicion(record, "whitespace", reason, field=f"answers[{index}]")


def check_tone_placement(records: Sequence[Record]) -> Iterator[Suspicion]:
    """Vietnamese words in the rarer of the two placements of tone marks, where the set has both."""
    found: dict[str, list[tuple[Record, str, list[str]]]] = {placement: [] for placement in PLACEMENTS}
    for record in records:
        for field, text in fields_of_text(record):
            if text.isascii():
                continue
            for placement, occurrences in found.items():
                if words := find_tone_placements(text, placement):
                    occurrences.append((record, field, words))
    counts = {placement: sum(len(words) for *_, words in found[placement]) for placement in PLACEMENTS}
    if not all(counts.values()):
        return
    rare, usual = sorted(PLACEMENTS, key=lambda placement: (counts[placement], placement))
    for record, field, words in found[rare]:
        reason = (
            f"{field}: {', '.join(words[:5])} has the tone mark in the {rare} place, like {counts[rare]} "
            f"words of the set; {counts[usual]} have it in the {usual} one"
        )
        yield suspicion(record, "tone_placement", reason, field=field)


def check_brackets(record: Record) -> Iterator[Suspicion]:
    """Texts where `(` and `[` may stand for each other: `(abc]`; in what was read off, a `[` never closed."""
    if record["question_type"] not in READ_TYPES:
        return
    for index, text in enumerate(record["answers"]):
        mixed, lone = _bracket_problems(_INTERVAL.sub("", text))
        problem = mixed or (lone if record["question_type"] != "open_ended" else "")
        if problem:
            yield suspicion(record, "brackets", f"answers[{index}]: {problem}: {text[:60]!r}")


def check_brackets_across(records: Sequence[Record]) -> Iterator[Suspicion]:
    """Texts that are equal but for `[` in one and `(` in the other; the rarer form is reported.

    So is, among transcriptions, the kind of bracket that a hand hardly ever writes: `RARE_BRACKETS`.
    """
    forms: dict[str, Counter] = defaultdict(Counter)
    kinds: Counter = Counter()
    texts = [
        (record, index, text)
        for record in records
        if record["question_type"] in READ_TYPES
        for index, text in enumerate(record["answers"])
        if re.search(r"[\[\]()]", text)
    ]
    for record, _, text in texts:
        forms[_as_parentheses(text)][text] += 1
        if record["question_type"] == "transcription":
            kinds.update(_bracket_kinds(text))
    rare = {kind for kind, count in kinds.items() if count < RARE_BRACKETS * kinds.total()}
    for record, index, text in texts:
        counter = forms[_as_parentheses(text)]
        usual = counter.most_common(1)[0][0]
        odd = rare & _bracket_kinds(text) if record["question_type"] == "transcription" else set()
        if text != usual:
            reason = f"answers[{index}]: {text[:60]!r} is written {usual[:60]!r} elsewhere"
            yield suspicion(record, "brackets", reason)
        elif odd:
            kind = odd.pop()
            reason = f"answers[{index}]: {text[:60]!r} is one of {kinds[kind]} texts with {kind}, "
            yield suspicion(record, "brackets", f"{reason}of {kinds.total()} with brackets")


def check_candidates(record: Record) -> Iterator[Suspicion]:
    """An accepted answer that is not among the candidates; the first one's absence is an error already."""
    candidates, kind = record["answer_candidates"], record["question_type"]
    for index, answer in enumerate(record["answers"]):
        if candidates and not any(is_correct(kind, text, [answer], candidates) for text in candidates):
            reason = f"answers[{index}]: {answer[:60]!r} is not among {', '.join(candidates[:12])}"
            yield suspicion(record, "candidates", reason)


def check_contradictions(records: Sequence[Record]) -> Iterator[Suspicion]:
    """The same question about byte-identical images with answers that exclude each other."""
    asked: dict[tuple, list[Record]] = defaultdict(list)
    for record in records:
        if record["images"]:
            options = record["answer_candidates"] if record["question_type"] == "mcq" else None
            key = (*record["image_sha256"], normal_question(record["question"]), str(sorted(options or [])))
            asked[key].append(record)
    for group in asked.values():
        for index, record in enumerate(group):
            other = next((other for other in group[:index] if not agree(record, other)), None)
            if other is not None:
                reason = f"answered {_shown(record)} here and {_shown(other)} in {other['id']}"
                yield suspicion(
                    record, "contradiction", reason, other=other["id"], other_split=other["split"]
                )


def normal_question(text: str) -> str:
    """A question without what does not change it: case, spaces, punctuation at its end."""
    return " ".join(text.casefold().split()).rstrip("?.!:; ")


def agree(first: Record, second: Record) -> bool:
    """Whether an accepted answer of one is right for the other, by the rule of its type."""
    if not (first["answerable"] and second["answerable"]):
        return first["answerable"] == second["answerable"]
    return any(
        is_correct(one["question_type"], answer, one["answers"], one["answer_candidates"])
        for one, other in ((first, second), (second, first))
        for answer in other["answers"]
    )


def _shown(record: Record) -> str:
    return repr(record["answers"][0][:60]) if record["answerable"] else "unanswerable"


def _as_parentheses(text: str) -> str:
    return text.replace("[", "(").replace("]", ")")


def _bracket_kinds(text: str) -> set[str]:
    return {kind for kind in ("()", "[]") if kind[0] in text or kind[1] in text}


def _bracket_problems(text: str) -> tuple[str, str]:
    """What is wrong with pairs that mix both kinds, and with a bracket that stands alone; empty: nothing."""
    opened: list[str] = []
    mixed = lone = ""
    for character in text:
        if character in "([":
            opened.append(character)
        elif character in _PARTNER:
            if not opened:
                lone = lone or (
                    "']' was never opened; is it a ')', a border or a letter?" * (character == "]")
                )
            elif opened.pop() != _PARTNER[character]:
                mixed = mixed or f"'{'[' if character == ')' else '('}' is closed by '{character}'"
    if "[" in opened:
        lone = "'[' is never closed; is it a '(', a border or a letter?"
    return mixed, lone


def _raw_texts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The strings of a raw row, but for the names of its images, whose bytes are the disk's."""
    waiting: list[tuple[str, Any]] = [
        (str(name), value) for name, value in reversed(row.items()) if name not in IMAGE_NAMES
    ]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, list):
            waiting += [(f"{name}[{index}]", item) for index, item in reversed(list(enumerate(value)))]
        elif isinstance(value, dict):
            waiting += [(f"{name}.{key}", item) for key, item in reversed(value.items())]
