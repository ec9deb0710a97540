"""The DuckDB sink: `<root>/results.duckdb`, one table per job, nested columns as structs and lists.

Every flush copies the file, changes the copy in one transaction and renames it into place. A crash leaves the old file
or the new one and no write-ahead log; readers keep the file that they opened, and nobody waits. The file is read-only
for its owner too: open it with `read_only=True`.

The schema `scanmill` holds the version of the record of every row, and the digest of the columns of every table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from shutil import copyfile
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import StorageError
from pipeline.plugins.sinks import Days, Key, Outdated, Row, Sink, Verdict, compare
from pipeline.storage import arrow_schema
from pipeline.system import filesystem
from pipeline.system.locks import writing

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FILE = "results.duckdb"
ROWS = 2000  # rows held as Python objects
_MODE = 0o400
_LOCK = ".duckdb"  # among the locks of the jobs, whose names never begin with a point
# No downloads, no access to other files, and no folder in the user's home.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "enable_external_access": "false",
    "temp_directory": "",
    "threads": "1",
    "lock_configuration": "true",
}
_OWN = """
CREATE SCHEMA IF NOT EXISTS scanmill;
CREATE TABLE IF NOT EXISTS scanmill.tables (job VARCHAR, digest VARCHAR);
CREATE TABLE IF NOT EXISTS scanmill.rows (job VARCHAR, document_id VARCHAR, page INTEGER, version BIGINT);
"""


class DuckDBSink(Sink):
    """The table of one job in the root's database."""

    def __init__(self, root: Path, job: str, columns: "pa.Schema") -> None:
        super().__init__(root, job, columns)
        self.path = root / FILE
        self._table = f'main."{job}"'  # a job's name has letters, digits, - and _ only
        self._pending: dict[str, Sequence[Row]] = {}

    @classmethod
    def missing(cls) -> str | None:
        return None if find_spec("duckdb") else "duckdb is not installed: pip install -c constraints.txt -e '.[duckdb]'"

    def upsert(self, document_id: str, rows: Sequence[Row]) -> None:
        self._pending[document_id] = rows

    def delete(self, document_id: str) -> None:
        self._pending[document_id] = ()

    def flush(self) -> None:
        with self._changed() as database:
            if self._digest(database) is None:
                self._make(database)
            elif self._digest(database) != arrow_schema.digest(self.columns):
                raise Outdated(f"{self.path}: {self.job} was made for another form of the job")
            ids = list(self._pending)
            database.execute(f"DELETE FROM {self._table} WHERE document_id IN (SELECT unnest(?))", [ids])
            database.execute(
                "DELETE FROM scanmill.rows WHERE job = ? AND document_id IN (SELECT unnest(?))", [self.job, ids]
            )
            self._insert(database, chain.from_iterable(self._pending.values()))
        self._pending.clear()

    def rebuild(self, days: Days) -> int:
        """An unreadable file is replaced; the next `verify` of other jobs then reports their tables as lost."""
        for anew in (False, True):
            try:
                with self._changed(anew) as database:
                    self._make(database)
                    count = self._insert(database, chain.from_iterable(rows for _, rows in days))
                break
            except Outdated:
                if anew:
                    raise
        self._pending.clear()
        return count

    def verify(self, records: Mapping[Key, int]) -> Verdict:
        """Reads every column of every row, so that DuckDB checks the checksums of all blocks."""
        if not self.path.exists():
            return compare([], records)
        try:
            with _opened(self.path, read_only=True) as database:
                digest = self._digest(database)
                if digest is None:
                    return compare([], records)
                if digest != arrow_schema.digest(self.columns):
                    return Verdict(0, fault=f"{self.job} was made for another form of the job")
                database.execute(f'SELECT bit_xor(hash("a row")) FROM {self._table} AS "a row"')  # no field has a blank
                found = database.execute(
                    "SELECT shown.document_id, shown.page, known.version "
                    f"FROM {self._table} AS shown LEFT JOIN scanmill.rows AS known ON known.job = ? "
                    "AND known.document_id = shown.document_id AND known.page IS NOT DISTINCT FROM shown.page",
                    [self.job],
                ).fetchall()
        except Outdated as error:
            return Verdict(0, fault=str(error))
        return compare((((document_id, page), version) for document_id, page, version in found), records)

    def _digest(self, database: "duckdb.DuckDBPyConnection") -> str | None:
        """The digest of the job's table; None without a table."""
        tables = "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?"
        if not database.execute(tables, ["scanmill", "tables"]).fetchone():
            return None
        if not database.execute(tables, ["main", self.job]).fetchone():
            return None
        found = database.execute("SELECT digest FROM scanmill.tables WHERE job = ?", [self.job]).fetchone()
        return str(found[0]) if found else ""

    def _make(self, database: "duckdb.DuckDBPyConnection") -> None:
        """Replaces the job's table with an empty one."""
        database.execute(_OWN)
        for table in ("scanmill.rows", "scanmill.tables"):
            database.execute(f"DELETE FROM {table} WHERE job = ?", [self.job])
        database.register("incoming", self.columns.empty_table())
        database.execute(f"CREATE OR REPLACE TABLE {self._table} AS SELECT * FROM incoming")
        database.execute("INSERT INTO scanmill.tables VALUES (?, ?)", [self.job, arrow_schema.digest(self.columns)])

    def _insert(self, database: "duckdb.DuckDBPyConnection", rows: Iterable[Row]) -> int:
        each, count = iter(rows), 0
        while some := list(islice(each, ROWS)):
            database.register("incoming", arrow_schema.arrow((row.values for row in some), self.columns))
            database.execute(f"INSERT INTO {self._table} BY NAME SELECT * FROM incoming")
            database.register("incoming", _versions(self.job, some))
            database.execute("INSERT INTO scanmill.rows BY NAME SELECT * FROM incoming")
            database.unregister("incoming")
            count += len(some)
        return count

    @contextmanager
    def _changed(self, anew: bool = False) -> "Iterator[duckdb.DuckDBPyConnection]":
        """A copy of the database, or with `anew` an empty one, in one transaction; replaces the database at the end.

        Raises Outdated for a damaged database.
        """
        with writing(self.root, _LOCK):
            copy = filesystem.scratch(self.root, FILE)
            try:
                if self.path.exists() and not anew:
                    with filesystem.storing(copy):
                        copyfile(self.path, copy)
                with _opened(copy) as database:
                    database.execute("BEGIN")
                    yield database
                    database.execute("COMMIT")
                    database.execute("CHECKPOINT")
                with filesystem.storing(self.path):
                    copy.chmod(_MODE)
                    filesystem.sync(copy)
                    copy.replace(self.path)
                    _log(self.path).unlink(missing_ok=True)  # left by another program
                    filesystem.sync(self.root)
            finally:
                for left in (copy, _log(copy)):
                    with filesystem.storing(left):
                        left.unlink(missing_ok=True)


