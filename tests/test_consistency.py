"""Caption consistency: the table of coverage and accuracy, and the expansion by medical synonyms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.metrics.consistency import TAUS, consistency_table, expand_synonyms
from vqa.metrics.synonyms import _TERMS, GROUPS, _forms

SIMILARITIES = st.lists(st.tuples(st.floats(-1, 1), st.booleans()), max_size=30)
TERMS = [term for group in GROUPS for term in group]


def test_a_record_is_covered_from_tau_on():
    table = consistency_table([0.3, 0.4, 0.5, 0.2], [True, False, True, True])
    assert table == {
        "0.3": {"coverage": 0.75, "accuracy": pytest.approx(2 / 3)},
        "0.4": {"coverage": 0.5, "accuracy": 0.5},
        "0.5": {"coverage": 0.25, "accuracy": 1.0},
        "0.6": {"coverage": 0.0, "accuracy": None},
    }


def test_without_a_caption_there_is_neither_coverage_nor_accuracy():
    assert consistency_table([], []) == {f"{tau:g}": {"coverage": None, "accuracy": None} for tau in TAUS}


def test_other_thresholds_are_named_as_they_are_written():
    assert list(consistency_table([1.0], [True], taus=(0, 0.25, 1))) == ["0", "0.25", "1"]


def test_a_verdict_is_needed_for_every_similarity():
    with pytest.raises(ValueError):
        consistency_table([0.5, 0.6], [True])


@given(SIMILARITIES)
def test_coverage_falls_with_tau_and_the_order_of_records_does_not_matter(rows):
    table = consistency_table(*(list(column) for column in zip(*rows, strict=True)) if rows else ([], []))
    coverages = [row["coverage"] for row in table.values() if row["coverage"] is not None]
    assert coverages == sorted(coverages, reverse=True)
    assert all(0 <= value <= 1 for row in table.values() for value in row.values() if value is not None)
    backwards = rows[::-1]
    assert table == consistency_table([s for s, _ in backwards], [right for _, right in backwards])


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("Is the kidney enlarged?", "Is the kidney enlarged? (renal)"),
        ("RENAL failure", "RENAL failure (kidney)"),
        ("a CT-guided biopsy", "a CT-guided biopsy (computed tomography, cat scan)"),
        ("two X rays of the ribs", "two X rays of the ribs (radiograph, plain film, costal)"),
        ("xray", "xray (radiograph, plain film)"),
        ("arteries", "arteries (arterial)"),
        ("Kidney stones on the left", "Kidney stones on the left (renal calculus, nephrolithiasis)"),
        ("a small  bowel", "a small  bowel (small intestine)"),
        ("the kidney, renal cortex", "the kidney, renal cortex"),
        ("direct impetus of adrenal chests_", "direct impetus of adrenal chests_"),
        ("is it an X. Ray asked", "is it an X. Ray asked"),
        ("what color is it?", "what color is it?"),
        ("", ""),
    ],
)
def test_the_other_names_follow_in_brackets(text, expanded):
    assert expand_synonyms(text) == expanded


@given(st.lists(st.sampled_from([*TERMS, "small", "large", "kidneys", "x", "ray", ",", "of the", "(", "-"])))
def test_expansion_is_idempotent(parts):
    expanded = expand_synonyms(" ".join(parts))
    assert expand_synonyms(expanded) == expanded


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_every_name_of_a_group_brings_the_others(group):
    for term in group:
        for text in (term, term.upper(), f"the {term}s."):
            expanded = expand_synonyms(text)
            assert {other for other in group if other not in text.lower()} <= set(
                expanded[len(text) :].strip(" ()").split(", ")
            )


def test_no_name_stands_in_two_groups():
    assert len(TERMS) == len(set(TERMS))
    owners = {form: group for form, (_, group) in _TERMS.items()}
    assert [
        form for group in GROUPS for term in group for form in _forms(term) if owners[form] != group
    ] == []
