"""Sanitize text of documents, file names and errors for terminals, logs, tables and JSON."""

# C0 and C1 control characters (escape sequences begin with one), line separators and bidirectional marks, so that a
# name cannot clear a screen, forge a line or show its letters in another order.
CONTROL_CHARACTERS = dict.fromkeys(
    [*range(32), 127, *range(128, 160), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)],
    "\ufffd",
)


def printable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate (a byte of a file name that is not UTF-8)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text


def sanitize(text: object) -> str:
    """`printable` text on one line: U+FFFD for each control character, line feeds included."""
    return printable(str(text)).translate(CONTROL_CHARACTERS)


def sanitize_lines(text: object) -> str:
    """As `sanitize`, but line feeds stay."""
    return "\n".join(map(sanitize, str(text).split("\n")))


def json_text(text: str) -> str:
    """Escape control characters and lone surrogates in JSON that was written with `ensure_ascii=False`.

    A parser reads the same strings. JSON itself escapes those below U+0020; line feeds between tokens stay.
    """
    escapes = {code: f"\\u{code:04x}" for code in CONTROL_CHARACTERS if code >= 127}
    return text.translate(escapes).encode("utf-8", "backslashreplace").decode()
