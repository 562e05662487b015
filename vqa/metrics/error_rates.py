"""Character and word error rates of transcriptions, over a whole corpus, by jiwer."""

import unicodedata
from collections.abc import Callable, Sequence

import jiwer

_BLOCK = 2000  # texts aligned at once: jiwer keeps every alignment, which bounds the memory


def character_error_rate(predictions: Sequence[str], references: Sequence[str]) -> float | None:
    """Edits in characters over the characters of all references; above 1 when much was made up.

    Both sides are brought to NFC, so that a letter with its marks is one character; white space at the
    ends is dropped, all other characters count, case and line breaks too.

    Returns:
        The rate, or None where the references together hold no character. An empty reference among others
        adds its insertions and no length.

    Raises:
        ValueError: not as many predictions as references.
    """
    return _error_rate(predictions, references, jiwer.process_characters, _nfc)


def word_error_rate(predictions: Sequence[str], references: Sequence[str]) -> float | None:
    """The same in words, which any white space separates.

    jiwer itself splits at spaces only, and so takes two lines for one word where they meet.

    Raises:
        ValueError: not as many predictions as references.
    """
    return _error_rate(predictions, references, jiwer.process_words, _spaced)


def _error_rate(
    predictions: Sequence[str],
    references: Sequence[str],
    process: Callable[[list[str], list[str]], jiwer.CharacterOutput | jiwer.WordOutput],
    prepare: Callable[[str], str],
) -> float | None:
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    errors = length = 0
    for start in range(0, len(references), _BLOCK):
        block = slice(start, start + _BLOCK)
        result = process([prepare(t) for t in references[block]], [prepare(t) for t in predictions[block]])
        errors += result.substitutions + result.deletions + result.insertions
        length += result.hits + result.substitutions + result.deletions
    return errors / length if length else None


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _spaced(text: str) -> str:
    return " ".join(_nfc(text).split())
