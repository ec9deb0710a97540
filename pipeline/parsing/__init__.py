"""Reading printed values. Each module gives `find(text)` for noisy lines and `read(text)` for one whole value.

`find` is lenient: it looks for values inside a line that an OCR engine may have misread, and says how well each one
reads. `read` is strict: the whole text is one value, or the answer is None; it never mends, and never gives a value
that is not printed.
"""

from typing import Any, NamedTuple


class Found(NamedTuple):
    """A value inside a text: `text[start:end]` is what is printed, `quality` (0..1) how cleanly it reads."""

    start: int
    end: int
    value: Any
    quality: float


def without_overlaps(found: list[Found]) -> list[Found]:
    """The finds in reading order; where two overlap, only the better one (the longer one of two equals)."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (-f.quality, f.start - f.end, f.start)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda f: f.start)
