"""The Parquet table of a job, made from its records: one file a day, one row a record, rewritten as a whole.

Files appear under `<root>/results/<job>/` by a rename only, and nothing else lies there, so pandas, DuckDB and Polars
read the folder at any moment. Flushing after every commit and making the table again from the records give the same
rows in the same order: by `received_at`, then `document_id`, then `page`.
"""

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import disk
from pipeline.columns import DIGEST_KEY, rows, schema
from pipeline.lock import writing
from pipeline.types import Record

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.job import Job

Days = Iterable[tuple[date, Iterable[Record]]]
SHARE = 20  # at most one part in 20 of a run's time goes into rewriting the day's file
HELD = 1000  # documents that wait for a flush at most, so that a fast engine's rows do not pile up in memory
ROWS = 2000  # of a day in memory at once while its file is written again
CHUNK = 500  # records held as Python objects while a day is made again
ORDER = [("received_at", "ascending"), ("document_id", "ascending"), ("page", "ascending")]


class Table:
    """One job's table. `tables` says how many tables share the run's time for flushing."""

    def __init__(self, root: Path, job: "Job", tables: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.root, self.job, self.tables = root, job, tables
        self.folder = root / "results" / disk.child(job.name)
        self.schema = schema(job)
        self._row = rows(job, self.schema)
        self._clock = clock
        self._pending: dict[str, Sequence[Record]] = {}
        self._flushed_at, self._took_s = clock(), 0.0

    def add(self, records: Sequence[Record]) -> None:
        """All records of one document, as committed: they replace the document's rows at the next flush."""
        for record in records:
            if record.day is None or record.document.id != records[0].document.id:
                raise ValueError("a table takes the committed records of one document at a time")
        if records:
            self._pending[records[0].document.id] = records

    def due(self) -> bool:
        """Whether a flush now keeps within its share of the run's time, or has to be."""
        late = self._clock() - self._flushed_at >= SHARE * self.tables * self._took_s
        return bool(self._pending) and (late or len(self._pending) >= HELD)

    def flush(self) -> None:
        """Merges what was added into the files of its days. Raises StorageError; what was added is then kept."""
        import pyarrow as pa

        if not self._pending:
            return
        started = self._clock()
        days: dict[date, list[Record]] = {}
        for records in self._pending.values():
            for record in records:
                if record.day is not None:
                    days.setdefault(record.day, []).append(record)
        with writing(self.root, self.job.name):
            ready = [(self._written(day, self._merged(day, records)), self._path(day)) for day, records in days.items()]
            self._publish(ready)
        self._pending.clear()
        pa.default_memory_pool().release_unused()
        self._flushed_at = self._clock()
        self._took_s = self._flushed_at - started

    def ensure(self, days: Days) -> bool:
        """At the start of a run: makes the table again where its columns are not those of the job; True if it did.

        `days` is `Store.days(job)`, read only when needed.
        """
        files = list(self._files())
        if files and all(self._fits(path) for path in files):
            return False
        self.rebuild(days)
        return True

    def rebuild(self, days: Days) -> int:
        """Makes every file of the table again from the records; returns the number of rows. Raises StorageError.

        The new files are all written before the first is put in place, so readers meet old and new columns side by side
        for a few milliseconds only. Files of days without a record go.
        """
        with writing(self.root, self.job.name):
            count = self._rebuilt(days)
        self._pending.clear()
        return count

    def settled(self, record: Record) -> bool:
        """Whether no run still holds the record's row back, seen inside `writing`.

        A run writes rows some time after their records, from memory: what a person changed between the two would be
        lost in the table. Where the day's file is not there or has other columns, the next run makes it again.
        """
        return self._found(record) != -1

    def amend(self, record: Record) -> None:
        """Replaces the row of a record that a person changed; inside `writing`, and where it is `settled`."""
        import pyarrow as pa

        at = self._found(record)
        if at is None or record.day is None:
            return
        path = self._path(record.day)
        old = self._read(path)
        new = pa.Table.from_pylist([self._row(record)], schema=self.schema)
        self._publish([(self._written(record.day, [old[:at], new, old[at + 1 :]]), path)])

    def remove(self, record: Record) -> None:
        """Takes the row of a record out; inside `writing`, and where it is `settled`."""
        at = self._found(record)
        if at is None or record.day is None:
            return
        path = self._path(record.day)
        old = self._read(path)
        self._publish([(self._written(record.day, [old[:at], old[at + 1 :]]), path)])

    def _found(self, record: Record) -> int | None:
        """The number of the record's row; -1 where the file has none of this answer, None where no file fits."""
        import pyarrow.compute as pc

        path = self._path(record.day) if record.day else None
        if path is None or not path.exists() or not self._fits(path):
            return None
        keys = ["document_id", "page", "processed_at", "run"]
        known = self._read(path, keys)
        row = self._row(record)
        found = None
        for key in keys:
            same = pc.is_null(known[key]) if row[key] is None else pc.equal(known[key], row[key])
            found = same if found is None else pc.and_(found, same)
        return int(pc.index(found, True).as_py())

    def _rebuilt(self, days: Days) -> int:
        ready: list[tuple[Path, Path]] = []
        count = 0
        for day, records in days:
            table = self._concatenated(list(self._chunks(records)))
            count += table.num_rows
            ready.append((self._written(day, [table]), self._path(day)))
        keep = {target for _, target in ready}
        gone = [path for path in self._files() if path not in keep]
        self._publish(ready)
        with disk.storing(self.folder):
            for path in gone:
                path.unlink(missing_ok=True)
        return count

    def count(self) -> int:
        """The number of rows. Raises StorageError."""
        import pyarrow.parquet as pq

        rows = 0
        for path in self._files():
            with disk.storing(path), open(path, "rb") as file:
                rows += pq.read_metadata(file).num_rows
        return rows

    def _merged(self, day: date, records: Iterable[Record]) -> Iterator["pa.Table"]:
        """The day's rows without those of the pending documents, and the new rows among them, in order.

        Both are sorted, so no more of the old rows than ROWS need to be in memory, however long the day is.
        """
        new = self._concatenated(list(self._chunks(records)))
        keys, done = _keys(new), 0
        for old in self._kept(day):
            upto = bisect_right(keys, _keys(old[-1:])[0], done)
            yield self._concatenated([old, new[done:upto]]) if upto > done else old
            done = upto
        yield new[done:]

    def _kept(self, day: date) -> Iterator["pa.Table"]:
        """The rows of a day that stay, some of them at a time, and never none."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path, again = self._path(day), pa.array(sorted(self._pending), pa.string())
        if not path.exists():
            return
        with disk.storing(path), open(path, "rb") as file, pq.ParquetFile(file) as day_file:
            for batch in day_file.iter_batches(ROWS, use_threads=False):  # each thread keeps memory
                old = pa.Table.from_batches([batch]).cast(self.schema)
                kept = old.filter(pc.invert(pc.is_in(old["document_id"], value_set=again)))
                if kept.num_rows:
                    yield kept

    def _chunks(self, records: Iterable[Record]) -> Iterator["pa.Table"]:
        import pyarrow as pa

        each = iter(records)
        while some := list(islice(each, CHUNK)):
            yield pa.Table.from_pylist([self._row(record) for record in some], schema=self.schema)

    def _concatenated(self, parts: list["pa.Table"]) -> "pa.Table":
        import pyarrow as pa

        return pa.concat_tables([*parts, self.schema.empty_table()]).sort_by(ORDER).combine_chunks()

    def _read(self, path: Path, columns: list[str] | None = None) -> "pa.Table":
        import pyarrow.parquet as pq

        with disk.storing(path), open(path, "rb") as file:
            if columns:
                return pq.read_table(file, columns=columns)
            return pq.read_table(file, schema=self.schema).replace_schema_metadata(self.schema.metadata)

    def _fits(self, path: Path) -> bool:
        """Whether the file is whole and has the columns of the job."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with open(path, "rb") as file:
                found = pq.read_schema(file)
        except (OSError, pa.ArrowInvalid):
            return False
        return bool((found.metadata or {}).get(DIGEST_KEY) == self.schema.metadata[DIGEST_KEY])

    def _written(self, day: date, tables: Iterable["pa.Table"]) -> Path:
        """A whole file of these rows, not in place yet."""
        import pyarrow.parquet as pq

        place = disk.scratch(self.root, f"{self.job.name[:40]}-{day}.parquet")
        with disk.storing(place), open(place, "xb") as file:
            with pq.ParquetWriter(file, self.schema, compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table, ROWS)
            file.flush()
            os.fsync(file.fileno())
        return place

    def _publish(self, ready: Sequence[tuple[Path, Path]]) -> None:
        if not ready:
            return
        disk.folder(self.root, "results", self.job.name)
        with disk.storing(self.folder):
            for source, target in ready:
                os.replace(source, target)
            disk.sync(self.folder)

    def _path(self, day: date) -> Path:
        return self.folder / f"{day.isoformat()}.parquet"

    def _files(self) -> Iterator[Path]:
        with disk.storing(self.folder):
            found = sorted(self.folder.glob("*.parquet"))
        yield from found


def _keys(table: "pa.Table") -> list[tuple[datetime, str]]:
    """What rows are sorted by. The pages of a document are never new and old at once."""
    return list(zip(table["received_at"].to_pylist(), table["document_id"].to_pylist(), strict=True))
