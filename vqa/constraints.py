r"""What may be answered, as grammars.

Each function gives a grammar in the EBNF dialect of `xgrammar`, which vLLM's structured outputs take
too; its start rule is `root`. Grammars of bare answers (`number_grammar`, `candidates_grammar`, or one of
your own) serve the `short` style as they are, and are put inside the other styles by
`structured_grammar` and `think_grammar`.

    root ::= "light " [a-z]+ | "caf\u00e9" ("s" | "")
"""

import json
import re
from collections.abc import Sequence

from vqa.answers import MAX_BOXES, THINK_CLOSE, THINK_OPEN, UNANSWERABLE

UNITS = (
    *("mm", "cm", "m", "km", "in", "inch", "inches", "ft", "nm", "µm", "um", "px", "pixel", "pixels"),
    *("mm2", "cm2", "mm²", "cm²", "mm3", "cm3", "mm³", "cm³"),
    *("mg", "g", "kg", "ml", "mL", "cc", "l", "L", "%", "°", "°C", "HU"),
    *("ms", "s", "min", "h", "days", "weeks", "months", "years"),
)

# Reasoning is text without tags: "<" may stand in it ("< 5 mm"), but not before "/", "t" or at the end.
_UNTAGGED = r"""( [^<] | "<"+ [^/t<] )"""
_UNTAGGED_VISIBLE = r"""( [^< \t\r\n] | "<"+ [^/t<] )"""
# The characters of a JSON string just as `write_structured` writes them: letters unescaped.
_JSON_CHARACTER = r"""[^"\\\x00-\x1f] | "\\" ( ["\\bfnrt] | "u00" [01] [0-9a-f] )"""
_COORDINATES = {
    "norm1000": r""""0" | "1000" | [1-9] [0-9]{0,2}""",
    "pixels": r""""0" | [1-9] [0-9]{0,3}""",
}
# Of several images, one below another: the reader knows where the last one ends.
_COORDINATES_OF_PAGES = r""""0" | [1-9] [0-9]{0,4}"""
_MAX_STEPS = 32


def number_grammar(units: Sequence[str] | None = None, *, whole: bool = False, ranges: bool = False) -> str:
    """A number, and after it an optional unit with or without a space.

    Args:
        units: the units admitted; None: `UNITS`; empty: none.
        whole: natural numbers only, as for counts.
        ranges: admit a comparator before (`<5 mm`) and a range (`11-20mm`) too.
    """
    units = UNITS if units is None else units
    number = "natural" if whole else '"-"? natural ( "." [0-9]{1,6} )?'
    quantity = "number"
    if ranges:
        compared = '( ( "<" | ">" | "<=" | ">=" | "≤" | "≥" ) " "? )? number'
        quantity = f'{compared} | number " "? ( "-" | "–" ) " "? number'
    tail = ' ( " "? unit )?' if units else ""
    rules = [f"root ::= ( {quantity} ){tail}", f"number ::= {number}", 'natural ::= "0" | [1-9] [0-9]{0,8}']
    if units:
        rules.append(f"unit ::= {' | '.join(map(literal, units))}")
    return "\n".join(rules) + "\n"


def candidates_grammar(candidates: Sequence[str]) -> str:
    """Exactly one of the candidates.

    Raises:
        ValueError: there are none.
    """
    if not candidates:
        raise ValueError("a grammar of candidates needs at least one")
    return f"root ::= {' | '.join(map(literal, candidates))}\n"


def admit_unanswerable(grammar: str) -> str:
    """The grammar of a bare answer, or the word for what cannot be answered."""
    return f"root ::= bare_root | {literal(UNANSWERABLE)}\n" + _embed(grammar, "bare_")


def structured_grammar(
    answer_rule: str | None = None,
    max_boxes: int = MAX_BOXES,
    box_format: str = "norm1000",
    box_rule: str | None = None,
    images: int = 1,
) -> str:
    """One object of the structured style, written as `vqa.answers.write_structured` writes it.

    A grammar cannot order coordinates: x0 < x1 and y0 < y1 are left to whoever reads the text.

    Args:
        answer_rule: grammar of the bare answer; None: any non-empty text. Its literals are escaped for
            JSON; its character classes must not admit quotes, backslashes and control characters.
        max_boxes: at most so many boxes.
        box_format: `norm1000` (integers 0 to 1000) or `pixels` (0 to 9999).
        box_rule: what a box may be, as the right-hand side of its rule (`vqa/documents/places.py`); None: any
            four coordinates; "": there are no boxes.
        images: of the record, whose boxes stand one below another (`vqa/page_boxes.py`).
    """
    head = _head(max_boxes, box_format, box_rule, images)
    return f"root ::= head {json_answer_grammar(answer_rule, start='answer')}" + head


