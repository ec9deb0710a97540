"""Merge the replies of all windows of one answer: typed values, confidence, evidence and issues."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pipeline.core.types import Evidence, Issue, Page
from pipeline.engine import Reply
from pipeline.extraction import box_mapping, reply_parser
from pipeline.parsing.normalize import fold
from pipeline.schema.data_path import value_at
from pipeline.schema.fields import (
    Field,
    ListField,
    answer_keys,
    coerce_object,
    is_empty,
    leaves,
    lone_text,
    shown,
)

_ROW = re.compile(r"\[(\d{1,9})\]")


@dataclass
class WindowAnswer:
    """The typed values of one reply, for some pages or some fields. Paths use the row numbers of this window."""

    pages: tuple[int, ...]
    data: dict[str, Any]
    confidence: Mapping[str, float]
    evidence: Mapping[str, Evidence]
    problems: Mapping[str, Sequence[tuple[str, str]]]
    issues: tuple[Issue, ...] = ()

    def place(self, path: str) -> str:
        found = self.evidence.get(path)
        if found:
            return f"page {found.page}"
        first, last = min(self.pages, default=0), max(self.pages, default=0)
        return f"page {first}" if first == last else f"pages {first}–{last}"


def window_answer(reply: Reply) -> WindowAnswer:
    pages = {page.number: page for page in reply.request.pages}
    fields = reply.request.job.fields
    answer = _answer(reply, fields)
    data, found = coerce_object(fields, answer.values)
    problems: dict[str, list[tuple[str, str]]] = {}
    for code, message, suffix in found:
        problems.setdefault(suffix.removeprefix("."), []).append((code, message))
    for path, message in _cut_lists(fields, data):
        problems.setdefault(path, []).append(("truncated", message))
    for path, (code, message, _) in box_mapping.to_source(fields, data, list(pages.values()), reply.low_resolution):
        problems.setdefault(path, []).append((code, message))
    return WindowAnswer(
        pages=tuple(pages),
        data=data,
        confidence={path: min(1.0, max(0.0, sure)) for path, sure in reply.confidence.items() if not math.isnan(sure)},
        evidence={path: _in_source(each, pages) for path, each in reply.evidence.items()},
        problems=problems,
        issues=(*answer.issues, *reply.issues),
    )


def _cut_lists(fields: Mapping[str, Field], data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Cuts every list to its `max_items`; yields the path of each longer list and a message."""
    for path, each in leaves(fields, whole_lists=True):
        rows = value_at(data, path)
        if isinstance(each, ListField) and rows and len(rows) > each.max_items:
            del rows[each.max_items :]
            yield (
                path,
                f"the answer has more than {each.max_items} entries, and only these were kept; "
                "raise max_items of this list in the job, and read the document again",
            )


def _answer(reply: Reply, fields: Mapping[str, Field]) -> reply_parser.ParsedReply:
    pages = reply.request.pages
    if pages and all(page.fault for page in pages):
        return reply_parser.ParsedReply({})  # the engine was not called
    if lone_text(fields):
        return reply_parser.parse_text(reply, next(iter(fields)))
    lists = [reply_parser.ListShape(name, each.row_keys) for name, each in fields.items() if each.repeats]
    return reply_parser.parse(reply, answer_keys(fields), lists[0] if len(lists) == 1 else None)


def _in_source(evidence: Evidence, pages: Mapping[int, Page]) -> Evidence:
    page = pages.get(evidence.page)
    if evidence.box is None or page is None:
        return replace(evidence, box=None)
    return replace(evidence, box=page.source_box(evidence.box))


_Parts = Sequence[tuple[WindowAnswer, Any]]


