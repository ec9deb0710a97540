"""Parse the reply of an engine: a JSON object or plain text, with issues for what is wrong with it.

Truncated JSON is cut after its last complete value. `pydantic_core.from_json(allow_partial=True)` cannot replace this:
it keeps a truncated number (12 of 1234), loses decimals and duplicate keys, and rejects line breaks in strings.
"""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

from pipeline.core.types import Issue
from pipeline.engine import Reply

_FENCE = re.compile(r"^\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_ROWS = re.compile(r"\[\s*[\[{]")
_TRIES = 50  # opening braces to try in a reply that is mostly prose
_LONGEST_INTEGER = 40  # digits; a longer one stays text


class ParsedReply(NamedTuple):
    """The JSON object (empty where there is none) and its issues."""

    values: dict[str, Any]
    issues: tuple[Issue, ...] = ()


def parse_text(reply: Reply, name: str) -> ParsedReply:
    """The whole reply as the single value of a free-text job. A truncated text is kept."""
    text: Any = reply.text
    inner = reply.text.strip()
    if inner.startswith("```") and inner.endswith("```"):
        inner = inner.removeprefix("```").removesuffix("```").removeprefix("json").strip()
    if inner.startswith("{") and inner.endswith("}"):  # a JSON object, although the prompt did not ask for one
        with suppress(ValueError, RecursionError):
            values = json.loads(inner, strict=False)
            if list(values) == [name] and isinstance(values[name], str | None):
                text = values[name]
    if reply.finish != "length":
        return ParsedReply({name: text})
    return ParsedReply(
        {name: text}, (Issue("truncated", "", f"the answer ends in the middle: {_excerpt(reply.text[-50:])}"),)
    )


class ListShape(NamedTuple):
    """The only list of a job: its key, and the keys of its rows (none for a list of single values)."""

    name: str
    keys: frozenset[str]

    def fit(self, values: list[Any]) -> bool:
        """Whether a top-level JSON list can be this list."""
        return not self.keys or all(isinstance(row, dict) and self.keys & row.keys() for row in values)


def parse(reply: Reply, keys: Iterable[str], rows: ListShape | None = None) -> ParsedReply:
    """The object in a reply that has some of these keys. Numbers with a fraction are Decimal.

    A reply that is only a JSON list, as Qwen2.5-VL writes boxes, is the job's only list, `rows`.
    """
    wanted = frozenset(keys)
    reader = _Reader()
    text = reply.text
    if fenced := _FENCE.match(text):
        text = fenced[1]
    values = reader.read_list(text, rows) if rows else None
    broken = reader.salvage_list(text, rows) if rows and values is None else None
    if values is None and broken is None:  # one row of a truncated list is not the answer
        values = reader.find(text, wanted)
    issues = []
    if values is None:
        values = broken or reader.salvage(text, wanted)
        if values is None and reply.finish != "length":
            return ParsedReply({}, (Issue("not_json", "", f"the answer holds no JSON object: {_excerpt(reply.text)}"),))
        values = values or {}
        issues.append(Issue("truncated", "", f"the answer ends in the middle: {_excerpt(text[-50:])}"))
    elif reply.finish == "length":
        issues.append(Issue("truncated", "", "the answer reached its longest allowed length (max_new_tokens)"))
    elif values and not wanted & values.keys():
        what = f"the answer has none of the keys that were asked for: {_excerpt(reply.text)}"
        issues.append(Issue("not_json", "", what))
    for name in dict.fromkeys(reader.duplicates):
        issues.append(Issue("conflict", "", f"the answer gives {name} twice, with different values; none was taken"))
    return ParsedReply(values, tuple(issues))


class _Reader:
    """A JSON decoder with exact decimals that records duplicate keys with different values."""

    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_float=Decimal, parse_int=_integer, parse_constant=str, strict=False
        )

    def find(self, text: str, wanted: frozenset[str]) -> dict[str, Any] | None:
        """The first object with a wanted key; without one, the first object that is not inside another."""
        first: dict[str, Any] | None = None
        at = text.find("{")
        for _ in range(_TRIES):
            if at < 0:
                break
            self.duplicates.clear()
            try:
                values, end = self._decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                end = at + 1
                if first is None and at == text.find("{") and _begins_answer(text[at:], wanted):
                    return None  # the answer itself is invalid; an object inside it is not the answer
            else:
                if wanted & values.keys() or (first is None and not values):
                    return dict(values)
                first = values if first is None else first
            at = text.find("{", end)
        return first

    def salvage(self, text: str, wanted: frozenset[str]) -> dict[str, Any] | None:
        """The complete part of a truncated object, without a last value that may be incomplete."""
        values = self._complete_part(text, text.find("{"))
        if values is None:
            return None
        return dict(values) if wanted & values.keys() or _begins_answer(text[text.find("{") :], wanted) else None

    def read_list(self, text: str, rows: ListShape) -> dict[str, Any] | None:
        """A top-level list, under its key."""
        start = _list_start(text)
        if start is None:
            return None
        self.duplicates.clear()
        try:
            values, _ = self._decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return None
        return {rows.name: values} if rows.fit(values) else None

    def salvage_list(self, text: str, rows: ListShape) -> dict[str, Any] | None:
        """The complete rows of a truncated top-level list."""
        start = _list_start(text)
        values = None if start is None else self._complete_part(text, start, between="]")
        return {rows.name: values} if values and rows.fit(values) else None

    def _complete_part(self, text: str, start: int, between: str = "") -> Any:
        """The longest parseable part. `between`: cut only where exactly these closing brackets are missing."""
        if start < 0:
            return None
        for end, closers in reversed(_cuts(text, start)):
            if between and closers != between:
                continue
            self.duplicates.clear()
            with suppress(ValueError, RecursionError):
                return self._decoder.raw_decode(text[start:end] + closers)[0]
        return None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found and found[key] != value:
                self.duplicates.append(key)
                value = None
            found[key] = value
        return found


def _list_start(text: str) -> int | None:
    """The start of a top-level list: the text begins with it, or its rows are the first objects in the text."""
    if text.lstrip().startswith("["):
        return text.index("[")
    found = _ROWS.search(text)
    return found.start() if found and text.find("{") >= found.end() - 1 else None


def _begins_answer(text: str, wanted: frozenset[str]) -> bool:
    match = re.match(r'\{\s*"((?:[^"\\]|\\.)*)"\s*:', text)
    return bool(match and match[1] in wanted)


def _cuts(text: str, start: int) -> list[tuple[int, str]]:
    """The last 200 places where closing brackets alone complete the JSON: (end, closing brackets), in order."""
    found: list[tuple[int, str]] = []
    open_brackets: list[str] = []
    inside = escaped = False
    for at in range(start, len(text)):
        char = text[at]
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
            continue
        if char == '"':
            inside = True
        elif char in "{[":
            open_brackets.append("}" if char == "{" else "]")
            found.append((at + 1, "".join(reversed(open_brackets))))
        elif char in "}]" and open_brackets:
            open_brackets.pop()
            found.append((at + 1, "".join(reversed(open_brackets))))
        elif char == ",":
            found.append((at, "".join(reversed(open_brackets))))
    return found[-200:]


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else digits


def _excerpt(text: str) -> str:
    short = re.sub(r"\s+", " ", text.strip()).encode("utf-8", "replace").decode()
    return f'"{short[:60]}…"' if len(short) > 60 else f'"{short}"' if short else "it is empty"
