"""How the questions about shapes are worded: patterns with [one|of|these] choices and {slots}.

None of these patterns can produce a question template of easy-VQA (tests/test_shapes_not_easy_vqa.py checks
it on thousands of questions), so that the base model's score on that set says something about transfer.
"""

import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_IMPERATIVE = ("name", "tell", "give", "identify", "read", "transcribe", "write", "state", "yes", "true", "type",
               "say", "copy", "choose", "pick", "select", "report", "estimate", "spell")

# {a}: "a red circle"; {bare}: "red circle"; {any}: "any red circle"; {pl}: "red circles"; [ph]: where
_PH = "[|| here| in [this|the] [picture|image|scene]| in the image| anywhere]"
_AT = "[|| here| in [this|the] [picture|image|scene]| in the image]"

EXISTS = [
    "[can you see|do you see|can you spot|can you find|can one see] [{a}|{any}]" + _PH,
    "does [this|the] [picture|scene|drawing] [show|contain|include|have] [{a}|{any}|at least one {bare}]",
    "does [this|the] image [show|include|contain] [{any}|at least one {bare}]",
    "is [any|at least one|some] {bare} [present|visible|shown|to be seen|in view|there]" + _PH,
    "is it [true|correct|right] that [there is {a}|{a} is present|{a} can be seen|it contains {a}]" + _PH,
    "are there any {pl}" + _PH,
    "are {pl} [present|visible|shown|to be found]" + _PH,
    "would you say that [there is {a}|the image contains {a}|{a} is visible]" + _PH,
    "is {a} [drawn|visible|part of the picture|among the things shown|to be seen]" + _PH,
    "is [one of the shapes|anything|something] here {a}",
    "yes or no: [there is {a}|the image contains {a}|{a} is present|I can see {a}]" + _PH,
    "would it be [right|true] to say that [there is {a}|{a} is present]" + _PH,
    "is there [any|at least one] {bare}" + _PH,
    "in [this|the] [picture|image], is there {any}",
    "there is {a}" + _PH + ", [right|true|correct|yes or no]",
    "has [someone drawn|the picture got] {a}" + _PH,
    "is [the|this] [image|picture] [one with|showing] {a}",
    # Double negations: yes when the thing is there.
    "would it be [wrong|false] to say that [there is no {bare}|no {bare} is present]" + _PH,
    "is it [false|not true|wrong] that [there is no {bare}|no {bare} can be seen|there are no {pl}]" + _PH,
]
ABSENT = [
    "is [the|this] [image|picture|scene|drawing] [free of|without|lacking|devoid of] {any_pl}",
    "does [the|this] [picture|scene|image] lack {a}",
    "does [the|this] [picture|scene] not [show|contain|include|have] [{a}|{any}]",
    "does [the|this] image not [show|include|have] [{a}|{any}]",
    "does [the|this] image not contain [{any}|a single {bare}]",
    "does [the|this] [image|picture] [contain|show|have|include] no [{bare}|{pl}]",
    "is it [true|correct|right] that [no {bare} [is present|can be seen|is visible]|there is no {bare}]" + _PH,
    "is it [true|correct] that [there is not {a}|{a} is not present|it does not contain {a}]" + _PH,
    "is it not the case that [there is {a}|{a} is present|{a} can be seen]" + _PH,
    "is it [false|wrong|not true] that [there is {a}|{a} is present|{a} can be seen]" + _PH,
    "would it be [wrong|false|a mistake] to say that [there is {a}|{a} is present|it contains {a}]" + _PH,
    "are there [no|not any] {pl}" + _PH,
    "are there no {pl} [present|visible|shown|to be seen]",
    "are {pl} [absent|missing|not present|not shown]" + _PH,
    "is {a} [absent|missing|nowhere to be seen|not there|not shown|not visible]" + _PH,
    "is there no {bare}" + _PH,
    "is there no {bare} [present|visible|to be seen|at all]",
    "is there not [any|a single|even one] {bare}" + _PH,
    "is no [single |such thing as a ][{bare}] [visible|shown|drawn|to be seen|there]" + _PH,
    "is not [any|a single] {bare} [present|visible|shown]" + _PH,
    "yes or no: [there is no {bare}|there is not {a}|no {bare} is present|the image does not contain {any}]" + _PH,
    "can you confirm that [no {bare} is present|there is no {bare}|there are no {pl}]" + _PH,
    "in [this|the] [picture|image], is there no {bare}",
    "is every shape [here |]something other than {a}",
]
# About the colour {color} or the form {shape} of one thing, {ref} ("the circle", "the red shape", "the shape").
HAS_COLOR = [
    "is {ref} {color}", "is {ref} [drawn|painted|filled] in {color}", "does {ref} [look|appear] {color}",
    "is {color} the color of {ref}", "would you call {ref} {color}", "is it true that {ref} is {color}",
    "does {ref} have [a|the] {color} color", "is {ref} a {color} one", "yes or no: {ref} is {color}",
    "can {ref} be called {color}", "is {ref}'s color {color}", "would it be wrong to say that {ref} is not {color}",
]
HAS_NOT_COLOR = [
    "is {ref} not {color}", "is {ref} [of a color other than|any color but|anything but] {color}",
    "is it false that {ref} is {color}", "does {ref} not [look|appear] {color}", "is {ref} of another color than {color}",
    "would it be wrong to call {ref} {color}", "is it true that {ref} is not {color}", "is {color} not the color of {ref}",
    "is it not the case that {ref} is {color}", "yes or no: {ref} is not {color}", "is {color} the wrong color for {ref}",
    "does {ref} have a color different from {color}",
]
HAS_SHAPE = [
    "is {ref} {a}", "is {ref} shaped like {a}", "would you call {ref} {a}", "is it true that {ref} is {a}",
    "does {ref} have the [form|shape] of {a}", "yes or no: {ref} is {a}", "does {ref} look like {a}",
    "can {ref} be called {a}", "is {a} what {ref} is", "would it be right to call {ref} {a}",
    "is {ref}'s form that of {a}", "is it false that {ref} is not {a}",
]
HAS_NOT_SHAPE = [
    "is {ref} not {a}", "is {ref} [something other than|anything but|no such thing as] {a}", "is it false that {ref} is {a}",
    "would it be wrong to call {ref} {a}", "is it true that {ref} is not {a}", "does {ref} not look like {a}",
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
    "{ref} is what [shape|kind of shape]", "what [form|shape] does {ref} have", "which [shape|figure|form] has the color {color}",
    "what is the [shape|form] of {ref}", "identify {ref} by its shape", "what shape is {color}",
    "which shape was drawn in {color}", "what shape has the color {color}", "tell me the shape of {ref}",
    "what shape would you call {ref}", "in {color} you see which shape", "what has been drawn in {color}",
    "what [geometric |]figure is {ref}", "say what shape {ref} has", "look at {ref}. what shape is it",
]
ONLY_SHAPE = [
    "which shape [do you see|can be seen|is shown|is drawn|appears|is visible|was drawn]" + _AT,
    "what shape [do you see|can be seen|is shown|is drawn|appears|is visible|was drawn]" + _AT,
    "name the shape" + _AT, "what kind of [shape|figure] [is [this|it]|is drawn here|can you see]",
    "what does the [image|picture] show", "what [figure|form] [is drawn|is visible|do you see]" + _AT,
    "identify the [only |]shape" + _AT, "what is the shape of the [object|thing|figure]" + _AT,
    "what geometric [shape|figure] is [this|shown|drawn|in the picture]", "the [object|thing] here has what shape",
    "what shape does the [object|thing|figure] have", "which shape does [the|this] [picture|image] [show|contain]",
    "what shape does [the|this] picture [show|contain|have]", "tell me what shape this is",
    "what is the only shape" + _AT, "which of all shapes is this", "what shape is [it|this|the object|drawn here]",
]
WHERE = [
    "where is {ref}", "where [in the image|in the picture|on the canvas] is {ref}", "in which part of the [image|picture] is {ref}",
    "at what place is {ref}", "what is the position of {ref}", "name the place of {ref}", "where do you [see|find] {ref}",
    "{ref} is where", "in which corner or side [is|lies] {ref}", "where has {ref} been drawn", "whereabouts is {ref}",
    "tell me where {ref} is", "which part of the picture holds {ref}", "give the position of {ref}",
]
SIDE = [
    "is {ref} in the {side} half[| of the image| of the picture]", "does {ref} lie in the {side} half",
    "is {ref} [closer|nearer] to the {edge} edge than to the {other}", "yes or no: {ref} is in the {side} half",
    "is it true that {ref} is in the {side} half", "would you find {ref} in the {side} half",
    "has {ref} been drawn in the {side} half", "do you see {ref} in the {side} half of the [image|picture]",
    "looking at the {side} half, do you find {ref} there", "is the {side} half where {ref} is",
    "is the center of {ref} in the {side} half", "is it wrong that {ref} is not in the {side} half",
]
NOT_SIDE = [
    "is {ref} not in the {side} half[| of the image| of the picture]", "is {ref} outside the {side} half",
    "is it false that {ref} is in the {side} half", "yes or no: {ref} is not in the {side} half",
    "is it true that {ref} is not in the {side} half", "would it be wrong to look for {ref} in the {side} half",
    "is {ref} anywhere but in the {side} half", "does {ref} not lie in the {side} half",
    "is the {side} half without {ref}", "is the center of {ref} not in the {side} half",
    "is {ref} missing from the {side} half", "is it not the case that {ref} is in the {side} half",
]
RELATION = [
    "is {ref} {relation} {other}", "does {ref} lie {relation} {other}", "is it true that {ref} is {relation} {other}",
    "yes or no: {ref} is {relation} {other}", "do you see {ref} {relation} {other}", "would you say {ref} is {relation} {other}",
    "was {ref} drawn {relation} {other}", "is {ref} placed {relation} {other}", "is it right that {ref} is {relation} {other}",
    "can {ref} be found {relation} {other}", "does one find {ref} {relation} {other}", "seen from {other}, is {ref} {relation} it",
]
NOT_RELATION = [
    "is {ref} not {relation} {other}", "is it false that {ref} is {relation} {other}", "does {ref} not lie {relation} {other}",
    "is it true that {ref} is not {relation} {other}", "yes or no: {ref} is not {relation} {other}",
    "would it be wrong to say that {ref} is {relation} {other}", "is it not the case that {ref} is {relation} {other}",
    "is {ref} anywhere but {relation} {other}", "is it wrong that {ref} is {relation} {other}",
    "was {ref} not drawn {relation} {other}", "is {ref} not placed {relation} {other}", "can {ref} not be found {relation} {other}",
]
LARGER = [
    "is {ref} {larger} than {other}", "is {ref} the {larger} of the two, compared with {other}",
    "compared with {other}, is {ref} {larger}", "is it true that {ref} is {larger} than {other}",
    "yes or no: {ref} is {larger} than {other}", "does {ref} look {larger} than {other}", "would you call {ref} {larger} than {other}",
    "was {ref} drawn {larger} than {other}", "next to {other}, does {ref} look {larger}", "between {ref} and {other}, is the first {larger}",
    "is the size of {ref} {larger} than that of {other}", "does {ref} appear {larger} than {other}",
]
NOT_LARGER = [
    "is {ref} not {larger} than {other}", "is it false that {ref} is {larger} than {other}",
    "compared with {other}, is {ref} not {larger}", "is it true that {ref} is not {larger} than {other}",
    "yes or no: {ref} is not {larger} than {other}", "does {ref} not look {larger} than {other}",
    "would it be wrong to call {ref} {larger} than {other}", "is it not the case that {ref} is {larger} than {other}",
    "was {ref} not drawn {larger} than {other}", "next to {other}, does {ref} not look {larger}",
    "between {ref} and {other}, is the first not {larger}", "does {ref} not appear {larger} than {other}",
]
HOW_MANY = [
    "how many {pl} [are there|are shown|can you see|do you see|are visible|are drawn]" + _AT,
    "what is the number of {pl}" + _AT, "count the {pl}" + _AT, "tell me how many {pl} there are", "give the number of {pl}" + _AT,
    "how many {pl} does the [image|picture] [contain|show|have]", "the number of {pl} is", "[in total, |]how many {pl}" + _AT,
    "what number of {pl} [is shown|do you count]", "how many {pl} [were drawn|appear]", "how many {pl} would you count",
    "of {pl}, how many are there", "state the number of {pl}" + _AT,
]
HAS_COUNT = [
    "are there [exactly |]{n} {pl}" + _AT, "do you count {n} {pl}", "is the number of {pl} {n}",
    "is it true that there are {n} {pl}", "does the [image|picture] [show|contain] exactly {n} {pl}", "yes or no: you see {n} {pl}",
    "is {n} the number of {pl}", "can you count {n} {pl}" + _AT, "would {n} be the right number of {pl}",
    "have {n} {pl} been drawn", "in total, are there {n} {pl}", "is {n} the right count of {pl}",
]
HAS_NOT_COUNT = [
    "are there not {n} {pl}" + _AT, "is the number of {pl} [other than|different from|not] {n}",
    "is it false that there are {n} {pl}", "yes or no: the number of {pl} is not {n}", "is {n} the wrong number of {pl}",
    "is it true that there are not {n} {pl}", "would it be wrong to count {n} {pl}", "does the picture not show {n} {pl}",
    "is it not the case that there are {n} {pl}", "is {n} not the number of {pl}", "would {n} be a wrong count of {pl}",
    "have not {n} {pl} been drawn",
]
HOW_WIDE = [
    "[about |]how {dim} is {ref} in pixels", "what is the {noun} of {ref} in pixels", "estimate the {noun} of {ref} in pixels",
    "how many pixels {dim} is {ref}", "give the {noun} of {ref} in pixels", "what would {ref}'s {noun} be in pixels",
    "in pixels, [about |]how {dim} is {ref}", "what size in pixels is the {noun} of {ref}", "roughly how {dim} is {ref}, in pixels",
    "state the {noun} of {ref} [in pixels|as a number of pixels]", "measured in pixels, what is the {noun} of {ref}",
    "how {dim} was {ref} drawn, in pixels", "report the {noun} of {ref} in pixels",
]
BACKGROUND = [
    "what is the color of the background", "which color does the background have", "name the background color",
    "the background is [what|which] color", "in which color is the background painted", "what color fills the background",
    "what color lies behind [everything|{ref}]", "tell me the background's color", "on what color has {ref} been drawn",
    "give the color of the background", "which color surrounds {ref}", "what background color do you see",
]
READ_WORD = [
    "what [word|text] is written" + _AT, "which word can be read" + _AT, "what does [the text|it|the picture] say", "read the word" + _AT,
    "what word do you see" + _AT, "which word is shown" + _AT, "what is the written word", "name the word" + _AT,
    "what word has been printed" + _AT, "tell me the word in the [image|picture]", "what word appears" + _AT,
    "the word in the picture is", "give the word that is written" + _AT, "spell out the word" + _AT,
]
READ_NUMBER = [
    "[what|which] number is [written|shown|printed]" + _AT, "what number can be read" + _AT, "read the number" + _AT,
    "which number do you see" + _AT, "what is the printed number", "what number appears" + _AT, "tell me the number in the picture",
    "what figure is printed in digits" + _AT, "name the number" + _AT, "the number in the picture is", "what do the digits say",
    "give the number that is written" + _AT,
]
TRANSCRIBE = [
    "transcribe the text" + _AT, "read all [the |]text" + _AT, "transcribe [the image|the picture|what is written]", "write down the text" + _AT,
    "copy the text" + _AT, "type out [the text|what is written]", "what is all the text" + _AT, "give the full text" + _AT,
    "read everything that is written" + _AT, "read out the text" + _AT, "which text is in the picture, exactly", "copy what is written" + _AT,
]
SAYS = [
    "does [the text|it|the picture] say \"{text}\"", "is \"{text}\" written" + _AT, "can you read \"{text}\"" + _AT, "is the text \"{text}\"",
    "is it true that it says \"{text}\"", "yes or no: it says \"{text}\"", "has \"{text}\" been written" + _AT, "do you read \"{text}\"" + _AT,
    "is \"{text}\" what is written", "does one read \"{text}\"" + _AT, "would you read this as \"{text}\"", "does \"{text}\" appear" + _AT,
]
SAYS_NOT = [
    "does [the text|it|the picture] not say \"{text}\"", "is something other than \"{text}\" written" + _AT, "is the text not \"{text}\"",
    "is it false that it says \"{text}\"", "yes or no: it does not say \"{text}\"", "is it true that \"{text}\" is not written" + _AT,
    "would it be wrong to read this as \"{text}\"", "is \"{text}\" nowhere to be read", "does \"{text}\" not appear" + _AT,
    "is it not the case that it says \"{text}\"", "is \"{text}\" not what is written", "is the text anything but \"{text}\"",
]
CHOOSE = [
    "{question}[?|:|,] [choose|pick|select] one[| answer]: {options}", "{question}[?|:|,| -] {options}",
    "{question}? options: {options}", "{question}[?|,] [which of these|one of these]: {options}",
    "[which one|your choice]: {question}[?|:|,] {options}", "{question}? [is it|would it be] {options}",
]


def phrase(rng: random.Random, patterns: list[str], **slots: str) -> str:
    """One wording of a question: choices made, slots filled, half in lower case, some without end mark."""
    pattern = rng.choice(patterns)
    while match := _CHOICE.search(pattern):
        pattern = pattern[:match.start()] + rng.choice(match[1].split("|")) + pattern[match.end():]
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
