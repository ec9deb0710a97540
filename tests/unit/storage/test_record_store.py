"""Records on a real disk: whole or absent, replaced together, never outside the root."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import StorageError
from pipeline.core.types import Document, Issue, Record
from pipeline.schema.job import Job
from pipeline.storage.record_json import from_json
from pipeline.storage.record_store import RecordStore
from tests.support import builders

JOB = Job.model_validate({"name": "invoice", "fields": {"total": {"type": "money"}, "day_due": {"type": "date"}}})
MONDAY = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


def document(number: int) -> Document:
    return builders.document(f"{number}.pdf", received_at=MONDAY)


def record(number: int = 1, page: int | None = None, run: str = "r1", **changes: Any) -> Record:
    data = {"total": Decimal(number), "day_due": date(2027, 1, 1)}
    given = {"document": document(number), "confidence": {"total": 0.9}} | changes
    return builders.record(data, JOB, page, run, **given)


def pages(number: int, count: int, run: str = "r1") -> list[Record]:
    return [record(number, page, run) for page in range(1, count + 1)]


def store_at(root: Path, now: datetime = MONDAY) -> RecordStore:
    return RecordStore(root, now=lambda: now)


def all_of(store: RecordStore) -> list[tuple[str, str, int | None]]:
    return [(str(day), each.document.name, each.page) for day, found in store.days(JOB) for each in found]


def test_a_commit_is_a_file_that_says_when(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    [written] = store.commit([record()])
    assert (written.day, written.processed_at) == (MONDAY.date(), MONDAY)
    path = tmp_path / "records" / "invoice" / f"{document(1).id}.json"
    assert from_json(path.read_text("utf-8"), JOB).data == written.data
    assert os.listdir(tmp_path / ".tmp") == []
    store.sync()


def test_the_day_is_that_of_the_first_reading(tmp_path: Path) -> None:
    store_at(tmp_path).commit([record(run="r1")])
    [again] = store_at(tmp_path, MONDAY + timedelta(days=3)).commit([record(run="r2")])
    assert again.day == MONDAY.date()
    assert again.processed_at == MONDAY + timedelta(days=3)
    known = store_at(tmp_path).summary("invoice", document(1).id)
    assert known is not None
    assert (known.run, known.day, known.status, known.job_digest) == ("r2", MONDAY.date(), "ok", JOB.digest)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([record()], pages(1, 3, "r2"), [1, 2, 3]),
        (pages(1, 3), [record(run="r2")], [None]),
        (pages(1, 3), pages(1, 2, "r2"), [1, 2]),
    ],
)
def test_a_new_commit_replaces_all_of_the_old_one(
    tmp_path: Path, first: Sequence[Record], second: Sequence[Record], expected: list[int | None]
) -> None:
    store_at(tmp_path).commit(first)
    store = store_at(tmp_path, MONDAY + timedelta(hours=1))
    store.commit(second)
    assert [page for _, _, page in all_of(store)] == expected
    assert len(os.listdir(tmp_path / "records" / "invoice")) == len(expected)
    assert [each.page for each in store.written_by("r2", JOB, document(1).id)] == expected
    assert store.written_by("r1", JOB, document(1).id) == []


def test_pages_without_the_first_are_an_unfinished_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(tmp_path)
    folder = tmp_path / "records" / "invoice"
    store.commit(pages(1, 4))
    (folder / f"{document(1).id}.p0001.json").unlink()
    assert store.summary("invoice", document(1).id) is None
    assert store.written_by("r1", JOB, document(1).id) == []
    assert all_of(store) == []
    store.commit([record(run="r2")])
    assert [page for _, _, page in all_of(store)] == [None]


def test_the_first_page_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rename = os.replace

    def noting(source: Path, target: Path) -> None:
        order.append(target.name[64:])
        rename(source, target)

    monkeypatch.setattr("pipeline.storage.record_store.os.replace", noting)
    store_at(tmp_path).commit(pages(1, 3))
    assert order == [".p0002.json", ".p0003.json", ".p0001.json"]


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([record(1), record(2)], "one document"),
        ([record(1, 2)], "each page from 1 on"),
        ([record(1, 1), record(1, 3)], "each page"),
        ([record(1), record(1, 1)], "each page"),
        ([record(1, job="..")], "not the name"),
        ([record(1, job="a/b")], "not the name"),
        ([replace(record(1), document=replace(document(1), id="../../etc/passwd"))], "not a document id"),
    ],
)
def test_what_is_no_whole_commit_or_leads_outside_is_refused(
    tmp_path: Path, records: list[Record], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        store_at(tmp_path).commit(records)
    assert not any((tmp_path / "records").rglob("*.json"))


def test_what_failed_or_was_asked_otherwise_is_not_answered(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    assert not store.answered(JOB, document(1).id)
    store.commit([record(1)])
    store.commit([record(2, error=("too_slow", ""), data={})])
    store.commit([*pages(3, 2), record(3, 3, error=("broken", ""), data={})])
    store.commit([record(4, issues=(Issue("missing", "total", "total is required"),))])
    assert [store.answered(JOB, document(number).id) for number in (1, 2, 3, 4)] == [True, False, False, True]
    changed = Job.model_validate({"name": "invoice", "fields": {"total": {"type": "number"}}})
    assert not store.answered(changed, document(1).id)


def test_days_stream_in_order(tmp_path: Path) -> None:
    for number in range(6):
        store_at(tmp_path, MONDAY + timedelta(days=number % 3)).commit([record(number)])
    found = all_of(store_at(tmp_path))
    assert [day for day, _, _ in found] == ["2026-11-23"] * 2 + ["2026-11-24"] * 2 + ["2026-11-25"] * 2
    assert sorted(name for _, name, _ in found) == [f"{number}.pdf" for number in range(6)]
    assert (
        list(RecordStore(tmp_path).days(Job.model_validate({"name": "other", "fields": {"a": {"type": "text"}}}))) == []
    )


def test_a_long_name_of_odd_bytes_does_not_hide_the_day(tmp_path: Path) -> None:
    name = "/".join([os.fsdecode(b"\xff" * 255)] * 8) + '/"day": "1999-01-01"\n "day": "1999-01-01"'
    store = store_at(tmp_path)
    store.commit([replace(record(1), document=replace(document(1), name=name))])
    assert all_of(store) == [("2026-11-23", name, None)]
    assert store_at(tmp_path, MONDAY + timedelta(days=1)).commit([record(1)])[0].day == MONDAY.date()


def test_a_damaged_record_is_named_and_a_new_commit_heals_it(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.commit([record()])
    path = tmp_path / "records" / "invoice" / f"{document(1).id}.json"
    path.write_text(path.read_text("utf-8")[:-40], "utf-8")
    assert store.summary("invoice", document(1).id) is None
    with pytest.raises(StorageError, match=rf"{document(1).id}.json is not a whole record .*drop its document again"):
        all_of(store)
    store.commit([record(run="r2")])
    assert len(all_of(store)) == 1


def test_what_a_power_cut_left_empty_is_read_again(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    store.commit([record(1)])
    store.commit([record(2)])
    (tmp_path / "records" / "invoice" / f"{document(1).id}.json").write_bytes(b"")
    assert store.written_by("r1", JOB, document(1).id) == []
    assert not store.answered(JOB, document(1).id)
    assert [name for _, name, _ in all_of(store)] == ["2.pdf"]


def test_a_root_that_went_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"share: the folder is not there\. Connect"):
        store_at(tmp_path / "share").commit([record()])
    assert not (tmp_path / "share").exists()


def test_a_disk_that_takes_no_more_is_named_and_leaves_no_part(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; sys.path[:0] = sys.argv[2:];"
        "from tests.unit.storage.test_record_store import *;"
        "store = store_at(Path(sys.argv[1])); store.commit([record(1)]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); store.commit([record(2)])"
    )
    tests = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), tests], capture_output=True, text=True)
    assert "StorageError" in done.stderr
    assert "File too large" in done.stderr
    assert len(all_of(store_at(tmp_path))) == 1


COMMIT_FOREVER = """
import itertools, os, random, signal, sys, time; from pathlib import Path; sys.path[:0] = sys.argv[2:]
from tests.unit.storage.test_record_store import pages, store_at
chance = random.Random(7)
committed, ours = os.pipe()
for round in range(20):
    child = os.fork()
    if child == 0:
        store = store_at(Path(sys.argv[1]))
        for number in itertools.count(1000 * round):
            store.commit(pages(number % 40, 3, run=str(number)))
            os.write(ours, b"x")
    os.read(committed, 1)
    time.sleep(chance.uniform(0, 0.03))  # any moment of a later commit
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(round, flush=True)
    sys.stdin.readline()
"""


def test_a_killed_run_leaves_whole_records_only(tmp_path: Path) -> None:
    seen = 0
    arguments = [sys.executable, "-c", COMMIT_FOREVER, str(tmp_path), str(Path(__file__).parents[3])]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for number in range(20):
            assert process.stdout.readline() == f"{number}\n"
            for path in (tmp_path / "records").rglob("*"):
                if path.is_file():
                    assert path.suffix == ".json"
                    assert json.loads(path.read_text("utf-8"))["job"] == "invoice"
                    seen += 1
            process.stdin.write("go on\n")
    assert seen > 20  # the kills met committed records
    store = store_at(tmp_path)
    for number in range(40):  # where page 1 is of a run, so are the others, or a later run began and did not end
        found = store.summary("invoice", document(number).id)
        runs = (
            [int(each.provenance["run"]) for each in store.written_by(found.run, JOB, document(number).id)]
            if found
            else []
        )
        assert not runs or runs[0] == min(runs)
        assert len(runs) in (0, 3)
