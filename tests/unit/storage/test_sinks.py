"""One suite for every sink: Parquet, DuckDB, and the one that docs/extending.md shows, as an installed package."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import simplejson
from PIL import Image

from pipeline.core.errors import ConfigError
from pipeline.core.types import Record
from pipeline.plugins.sinks import Outdated, Row, Sink, Verdict
from pipeline.schema.job import Job
from pipeline.schema.settings import load_settings
from pipeline.storage import corrections
from pipeline.storage.arrow_schema import schema
from pipeline.storage.deletion import delete
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_files import record_file
from pipeline.storage.record_store import RecordStore
from tests.support.sinking import NAMES, class_of, example, package, shown, table_of
from tests.unit.storage.test_parquet_table import FIELDS, FULL, JOB, START, failed, record

PROJECT = Path(__file__).parents[3]
OTHER = Job.model_validate({"name": "invoice", "fields": {**FIELDS, "more": {"type": "text"}}})


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the example package is installed."""
    return package(tmp_path_factory.mktemp("site") / "site-packages")


@dataclass
class Place:
    """A root with one sink."""

    root: Path
    name: str
    kind: type[Sink]
    day: datetime = datetime(2026, 11, 22, 12, 0)

    def table(self, job: Job = JOB) -> JobTable:
        return table_of(self.root, job, self.name, self.kind)

    def sink(self, job: Job = JOB) -> Sink:
        return self.kind(self.root, job.name, schema(job))

    def put(self, *documents: Record | list[Record], job: Job = JOB) -> None:
        """Commits the records of each document and flushes."""
        store, table = RecordStore(self.root, now=lambda: self.day), self.table(job)
        for each in documents:
            table.add(store.commit(each if isinstance(each, list) else [each]))
        table.flush()

    def verdict(self, job: Job = JOB) -> Verdict:
        return self.table(job).verify()[self.name]

    def rows(self, job: str = JOB.name) -> list[tuple[str, int | None, str, str]]:
        return shown(self.root, job, self.name)  # type: ignore[return-value]

    def files(self) -> list[Path]:
        """The files that the sink wrote."""
        lying = [*self.root.glob("results*"), *self.root.glob("results/*/*")]
        return sorted(path for path in lying if path.is_file())


@pytest.fixture(params=NAMES)
def place(request: pytest.FixtureRequest, tmp_path: Path, site: Path) -> Place:
    (tmp_path / "inbox").mkdir()
    return Place(tmp_path, request.param, class_of(request.param, site))


def key(made: Record) -> tuple[str, int | None, str, str]:
    return made.document.id, made.page, made.status, made.document.name


def keys(*made: Record) -> list[tuple[str, int | None, str, str]]:
    return sorted((key(each) for each in made), key=str)


def pages(number: int, count: int) -> list[Record]:
    return [record(number, page=page) for page in range(1, count + 1)]


def test_what_is_handed_over_is_readable_by_others_after_a_flush_and_not_before(place: Place) -> None:
    table = place.table()
    table.add(RecordStore(place.root).commit([record(1)]))
    assert place.rows() == []
    table.flush()
    assert place.rows() == keys(record(1))
    assert place.verdict() == Verdict(1)


def test_rows_are_replaced_document_by_document_failed_ones_and_pages_included(place: Place) -> None:
    place.put(record(1), pages(2, 3), failed(3), record(4))
    assert place.rows() == keys(record(1), *pages(2, 3), failed(3), record(4))
    place.day += timedelta(days=1)
    place.put(pages(2, 2), record(3), failed(4), pages(1, 2), record(5))
    assert place.rows() == keys(*pages(1, 2), *pages(2, 2), record(3), failed(4), record(5))
    place.put(record(1))
    assert place.rows() == keys(record(1), *pages(2, 2), record(3), failed(4), record(5))
    assert place.verdict() == Verdict(6)


def test_a_flush_of_nothing_and_of_what_was_never_there_is_no_fault(place: Place) -> None:
    sink = place.sink()
    sink.flush()
    sink.delete("0" * 64)
    sink.flush()
    assert place.verdict() == Verdict(0)
    assert place.rows() == []


def test_deleting_takes_every_page_and_nothing_else(place: Place) -> None:
    place.put(pages(1, 3), record(2))
    sink = place.sink()
    sink.delete(record(1).document.id)
    sink.flush()
    assert place.rows() == keys(record(2))


