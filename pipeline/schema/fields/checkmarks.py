"""Reading ticked boxes that came through as characters: "☑ yes ☐ no", "是☑ 否□"."""

import re

TICKED = "☑☒✓✔√■●◉🗹"
EMPTY = "☐□○◯▢"
_BRACKETS = ((re.compile(r"\[\s*[xX✓✔√]\s*\]|\(\s*[xX]\s*\)"), "☑"), (re.compile(r"\[\s*\]|\(\s*\)"), "☐"))
_MARK = re.compile(f"([{TICKED}{EMPTY}])")


def ticked(text: str) -> tuple[str, ...] | None:
    """The words beside ticked marks, in order; None where the text has no mark, or marks on both sides of its words.

    A mark alone gives one empty word if it is ticked: ("",), and () if not.
    """
    for pattern, mark in _BRACKETS:
        text = pattern.sub(mark, text)
    parts = [part.strip() for part in _MARK.split(text)]
    words, marks = parts[0::2], parts[1::2]
    if not marks:
        return None
    if not words[0]:
        words = words[1:]
    elif not words[-1]:
        words = words[:-1]
    else:
        return None
    return tuple(word for word, mark in zip(words, marks, strict=True) if mark in TICKED)
