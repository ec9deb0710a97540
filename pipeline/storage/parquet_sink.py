"""The Parquet sink: one file per day in `<root>/results/<job>/`, one row per record; each flush replaces whole files.

Files appear by rename, and the folder holds nothing else: pandas, DuckDB and Polars can read it at any time. Rows are
sorted by `received_at`, `document_id`, `page`.

The footer holds the digest of the columns, the day and the version of every row (`sinks.Row`). The four bytes before
the footer, which no reader uses, hold the CRC-32 of all other bytes. This detects outdated, truncated, renamed and
damaged files without decoding them.
"""

import base64
import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.plugins.sinks import Days, Key, Outdated, Row, Sink, Verdict, compare
from pipeline.storage.arrow_schema import DIGEST_KEY, arrow
from pipeline.system import filesystem

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 2000  # rows of a day in memory while its file is rewritten
CHUNK = 500  # rows held as Python objects while a day is rebuilt
ORDER = [("received_at", "ascending"), ("document_id", "ascending"), ("page", "ascending")]
VERSION = "scanmill.version"  # a column in memory (no valid field name); in files, part of the footer
_VERSIONS, _DAY = b"scanmill.versions", b"scanmill.day"
_NAME = re.compile(r"\d{4}-\d\d-\d\d\.parquet")
_TAIL, _CRC = 8, 4  # bytes: footer length and "PAR1" at the end of a file; a CRC-32
_BLOCK = 1 << 22


class ParquetSink(Sink):
    """The Parquet files of one job."""

    def __init__(self, root: Path, job: str, columns: "pa.Schema") -> None:
        import pyarrow as pa

        super().__init__(root, job, columns)
        self.folder = root / "results" / filesystem.child(job)
        self._wide = columns.append(pa.field(VERSION, pa.int64()))
        self._pending: dict[str, Sequence[Row]] = {}

    def upsert(self, document_id: str, rows: Sequence[Row]) -> None:
        self._pending[document_id] = rows

    def delete(self, document_id: str) -> None:
        self._pending[document_id] = ()

    def flush(self) -> None:
        """Merges the pending rows into the files of their days."""
        days: dict[date, list[Row]] = {}
        for row in (row for rows in self._pending.values() for row in rows):
            days.setdefault(row.day, []).append(row)
        if gone := {document_id for document_id, rows in self._pending.items() if not rows}:
            for path in self._files():
                if not gone.isdisjoint(key[0] for key, _ in self._keys(path)):
                    days.setdefault(date.fromisoformat(path.stem), [])
        self._publish([(day, self._written(day, self._merged(day, rows))) for day, rows in days.items()])
        self._pending.clear()

    def rebuild(self, days: Days) -> int:
        """All new files are written before the first is renamed into place, so that readers see old and new columns
        together for a few milliseconds only. Files of days without records are deleted.
        """
        made, count = list[tuple[date, Path | None]](), 0
        for day, rows in days:
            table = self._sorted(list(self._chunks(rows)))
            made.append((day, self._written(day, [table])))
            count += table.num_rows
        keep = {self._path(day) for day, _ in made}
        gone = [path for path in self._files() if path not in keep]
        self._publish(made)
        with filesystem.storing(self.folder):
            for path in gone:
                path.unlink(missing_ok=True)
        self._pending.clear()
        return count

    def verify(self, records: Mapping[Key, int]) -> Verdict:
        """Reads every byte once, for the checksums, but decodes only the two key columns."""
        found: list[tuple[Key, int]] = []
        faults: list[str] = []
        for path in self._files():
            try:
                found += self._keys(path)
            except Outdated as error:
                faults.append(str(error))
        verdict = compare(found, records)
        fault = faults[0] if faults else verdict.fault
        more = f" (and {len(faults) - 1} more files)" if len(faults) > 1 else ""
        return replace(verdict, fault=fault and fault + more, foreign=tuple(self._foreign()))

    # ---- rows
    def _merged(self, day: date, rows: Iterable[Row]) -> Iterator["pa.Table"]:
        """The day's rows without those of pending documents, merged with the new rows in order.

        Both are sorted, so at most ROWS old rows are in memory at once.
        """
        new = self._sorted(list(self._chunks(rows)))
        keys, done = _order(new), 0
        for old in self._kept(self._path(day)):
            upto = bisect_right(keys, _order(old[-1:])[0], done)
            yield self._sorted([old, new[done:upto]]) if upto > done else old
            done = upto
        yield new[done:]

    def _kept(self, path: Path) -> Iterator["pa.Table"]:
        """The remaining rows of a file in batches; no batch is empty."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        if not path.exists():
            return
        versions, done = self._versions(path), 0
        again = pa.array(sorted(self._pending), pa.string())
        with filesystem.storing(path), open(path, "rb") as file, pq.ParquetFile(file) as day_file:
            for batch in day_file.iter_batches(ROWS, use_threads=False):  # each thread keeps memory
                old = pa.Table.from_batches([batch]).cast(self.columns)
                old = old.append_column(self._wide.field(VERSION), pa.array(versions[done : done + len(old)]))
                done += len(old)
                kept = old.filter(pc.invert(pc.is_in(old["document_id"], value_set=again)))
                if kept.num_rows:
                    yield kept

    def _chunks(self, rows: Iterable[Row]) -> Iterator["pa.Table"]:
        each = iter(rows)
        while some := list(islice(each, CHUNK)):
            yield arrow(({**row.values, VERSION: row.version} for row in some), self._wide)

    def _sorted(self, parts: list["pa.Table"]) -> "pa.Table":
        import pyarrow as pa

        return pa.concat_tables([*parts, self._wide.empty_table()]).sort_by(ORDER).combine_chunks()

    # ---- files
    def _written(self, day: date, tables: Iterable["pa.Table"]) -> Path | None:
        """A temporary file of these rows; None where there are none. Deletes the file if it raises."""
        place = filesystem.scratch(self.root, f"{self.job[:40]}-{day}.parquet")
        try:
            with filesystem.storing(place), open(place, "x+b") as file:
                rows = self._write(file, day, tables)
        except BaseException:
            with filesystem.storing(place):
                place.unlink(missing_ok=True)
            raise
        if rows:
            return place
        with filesystem.storing(place):
            place.unlink()
        return None

    def _write(self, file: IO[bytes], day: date, tables: Iterable["pa.Table"]) -> int:
        """Writes and syncs the file; returns its number of rows."""
        import pyarrow.parquet as pq

        versions: list[NDArray[np.int64]] = []
        with pq.ParquetWriter(file, self.columns, compression="zstd") as writer:
            for table in tables:
                versions.append(table[VERSION].to_numpy())
                writer.write_table(table.drop_columns([VERSION]), ROWS)
            every = np.concatenate(versions).astype("<i8")
            writer.add_key_value_metadata({_DAY: day.isoformat(), _VERSIONS: base64.b64encode(every.tobytes())})
        _seal(file)
        file.flush()
        os.fsync(file.fileno())
        return len(every)

    def _publish(self, made: Sequence[tuple[date, Path | None]]) -> None:
        if not made:
            return
        filesystem.folder(self.root, "results", self.job)
        with filesystem.storing(self.folder):
            for day, source in made:
                if source:
                    os.replace(source, self._path(day))
                else:
                    self._path(day).unlink(missing_ok=True)
            filesystem.sync(self.folder)

    def _keys(self, path: Path) -> list[tuple[Key, int]]:
        """The key and version of every row of an intact file. Raises Outdated."""
        import pyarrow.parquet as pq

        versions = self._versions(path)
        with filesystem.storing(path), open(path, "rb") as file:
            known = pq.read_table(file, columns=["document_id", "page"], use_threads=False)
        keys = zip(known["document_id"].to_pylist(), known["page"].to_pylist(), strict=True)
        return list(zip(keys, versions.tolist(), strict=True))

    def _versions(self, path: Path) -> NDArray[np.int64]:
        """The version of every row of a file, in row order.

        Raises Outdated for a damaged file, a file of another day, or one of another form of the job.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with filesystem.storing(path), open(path, "rb") as file:
            try:
                found = pq.read_metadata(file)
                metadata: Mapping[bytes, bytes] = found.metadata or {}
                if DIGEST_KEY in metadata and _VERSIONS not in metadata:
                    raise Outdated(f"{path.name} was made by an older version of Scanmill")
                if metadata.get(DIGEST_KEY) != self.columns.metadata[DIGEST_KEY]:
                    raise Outdated(f"{path.name} was made for another form of the job")
                whole = _is_sealed(file)
                versions = np.frombuffer(base64.b64decode(metadata[_VERSIONS], validate=True), "<i8")
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise
                whole = False
        if not whole:
            raise Outdated(f"{path.name} is damaged")
        if metadata[_DAY].decode() != path.stem:
            raise Outdated(f"{path.name} is the file of another day")
        return versions

    def _path(self, day: date) -> Path:
        return self.folder / f"{day.isoformat()}.parquet"

    def _files(self) -> list[Path]:
        return [path for path in self._entries() if _is_day_file(path)]

    def _foreign(self) -> list[Path]:
        return [path for path in self._entries() if not _is_day_file(path)]

    def _entries(self) -> list[Path]:
        with filesystem.storing(self.folder):
            return sorted(self.folder.iterdir()) if self.folder.is_dir() else []


