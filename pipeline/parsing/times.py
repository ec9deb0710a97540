"""Parse printed times of day: 14:05 · 14:05:59 · 2:05 PM · 14h05 · 14.05 Uhr · 14时5分 · 下午2点5分."""

import re
from datetime import time

from pipeline.parsing import Found, without_overlaps
from pipeline.parsing.normalize import narrow

_GLUED = (  # a date may touch the hour: 02/25/201620:07 · 2014,12:05 · Mar06'1612:05
    r"(?:(?<![0-9])(?<![0-9][.,:])|(?<=[/.-](?:19|20)[0-9]{2})|(?<=(?:19|20)[0-9]{2}[.,:])|(?<='[0-9]{2})|"
    r"(?<=[0-9]/[0-9]{2}/[0-9]{2}))"
)
_NAMED_HALF = (  # 8:22PMCashier, but not 12:00 AMOUNT; and PH, PN as PM is misread
    r"(?P<half2>[ap])(?:m|(?-i:(?P<slip>[HN](?![A-Za-z0-9]))))(?:\b|(?=[0-9])|(?-i:(?=[A-Z][a-z])))"
)
_CLOCK = re.compile(
    _GLUED + r"(?P<hour>[01]?[0-9]|2[0-3])\s?(?P<mark>[:.h;])\s?(?P<minute>[0-5][0-9])"
    r"(?:\s?[:.]\s?(?P<second>[0-5][0-9]))?(?P<fraction>[.,][0-9]{1,6})?(?![0-9]|[:/][0-9])"
    rf"(?:\s?(?P<half>[ap])\b(?:\.?\s?m\b\.?)?|[.:\s]?{_NAMED_HALF}\.?|\s?(?P<word>uhr|hrs?|h)\b)?",
    re.IGNORECASE,
)
_HOUR = re.compile(r"(?<![0-9A-Za-z.,:/-])(?P<hour>1[0-2]|0?[1-9])\s?(?P<half>[ap])\.?\s?m\b\.?", re.IGNORECASE)
_CHINESE = re.compile(
    r"(?P<half>上午|下午|中午|晚上|早上|凌晨)?\s*(?<![0-9])(?P<hour>[01]?[0-9]|2[0-4])\s?[时時点點]"
    r"\s?(?:(?P<minute>[0-5]?[0-9])\s?分(?:\s?(?P<second>[0-5]?[0-9])\s?秒)?|(?P<exact>整))?"
)


def _time(match: re.Match[str]) -> time | None:
    groups = match.groupdict()
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    half = (groups.get("half") or groups.get("half2") or "").casefold()
    if half in ("a", "p"):
        if not 1 <= hour <= 12:
            # some cash registers print 14:05 PM; 14:05 AM is a contradiction
            return time(hour, minute, second) if half == "p" and 13 <= hour <= 23 else None
        hour = hour % 12 + (12 if half == "p" else 0)
    elif half in ("下午", "晚上") and 1 <= hour < 12:
        hour += 12
    micro = int((groups.get("fraction") or ".0")[1:].ljust(6, "0"))
    return time(hour, minute, second, micro) if hour < 24 else None


def find(text: str) -> list[Found]:
    """Every time of day in a line of OCR text; values are `datetime.time`.

    Quality is lower for a point between hour and minute ("14.05" may be an amount) and for a misread colon.
    """
    plain = narrow(text)
    found = []
    for pattern, base in ((_CHINESE, 1.0), (_CLOCK, 1.0), (_HOUR, 0.9)):
        for match in pattern.finditer(plain):
            value = _time(match)
            if value is None:
                continue
            groups = match.groupdict()
            named = bool(groups.get("half") or groups.get("half2") or groups.get("word"))
            quality = base
            if pattern is _CLOCK and match["mark"] in ".;" and not named:
                quality = 0.3 if match["mark"] == "." else 0.6
            if groups.get("slip"):
                quality *= 0.8
            if pattern is _CLOCK and match["mark"] == ":" and re.search(r":\s|\s:", match[0][:6]):
                quality *= 0.9
            found.append(Found(match.start(), match.end(), value, quality))
    return without_overlaps(found)


def read(text: str) -> time | None:
    """The time of day, where the whole text is one ("14.05" included); else None.

    A trailing "Z" is ignored. Any other offset from UTC gives None, because it would change the time.
    """
    plain = narrow(text).strip()
    if plain[-1:] in "Zz" and re.search("[0-9][zZ]$", plain):
        plain = plain[:-1]
    plain = plain.removeprefix("T")
    for pattern in (_CLOCK, _HOUR, _CHINESE):
        if match := pattern.fullmatch(plain):
            groups = match.groupdict()
            return None if groups.get("mark") == ";" or groups.get("slip") else _time(match)
    return None
