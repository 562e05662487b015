"""Matching rules on single answers: text, yes/no, options, numbers."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vqa.metrics.matching import (
    matches_count,
    matches_option,
    matches_size,
    matches_text,
    normalize_text,
    parse_options,
    read_option,
    read_yes_no,
)
from vqa.metrics.numbers import Quantity, quantities_agree, read_quantity
from vqa.metrics.units import canonical_unit, conversion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Left \t Lobe. ", "left lobe"),
        ('"Left lobe."', "left lobe"),
        ("“left lobe”!", "left lobe"),
        ("'the surgeon's hand'", "the surgeon's hand"),
        ('"a" and "b"', '"a" and "b"'),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("?", "?"),
        ("N/A", "n/a"),
        ("50%", "50%"),
    ],
)
def test_normalize_text(text, expected):
    assert normalize_text(text) == expected


@given(st.text(max_size=40))
@example("ﬀ̣")
@example('"."')
@example("'a'?'")
def test_normalising_twice_changes_nothing(text):
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert normalize_text(unicodedata.normalize("NFD", text)) == once


def test_matches_text_takes_any_accepted_answer():
    assert matches_text("Phổi", ["gan", unicodedata.normalize("NFD", "phổi")])
    assert not matches_text("phoi", ["phổi"])
    assert not matches_text("!", ["?"])
    assert not matches_text("x", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("No.", "no"),
        ("**Yes**", "yes"),
        ("Yes, there is a nodule.", "yes"),
        ("Yes, there is no fracture.", "yes"),
        ("No, yes would be wrong", "no"),
        ("There is no nodule", "no"),
        ("The answer is yes.", "yes"),
        ("abnormal", None),
        ("normal", None),
        ("nothing", None),
        ("eyes", None),
        ("yes or no", None),
        ("Yes/No", None),
        ("no / yes", None),
        ("yes and no", None),
        ("yes, or no", None),
        ("Yes and/or no", None),
        ("it could be yes or no", None),
        ("yes and yes", "yes"),
        ("yes / yes or no", None),
        ("Yes & no", None),
        ("No or yes?", None),
        ("(yes/no)", None),
        ("no, and yes", None),
        ("yes and also no", "yes"),  # not joined directly: the first word stands
        ("Yes. No.", "yes"),
        ("yes no", "yes"),
        ("unknown", None),
        ("either yes or no", None),
        ("I would say no", "no"),
        ("nó", None),
        ("yesno", None),
        ("", None),
    ],
)
def test_read_yes_no(text, expected):
    assert read_yes_no(text) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which? A) red B) light blue C) green", ["red", "light blue", "green"]),
        ("Which?\nA. cat\nB. dog\nAnswer with the letter.", ["cat", "dog"]),
        ("Which is it: (a) one; (b) two or (c) three", ["one", "two", "three"]),
        ("A: x, B: y", ["x", "y"]),
        ("Is vitamin A. good?", []),
        ("Is vitamin (A) good? A) yes B) no", ["yes", "no"]),
        ("Which? A) x C) z", []),
        ("Which? A) B) y", []),
        ("What is this?", []),
        ("", []),
    ],
)
def test_parse_options(question, expected):
    assert parse_options(question) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", 1),
        ("(b)", 1),
        ("b.", 1),
        ("Light blue.", 1),
        ("B) light blue", 1),
        ("Option B: light blue", 1),
        ("The answer is B.", 1),
        ("Answer: green", 2),
        ("B)light blue", 1),
        ("b light blue", 1),
        ("**B**", 1),
        ("**B. Light blue**", 1),
        ("The correct answer is option (C).", 2),
        ("'B'", 1),
        ("B) red", None),
        ("B green", None),
        ("A nodule", None),
        ("D", None),
        ("light", None),
        ("A or B", None),
        ("", None),
    ],
)
def test_read_option(text, expected):
    assert read_option(text, ["red", "light blue", "green"]) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "right"),
    [
        ("(B)", "B", True),
        ("b)", "B", True),
        ("**B**", "B", True),
        ("The answer is B.", "B", True),
        ("My final answer: B", "B", True),
        ("B. oedema", "B", True),
        ("B", "B) oedema", True),
        ("oedema", "B. Oedema", True),
        ("B. oedema", "(B) oedema", True),
        ("C", "B", False),
        ("C. oedema", "B", False),
        ("C. oedema", "B. oedema", False),
        ("B. normal", "B. oedema", False),
        ("A nodule", "A", False),
        ("A", "A or B", False),
        ("", "B", False),
    ],
)
@pytest.mark.parametrize("options", [None, [], ["A", "B", "C", "D"]])
def test_letters_agree_where_the_options_texts_are_not_known(prediction, gold, right, options):
    assert matches_option(prediction, [gold], options) is right


def test_options_may_carry_their_letters_or_be_letters():
    options = ["A. oedema", "B. normal"]
    assert matches_option("normal", ["B"], options)
    assert matches_option("B. normal", ["normal"], options)
    assert not matches_option("A", ["normal"], options)
    assert matches_option("a", ["a"], ["b", "a"]) and not matches_option("b", ["a"], ["b", "a"])
    assert matches_option("cat", ["cat"], None) and not matches_option("A", ["cat"], None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10mm", Quantity(10, 10, "", "mm")),
        ("about 10 mm", Quantity(10, 10, "", "mm")),
        ("10 centimetres", Quantity(10, 10, "", "cm")),
        ("10 centimeters", Quantity(10, 10, "", "cm")),
        ("a 5-mm polyp", Quantity(5, 5, "", "mm")),
        ("5 mm²", Quantity(5, 5, "", "mm²")),
        ("5 square millimetres", Quantity(5, 5, "", "mm²")),
        ("5 mg/dL", Quantity(5, 5, "", "mg/dl")),
        ("12 per cent", Quantity(12, 12, "", "%")),
        ("There are 3 polyps", Quantity(3, 3)),
        ("3 in total", Quantity(3, 3)),
        ("3 in wide", Quantity(3, 3, "", "in")),
        ("twenty-one", Quantity(21, 21)),
        ("two hundred and five", Quantity(205, 205)),
        ("two thousand nineteen", Quantity(2019, 2019)),
        ("1,5 cm", Quantity(1.5, 1.5, "", "cm")),
        ("0,125", Quantity(0.125, 0.125)),
        ("1,234", Quantity(1234, 1234)),
        ("1,234.5", Quantity(1234.5, 1234.5)),
        ("1.234,5", Quantity(1234.5, 1234.5)),
        ("1.234.567", Quantity(1234567, 1234567)),
        (".5", Quantity(0.5, 0.5)),
        ("-20 HU", Quantity(-20, -20, "", "hu")),
        ("minus 20 HU", Quantity(-20, -20, "", "hu")),
        ("5 mm^2", Quantity(5, 5, "", "mm²")),
        ("5mm2", Quantity(5, 5, "", "mm²")),
        ("<5 mm", Quantity(5, 5, "<", "mm")),
        ("less than 5 mm", Quantity(5, 5, "<", "mm")),
        ("less than about 5 mm", Quantity(5, 5, "<", "mm")),
        ("≤5", Quantity(5, 5, "<=")),
        ("no more than 5", Quantity(5, 5, "<=")),
        ("5 mm or less", Quantity(5, 5, "<=", "mm")),
        ("at least 3", Quantity(3, 3, ">=")),
        ("5+", Quantity(5, 5, ">=")),
        ("discover 5", Quantity(5, 5)),
        ("5-10 mm", Quantity(5, 10, "", "mm")),
        ("5–10 mm", Quantity(5, 10, "", "mm")),
        ("5 mm to 1 cm", Quantity(0.5, 1, "", "cm")),
        ("between 5 and 10 mm", Quantity(5, 10, "", "mm")),
        ("three to five", Quantity(3, 5)),
        ("5‐10 mm", Quantity(5, 10, "", "mm")),  # the hyphens and dashes of Unicode
        ("5‑10 mm", Quantity(5, 10, "", "mm")),
        ("5‒10 mm", Quantity(5, 10, "", "mm")),
        ("5—10 mm", Quantity(5, 10, "", "mm")),
        ("5―10 mm", Quantity(5, 10, "", "mm")),
        ("5 − 10 mm", Quantity(5, 10, "", "mm")),
        ("5mm-10mm", Quantity(5, 10, "", "mm")),
        ("5‑mm", Quantity(5, 5, "", "mm")),
        ("-5 to -2", Quantity(-5, -2)),
        ("−5", Quantity(-5, -5)),
        ("＜5 mm", Quantity(5, 5, "<", "mm")),
        ("1.5 million", Quantity(1_500_000, 1_500_000)),
        ("two dozen", Quantity(24, 24)),
        ("a dozen polyps", Quantity(12, 12)),
        ("two and a half cm", Quantity(2.5, 2.5, "", "cm")),
        ("½ cm", Quantity(0.5, 0.5, "", "cm")),
        ("1½ cm", Quantity(1.5, 1.5, "", "cm")),
        ("1e3", Quantity(1000, 1000)),
        ('the size is "5"', Quantity(5, 5)),
        ('5"', Quantity(5, 5, "", "in")),
        ("5 cms", Quantity(5, 5, "", "cm")),
        ("120 mm Hg", Quantity(120, 120, "", "mmhg")),
        ("37 degrees C", Quantity(37, 37, "", "°c")),
        ("3 (three)", Quantity(3, 3)),
        ("10 mm (1 cm)", Quantity(10, 10, "", "mm")),
        ("the one on the left is 5 mm", Quantity(5, 5, "", "mm")),
        ("T2 lesion of 5 mm", Quantity(5, 5, "", "mm")),
        ("3 or 4", None),
        ("one or 2", None),
        ("3, 4", None),
        ("5 and 10 mm", None),
        ("10-5", None),
        ("10 mm x 5 mm", None),
        ("2 of 5", None),
        ("10-12-2020", None),
        ("10.12.2020", None),
        ("3,4,5", None),
        ("1,23,456", None),
        ("10x5 mm", None),
        ("10x2 mm", None),
        ("3X2", None),
        ("two-thirds", None),
        ("one half", None),
        ("10:30", None),
        ("1/2", None),
        ("two three", None),
        ("3rd", None),
        ("T2", None),
        ("large", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_read_quantity(text, expected):
    assert read_quantity(text) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "right"),
    [
        ("10mm", "1 cm", True),
        ("0.01 m", "10 mm", True),
        ("10", "10 mm", True),
        ("10 mm", "10", True),
        ("10 cm", "10 mm", False),
        ("10 kg", "10 mm", False),
        ("5 mm", "<5 mm", False),
        ("<5 mm", "5 mm", False),
        ("<5", "less than 5 mm", True),
        ("<5 mm", "≤5 mm", False),
        ("5 to 10 mm", "5–10mm", True),
        ("0.5-1 cm", "5-10 mm", True),
        ("5 mm", "5-10 mm", False),
        ("5-12 mm", "5-10 mm", False),
        ("10.5 mm", "10 mm", True),
        ("9.5 mm", "10 mm", True),
        ("10.51 mm", "10 mm", False),
        ("0", "0", True),
        ("0.001", "0", False),
        ("-10", "10", False),
        ("-10.2", "-10", True),
        ("1.05", "1", True),  # at the boundary, where floats are off by 4e-17
        ("0.315", "0.3", True),
        ("0.285", "0.3", True),
        ("0.31501", "0.3", False),
        ("5.25-10.5 mm", "5-10 mm", True),
        ("0 cm", "0 mm", True),
        (".5", "0.5", True),
        ('"5"', "5 mm", True),
        ("10x5", "10", False),
        ("1½", "1", False),
        ("<0.5 cm", "<5 mm", True),
        (">5 mm", "<5 mm", False),
        ("at least 5 mm", "≥5 mm", True),
        ("It is about 1 centimeter wide.", "10 millimetres", True),
        ("twenty-one mm", "2,1 cm", True),
        ("3 and 4", "3", False),
        ("3, maybe 4", "3", False),
        ("3 or 4", "3", False),
        ("3 or 4", "3 or 4", True),
    ],
)
def test_sizes(prediction, gold, right):
    assert matches_size(prediction, [gold], 0.05) is right


def test_the_tolerance_is_the_one_asked_for():
    assert not matches_size("10.5 mm", ["10 mm"], 0.0)
    assert matches_size("10 mm", ["1 cm"], 0.0)
    assert matches_size("11 mm", ["10 mm"], 0.1)


def test_counts_are_exact():
    assert matches_count("Three", ["3"]) and matches_count("3.0", ["3"]) and matches_count("1,000", ["1000"])
    assert not matches_count("100", ["101"]) and not matches_count("3-4", ["3"])
    assert matches_count("There are 3 polyps", ["three"]) and matches_count("a dozen", ["12"])
    assert not matches_count("3 or 4", ["3"]) and not matches_count("more than 3", ["3"])
    assert not matches_count("3.01", ["3"]) and not matches_count("33", ["3"])


@given(st.integers(0, 999_999), st.sampled_from(["mm", "cm", "m", "in"]))
def test_a_quantity_survives_words_around_it(value, unit):
    assert read_quantity(f"It measures about {value} {unit}.") == Quantity(value, value, "", unit)


@given(st.decimals("0.001", "99999", places=3), st.integers(1, 20))
def test_the_tolerance_includes_its_boundary(gold, percent):
    for at_boundary in (gold * (100 + percent) / 100, gold * (100 - percent) / 100):
        assert matches_size(f"{at_boundary:f} mm", [f"{gold} mm"], percent / 100)
    assert not matches_size(f"{gold * (1001 + 10 * percent) / 1000:f} mm", [f"{gold} mm"], percent / 100)


@given(st.sampled_from("-‐‑‒–—―−"), st.sampled_from(["", " "]), st.integers(0, 500), st.integers(1, 500))
def test_any_dash_makes_an_interval(dash, space, low, width):
    text = f"{low}{space}{dash}{space}{low + width} mm"
    assert read_quantity(text) == Quantity(low, low + width, "", "mm")
    assert matches_size(text, [f"{low} to {low + width}"], 0.05)
    assert not matches_size(f"{low} mm", [text], 0.05)


@given(
    st.sampled_from(["and", "or", "/", " / ", ", or", "and/or", "&"]),
    st.booleans(),
    st.text("abc .,\n", max_size=9),
)
def test_a_hedge_is_neither(joint, swapped, rest):
    first, second = ("no", "yes") if swapped else ("yes", "no")
    assert read_yes_no(f"{first} {joint} {second} {rest}") is None
    assert read_yes_no(f"{first}, {rest}") == first


_UNIT_PAIRS = st.sampled_from([("mm", "cm"), ("cm", "m"), ("min", "h"), ("g", "kg")])


@given(st.floats(0.01, 1e6), st.floats(0, 0.5), _UNIT_PAIRS)
def test_converting_units_changes_no_verdict(value, tolerance, units):
    near, far = units
    gold = Quantity(value, value, "", near)
    converted = value * conversion(near, far)
    assert quantities_agree(Quantity(converted, converted, "", far), gold, tolerance)
    assert not quantities_agree(Quantity(converted * 1.6, converted * 1.6, "", far), gold, tolerance)


@given(st.text(max_size=60))
@example("1" * 5000)
@example("one " * 2000)
@example("- " * 2000 + "5")
@example("yes" + "/" * 3000)
@example("5" + " " * 5000 + "-")
@example("9" * 400 + " million ½")
def test_any_text_is_read_without_failing(text):
    quantity = read_quantity(text)
    assert quantity is None or quantity.low <= quantity.high
    assert read_yes_no(text) in ("yes", "no", None)
    assert all(option.strip() for option in parse_options(text))
    assert read_option(text, ["a", "b"]) in (0, 1, None)


def test_spellings_of_units():
    assert {canonical_unit(text) for text in ("mm", "MM", "millimetre", "Millimeters")} == {"mm"}
    assert {canonical_unit(text) for text in ("µm", "μm", "um", "microns")} == {"µm"}
    assert {canonical_unit(text) for text in ("cm3", "cm^3", "cm³", "cc", "cubic centimetres")} == {"ml"}
    assert canonical_unit("polyps") is None and canonical_unit("mm/foo") is None
    assert conversion("mm", "kg") is None and conversion("in", "cm") == pytest.approx(2.54)
