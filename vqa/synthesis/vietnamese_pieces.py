"""Pieces of lines of a few words each, and which words are held out of training.

Whether a word is held out follows from its letters alone, so that any two sets agree on it however they are
drawn: a fifth of all words, chosen by their hash, in any case and with any punctuation around them.
"""

import hashlib
import random
import re
import unicodedata
from itertools import groupby

WORDS = ("all", "known", "held_out")
_ONE_IN = 5


def word_key(word: str) -> str:
    """What makes two written words the same: letters and digits in NFC, case folded; "" where it has none."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFC", word)).casefold()


def is_held_out(word: str) -> bool:
    """Whether a word belongs to the fifth that training does not see."""
    return hashlib.sha256(word_key(word).encode()).digest()[0] % _ONE_IN == 0


def piece_of(rng: random.Random, line: str, longest: int, words: str = "all") -> str:
    """Some neighbouring words of a line, as they stand there.

    Args:
        longest: most words; how many is drawn, from one on.
        words: `all`, or only those that are `known` or `held_out`.

    Returns:
        the words with a space in between; "" where the line has none of that kind.
    """

    def wanted(word: str) -> bool:
        return bool(word_key(word)) and (words == "all" or is_held_out(word) == (words == "held_out"))

    runs = [list(run) for kind, run in groupby(line.split(), wanted) if kind]
    if not runs:
        return ""
    run = rng.choice(runs)
    count = min(rng.randint(1, longest), len(run))
    start = rng.randint(0, len(run) - count)
    return " ".join(run[start : start + count])