def _log(database: Path) -> Path:
    """DuckDB's write-ahead log."""
    return database.with_name(f"{database.name}.wal")


def _versions(job: str, rows: Sequence[Row]) -> "pa.Table":
    import pyarrow as pa

    columns: dict[str, Any] = {
        "job": pa.array([job] * len(rows), pa.string()),
        "document_id": pa.array([row.document_id for row in rows], pa.string()),
        "page": pa.array([row.page for row in rows], pa.int32()),
        "version": pa.array([row.version for row in rows], pa.int64()),
    }
    return pa.table(columns)


@contextmanager
def _opened(path: Path, read_only: bool = False) -> "Iterator[duckdb.DuckDBPyConnection]":
    """Raises Outdated for a file that DuckDB cannot read, StorageError when the disk is full or not writable."""
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=read_only, config=_CONFIG) as database:
            yield database
    except (duckdb.BinderException, duckdb.ParserException):  # errors in our own SQL are not damage
        raise
    except duckdb.OutOfMemoryException as error:
        raise StorageError(f"{path}: DuckDB has too little memory: {_one_line(error)}") from error
    except duckdb.Error as error:
        why = _one_line(error)
        if "No space left" in why or "Could not write" in why:
            raise StorageError(f"{path}: DuckDB reports: {why}. Free some space and run again.") from error
        raise Outdated(f"{path.name} cannot be read: {why}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
