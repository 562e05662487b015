"""How the questions about a scene's layout and text are worded; see `shape_wordings` for the notation."""

from vqa.synthesis.shape_wordings import IN_IT

# fmt: off
SIDE = [
    "is {ref} in the {side} half[| of the image| of the picture]", "does {ref} lie in the {side} half",
    "is {ref} [closer|nearer] to the {edge} edge than to the {other}",
    "yes or no: {ref} is in the {side} half", "is it true that {ref} is in the {side} half",
    "would you find {ref} in the {side} half", "has {ref} been drawn in the {side} half",
    "do you see {ref} in the {side} half of the [image|picture]",
    "looking at the {side} half, do you find {ref} there", "is the {side} half where {ref} is",
    "is the center of {ref} in the {side} half", "is it wrong that {ref} is not in the {side} half",
]
NOT_SIDE = [
    "is {ref} not in the {side} half[| of the image| of the picture]", "is {ref} outside the {side} half",
    "is it false that {ref} is in the {side} half", "yes or no: {ref} is not in the {side} half",
    "is it true that {ref} is not in the {side} half",
    "would it be wrong to look for {ref} in the {side} half", "is {ref} anywhere but in the {side} half",
    "does {ref} not lie in the {side} half", "is the {side} half without {ref}",
    "is the center of {ref} not in the {side} half", "is {ref} missing from the {side} half",
    "is it not the case that {ref} is in the {side} half",
]
RELATION = [
    "is {ref} {relation} {other}", "does {ref} lie {relation} {other}",
    "is it true that {ref} is {relation} {other}", "yes or no: {ref} is {relation} {other}",
    "do you see {ref} {relation} {other}", "would you say {ref} is {relation} {other}",
    "was {ref} drawn {relation} {other}", "is {ref} placed {relation} {other}",
    "is it right that {ref} is {relation} {other}", "can {ref} be found {relation} {other}",
    "does one find {ref} {relation} {other}", "seen from {other}, is {ref} {relation} it",
]
NOT_RELATION = [
    "is {ref} not {relation} {other}", "is it false that {ref} is {relation} {other}",
    "does {ref} not lie {relation} {other}", "is it true that {ref} is not {relation} {other}",
    "yes or no: {ref} is not {relation} {other}", "would it be wrong to say that {ref} is {relation} {other}",
    "is it not the case that {ref} is {relation} {other}", "is {ref} anywhere but {relation} {other}",
    "is it wrong that {ref} is {relation} {other}", "was {ref} not drawn {relation} {other}",
    "is {ref} not placed {relation} {other}", "can {ref} not be found {relation} {other}",
]
LARGER = [
    "is {ref} {larger} than {other}", "is {ref} the {larger} of the two, compared with {other}",
    "compared with {other}, is {ref} {larger}", "is it true that {ref} is {larger} than {other}",
    "yes or no: {ref} is {larger} than {other}", "does {ref} look {larger} than {other}",
    "would you call {ref} {larger} than {other}", "was {ref} drawn {larger} than {other}",
    "next to {other}, does {ref} look {larger}", "between {ref} and {other}, is the first {larger}",
    "is the size of {ref} {larger} than that of {other}", "does {ref} appear {larger} than {other}",
]
NOT_LARGER = [
    "is {ref} not {larger} than {other}", "is it false that {ref} is {larger} than {other}",
    "compared with {other}, is {ref} not {larger}", "is it true that {ref} is not {larger} than {other}",
    "yes or no: {ref} is not {larger} than {other}", "does {ref} not look {larger} than {other}",
    "would it be wrong to call {ref} {larger} than {other}",
    "is it not the case that {ref} is {larger} than {other}", "was {ref} not drawn {larger} than {other}",
    "next to {other}, does {ref} not look {larger}", "between {ref} and {other}, is the first not {larger}",
    "does {ref} not appear {larger} than {other}",
]
HOW_MANY = [
    "how many {pl} [are there|are shown|can you see|do you see|are visible|are drawn]" + IN_IT,
    "what is the number of {pl}" + IN_IT, "count the {pl}" + IN_IT, "tell me how many {pl} there are",
    "give the number of {pl}" + IN_IT, "how many {pl} does the [image|picture] [contain|show|have]",
    "the number of {pl} is", "[in total, |]how many {pl}" + IN_IT,
    "what number of {pl} [is shown|do you count]", "how many {pl} [were drawn|appear]",
    "how many {pl} would you count", "of {pl}, how many are there", "state the number of {pl}" + IN_IT,
]
HAS_COUNT = [
    "are there [exactly |]{n} {pl}" + IN_IT, "do you count {n} {pl}", "is the number of {pl} {n}",
    "is it true that there are {n} {pl}", "does the [image|picture] [show|contain] exactly {n} {pl}",
    "yes or no: you see {n} {pl}", "is {n} the number of {pl}", "can you count {n} {pl}" + IN_IT,
    "would {n} be the right number of {pl}", "have {n} {pl} been drawn", "in total, are there {n} {pl}",
    "is {n} the right count of {pl}",
]
HAS_NOT_COUNT = [
    "are there not {n} {pl}" + IN_IT, "is the number of {pl} [other than|different from|not] {n}",
    "is it false that there are {n} {pl}", "yes or no: the number of {pl} is not {n}",
    "is {n} the wrong number of {pl}", "is it true that there are not {n} {pl}",
    "would it be wrong to count {n} {pl}", "does the picture not show {n} {pl}",
    "is it not the case that there are {n} {pl}", "is {n} not the number of {pl}",
    "would {n} be a wrong count of {pl}", "have not {n} {pl} been drawn",
]
READ_NUMBER = [
    "[what|which] number is [written|shown|printed]" + IN_IT, "what number can be read" + IN_IT,
    "read the number" + IN_IT, "which number do you see" + IN_IT, "what is the printed number",
    "what number appears" + IN_IT, "tell me the number in the picture",
    "what figure is printed in digits" + IN_IT, "name the number" + IN_IT, "the number in the picture is",
    "what do the digits say", "give the number that is written" + IN_IT,
]
TRANSCRIBE = [
    "transcribe the text" + IN_IT, "read all [the |]text" + IN_IT,
    "transcribe [the image|the picture|what is written]", "write down the text" + IN_IT,
    "copy the text" + IN_IT,
    "type out [the text|what is written]", "what is all the text" + IN_IT, "give the full text" + IN_IT,
    "read everything that is written" + IN_IT, "read out the text" + IN_IT,
    "which text is in the picture, exactly", "copy what is written" + IN_IT,
]
SAYS = [
    "does [the text|it|the picture] say \"{text}\"", "is \"{text}\" written" + IN_IT,
    "can you read \"{text}\"" + IN_IT, "is the text \"{text}\"", "is it true that it says \"{text}\"",
    "yes or no: it says \"{text}\"", "has \"{text}\" been written" + IN_IT, "do you read \"{text}\"" + IN_IT,
    "is \"{text}\" what is written", "does one read \"{text}\"" + IN_IT, "would you read this as \"{text}\"",
    "does \"{text}\" appear" + IN_IT,
]
SAYS_NOT = [
    "does [the text|it|the picture] not say \"{text}\"", "is something other than \"{text}\" written" + IN_IT,
    "is the text not \"{text}\"", "is it false that it says \"{text}\"",
    "yes or no: it does not say \"{text}\"", "is it true that \"{text}\" is not written" + IN_IT,
    "would it be wrong to read this as \"{text}\"", "is \"{text}\" nowhere to be read",
    "does \"{text}\" not appear" + IN_IT, "is it not the case that it says \"{text}\"",
    "is \"{text}\" not what is written", "is the text anything but \"{text}\"",
]
CHOOSE = [
    "{question}[?|:|,] [choose|pick|select] one[| answer]: {options}", "{question}[?|:|,| -] {options}",
    "{question}? options: {options}", "{question}[?|,] [which of these|one of these]: {options}",
    "[which one|your choice]: {question}[?|:|,] {options}", "{question}? [is it|would it be] {options}",
]
# fmt: on
