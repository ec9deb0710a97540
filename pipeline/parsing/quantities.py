"""Parse printed quantities ("1.2 MPa", "35 ℃", "12,5 kg", "3公斤") and convert their units, with pint in decimals."""

import re
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline.parsing import Found, numbers
from pipeline.parsing.normalize import narrow

if TYPE_CHECKING:
    from pint import UnitRegistry

_PRINTED: dict[str, str] = {
    "℃": "degC", "°C": "degC", "ºC": "degC", "oC": "degC", "℉": "degF", "°F": "degF", "ºF": "degF",
    "摄氏度": "degC", "度": "degree", "Grad": "degree",
    "°": "degree", "%": "percent", "‰": "permille", "㎡": "m**2", "平方米": "m**2", "㎥": "m**3", "立方米": "m**3",
    "㎜": "mm", "㎝": "cm",
    "㎞": "km", "㎏": "kg", "㎎": "mg", "㎖": "ml", "㎾": "kW", "㎑": "kHz", "㎒": "MHz", "㎫": "MPa", "㎪": "kPa",
    "μ": "micro",
    "Ω": "ohm", "千克": "kg", "公斤": "kg", "克": "g", "吨": "tonne", "毫克": "mg", "毫升": "ml", "升": "l",
    "毫米": "mm", "厘米": "cm", "千米": "km", "公里": "km", "米": "m", "兆帕": "MPa", "千帕": "kPa", "帕": "Pa",
    "伏": "V", "安": "A", "千伏": "kV", "毫伏": "mV", "毫安": "mA", "微米": "um", "欧": "ohm", "欧姆": "ohm",
    "米/秒": "m/s", "毫米/秒": "mm/s", "立方米/小时": "m**3/h", "升/分": "l/min", "升/分钟": "l/min",
    "千瓦": "kW", "瓦": "W", "赫兹": "Hz", "秒": "s", "分钟": "min", "小时": "h", "天": "day", "转/分": "rpm",
    "r/min": "rpm",
    "U/min": "rpm", "1/min": "rpm", "tr/min": "rpm", "min-1": "rpm", "Std.": "h", "Stk": "count", "kgs": "kg",
    "KG": "kg", "KGS": "kg", "Kg": "kg",
    "MM": "mm", "CM": "cm", "ML": "ml", "Mpa": "MPa", "mpa": "MPa", "MPA": "MPa", "Kpa": "kPa", "kpa": "kPa",
    "KPa": "kPa", "Bar": "bar",
    "BAR": "bar", "PSI": "psi", "Lt": "l", "ltr": "l", "Liter": "l", "lbs": "lb", "LBS": "lb", "hrs": "h",
    "Hrs": "h", "Kw": "kW", "KW": "kW",
    "Nm": "N*m", "kNm": "kN*m", "Kwh": "kWh", "KWH": "kWh", "HZ": "Hz", "hz": "Hz", "rh": "percent", "%RH": "percent",
}  # fmt: skip
# Ambiguous signs: the wanted unit decides. "36度" is a temperature in °C, and energy in kWh.
_SHORT: dict[str, tuple[str, ...]] = {
    "度": ("degC", "kWh"), "°": ("degC", "degF"),
    "C": ("degC",), "F": ("degF",), "Grad": ("degC",), "kg/cm²": ("kgf/cm**2",), "kg/cm2": ("kgf/cm**2",),
}  # fmt: skip
_NUMBER = r"[-+]?\s?(?:[0-9]+(?:[.,' ][0-9]+)*|[.,][0-9]+)"
_UNIT = r"[^\s0-9.,;:()][^\s,;:()]{0,11}"
_POWER = re.compile(r"(?<![A-Za-z])([kcdmμu]?m)([23])(?![A-Za-z0-9])")  # m2, cm3: typed for m² and cm³
_WHOLE = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>\D.*)?", re.DOTALL)
_ANYWHERE = re.compile(rf"(?<![0-9A-Za-z.,:/])(?P<number>{_NUMBER})\s?(?P<unit>{_UNIT})")
_BEHIND = re.compile(rf"\s?(?P<unit>{_UNIT}+)(?!\s?[:=])")  # the + takes the whole word
_SHORT_WORD = re.compile(r"[A-Za-zµμ°%²³/*^'\"′″½¼¾⅓⅔]{1,5}")  # a word as short as a unit: "ber" may be a misread bar
_HEADED = re.compile(r"\s*(?:[(\[【]\s*([^()\[\]【】]{1,12}?)\s*[)\]】]|/\s*([^\s:]{1,12})|in\s+([^\s:]{1,12}))")
_REACH = 40  # characters around a number that may belong to it; bounds the time for lines of thousands of numbers
_JOINT = r"(?:[~–—±xX×-]|\.{2,3}|…|至|到|\b(?:to|bis|à)\b)"
_RANGE_BEFORE = re.compile(rf"(?:(?<![\w.,]){_NUMBER}\s?(?:{_UNIT})?\s?{_JOINT}|[<>≤≥≦≧≈])\s?$")
_RANGE_AFTER = re.compile(rf"\s?{_JOINT}\s?{_NUMBER}(?:\s?{_UNIT})?")


