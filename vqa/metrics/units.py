"""Units of measure: found behind a number, brought to a canonical name, converted within a dimension."""

import re

# dimension: {canonical name: (factor to the dimension's base, other spellings)}
_DIMENSIONS: dict[str, dict[str, tuple[float, str]]] = {
    "length": {
        "nm": (1e-9, "nanometre nanometer"),
        "µm": (1e-6, "um micron micrometre micrometer"),
        "mm": (1e-3, "mms millimetre millimeter"),
        "cm": (1e-2, "cms centimetre centimeter"),
        "dm": (1e-1, "decimetre decimeter"),
        "m": (1.0, "metre meter"),
        "km": (1e3, "kms kilometre kilometer"),
        "in": (0.0254, 'inch inches " ″'),
        "ft": (0.3048, "foot feet"),
        "yd": (0.9144, "yard"),
        "mi": (1609.344, "mile"),
    },
    "volume": {
        "µl": (1e-9, "ul microlitre microliter mm³ mm3"),
        "ml": (1e-6, "mls millilitre milliliter cc ccm cm³ cm3"),
        "cl": (1e-5, "centilitre centiliter"),
        "dl": (1e-4, "decilitre deciliter"),
        "l": (1e-3, "litre liter dm³ dm3"),
        "m³": (1.0, "m3"),
        "fl oz": (2.95735295625e-5, ""),
    },
    "area": {
        "µm²": (1e-12, "um² µm2 um2"),
        "mm²": (1e-6, "mm2"),
        "cm²": (1e-4, "cm2"),
        "m²": (1.0, "m2"),
        "km²": (1e6, "km2"),
        "in²": (0.00064516, "in2"),
        "ft²": (0.09290304, "ft2"),
    },
    "mass": {
        "ng": (1e-12, "nanogram"),
        "µg": (1e-9, "ug mcg microgram"),
        "mg": (1e-6, "milligram"),
        "g": (1e-3, "gm gms gram gramme"),
        "kg": (1.0, "kgs kilogram kilo"),
        "lb": (0.45359237, "lbs pound"),
        "oz": (0.028349523125, "ounce"),
    },
    "time": {
        "ms": (1e-3, "msec millisecond"),
        "s": (1.0, "sec second"),
        "min": (60.0, "mins minute"),
        "h": (3600.0, "hr hrs hour"),
        "d": (86400.0, "day"),
        "wk": (604800.0, "week"),
    },
    # Months differ in length, so they convert into years only.
    "calendar": {"mo": (1.0, "month"), "yr": (12.0, "yrs year")},
    "percent": {"%": (1.0, "percent per-cent pct")},
    "pixel": {"px": (1.0, "pixel")},
    "angle": {"°": (1.0, "deg degree")},
    "celsius": {"°c": (1.0, "°-c degree-c degrees-c degree-celsius degrees-celsius")},
    "fahrenheit": {"°f": (1.0, "°-f degree-f degrees-f degree-fahrenheit degrees-fahrenheit")},
    "pressure": {"mmhg": (1.0, "mm-hg"), "kpa": (7.500615758, "")},
    "radiodensity": {"hu": (1.0, "hounsfield")},
    "rate": {"bpm": (1.0, "")},
    "file size": {"kb": (1e3, "kilobyte"), "mb": (1e6, "megabyte"), "gb": (1e9, "gigabyte")},
}

_FACTORS: dict[str, tuple[str, float]] = {}  # canonical name -> (dimension, factor)
_CANONICAL: dict[str, str] = {}  # spelling -> canonical name
for _dimension, _units in _DIMENSIONS.items():
    for _name, (_factor, _spellings) in _units.items():
        _FACTORS[_name] = (_dimension, _factor)
        _CANONICAL[_name] = _name
        for _spelling in _spellings.split():
            _CANONICAL[_spelling.replace("-", " ")] = _name
            if len(_spelling) > 3 and not _spelling.endswith("s") and _spelling.isalpha():
                _CANONICAL[_spelling + "s"] = _name

# A unit follows its number directly, after a space or after a hyphen ("a 5-mm polyp").
_WORD = r"[^\W\d_]+(?:[²³]|\^?[23](?![0-9]))?"
_UNIT = re.compile(
    r"(?P<gap>[ \u00a0\u202f\u2009]*-?[ ]*)"
    r"(?P<unit>per cent|degrees? (?:celsius|fahrenheit|[cf])\b|mm hg\b|fl oz|°(?: ?[cf]\b)?|[%\"″]"
    rf"|(?:(?:square|sq\.?|cubic|cu\.?) )?{_WORD}(?:/{_WORD})?)"
)
_INCH_GOES_ON = re.compile(
    r"\s*(?:$|[.,;)\]]|(?:wide|long|high|tall|deep|thick|diameter|across|by|to)\b|[-–—x×])"
)
NO_NUMBER = "(no number)"


def read_unit(text: str, start: int, end: int) -> tuple[str | None, int]:
    """The unit behind the number `text[start:end]` (case-folded), and where it ends; (None, end) for none.

    The unit is `NO_NUMBER` where what follows shows that this is none: "3rd", "10x5".
    """
    match = _UNIT.match(text, end)
    if match is None:
        return None, end
    name, attached = match["unit"], not match["gap"]
    if attached and name in ("st", "nd", "rd", "th"):
        return NO_NUMBER, match.end()
    if name == "in" and not attached and not _INCH_GOES_ON.match(text, match.end()):
        return None, end  # "3 in total"
    if name == '"' and text[start - 1 : start] == '"':
        return None, end  # a quoted number, not inches
    unit = canonical_unit(name)
    if unit is None and attached:
        if name[-1] in "23" or text[match.end() : match.end() + 1].isdigit():  # "10x2", "10x5"
            return NO_NUMBER, match.end()
        unit = name  # "5foo": a unit that is not in the table agrees with itself only
    return (unit, match.end()) if unit else (None, end)


def canonical_unit(text: str) -> str | None:
    """The canonical name of a unit as written (case aside), or None: "centimetres" is "cm".

    "square millimetres", "sq mm", "mm^2" and "mm2" are "mm²"; a ratio of known units ("mg/dL") keeps
    its slash.
    """
    text = " ".join(text.casefold().replace("μ", "µ").split()).replace("^", "")
    if text in _CANONICAL:
        return _CANONICAL[text]
    if "/" in text:
        parts = [canonical_unit(part) for part in text.split("/")]
        return "/".join(part for part in parts if part) if all(parts) else None
    powers = re.fullmatch(r"(?:(square|sq\.?)|cubic|cu\.?) (.+)", text)
    if powers and (base := canonical_unit(powers[2])):
        return _CANONICAL.get(base + ("²" if powers[1] else "³"))
    return None


def conversion(source: str, target: str) -> float | None:
    """The factor by which an amount in `source` becomes one in `target` (canonical names), or None."""
    if source == target:
        return 1.0
    if source not in _FACTORS or target not in _FACTORS:
        return None
    (source_dimension, source_factor), (target_dimension, target_factor) = _FACTORS[source], _FACTORS[target]
    return source_factor / target_factor if source_dimension == target_dimension else None
