"""Permanent deletion of a document: its records, rows, attachments and original."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.plugins import sinks
from pipeline.schema.job import Job
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from pipeline.system.locks import writing


def delete(root: Path, job: Job, document_id: str, into: Sequence[str] = sinks.DEFAULT) -> None:
    """Deletes a document's records and attachments, then its rows in these sinks.

    A running batch with pending rows of the document finds no record and writes none. Raises StorageError.
    """
    with writing(root, job.name):
        RecordStore(root).delete(job, document_id)
        JobTable(root, job, sinks=into).update_rows(document_id)


def discard(root: Path, box: str, prefix: str) -> int:
    """Deletes all files of a box whose names begin with `prefix`; returns their number. Raises StorageError."""
    if not prefix or "/" in prefix:
        raise ValueError(f"{prefix!r} is not a name prefix")
    places = [root / where / filesystem.child(box) for where in ("inbox", "failed", "duplicate")]
    removed = 0
    with filesystem.storing(root):
        places += [day for day in (root / "done" / box).glob("*/") if day.is_dir() and not day.is_symlink()]
        for place in places:
            for each in list(place.iterdir()) if place.is_dir() else ():
                if each.name.startswith(prefix):
                    if each.is_dir() and not each.is_symlink():
                        shutil.rmtree(each)
                    else:
                        each.unlink()
                    removed += 1
    return removed
