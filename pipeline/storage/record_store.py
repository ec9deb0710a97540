"""The JSON records: written first, whole or not at all. They are the truth; tables are made from them.

`<root>/records/<job>/<id>.json` holds the answer about a whole document, `<id>.p0003.json` the one about page 3. All
records of a document and a job are committed together, page 1 last: where page 1's record of some run lies, all lie.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from os import DirEntry, scandir
from os import replace as rename
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeline.core.errors import StorageError
from pipeline.core.safe_text import sanitize
from pipeline.core.types import Record, Status
from pipeline.plugins.sinks import Key
from pipeline.storage import attachments
from pipeline.storage.attachments import Attachment
from pipeline.storage.record_json import from_json, to_json
from pipeline.system import filesystem
from pipeline.system.locks import writing

if TYPE_CHECKING:
    from pipeline.schema.job import Job

_ID = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"([0-9a-f]{64})(?:\.p(\d{4,}))?\.json")
_PRIME = 1_000_003  # so that a time and a size that both change by a little do not cancel out
SYNC_THREADS = 8  # waiting for the disk side by side: 0.08 ms a file, not 0.29; 12 ms when each commit waits alone


class DamagedRecord(StorageError):
    """A file of a record that cannot be read as one."""

    def __init__(self, path: Path, why: str) -> None:
        self.document_id = path.name[:64]
        said = f"{sanitize(path)} is not a whole record ({sanitize(why)})"
        super().__init__(f"{said}. Delete it, and drop its document again.")


@dataclass(frozen=True, slots=True)
class Known:
    """What stands on record about a document: from when, from which run, and under which form of the job.

    `status` is failed where any page failed, else review where any is to be reviewed. `only_read`: its question was not
    answered, and another engine may. `reviewed`: a person corrected or approved a part of it.
    """

    job_digest: str
    run: str
    day: date
    status: Status
    only_read: bool = False
    reviewed: bool = False


class RecordStore:
    """The records of one root. A commit is whole at once for every reader; after `sync` it outlives a power cut too."""

    def __init__(self, root: Path, now: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self.root = root
        self._now = now
        self._unsynced: list[Path] = []

    def commit(
        self, records: Sequence[Record], files: Mapping[int | None, Sequence[Attachment]] = MappingProxyType({})
    ) -> list[Record]:
        """Writes all records of one document and one job; returns them with `day`, `processed_at` and `files`.

        `files` are what is to lie beside each record, by its page. They are put in place before the record that names
        them, and those that no record of the document names any more go last.

        They replace what an earlier run wrote about the document, and keep its day; but where a person corrected or
        approved it while it was read again, theirs stands and is returned. Records are either one without a
        page, or pages from 1 on. Raises StorageError; earlier pages may then be partly replaced, but page 1 still names
        the earlier run.
        """
        first = min(records, key=lambda record: record.page or 0)
        if {(each.document.id, each.job) for each in records} != {(first.document.id, first.job)}:
            raise ValueError("one commit holds the records of one document and one job")
        numbers = [each.page for each in records]
        if numbers != [None] and set(numbers) != set(range(1, len(records) + 1)):
            raise ValueError("a document has one record, or one for each page from 1 on")
        place = filesystem.folder(self.root, "records", first.job)
        with writing(self.root, first.job):
            old = self._lying(first.job, first.document.id)
            if settled := self._reviewed(old):
                return settled
            day, now = self._day(old) or self._now().date(), self._now()
            stale = self._files_of(old)
            written = [replace(each, day=day, processed_at=each.processed_at or now) for each in records]
            written = [replace(each, files=self._lay(each, files.get(each.page, ()))) for each in written]
            moves = [(self._write(each), self._path(each.job, each.document.id, each.page)) for each in written]
            moves.sort(key=lambda move: move[1] == self._path(first.job, first.document.id, first.page))
            with filesystem.storing(place):
                for source, target in moves:
                    if target == moves[-1][1] and len(moves) > 1:
                        filesystem.sync(place)  # the other pages before the first
                    rename(source, target)
                    self._unsynced.append(target)
                for path in sorted(set(old) - {target for _, target in moves}, reverse=True):
                    path.unlink(missing_ok=True)
            self._drop(stale - {name for each in written for name in each.files})
        return written

    def _lay(self, record: Record, files: Sequence[Attachment]) -> tuple[str, ...]:
        """Puts the files of a record in place, each whole at once; their names from the root."""
        names = []
        for one in files:
            source = one.content
            if isinstance(source, bytes):
                source = filesystem.write_scratch(self.root, "beside", source)
            target = attachments.folder(self.root, record) / attachments.file_name(record, one.suffix)
            with filesystem.storing(target):
                rename(source, target)
            self._unsynced.append(target)
            names.append(target.relative_to(self.root).as_posix())
        return tuple(names)

    def _files_of(self, paths: Sequence[Path]) -> set[str]:
        """The files that the records name. What a damaged record named is found by nobody."""
        named: set[str] = set()
        for path in paths:
            with suppress(DamagedRecord):
                named.update(_read(path, None).files)
        return named

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(ValueError):  # a record that people wrote may name anything
                path = attachments.inside(self.root, name)
                with filesystem.storing(path):
                    path.unlink(missing_ok=True)

    def tidy(self, job: str, document_id: str) -> None:
        """Removes the files of a document that no record names: a run that died put them there just before.

        They lie in the folder of the document's day or in one of the last two: a run may go over midnight.
        """
        place = self.root / attachments.FOLDER / filesystem.child(job)
        old = self._lying(job, document_id)
        named, day = self._files_of(old), self._day(old)
        with filesystem.storing(place):
            folders = sorted(place.iterdir())[-2:] if place.is_dir() else []
            if day and (folder := place / day.isoformat()).is_dir():
                folders.append(folder)
            lying = {
                path.relative_to(self.root).as_posix()
                for folder in folders
                for path in folder.glob(f"*-{document_id[: attachments.ID_DIGITS]}.*")
            }
        self._drop(lying - named)

    def read(self, job: "Job", document_id: str) -> list[Record]:
        """The document's records; none where nothing is known of it. Raises StorageError."""
        return self._newest(self._lying(job.name, document_id), job)

    def remove(self, job: "Job", document_id: str) -> None:
        """Deletes the document's records and their files for good. Raises StorageError."""
        paths = self._lying(job.name, document_id)
        self._drop(self._files_of(paths))
        for path in reversed(paths):
            with filesystem.storing(path):
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Waits until every commit would outlive a power cut: to be done before a document leaves working/."""
        unsynced, self._unsynced = self._unsynced, []
        with ThreadPoolExecutor(SYNC_THREADS) as threads:
            for place, wait in [(place, threads.submit(filesystem.sync, place)) for place in unsynced]:
                with filesystem.storing(place), suppress(FileNotFoundError):  # a later commit may have dropped a page
                    wait.result()
        for place in {path.parent for path in unsynced}:
            with filesystem.storing(place):
                filesystem.sync(place)

    def known(self, job: str, document_id: str) -> Known | None:
        """What the last whole commit wrote; None where there is none, or where a file of it is damaged."""
        try:
            records = self._newest(self._lying(job, document_id))
        except DamagedRecord:
            return None
        if not records:
            return None
        first = records[0]
        if first.day is None:
            return None
        status = max((record.status for record in records), key=("ok", "review", "failed").index)
        only_read = any(issue.code == "only_read" for record in records for issue in record.issues)
        reviewed = any(record.corrections or record.approved for record in records)
        digest, run = str(first.provenance.get("job_digest")), str(first.provenance.get("run"))
        return Known(digest, run, first.day, status, only_read, reviewed)

    def answered(self, job: "Job", document_id: str) -> bool:
        """Whether these bytes were read under the job as it now is. What failed or was only read was not: it is tried
        again. What a person corrected or approved stands, however the job changes: no engine overwrites it."""
        known = self.known(job.name, document_id)
        if known is None or not (known.reviewed or known.job_digest == job.digest):
            return False
        return known.status != "failed" and not known.only_read

    def written_by(self, run: str, job: "Job", document_id: str) -> list[Record]:
        """The document's records when that run committed all of them, else none. Raises StorageError."""
        try:
            records = self._newest(self._lying(job.name, document_id), job)
        except DamagedRecord:
            return []  # what a power cut leaves where nothing was synced yet
        return records if records and records[0].provenance.get("run") == run else []

    def versions(self, job: "Job") -> dict[Key, int]:
        """Every record of the job, by document and page, with a number that changes when its file is written again.

        It lists the folder and opens no file, so 100,000 records take about a second. Empty files are passed over, as
        in `days`.
        """
        found: dict[str, dict[int | None, int]] = {}
        for entry in self._files_in(job):
            found.setdefault(entry.name[:64], {})[_page(entry.name)] = _version(entry.stat())
        return {
            (document_id, page): pages[page]
            for document_id, pages in found.items()
            for page in self._standing(job, document_id, pages)
        }

    def _standing(self, job: "Job", document_id: str, pages: Collection[int | None]) -> Collection[int | None]:
        """The pages that count: only where a commit was cut off do others lie beside them, and files are opened."""
        if (None in pages) != (1 in pages) and (None not in pages or len(pages) == 1):
            return pages
        paths = [self._path(job.name, document_id, page) for page in sorted(pages, key=lambda page: page or 0)]
        with suppress(DamagedRecord):
            return {record.page for record in self._newest(paths)}
        return pages

    def version(self, record: Record) -> int:
        """That number of one record. Raises StorageError."""
        path = self._path(record.job, record.document.id, record.page)
        with filesystem.storing(path):
            return _version(path.stat())

    def days(
        self, job: "Job", damaged: Callable[[DamagedRecord], None] | None = None
    ) -> Iterator[tuple[date, Iterator[Record]]]:
        """Every day of the job with its records, read as they are asked for.

        Empty files are passed over: a power cut leaves them where a commit was not synced; the document is still there.
        Documents with a damaged record are passed over where `damaged` is given, which is told of each; else raises
        DamagedRecord.
        """
        by_day: dict[date, list[str]] = {}
        for entry in self._files_in(job):
            try:
                with filesystem.storing(entry.path):
                    by_day.setdefault(_day(Path(entry.path)), []).append(entry.name)
            except DamagedRecord as error:
                if damaged is None:
                    raise
                damaged(error)
        for day in sorted(by_day):
            yield day, self._of(sorted(by_day[day]), job, damaged)

    def _of(self, names: list[str], job: "Job", damaged: Callable[[DamagedRecord], None] | None) -> Iterator[Record]:
        place = self.root / "records" / filesystem.child(job.name)
        for _, group in groupby(names, key=lambda name: name[:64]):
            try:
                yield from self._newest([place / name for name in group], job)
            except DamagedRecord as error:
                if damaged is None:
                    raise
                damaged(error)

    def _files_in(self, job: "Job") -> Iterator[DirEntry[str]]:
        """The record files of a job that are not empty, in no order."""
        place = self.root / "records" / filesystem.child(job.name)
        with filesystem.storing(place):
            if place.is_dir():
                with scandir(place) as entries:
                    yield from (each for each in entries if _FILE.fullmatch(each.name) and each.stat().st_size)

    def _newest(self, paths: Sequence[Path], job: "Job | None" = None) -> list[Record]:
        """The records of one document in the order of pages, without what an unfinished or older commit left."""
        records = [_read(path, job) for path in paths]
        whole = [record for record in records if record.page is None]
        pages = sorted((record for record in records if record.page is not None), key=lambda record: record.page or 0)
        if not pages or pages[0].page != 1:
            return whole
        if whole and _moment(whole[0]) >= _moment(pages[0]):
            return whole
        return pages

    def _reviewed(self, paths: Sequence[Path]) -> list[Record]:
        """The records that lie there, when a person corrected or approved one of them; else none."""
        try:
            records = self._newest(paths)
        except DamagedRecord:
            return []
        return records if any(record.corrections or record.approved for record in records) else []

    def _lying(self, job: str, document_id: str) -> list[Path]:
        """The record files of a document, found without listing the folder."""
        paths = [path] if (path := self._path(job, document_id, None)).exists() else []
        page = 1
        while (path := self._path(job, document_id, page)).exists():
            paths.append(path)
            page += 1
        return paths

    def _path(self, job: str, document_id: str, page: int | None) -> Path:
        return self.root / record_file(job, document_id, page)

    def _write(self, record: Record) -> Path:
        return filesystem.write_scratch(self.root, "json", to_json(record).encode(), durable=False)

    def _day(self, paths: Sequence[Path]) -> date | None:
        for path in paths:
            with suppress(FileNotFoundError, DamagedRecord):
                return _day(path)
        return None


