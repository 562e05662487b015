"""VQA accuracy against ten annotators, with the normalisation of the EvalAI servers."""

import functools
import re
from collections.abc import Sequence

# Facts of the reference, EvalAIAnswerProcessor (Pythia, now MMF, BSD-3-Clause), which extends the official
# VQA evaluation (GT-Vision-Lab/VQA, BSD-2-Clause). Its entries with capitals are left out: the text is
# lower case when they are looked up, so they never apply. Those that map to themselves are left out too.
_CONTRACTIONS = dict(
    pair.split(":")
    for pair in (
        "aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've "
        "couldnt've:couldn't've didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't hadnt've:hadn't've "
        "hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've he'dve:he'd've hes:he's "
        "howd:how'd howll:how'll hows:how's isnt:isn't itd:it'd itd've:it'd've it'dve:it'd've itll:it'll "
        "maam:ma'am mightnt:mightn't mightnt've:mightn't've mightn'tve:mightn't've mightve:might've "
        "mustnt:mustn't mustve:must've neednt:needn't notve:not've oclock:o'clock oughtnt:oughtn't "
        "ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't shed've:she'd've she'dve:she'd've "
        "shouldve:should've shouldnt:shouldn't shouldnt've:shouldn't've shouldn'tve:shouldn't've "
        "somebody'd:somebodyd somebodyd've:somebody'd've somebody'dve:somebody'd've "
        "somebodyll:somebody'll somebodys:somebody's someoned:someone'd someoned've:someone'd've "
        "someone'dve:someone'd've someonell:someone'll someones:someone's somethingd:something'd "
        "somethingd've:something'd've something'dve:something'd've somethingll:something'll thats:that's "
        "thered:there'd thered've:there'd've there'dve:there'd've therere:there're theres:there's "
        "theyd:they'd theyd've:they'd've they'dve:they'd've theyll:they'll theyre:they're theyve:they've "
        "twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've weve:we've werent:weren't whatll:what'll "
        "whatre:what're whats:what's whatve:what've whens:when's whered:where'd wheres:where's "
        "whereve:where've whod:who'd whod've:who'd've who'dve:who'd've wholl:who'll whos:who's "
        "whove:who've whyll:why'll whyre:why're whys:why's wont:won't wouldve:would've wouldnt:wouldn't "
        "wouldnt've:wouldn't've wouldn'tve:wouldn't've yall:y'all yall'll:y'all'll y'allll:y'all'll "
        "yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd youd've:you'd've "
        "you'dve:you'd've youll:you'll youre:you're youve:you've"
    ).split()
)
_NUMBERS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`!'  # commas and question marks are gone by then
_ANY_PUNCTUATION = re.compile(f"[{re.escape(_PUNCTUATION)}]")
_PERIOD = re.compile(r"\.(?!\d)")
AGREEING = 3  # as many annotators make an answer fully right


@functools.lru_cache(maxsize=1 << 16)  # ten annotators mostly write the same few answers
def evalai_normalize(text: str) -> str:
    """A text as the EvalAI servers compare it: lower case, no articles, punctuation or number words.

    In order: commas and question marks go, "'s" becomes a word; a punctuation mark that stands beside a
    space anywhere in the text goes, any other becomes a space; periods not before a digit go; zero to ten
    (and none) become digits; articles go; contractions get their apostrophes.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    if found := set(_ANY_PUNCTUATION.findall(text)):
        beside_space = {mark: f"{mark} " in text or f" {mark}" in text for mark in found}
        text = text.translate({ord(mark): "" if beside_space[mark] else " " for mark in found})
    text = _PERIOD.sub("", text)
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, annotations: Sequence[str]) -> float:
    """min(1, agreeing annotators / 3), averaged over leaving each annotator out in turn.

    With k of n annotators agreeing, leaving out one of the k leaves k - 1, any other k (Antol et al. 2015,
    "VQA: Visual Question Answering"). Annotators are told apart by their index, not by what they wrote.

    Raises:
        ValueError: no annotations.
    """
    if not annotations:
        raise ValueError("VQA accuracy needs the annotators' answers")
    said = evalai_normalize(prediction)
    agreeing = sum(said == evalai_normalize(answer) for answer in annotations)
    left_out = agreeing * min(1.0, (agreeing - 1) / AGREEING)
    others = (len(annotations) - agreeing) * min(1.0, agreeing / AGREEING)
    return (left_out + others) / len(annotations)
