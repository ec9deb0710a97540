"""Parse printed numbers and amounts: 1.234,56 · 1,234.56 · 1 234,56 · 1'234.56 · (12.50) · 12.50-

Which of "." and "," is the decimal sign: of both, the last; if one is printed several times, none. A single one is
decimal unless exactly three digits follow one to three digits that do not start with 0: "1.234" is 1234, because
thousands are more frequent than prices with three decimals. A `decimal` sign given by the job takes precedence.
"""

import re
from decimal import Decimal

from pipeline.parsing import Found, without_overlaps
from pipeline.parsing.normalize import narrow

_SIGNS: dict[str, str] = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₩": "KRW", "฿": "THB", "₫": "VND", "₱": "PHP", "₺": "TRY", "₽": "RUB",
    "₴": "UAH",
    "₪": "ILS", "₦": "NGN", "US$": "USD", "U$": "USD", "S$": "SGD", "A$": "AUD", "AU$": "AUD", "C$": "CAD",
    "CA$": "CAD",
    "HK$": "HKD",
    "NT$": "TWD", "NZ$": "NZD", "R$": "BRL", "MX$": "MXN", "$": "USD", "RM": "MYR", "RMB": "CNY", "人民币": "CNY",
    "元": "CNY",
    "圆": "CNY", "円": "JPY", "港币": "HKD", "美元": "USD", "欧元": "EUR", "zł": "PLN", "zl": "PLN", "Kč": "CZK",
    "Ft": "HUF",
    "Fr.": "CHF", "SFr.": "CHF", "Rs": "INR", "Rs.": "INR", "Rp": "IDR", "Rp.": "IDR", "EURO": "EUR", "Euro": "EUR",
}  # fmt: skip
_CODES = [
    "AED", "ARS", "AUD", "BDT", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP",
    "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KES", "KRW", "KWD", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD",
    "PEN", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SEK", "SGD", "THB", "TND", "TRY", "TWD", "UAH",
    "USD", "VND", "ZAR",
]  # fmt: skip
_WORDS = sorted([*_SIGNS, *_CODES, "¥", "kr", "kr."], key=len, reverse=True)
_LETTER = "A-Za-z\u00c0-\u024f"
_CURRENCY = "|".join(
    (f"(?<![{_LETTER}])" if word[0].isalpha() and word.isascii() else "")
    + re.escape(word)
    + (f"(?![{_LETTER}])" if word[-1].isalpha() and not "一" <= word[-1] <= "鿿" else "")
    for word in _WORDS
)
CURRENCY = re.compile(_CURRENCY, re.IGNORECASE)
_BY_WORD = {word.casefold(): code for word, code in _SIGNS.items()} | {code.casefold(): code for code in _CODES}

_DIGITS = r"[0-9]+(?:[.,' ][0-9]+)*|[.,][0-9]+"
_WHOLE = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+])?\s*(?P<before>{_CURRENCY})?\s*:?\s*(?P<sign2>[-+])?\s*(?P<body>{_DIGITS})"
    rf"(?P<stop>[.,]-{{1,2}})?\s*(?P<after>{_CURRENCY}|%)?\s*(?P<sign3>-)?(?P<close>\))?\s*(?P<after2>{_CURRENCY})?",
    re.IGNORECASE,
)


def _grouped(groups: list[str]) -> bool:
    """Whether the digit groups are thousands (1,234,567) or lakhs and crores (12,34,567)."""
    head, rest = groups[0], groups[1:]
    if not 1 <= len(head) <= 3:
        return False
    if all(len(group) == 3 for group in rest):
        return True
    return len(head) <= 2 and len(rest[-1]) == 3 and all(len(group) == 2 for group in rest[:-1])


def _value(body: str, decimal: str | None) -> Decimal | None:
    """The value of digits with separators, or None where they fit no known format."""
    whole, fraction = body, ""
    marks = [char for char in body if char in ".,"]
    if marks:
        last = marks[-1]
        head, _, tail = body.rpartition(last)
        single = marks.count(last) == 1 and not any(char in " '" for char in tail)
        thousands = (
            len(tail) == 3 and 1 <= len(head) <= 3 and head.isdigit() and not head.startswith("0") and len(marks) == 1
        )
        is_decimal = last == decimal if decimal else single and not thousands
        if is_decimal:
            if not single:
                return None
            whole, fraction = head, tail
    separators = {char for char in whole if not char.isdigit()}
    if len(separators) > 1 or (decimal in separators):
        return None
    if separators:
        groups = whole.split(separators.pop())
        if not _grouped(groups) or (groups[0].startswith("0")):
            return None
        whole = "".join(groups)
    if not (whole or fraction) or not (whole + fraction).isdigit():
        return None
    return Decimal(f"{whole or '0'}.{fraction}" if fraction else whole)


