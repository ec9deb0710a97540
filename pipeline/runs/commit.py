"""The order of a commit: JSON records, then rows in every sink, then the source files move out of working/.

Rows and moves are batched and done in `flush`, because sinks rewrite whole files. Until then documents stay in
working/. After a crash the next run finds them there, and `recover` finishes or returns them.
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
NO_PICTURES: Mapping[tuple[str, int], Path] = MappingProxyType({})


class Committer:
    """Writes the results of one run. `tables` holds one JobTable for each job, by name.

    `check` is called before every write and raises StorageError if the root has changed.
    """

    def __init__(
        self, inbox: Inbox, store: RecordStore, tables: Mapping[str, JobTable], check: Callable[[], None] = lambda: None
    ) -> None:
        self._inbox, self._store, self._tables, self._check = inbox, store, tables, check
        self._moves: list[tuple[Document, Where, DocumentError | None, Moved]] = []

    def missing(self, document: Document, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that have no record of these bytes in their current version. Empty: the document is a duplicate."""
        return [job for job in jobs if not self._store.answered(job, document.id)]

    def write(self, records: Sequence[Record], pictures: Mapping[tuple[str, int], Path] = NO_PICTURES) -> list[Record]:
        """Commits all records of one document; returns them as written. Raises StorageError.

        `pictures` are temporary files of pages with boxes drawn in, by job and page.
        """
        self._check()
        written = []
        for job, its_records in groupby(sorted(records, key=lambda record: record.job), lambda record: record.job):
            some = list(its_records)
            files = {each.page: _attachments(self._tables[job].job, each, pictures) for each in some}
            committed = self._store.commit(some, files)
            self._tables[job].add(committed)
            written += committed
        return written

    def close(self, document: Document, where: Where, moved: Moved, error: DocumentError | None = None) -> None:
        """Queue the move of a document with all records written. `flush` moves it, then calls `moved` with its path."""
        self._moves.append((document, where, error, moved))

    @property
    def due(self) -> bool:
        """Whether a table is due for a flush, which is limited to a share of the run's time."""
        return any(table.due() for table in self._tables.values())

    def flush(self) -> None:
        """Sync records to the disk, write rows, then move files. Raises StorageError; the next run moves the rest."""
        self._check()
        self._store.sync()
        for table in self._tables.values():
            table.flush()
        moves, self._moves = self._moves, []
        for document, where, error, moved in moves:
            moved(self._inbox.finish(document, where, error))

    def recover(self, boxes: Mapping[str, Sequence[Job]], alive: Callable[[str], bool]) -> tuple[int, int]:
        """Recover documents that dead runs left in working/; returns (finished, returned to the inbox).

        A document is finished if every job of its inbox has its records, from that run or an earlier one. Others are
        read again, and so is a document with the same bytes as another one that the records name.
        """
        finished, returned = 0, []
        for claim in self._inbox.recover(alive):
            document, jobs = claim.document, boxes.get(claim.document.inbox, ())
            for job in jobs:
                self._store.remove_orphans(job.name, document.id)
            written = [record for job in jobs for record in self._store.written_by(claim.run, job, document.id)]
            for job in jobs:  # even if other jobs have no record yet
                self._tables[job.name].add([record for record in written if record.job == job.name])
            records = [record for record in written if _same(record.document, document)]
            done = {record.job for record in records}
            if not records or any(job.name not in done and not self._store.answered(job, document.id) for job in jobs):
                returned.append(document)
                continue
            error = next((DocumentError(*record.error) for record in records if record.error), None)
            self.close(document, "failed" if error else "done", lambda _: None, error)
            finished += 1
        self.flush()
        for document in returned:  # only after their rows are written
            self._inbox.give_back(document)
        return finished, len(returned)


def _attachments(job: Job, record: Record, pictures: Mapping[tuple[str, int], Path]) -> list[Attachment]:
    """The files to store next to a record: long texts, and pages with boxes."""
    pages = 1 if record.page else len(record.pages)  # file names have a page number only if there are several
    drawn = [
        attachments.picture(page, pages, path)
        for (name, page), path in pictures.items()
        if name == job.name and page in record.pages
    ]
    return [*attachments.texts(job, record), *drawn]


def _same(written: Document, claimed: Document) -> bool:
    """Whether a record is about this file; a number may have been added to its name in working/."""
    folder, _, name = claimed.name.rpartition("/")
    its_folder, _, its_name = written.name.rpartition("/")
    if (written.inbox, its_folder) != (claimed.inbox, folder):
        return False
    return filesystem.named_for(name, its_name)
