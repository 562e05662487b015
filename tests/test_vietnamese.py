"""Old and new placement of Vietnamese tone marks: which words differ, and that nothing else is touched."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.vietnamese import find_tone_placements, place_tones

PAIRS = [
    ("hòa", "hoà"), ("khỏe", "khoẻ"), ("thủy", "thuỷ"), ("HÓA", "HOÁ"), ("Lõa", "Loã"), ("họa", "hoạ"),
    ("tùy", "tuỳ"), ("lũy", "luỹ"), ("ngụy", "nguỵ"), ("xòe", "xoè"), ("òa", "oà"), ("ủy", "uỷ"),
    ("Góa", "Goá"), ("ĐỌA", "ĐOẠ"), ("Úy", "Uý"), ("THÚY", "THUÝ"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_each_pair_in_both_directions(old, new):
    assert place_tones(old, "new") == place_tones(new, "new") == new
    assert place_tones(new, "old") == place_tones(old, "old") == old
    assert find_tone_placements(f"({old}), {new}!", "old") == [old]
    assert find_tone_placements(f"({old}), {new}!", "new") == [new]


def test_words_spelt_alike_in_both_styles_and_other_languages_stay():
    for text in (
        "hoàn toán khuỷu quý quỳ Quỷ của mùa già khoái ngoài xoáy Huế",
        "Lisbóa, héroe, duruý",
        "oxýa",
    ):
        assert find_tone_placements(text, "old") == find_tone_placements(text, "new") == []
        assert place_tones(text, "old") == place_tones(text, "new") == text


def test_decomposed_text_is_composed_first():
    assert (
        place_tones(unicodedata.normalize("NFD", "Hòa bình ở Thủy Nguyên"), "new") == "Hoà bình ở Thuỷ Nguyên"
    )


def test_a_sentence_with_both_styles_gets_one():
    text = "Cộng hòa xã hội, Cộng hoà; sức khỏe_1 uỷ ban"
    assert place_tones(text, "new") == "Cộng hoà xã hội, Cộng hoà; sức khoẻ_1 uỷ ban"
    assert place_tones(text, "old") == "Cộng hòa xã hội, Cộng hòa; sức khỏe_1 ủy ban"


@given(st.text(alphabet="hkqthgoaeuyOAUY òóỏõọàáảãạèéẻẽẹùúủũụỳýỷỹỵÒÀ.,1\n\u0301"))
def test_conversion_is_lossless_and_settles(text):
    new = place_tones(text, "new")
    old = place_tones(new, "old")
    assert find_tone_placements(new, "old") == [] and find_tone_placements(old, "new") == []
    assert place_tones(old, "new") == new and place_tones(new, "new") == new
    # Only where the marks stand differs: without them the text is the same, and every word keeps its tone.
    marks = [sorted(unicodedata.normalize("NFD", word)) for word in text.split()]
    assert [sorted(unicodedata.normalize("NFD", word)) for word in new.split()] == marks
