"""Parse printed dates: 15/06/2024 · 15.6.24 · 15 June 2024 · 15. Juni 2024 · 2024年6月15日 · 二〇二四年六月十五日.

Months in English, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Malay and Indonesian. Years from 1900
to 2099; years of two digits from 70 on are 19xx. Where an all-digit date is impossible in the given order but possible
in another (05/13/2018 as DMY), the possible one is used.
"""

import re
from collections.abc import Callable
from datetime import date

from pipeline.parsing import Found, without_overlaps
from pipeline.parsing.normalize import narrow, unaccented

_MONTH_NAMES = (
    "january jan januar janner jan januari janv janvier enero ene janeiro gennaio gen styczen stycznia sty jänner",
    "february feb febr februar feber februari fev fevr fevrier febrero fevereiro febbraio luty lutego lut",
    "march mar marz mrz maerz maart mrt mars marzo março marco marca marzec mac maret",
    "april apr avril avr abril abr aprile kwiecien kwietnia kwi",
    "may mai mei mayo maio maggio mag maj maja",
    "june jun juni juin junio junho giugno giu czerwiec czerwca cze",
    "july jul juli juillet juil julio julho luglio lug lipiec lipca lip julai",
    "august aug augustus aout agosto ago sierpien sierpnia sie ogos ogo agustus agt",
    "september sep sept septembre septiembre setiembre setembro settembre set wrzesien wrzesnia wrz",
    "october oct oktober okt octobre octubre outubro out ottobre ott pazdziernik pazdziernika paz",
    "november nov novembre noviembre novembro listopad listopada lis nopember",
    "december dec dez dezember decembre diciembre dic dezembro dicembre grudzien grudnia gru disember dis desember des",
)
_MONTHS = {unaccented(name): number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
_LONG = tuple(name for name in _MONTHS if len(name) >= 5)
_WEEKDAYS = (
    "monday mon tuesday tues tue wednesday wed thursday thurs thur thu friday fri saturday sat sunday sun "
    "montag mo dienstag di mittwoch mi donnerstag do freitag fr samstag sonnabend sa sonntag so "
    "lundi lun mardi mar mercredi mer jeudi jeu vendredi ven samedi sam dimanche dim "
    "lunes martes miercoles mie jueves jue viernes vie sabado sab domingo dom "
    "lunedi martedi mercoledi giovedi gio venerdi segunda terca quarta quinta sexta feira "
    "maandag ma dinsdag woensdag wo donderdag vrijdag vr zaterdag za zondag zo "
    "poniedzialek wtorek sroda czwartek piatek sobota niedziela isnin selasa rabu khamis jumaat sabtu ahad"
)
_AROUND = frozenset(
    f"{_WEEKDAYS} at on um am den der le du el il uhr h hrs a p pm utc z the de um op pukul jam".split()
)
_TIME = re.compile(
    r"T?[0-2]?[0-9][:.h][0-5][0-9](?:[:.][0-5][0-9](?:[.,][0-9]+)?)?\s*(?:[ap]\.?m\.?|uhr|h|z|[+-][0-9]{2}:?[0-9]{2})?",
    re.IGNORECASE,
)
_CJK_AROUND = re.compile(
    r"(?:星期|周|礼拜)[一二三四五六日天]|[上下]午|[0-9]{1,2}[时時点點][0-9]{1,2}分?(?:[0-9]{1,2}秒)?"
)
_CJK_DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {"零": 0, "○": 0, "Ｏ": 0}
_LOOKALIKES = str.maketrans("OoQDIl|SBZ", "0000111582")


def _int(text: str) -> int:
    """The number of Western digits (or letters that look like them) or Chinese numerals; -1 where it is neither."""
    if text and text[0] in "〇零○一二三四五六七八九十廿卅":
        text = text.replace("廿", "二十").replace("卅", "三十")
        if "十" in text:
            tens, _, ones = text.partition("十")
            if len(tens) > 1 or len(ones) > 1:
                return -1
            return 10 * _CJK_DIGITS.get(tens, 1) + _CJK_DIGITS.get(ones, 0)
        return int("".join(str(_CJK_DIGITS.get(char, 0)) for char in text))
    text = text.translate(_LOOKALIKES)
    return int(text) if text.isdecimal() else -1


def _date(year: int, month: int, day: int) -> date | None:
    if 0 <= year < 100:
        year += 2000 if year < 70 else 1900
    if not (1900 <= year <= 2099):
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _month(word: str) -> tuple[int, float]:
    """(month, quality) of a word; (0, 0) where it is no month. Long names may have one wrong letter."""
    if word[:1] == "0":
        return _month("o" + word[1:])[0], 0.8
    word = unaccented(word.casefold()).strip(".")
    if word in _MONTHS:
        return _MONTHS[word], 1.0
    if len(word) >= 5:
        from rapidfuzz.distance import Levenshtein

        near = {_MONTHS[name] for name in _LONG if Levenshtein.distance(word, name, score_cutoff=1) <= 1}
        if len(near) == 1:
            return near.pop(), 0.8
    return 0, 0.0


def _in_order(parts: tuple[str, str, str], order: str) -> tuple[date | None, float]:
    """Three numbers as a date: in the given order, else in the one that is possible (quality 0.9)."""
    first, second, third = (_int(part) for part in parts)
    if len(parts[0]) == 4:
        readings = {"YMD": (first, second, third)}
    elif len(parts[2]) == 4:
        readings = {"DMY": (third, second, first), "MDY": (third, first, second)}
    else:
        readings = {"DMY": (third, second, first), "MDY": (third, first, second), "YMD": (first, second, third)}
    wanted = order if order in readings else next(iter(readings))
    if value := _date(*readings.pop(wanted)):
        return value, 1.0
    others = [value for value in (_date(*reading) for reading in readings.values()) if value]
    if len({*others}) == 1 or (others and len(parts[2]) != 4):
        return others[0], 0.9
    return None, 0.0


Reading = tuple[date | None, float]
_D = "[0-9OoQIl|SBZ]"
_NAME = r"[^\W\d_]{3,12}|0ct"
_AFTER_DAY = "|".join(f"(?<={day})" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "day"))
_CJK = "[〇零○一二三四五六七八九十廿卅]"
_YEAR = "(?:19|20)[0-9]{2}"
_END = r"(?![0-9])"


