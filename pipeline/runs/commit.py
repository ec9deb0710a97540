"""The order of a commit: JSON records, then rows in every sink, then the originals move out of working/.

Rows and moves are gathered and done together in `flush`, because sinks rewrite whole files. Between two
flushes documents wait in working/, where the next run finds them after a crash and `recover` ends or returns them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from pipeline.core.errors import DocumentError
from pipeline.core.types import Document, Record
from pipeline.inbox.file_queue import Inbox, Where
from pipeline.schema.job import Job
from pipeline.storage import attachments
from pipeline.storage.attachments import Attachment
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem

Moved = Callable[[Path], None]
NOTHING: Mapping[tuple[str, int], Path] = MappingProxyType({})


class Committer:
    """Writes what was answered, for one run. `tables` holds one Table a job, by name.

    `check` is asked before every write and raises StorageError where the root is not what it was.
    """

    def __init__(
        self, inbox: Inbox, store: RecordStore, tables: Mapping[str, JobTable], check: Callable[[], None] = lambda: None
    ) -> None:
        self._inbox, self._store, self._tables, self._check = inbox, store, tables, check
        self._moves: list[tuple[Document, Where, DocumentError | None, Moved]] = []

    def missing(self, document: Document, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that have not yet answered these bytes as they are now asked. None: the document is a duplicate."""
        return [job for job in jobs if not self._store.answered(job, document.id)]

    def write(self, records: Sequence[Record], drawn: Mapping[tuple[str, int], Path] = NOTHING) -> list[Record]:
        """Commits all records of one document; returns them as they were written. Raises StorageError.

        `drawn` holds the temporary files of pictures with boxes, by job and page.
        """
        self._check()
        written = []
        for job, its_records in groupby(sorted(records, key=lambda record: record.job), lambda record: record.job):
            some = list(its_records)
            files = {each.page: _beside(self._tables[job].job, each, drawn) for each in some}
            committed = self._store.commit(some, files)
            self._tables[job].add(committed)
            written += committed
        return written

    def close(self, document: Document, where: Where, moved: Moved, error: DocumentError | None = None) -> None:
        """The document's records are written: the next flush moves it to `where`, then `moved` is told its place."""
        self._moves.append((document, where, error, moved))

    @property
    def due(self) -> bool:
        """Whether a flush now keeps within its share of the run's time."""
        return any(table.due() for table in self._tables.values())

    def flush(self) -> None:
        """Records to the disk, rows, then moves. Raises StorageError; the next run finishes what was not moved yet."""
        self._check()
        self._store.sync()
        for table in self._tables.values():
            table.flush()
        moves, self._moves = self._moves, []
        for document, where, error, moved in moves:
            moved(self._inbox.finish(document, where, error))

    def recover(self, boxes: Mapping[str, Sequence[Job]], alive: Callable[[str], bool]) -> tuple[int, int]:
        """Ends what dead runs left in working/: (finished, given back to the inbox).

        A document is finished when every job of its inbox has its records, written by that very run or before it; else
        it is read again, as a twin of the document that the records speak of is: the next batch sees what it is.
        """
        finished, back = 0, []
        for claim in self._inbox.recover(alive):
            document, jobs = claim.document, boxes.get(claim.document.inbox, ())
            for job in jobs:
                self._store.remove_orphans(job.name, document.id)
            written = [record for job in jobs for record in self._store.written_by(claim.run, job, document.id)]
            for job in jobs:  # also where others are missing: what is answered is not asked again
                self._tables[job.name].add([record for record in written if record.job == job.name])
            records = [record for record in written if _same(record.document, document)]
            done = {record.job for record in records}
            if not records or any(job.name not in done and not self._store.answered(job, document.id) for job in jobs):
                back.append(document)
                continue
            error = next((DocumentError(*record.error) for record in records if record.error), None)
            self.close(document, "failed" if error else "done", lambda _: None, error)
            finished += 1
        self.flush()
        for document in back:  # not before their rows are safe
            self._inbox.give_back(document)
        return finished, len(back)


def _beside(job: Job, record: Record, drawn: Mapping[tuple[str, int], Path]) -> list[Attachment]:
    """What is to lie beside a record."""
    pages = 1 if record.page else len(record.pages)  # the name says which page only where there are several
    pictures = [
        attachments.picture(page, pages, path)
        for (name, page), path in drawn.items()
        if name == job.name and page in record.pages
    ]
    return [*attachments.texts(job, record), *pictures]


def _same(written: Document, claimed: Document) -> bool:
    """Whether a record speaks of this very file; in working/ its name may have got a number."""
    folder, _, name = claimed.name.rpartition("/")
    its_folder, _, its_name = written.name.rpartition("/")
    if (written.inbox, its_folder) != (claimed.inbox, folder):
        return False
    return filesystem.named_for(name, its_name)