def save(file: IO[bytes], table: "pa.Table") -> None:
    """Writes a table of any columns as Parquet, for export."""
    import pyarrow.parquet as pq

    pq.write_table(table, file, compression="zstd")


def _is_day_file(path: Path) -> bool:
    """Whether it is the file of a day, and not a symbolic link."""
    return bool(_NAME.fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def _order(table: "pa.Table") -> list[tuple[datetime, str]]:
    """The sort keys of rows. The pages of a document are either all new or all old."""
    return list(zip(table["received_at"].to_pylist(), table["document_id"].to_pylist(), strict=True))


def _seal(file: IO[bytes]) -> None:
    """Inserts the CRC-32 of a complete file before its footer."""
    end = _footer_at(file)
    file.seek(end)
    footer = file.read()
    crc = zlib.crc32(footer, _crc32(file, end))
    file.seek(end)
    file.write(crc.to_bytes(_CRC, "little") + footer)


def _is_sealed(file: IO[bytes]) -> bool:
    """Whether the checksum of a sealed file is correct."""
    end = _footer_at(file)
    file.seek(end - _CRC)
    stored, footer = int.from_bytes(file.read(_CRC), "little"), file.read()
    return zlib.crc32(footer, _crc32(file, end - _CRC)) == stored


def _footer_at(file: IO[bytes]) -> int:
    """The offset of the footer."""
    end = file.seek(-_TAIL, os.SEEK_END)
    return end - int.from_bytes(file.read(4), "little")


def _crc32(file: IO[bytes], length: int) -> int:
    """The CRC-32 of the first `length` bytes of a file."""
    crc, left = 0, length
    file.seek(0)
    while left and (block := file.read(min(_BLOCK, left))):
        crc, left = zlib.crc32(block, crc), left - len(block)
    return crc
