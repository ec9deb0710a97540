"""Parsers of printed values. Each module has `find(text)` for noisy lines and `read(text)` for one whole value.

`find` is lenient: it searches a line that an OCR engine may have misread, and rates each value. `read` is strict: the
whole text is one value, or the result is None. It never repairs, and never returns a value that is not printed.
"""

from typing import Any, NamedTuple


class Found(NamedTuple):
    """A value inside a text: printed as `text[start:end]`; `quality` (0..1) says how well it reads."""

    start: int
    end: int
    value: Any
    quality: float


def without_overlaps(found: list[Found]) -> list[Found]:
    """The values in reading order. Of two that overlap only the better one is kept; of equals, the longer one."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (-f.quality, f.start - f.end, f.start)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda f: f.start)