def structured_head_grammar(
    max_boxes: int = MAX_BOXES,
    box_format: str = "norm1000",
    box_rule: str | None = None,
    images: int = 1,
) -> str:
    """The object up to and with `"answer": "`: what is written before the answer is decided."""
    head = _head(max_boxes, box_format, box_rule, images)
    return f"root ::= head\n{head}character ::= {_JSON_CHARACTER}\n"


def json_answer_grammar(answer_rule: str | None = None, start: str = "root") -> str:
    """What follows `"answer": "`: the answer inside its JSON string, the closing quote and brace."""
    answer = "character+" if answer_rule is None else "answer_root"
    opening = "" if start == "answer" else "root ::= "
    embedded = "" if answer_rule is None else _embed(answer_rule, "answer_", _json_escaped)
    return f'{opening}{answer} "\\"}}"\n{embedded}character ::= {_JSON_CHARACTER}\n'


def _head(max_boxes: int, box_format: str, box_rule: str | None, images: int) -> str:
    boxes = f'"" | box ( ", " box ){{0,{max_boxes - 1}}}'
    if box_rule is None:
        box_rule = '"[" coordinate ", " coordinate ", " coordinate ", " coordinate "]"'
        coordinate = _COORDINATES[box_format] if images < 2 else _COORDINATES_OF_PAGES
        box_rule += f"\ncoordinate ::= {coordinate}"
    return (
        'head ::= "{\\"caption\\": " string ", \\"reasoning\\": [" steps "]'
        ', \\"boxes\\": [" boxes "], \\"answer\\": \\""\n'
        'string ::= "\\"" character* "\\""\n'
        f'steps ::= "" | string ( ", " string ){{0,{_MAX_STEPS - 1}}}\n'
        + (f"boxes ::= {boxes}\nbox ::= {box_rule}\n" if box_rule else 'boxes ::= ""\n')
    )


def think_grammar(answer_rule: str | None = None) -> str:
    """`<think>...</think>`, then the answer.

    Args:
        answer_rule: grammar of the bare answer; None: any text without tags that does not start with a space.
    """
    return f"root ::= {_THOUGHTS} bare_root\n" + _embed(answer_rule or untagged_grammar(), "bare_")


def think_head_grammar() -> str:
    """`<think>...</think>`, and nothing after it."""
    return f"root ::= {_THOUGHTS}\n"


def untagged_grammar() -> str:
    """Any text without tags that does not start with a space: a free answer of the think style."""
    return f"root ::= {_UNTAGGED_VISIBLE} {_UNTAGGED}*\n"


def literal(text: str) -> str:
    r"""A text as an EBNF literal: `say "hi"` becomes `"say \"hi\""`.

    Raises:
        ValueError: the text is empty or holds a NUL, which the dialect cannot write.
    """
    if not text or "\0" in text:
        raise ValueError(f"{text!r} cannot be a literal of a grammar: it is empty or holds a NUL character")
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {chr(code): f"\\u{code:04x}" for code in (*range(1, 32), 127) if chr(code) not in _ESCAPES}
_THOUGHTS = f"{literal(THINK_OPEN)} {_UNTAGGED}* {literal(THINK_CLOSE)}"

_EBNF_TOKEN = re.compile(
    r'(?P<literal>"(?:[^"\\]|\\.)*")|\[(?:[^\]\\]|\\.)*\]|#[^\n]*|(?P<name>[A-Za-z_][\w.-]*)'
)


def _embed(grammar: str, prefix: str, rewrite_literal=lambda text: text) -> str:
    """The grammar with a prefix before each rule's name, so that it can stand inside another."""

    def rewrite(match: re.Match) -> str:
        if match["name"]:
            return prefix + match["name"]
        return rewrite_literal(match[0]) if match["literal"] else match[0]

    return _EBNF_TOKEN.sub(rewrite, grammar).rstrip("\n") + "\n"


def _json_escaped(ebnf_literal: str) -> str:
    text = re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", _unescape, ebnf_literal[1:-1])
    return literal(json.dumps(text, ensure_ascii=False)[1:-1]) if text else ebnf_literal


def _unescape(match: re.Match) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)
