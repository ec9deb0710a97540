"""The data of the review form: each value with its box on the page, and its issues as sentences."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.core.types import Issue, Record
from pipeline.plugins.formats import explain_error
from pipeline.reporting.html import words
from pipeline.schema.data_path import value_at
from pipeline.schema.fields import ITEM, Field, leaf_values, leaves
from pipeline.schema.job import Job
from pipeline.storage.corrections import Draft, Rows, check
from web.components.theme import format_time
from web.data.record_list import JOB_KEYS

BAD = ("missing", "rule_failed", "wrong_type", "not_allowed")


def form(draft: Draft, changes: Mapping[str, Any] | None = None, rows: Rows | None = None) -> dict[str, Any]:
    """The JSON data of a record for review.js.

    `changes` and `rows` are unsaved edits: they are validated and returned beside the saved values, so that a form that
    is opened again continues where it was left.
    """
    record, saved, problems = draft.record, draft.record, {}
    if changes or rows:
        checked = check(draft, changes or {}, rows)
        record, saved, problems = checked.record, check(draft, {}, rows).record, dict(checked.problems)
    return {
        "id": f"{record.job}/{record.document.id}/{record.page or 0}",
        "version": draft.version,
        "name": words(record.document.name),
        "job": record.job,
        "page": record.page,
        "status": record.status,
        "notes": _notes(record),
        "approved": _signature(record.approved.at, record.approved.by) if record.approved else None,
        "editable": record.error is None,
        "pages": list(record.pages),
        "issues": _issues(record, problems),
        "boxes": _boxes(draft.job, record, problems),
        "fields": [_entry(name, each, saved.data.get(name), name, saved) for name, each in draft.job.fields.items()],
        "changes": dict(changes or {}),
        "rows": {name: list(order) for name, order in (rows or {}).items()},
    }


def _entry(name: str, field: Field, value: Any, path: str, record: Record) -> dict[str, Any]:
    """A leaf {path, name, kind, value, …}, a group {path, name, group: […]}, or a list {path, name, columns, rows}."""
    entry: dict[str, Any] = {
        "path": path,
        "name": name.replace("_", " "),
        "required": field.required,
        "hint": field.hint,
    }
    if field.repeats:
        columns = dict(leaves(field.children))
        headings = [_heading(key, each) for key, each in columns.items()]
        rows = []
        for index, row in enumerate(value or ()):
            row_path = f"{path}[{index}]"
            cells = [
                (row_path, each, row) if key == ITEM else (f"{row_path}.{key}", each, value_at(row, key))
                for key, each in columns.items()
            ]
            rows.append([_leaf(*cell, record) for cell in cells])
        return entry | {"columns": headings, "rows": rows}
    if field.children:
        value = value if isinstance(value, Mapping) else {}
        group = [_entry(key, each, value.get(key), f"{path}.{key}", record) for key, each in field.children.items()]
        return entry | {"group": group}
    return entry | _leaf(path, field, value, record) | _control(field)


def _heading(name: str, field: Field) -> dict[str, Any]:
    return {"key": name, "name": name.replace("_", " ").replace(".", " "), "required": field.required} | _control(field)


def _control(field: Field) -> dict[str, Any]:
    """The control in the browser: its kind, options and unit."""
    kind, options, unit = field.widget
    if kind == "choice":
        return {"kind": kind, "options": list(options)}
    return {"kind": kind} if kind in ("box", "long") else {"kind": kind, "unit": unit, "type": field.type}


def _leaf(path: str, field: Field, value: Any, record: Record) -> dict[str, Any]:
    evidence = record.evidence.get(path)
    changed = next((each for each in record.corrections if each.path == path), None)
    return {
        "path": path,
        "value": field.print_value(value),
        "printed": words(evidence.text) if evidence and evidence.text else None,
        "page": evidence.page if evidence else None,
        "corrected": _signature(changed.at, changed.by) if changed else None,
        "machine": field.print_value(changed.machine) if changed else None,
    }


def _signature(at: datetime, by: str | None) -> str:
    return f"{by}, {format_time(at)}" if by else format_time(at)


def _notes(record: Record) -> list[dict[str, str]]:
    """Messages about the whole record."""
    question = record.document.question
    notes = [{"level": "info", "text": words(f"Question: {question}")}] if question else []
    if record.error is not None:
        code, detail = record.error
        known = explain_error(code)
        text = f"{known.cause} {known.cure}".strip() or code
        notes.append({"level": "bad", "text": words(f"{text} ({detail})" if detail else text)})
        notes.append(
            {"level": "doubt", "text": "This document was not read, so there are no values to correct or accept."}
        )
    for issue in record.issues:
        if not issue.path:
            notes.append({"level": _level(issue.code), "text": _message(issue)})
    return notes


def _issues(record: Record, problems: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The level and the messages of the issues of each path."""
    found: dict[str, dict[str, Any]] = {}
    for issue in record.issues:
        if issue.path:
            each = found.setdefault(issue.path, {"level": "doubt", "messages": []})
            each["level"] = "bad" if "bad" in (each["level"], _level(issue.code)) else "doubt"
            each["messages"].append(_message(issue))
    for path, problem in problems.items():
        found[path] = {"level": "bad", "messages": [_sentence(problem)]}
    return found


def _level(code: str) -> str:
    return "bad" if code in BAD else "doubt"


def _message(issue: Issue) -> str:
    """The message as a sentence. A rule begins with a field name, which keeps its case."""
    return _sentence(f"the rule {issue.message}" if issue.code == "rule_failed" else issue.message)


def _sentence(text: str) -> str:
    sentence = re.sub(JOB_KEYS, "", words(text)).strip()
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith((".", "…", "!")) else ".")


def _boxes(job: Job, record: Record, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """The boxes of values in source pixels, each with the level of its issues; without the lines of a long text."""
    values = {path for path, _, _ in leaf_values(job.fields, record.data)}
    issues, changed = _issues(record, problems), {each.path for each in record.corrections}
    return [
        {
            "path": path,
            "page": evidence.page,
            "label": f"{path}: {words(evidence.text)}" if evidence.text else path,
            "mark": issues[path]["level"] if path in issues else "done" if path in changed else "",
            "x": evidence.box.x,
            "y": evidence.box.y,
            "width": evidence.box.width,
            "height": evidence.box.height,
        }
        for path, evidence in record.evidence.items()
        if evidence.box is not None and path in values
    ]