def read(text: str, decimal: str | None = None) -> Decimal | None:
    """The number, where the text is one, with a sign, brackets for minus, a currency or a per cent sign; else None.

    `decimal` is "," or "." where it is known.
    """
    match = _WHOLE.fullmatch(narrow(text).strip())
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    signs = [sign for sign in (match["sign"], match["sign2"], match["sign3"], "-" if match["open"] else None) if sign]
    if len(signs) > 1 or sum(bool(match[part]) for part in ("before", "after", "after2")) > 1:
        return None
    value = _value(match["body"], decimal)
    if value is None or (match["stop"] and value != value.to_integral_value()):
        return None
    return -value if signs == ["-"] else value


_NOISY = r"[0-9OoDQ]"
_ANYWHERE = re.compile(
    rf"(?<![0-9A-Za-z])(?P<open>\()?(?P<sign>(?<![^\s(:])[-+]|^\s*[-+]\s)?(?P<cur>(?:{_CURRENCY})\s?:?\s?)?(?P<sign2>-)?(?P<body>"
    r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]{1,2})?(?![0-9])"
    r"|[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]{1,4})?(?![0-9])"
    r"|[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,4})?(?![0-9])"
    r"|[0-9]{1,3}(?:'[0-9]{3})+(?:[.,][0-9]{1,4})?(?![0-9])"
    r"|[0-9]{1,3}(?: [0-9]{3})+,[0-9]{1,2}(?![0-9])"
    rf"|(?<![0-9] )[1-9][0-9]{{0,2}}(?: [0-9]{{3}})+(?= ?(?:{_CURRENCY})| ?(?![0-9A-Za-z.,:/ -]))"
    rf"|[0-9]{{1,7}}\s?[.,]\s?{_NOISY}{{2}}(?![0-9A-Za-z])"
    r"|[0-9]+[.,][0-9]+"
    r"|[0-9]+"
    rf"|[.,][0-9]{{2}}(?![0-9]))(?P<tail>\s?(?:{_CURRENCY})|[.,]-{{1,2}})?(?P<close>\))?(?P<minus>\s?-(?=\s|$))?"
    r"(?![0-9]|[.,:/-][0-9])",
    re.IGNORECASE,
)
_GLUE = re.compile(r"[0-9][.,:/#-]$|[A-Za-z][#/-]$")
_LOOKALIKES = str.maketrans("OoDQ", "0000")


def find(text: str, decimal: str | None = None) -> list[Found]:
    """Every number in a line of OCR text, with its sign; values are Decimal. `decimal` as for `read`.

    Parts of dates, times, telephone numbers and codes such as "A-12" are left out. Quality is lower for letters read as
    digits, blanks inside, a missing integer part (".50"), and adjoining letters.
    """
    plain = narrow(text)
    found = []
    at = 0
    while match := _ANYWHERE.search(plain, at):
        at = max(match.end(), match.start() + 1)
        body, start = match["body"], match.start()
        if _GLUE.search(plain[max(0, start - 2) : start]) and not match["cur"]:
            continue
        quality = 1.0
        if not re.fullmatch(r"[0-9., ']+", body):
            body, quality = body.translate(_LOOKALIKES), 0.6
        if re.search(r"\s[.,]|[.,]\s", body):
            body, quality = re.sub(r"\s?([.,])\s?", r"\1", body), quality * 0.85
        value = _value(body, decimal)
        if value is None:
            continue
        if body[0] in ".," or re.match(r"0[0-9]", body):
            quality *= 0.5
        following = plain[match.end() : match.end() + 1]
        if following.isalpha() and following.isascii():
            quality *= 0.7 if re.search(r"[.,][0-9]{2}$", body) else 0.4
        signs = [sign for sign in (match["sign"], match["sign2"], match["minus"]) if sign and "-" in sign]
        bracketed = bool(match["open"] and match["close"])
        negative = len(signs) == 1 or (bracketed and not signs)
        first = start + (1 if match["open"] and not bracketed else 0)
        last = match.end() - (1 if match["close"] and not bracketed else 0)
        found.append(Found(first, last, -value if negative else value, quality))
    return without_overlaps(found)


def currency(text: str) -> str | None:
    """The ISO 4217 code of the first currency in the text; None where there is none or it is ambiguous.

    "$" alone is USD. "¥" is CNY in Chinese text and JPY in Japanese text, else ambiguous. "kr" is ambiguous.
    """
    for match in CURRENCY.finditer(narrow(text)):
        word = match[0].casefold()
        if word == "¥":
            if re.search("[円ぁ-ヿ]", text):
                return "JPY"
            if re.search("[一-鿿]", text):
                return "CNY"
            continue
        if word in _BY_WORD:
            return _BY_WORD[word]
    return None