def _numeric(match: re.Match[str], order: str) -> Reading:
    groups = (match[1], match[3], match[5])
    raw = "".join(groups)
    if sum(char.isdigit() for char in raw) < len(raw) - 2:
        return None, 0.0
    value, quality = _in_order(groups, order)
    if not raw.isdigit():
        quality *= 0.75
    one, two = match[2].strip(), match[4].strip()
    if one != two:
        quality *= 0.6
    if "," in one + two or "" in (one, two):
        quality *= 0.5
    if len(match[5]) == 2 and len(match[1]) != 4:
        quality *= 0.95
    return value, quality


def _day_name_year(match: re.Match[str], order: str) -> Reading:
    month, quality = _month(match[2])
    year = _int(match[3].strip("'` "))
    return (_date(year, month, _int(match[1])), quality * (1.0 if year > 99 else 0.95)) if month else (None, 0.0)


def _name_day_year(match: re.Match[str], order: str) -> Reading:
    month, quality = _month(match[1])
    year = match[3] or match[4]
    return (_date(_int(year), month, _int(match[2])), quality * (1.0 if match[3] else 0.95)) if month else (None, 0.0)


def _year_name_day(match: re.Match[str], order: str) -> Reading:
    month, quality = _month(match[2])
    return (_date(_int(match[1]), month, _int(match[3])), quality) if month else (None, 0.0)


def _chinese(match: re.Match[str], order: str) -> Reading:
    year = match[1].replace(" ", "")
    return _date(_int(year), _int(match[2]), _int(match[3])), 1.0 if len(year) == 4 else 0.95


def _eight(match: re.Match[str], order: str) -> Reading:
    digits = match[0]
    readings = [_date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))]
    if order == "MDY":
        readings.append(_date(int(digits[4:]), int(digits[:2]), int(digits[2:4])))
    else:
        readings.append(_date(int(digits[4:]), int(digits[2:4]), int(digits[:2])))
    possible = [value for value in readings if value]
    return (possible[0], 0.4) if len(possible) == 1 else (None, 0.0)


