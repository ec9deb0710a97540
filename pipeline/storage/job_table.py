"""The table of a job: one row per record, in every configured sink, derived from the JSON records.

Pending documents are remembered by id only; their rows are read from the records at the flush, so that rows include
manual corrections made in between. `repair` compares records and sinks and fixes what a crash left behind.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.types import Record
from pipeline.plugins.sinks import DEFAULT, SINKS, Key, Outdated, Row, Sink, Verdict
from pipeline.schema import record_check
from pipeline.storage.arrow_schema import rows, schema
from pipeline.storage.record_files import DamagedRecord
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from pipeline.system.locks import writing

if TYPE_CHECKING:
    from pipeline.schema.job import Job

FLUSH_SHARE = 20  # at most one part in 20 of a run's time goes into flushing
MAX_PENDING = 1000  # documents: more force a flush; more wrong ones mean a rebuild
NAMED = 5  # files that a message names
ASIDE = "aside"  # folder below the root for foreign files from a sink's folder


@dataclass
class _Days:
    """All rows of a job by day, read from the records at every iteration, and counts of the last iteration.

    `older`: records read under another form of the job. `review`: those of them that are now for review. `damaged`: by
    id, the error of each document that has no rows.
    """

    table: "JobTable"
    older: int = 0
    review: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[date, Iterator[Row]]]:
        self.older = self.review = 0
        self.damaged.clear()
        for day, records in self.table.store.days(self.table.job, self._add_damaged):
            yield day, map(self._row, records)

    def _add_damaged(self, error: DamagedRecord) -> None:
        self.damaged[error.document_id] = str(error)

    def _row(self, record: Record) -> Row:
        older = record_check.is_older(record, self.table.job)
        self.older += older
        self.review += older and record.status == "review"
        return self.table.row(record)


class JobTable:
    """One job's table. `tables`: how many tables share the run's time for flushing."""

    def __init__(
        self,
        root: Path,
        job: "Job",
        tables: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sinks: Sequence[str] = DEFAULT,
    ) -> None:
        self.root, self.job, self.tables = root, job, tables
        columns = schema(job)
        self._values = rows(job, columns)
        self.sinks: dict[str, Sink] = {name: SINKS.get(name)(root, job.name, columns) for name in sinks}
        self.store = RecordStore(root)
        self._clock = clock
        self._pending: dict[str, None] = {}
        self._flushed_at, self._took_s = clock(), 0.0

    def add(self, records: Sequence[Record]) -> None:
        """Queues the committed records of one document: they replace its rows at the next flush."""
        for record in records:
            if record.day is None or record.document.id != records[0].document.id:
                raise ValueError("a table takes the committed records of one document at a time")
        if records:
            self._pending[records[0].document.id] = None

    def due(self) -> bool:
        """Whether a flush is within its share of the run's time, or too many documents are pending."""
        late = self._clock() - self._flushed_at >= FLUSH_SHARE * self.tables * self._took_s
        return bool(self._pending) and (late or len(self._pending) >= MAX_PENDING)

    def flush(self) -> None:
        """Writes all pending documents to every sink. Raises StorageError; they then stay pending."""
        if not self._pending:
            return
        started = self._clock()
        with writing(self.root, self.job.name):
            self._stage(self._pending)
            for sink in self.sinks.values():
                try:
                    sink.flush()
                except Outdated:  # damaged since the run began
                    sink.rebuild(_Days(self))
        self._pending.clear()
        self._flushed_at = self._clock()
        self._took_s = self._flushed_at - started

    def update_rows(self, document_id: str) -> None:
        """Updates the rows of a changed or deleted document from its records. The caller holds `writing`.

        Skips a sink that must be rebuilt: the next run rebuilds it.
        """
        self._stage([document_id])
        for sink in self.sinks.values():
            with suppress(Outdated):
                sink.flush()

    def repair(self) -> list[str]:
        """At the start of a run: makes every sink match the records. Returns messages on what was wrong and done.

        Raises StorageError.
        """
        with writing(self.root, self.job.name):
            records = self.store.versions(self.job)
            return [line for name, sink in self.sinks.items() for line in self._repair(name, sink, records)]

    def verify(self) -> dict[str, Verdict]:
        """Compares every sink with the records, by sink name; changes nothing."""
        records = self.store.versions(self.job)
        return {name: sink.verify(records) for name, sink in self.sinks.items()}

    def rebuild(self) -> int:
        """Rebuilds every sink from the records; returns the number of rows. Raises StorageError."""
        count = 0
        with writing(self.root, self.job.name):
            for sink in self.sinks.values():
                count = sink.rebuild(_Days(self))
        self._pending.clear()
        return count

    def row(self, record: Record) -> Row:
        """The row of a committed record."""
        assert record.day is not None
        version = self.store.version(record)
        return Row(record.document.id, record.page, record.day, version, self._values(record))

    def _repair(self, name: str, sink: Sink, records: Mapping[Key, int]) -> Iterator[str]:
        damaged: dict[str, str] = {}
        for first in (True, False):
            verdict = sink.verify({key: version for key, version in records.items() if key[0] not in damaged})
            if verdict.foreign:
                yield self._move_aside(verdict.foreign)
            wrong = verdict.documents - damaged.keys()
            if not wrong and verdict.fault is None:
                break
            if first and verdict.fault is None and len(wrong) <= MAX_PENDING:
                with suppress(Outdated):  # damage that shows only on writing
                    damaged |= self._repair_documents(sink, sorted(wrong))
                    yield f"{self.job.name}: {describe(name, verdict)}; repaired from the records"
                    continue
            yield from self._rebuild(name, sink, verdict, damaged)
        yield from damaged.values()

    def _repair_documents(self, sink: Sink, documents: Iterable[str]) -> dict[str, str]:
        """Writes the rows of these documents anew. Documents with a damaged record keep their rows and are returned."""
        damaged = {}
        for document_id in documents:
            try:
                _put(sink, document_id, self._rows(document_id))
            except DamagedRecord as error:
                damaged[document_id] = str(error)
        sink.flush()
        return damaged

    def _rebuild(self, name: str, sink: Sink, verdict: Verdict, damaged: dict[str, str]) -> Iterator[str]:
        days = _Days(self)
        rows = sink.rebuild(days)
        damaged |= days.damaged
        yield f"{self.job.name}: {describe(name, verdict)}; rebuilt from the records ({rows} rows)"
        if days.older:
            yield (
                f"{self.job.name}: {days.older} of {rows} records were read under another form of the job; checked "
                f"with the current fields and rules, {days.review} of them are for review. To have them read anew, "
                "drop their originals again"
            )

    def _move_aside(self, paths: Sequence[Path]) -> str:
        """Moves foreign files from a sink's folder to `<root>/aside/`; returns a message."""
        for path in paths:
            folder = filesystem.folder(self.root, ASIDE, *path.relative_to(self.root).parts[:-1])
            with filesystem.storing(path):
                next(free for _, free in filesystem.free_names(path.name) if filesystem.move(path, folder / free))
        names = [filesystem.printable(path.name) for path in paths]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        place = paths[0].parent.relative_to(self.root)
        return f"{place}: not tables, moved to {ASIDE}/{place}: {', '.join(names[:NAMED])}{more}"

    def _stage(self, documents: Iterable[str]) -> None:
        """Gives every sink the current rows of these documents, to be written by its `flush`."""
        for document_id in documents:
            try:
                rows = self._rows(document_id)
            except DamagedRecord:  # reported by the next run
                continue
            for sink in self.sinks.values():
                _put(sink, document_id, rows)

    def _rows(self, document_id: str) -> list[Row]:
        return [self.row(record) for record in self.store.read(self.job, document_id)]


def describe(name: str, verdict: Verdict) -> str:
    """What is wrong with a sink, as a clause."""
    if verdict.fault:
        return f"in the {name} table, {verdict.fault}"
    counts = (("lost", verdict.lost), ("extra", verdict.extra), ("older than its record", verdict.stale))
    parts = ", ".join(f"{len(documents)} {word}" for word, documents in counts if documents)
    return f"the {name} table has {verdict.rows} rows for {verdict.records} records (documents: {parts})"


def _put(sink: Sink, document_id: str, rows: Sequence[Row]) -> None:
    if rows:
        sink.upsert(document_id, rows)
    else:
        sink.delete(document_id)