@dataclass
class MergedAnswer:
    """Merges the windows of one answer: rows in page order, single values from the most confident window.

    A field is read only from windows whose job part has it.
    """

    windows: Sequence[WindowAnswer]
    confidence: dict[str, float] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.issues += [
            replace(issue, message=f"{issue.message} ({window.place('')})") if self._several else issue
            for window in self.windows
            for issue in window.issues
        ]

    @property
    def _several(self) -> bool:
        """Whether messages must name the pages: the windows have different ones."""
        return len({window.pages for window in self.windows}) > 1

    def object(self, fields: Mapping[str, Field]) -> dict[str, Any]:
        return self._object("", fields, [(window, window.data) for window in self.windows])

    def _object(self, prefix: str, fields: Mapping[str, Field], parts: _Parts) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, each in fields.items():
            given = [(window, values[name]) for window, values in parts if name in values]
            data[name] = self._field(prefix + name, each, given)
            if each.companion_suffix:  # the printed form of the chosen value
                prints = [(values[name], values[name + each.companion_suffix]) for _, values in parts if name in values]
                data[name + each.companion_suffix] = next(
                    (text for value, text in prints if value == data[name] and text), None
                )
        return data

    def _field(self, path: str, field: Field, parts: _Parts) -> Any:
        if field.repeats:
            return self._list(path, parts)
        if field.children:
            self._report(path, parts)
            return self._object(f"{path}.", field.children, parts)
        if field.joins_windows:
            return self._joined(path, parts)
        return self._single(path, parts)

    def _joined(self, path: str, parts: _Parts) -> Any:
        """The texts of all windows, separated by a blank line."""
        texts = [text for _, text in parts if text]
        if len(texts) < 2:
            return self._single(path, parts)
        self._report(path, parts)
        return "\n\n".join(texts)

    def _single(self, path: str, parts: _Parts) -> Any:
        self._report(path, parts)
        given = [(window, value) for window, value in parts if not is_empty(value)]
        if not given:
            return parts[0][1] if parts else None
        best, chosen = max(given, key=lambda part: part[0].confidence.get(path, 0.0))  # the first on a tie
        for window, value in given:
            if _differ(value, chosen):
                first, second = sorted(((best, chosen), (window, value)), key=lambda part: part[0].pages)
                self.issues.append(Issue("conflict", path, " but ".join(
                    f"{_says(where.place(path))} {shown(what)}" for where, what in (first, second)
                )))  # fmt: skip
                break
        self._move(best, path, path)
        return chosen

    def _list(self, path: str, parts: _Parts) -> list[Any]:
        """Drops empty rows; paths inside rows move to the new row numbers."""
        self._report(path, parts)
        rows: list[Any] = []
        for window, values in parts:
            known = _by_row(path, {**window.confidence, **window.evidence})
            wrong = _by_row(path, window.problems)
            for index, row in enumerate(values):
                if is_empty(row) and index not in wrong:
                    continue
                new = f"{path}[{len(rows)}]"
                rows.append(row)
                for suffix in known.get(index, ()):
                    self._move(window, f"{path}[{index}]{suffix}", new + suffix)
                for suffix in wrong.get(index, ()):
                    self._note(new + suffix, window, window.problems[f"{path}[{index}]{suffix}"])
        self._check_table_ends(path, parts)
        return rows

    def _check_table_ends(self, path: str, parts: _Parts) -> None:
        """Reports a table that may continue in the next window, where its rows have no headings and are not found."""
        for (before, rows), (after, more) in pairwise(parts):
            start = f"{path}[{len(rows) - 1}]"
            last = max((seen.page for at, seen in before.evidence.items() if at.startswith(start)), default=None)
            if rows and not more and before.pages != after.pages and last == max(before.pages):
                where = after.place("")
                message = f"the rows end on page {last}, where a window of pages ends, and {where} gave none"
                self.issues.append(Issue("truncated", path, f"{message}; see whether the table goes on there"))

    def _report(self, path: str, parts: _Parts) -> None:
        for window, _ in parts:
            self._note(path, window, window.problems.get(path, ()))

    def _note(self, path: str, window: WindowAnswer, problems: Sequence[tuple[str, str]]) -> None:
        where = f" ({window.place('')})" if self._several else ""
        self.issues += [Issue(code, path, message + where) for code, message in problems]

    def _move(self, window: WindowAnswer, old: str, new: str) -> None:
        if old in window.confidence:
            self.confidence[new] = window.confidence[old]
        if old in window.evidence:
            self.evidence[new] = window.evidence[old]


def _by_row(path: str, keys: Iterable[str]) -> dict[int, list[str]]:
    """The paths inside list rows, by row number: {2: [".amount"]} for lines[2].amount."""
    found: dict[int, list[str]] = {}
    for key in keys:
        if match := _ROW.match(key, len(path)) if key.startswith(path) else None:
            found.setdefault(int(match[1]), []).append(key[match.end() :])
    return found


def _says(place: str) -> str:
    return f"{place} say" if place.startswith("pages") else f"{place} says"


def _differ(one: Any, other: Any) -> bool:
    """Texts that differ only in case, width or blanks are equal."""
    return fold(one) != fold(other) if isinstance(one, str) and isinstance(other, str) else bool(one != other)