def record_file(job: str, document_id: str, page: int | None) -> Path:
    """Where a record lies, below the root. Raises ValueError for what is no document id or no name of a job."""
    if not _ID.fullmatch(document_id):
        raise ValueError(f"{document_id!r} is not a document id (64 hex digits)")
    suffix = "" if page is None else f".p{page:04}"
    return Path("records", filesystem.child(job), f"{document_id}{suffix}.json")


def is_record_file(job: str, name: str) -> bool:
    """Whether a path below the root is that of a record of the job."""
    place, _, file = name.rpartition("/")
    return place == f"records/{job}" and bool(_FILE.fullmatch(file))


def _read(path: Path, job: "Job | None") -> Record:
    with filesystem.storing(path):
        content = filesystem.read_file(path)
    try:
        return from_json(content.decode(), job)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecord(path, f"{type(error).__name__} {error}") from error


def _day(path: Path) -> date:
    """The day of a record. Raises DamagedRecord, and FileNotFoundError."""
    try:
        return date.fromisoformat(json.loads(filesystem.read_file(path))["day"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedRecord(path, f"it has no day: {error}") from error


def _page(name: str) -> int | None:
    found = _FILE.fullmatch(name)
    return int(found[2]) if found and found[2] else None


def _version(found: os.stat_result) -> int:
    return (found.st_mtime_ns * _PRIME + found.st_size) % 2**63


def _moment(record: Record) -> float:
    return record.processed_at.timestamp() if record.processed_at else 0.0
