"""How the questions about shapes are worded: patterns with [one|of|these] choices and {slots}.

None of these patterns can produce a question template of easy-VQA (tests/test_shapes_not_easy_vqa.py checks
it on thousands of questions), so that the base model's score on that set says something about transfer.
"""

import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_IMPERATIVE = (
    "name",
    "tell",
    "give",
    "identify",
    "read",
    "transcribe",
    "write",
    "state",
    "yes",
    "true",
    "type",
    "say",
    "copy",
    "choose",
    "pick",
    "select",
    "report",
    "estimate",
    "spell",
)

# Where to look, or nothing; the second without "anywhere".
HERE = "[|| here| in [this|the] [picture|image|scene]| in the image| anywhere]"
IN_IT = "[|| here| in [this|the] [picture|image|scene]| in the image]"

# fmt: off
# {a}: "a red circle"; {bare}: "red circle"; {any}: "any red circle"; {pl}: "red circles".
EXISTS = [
    "[can you see|do you see|can you spot|can you find|can one see] [{a}|{any}]" + HERE,
    "does [this|the] [picture|scene|drawing] [show|contain|include|have] [{a}|{any}|at least one {bare}]",
    "does [this|the] image [show|include|contain] [{any}|at least one {bare}]",
    "is [any|at least one|some] {bare} [present|visible|shown|to be seen|in view|there]" + HERE,
    "is it [true|correct|right] that [there is {a}|{a} is present|{a} can be seen|it contains {a}]" + HERE,
    "are there any {pl}" + HERE, "are {pl} [present|visible|shown|to be found]" + HERE,
    "would you say that [there is {a}|the image contains {a}|{a} is visible]" + HERE,
    "is {a} [drawn|visible|part of the picture|among the things shown|to be seen]" + HERE,
    "is [one of the shapes|anything|something] here {a}",
    "yes or no: [there is {a}|the image contains {a}|{a} is present|I can see {a}]" + HERE,
    "would it be [right|true] to say that [there is {a}|{a} is present]" + HERE,
    "is there [any|at least one] {bare}" + HERE, "in [this|the] [picture|image], is there {any}",
    "there is {a}" + HERE + ", [right|true|correct|yes or no]",
    "has [someone drawn|the picture got] {a}" + HERE, "is [the|this] [image|picture] [one with|showing] {a}",
    # Double negations: yes when the thing is there.
    "would it be [wrong|false] to say that [there is no {bare}|no {bare} is present]" + HERE,
    "is it [false|not true|wrong] that [there is no {bare}|no {bare} can be seen|there are no {pl}]" + HERE,
]
ABSENT = [
    "is [the|this] [image|picture|scene|drawing] [free of|without|lacking|devoid of] {any_pl}",
    "does [the|this] [picture|scene|image] lack {a}",
    "does [the|this] [picture|scene] not [show|contain|include|have] [{a}|{any}]",
    "does [the|this] image not [show|include|have] [{a}|{any}]",
    "does [the|this] image not contain [{any}|a single {bare}]",
    "does [the|this] [image|picture] [contain|show|have|include] no [{bare}|{pl}]",
    "is it [true|correct|right] that "
    "[no {bare} [is present|can be seen|is visible]|there is no {bare}]" + HERE,
    "is it [true|correct] that [there is not {a}|{a} is not present|it does not contain {a}]" + HERE,
    "is it not the case that [there is {a}|{a} is present|{a} can be seen]" + HERE,
    "is it [false|wrong|not true] that [there is {a}|{a} is present|{a} can be seen]" + HERE,
    "would it be [wrong|false|a mistake] to say that [there is {a}|{a} is present|it contains {a}]" + HERE,
    "are there [no|not any] {pl}" + HERE, "are there no {pl} [present|visible|shown|to be seen]",
    "are {pl} [absent|missing|not present|not shown]" + HERE,
    "is {a} [absent|missing|nowhere to be seen|not there|not shown|not visible]" + HERE,
    "is there no {bare}" + HERE, "is there no {bare} [present|visible|to be seen|at all]",
    "is there not [any|a single|even one] {bare}" + HERE,
    "is no [single {bare}|{bare}|such thing as {a}] [visible|shown|drawn|to be seen|there]" + HERE,
    "is not [any|a single] {bare} [present|visible|shown]" + HERE,
    "yes or no: "
    "[there is no {bare}|there is not {a}|no {bare} is present|the image does not contain {any}]" + HERE,
    "can you confirm that [no {bare} is present|there is no {bare}|there are no {pl}]" + HERE,
    "in [this|the] [picture|image], is there no {bare}", "is every shape [here |]something other than {a}",
]
# About the colour {color} or the form {shape} of one thing, {ref}: "the circle", "the red shape".
HAS_COLOR = [
    "is {ref} {color}", "is {ref} [drawn|painted|filled] in {color}", "does {ref} [look|appear] {color}",
    "is {color} the color of {ref}", "would you call {ref} {color}", "is it true that {ref} is {color}",
    "does {ref} have [a|the] {color} color", "is {ref} a {color} one", "yes or no: {ref} is {color}",
    "can {ref} be called {color}", "is {ref}'s color {color}",
    "would it be wrong to say that {ref} is not {color}",
]
HAS_NOT_COLOR = [
    "is {ref} not {color}", "is {ref} [of a color other than|any color but|anything but] {color}",
    "is it false that {ref} is {color}", "does {ref} not [look|appear] {color}",
    "is {ref} of another color than {color}", "would it be wrong to call {ref} {color}",
    "is it true that {ref} is not {color}", "is {color} not the color of {ref}",
    "is it not the case that {ref} is {color}", "yes or no: {ref} is not {color}",
    "is {color} the wrong color for {ref}", "does {ref} have a color different from {color}",
]
HAS_SHAPE = [
    "is {ref} {a}", "is {ref} shaped like {a}", "would you call {ref} {a}", "is it true that {ref} is {a}",
    "does {ref} have the [form|shape] of {a}", "yes or no: {ref} is {a}", "does {ref} look like {a}",
    "can {ref} be called {a}", "is {a} what {ref} is", "would it be right to call {ref} {a}",
    "is {ref}'s form that of {a}", "is it false that {ref} is not {a}",
]
HAS_NOT_SHAPE = [
    "is {ref} not {a}", "is {ref} [something other than|anything but|no such thing as] {a}",
    "is it false that {ref} is {a}", "would it be wrong to call {ref} {a}",
    "is it true that {ref} is not {a}", "does {ref} not look like {a}",
    "is it not the case that {ref} is {a}", "yes or no: {ref} is not {a}", "is {ref} no {shape}",
    "is {ref} of another form than {a}", "does {ref} lack the form of {a}", "is {a} not what {ref} is",
]
COLOR_OF = [
    "which [color|colour] [does {ref} have|is {ref}|was used for {ref}]", "name the color of {ref}",
    "what is {ref}'s [color|colour]", "what color [was used for|does one see on|fills] {ref}",
    "{ref} is drawn in which color", "in [what|which] [color|colour] was {ref} [drawn|painted|filled|shown]",
    "tell me the color of {ref}", "what color does {ref} have", "what [color|colour] would you call {ref}",
    "give the color of {ref}", "{ref}: which color", "of which color is {ref}", "what color has {ref}",
    "what color can be seen on {ref}", "identify the color of {ref}", "which color do you see on {ref}",
    "what color has been given to {ref}", "say which color {ref} has", "look at {ref}. what is its color",
    "the color of {ref} is what",
]
SHAPE_OF = [
    "which shape is {color}", "what kind of [shape|figure|object] is {ref}", "name the form of {ref}",
    "{ref} is what [shape|kind of shape]", "what [form|shape] does {ref} have",
    "which [shape|figure|form] has the color {color}", "what is the [shape|form] of {ref}",
    "identify {ref} by its shape", "what shape is {color}", "which shape was drawn in {color}",
    "what shape has the color {color}", "tell me the shape of {ref}", "what shape would you call {ref}",
    "in {color} you see which shape", "what has been drawn in {color}", "what [geometric |]figure is {ref}",
    "say what shape {ref} has", "look at {ref}. what shape is it",
]
ONLY_SHAPE = [
    "which shape [do you see|can be seen|is shown|is drawn|appears|is visible|was drawn]" + IN_IT,
    "what shape [do you see|can be seen|is shown|is drawn|appears|is visible|was drawn]" + IN_IT,
    "name the shape" + IN_IT, "what kind of [shape|figure] [is [this|it]|is drawn here|can you see]",
    "what does the [image|picture] show", "what [figure|form] [is drawn|is visible|do you see]" + IN_IT,
    "identify the [only |]shape" + IN_IT, "what is the shape of the [object|thing|figure]" + IN_IT,
    "what geometric [shape|figure] is [this|shown|drawn|in the picture]",
    "the [object|thing] here has what shape", "what shape does the [object|thing|figure] have",
    "which shape does [the|this] [picture|image] [show|contain]",
    "what shape does [the|this] picture [show|contain|have]", "tell me what shape this is",
    "what is the only shape" + IN_IT, "which of all shapes is this",
    "what shape is [it|this|the object|drawn here]",
]
BACKGROUND = [
    "what is the color of the background", "which color does the background have",
    "name the background color", "the background is [what|which] color",
    "in which color is the background painted", "what color fills the background",
    "what color lies behind [everything|{ref}]", "tell me the background's color",
    "on what color has {ref} been drawn", "give the color of the background", "which color surrounds {ref}",
    "what background color do you see",
]
WHERE = [
    "where is {ref}", "where [in the image|in the picture|on the canvas] is {ref}",
    "in which part of the [image|picture] is {ref}", "at what place is {ref}",
    "what is the position of {ref}", "name the place of {ref}", "where do you [see|find] {ref}",
    "{ref} is where", "in which corner or side [is|lies] {ref}", "where has {ref} been drawn",
    "whereabouts is {ref}", "tell me where {ref} is", "which part of the picture holds {ref}",
    "give the position of {ref}",
]
HOW_WIDE = [
    "[about |]how {dim} is {ref} in pixels", "what is the {noun} of {ref} in pixels",
    "estimate the {noun} of {ref} in pixels", "how many pixels {dim} is {ref}",
    "give the {noun} of {ref} in pixels", "what would {ref}'s {noun} be in pixels",
    "in pixels, [about |]how {dim} is {ref}", "what size in pixels is the {noun} of {ref}",
    "roughly how {dim} is {ref}, in pixels", "state the {noun} of {ref} [in pixels|as a number of pixels]",
    "measured in pixels, what is the {noun} of {ref}", "how {dim} was {ref} drawn, in pixels",
    "report the {noun} of {ref} in pixels",
]
READ_WORD = [
    "what [word|text] is written" + IN_IT, "which word can be read" + IN_IT,
    "what does [the text|it|the picture] say", "read the word" + IN_IT, "what word do you see" + IN_IT,
    "which word is shown" + IN_IT, "what is the written word", "name the word" + IN_IT,
    "what word has been printed" + IN_IT, "tell me the word in the [image|picture]",
    "what word appears" + IN_IT,
    "the word in the picture is", "give the word that is written" + IN_IT, "spell out the word" + IN_IT,
]
# fmt: on


def phrase(rng: random.Random, patterns: list[str], **slots: str) -> str:
    """One wording of a question: choices made, slots filled, half in lower case, some without end mark."""
    pattern = rng.choice(patterns)
    while match := _CHOICE.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    text = " ".join(pattern.format(**slots).split())
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.35:
        return text
    return text + ("." if text.lower().startswith(_IMPERATIVE) else "?")


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return ("an " if words[0].lower() in "aeio" else "a ") + words


def plural(words: str) -> str:
    """The plural of a noun phrase whose last word is regular."""
    return words + ("es" if words.endswith("s") else "s")
