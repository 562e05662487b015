"""Questions about the words and numbers in a scene, and questions with their options spelled out."""

from vqa.synthesis import shape_layout_wordings as wordings
from vqa.synthesis import shape_wordings
from vqa.synthesis.shape_drawing import COLORS
from vqa.synthesis.shape_layout_questions import how_many, where
from vqa.synthesis.shape_questions import color_of, shape_of
from vqa.synthesis.shape_records import PLACES, Random, Record, make_record, make_yes_no, place, toss
from vqa.synthesis.shape_scenes import SHAPES, WORDS, Scene, Thing
from vqa.synthesis.shape_wordings import phrase


def read(rng: Random, scene: Scene) -> Record | None:
    """What does the word, or the number, say?"""
    if not scene.texts:
        return None
    text = rng.choice(scene.texts)
    patterns = wordings.READ_NUMBER if text.shape == "number" else shape_wordings.READ_WORD
    if len(scene.texts) == 1 and rng.random() < 0.35:
        return make_record(
            "transcribe",
            "transcription",
            phrase(rng, wordings.TRANSCRIBE),
            [text.text],
            things=[text],
            reasoning=[f"One {text.shape} is written, at the {place(text, scene)}."],
        )
    if len(scene.texts) > 1:
        patterns = [p for p in patterns if "text" not in p and "what does" not in p]
    return make_record(
        "read",
        "extractive",
        phrase(rng, patterns),
        [text.text],
        things=[text],
        reasoning=[f"The {text.shape} at the {place(text, scene)} is written in {text.color}."],
    )


def says(rng: Random, scene: Scene) -> Record | None:
    """Does it say this?"""
    if len(scene.texts) != 1:
        return None
    text = scene.texts[0]
    yes, negated, holds = toss(rng)
    asked = text.text if holds else _other_text(rng, text)
    return make_yes_no(
        rng,
        "says",
        yes,
        negated,
        wordings.SAYS_NOT if negated else wordings.SAYS,
        [text],
        [f"The {text.shape} reads {text.text}."],
        text=asked,
    )


def _other_text(rng: Random, text: Thing) -> str:
    """Another word in the same letter case, or another number of as many digits."""
    while True:
        if text.shape == "number":
            other = str(rng.randint(0, 10 ** len(text.text)))
        else:
            other = rng.choice(WORDS)
            other = (
                other.upper()
                if text.text.isupper()
                else other.capitalize()
                if text.text[0].isupper()
                else other
            )
        if other.lower() != text.text.lower():
            return other


def choose(rng: Random, scene: Scene) -> Record | None:
    """A colour, shape, place, count or text question with its options spelled out, plain or lettered."""
    maker = rng.choice([color_of, shape_of, where, how_many, read])
    record = maker(rng, scene)
    if record is None or len(record["answers"]) == 0:
        return None
    answer = record["answers"][0]
    if maker is read:
        text = next(text for text in scene.texts if text.text == answer)
        pool = [_other_text(rng, text) for _ in range(6)]
    else:
        pool = {color_of: list(COLORS), shape_of: SHAPES, where: sum(PLACES, []), how_many: list("012345")}[
            maker
        ]
    wrong = sorted({option for option in pool if option != answer})
    if not wrong:
        return None
    options = [answer, *rng.sample(wrong, min(len(wrong), rng.randint(1, 3)))]
    rng.shuffle(options)
    style = rng.choice(["plain", "plain", "text", "letter"])
    letters = "ABCD"[: len(options)]
    marks = rng.choice(["{}) {}", "({}) {}", "{}: {}", "{}. {}"])
    if style == "plain":
        listed = (", ".join(options[:-1]) + " or " + options[-1]) + rng.choice(["?", ""])
    else:
        listed = rng.choice([" ", ", ", "\n"]).join(
            marks.format(*pair) for pair in zip(letters, options, strict=True)
        )
    pattern = rng.choice(wordings.CHOOSE)
    question = phrase(rng, [pattern], question=record["question"].rstrip("?."), options="@").rstrip("?.")
    record["question"] = question.replace("@", listed)
    lettered = style == "letter"
    record |= {
        "question_type": "mcq",
        "answers": [letters[options.index(answer)]] if lettered else [answer],
        "answer_candidates": list(letters) if lettered else options,
        "meta": {"kind": "choose", "about": record["meta"]["kind"]},
    }
    if lettered:
        record["reasoning"] = [*record["reasoning"][:2], f"{answer} is option {record['answers'][0]}."]
    return record
