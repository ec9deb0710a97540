"""Find a label in a line of OCR text: ignores blanks and punctuation, matches whole words, allows OCR errors.

"Invoice No" is found in "INVOICENO.:123" and "lnvoice N0 123", "Total" not in "Subtotal". Characters that look alike
(O and 0, I, l and 1, S and 5, B and 8, Z and 2) count as equal. One more wrong letter is allowed from five letters on,
two from nine. Chinese, Japanese and Korean labels must match exactly, because each character is a word.
"""

from functools import lru_cache
from typing import NamedTuple

from pipeline.parsing import Found
from pipeline.parsing.normalize import is_cjk, narrow

_SHAPES = str.maketrans("0125i8|", "olzslbl")


class Squeezed(NamedTuple):
    """A text without blanks: folded letters, the same with look-alikes unified, and the original index of each."""

    folded: str
    shape: str
    places: tuple[int, ...]


@lru_cache(maxsize=4096)
def squeeze(text: str) -> Squeezed:
    """The narrow text (see `normalize.narrow`) without blanks and punctuation."""
    places = tuple(i for i, char in enumerate(text) if char.isalnum() or char == "|")
    folded = "".join((text[i].casefold() or text[i])[0] for i in places)
    return Squeezed(folded, folded.translate(_SHAPES), places)


def allowed_errors(label: str) -> int:
    """How many wrong letters the label may have, by its squeezed length."""
    length = len(squeeze(narrow(label)).folded)
    return 0 if length < 5 or is_cjk(label) else 1 if length < 9 else 2


def is_word_boundary(text: str, at: int) -> bool:
    """Whether a word may begin or end at `at`: next to a blank or sign, at a change of case or from letter to digit."""
    if at <= 0 or at >= len(text):
        return True
    left, right = text[at - 1], text[at]
    if not (left.isalnum() and right.isalnum()):
        return True
    return (left.islower() and right.isupper()) or left.isdigit() != right.isdigit()


def find(text: str, label: str) -> Found | None:
    """The best match of the label in the text, with the printed words as its value; None where there is none.

    Quality is 1 for an exact match and 0.95 for look-alikes; it is lower by the share of wrong letters.
    """
    plain = narrow(text)
    wanted = squeeze(narrow(label))
    length = len(wanted.shape)
    given = squeeze(plain)
    if not length or len(given.shape) < length - 2:
        return None
    free = is_cjk(label)

    looks_alike: Found | None = None
    at = given.shape.find(wanted.shape)
    while at >= 0:
        end = at + length
        if free or (is_word_boundary(plain, given.places[at]) and is_word_boundary(plain, given.places[end - 1] + 1)):
            if given.folded[at:end] == wanted.folded:
                return _found(text, given, at, end, 1.0)
            looks_alike = looks_alike or _found(text, given, at, end, 0.95)
        at = given.shape.find(wanted.shape, at + 1)
    allowed = allowed_errors(label)
    if looks_alike or not allowed:
        return looks_alike
    return _nearly(text, plain, given, wanted.shape, allowed)


def _found(text: str, given: Squeezed, start: int, end: int, quality: float) -> Found:
    first, last = given.places[start], given.places[end - 1] + 1
    return Found(first, last, text[first:last], quality)


def _nearly(text: str, plain: str, given: Squeezed, wanted: str, allowed: int) -> Found | None:
    """The best match with at most `allowed` wrong letters."""
    from rapidfuzz import fuzz
    from rapidfuzz.distance import Levenshtein

    length = len(wanted)
    if fuzz.partial_ratio(given.shape, wanted) < 100 * (1 - 1.5 * allowed / length):
        return None
    best: Found | None = None
    for start in range(len(given.shape)):
        if not is_word_boundary(plain, given.places[start]):
            continue
        for end in range(start + max(3, length - 1), min(len(given.shape), start + length + 1) + 1):
            wrong = Levenshtein.distance(given.shape[start:end], wanted, score_cutoff=allowed)
            if wrong > allowed or not is_word_boundary(plain, given.places[end - 1] + 1):
                continue
            quality = 0.95 - wrong / length
            if best is None or quality > best.quality:
                best = _found(text, given, start, end, quality)
    return best
