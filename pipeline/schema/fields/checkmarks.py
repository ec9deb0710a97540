"""Read checkboxes that were recognised as characters: "☑ yes ☐ no", "是☑ 否□"."""

import re

TICKED = "☑☒✓✔√■●◉🗹"
EMPTY = "☐□○◯▢"
_BRACKETS = ((re.compile(r"\[\s*[xX✓✔√]\s*\]|\(\s*[xX]\s*\)"), "☑"), (re.compile(r"\[\s*\]|\(\s*\)"), "☐"))
_MARK = re.compile(f"([{TICKED}{EMPTY}])")


def ticked(text: str) -> tuple[str, ...] | None:
    """The words of ticked marks, in order; None where there is no mark, or marks both before and after the words.

    A single mark without a word gives ("",) if it is ticked, else ().
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
