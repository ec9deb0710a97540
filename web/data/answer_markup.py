"""An answer in words, taken apart for the page: text, code, and boxes that can be drawn on the picture."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.core.geometry import Box

_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_DOLLAR = re.compile(r"(?P<code>(?P<ticks>`+).*?(?P=ticks))|(?<![\\$])\$(?=\d)", re.DOTALL)
_PAGE = re.compile(r"<!doctype html|<html[\s>]", re.IGNORECASE)
_LANGUAGES = {"vue": "html", "js": "javascript", "ts": "typescript", "py": "python", "sh": "bash", "md": "markdown"}
_KEYS = ("bbox_2d", "bbox", "box")
_LABELS = ("label", "name", "text_content", "text", "note")
MOST_BOXES = 500


@dataclass(frozen=True)
class AnswerBlock:
    """A stretch of an answer. `language` is None for text, else what the fence says ("" where it says nothing)."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class BoxMark:
    """A box that an answer speaks of, in fractions (0 to 1) of the picture's width and height."""

    label: str
    box: Box


def parts(answer: str) -> Iterator[AnswerBlock]:
    """The answer's text and fenced blocks, in order. A fence that is never closed runs to the end.

    An answer that is nothing but JSON or a page of HTML is code too, though nobody has put a fence around it.
    """
    if language := _bare(answer.strip()):
        yield AnswerBlock(answer.strip(), language)
        return
    at = 0
    for fence in _FENCE.finditer(answer):
        if text := answer[at : fence.start()].strip():
            yield AnswerBlock(text)
        yield AnswerBlock(fence[3].rstrip("\n"), fence[2].lower())
        at = fence.end()
    if text := answer[at:].strip():
        yield AnswerBlock(text)


def _bare(answer: str) -> str | None:
    if _PAGE.match(answer):
        return "html"
    if answer[:1] not in ("{", "["):
        return None
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return "json"


def prose(text: str) -> str:
    """Markdown in which a price is one: "$5 and $6" would be set as a formula."""
    return _DOLLAR.sub(lambda found: found[0] if found["code"] else r"\$", text)


def highlighting(part: AnswerBlock) -> str | None:
    """How the code of a fenced block is to be coloured; None where that is not known."""
    return _LANGUAGES.get(part.language or "", part.language) or None


def marks(answer: str, width: int, height: int) -> list[BoxMark]:
    """The boxes of an answer in Qwen's form (`bbox_2d`: [x1, y1, x2, y2] in pixels of the picture that it saw).

    `width` and `height` are those pixels. What is no box inside the picture is left out.
    """
    found: list[BoxMark] = []
    for text in [part.text for part in parts(answer) if part.language in ("json", "")] or [answer]:
        for value in _values(text):
            for mark in _marks(value, width, height):
                if mark not in found and len(found) < MOST_BOXES:
                    found.append(mark)
    return found


def _values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(100):  # openings that are tried
        starts = [place for sign in "[{" if (place := text.find(sign, at)) >= 0]
        if not starts:
            return
        try:
            value, at = decoder.raw_decode(text, min(starts))
        except (ValueError, RecursionError):
            at = min(starts) + 1
        else:
            yield value


def _marks(value: Any, width: int, height: int) -> Iterator[BoxMark]:
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, list):
            stack += reversed(here)
        elif isinstance(here, dict):
            corners = next((here[key] for key in _KEYS if key in here), None)
            if box := _box(corners, width, height):
                label = next((here[key] for key in _LABELS if isinstance(here.get(key), str)), "")
                yield BoxMark(label, box)
            stack += [each for each in reversed(list(here.values())) if isinstance(each, list | dict)]


def _box(corners: Any, width: int, height: int) -> Box | None:
    if not (isinstance(corners, list) and len(corners) == 4 and width > 0 and height > 0):
        return None
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e6 for each in corners):
        return None
    left, top, right, bottom = corners
    left, right = max(0, left) / width, min(width, right) / width
    top, bottom = max(0, top) / height, min(height, bottom) / height
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None
