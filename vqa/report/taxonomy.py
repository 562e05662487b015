"""What kind of error a wrong answer is, by rule: a first guess that a reader may correct in the report.

The rules are tried in the order of `RULES` and the first that holds names the error. What broke the
answer as a whole comes first (its form, answering at all), then rules that need exact agreement with
something (a count, a number, another answer of the page), then those that go by likeness.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from vqa.answers import is_abstention
from vqa.metrics.grounding import pointing_iou
from vqa.metrics.matching import normalize_text
from vqa.metrics.numbers import Quantity, quantities_agree, read_quantity
from vqa.metrics.text import ANLS_THRESHOLD, anls, token_recall
from vqa.metrics.units import conversion

Prediction = Mapping[str, Any]
PageAnswers = Mapping[tuple[str, ...], Collection[tuple[str, str]]]

TEXT_TYPES = ("extractive", "transcription", "open_ended")
READ_TYPES = ("extractive", "transcription")
CLOSED_SETS = ("yes_no", "mcq")  # their wrong answers are options, not things found on the page
SIZE_TOLERANCE = 0.05
NEAR_SIZE = 0.2  # a size this far off, relative to the accepted one, is a near miss
MISREAD = 0.75  # share of the characters that must agree where single ones were misread
MISREAD_EDITS = 2  # in a short text so many characters may differ all the same
_COMMON_UNITS = ("µm", "mm", "cm", "m", "in", "mg", "g", "kg", "ml", "l", "s", "min", "h", "mo", "yr")

# Letters that recognisers take for one another; each group becomes its first member.
_CONFUSED = ("0oq", "1il|!", "2z", "5s", "8b", "6g", "uv")
_CONFUSIONS = str.maketrans({letter: group[0] for group in _CONFUSED for letter in group[1:]})


def error_kind(prediction: Prediction, page_answers: PageAnswers | None = None) -> str:
    """The kind of error of an answer that was judged wrong: a name of `KINDS`.

    Args:
        prediction: a complete line of a prediction file.
        page_answers: from `answers_by_page`; without it, a distractor is found by its boxes only.
    """
    others = (page_answers or {}).get(tuple(prediction["images"]), ())
    for kind, rule in RULES.items():
        if rule(prediction, others):
            return kind
    return "other"


def answers_by_page(predictions: Iterable[Prediction]) -> PageAnswers:
    """(record's id, normalised accepted answer) of every answerable question, by the images asked about."""
    pages: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for row in predictions:
        if row["images"] and row["answerable"] and row["qtype"] not in CLOSED_SETS:
            accepted = {(row["id"], normalize_text(answer)) for answer in row["answers"]}
            pages.setdefault(tuple(row["images"]), set()).update(accepted)
    return pages


def is_invalid_format(row: Prediction, _: Collection) -> bool:
    """The text has not the form of its style, so that the answer was only guessed from it.

    A bare "unanswerable" is no broken form: every style may say so.
    """
    return row["valid_format"] is False and not (row["raw"].strip() and is_abstention(row["raw"]))


def is_hallucinated(row: Prediction, _: Collection) -> bool:
    """An answer, though the image does not hold one."""
    return not row["answerable"] and not row["abstained"]


def is_over_abstained(row: Prediction, _: Collection) -> bool:
    """No answer, though the image holds one."""
    return row["answerable"] and row["abstained"]


def is_off_by_one(row: Prediction, _: Collection) -> bool:
    """A count that is one more or one less than an accepted one."""
    return row["qtype"] == "count_numeric" and any(
        _is_one_number(predicted) and _is_one_number(gold) and abs(predicted.low - gold.low) == 1
        for predicted, gold in _quantities(row)
    )


def is_wrong_unit(row: Prediction, _: Collection) -> bool:
    """The right number with another unit, or the right amount in another unit that was left out.

    "10 cm" for "10 mm"; "10" for "1 cm", which 10 mm are; "0.45" for "45%".
    """
    return any(
        _same_number_other_unit(predicted, gold) or _same_amount_unit_left_out(predicted, gold)
        for predicted, gold in _quantities(row)
    )


def is_distractor(row: Prediction, others: Collection[tuple[str, str]]) -> bool:
    """Something else of the page: the accepted answer of another question about it, or boxes that lie
    wholly beside the evidence with a text that is not even like the accepted one."""
    if row["qtype"] in CLOSED_SETS:
        return False
    predicted = normalize_text(row["pred"])
    if any(identity != row["id"] and answer == predicted for identity, answer in others):
        return True
    beside = row["boxes"] and row["gt_boxes"] and pointing_iou(row) == 0
    return bool(beside) and not _is_alike(row)


def is_ocr_miss(row: Prediction, _: Collection) -> bool:
    """The right text with single characters misread, of a question whose answer is read from the image.

    Equal but for spaces, punctuation, accents and letters that look alike (0 and O, 1 and l, rn and m);
    or as many words, and at most a quarter of the characters (in short texts: two, not all) are others.
    """
    return row["qtype"] in READ_TYPES and any(_is_misread(row["pred"], gold) for gold in row["answers"])


def is_near_miss(row: Prediction, _: Collection) -> bool:
    """Partly right: ANLS of 0.5 or more, half of the accepted words found, or one text inside the other
    as whole words; a size that is at most 20% off; a colour with or without its shade ("light blue").

    Never of yes_no and mcq: "triangle" is spelled much like "rectangle", and is another option still.
    """
    if row["qtype"] in CLOSED_SETS or not row["answers"]:
        return False
    if row["qtype"] == "color":
        return any(_holds(gold, row["pred"]) or _holds(row["pred"], gold) for gold in row["answers"])
    if row["qtype"] in ("count_numeric", "size_numeric"):
        pairs = _quantities(row)
        return row["qtype"] == "size_numeric" and any(
            quantities_agree(_bare(predicted, True), _bare(gold, True), NEAR_SIZE)
            for predicted, gold in pairs
        )
    return _is_alike(row)


Rule = Callable[[Prediction, Collection[tuple[str, str]]], bool]

# In order of precedence.
RULES: dict[str, Rule] = {
    "invalid format": is_invalid_format,
    "hallucinated": is_hallucinated,
    "over-abstained": is_over_abstained,
    "count off by one": is_off_by_one,
    "unit": is_wrong_unit,
    "distractor on the page": is_distractor,
    "OCR miss": is_ocr_miss,
    "near miss": is_near_miss,
}
KINDS = (*RULES, "other")


def _is_one_number(quantity: Quantity) -> bool:
    return quantity.low == quantity.high and not quantity.comparator


def _quantities(row: Prediction) -> list[tuple[Quantity, Quantity]]:
    """(predicted, accepted) for every accepted answer, where both state one quantity."""
    if row["qtype"] in ("yes_no", "color", "mcq"):
        return []
    predicted = read_quantity(row["pred"])
    accepted = [read_quantity(answer) for answer in row["answers"]] if predicted else []
    return [(predicted, gold) for gold in accepted if gold]


def _bare(quantity: Quantity, keep_unit: bool = False) -> Quantity:
    """The quantity without its comparator and, unless kept, its unit."""
    return Quantity(quantity.low, quantity.high, "", quantity.unit if keep_unit else None)


def _same_number_other_unit(predicted: Quantity, gold: Quantity) -> bool:
    if not predicted.unit or not gold.unit or predicted.unit == gold.unit:
        return False
    return predicted.comparator == gold.comparator and quantities_agree(_bare(predicted), _bare(gold), 0.0)


def _same_amount_unit_left_out(predicted: Quantity, gold: Quantity) -> bool:
    if (predicted.unit is None) == (gold.unit is None) or predicted.comparator != gold.comparator:
        return False
    given = predicted.unit or gold.unit
    if given == "%":
        factors = [100.0]
    else:
        factors = [conversion(unit, given) for unit in _COMMON_UNITS if unit != given]
    for factor in (item for item in factors if item):
        scale = factor if predicted.unit is None else 1 / factor
        meant = Quantity(predicted.low * scale, predicted.high * scale)
        if predicted.low and quantities_agree(meant, _bare(gold), SIZE_TOLERANCE):
            return True
    return False


def _is_alike(row: Prediction) -> bool:
    answers = row["answers"]
    if not answers or not row["pred"].strip():
        return False
    recall = token_recall(row["pred"], answers)
    return (
        anls(row["pred"], answers) >= ANLS_THRESHOLD
        or (recall is not None and recall >= 0.5)
        or any(_holds(answer, row["pred"]) for answer in answers)
    )


def _holds(text: str, part: str) -> bool:
    """Whether the words of `part` stand in `text`, one after the other."""
    text, part = normalize_text(text), normalize_text(part)
    return bool(part) and f" {part} " in f" {text} "


def _is_misread(predicted: str, gold: str) -> bool:
    predicted, gold = normalize_text(predicted), normalize_text(gold)
    if not predicted or not gold:
        return False
    if _skeleton(predicted) == _skeleton(gold) != "":
        return True
    if len(predicted.split()) != len(gold.split()):
        return False
    longest, edits = max(len(predicted), len(gold)), Levenshtein.distance(predicted, gold)
    return edits <= (1 - MISREAD) * longest or (edits <= MISREAD_EDITS and edits < 0.5 * longest)


def _skeleton(text: str) -> str:
    """Letters and digits only, without accents, look-alikes brought together."""
    plain = unicodedata.normalize("NFD", text).replace("đ", "d").replace("rn", "m").replace("vv", "w")
    return "".join(letter for letter in plain if letter.isalnum() or letter in "|!").translate(_CONFUSIONS)


def count_kinds(kinds: Sequence[str]) -> dict[str, int]:
    """How often each kind occurs, in the order of `KINDS`; kinds that do not occur are left out."""
    return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}
