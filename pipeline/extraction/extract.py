"""Replies become a checked record: parse, coerce, join the windows, see what is missing or does not add up."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from typing import Any

from pipeline.core.types import Document, Evidence, Issue, Page, Record
from pipeline.engine import Reply
from pipeline.extraction import box_mapping, reply_parser
from pipeline.parsing.normalize import fold
from pipeline.schema import box_fields, record_check
from pipeline.schema.data_path import value_at
from pipeline.schema.fields import (
    Field,
    ListField,
    answer_keys,
    coerce_object,
    column,
    is_empty,
    leaf_values,
    leaves,
    lone_text,
    shown,
)
from pipeline.schema.job import Job

_ROW = re.compile(r"\[(\d{1,9})\]")


def extract(
    job: Job,
    document: Document,
    page: int | None,
    replies: Sequence[Reply],
    provenance: Mapping[str, Any] | None = None,
    *,
    today: date | None = None,
) -> Record:
    """The record of one answer. `replies` are those of its windows, in their order, and in each window those of the
    job's parts, which bring the fields of different regions; `page` is for `per: page` jobs.

    Whatever an engine wrote gives a record; an engine that gave up, or a document of which no page could be read, a
    failed one. `today` is for rules, and is the local day unless given.
    """
    pages = [each for reply in replies for each in reply.request.pages]
    if failed := next((reply for reply in replies if reply.finish == "error"), None):
        why = failed.error or "the engine gave no reason"
        return fail(job, document, failed.error_code, why, provenance, page=page, pages=pages)
    unread = [
        Issue("unreadable", "", f"page {each.number} could not be read: {each.fault}") for each in pages if each.fault
    ]
    if pages and len(unread) == len(pages) and page is None:
        return fail(job, document, "broken", "; ".join(issue.message for issue in unread[:3]), provenance, pages=pages)

    windows = [_window(reply) for reply in replies]
    merged = _Merged(windows)
    data = merged.object(job.fields)
    present = {path: value for path, _, value in leaf_values(job.fields, data) if not is_empty(value)}
    confidence = {path: sure for path, sure in merged.confidence.items() if path in present}
    found = [*unread, *merged.issues]
    issues = record_check.with_data_issues(job, data, confidence, found, today or date.today())
    return Record(
        document=document,
        job=job.name,
        page=page,
        pages=_numbers(pages),
        data=data,
        confidence=confidence,
        evidence={path: found for path, found in merged.evidence.items() if path in present}
        | _lines(windows, present)
        | {path: Evidence(number, box, "") for path, number, box in box_fields.source_boxes(job.fields, data)},
        issues=issues,
        error=None,
        provenance={"job_digest": job.digest, **(provenance or {}), **_seen(job, pages)},
    )


def _lines(windows: Sequence["_Window"], present: Mapping[str, Any]) -> dict[str, Evidence]:
    """Where the lines of long texts stand, counted through all windows."""
    found: dict[str, Evidence] = {}
    counts: Counter[str] = Counter()
    for window in windows:
        for path, line in window.evidence.items():
            if path not in present and (text := column(path)) in present:
                found[f"{text}[{counts[text]}]"] = line
                counts[text] += 1
    return found


def _seen(job: Job, pages: Sequence[Page]) -> dict[str, Any]:
    """For questions: the size of each page as the engine saw it, since an answer in words may speak of its pixels."""
    return {"seen_px": [[page.width, page.height] for page in pages]} if job.questions else {}


def fail(
    job: Job,
    document: Document,
    code: str,
    detail: str,
    provenance: Mapping[str, Any] | None = None,
    *,
    page: int | None = None,
    pages: Sequence[Page] = (),
) -> Record:
    """The record of a document that gave no answer; `code` is one of errors.DOCUMENT_ERRORS."""
    return Record(
        document=document,
        job=job.name,
        page=page,
        pages=_numbers(pages),
        data={},
        confidence={},
        evidence={},
        issues=(),
        error=(code, detail),
        provenance={"job_digest": job.digest, **(provenance or {})},
    )


def _numbers(pages: Sequence[Page]) -> tuple[int, ...]:
    """In their order, each once: several parts of a job may have looked at a page."""
    return tuple(dict.fromkeys(page.number for page in pages))


@dataclass
class _Window:
    """One reply, typed: some pages, and of a job in parts some fields. Paths still count the rows of this window."""

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


def _window(reply: Reply) -> _Window:
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
    return _Window(
        pages=tuple(pages),
        data=data,
        confidence={path: min(1.0, max(0.0, sure)) for path, sure in reply.confidence.items() if not math.isnan(sure)},
        evidence={path: _in_source(each, pages) for path, each in reply.evidence.items()},
        problems=problems,
        issues=(*answer.issues, *reply.issues),
    )


def _cut_lists(fields: Mapping[str, Field], data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Cuts every list to its `max_items`; the path of each that was longer, and a sentence that says so."""
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
        return reply_parser.ParsedReply({})  # nobody was asked
    if lone_text(fields):
        return reply_parser.plain(reply, next(iter(fields)))
    lists = [reply_parser.Rows(name, each.row_keys) for name, each in fields.items() if each.repeats]
    return reply_parser.parse(reply, answer_keys(fields), lists[0] if len(lists) == 1 else None)


