"""The table as people meet it: pandas, DuckDB and Polars read the folder with no option, at any moment."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import StorageError
from pipeline.core.geometry import Box
from pipeline.core.types import Evidence, Issue, Record
from pipeline.schema.job import Job
from pipeline.storage.arrow_schema import schema
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from tests.support import builders

FIELDS: dict[str, Any] = {
    "发票号码": {"type": "text"},
    "issued": {"type": "date"},
    "printed_at": {"type": "time"},
    "total": {"type": "money"},
    "weight": {"type": "number"},
    "copies": {"type": "integer"},
    "paid": {"type": "yesno"},
    "kinds": {"type": "choice", "options": ["a", "b"], "many": True},
    "供应商": {
        "type": "group",
        "fields": {"名称": {"type": "text"}, "bank": {"type": "group", "fields": {"iban": {"type": "text"}}}},
    },
    "lines": {"type": "list", "fields": {"text": {"type": "text"}, "amount": {"type": "money"}}},
    "serials": {"type": "list", "item": {"type": "text"}},
}
JOB = Job.model_validate({"name": "invoice", "fields": FIELDS})
START = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
EMPTY: dict[str, Any] = dict.fromkeys(FIELDS)
FULL: dict[str, Any] = {
    "发票号码": "R-1 长江",
    "issued": date(2024, 6, 15),
    "printed_at": datetime(2024, 1, 1, 14, 5).time(),
    "total": Decimal("1234.50"),
    "weight": 0.25,
    "copies": 3,
    "paid": True,
    "kinds": ["a"],
    "供应商": {"名称": "长江有限公司", "bank": {"iban": "DE00"}},
    "lines": [{"text": "bolt", "amount": Decimal("0.10")}, {"text": None, "amount": None}],
    "serials": ["x", "y"],
}
CONFIDENCE = {"total": 0.9, "供应商.bank.iban": 0.5, "lines[1].amount": 0.25, "serials[0]": 0.75, "kinds": 1.0}
EVIDENCE = {"total": Evidence(2, Box(1, 2, 3, 4), "1.234,50 €"), "lines[0].text": Evidence(1, None, "bolt")}


def record(number: int, data: dict[str, Any] | None = None, page: int | None = None, **changes: Any) -> Record:
    received_at = START - timedelta(seconds=number % 7)
    given: dict[str, Any] = {
        "document": builders.document(
            f"{number}.pdf", id=sha256(str(number).encode()).hexdigest(), received_at=received_at
        ),
        "confidence": CONFIDENCE,
        "evidence": EVIDENCE,
        "processed_at": START,
    }
    return builders.record(FULL if data is None else data, JOB, page, **given | changes)


def failed(number: int) -> Record:
    return record(number, {}, error=("broken", "page 1"), confidence={}, evidence={}, pages=())


class Shop:
    """A store and a table of one root, with a day that the test turns."""

    def __init__(self, root: Path, job: Job = JOB) -> None:
        self.today = datetime(2026, 11, 22, 12, 0)
        self.store = RecordStore(root, now=lambda: self.today)
        self.table = JobTable(root, job)
        self.folder = root / "results" / job.name

    def put(self, *records: Record) -> None:
        self.table.add(self.store.commit(records))

    def rows(self) -> pa.Table:
        return pa.concat_tables([pq.read_table(path) for path in sorted(self.folder.glob("*.parquet"))])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def three_days(shop: Shop) -> Shop:
    for day in range(3):
        shop.put(record(10 * day))
        shop.put(record(10 * day + 1, EMPTY, confidence={}, evidence={}))
        shop.put(failed(10 * day + 2))
        shop.table.flush()
        shop.today += timedelta(days=1)
    return shop


def test_the_columns_are_those_of_the_design() -> None:
    columns = schema(JOB)
    place = "struct<page: int32, x: double, y: double, width: double, height: double, text: string>"
    assert {name: str(columns.field(name).type) for name in columns.names} == {
        "document_id": "string",
        "source": "string",
        "page": "int32",
        "pages": "list<item: int32>",
        "status": "string",
        "received_at": "timestamp[us, tz=UTC]",
        "processed_at": "timestamp[us, tz=UTC]",
        "发票号码": "string",
        "issued": "date32[day]",
        "printed_at": "time32[s]",
        "total": "decimal128(18, 2)",
        "weight": "double",
        "copies": "int64",
        "paid": "bool",
        "kinds": "list<item: string>",
        "供应商": "struct<名称: string, bank: struct<iban: string>>",
        "lines": "list<item: struct<text: string, amount: decimal128(18, 2)>>",
        "serials": "list<item: string>",
        "confidence": "struct<发票号码: double, issued: double, printed_at: double, total: double, weight: double, "
        "copies: double, paid: double, kinds: double, 供应商: struct<名称: double, bank: struct<iban: double>>, "
        "lines: list<item: struct<text: double, amount: double>>, serials: list<item: double>>",
        "evidence": f"struct<发票号码: {place}, issued: {place}, printed_at: {place}, total: {place}, weight: {place}, "
        f"copies: {place}, paid: {place}, kinds: {place}, 供应商: struct<名称: {place}, bank: struct<iban: {place}>>, "
        f"lines: list<item: struct<text: {place}, amount: {place}>>, serials: list<item: {place}>>",
        "issues": "list<item: struct<code: string, path: string, message: string>>",
        "error": "struct<code: string, detail: string>",
        "files": "list<item: string>",
        "engine": "string",
        "job_digest": "string",
        "run": "string",
    }
    assert columns.metadata[b"scanmill.job"] == b"invoice"


def test_every_value_comes_back_as_it_was(shop: Shop) -> None:
    issue = Issue("missing", "lines[1].amount", "lines[1].amount is required")
    shop.put(record(1, issues=(issue,)))
    shop.table.flush()
    [row] = shop.rows().to_pylist()
    assert {name: row[name] for name in FULL} == FULL
    assert row["status"] == "review"
    assert row["issues"] == [{"code": issue.code, "path": issue.path, "message": issue.message}]
    assert row["confidence"]["lines"] == [{"text": None, "amount": None}, {"text": None, "amount": 0.25}]
    assert row["confidence"]["供应商"] == {"名称": None, "bank": {"iban": 0.5}}
    assert row["confidence"]["serials"] == [0.75, None]
    assert row["confidence"]["kinds"] == 1.0
    box = {"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0}
    assert row["evidence"]["total"] == {"page": 2, "text": "1.234,50 €", **box}
    assert row["evidence"]["lines"][0]["text"] == {"page": 1, "text": "bolt", **dict.fromkeys(box)}
    assert (row["received_at"], row["error"], row["run"]) == (START - timedelta(seconds=1), None, "r1")


@pytest.mark.parametrize("data", [EMPTY, {}, {**EMPTY, "lines": [], "serials": [], "kinds": [], "供应商": {}}])
def test_nothing_comes_back_as_nothing(shop: Shop, data: dict[str, Any]) -> None:
    shop.put(record(1, data, confidence={}, evidence={}))
    shop.table.flush()
    shop.put(record(2, data, confidence={}, evidence={}))
    shop.table.flush()  # read from the first file and written again
    for row in shop.rows().to_pylist():
        assert row["lines"] == data.get("lines")
        assert row["serials"] == data.get("serials")
        assert row["confidence"] is None


def test_pandas_reads_the_folder(three_days: Shop) -> None:
    import pandas as pd

    frame = pd.read_parquet(three_days.folder)
    assert len(frame) == 9
    assert sorted(frame["status"]) == ["failed"] * 3 + ["ok"] * 6
    assert set(frame.loc[frame["status"] == "failed", "error"].map(lambda error: error["code"])) == {"broken"}
    assert frame["total"].dropna().sum() == Decimal("3703.50")
    assert frame["发票号码"].dropna().tolist() == ["R-1 长江"] * 3


def test_duckdb_reads_the_folder(three_days: Shop) -> None:
    import duckdb

    found = duckdb.sql(
        f"SELECT count(*), sum(total), max(供应商.名称), max(lines[1].amount), max(confidence.total) "
        f"FROM '{three_days.folder}/*.parquet'"
    ).fetchall()
    assert found == [(9, Decimal("3703.50"), "长江有限公司", Decimal("0.10"), 0.9)]


def test_polars_reads_the_folder(three_days: Shop) -> None:
    import polars as pl

    frame = pl.read_parquet(three_days.folder)
    assert frame.height == 9
    assert frame["total"].sum() == Decimal("3703.50")
    assert frame.select(pl.col("供应商").struct.field("名称")).drop_nulls().height == 3
    assert pl.scan_parquet(three_days.folder).filter(pl.col("status") == "failed").collect().height == 3


def test_a_changed_job_makes_the_table_again(three_days: Shop, tmp_path: Path) -> None:
    import duckdb
    import pandas as pd
    import polars as pl

    changed = Job.model_validate(
        {
            "name": "invoice",
            "fields": {**FIELDS, "total": {"type": "number"}, "copies": {"type": "date"}, "new": {"type": "text"}},
        }
    )
    table = JobTable(tmp_path, changed)
    assert table.repair() == [
        "invoice: in the parquet table, 2026-11-22.parquet was made for another form of the job (and 2 more files); "
        "rebuilt from the records (9 rows)",
        "invoice: 9 of 9 records were read under another form of the job; checked with the current fields and rules, "
        "3 of them are for review. To have them read anew, drop their originals again",
    ]
    assert not table.repair()
    assert len(list(three_days.folder.iterdir())) == 3
    assert pd.read_parquet(three_days.folder)["total"].sum() == 3703.5
    assert pl.read_parquet(three_days.folder)["new"].null_count() == 9
    assert duckdb.sql(f"SELECT count(copies) FROM '{three_days.folder}/*.parquet'").fetchall() == [(0,)]


def test_a_lost_or_damaged_file_is_made_again(three_days: Shop) -> None:
    before = three_days.rows()
    first, second, _ = sorted(three_days.folder.iterdir())
    first.write_bytes(first.read_bytes()[:100])
    assert "2026-11-22.parquet is damaged; rebuilt from the records (9 rows)" in three_days.table.repair()[0]
    assert three_days.rows().equals(before)
    for path in list(three_days.folder.iterdir()):
        path.unlink()
    assert three_days.table.repair() == [
        "invoice: the parquet table has 0 rows for 9 records (documents: 9 lost); repaired from the records"
    ]
    assert three_days.rows().equals(before)
    assert second.exists()


def test_an_unchanged_table_costs_no_look_into_the_records(three_days: Shop, tmp_path: Path) -> None:
    """Where records may not even be read, a run begins."""
    opened = []
    places = str(tmp_path / "records")
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(places):
            opened.append(arguments[0])

    sys.addaudithook(hook)
    assert three_days.table.repair() == []
    assert opened == []
    three_days.store.read(JOB, record(0).document.id)
    assert len(opened) == 1  # the hook hears
    watching.clear()


def test_a_document_read_again_replaces_its_rows_in_the_file_of_its_day(shop: Shop) -> None:
    shop.put(*(record(1, page=page) for page in (1, 2, 3)))
    shop.put(record(2))
    shop.table.flush()
    shop.today += timedelta(days=1)
    shop.put(*(record(1, {**FULL, "copies": 7}, page=page) for page in (1, 2)))
    shop.table.flush()
    assert [path.name for path in shop.folder.iterdir()] == ["2026-11-22.parquet"]
    rows = shop.rows().to_pylist()
    assert sorted((row["source"], row["page"], row["copies"]) for row in rows if row["page"]) == [
        ("1.pdf", 1, 7),
        ("1.pdf", 2, 7),
    ]
    assert len(rows) == 3


def test_rows_are_ordered_whatever_came_first(shop: Shop) -> None:
    for number in (5, 3, 8, 1):
        shop.put(record(number))
        shop.table.flush()
    rows = shop.rows().to_pylist()
    keys = [(row["received_at"], row["document_id"]) for row in rows]
    assert keys == sorted(keys)


def test_names_and_values_that_no_column_holds(shop: Shop) -> None:
    name = os.fsdecode(b"caf\xe9.pdf")
    given = record(1, {**FULL, "total": Decimal(10) ** 17, "copies": 2**70, "发票号码": "a\ud800b"})
    shop.put(replace(given, document=replace(given.document, name=name)))
    shop.table.flush()
    [row] = shop.rows().to_pylist()
    assert (row["source"], row["total"], row["copies"], row["发票号码"]) == ("caf\ufffd.pdf", None, None, "a\ufffdb")


def test_flushes_take_a_twentieth_of_the_time(tmp_path: Path) -> None:
    ticks = [0.0]
    store = RecordStore(tmp_path)
    table = JobTable(tmp_path, JOB, tables=2, clock=lambda: ticks[0])
    assert not table.due()
    table.add(store.commit([record(1)]))
    assert table.due()
    flush = table.sinks["parquet"].flush
    table.sinks["parquet"].flush = lambda: (ticks.__setitem__(0, ticks[0] + 2.0), flush())[1]  # type: ignore[method-assign,func-returns-value]
    table.flush()
    table.add(store.commit([record(2)]))
    ticks[0] += 79.0  # 20 times 2 s for each of two tables
    assert not table.due()
    ticks[0] += 1.0
    assert table.due()


def test_however_long_a_flush_takes_few_documents_wait_for_it(tmp_path: Path) -> None:
    ticks = iter([0.0, 0.0, 3600.0])  # made, begins to flush, ends
    table = JobTable(tmp_path, JOB, clock=lambda: next(ticks, 3600.0))
    table.add(RecordStore(tmp_path).commit([record(0)]))
    table.flush()
    with patch("pipeline.storage.job_table.MAX_PENDING", 3):
        for number in (1, 2):
            table.add([replace(record(number), day=START.date())])
        assert not table.due()
        table.add([replace(record(3), day=START.date())])
        assert table.due()


def test_the_folder_holds_parquet_only_and_leftovers_of_killed_runs_can_be_swept(
    three_days: Shop, tmp_path: Path
) -> None:
    assert {path.suffix for path in three_days.folder.iterdir()} == {".parquet"}
    assert list((tmp_path / ".tmp").iterdir()) == []
    old, young = tmp_path / ".tmp" / "old.parquet", tmp_path / ".tmp" / "young.parquet"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert filesystem.sweep(tmp_path, 3600.0) == 1
    assert not old.exists()
    assert young.exists()  # another machine may be writing it
    (tmp_path / ".tmp" / "tomorrow.json").touch()
    os.utime(tmp_path / ".tmp" / "tomorrow.json", (time.time() + 86400,) * 2)  # the clock was set back
    assert filesystem.sweep(tmp_path, 0.0) == 2


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:];"
        "from tests.unit.storage.test_parquet_table import *;"
        "shop = Shop(Path(sys.argv[1])); shop.put(record(1)); shop.table.flush(); shop.put(record(2));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); shop.table.flush()"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parents[3])]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert f"{StorageError.__name__}: " in done.stderr
    assert "File too large" in done.stderr
    assert Shop(tmp_path).rows().num_rows == 1


TEXT = st.none() | st.text(max_size=5)
AMOUNT = st.none() | st.decimals(-1000, 1000, places=2)
DATA = st.fixed_dictionaries(
    {
        "发票号码": TEXT,
        "total": AMOUNT,
        "kinds": st.none() | st.lists(st.sampled_from("ab"), max_size=2),
        "供应商": st.none()
        | st.fixed_dictionaries({"名称": TEXT, "bank": st.none() | st.fixed_dictionaries({"iban": TEXT})}),
        "lines": st.none() | st.lists(st.none() | st.fixed_dictionaries({"text": TEXT, "amount": AMOUNT}), max_size=3),
        "serials": st.none() | st.lists(TEXT, max_size=3),
    }
).map(lambda data: {**EMPTY, **data})
STEP = st.tuples(st.integers(0, 6), DATA, st.sampled_from(["whole", "pages", "failed"]), st.booleans(), st.booleans())


@given(st.lists(STEP, min_size=1, max_size=10), st.sampled_from((1, 2, 2000)))
@settings(deadline=None, max_examples=20)
def test_flushed_bit_by_bit_or_made_again_the_table_is_the_same(
    steps: list[tuple[int, Any, str, bool, bool]], at_once: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("pipeline.storage.parquet_sink.ROWS", at_once):
        shop = Shop(Path(folder))
        last: dict[str, int] = {}
        for number, data, kind, flush, midnight in steps:
            shop.today += timedelta(days=1) if midnight else timedelta(minutes=1)
            now = shop.today.replace(tzinfo=UTC)
            records = {
                "whole": [record(number, data, processed_at=now)],
                "pages": [record(number, data, page, processed_at=now) for page in (1, 2, 3)[: 1 + number % 3]],
                "failed": [replace(failed(number), processed_at=now)],
            }[kind]
            shop.put(*records)
            last[records[0].document.id] = len(records)
            if flush:
                shop.table.flush()
        shop.table.flush()
        grown = shop.rows()
        assert shop.table.rebuild() == grown.num_rows == sum(last.values())
        assert shop.rows().equals(grown)
