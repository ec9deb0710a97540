"""Deleting a document for good: its records, its rows, its files and its original."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline import disk, sinks
from pipeline.job import Job
from pipeline.lock import writing
from pipeline.store import Store
from pipeline.table import Table


def forget(root: Path, job: Job, document_id: str, into: Sequence[str] = sinks.DEFAULT) -> None:
    """Removes what the job keeps of a document: its records and files, then its rows in these sinks.

    A run that still has its rows to write finds no record and writes none. Raises StorageError.
    """
    with writing(root, job.name):
        Store(root).remove(job, document_id)
        Table(root, job, sinks=into).follow(document_id)


def discard(root: Path, box: str, prefix: str) -> int:
    """Removes what lies of a box under names that begin with `prefix`; how many. Raises StorageError."""
    if not prefix or "/" in prefix:
        raise ValueError(f"{prefix!r} is not the beginning of a name")
    places = [root / where / disk.child(box) for where in ("inbox", "failed", "duplicate")]
    removed = 0
    with disk.storing(root):
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