def test_the_last_word_before_a_flush_counts(place: Place) -> None:
    place.put(record(1), record(2))
    first, second = RecordStore(place.root).read(JOB, record(1).document.id)[0], record(2)
    values = dict.fromkeys(schema(JOB).names)
    told = {**values, "document_id": first.document.id, "source": "again.pdf", "status": "ok", "received_at": START}
    row = Row(first.document.id, None, date(2026, 11, 22), 5, told)
    sink = place.sink()
    sink.delete(first.document.id)
    sink.upsert(first.document.id, [row])
    sink.upsert(second.document.id, [replace(row, document_id=second.document.id)])
    sink.delete(second.document.id)
    sink.flush()
    assert place.rows() == [(first.document.id, None, "ok", "again.pdf")]


def test_verify_finds_lost_extra_and_stale_rows_and_changes_nothing(place: Place) -> None:
    store = RecordStore(place.root)
    place.put(record(1), record(2), pages(3, 2), record(4))
    store.commit([record(5)])  # never flushed
    store.delete(JOB, record(1).document.id)
    store.commit([record(2, FULL | {"copies": 9})])
    before = [(path, path.read_bytes()) for path in place.files()]
    lost, extra, stale = (frozenset([record(number).document.id]) for number in (5, 1, 2))
    assert place.verdict() == Verdict(5, lost, extra, stale)
    assert [(path, path.read_bytes()) for path in place.files()] == before
    said = place.table().repair()
    assert said == [
        f"invoice: the {place.name} table has 5 rows for 5 records (documents: 1 lost, 1 extra, 1 older than its "
        "record); repaired from the records"
    ]
    assert place.verdict() == Verdict(5)
    assert place.rows() == keys(record(2), *pages(3, 2), record(4), record(5))
    assert place.table().repair() == []


def test_a_lost_page_is_found(place: Place) -> None:
    place.put(pages(1, 2))
    RecordStore(place.root).commit(pages(1, 3))
    assert place.verdict().lost == {record(1).document.id}
    place.table().repair()
    assert place.rows() == keys(*pages(1, 3))


def test_many_lost_rows_are_made_again_as_a_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.job_table.MAX_PENDING", 3)
    for number in range(5):
        RecordStore(place.root).commit([record(number)])
    (said,) = place.table().repair()
    assert "rebuilt from the records (5 rows)" in said
    assert len(place.rows()) == 5


def test_a_sink_of_another_form_of_the_job_takes_no_rows_and_is_made_again(place: Place) -> None:
    place.put(record(1), record(2))
    sink = place.sink(OTHER)
    sink.delete(record(1).document.id)
    with pytest.raises(Outdated):
        sink.flush()
    assert place.rows() == keys(record(1), record(2))
    assert "another form of the job" in (place.verdict(OTHER).fault or "")
    assert place.table(OTHER).rebuild() == 2
    assert place.verdict(OTHER) == Verdict(2)
    assert "another form of the job" in (place.verdict().fault or "")


def test_a_run_makes_a_sink_again_that_somebody_spoilt_while_it_went_on(place: Place) -> None:
    place.put(record(1))
    place.table(OTHER).rebuild()
    place.put(record(2))
    assert place.verdict() == Verdict(2)


def test_two_jobs_do_not_touch_each_other(place: Place) -> None:
    fields = {
        "number": {"type": "text"},
        "job": {"type": "text"},
        "version": {"type": "text"},
        "rowid": {"type": "text"},
    }
    second = Job.model_validate({"name": "bill-2", "fields": fields})
    theirs = record(1, {"number": "x"}, job="bill-2", confidence={}, evidence={})
    place.put(record(1), record(2))
    place.put(theirs, job=second)
    place.table().rebuild()
    place.table(second).rebuild()
    sink = place.sink()
    sink.delete(record(1).document.id)
    sink.flush()
    assert place.rows() == keys(record(2))
    assert place.rows("bill-2") == keys(theirs)
    assert place.verdict(second) == Verdict(1)