_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], str], Reading]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reading)
    for pattern, reading in (
        (rf"(?<![0-9〇零○一二三四五六七八九])((?:[0-9]\s?){{4}}|[0-9]{{2}}|{_CJK}{{4}}|{_CJK}{{2}})\s*[年년]\s*([0-9]{{1,2}}|{_CJK}{{1,3}})\s*"
         rf"[月월]\s*([0-9]{{1,2}}|{_CJK}{{1,3}})\s*[日号號일]", _chinese),
        (rf"(?<![0-9.,/-])({_YEAR})(\s?[-/.年]\s?)({_D}{{1,2}})(\s?[-/.月]\s?)([0-9]{{2}}|[0-9](?![0-9]))"
         r"(?=$|[^0-9]|[0-9]{2}:)", _numeric),
        (rf"(?<![0-9.,/])(?:(?<![^\s:]-)|(?<=[0-9]{{4}}-)|(?<=date-))({_D}{{1,2}})(\s?[-/.,·]\s?|(?<=[0-9])\s(?=[0-9]))({_D}{{1,2}})(\s?[-/.,·]\s?|\s(?=[0-9]))((?:19|20){_D}{{2}})"
         rf"(?=$|[^0-9]|[0-9]{{1,2}}\s?[:.][0-9]{{2}})", _numeric),
        (rf"(?<![0-9.,/])(?:(?<!\S-)|(?<=[0-9]{{2}}-))({_D}{{1,2}})(\s?[-/.·]\s?)({_D}{{1,2}})(\s?[-/.·]\s?)([0-9]{_D}|{_D}[0-9])"
         rf"(?![0-9]*[.,/·][0-9])(?!-[0-9]+(?![0-9]*[-./]))(?=$|[^0-9A-Za-z]|[0-9]{{1,2}}:[0-9]{{2}}|[ap]m)", _numeric),
        (rf"(?<![0-9.,/])([0-3]?[0-9])(?:st|nd|rd|th|er|[.º°])?[\s\-/.,'`]*"
         rf"(?:(?:of|de|del|d'|day of)\s+)?({_NAME})\.?(?:\s+(?:de|del))?[\s\-/.,'`]*"
         rf"({_YEAR}|[0-9]{{2}}){_END}", _day_name_year),
        (rf"(?:(?<![^\W\d_])|{_AFTER_DAY})({_NAME})\.?[\s\-/.,'`]*([0-3]?[0-9])(?:st|nd|rd|th)?(?:[\s\-/.,']+({_YEAR})|,?\s?['`]\s?([0-9]{{2}}))"
         rf"{_END}", _name_day_year),
        (rf"(?:(?<![^\W\d_])|{_AFTER_DAY})({_NAME})\.?\s+([0-3]?[0-9]),?\s+[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9])?"
         rf"(?:\s?[ap]m)?(?:\s[a-z]{{3,4}})?\s+({_YEAR})()" + _END, _name_day_year),
        (rf"(?<![0-9])({_YEAR})[\s\-/.,]*({_NAME})[\s\-/.,]*([0-3]?[0-9]){_END}", _year_name_day),
        (r"(?<![0-9.,/-])(?:(?:19|20)[0-9]{6}|[0-3][0-9][01][0-9](?:19|20)[0-9]{2})"
         r"(?=/[0-9]{4}(?:[0-9]{2})?(?![0-9])|[^0-9.,/-]|[.,-](?![0-9])|$)", _eight),
    )
)  # fmt: skip


def find(text: str, order: str = "DMY") -> list[Found]:
    """Every date in a line of OCR text; values are `datetime.date`.

    Quality is lower for letters read as digits, unequal separators, years of two digits, another order than the given
    one, and runs of eight digits.
    """
    plain = narrow(text)
    found = []
    for pattern, reading in _PATTERNS:
        at = 0
        while match := pattern.search(plain, at):
            value, quality = reading(match, order)
            at = match.end() if value else match.start() + 1
            if value:
                found.append(Found(match.start(), match.end(), value, quality))
    return without_overlaps(found)


def read(text: str, order: str = "DMY") -> date | None:
    """The date, where the text is one date with at most a weekday and a time of day; else None.

    ISO dates (2024-06-15, 20240615, with or without a time) are read in any `order`.
    """
    plain = narrow(text).strip()
    if re.fullmatch(_YEAR + "[01][0-9][0-3][0-9]", plain):
        return _date(int(plain[:4]), int(plain[4:6]), int(plain[6:]))
    found = [one for one in find(plain, order) if one.quality >= 0.85]
    if len(found) != 1:
        return None
    one = found[0]
    rest = _CJK_AROUND.sub(" ", plain[: one.start] + " " + plain[one.end :])
    words = re.findall(r"\w+", _TIME.sub(" ", rest))
    if any(unaccented(word.casefold()) not in _AROUND for word in words):
        return None
    value: date = one.value
    return value
