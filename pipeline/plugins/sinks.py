"""Sinks: where the rows of a job's table go. Each one follows the JSON records, and can be made from them again.

`table.Table` hands every sink the same rows. A new sink is a class that extends `Sink` and an entry point in the group
`scanmill.sinks`; docs/extending_sink.md shows one.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import StorageError
from pipeline.plugins.registry import Registry

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT = ("parquet",)
Key = tuple[str, int | None]  # document id and page; the page is None for a record about a whole document


@dataclass(frozen=True, slots=True)
class Row:
    """One record as a row. `values` are Python values that fit the columns of the job.

    `version` (0 to 2**63 - 1) changes whenever the record's file is written again. A sink keeps it beside the row, so
    that `verify` can tell a row that shows an older writing of its record.
    """

    document_id: str
    page: int | None
    day: date
    version: int
    values: Mapping[str, Any]


Days = Iterable[tuple[date, Iterable[Row]]]


class Outdated(StorageError):
    """The sink must be rebuilt before it can take rows: it is damaged, or was made for another form of the job."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. `rows` are those in the sink, `records` those of the job, `lost`, `extra` and `stale` are
    ids of documents.

    `lost`: a record has no row. `extra`: a row has no record. `stale`: a row shows an older writing of its record.
    `fault`, a clause without a full stop, says why the sink must be rebuilt as a whole. `foreign` are files in the
    sink's folder that do not belong there.
    """

    rows: int
    lost: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    fault: str | None = None
    foreign: tuple[Path, ...] = ()
    records: int = field(default=0, compare=False)

    @property
    def documents(self) -> frozenset[str]:
        """Those whose rows are not as their records say."""
        return self.lost | self.extra | self.stale

    @property
    def sound(self) -> bool:
        """Whether the rows are those of the records."""
        return not self.documents and self.fault is None


def compared(rows: Iterable[tuple[Key, int | None]], records: Mapping[Key, int]) -> Verdict:
    """The verdict on (key, version) of every row, where `records` has the version of every record."""
    count, found, twice = 0, dict[Key, int | None](), Counter[Key]()
    for key, version in rows:
        count += 1
        if key in found:
            twice[key] += 1
        found[key] = version
    return Verdict(
        count,
        frozenset(key[0] for key in records.keys() - found.keys()),
        frozenset(key[0] for key in found.keys() - records.keys()),
        frozenset(key[0] for key in records.keys() & found.keys() if records[key] != found[key]),
        f"{len(twice)} records have several rows" if twice else None,
        records=len(records),
    )


class Sink(ABC):
    """The table of one job in one kind of store.

    Whoever calls holds `lock.writing` of the job, so that one process at a time changes the sink of a job; sinks of
    other jobs may be at work meanwhile. All methods raise StorageError where the disk refuses.
    """

    def __init__(self, root: Path, job: str, columns: "pa.Schema") -> None:
        """`columns` is `columns.schema(job)`: its metadata have a digest that changes with the job (`columns.digest`).

        Opens and makes nothing: a sink is made anew for every save of a person.
        """
        self.root, self.job, self.columns = root, job, columns

    @classmethod
    def missing(cls) -> str | None:
        """What must be installed before the sink can be used, as a sentence; None where all is there."""
        return None

    @abstractmethod
    def upsert(self, document_id: str, rows: Sequence[Row]) -> None:
        """From the next flush on these are all rows of the document, whatever rows it had; of one page or of each."""

    @abstractmethod
    def delete(self, document_id: str) -> None:
        """From the next flush on the document has no rows."""

    @abstractmethod
    def flush(self) -> None:
        """Makes what was handed over readable for other programs and durable, then forgets it.

        Raises Outdated where the sink must be rebuilt first. After any error the rows are as they were before, or as
        they should be; what was handed over is kept.
        """

    @abstractmethod
    def rebuild(self, days: Days) -> int:
        """Makes all rows of the job again, damaged or not, and drops what waits for a flush; returns their number.

        Until it ends, readers see the rows that were there before. `days` has every day once, in ascending order; it
        may be iterated several times, and reads the records each time.
        """

    @abstractmethod
    def verify(self, records: Mapping[Key, int]) -> Verdict:
        """Compares all rows with the versions of all records; changes nothing. `compared` does most of it."""


SINKS: Registry[Sink] = Registry(
    "sink",
    "scanmill.sinks",
    Sink,
    {"parquet": "pipeline.storage.parquet_sink:ParquetSink", "duckdb": "pipeline.storage.duckdb_sink:DuckDBSink"},
)
