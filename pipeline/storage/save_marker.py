"""The marker of a save in progress: it names the record, so that an interrupted save can be completed.

A save writes attachments, record and rows in this order. `<root>/.locks/<job>.saving` exists until all are written.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.core.safe_text import sanitize
from pipeline.core.types import Record
from pipeline.plugins import sinks
from pipeline.schema.job import Job
from pipeline.storage import attachments
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import DamagedRecord, is_record_file, read_record
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from pipeline.system.locks import writing

_LONGEST_BYTES = 4096

log = logging.getLogger("scanmill")


def create(root: Path, job: Job, record: Path) -> None:
    """Marks the record as being saved. Raises StorageError."""
    filesystem.write_atomic(root, _marker(root, job), record.relative_to(root).as_posix().encode())


def remove(root: Path, job: Job) -> None:
    """Raises StorageError."""
    marker = _marker(root, job)
    with filesystem.storing(marker):
        if marker.is_dir() and not marker.is_symlink():
            shutil.rmtree(marker)
        else:
            marker.unlink(missing_ok=True)


def repair(root: Path, job: Job, into: Sequence[str] = sinks.DEFAULT) -> None:
    """Completes an interrupted save under the job's write lock. Raises StorageError."""
    if os.path.lexists(_marker(root, job)):
        with writing(root, job.name):
            complete(root, job, JobTable(root, job, sinks=into))


def complete(root: Path, job: Job, table: JobTable) -> None:
    """Updates attachments and rows from the record, whether or not the interrupted save had written it.

    The caller holds the write lock. Raises StorageError.
    """
    if not os.path.lexists(_marker(root, job)):
        return
    record = _marked_record(root, job)
    if record is not None:
        for one in attachments.texts(job, record):
            if isinstance(one.content, bytes) and (name := attachments.name(record, one.suffix)) in record.files:
                filesystem.write_atomic(root, attachments.inside(root, name), one.content)
        RecordStore(root).remove_orphans(job.name, record.document.id)
        table.update_rows(record.document.id)
    remove(root, job)


def _marked_record(root: Path, job: Job) -> Record | None:
    """Logs a warning and returns None where the marker names no valid record. Raises StorageError."""
    marker, name = _marker(root, job), ""
    with suppress(OSError, ValueError):
        name = filesystem.read_file(marker, _LONGEST_BYTES).decode()
    if not is_record_file(job.name, name):  # a power failure, or edited by hand
        log.warning("%s names no record, and is removed. If a save was interrupted, save again.", sanitize(marker))
    elif (root / name).exists():
        try:
            return read_record(root / name, job)
        except DamagedRecord as error:
            log.warning("%s A save of this record was interrupted.", error)
    return None


def _marker(root: Path, job: Job) -> Path:
    return filesystem.folder(root, ".locks") / f"{filesystem.child(job.name)}.saving"