def _in_source(evidence: Evidence, pages: Mapping[int, Page]) -> Evidence:
    page = pages.get(evidence.page)
    if evidence.box is None or page is None:
        return replace(evidence, box=None)
    return replace(evidence, box=page.source_box(evidence.box))


_Parts = Sequence[tuple[_Window, Any]]


@dataclass
class _Merged:
    """Joins the windows of one answer: rows in page order, single values from the most confident window.

    A field is read from the windows that were asked for it.
    """

    windows: Sequence[_Window]
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
        """Whether a place must be named: the answers are about different pages."""
        return len({window.pages for window in self.windows}) > 1

    def object(self, fields: Mapping[str, Field]) -> dict[str, Any]:
        return self._object("", fields, [(window, window.data) for window in self.windows])

    def _object(self, prefix: str, fields: Mapping[str, Field], parts: _Parts) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, each in fields.items():
            given = [(window, values[name]) for window, values in parts if name in values]
            data[name] = self._field(prefix + name, each, given)
            if each.companion_suffix:  # what is printed for the value that was chosen
                prints = [(values[name], values[name + each.companion_suffix]) for _, values in parts if name in values]
                data[name + each.companion_suffix] = next(
                    (said for value, said in prints if value == data[name] and said), None
                )
        return data

    def _field(self, path: str, field: Field, parts: _Parts) -> Any:
        if field.repeats:
            return self._list(path, parts)
        if field.children:
            self._told(path, parts)
            return self._object(f"{path}.", field.children, parts)
        if field.joins_windows:
            return self._joined(path, parts)
        return self._single(path, parts)

    def _joined(self, path: str, parts: _Parts) -> Any:
        """The texts of all windows, one below the other."""
        texts = [text for _, text in parts if text]
        if len(texts) < 2:
            return self._single(path, parts)
        self._told(path, parts)
        return "\n\n".join(texts)

    def _single(self, path: str, parts: _Parts) -> Any:
        self._told(path, parts)
        given = [(window, value) for window, value in parts if not is_empty(value)]
        if not given:
            return parts[0][1] if parts else None
        best, chosen = max(given, key=lambda part: part[0].confidence.get(path, 0.0))  # the first of equals
        for window, value in given:
            if _differ(value, chosen):
                first, second = sorted(((best, chosen), (window, value)), key=lambda part: part[0].pages)
                self.issues.append(Issue("conflict", path, " but ".join(
                    f"{_says(where.place(path))} {shown(what)}" for where, what in (first, second)
                )))  # fmt: skip
                break
        self._carry(best, path, path)
        return chosen

    def _list(self, path: str, parts: _Parts) -> list[Any]:
        """Empty rows are dropped, so every path inside a row is carried to the row's new number."""
        self._told(path, parts)
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
                    self._carry(window, f"{path}[{index}]{suffix}", new + suffix)
                for suffix in wrong.get(index, ()):
                    self._note(new + suffix, window, window.problems[f"{path}[{index}]{suffix}"])
        self._broken_off(path, parts)
        return rows

    def _broken_off(self, path: str, parts: _Parts) -> None:
        """A table that goes over the edge of a window without new headings cannot be read behind it: say where."""
        for (before, rows), (behind, more) in pairwise(parts):
            start = f"{path}[{len(rows) - 1}]"
            last = max((seen.page for at, seen in before.evidence.items() if at.startswith(start)), default=None)
            if rows and not more and before.pages != behind.pages and last == max(before.pages):
                where = behind.place("")
                message = f"the rows end on page {last}, where a window of pages ends, and {where} gave none"
                self.issues.append(Issue("truncated", path, f"{message}; see whether the table goes on there"))

    def _told(self, path: str, parts: _Parts) -> None:
        for window, _ in parts:
            self._note(path, window, window.problems.get(path, ()))

    def _note(self, path: str, window: _Window, problems: Sequence[tuple[str, str]]) -> None:
        where = f" ({window.place('')})" if self._several else ""
        self.issues += [Issue(code, path, message + where) for code, message in problems]

    def _carry(self, window: _Window, old: str, new: str) -> None:
        if old in window.confidence:
            self.confidence[new] = window.confidence[old]
        if old in window.evidence:
            self.evidence[new] = window.evidence[old]


def _by_row(path: str, keys: Iterable[str]) -> dict[int, list[str]]:
    """The paths inside the rows of a list, by row: {2: [".amount"]} for lines[2].amount."""
    found: dict[int, list[str]] = {}
    for key in keys:
        if match := _ROW.match(key, len(path)) if key.startswith(path) else None:
            found.setdefault(int(match[1]), []).append(key[match.end() :])
    return found


def _says(place: str) -> str:
    return f"{place} say" if place.startswith("pages") else f"{place} says"


def _differ(one: Any, other: Any) -> bool:
    """Texts that differ in case, width or blanks only are the same."""
    return fold(one) != fold(other) if isinstance(one, str) and isinstance(other, str) else bool(one != other)
