"""Parse an answer of the model into text, code blocks and boxes on the image."""

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
MAX_BOXES = 500


@dataclass(frozen=True)
class AnswerBlock:
    """A part of an answer. `language` is None for text, else the language of the fence ("" if it has none)."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class BoxMark:
    """A box in an answer, in fractions (0 to 1) of the width and height of the image."""

    label: str
    box: Box


def blocks(answer: str) -> Iterator[AnswerBlock]:
    """The text and the fenced code blocks of an answer, in order. An unclosed fence extends to the end.

    An answer that consists of JSON or of an HTML page is one code block, also without a fence.
    """
    if language := _unfenced_language(answer.strip()):
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


def _unfenced_language(answer: str) -> str | None:
    if _PAGE.match(answer):
        return "html"
    if answer[:1] not in ("{", "["):
        return None
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return "json"


def escape_prices(text: str) -> str:
    """Escape dollar signs before digits, as Markdown would render "$5 and $6" as a formula."""
    return _DOLLAR.sub(lambda found: found[0] if found["code"] else r"\$", text)


def highlight_language(block: AnswerBlock) -> str | None:
    """The language for syntax highlighting, or None if unknown."""
    return _LANGUAGES.get(block.language or "", block.language) or None


def box_marks(answer: str, width: int, height: int) -> list[BoxMark]:
    """The boxes of an answer in Qwen's format (`bbox_2d`: [x1, y1, x2, y2] in pixels of the image it was given).

    `width` and `height` are the size of that image. Invalid boxes and boxes outside of it are skipped.
    """
    found: list[BoxMark] = []
    for text in [block.text for block in blocks(answer) if block.language in ("json", "")] or [answer]:
        for value in _json_values(text):
            for mark in _marks(value, width, height):
                if mark not in found and len(found) < MAX_BOXES:
                    found.append(mark)
    return found


def _json_values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(100):  # at most so many attempts
        starts = [index for bracket in "[{" if (index := text.find(bracket, at)) >= 0]
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
        node = stack.pop()
        if isinstance(node, list):
            stack += reversed(node)
        elif isinstance(node, dict):
            corners = next((node[key] for key in _KEYS if key in node), None)
            if box := _box(corners, width, height):
                label = next((node[key] for key in _LABELS if isinstance(node.get(key), str)), "")
                yield BoxMark(label, box)
            stack += [each for each in reversed(list(node.values())) if isinstance(each, list | dict)]


def _box(corners: Any, width: int, height: int) -> Box | None:
    if not (isinstance(corners, list) and len(corners) == 4 and width > 0 and height > 0):
        return None
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e6 for each in corners):
        return None
    left, top, right, bottom = corners
    left, right = max(0, left) / width, min(width, right) / width
    top, bottom = max(0, top) / height, min(height, bottom) / height
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None
