"""The probability of each leaf value of a JSON answer, from the log-probabilities of its tokens."""

import json
import math
from bisect import bisect_right
from collections.abc import Generator, Sequence

Walk = Generator[tuple[str, int, int], None, int]  # yields leaves, returns the end of the value


def leaves(text: str) -> Generator[tuple[str, int, int], None, None]:
    """Path, first and last+1 character of every leaf value: `total`, `lines[0].amount`. Raises ValueError."""
    end = yield from _value(text, _skip(text, 0), "")
    if _skip(text, end) != len(text):
        raise ValueError("text after the JSON value")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _value(text: str, at: int, path: str) -> Walk:
    if at < len(text) and text[at] in "{[":
        return (yield from _inside(text, at, path))
    _, end = json.JSONDecoder().raw_decode(text, at)
    if path:
        yield path, at, end
    return end


def _inside(text: str, at: int, path: str) -> Walk:
    named = text[at] == "{"
    close = "}" if named else "]"
    at = _skip(text, at + 1)
    count = 0
    while text[at : at + 1] != close:
        if count:
            if text[at : at + 1] != ",":
                raise ValueError(f"a comma is missing at {at}")
            at = _skip(text, at + 1)
        if named:
            if text[at : at + 1] != '"':
                raise ValueError(f"a name is missing at {at}")
            name, at = json.JSONDecoder().raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise ValueError(f"a colon is missing at {at}")
            at = yield from _value(text, _skip(text, at + 1), f"{path}.{name}" if path else name)
        else:
            at = yield from _value(text, at, f"{path}[{count}]")
        at = _skip(text, at)
        count += 1
    return at + 1


def confidences(text: str, byte_ends: Sequence[int], logprobs: Sequence[float]) -> dict[str, float]:
    """The product of the probabilities of each leaf's tokens; {} if the text is not complete JSON.

    byte_ends: where each token ends in the UTF-8 bytes of `text`.
    """
    found: dict[str, float] = {}
    try:
        for path, first, last in leaves(text):
            start = len(text[:first].encode())
            end = start + len(text[first:last].encode())
            tokens = range(bisect_right(byte_ends, start), min(bisect_right(byte_ends, end - 1) + 1, len(logprobs)))
            found[path] = math.exp(sum(logprobs[i] for i in tokens))
    except (ValueError, RecursionError):
        return {}
    return found
