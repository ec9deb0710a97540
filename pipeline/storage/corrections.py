"""Manual corrections of a record: validated like extracted values, saved without losing anybody's work.

An open record (`Draft`) carries the digest of its file. `save` compares it again under the write lock; if somebody
else saved in between, nothing is written and `EditConflict` is raised. The order is: attachments, record, rows.

Values are addressed by leaf path (`total`, `lines[0].amount`). List rows may be deleted, added and moved: `rows` gives
for each list the old row numbers in their new order, None for a new row; leaf paths then use the new numbers.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScanmillError, StorageError
from pipeline.core.types import Approval, Correction, Evidence, Record
from pipeline.plugins import sinks
from pipeline.schema import record_check
from pipeline.schema.box_fields import source_boxes
from pipeline.schema.data_path import copied, flat, plain, put, value_at
from pipeline.schema.fields import ITEM, Field, coerce_object, column, is_empty, leaf_values
from pipeline.schema.job import Job
from pipeline.storage import attachments, save_marker
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import DamagedRecord, record_file
from pipeline.storage.record_json import from_json, to_json
from pipeline.system import filesystem
from pipeline.system.locks import writing

Rows = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True, eq=False)
class Draft:
    """An open record. `record` has the types of the job; `version` is the digest of its file."""

    job: Job
    record: Record
    version: str
    raw: Record  # values as in the JSON, also those that no longer fit the job: a save keeps them


class NoRecord(StorageError):
    """The record does not exist, or no longer."""


class EditConflict(ScanmillError):
    """Somebody else saved first. `theirs` is the current record; nothing was written."""

    def __init__(self, theirs: Draft) -> None:
        self.theirs = theirs
        by = next((each.by for each in reversed(theirs.record.corrections) if each.by), None)
        by = (theirs.record.approved and theirs.record.approved.by) or by
        super().__init__(f"{by or 'Somebody else'} saved this record meanwhile. Nothing of yours was written.")


@dataclass(frozen=True, eq=False)
class Checked:
    """A draft with changes, not saved. `problems` has a message for each path whose change is invalid."""

    record: Record
    raw: Record
    problems: Mapping[str, str] = field(default_factory=dict)


def open_draft(root: Path, job: Job, document_id: str, page: int | None) -> Draft:
    """The current record. Raises NoRecord, DamagedRecord and StorageError."""
    return _draft(root / record_file(job.name, document_id, page), job)


def _draft(path: Path, job: Job) -> Draft:
    try:
        with filesystem.storing(path):
            content = filesystem.read_file(path)
    except StorageError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        cure = "It may have been deleted; drop its document again to have it read anew."
        raise NoRecord(f"There is no record {filesystem.printable(path.name)} in {path.parent}. {cure}") from error
    try:
        text = content.decode()
        return Draft(job, from_json(text, job), hashlib.sha256(content).hexdigest(), from_json(text))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecord(path, f"{type(error).__name__} {error}") from error


def check(draft: Draft, changes: Mapping[str, Any], rows: Rows | None = None) -> Checked:
    """The record with the changes: types, missing values and rules checked as in extraction.

    `changes` are values by leaf path, as typed; "" and None mean no value.
    """
    fields, record = draft.job.fields, draft.record
    moved = _Moved(rows or {})
    data, raw = copied(record_check.with_all_groups(fields, record.data)), copied(draft.raw.data)
    for name, order in moved.rows.items():
        fresh = _empty_row(fields.get(name))
        for tree in (data, raw):
            tree[name] = [copied((tree.get(name) or [])[old]) if old is not None else copied(fresh) for old in order]
    known = {path: each for path, each, _ in leaf_values(fields, data)}
    problems: dict[str, str] = {}
    for path, answer in changes.items():
        if path not in known:
            problems[path] = "The job has no such field."
            continue
        value, found = known[path].coerce(answer if answer != "" else None)
        if found:
            problems[path] = "; ".join(f"{problem.message}." for problem in found)
        else:
            for tree in (data, raw):
                put(tree, path, value)
                if suffix := known[path].companion_suffix:
                    put(tree, path + suffix, _printed(draft, path, path + suffix, value, answer))
    touched = {path for path in changes if path not in problems}
    issues = [replace(issue, path=new) for issue in record.issues if (new := moved.path(issue.path)) is not None]
    kept = [issue for issue in issues if issue.code not in record_check.FROM_DATA and issue.path not in touched]
    kept += [*record_check.missing(fields, data), *record_check.broken(draft.job, data, date.today())]
    filled = {path for path, _, value in leaf_values(fields, data) if not is_empty(value)}
    changed: dict[str, Any] = {
        "issues": tuple(dict.fromkeys(kept)),
        "confidence": {path: sure for path, sure in moved.keys(record.confidence) if path not in touched},
        "evidence": {
            path: seen
            for path, seen in moved.keys(record.evidence)
            if {path, column(path)} & (filled | touched) and not (path in touched and known[path].is_box)
        }
        | {path: Evidence(page, box, "") for path, page, box in source_boxes(fields, data) if path in touched},
    }
    return Checked(replace(record, data=data, **changed), replace(draft.raw, data=raw, **changed), problems)


def _printed(draft: Draft, path: str, companion: str, value: Any, answer: Any) -> str | None:
    """The printed form of a corrected value: as typed, or as extracted where the extracted value is restored."""
    first: dict[str, Any] = {each.path: each.machine for each in draft.raw.corrections}
    if path in first and first[path] == plain(value):
        answer = first.get(companion, answer)
    return None if value is None else str(answer)


def save(
    root: Path,
    draft: Draft,
    changes: Mapping[str, Any],
    rows: Rows | None = None,
    *,
    approve: bool = False,
    by: str | None = None,
    now: datetime | None = None,
    into: Sequence[str] = sinks.DEFAULT,
) -> Draft:
    """Writes the changes, and with `approve` the approval; returns the saved record.

    `into` are the sinks to update. Raises ValueError for an invalid change, EditConflict and StorageError.
    """
    checked = check(draft, changes, rows)
    if checked.problems:
        raise ValueError("; ".join(f"{path}: {problem}" for path, problem in checked.problems.items()))
    if approve and draft.record.error is not None:
        raise ValueError("a document that failed cannot be approved: it has no values")
    at = now or datetime.now().astimezone()
    made = _corrections(draft, checked, list(rows or {}), at, by)
    approved = Approval(at, by) if approve else draft.record.approved if made == draft.raw.corrections else None
    person: dict[str, Any] = {"corrections": made, "approved": approved}
    path = root / record_file(draft.job.name, draft.record.document.id, draft.record.page)
    with writing(root, draft.job.name):
        theirs = open_draft(root, draft.job, draft.record.document.id, draft.record.page)
        if theirs.version != draft.version:
            raise EditConflict(theirs)
        table = JobTable(root, draft.job, sinks=into)
        save_marker.complete(root, draft.job, table)
        save_marker.create(root, draft.job, path)
        written, gone = _changed_attachments(draft, checked)
        for name, content in written.items():
            filesystem.folder(root, *name.split("/")[:-1])
            filesystem.write_atomic(root, attachments.inside(root, name), content)
        person["files"] = tuple(dict.fromkeys(each for each in (*draft.record.files, *written) if each not in gone))
        filesystem.write_atomic(root, path, to_json(replace(checked.raw, **person)).encode())
        for name in gone:
            with filesystem.storing(attachment := attachments.inside(root, name)):
                attachment.unlink(missing_ok=True)
        table.update_rows(draft.record.document.id)
        save_marker.remove(root, draft.job)
    return open_draft(root, draft.job, draft.record.document.id, draft.record.page)


def _changed_attachments(draft: Draft, checked: Checked) -> tuple[dict[str, bytes], set[str]]:
    """The contents of changed attachments by name, and the names of those without text now."""
    old, new = (
        {attachments.name(record, one.suffix): one.content for one in attachments.texts(draft.job, record)}
        for record in (draft.record, checked.record)
    )
    written = {name: text for name, text in new.items() if isinstance(text, bytes) and text != old.get(name)}
    return written, (old.keys() - new.keys()) & set(draft.record.files)


def _corrections(
    draft: Draft, checked: Checked, lists: list[str], at: datetime, by: str | None
) -> tuple[Correction, ...]:
    """One correction per path, with the originally extracted value. A list with changed rows is one correction."""
    first = {each.path: each for each in draft.raw.corrections}
    found: dict[str, Correction] = {}
    old, new = dict(flat(draft.raw.data)), dict(flat(checked.raw.data))
    whole = [name for name in lists if plain(draft.raw.data.get(name)) != plain(checked.raw.data.get(name))]
    whole += [name for name in first if isinstance(first[name].machine, list) and name not in whole]
    changed = [path for path in dict.fromkeys((*old, *new)) if plain(old.get(path)) != plain(new.get(path))]
    boxes = [path for path, each, _ in leaf_values(draft.job.fields, checked.record.data) if each.is_box]
    for path in dict.fromkeys((*first, *whole, *boxes, *changed)):
        inside = [f"{name}[" for name in whole] + [f"{name}." for name in boxes]
        if path not in whole and path.startswith(tuple(inside)):
            continue
        machine = first[path].machine if path in first else plain(value_at(draft.raw.data, path))
        if path in whole and path not in first:
            machine = _extracted_rows(machine, path, first)
        person = plain(value_at(checked.raw.data, path))
        if person == machine:
            continue
        same = path in first and first[path].person == person
        found[path] = first[path] if same else Correction(path, machine, person, at, by)
    return tuple(found.values())


def _extracted_rows(rows: Any, name: str, first: Mapping[str, Correction]) -> Any:
    """The rows of a list as extracted, before single values in it were corrected."""
    tree = {name: copied(rows)}
    for path, each in first.items():
        if path.startswith(f"{name}["):
            put(tree, path, each.machine)
    return tree[name]


@dataclass(frozen=True)
class _Moved:
    """Maps leaf paths inside lists from old to new row numbers; None for deleted rows."""

    rows: Rows

    def path(self, path: str) -> str | None:
        for name, order in self.rows.items():
            if match := re.match(re.escape(name) + r"\[(\d+)\]", path):
                old = int(match[1])
                return f"{name}[{list(order).index(old)}]{path[match.end() :]}" if old in order else None
        return path

    def keys(self, known: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        return ((new, value) for path, value in known.items() if (new := self.path(path)) is not None)


def _empty_row(field: Field | None) -> dict[str, Any] | None:
    """A new row: every key without a value; None in a plain list."""
    columns = {} if field is None or ITEM in field.children else field.children
    return coerce_object(columns, {}).value or None
