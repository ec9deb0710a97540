"""Deleting a document for good: its records, its rows, its files and its original."""

import shutil
import time
from pathlib import Path

from pipeline import disk
from pipeline.errors import StorageError
from pipeline.job import Job
from pipeline.lock import writing
from pipeline.store import Store
from pipeline.table import Table

PATIENCE_S, LOOK_S = 20.0, 0.2  # a run writes rows some time after their records


def forget(root: Path, job: Job, document_id: str, patience_s: float = PATIENCE_S) -> None:
    """Removes what the job keeps of a document. Waits for a run that has yet to write its rows. Raises StorageError."""
    store, table = Store(root), Table(root, job)
    until = time.monotonic() + patience_s
    while True:
        with writing(root, job.name):
            records = store.read(job, document_id)
            if all(table.settled(record) for record in records):
                for record in records:
                    table.remove(record)
                store.remove(job, document_id)
                return
        if time.monotonic() > until:
            raise StorageError(f"{root}: a run is just writing the table of {job.name}. Try again in a moment.")
        time.sleep(LOOK_S)


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
