"""`consistency`: the caption is about what was asked, in words of its own."""

import re
import unicodedata
from collections.abc import Callable, Sequence

from rewards.completions import Column, Completion, filled, read_answers
from vqa.embeddings import shared_encoder

Similarity = Callable[[list[str], list[str]], list[float]]

# Words that hold no content of their own; those of other languages merely count as content.
FUNCTION_WORDS = frozenset(
    """a an the this that these those it its there here of in on at to from by with for as and or but not no
    is are was were be been being am do does did has have had can could will would shall should may might must
    what which who whom whose where when why how many much i you he she we they me us them my your his her our
    their if then than so some any all each both one ones image picture photo show shows shown see seen
    """.split()
)
_NEW_FOR_EACH_REPEATED = 2  # words a caption must bring to earn the whole cosine
_OPENING = 3  # so many words of the question in a row are a quotation of it
_MOST_QUOTED = 64  # words
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?;\n])")


def consistency_reward(
    completions: Sequence[Completion],
    *,
    question: Column = None,
    similarity: Similarity | None = None,
    **_,
) -> list[float | None]:
    """Cosine of question and caption, times the caption's share of new words; from 0 to 1.

    max(0, cosine(question, t)) * min(1, new / (2 repeated)), where t is the caption without what it asks or
    quotes of the question (`told`); new and repeated count the different content words of t that the question
    does not have, and has. A caption that brings two new words for each that it repeats earns the cosine of
    the metric; one that only repeats the question earns 0.

    >>> said = '{{"caption": "{}", "reasoning": [], "boxes": [], "answer": "red"}}'.format
    >>> texts = [said("A red disc."), said("what color is it"), said("What color is it? A red disc.")]
    >>> half = lambda questions, captions: [0.5] * len(captions)
    >>> consistency_reward(texts, question=["What color is it?"] * 3, similarity=half)
    [0.5, 0.0, 0.5]

    Args:
        similarity: the cosines of two lists of texts, pair by pair; default: those of the shared
            `vqa.embeddings.SentenceEncoder`, which encodes a batch's new texts together, each once.

    Returns:
        None without a question.
    """
    answers, questions = read_answers(completions), filled(question, len(completions))
    rewards: list[float | None] = []
    earning: dict[int, tuple[str, str, float]] = {}
    for answer, asked in zip(answers, questions, strict=True):
        if answer is not None and asked:
            text = told(answer.caption, asked)
            share = novelty(text, asked)
            if share:
                earning[len(rewards)] = asked, text, share
        rewards.append(None if answer is not None and not asked else 0.0)
    if earning:
        asked_texts, told_texts, shares = (list(column) for column in zip(*earning.values(), strict=True))
        cosines = (similarity or shared_encoder().similarity)(asked_texts, told_texts)
        for index, cosine, share in zip(earning, cosines, shares, strict=True):
            rewards[index] = min(max(cosine, 0.0), 1.0) * share
    return rewards


def told(caption: str, question: str) -> str:
    """The caption without sentences that ask and without quotations of the question.

    A quotation begins with the question's first three words and goes on as long as the two agree, whatever
    case, accents and invisible characters are in between. Without any, the caption comes back as it is.

    >>> told("A red disc.", "What color is it?"), told("Q: What color is it, red", "What color is it?")
    ('A red disc.', 'q: , red')
    """
    plain = _plain(caption)
    shorter = "".join(part for part in _SENTENCE_END.split(plain) if not part.endswith("?"))
    words = [re.escape(word) for word in _WORD.findall(_plain(question))[:_MOST_QUOTED]]
    if len(words) >= _OPENING:
        opening, rest = r"\W+".join(words[:_OPENING]), words[_OPENING:]
        further = "".join(rf"(?:\W+{word}" for word in rest) + ")?" * len(rest)
        shorter = re.sub(rf"\b{opening}{further}\b", " ", shorter)
    return caption if shorter == plain else re.sub(r"^\W+", "", " ".join(shorter.split()))


def novelty(text: str, question: str) -> float:
    """min(1, new / (2 repeated)) of a text's different content words; 0 where none is new.

    >>> novelty("a red disc", "Is the disc red?"), novelty("a red disc on white", "Is the disc red?")
    (0.0, 0.25)
    """
    words, asked = _content(text), _content(question)
    new, repeated = len(words - asked), len(words & asked)
    return min(1.0, new / (_NEW_FOR_EACH_REPEATED * repeated)) if repeated else float(new > 0)


def _content(text: str) -> set[str]:
    """Stems of the words that hold content: a plural or another ending makes no new word."""
    return {word.rstrip("s")[:4] for word in _WORD.findall(_plain(text)) if word not in FUNCTION_WORDS}


def _plain(text: str) -> str:
    """As a sentence encoder may read it: without case, accents, wide letters and invisible characters."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(
        letter for letter in letters if unicodedata.category(letter) not in ("Mn", "Cf")
    ).casefold()
