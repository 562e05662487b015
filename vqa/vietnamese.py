"""Vietnamese spelling: the two placements of the tone mark, and Unicode's two ways to write a letter.

Only open syllables in `oa`, `oe` and `uy` differ: the old style marks the first vowel (hòa, khỏe, thủy), the
new one the second (hoà, khoẻ, thuỷ). Elsewhere both agree: hoàn, khuỷu, and quý, whose `u` belongs to `qu`.
The rule: https://vi.wikipedia.org/wiki/Quy_tắc_đặt_dấu_thanh_của_chữ_quốc_ngữ.
"""

import re
import unicodedata

PLACEMENTS = ("old", "new")

_TONES = "\u0300\u0301\u0309\u0303\u0323"  # grave, acute, hook above, tilde, dot below


def _with_tones(vowel: str) -> str:
    return "".join(unicodedata.normalize("NFC", vowel + tone) for tone in _TONES)


_ONSETS = "b|c|ch|d|đ|g|gh|h|k|kh|l|m|n|ng|ngh|nh|p|ph|r|s|t|th|tr|v|x"
# A whole word, since a Vietnamese word that is written together has one syllable: not "Lisbóa".
_OLD = re.compile(
    rf"(?<![^\W\d_])(?:{_ONSETS})?(?:[{_with_tones('o')}][ae]|[{_with_tones('u')}]y)(?![^\W\d_])", re.I
)
_NEW = re.compile(
    rf"(?<![^\W\d_])(?:{_ONSETS})?(?:o[{_with_tones('a')}{_with_tones('e')}]|u[{_with_tones('y')}])(?![^\W\d_])",
    re.I,
)
_STYLES = {"old": _OLD, "new": _NEW}


def find_tone_placements(text: str, placement: str) -> list[str]:
    """The words of `text` whose tone mark stands as in one style, `old` or `new`, and not in the other."""
    return _STYLES[placement].findall(unicodedata.normalize("NFC", text))


def place_tones(text: str, placement: str) -> str:
    """`text` in NFC with every tone mark placed in one style, `old` or `new`; nothing else changes.

    Reversible: no word has a meaning in one style only, so nothing is lost.
    """
    other = _STYLES["new" if placement == "old" else "old"]
    return other.sub(_move_tone, unicodedata.normalize("NFC", text))


def _move_tone(word: re.Match) -> str:
    """The tone mark of the word's last two letters moved to the one that does not have it."""
    letters = unicodedata.normalize("NFD", word[0][-2:])
    tone = next(mark for mark in letters if mark in _TONES)
    first, second = letters.replace(tone, "")
    marked = first + second + tone if letters[1] == tone else first + tone + second
    return word[0][:-2] + unicodedata.normalize("NFC", marked)