@lru_cache(maxsize=1)
def _registry() -> "UnitRegistry[Any]":
    from pint import UnitRegistry

    return UnitRegistry(non_int_type=Decimal, autoconvert_offset_to_baseunit=True, cache_folder=None)


@lru_cache(maxsize=1024)
def unit(text: str) -> Any:
    """The pint unit of a printed unit ("℃", "kPa", "r/min"); None where it is unknown."""
    import tokenize

    from pint.errors import PintError

    printed = text.strip()
    named = _PRINTED.get(printed) or _PRINTED.get(printed.rstrip(".")) or printed.rstrip(".")
    named = _POWER.sub(r"\1**\2", named)
    for sign, power in (("²", "**2"), ("³", "**3"), ("·", "*"), ("µ", "u"), ("μ", "u"), ("^", "**")):
        named = named.replace(sign, power)
    if not named or not re.fullmatch(r"[A-Za-z%_][A-Za-z0-9_%/* -]*", named):
        return None
    try:
        return _registry().Unit("percent" if named == "%" else named)
    except (
        PintError,
        tokenize.TokenError,
        SyntaxError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        AssertionError,
        ArithmeticError,  # lb/00
    ):
        return None


def convert(value: Decimal, printed: str, wanted: str) -> Decimal | None:
    """The value in the wanted unit, to 12 significant digits; None where a unit is unknown or the dimensions differ.

    Angles, turns, pieces and percent have no dimension, but are not converted into each other: 60 rpm is not 6.28 Hz.
    """
    from pint.errors import PintError

    source, target = unit(printed), unit(wanted)
    if source is None or target is None:
        return None
    if source == target:
        return value
    try:
        if not _same_dimension(source, target):
            meant = [named for short in _SHORT.get(printed.strip(), ()) if (named := unit(short)) is not None]
            source = next((named for named in meant if named == target or _differ_by_factor(named, target)), None)
        if source is None:
            return None
        if source == target:
            return value
        result = _registry().Quantity(value, source).to(target).magnitude
    except (PintError, ArithmeticError):
        return None
    with localcontext() as context:
        context.prec = 12
        exact = +Decimal(result)
    plain = exact.normalize()
    return plain.quantize(Decimal(1)) if plain == plain.to_integral_value() and abs(plain) < 10**12 else plain


def _same_dimension(one: Any, other: Any) -> bool:
    return bool(_registry().get_root_units(one)[1] == _registry().get_root_units(other)[1])


def _differ_by_factor(one: Any, other: Any) -> bool:
    """Same dimension and no offset: "36°" to K could be Celsius or Fahrenheit."""
    return _same_dimension(one, other) and not str(one).startswith("degree_")


def read(text: str, unit: str) -> tuple[Decimal, str] | None:
    """(value in `unit`, unit as printed), where the whole text is one quantity; else None.

    A number without a unit is in `unit` (forms print it in the heading); its printed unit is "".
    """
    plain = narrow(text).strip()
    match = _WHOLE.fullmatch(plain)
    if match is None:
        return None
    value = numbers.read(match["number"])
    if value is None:
        return None
    printed = (match["unit"] or "").strip()
    if not printed:
        return value, ""
    converted = convert(value, printed, unit)
    return None if converted is None else (converted, printed)


def find(text: str, unit: str) -> list[Found]:
    """Every number with a unit that converts to `unit`; values are (Decimal, unit as printed)."""
    plain = narrow(text)
    found = []
    for match in _ANYWHERE.finditer(plain):
        value = numbers.read(match["number"].replace("- ", "-"))
        if value is None:
            continue
        printed = match["unit"]
        while printed:
            converted = convert(value, printed, unit)
            if converted is not None:
                end = match.start("unit") + len(printed)
                quality = 1.0 if not plain[end : end + 1].isalpha() or "⺀" <= plain[end] <= "鿿" else 0.5
                found.append(Found(match.start("number"), end, (converted, printed), quality))
                break
            printed = printed[:-1]
    return found


def unit_in_heading(text: str) -> str:
    """The unit at the start of the text after a label, as in "Pressure (MPa)", "温度/℃", "Druck in bar"; or ""."""
    found = _HEADED.match(narrow(text))
    named = next((part for part in found.groups() if part), "") if found else ""
    return named if unit(named) is not None else ""


def whole(text: str, start: int, end: int) -> tuple[int, int]:
    """Extend the span of a number or measure to its unit, the sign of a limit, and the whole of a range or "12 x 8 cm".

    What follows a number is its unit where it is a known unit, or a word as short as one.
    """
    left, right = max(0, start - _REACH), min(len(text), end + _REACH)
    plain = narrow(text[left:right])
    start, end = start - left, end - left
    if re.fullmatch(_NUMBER, plain[start:end].strip()) and not _RANGE_AFTER.match(plain, end):
        behind = _BEHIND.match(plain, end)
        if behind and (_SHORT_WORD.fullmatch(behind["unit"]) or unit(behind["unit"]) is not None):
            end = behind.end()
    if before := _RANGE_BEFORE.search(plain[:start]):
        start = before.start()
    if after := _RANGE_AFTER.match(plain, end):
        end = after.end()
    return left + start, left + end