def test_a_file_cut_in_half_is_known_and_made_again(place: Place) -> None:
    place.put(*(record(number) for number in range(40)))
    before = place.rows()
    (file,) = place.files()
    content = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(content[: len(content) // 2])
    assert "damaged" in (place.verdict().fault or "") or "cannot be read" in (place.verdict().fault or "")
    with pytest.raises(Outdated) if place.name != "sqlite" else pytest.raises(Exception):  # noqa: PT011
        sink = place.sink()
        sink.delete(record(1).document.id)
        sink.flush()
    (said,) = place.table().repair()
    assert "rebuilt from the records (40 rows)" in said
    assert place.rows() == before
    assert place.verdict() == Verdict(40)


def test_a_file_that_is_gone_is_made_again(place: Place) -> None:
    place.put(record(1), record(2))
    for file in place.files():
        file.unlink()
    assert place.verdict() == Verdict(0, lost=frozenset([record(1).document.id, record(2).document.id]))
    place.table().repair()
    assert place.rows() == keys(record(1), record(2))


def test_an_older_file_in_the_place_of_the_newer_is_known(place: Place) -> None:
    place.put(record(1), record(2))
    (file,) = place.files()
    older = file.read_bytes()
    place.put(record(2, FULL | {"copies": 9}), record(3))
    file.chmod(0o600)
    file.write_bytes(older)
    lost, stale = frozenset([record(3).document.id]), frozenset([record(2).document.id])
    assert place.verdict() == Verdict(2, lost, stale=stale)
    place.table().repair()
    assert place.verdict() == Verdict(3)


def test_what_a_person_changes_or_deletes_goes_everywhere(tmp_path: Path) -> None:
    into = ("parquet", "duckdb")
    table = JobTable(tmp_path, JOB, sinks=into)
    for number in (1, 2, 3):
        table.add(RecordStore(tmp_path).commit([record(number)]))
    table.flush()
    draft = corrections.open_draft(tmp_path, JOB, record(1).document.id, None)
    corrections.save(tmp_path, draft, {"copies": "77", "weight": "x"} | {"weight": "2.5"}, into=into)
    delete(tmp_path, JOB, record(2).document.id, into)
    assert table.repair() == []
    for name in into:
        assert [row[0] for row in shown(tmp_path, "invoice", name)] == sorted(
            record(number).document.id for number in (1, 3)
        )
    assert _duckdb(tmp_path, "SELECT copies, weight FROM invoice ORDER BY copies DESC") == [[77, 2.5], [3, 0.25]]


def test_a_save_without_a_sink_of_the_config_is_caught_up_by_the_next_run(tmp_path: Path) -> None:
    into = ("parquet", "duckdb")
    table = JobTable(tmp_path, JOB, sinks=into)
    table.add(RecordStore(tmp_path).commit([record(1)]))
    table.flush()
    draft = corrections.open_draft(tmp_path, JOB, record(1).document.id, None)
    corrections.save(tmp_path, draft, {"copies": "77"})
    assert table.repair() == [
        "invoice: the duckdb table has 1 rows for 1 records (documents: 1 older than its record); repaired from the "
        "records"
    ]
    assert _duckdb(tmp_path, "SELECT copies FROM invoice") == [[77]]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_process_leaves_no_sink_behind_the_records(name: str, site: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(PROJECT / "tests" / "support" / "sink_drill.py"),
        name,
        str(site),
        str(tmp_path),
        "13",
        "3",
    ]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "tests")))}
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == [], done.stderr
    assert told["killed"] >= 5
    assert {"fsync", "rename records"} & set(told["kinds"])


