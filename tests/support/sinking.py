"""Every sink for the tests: the two that come along, and the one of docs/extending.md as an installed package."""

import json
import sqlite3
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.plugins.sinks import Sink
from pipeline.schema.job import Job
from pipeline.storage.arrow_schema import schema
from pipeline.storage.duckdb_sink import DuckDBSink
from pipeline.storage.job_table import JobTable
from pipeline.storage.parquet_sink import ParquetSink
from tests.support.extending import block, module
from tests.support.packages import installed

NAMES = ("parquet", "duckdb", "sqlite")


def example() -> str:
    """The Python of the sink in docs/extending.md."""
    return block("A sink", "python")


def package(site: Path) -> Path:
    """The example, installed as pip would, below `site`."""
    project = tomllib.loads(block("A sink", "toml"))["project"]
    return installed(site, project["name"], project["entry-points"], {module("A sink"): example()})


def class_of(name: str, site: Path) -> type[Sink]:
    """The class of a sink; that of the example is imported from `site`."""
    if name != "sqlite":
        return {"parquet": ParquetSink, "duckdb": DuckDBSink}[name]
    sys.path.insert(0, str(site))
    try:
        found: type[Sink] = import_module("acme_sqlite").SQLiteSink
        return found
    finally:
        sys.path.remove(str(site))


def table_of(root: Path, job: Job, name: str, kind: type[Sink]) -> JobTable:
    """A table with this sink alone."""
    table = JobTable(root, job, sinks=())
    table.sinks[name] = kind(root, job.name, schema(job))
    return table


def shown(root: Path, job: str, name: str) -> list[tuple[Any, ...]]:
    """(document id, page, status, source) of every row that another program finds in the sink."""
    return sorted(_READERS[name](root, job), key=str)


def _parquet(root: Path, job: str) -> list[tuple[Any, ...]]:
    import pyarrow.parquet as pq

    rows = [row for path in (root / "results" / job).glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    return [_some(row) for row in rows]


def _duckdb(root: Path, job: str) -> list[tuple[Any, ...]]:
    """In a process of its own: DuckDB keeps one instance of a file in a process, however old the file is."""
    if not (root / "results.duckdb").exists():
        return []
    code = (
        "import duckdb, json, sys\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as database:\n"
        "    there = database.execute('SELECT 1 FROM duckdb_tables() WHERE table_name = ?', [sys.argv[2]]).fetchone()\n"
        "    words = f'SELECT document_id, page, status, source FROM \"{sys.argv[2]}\"'\n"
        "    print(json.dumps(database.execute(words).fetchall() if there else []))\n"
    )
    command = [sys.executable, "-c", code, str(root / "results.duckdb"), job]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [tuple(row) for row in json.loads(told)]


def _sqlite(root: Path, job: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(root / "results.sqlite")
    try:
        rows = database.execute("SELECT data FROM rows WHERE job = ?", [job]).fetchall()
    except sqlite3.OperationalError:  # no such table
        return []
    finally:
        database.close()
    return [_some(json.loads(data)) for (data,) in rows]


def _some(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["document_id"], row["page"], row["status"], row["source"]


_READERS = {"parquet": _parquet, "duckdb": _duckdb, "sqlite": _sqlite}
