"""The registry and interface of sinks, which store a job's table and can be rebuilt from the JSON records.

`job_table.JobTable` gives every sink the same rows. A new sink is a class that extends `Sink` and an entry point in the
group `scanmill.sinks`; docs/extending.md shows one.
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
    """One record as a row. `values` are Python values for the columns of the job.

    `version` (0 to 2**63 - 1) changes whenever the record's file is rewritten. A sink stores it with the row, so that
    `verify` can detect an outdated row.
    """

    document_id: str
    page: int | None
    day: date
    version: int
    values: Mapping[str, Any]


Days = Iterable[tuple[date, Iterable[Row]]]


class Outdated(StorageError):
    """The sink must be rebuilt before it can take rows: it is damaged, or the columns of the job have changed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of `verify`: the number of `rows` in the sink and of `records` of the job, and ids of documents.

    `lost`: a record has no row. `extra`: a row has no record. `stale`: a row is older than its record. `fault`, a
    clause without a full stop, says why the whole sink must be rebuilt. `foreign` are unexpected files in its folder.
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
        """Documents whose rows differ from their records."""
        return self.lost | self.extra | self.stale

    @property
    def sound(self) -> bool:
        """Whether all rows agree with the records."""
        return not self.documents and self.fault is None


def compare(rows: Iterable[tuple[Key, int | None]], records: Mapping[Key, int]) -> Verdict:
    """Compare (key, version) of every row with the versions of all records."""
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

    The caller holds `locks.writing` of the job, so that one process at a time changes its sink. Sinks of other jobs may
    be changed meanwhile. All methods raise StorageError where the disk fails.
    """

    def __init__(self, root: Path, job: str, columns: "pa.Schema") -> None:
        """`columns` is the schema of the job. Its metadata have a digest that changes with the job.

        Must be cheap and open nothing: a sink is created for every manual correction.
        """
        self.root, self.job, self.columns = root, job, columns

    @classmethod
    def missing(cls) -> str | None:
        """A sentence about what must be installed first; None where nothing is missing."""
        return None

    @abstractmethod
    def upsert(self, document_id: str, rows: Sequence[Row]) -> None:
        """Replace all rows of the document, from the next flush on."""

    @abstractmethod
    def delete(self, document_id: str) -> None:
        """Delete all rows of the document, from the next flush on."""

    @abstractmethod
    def flush(self) -> None:
        """Write all pending changes durably and readable for other programs.

        Raises Outdated where the sink must be rebuilt first. After any error the rows are the old or the new ones, and
        the changes stay pending.
        """

    @abstractmethod
    def rebuild(self, days: Days) -> int:
        """Write all rows of the job anew and drop pending changes; returns the number of rows.

        Until it ends, readers see the old rows. `days` has every day once, in ascending order. It may be iterated
        several times, and reads the records each time.
        """

    @abstractmethod
    def verify(self, records: Mapping[Key, int]) -> Verdict:
        """Compare all rows with the versions of all records, as by `compare`; changes nothing."""


SINKS: Registry[Sink] = Registry(
    "sink",
    "scanmill.sinks",
    Sink,
    {"parquet": "pipeline.storage.parquet_sink:ParquetSink", "duckdb": "pipeline.storage.duckdb_sink:DuckDBSink"},
)
