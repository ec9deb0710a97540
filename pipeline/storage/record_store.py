"""The store of JSON records. A commit replaces all records of a document; the tables are derived from them.

The records of one document and job are committed together, page 1 last: when page 1 is from a run, all pages are.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeline.core.types import Record, Status
from pipeline.plugins.sinks import Key
from pipeline.storage import attachments, record_files
from pipeline.storage.attachments import Attachment
from pipeline.storage.record_files import DamagedRecord, document_files, latest_records, record_file
from pipeline.storage.record_json import to_json
from pipeline.system import filesystem
from pipeline.system.locks import writing

if TYPE_CHECKING:
    from pipeline.schema.job import Job

SYNC_THREADS = 8  # parallel fsync calls: 0.08 ms a file, not 0.29; 12 ms when each commit waits alone


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """What is known of a document from its records: day, run and job digest of the last commit.

    `status` is failed where any page failed, else review where any page is for review. `only_read`: the engine did not
    answer the question, and another engine may. `reviewed`: a record has a manual correction or an approval.
    """

    job_digest: str
    run: str
    day: date
    status: Status
    only_read: bool = False
    reviewed: bool = False


class RecordStore:
    """The records of one root. Readers see a commit whole; after `sync` it also survives a power failure."""

    def __init__(self, root: Path, now: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self.root = root
        self._now = now
        self._unsynced: list[Path] = []

    # ---- writing
    def commit(
        self, records: Sequence[Record], files: Mapping[int | None, Sequence[Attachment]] = MappingProxyType({})
    ) -> list[Record]:
        """Writes all records of one document and job; returns them with `day`, `processed_at` and `files`.

        `records` are either one without a page, or pages from 1 on. `files` are the attachments of each page: written
        before the record that names them; attachments that no record names any more are deleted last.

        Replaces the records of an earlier run and keeps their day. If a record was corrected or approved meanwhile,
        nothing is written and the reviewed records are returned. Raises StorageError; earlier pages may then be partly
        replaced, but page 1 is still that of the earlier run.
        """
        _check_one_document(records)
        first = min(records, key=lambda record: record.page or 0)
        with writing(self.root, first.job):
            old = document_files(self.root, first.job, first.document.id)
            if reviewed := record_files.manually_reviewed(old):
                return reviewed
            now = self._now()
            day = record_files.first_day(old) or now.date()
            stale = _attachments_of(old)
            written = [replace(each, day=day, processed_at=each.processed_at or now) for each in records]
            written = [replace(each, files=self._attach(each, files.get(each.page, ()))) for each in written]
            self._replace(old, written)
            self._delete_attachments(stale - {name for each in written for name in each.files})
        return written

    def _replace(self, old: Sequence[Path], records: Sequence[Record]) -> None:
        """Renames the new record files into place, page 1 last, then deletes the old pages beyond them."""
        folder = filesystem.folder(self.root, "records", records[0].job)
        moves = []
        for each in records:
            content = to_json(each).encode()
            source = filesystem.write_scratch(self.root, "json", content, durable=False)
            moves.append((each.page or 0, source, self.root / record_file(each.job, each.document.id, each.page)))
        moves.sort(key=lambda move: (move[0] == 1, move[0]))
        with filesystem.storing(folder):
            for _, source, target in moves:
                if target == moves[-1][2] and len(moves) > 1:
                    filesystem.sync(folder)  # the other pages before the first
                os.replace(source, target)
                self._unsynced.append(target)
            for path in sorted(set(old) - {target for *_, target in moves}, reverse=True):
                path.unlink(missing_ok=True)

    def _attach(self, record: Record, files: Sequence[Attachment]) -> tuple[str, ...]:
        """Writes the attachments of a record, each atomically; returns their paths relative to the root."""
        names = []
        for one in files:
            source = one.content
            if isinstance(source, bytes):
                source = filesystem.write_scratch(self.root, "beside", source)
            target = attachments.folder(self.root, record) / attachments.file_name(record, one.suffix)
            with filesystem.storing(target):
                os.replace(source, target)
            self._unsynced.append(target)
            names.append(target.relative_to(self.root).as_posix())
        return tuple(names)

    def _delete_attachments(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(ValueError):  # a hand-edited record may name anything
                path = attachments.inside(self.root, name)
                with filesystem.storing(path):
                    path.unlink(missing_ok=True)

    def remove_orphans(self, job: str, document_id: str) -> None:
        """Deletes attachments of a document that no record names: a killed run wrote them just before its records.

        Looks in the folder of the document's day and in the last two: a run may pass midnight.
        """
        top = self.root / attachments.FOLDER / filesystem.child(job)
        old = document_files(self.root, job, document_id)
        named, day = _attachments_of(old), record_files.first_day(old)
        with filesystem.storing(top):
            folders = sorted(top.iterdir())[-2:] if top.is_dir() else []
            if day and (folder := top / day.isoformat()).is_dir():
                folders.append(folder)
            found = {
                path.relative_to(self.root).as_posix()
                for folder in folders
                for path in folder.glob(f"*-{document_id[: attachments.ID_DIGITS]}.*")
            }
        self._delete_attachments(found - named)

    def delete(self, job: "Job", document_id: str) -> None:
        """Deletes the document's records and attachments. Raises StorageError."""
        paths = document_files(self.root, job.name, document_id)
        self._delete_attachments(_attachments_of(paths))
        for path in reversed(paths):
            with filesystem.storing(path):
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Flushes all commits to the disk: required before a document leaves working/."""
        unsynced, self._unsynced = self._unsynced, []
        with ThreadPoolExecutor(SYNC_THREADS) as threads:
            for path, wait in [(path, threads.submit(filesystem.sync, path)) for path in unsynced]:
                with filesystem.storing(path), suppress(FileNotFoundError):  # a later commit may have deleted a page
                    wait.result()
        for folder in {path.parent for path in unsynced}:
            with filesystem.storing(folder):
                filesystem.sync(folder)

    # ---- one document
    def read(self, job: "Job", document_id: str) -> list[Record]:
        """The document's records; empty for an unknown document. Raises StorageError."""
        return latest_records(document_files(self.root, job.name, document_id), job)

    def summary(self, job: str, document_id: str) -> RecordSummary | None:
        """The last whole commit; None where there is none, or where one of its files is damaged."""
        try:
            records = latest_records(document_files(self.root, job, document_id))
        except DamagedRecord:
            return None
        if not records or (day := records[0].day) is None:
            return None
        status = max((record.status for record in records), key=("ok", "review", "failed").index)
        only_read = any(issue.code == "only_read" for record in records for issue in record.issues)
        reviewed = any(record.corrections or record.approved for record in records)
        provenance = records[0].provenance
        return RecordSummary(
            str(provenance.get("job_digest")), str(provenance.get("run")), day, status, only_read, reviewed
        )

    def answered(self, job: "Job", document_id: str) -> bool:
        """Whether the document has a valid answer under the current job.

        Failed documents and unanswered questions are tried again. Manually corrected or approved records always count:
        no engine overwrites them, however the job changes.
        """
        known = self.summary(job.name, document_id)
        if known is None or not (known.reviewed or known.job_digest == job.digest):
            return False
        return known.status != "failed" and not known.only_read

    def written_by(self, run: str, job: "Job", document_id: str) -> list[Record]:
        """The document's records when that run committed all of them, else none. Raises StorageError."""
        try:
            records = self.read(job, document_id)
        except DamagedRecord:
            return []  # a power failure before `sync`
        return records if records and records[0].provenance.get("run") == run else []

    # ---- all documents of a job
    def version(self, record: Record) -> int:
        """The version of one record, as in `versions`. Raises StorageError."""
        path = self.root / record_file(record.job, record.document.id, record.page)
        with filesystem.storing(path):
            return record_files.version_of(path.stat())

    def versions(self, job: "Job") -> dict[Key, int]:
        """Every record of the job, by document and page, with a number that changes when its file is written again.

        Lists the folder and opens no file, so 100,000 records take about a second. Skips empty files, as `days` does.
        """
        found: dict[str, dict[int | None, int]] = {}
        for entry in self._files_in(job):
            pages = found.setdefault(entry.name[:64], {})
            pages[record_files.page_of(entry.name)] = record_files.version_of(entry.stat())
        return {
            (document_id, page): pages[page]
            for document_id, pages in found.items()
            for page in self._current_pages(job, document_id, pages)
        }

    def _current_pages(self, job: "Job", document_id: str, pages: Collection[int | None]) -> Collection[int | None]:
        """The pages without leftovers of an interrupted commit. Only where there may be some, files are opened."""
        if (None in pages) != (1 in pages) and (None not in pages or len(pages) == 1):
            return pages
        ordered = sorted(pages, key=lambda page: page or 0)
        with suppress(DamagedRecord):
            records = latest_records([self.root / record_file(job.name, document_id, page) for page in ordered])
            return {record.page for record in records}
        return pages

    def days(
        self, job: "Job", damaged: Callable[[DamagedRecord], None] | None = None
    ) -> Iterator[tuple[date, Iterator[Record]]]:
        """Every day of the job with its records, read lazily.

        Skips empty files: a power failure leaves them where a commit was not synced; the document is still in working/.
        Documents with a damaged record are reported to `damaged` and skipped; without it, raises DamagedRecord.
        """
        by_day: dict[date, list[str]] = {}
        for entry in self._files_in(job):
            with _reporting(damaged), filesystem.storing(entry.path):
                by_day.setdefault(record_files.read_day(Path(entry.path)), []).append(entry.name)
        for day in sorted(by_day):
            yield day, self._records(sorted(by_day[day]), job, damaged)

    def _records(
        self, names: list[str], job: "Job", damaged: Callable[[DamagedRecord], None] | None
    ) -> Iterator[Record]:
        folder = self.root / "records" / filesystem.child(job.name)
        for _, group in groupby(names, key=lambda name: name[:64]):
            with _reporting(damaged):
                yield from latest_records([folder / name for name in group], job)

    def _files_in(self, job: "Job") -> Iterator["os.DirEntry[str]"]:
        """The record files of a job that are not empty, in no order."""
        folder = self.root / "records" / filesystem.child(job.name)
        with filesystem.storing(folder):
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    yield from (
                        each for each in entries if record_files.is_file_name(each.name) and each.stat().st_size
                    )


@contextmanager
def _reporting(damaged: Callable[[DamagedRecord], None] | None) -> Iterator[None]:
    """Passes a DamagedRecord to `damaged`; raises it if there is no callback."""
    try:
        yield
    except DamagedRecord as error:
        if damaged is None:
            raise
        damaged(error)


def _check_one_document(records: Sequence[Record]) -> None:
    if len({(each.document.id, each.job) for each in records}) != 1:
        raise ValueError("one commit holds the records of one document and one job")
    pages = [each.page for each in records]
    if pages != [None] and set(pages) != set(range(1, len(records) + 1)):
        raise ValueError("a document has one record, or one for each page from 1 on")


def _attachments_of(paths: Sequence[Path]) -> set[str]:
    """The attachments that these record files name. Damaged files are skipped."""
    named: set[str] = set()
    for path in paths:
        with suppress(DamagedRecord):
            named.update(record_files.read_record(path).files)
    return named
