"""A record as a form: every single value with its place on the page, and in words what is doubtful about it."""

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
from web.components.theme import moment
from web.data.record_list import JOB_KEYS

BAD = ("missing", "rule_failed", "wrong_type", "not_allowed")


def form(draft: Draft, changes: Mapping[str, Any] | None = None, rows: Rows | None = None) -> dict[str, Any]:
    """Plain JSON for review.js. `changes` and `rows` are what a person has typed and not yet saved: it is judged and
    goes along, beside the values as they are saved, so that a form that is opened again goes on where it was left.
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
        "approved": _signed(record.approved.at, record.approved.by) if record.approved else None,
        "editable": record.error is None,
        "pages": list(record.pages),
        "reasons": _reasons(record, problems),
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
        heads = [_head(key, each) for key, each in columns.items()]
        rows = []
        for index, row in enumerate(value or ()):
            place = f"{path}[{index}]"
            cells = [
                (place, each, row) if key == ITEM else (f"{place}.{key}", each, value_at(row, key))
                for key, each in columns.items()
            ]
            rows.append([_leaf(where, each, cell, record) for where, each, cell in cells])
        return entry | {"columns": heads, "rows": rows}
    if field.children:
        value = value if isinstance(value, Mapping) else {}
        group = [_entry(key, each, value.get(key), f"{path}.{key}", record) for key, each in field.children.items()]
        return entry | {"group": group}
    return entry | _leaf(path, field, value, record) | _kind(field)


def _head(name: str, field: Field) -> dict[str, Any]:
    return {"key": name, "name": name.replace("_", " ").replace(".", " "), "required": field.required} | _kind(field)


def _kind(field: Field) -> dict[str, Any]:
    """What the browser needs to draw the control: its kind, the options, the unit."""
    kind, options, unit = field.widget
    if kind == "choice":
        return {"kind": kind, "options": list(options)}
    return {"kind": kind} if kind in ("box", "long") else {"kind": kind, "unit": unit, "type": field.type}


def _leaf(path: str, field: Field, value: Any, record: Record) -> dict[str, Any]:
    seen = record.evidence.get(path)
    changed = next((each for each in record.corrections if each.path == path), None)
    return {
        "path": path,
        "value": field.print_value(value),
        "sure": record.confidence.get(path),
        "printed": words(seen.text) if seen and seen.text else None,
        "page": seen.page if seen else None,
        "corrected": _signed(changed.at, changed.by) if changed else None,
        "machine": field.print_value(changed.machine) if changed else None,
    }


def _signed(at: datetime, by: str | None) -> str:
    return f"{by}, {moment(at)}" if by else moment(at)


def _notes(record: Record) -> list[dict[str, str]]:
    """What concerns the whole record."""
    question = record.document.question
    notes = [{"level": "said", "text": words(f"Asked: {question}")}] if question else []
    if record.error is not None:
        code, detail = record.error
        known = explain_error(code)
        said = f"{known.cause} {known.cure}".strip() or code
        notes.append({"level": "bad", "text": words(f"{said} ({detail})" if detail else said)})
        notes.append({"level": "doubt", "text": "It was not read, so there is nothing here to correct or accept."})
    for issue in record.issues:
        if not issue.path:
            notes.append({"level": _level(issue.code), "text": _reason(issue)})
    return notes


def _reasons(record: Record, problems: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By path: how bad it is, and why, in sentences."""
    found: dict[str, dict[str, Any]] = {}
    for issue in record.issues:
        if issue.path:
            each = found.setdefault(issue.path, {"level": "doubt", "words": []})
            each["level"] = "bad" if "bad" in (each["level"], _level(issue.code)) else "doubt"
            each["words"].append(_reason(issue))
    for path, said in problems.items():
        found.setdefault(path, {"words": []})
        found[path] |= {"level": "bad", "words": [_sentence(said)], "refused": True}
    return found


def _level(code: str) -> str:
    return "bad" if code in BAD else "doubt"


def _reason(issue: Issue) -> str:
    """A rule begins with the name of a field, whose letters stay as the job has them."""
    return _sentence(f"the rule {issue.message}" if issue.code == "rule_failed" else issue.message)


def _sentence(text: str) -> str:
    said = re.sub(JOB_KEYS, "", words(text)).strip()
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "…", "!")) else ".")


def _boxes(job: Job, record: Record, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """Where values stand, in source pixels, with how sound they are; without the single lines of a text."""
    values = {path for path, _, _ in leaf_values(job.fields, record.data)}
    reasons, changed = _reasons(record, problems), {each.path for each in record.corrections}
    return [
        {
            "path": path,
            "page": seen.page,
            "label": f"{path}: {words(seen.text)}" if seen.text else path,
            "mark": reasons[path]["level"] if path in reasons else "done" if path in changed else "",
            "x": seen.box.x,
            "y": seen.box.y,
            "width": seen.box.width,
            "height": seen.box.height,
        }
        for path, seen in record.evidence.items()
        if seen.box is not None and path in values
    ]
