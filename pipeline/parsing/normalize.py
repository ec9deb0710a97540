"""Normalize text: for comparing (`fold`, `squash`) and for regular expressions with unchanged offsets (`narrow`)."""

import unicodedata

_PUNCTUATION = str.maketrans(
    {
        "，": ",", "、": ",", "。": ".", "．": ".", "：": ":", "；": ";", "（": "(", "）": ")", "【": "[", "】": "]",
        "！": "!", "？": "?", "＋": "+", "—": "-", "–": "-", "−": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-",
        "／": "/", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "ʼ": "'", "´": "'", "′": "'", "“": '"', "”": '"', "￥": "¥",
        "％": "%", "·": "·", "・": "·", "٫": ".", "٬": ",",
    }
)  # fmt: skip


def _narrow(char: str) -> str:
    code = ord(char)
    if 0xFF01 <= code <= 0xFF5E:
        return chr(code - 0xFEE0)
    if char.isspace() or code in (0x200B, 0xFEFF):
        return " "
    if code > 0x7F and char.isdecimal():
        return str(unicodedata.decimal(char))
    return char


def narrow(text: str) -> str:
    """Full-width forms, dashes, quotes, blanks and digits of all scripts as ASCII, with the same length and offsets.

    Superscripts and circled digits are not changed: "5²" must not become 52.
    """
    if text.isascii():
        return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return "".join(_narrow(char) for char in text.translate(_PUNCTUATION))


def fold(text: str) -> str:
    """NFKC and case folding, with single spaces and none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def squash(text: str) -> str:
    """The letters and digits of the folded text."""
    return "".join(char for char in fold(text) if char.isalnum())


def unaccented(text: str) -> str:
    """The text without accents (é → e, ü → u)."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


def is_cjk(text: str) -> bool:
    """Whether the text has a Chinese, Japanese or Korean character, so that its words need no blanks."""
    return any("⺀" <= char <= "鿿" or "가" <= char <= "힣" or "豈" <= char <= "﫿" for char in text)
