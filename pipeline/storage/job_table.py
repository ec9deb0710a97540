"""The table of a job: one row a record, in every sink of the config, made from the JSON records.

The records are the truth. What waits for a flush is remembered by name only and read from its record then, so that rows
show what a person changed in between; and what a crash leaves behind is found by comparing the two (`ensure`).
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

SHARE = 20  # at most one part in 20 of a run's time goes into flushing
HELD = 1000  # documents that wait for a flush at most, and that are mended one by one
NAMED = 5  # files that a sentence names
ASIDE = "aside"  # below the root: what people or programs put into a sink's folder


@dataclass
class _Days:
    """All rows of a job by day, read from the records at every iteration; afterwards, what was seen in the last one.

    `older` are records that were read under another form of the job, `review` those of them that are for review now,
    `damaged` what is wrong with documents that have no rows for it, by id.
    """

    table: "JobTable"
    older: int = 0
    review: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[date, Iterator[Row]]]:
        self.older = self.review = 0
        self.damaged.clear()
        for day, records in self.table.store.days(self.table.job, self._broken):
            yield day, map(self._row, records)

    def _broken(self, error: DamagedRecord) -> None:
        self.damaged[error.document_id] = str(error)

    def _row(self, record: Record) -> Row:
        older = record_check.is_older(record, self.table.job)
        self.older += older
        self.review += older and record.status == "review"
        return self.table.row(record)


class JobTable:
    """One job's table. `tables` says how many tables share the run's time for flushing."""

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
        """All records of one document, as committed: they replace the document's rows at the next flush."""
        for record in records:
            if record.day is None or record.document.id != records[0].document.id:
                raise ValueError("a table takes the committed records of one document at a time")
        if records:
            self._pending[records[0].document.id] = None

    def due(self) -> bool:
        """Whether a flush now keeps within its share of the run's time, or has to be."""
        late = self._clock() - self._flushed_at >= SHARE * self.tables * self._took_s
        return bool(self._pending) and (late or len(self._pending) >= HELD)

    def flush(self) -> None:
        """Brings what was added into every sink. Raises StorageError; what was added is then kept."""
        if not self._pending:
            return
        started = self._clock()
        with writing(self.root, self.job.name):
            for sink in self._handed(self._pending):
                try:
                    sink.flush()
                except Outdated:  # somebody damaged it since the run began
                    sink.rebuild(_Days(self))
        self._pending.clear()
        self._flushed_at = self._clock()
        self._took_s = self._flushed_at - started

    def follow(self, document_id: str) -> None:
        """Brings the rows of a document that was changed or removed to what its records say; inside `writing`.

        A sink that must be rebuilt is left to the next run, which does it.
        """
        for sink in self._handed([document_id]):
            try:
                sink.flush()
            except Outdated:
                continue

    def ensure(self) -> list[str]:
        """At the start of a run: makes every sink follow the records, however it came to differ.

        Returns what was wrong and what was done, in sentences. Raises StorageError.
        """
        with writing(self.root, self.job.name):
            records = self.store.versions(self.job)
            return [line for name, sink in self.sinks.items() for line in self._ensured(name, sink, records)]

    def verify(self) -> dict[str, Verdict]:
        """How every sink compares with the records, by its name; changes nothing."""
        records = self.store.versions(self.job)
        return {name: sink.verify(records) for name, sink in self.sinks.items()}

    def rebuild(self) -> int:
        """Makes the rows of every sink again from the records; returns their number. Raises StorageError."""
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

    def _ensured(self, name: str, sink: Sink, records: Mapping[Key, int]) -> Iterator[str]:
        damaged: dict[str, str] = {}
        for first in (True, False):
            verdict = sink.verify({key: version for key, version in records.items() if key[0] not in damaged})
            if verdict.foreign:
                yield self._put_aside(verdict.foreign)
            wrong = verdict.documents - damaged.keys()
            if not wrong and verdict.fault is None:
                break
            if first and verdict.fault is None and len(wrong) <= HELD:
                with suppress(Outdated):  # damage that shows only when it is written to
                    damaged |= self._mended(sink, sorted(wrong))
                    yield f"{self.job.name}: {said(name, verdict)}; mended from the records"
                    continue
            yield from self._made_again(name, sink, verdict, damaged)
        yield from damaged.values()

    def _mended(self, sink: Sink, documents: Iterable[str]) -> dict[str, str]:
        """Brings the rows of these documents to what their records say; those with a damaged record keep their rows."""
        damaged = {}
        for document_id in documents:
            try:
                _hand(sink, document_id, self._rows(document_id))
            except DamagedRecord as error:
                damaged[document_id] = str(error)
        sink.flush()
        return damaged

    def _made_again(self, name: str, sink: Sink, verdict: Verdict, damaged: dict[str, str]) -> Iterator[str]:
        days = _Days(self)
        rows = sink.rebuild(days)
        damaged |= days.damaged
        yield f"{self.job.name}: {said(name, verdict)}; made again from the records ({rows} rows)"
        if days.older:
            yield (
                f"{self.job.name}: {days.older} of {rows} records were read under another form of the job; judged by "
                f"the fields and rules of today, {days.review} of them are for review. To have them read anew, drop "
                "their originals again"
            )

    def _put_aside(self, paths: Sequence[Path]) -> str:
        """Moves what does not belong into a sink's folder below `<root>/aside/`; the sentence that says so."""
        for path in paths:
            folder = filesystem.folder(self.root, ASIDE, *path.relative_to(self.root).parts[:-1])
            with filesystem.storing(path):
                next(free for _, free in filesystem.free_names(path.name) if filesystem.move(path, folder / free))
        names = [filesystem.printable(path.name) for path in paths]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        place = paths[0].parent.relative_to(self.root)
        return f"{place}: no tables, and so moved to {ASIDE}/{place}: {', '.join(names[:NAMED])}{more}"

    def _handed(self, documents: Iterable[str]) -> list[Sink]:
        """The sinks, each with the rows of these documents as their records are now."""
        for document_id in documents:
            try:
                made = self._rows(document_id)
            except DamagedRecord:  # somebody damaged it just now; the next run says so
                continue
            for sink in self.sinks.values():
                _hand(sink, document_id, made)
        return list(self.sinks.values())

    def _rows(self, document_id: str) -> list[Row]:
        return [self.row(record) for record in self.store.read(self.job, document_id)]


def said(name: str, verdict: Verdict) -> str:
    """What is wrong with a sink, as a clause."""
    if verdict.fault:
        return f"in the {name} table, {verdict.fault}"
    counts = (("lost", verdict.lost), ("extra", verdict.extra), ("older than its record", verdict.stale))
    parts = ", ".join(f"{len(documents)} {word}" for word, documents in counts if documents)
    return f"the {name} table has {verdict.rows} rows for {verdict.records} records (documents: {parts})"


def _hand(sink: Sink, document_id: str, made: Sequence[Row]) -> None:
    if made:
        sink.upsert(document_id, made)
    else:
        sink.delete(document_id)
