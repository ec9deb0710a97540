"""Regular expressions of jobs, with limits of size and time.

`re` has no timeout, and a pattern such as (a|a)+ takes years for forty letters that do not match. `regex` has one, but
it expands counted repeats, so their product is limited first.
"""

import re

MATCH_S = 1.0
LARGEST = 10_000  # parts of a pattern with its counted repeats expanded: 5 ms and 3 MiB to compile
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|[()]|.", re.DOTALL)


def check(pattern: str) -> None:
    """Raises ValueError where the pattern is invalid or too large."""
    import regex

    if _size(pattern) > LARGEST:
        raise ValueError(f"is too large: its repeats come to more than {LARGEST} parts; use + or smaller numbers")
    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as fault:
        raise ValueError(f"is not a regular expression: {fault}") from None


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text matches. Raises TimeoutError after MATCH_S."""
    import regex

    return regex.fullmatch(pattern, text, timeout=MATCH_S) is not None


def _size(pattern: str) -> int:
    """An upper bound of the parts of a pattern with its counted repeats expanded."""
    sums, last = [0], 0
    for part in _PART.finditer(pattern):
        if part[0] == "(":
            sums.append(0)
            continue
        if part[0] == ")" and len(sums) > 1:
            last = sums.pop() + 1
        elif part[1] is not None:
            count = part[2] or part[1] or "1"
            last *= max(0, (int(count) if len(count) < 10 else LARGEST + 1) - 1)
        else:
            last = 1
        sums[-1] += last
    return sum(sums)
