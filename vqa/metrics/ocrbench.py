"""OCRBench's rule: the accepted text occurs in what the model wrote."""

import unicodedata
from collections.abc import Sequence


def ocrbench_match(prediction: str, answers: Sequence[str], handwritten_math: bool = False) -> bool:
    """Whether any accepted answer is contained in the prediction (Liu et al. 2023, "OCRBench").

    Case is ignored and line breaks are spaces. An empty accepted answer is contained in nothing, where the
    reference finds it in everything.

    Args:
        handwritten_math: the question is of HME100K: white space is ignored, case is not, since LaTeX's
            `\\Delta` and `\\delta` differ.
    """
    prepare = _without_spaces if handwritten_math else _folded
    written = prepare(prediction)
    return any(text and text in written for text in map(prepare, answers))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower().strip().replace("\n", " ")


def _without_spaces(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())