# ---- DuckDB alone
def _duckdb(root: Path, words: str) -> list[list[object]]:
    """What another process reads."""
    code = (
        "import duckdb, json, sys\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as database:\n"
        "    print(json.dumps(database.execute(sys.argv[2]).fetchall(), default=str))\n"
    )
    command = [sys.executable, "-c", code, str(root / "results.duckdb"), words]
    told: list[list[object]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told


@pytest.fixture
def duck(tmp_path: Path) -> Place:
    from pipeline.storage.duckdb_sink import DuckDBSink

    return Place(tmp_path, "duckdb", DuckDBSink)


def test_duckdb_has_structs_lists_decimals_dates_and_every_digit(duck: Place) -> None:
    duck.put(record(1), record(2, dict.fromkeys(FIELDS), confidence={}, evidence={}))
    types = {str(row[0]): row[1] for row in _duckdb(duck.root, "DESCRIBE invoice")}
    assert list(types) == schema(JOB).names
    assert {
        name: types[name] for name in ("total", "issued", "printed_at", "received_at", "lines", "供应商", "kinds")
    } == {
        "total": "DECIMAL(18,2)",
        "issued": "DATE",
        "printed_at": "TIME",
        "received_at": "TIMESTAMP WITH TIME ZONE",
        "lines": 'STRUCT("text" VARCHAR, amount DECIMAL(18,2))[]',
        "供应商": 'STRUCT("名称" VARCHAR, bank STRUCT(iban VARCHAR))',
        "kinds": "VARCHAR[]",
    }
    words = (
        "SELECT total, issued, printed_at, 供应商.名称, 供应商.bank.iban, lines[1].amount, len(lines), serials, "
        "confidence.total, evidence.total.page FROM invoice WHERE total IS NOT NULL"
    )
    assert _duckdb(duck.root, words) == [
        ["1234.50", "2024-06-15", "14:05:00", "长江有限公司", "DE00", "0.10", 2, ["x", "y"], 0.9, 2]
    ]
    assert _duckdb(duck.root, "SELECT total, lines, 供应商.名称 FROM invoice WHERE total IS NULL") == [
        [None, None, None]
    ]
    assert _duckdb(duck.root, "SHOW TABLES") == [["invoice"]]


READER = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as database:
    for _ in sys.stdin:
        print(database.execute("SELECT count(*) FROM invoice").fetchone()[0], flush=True)
"""


def test_duckdb_is_written_while_another_program_reads_what_it_opened(duck: Place) -> None:
    duck.put(record(1))
    command = [sys.executable, "-c", READER, str(duck.root / "results.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def count() -> int:
            reader.stdin.write("\n")  # type: ignore[union-attr]
            reader.stdin.flush()  # type: ignore[union-attr]
            return int(reader.stdout.readline())  # type: ignore[union-attr]

        assert count() == 1
        duck.put(record(2), record(3))
        duck.table().rebuild()
        assert count() == 1  # the file that it opened
        assert _duckdb(duck.root, "SELECT count(*) FROM invoice") == [[3]]
        reader.stdin.close()
        assert reader.wait(30) == 0


def test_duckdb_leaves_nothing_beside_its_file_and_can_only_be_read(duck: Place) -> None:
    duck.put(record(1))
    (duck.root / "results.duckdb.wal").write_bytes(b"the log of a program that wrote to the file")
    duck.put(record(2))
    assert sorted(path.name for path in duck.root.glob("results*")) == ["results.duckdb"]
    assert list((duck.root / ".tmp").iterdir()) == []
    assert (duck.root / "results.duckdb").stat().st_mode & 0o777 == 0o400


def test_duckdb_fetches_and_writes_nothing_elsewhere(duck: Place) -> None:
    """In a process with an empty home: no file appears there, and no extension can be had."""
    home = duck.root / "home"
    home.mkdir()
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
        "from tests.unit.storage.test_sinks import *; from pipeline.storage.duckdb_sink import DuckDBSink\n"
        "place = Place(Path(sys.argv[1]), 'duckdb', DuckDBSink)\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, told: seen.append(event) if event.startswith('socket.') else None)\n"
        "place.put(record(1)); place.table().rebuild(); print(place.verdict().sound, seen)\n"
    )
    paths = [str(PROJECT), str(PROJECT / "tests")]
    told = subprocess.run(
        [sys.executable, "-c", script, str(duck.root), *paths],
        env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "True []\n"
    assert list(home.rglob("*")) == []


def test_a_database_that_is_damaged_inside_is_known_and_made_again(duck: Place) -> None:
    """Wherever a block is spoilt that holds rows, they are made again; else nothing is wrong with them."""
    duck.put(*(record(number) for number in range(30)))
    before, file, chance = duck.rows(), duck.root / "results.duckdb", random.Random(0)
    content, found = file.read_bytes(), 0
    for _ in range(12):
        at = chance.randrange(0, len(content) - 64)
        file.chmod(0o600)
        file.write_bytes(content[:at] + bytes(byte ^ 0x5A for byte in content[at : at + 64]) + content[at + 64 :])
        found += duck.verdict().fault is not None
        duck.table().repair()
        assert duck.rows() == before
        assert duck.verdict() == Verdict(30)
    assert found


# ---- Parquet alone
@pytest.fixture
def files(tmp_path: Path) -> Place:
    from pipeline.storage.parquet_sink import ParquetSink

    return Place(tmp_path, "parquet", ParquetSink)


@pytest.fixture
def three_days(files: Place) -> Place:
    for number in range(3):
        files.put(record(2 * number), record(2 * number + 1))
        files.day += timedelta(days=1)
    return files


def test_one_deleted_day_is_noticed_and_made_again(three_days: Place) -> None:
    """The fault of the issue: 4 rows for 6 records, exit code 0."""
    before = three_days.rows()
    three_days.files()[1].unlink()
    assert three_days.verdict() == Verdict(4, lost=frozenset(record(number).document.id for number in (2, 3)))
    assert three_days.table().repair() == [
        "invoice: the parquet table has 4 rows for 6 records (documents: 2 lost); repaired from the records"
    ]
    assert three_days.rows() == before


def test_a_byte_that_changed_anywhere_in_a_day_file_is_noticed(three_days: Place) -> None:
    """Decompression would let some pass: the footer has a checksum of all before it."""
    file = three_days.files()[0]
    content, before, chance = file.read_bytes(), three_days.rows(), random.Random(0)
    for at in sorted(chance.sample(range(len(content)), 60)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        assert three_days.verdict().fault, f"byte {at} of {len(content)}"
        three_days.table().repair()
        assert three_days.rows() == before
        file.write_bytes(content)


def test_a_day_file_under_the_name_of_another_day_is_noticed(three_days: Place) -> None:
    first, second, _ = three_days.files()
    before = three_days.rows()
    second.write_bytes(first.read_bytes())
    assert three_days.verdict().fault == "2026-11-23.parquet is the file of another day"
    three_days.table().repair()
    assert three_days.rows() == before


def test_foreign_files_are_moved_aside_so_that_every_reader_reads(three_days: Place) -> None:
    import pandas as pd
    import polars as pl

    folder = three_days.files()[0].parent
    for name in ("Thumbs.db", ".DS_Store"):
        (folder / name).write_bytes(b"\0\1")
    shutil.copy(three_days.files()[0], folder / "2026-11-22 (copy).parquet")
    (folder / "old").mkdir()
    (folder / "old" / "x.csv").touch()
    os.symlink("/etc/hostname", folder / "2026-11-25.parquet")
    with pytest.raises(Exception, match=r"Parquet|magic|Invalid|[Dd]irectory"):
        pd.read_parquet(folder)
    assert three_days.table().repair() == [
        "results/invoice: not tables, moved to aside/results/invoice: .DS_Store, 2026-11-22 (copy).parquet, "
        "2026-11-25.parquet, Thumbs.db, old"
    ]
    assert len(pd.read_parquet(folder)) == len(pl.read_parquet(folder)) == 6
    (folder / "Thumbs.db").write_bytes(b"\0\1")
    for number in range(9):
        (folder / f"._{number}").touch()
    assert three_days.table().repair() == [
        "results/invoice: not tables, moved to aside/results/invoice: ._0, ._1, ._2, ._3, ._4 and 5 more"
    ]
    aside = three_days.root / "aside" / "results" / "invoice"
    assert (aside / "Thumbs (2).db").exists()
    assert (aside / "old" / "x.csv").exists()
    assert (aside / "2026-11-25.parquet").is_symlink()


def test_a_file_of_version_0_1_is_made_again(three_days: Place) -> None:
    import pyarrow.parquet as pq

    before, file = three_days.rows(), three_days.files()[0]
    pq.write_table(pq.read_table(file).replace_schema_metadata(schema(JOB).metadata), file)
    (said,) = three_days.table().repair()
    assert "2026-11-22.parquet was made by an older version of Scanmill; rebuilt from the records (6 rows)" in said
    assert three_days.rows() == before


def test_a_damaged_record_stops_nothing_and_is_named(three_days: Place) -> None:
    damaged = three_days.root / record_file("invoice", record(1).document.id, None)
    damaged.write_text("{")
    (said, named) = three_days.table().repair()
    assert "1 older than its record" in said
    assert named.startswith(f"{damaged} is not a whole record")
    assert named.endswith("Delete it, and drop its document again.")
    assert len(three_days.rows()) == 6  # its row stays as it was
    three_days.files()[0].unlink()
    assert three_days.table().repair()[-1] == named
    assert len(three_days.rows()) == 5
    damaged.unlink()
    assert three_days.table().repair() == []


# ---- settings, and a package of its own
def test_settings_name_sinks_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c.yaml"

    def fault(words: str) -> str:
        config.write_text(words)
        with pytest.raises(ConfigError) as caught:
            load_settings(config)
        return str(caught.value).removeprefix(f"{config}:")

    config.write_text("sinks: [parquet, duckdb, parquet]")
    assert load_settings(config).sinks == ("parquet", "duckdb")
    assert fault("root: x\nsinks: [parquet, duck]") == '2: sinks: "duck": unknown sink; did you mean duckdb?'
    assert fault("sinks: [duckdb]").startswith("1: sinks: must name parquet, which the Review list")
    monkeypatch.setattr("pipeline.storage.duckdb_sink.find_spec", lambda name: None)
    said = "1: sinks: duckdb: duckdb is not installed: pip install -c constraints.txt -e '.[duckdb]'"
    assert fault("sinks: [parquet, duckdb]") == said


def test_the_example_is_short() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) < 60


@pytest.fixture
def inbox(tmp_path: Path) -> tuple[Path, list[str]]:
    """A root with a scan, and the words that make a command work on it with three sinks."""
    root, jobs = tmp_path / "data", tmp_path / "jobs"
    (root / "inbox" / "note").mkdir(parents=True)
    jobs.mkdir()
    (jobs / "note.yaml").write_text("fields: {number: {type: text, required: true}}\n")
    (tmp_path / "replies.json").write_text(simplejson.dumps({"*": '{"number": "A-1"}'}))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"engine: echo\nweights: {tmp_path / 'replies.json'}\nworkers: 1\nsettle_s: 0\n"
        "sinks: [parquet, duckdb, sqlite]\n"
    )
    Image.new("RGB", (40, 40)).save(root / "inbox" / "note" / "a.png")
    return root, ["--root", str(root), "--config", str(config), "--jobs", str(jobs)]


def run(site: Path | None, command: str, words: list[str]) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(str(each) for each in (site, os.environ.get("PYTHONPATH")) if each)
    return subprocess.run(
        [sys.executable, str(PROJECT / "run_batch.py"), *command.split(), *words],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_sink_of_an_installed_package_is_written_by_a_run(
    inbox: tuple[Path, list[str]], site: Path, tmp_path: Path
) -> None:
    root, words = inbox
    absent = run(None, "run", words)
    assert absent.returncode == 2
    assert 'sinks: "sqlite": unknown sink' in absent.stderr
    done = run(site, "run", words)
    assert done.returncode == 0, done.stderr
    rows = [shown(root, "note", name) for name in NAMES]
    assert [len(each) for each in rows] == [1, 1, 1]
    assert rows[0] == rows[1] == rows[2]
    (root / "results.sqlite").unlink()
    again = run(site, "table note", words)
    assert again.stdout == "note: 1 rows in parquet\nnote: 1 rows in duckdb\nnote: 1 rows in sqlite\n"
    assert shown(root, "note", "sqlite") == rows[0]


def test_a_run_tells_what_it_mended_and_where_it_put_what_is_no_table(
    inbox: tuple[Path, list[str]], site: Path
) -> None:
    root, words = inbox
    assert run(site, "run", words).returncode == 0
    (day,) = (root / "results" / "note").iterdir()
    day.unlink()
    (root / "results" / "note" / "Thumbs.db").touch()
    done = run(site, "run", words)
    assert done.returncode == 0
    lines = [
        "results/note: not tables, moved to aside/results/note: Thumbs.db",
        "note: the parquet table has 0 rows for 1 records (documents: 1 lost); repaired from the records",
    ]
    said = " ".join(done.stderr.split())
    assert all(line in said for line in lines), done.stderr
    run_report = max((root / "runs").glob("*.json"))
    assert json.loads(run_report.read_text("utf-8"))["notes"] == lines
    assert "moved to aside/results/note" in run_report.with_suffix(".html").read_text("utf-8")
    assert run(site, "run", words).stderr.count("repaired") == 0
