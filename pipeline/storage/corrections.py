"""What a person changes in a record: checked as the pipeline checks, written so that nobody's work is lost.

A record that is opened carries the digest of its file. Saving compares it again while it keeps every writer of the job
out (`lock.writing`): where somebody else was faster, nothing is written and `Overtaken` shows theirs. Code and Markdown
beside the record come first, then the record, then its row in every sink; a running batch takes turns with it, and
neither loses the other's rows.

A form speaks in leaf paths (`total`, `lines[0].amount`). Rows may be dropped, added and moved: `rows` says for a list
which old rows stand there now, in order, None for a new one; paths then count the new rows.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import ScanmillError, StorageError
from pipeline.core.safe_text import harmless
from pipeline.core.types import Approval, Correction, Evidence, Record
from pipeline.plugins import sinks
from pipeline.schema import record_check
from pipeline.schema.box_fields import source_boxes
from pipeline.schema.data_path import copied, flat, plain, put, value_at
from pipeline.schema.fields import ITEM, Field, coerce_object, column, is_empty, leaf_values
from pipeline.schema.job import Job
from pipeline.storage import attachments
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import DamagedRecord, is_record_file, record_file
from pipeline.storage.record_json import from_json, to_json
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from pipeline.system.locks import writing

Rows = Mapping[str, Sequence[int | None]]
_LONGEST_NOTE = 4096


log = logging.getLogger("scanmill")


@dataclass(frozen=True, eq=False)
class Draft:
    """A record as somebody opened it. `record` has the types of the job; `version` is the digest of its file."""

    job: Job
    record: Record
    version: str
    raw: Record  # with values as JSON has them, also those that no longer fit the job: they are kept when it is saved


class NoRecord(StorageError):
    """No record lies there: it was deleted since somebody saw it, or there never was one."""


class EditConflict(ScanmillError):
    """Somebody else saved first. `theirs` is the record as it is now; nothing was written."""

    def __init__(self, theirs: Draft) -> None:
        self.theirs = theirs
        by = next((each.by for each in reversed(theirs.record.corrections) if each.by), None)
        by = (theirs.record.approved and theirs.record.approved.by) or by
        super().__init__(f"{by or 'Somebody else'} saved this record meanwhile. Nothing of yours was written.")


@dataclass(frozen=True, eq=False)
class Checked:
    """A draft with changes, not yet saved. `problems` says in words, by path, which of them cannot be taken."""

    record: Record
    raw: Record
    problems: Mapping[str, str] = field(default_factory=dict)


def open_draft(root: Path, job: Job, document_id: str, page: int | None) -> Draft:
    """The record as it is now. Raises NoRecord where there is none, StorageError where it is damaged."""
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
    """The record with the changes: types, missing values and rules judged as the pipeline judges them.

    `changes` are answers by leaf path, as a person writes them; "" and None say that there is no such value.
    """
    fields, record = draft.job.fields, draft.record
    moved = _Moved(rows or {})
    data, raw = copied(record_check.shaped(fields, record.data)), copied(draft.raw.data)
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
                if attachment := known[path].companion_suffix:
                    put(tree, path + attachment, _print(draft, path, path + attachment, value, answer))
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


def _print(draft: Draft, path: str, attachment: str, value: Any, answer: Any) -> str | None:
    """How a value is printed that somebody wrote: as they wrote it; as the machine saw it where it is set back."""
    first: dict[str, Any] = {each.path: each.machine for each in draft.raw.corrections}
    if path in first and first[path] == plain(value):
        answer = first.get(attachment, answer)
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
    """Writes the changes, and with `approve` that a person says it is right; returns the record as it is now.

    `into` are the sinks whose rows follow. Raises ValueError where a change cannot be taken (`check` says why),
    Overtaken and StorageError.
    """
    checked = check(draft, changes, rows)
    if checked.problems:
        raise ValueError("; ".join(f"{path}: {said}" for path, said in checked.problems.items()))
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
        _mend(root, draft.job, table)
        note = _note(root, draft.job)
        filesystem.write_whole(root, note, path.relative_to(root).as_posix().encode())
        written, gone = _beside(draft, checked)
        for name, content in written.items():
            filesystem.folder(root, *name.split("/")[:-1])
            filesystem.write_whole(root, attachments.inside(root, name), content)
        person["files"] = tuple(dict.fromkeys(each for each in (*draft.record.files, *written) if each not in gone))
        filesystem.write_whole(root, path, to_json(replace(checked.raw, **person)).encode())
        for name in gone:
            with filesystem.storing(place := attachments.inside(root, name)):
                place.unlink(missing_ok=True)
        table.follow(draft.record.document.id)
        _done(note)
    return open_draft(root, draft.job, draft.record.document.id, draft.record.page)


def repair(root: Path, job: Job, into: Sequence[str] = sinks.DEFAULT) -> None:
    """Ends a save that was cut off between the record and what follows it. Raises StorageError."""
    if os.path.lexists(_note(root, job)):
        with writing(root, job.name):
            _mend(root, job, JobTable(root, job, sinks=into))


def _mend(root: Path, job: Job, table: JobTable) -> None:
    """The record says what is right, whether the cut came before it was written or after: files and row follow it."""
    note = _note(root, job)
    if not os.path.lexists(note):
        return
    record = _noted(root, job, note)
    if record is not None:
        for one in attachments.texts(job, record):
            if isinstance(one.content, bytes) and (name := attachments.name(record, one.suffix)) in record.files:
                filesystem.write_whole(root, attachments.inside(root, name), one.content)
        RecordStore(root).remove_orphans(job.name, record.document.id)
        table.follow(record.document.id)
    _done(note)


def _noted(root: Path, job: Job, note: Path) -> Record | None:
    """The record that the note names, if it still is one; else what is wrong is told. Raises StorageError."""
    name = ""
    with suppress(OSError, ValueError):
        name = filesystem.read_file(note, _LONGEST_NOTE).decode()
    if not is_record_file(job.name, name):  # left by a power cut, or by a person
        log.warning("%s names no record, and is removed. Where a save was cut off, save it again.", harmless(note))
    elif (root / name).exists():
        try:
            return _draft(root / name, job).record
        except DamagedRecord as error:
            log.warning("%s A save of it was cut off.", error)
    return None


def _note(root: Path, job: Job) -> Path:
    """Names the record that is being saved, as long as that takes."""
    return filesystem.folder(root, ".locks") / f"{filesystem.child(job.name)}.saving"


def _done(note: Path) -> None:
    with filesystem.storing(note):
        if note.is_dir() and not note.is_symlink():
            shutil.rmtree(note)
        else:
            note.unlink(missing_ok=True)


def _beside(draft: Draft, checked: Checked) -> tuple[dict[str, bytes], set[str]]:
    """The files of texts that were changed, by name, and the names of those whose text is gone."""
    old, new = (
        {attachments.name(record, one.suffix): one.content for one in attachments.texts(draft.job, record)}
        for record in (draft.record, checked.record)
    )
    written = {name: text for name, text in new.items() if isinstance(text, bytes) and text != old.get(name)}
    return written, (old.keys() - new.keys()) & set(draft.record.files)


def _corrections(
    draft: Draft, checked: Checked, lists: list[str], at: datetime, by: str | None
) -> tuple[Correction, ...]:
    """One a path, with what the machine said first. A list whose rows changed is one correction as a whole."""
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
            machine = _undone(machine, path, first)
        person = plain(value_at(checked.raw.data, path))
        if person == machine:
            continue
        same = path in first and first[path].person == person
        found[path] = first[path] if same else Correction(path, machine, person, at, by)
    return tuple(found.values())


def _undone(rows: Any, name: str, first: Mapping[str, Correction]) -> Any:
    """The rows of a list as the machine gave them, before its single values were corrected."""
    tree = {name: copied(rows)}
    for path, each in first.items():
        if path.startswith(f"{name}["):
            put(tree, path, each.machine)
    return tree[name]


@dataclass(frozen=True)
class _Moved:
    """Where the rows of lists went: paths inside them count anew, and go with a row that was dropped."""

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
    """A new row of a list: every key without a value; None in a plain list."""
    columns = {} if field is None or ITEM in field.children else field.children
    return coerce_object(columns, {}).value or None
