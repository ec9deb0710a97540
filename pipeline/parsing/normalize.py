"""Texts in a plain form: for comparing (`fold`, `squash`) and for matching patterns without moving a character
(`narrow`)."""

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
    """The text with full-width forms, dashes, quotes, blanks and digits of all scripts as ASCII; same length, same
    offsets.

    Superscripts and circled digits stay as they are: "5²" must not become 52.
    """
    if text.isascii():
        return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return "".join(_narrow(char) for char in text.translate(_PUNCTUATION))


def fold(text: str) -> str:
    """NFKC, case folded, every run of blanks one space, no blanks at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def squash(text: str) -> str:
    """Only the letters and digits of the folded text."""
    return "".join(char for char in fold(text) if char.isalnum())


def unaccented(text: str) -> str:
    """The text without accents on its letters (é → e, ü → u); other characters stay."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


def is_cjk(text: str) -> bool:
    """Whether the text holds a Chinese, Japanese or Korean character, so that words need no blanks between them."""
    return any("⺀" <= char <= "鿿" or "가" <= char <= "힣" or "豈" <= char <= "﫿" for char in text)
