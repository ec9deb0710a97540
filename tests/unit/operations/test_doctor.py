"""The doctor: what is well, what is not and what to do, and how long tonight will take. No GPU is needed to test it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from models import engine_check
from operations import doctor, forecast
from operations.progress import Steps
from pipeline.core import offline
from pipeline.core.check_result import CheckResult
from pipeline.schema.settings import Settings, load_settings
from pipeline.system.locks import RootLock, holder

PROJECT = Path(__file__).parents[3]


def asked(root: Path, *words: str, config: dict[str, object] | None = None) -> tuple[int, dict[str, Any]]:
    (root / "config.yaml").write_text(json.dumps({"engine": "ocr", **(config or {})}))
    environment = os.environ | {each.variable: "contrary" for each in offline.SWITCHES}
    done = subprocess.run(
        [sys.executable, PROJECT / "run_batch.py", "doctor", "--json", "--config", root / "config.yaml", "--root", root,
         "--jobs", root / "jobs", *words],
        capture_output=True, text=True, check=False, cwd=root, env=environment,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def lines(told: dict[str, Any], check: str) -> list[tuple[str, str, str]]:
    return [(each["state"], each["seen"], each["cure"]) for each in told["findings"] if each["check"] == check]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "note").mkdir(parents=True)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "note.yaml").write_text("fields: {number: {type: text}}\n")
    return tmp_path


def test_all_is_well_and_nothing_is_known_of_the_pace(root: Path) -> None:
    (root / "inbox" / "note" / "a.pdf").write_bytes(b"%PDF")
    code, told = asked(root)
    assert code == 0, told
    assert {each["state"] for each in told["findings"] if each["check"] not in ("packages", "libraries")} == {"ok"}
    assert lines(told, "libraries")[0][0] == "ok"  # all load; opencv-python beside the headless one is a warning
    assert lines(told, "packages")[0][0] == "ok"
    assert lines(told, "offline")[0][0] == "ok"  # set by Scanmill: the environment had others
    (box,) = told["tonight"]
    assert (box["inbox"], box["documents"], box["seconds"]) == ("note", 1, None)
    assert (
        sorted(path.name for path in root.iterdir()) == ["cache", "config.yaml", "inbox", "jobs"]
        or not (root / "cache").exists()
    )


def test_faults_are_told_together_each_with_its_cure(root: Path) -> None:
    (root / "jobs" / "bad.yaml").write_text("feilds: {}\n")
    (root / "runs").mkdir()
    (root / "runs" / "2999-01-01_00-00-00.json").write_text("{}")
    code, told = asked(root, "--bundle", str(root))
    assert code == 1
    faults = {each["check"]: each["cure"] for each in told["findings"] if each["state"] == "fault"}
    assert set(faults) == {"bundle", "jobs", "clock"}
    assert all(faults.values())


def test_a_switch_that_was_changed_since_is_a_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    with Steps() as steps:
        found = list(doctor.examine(PROJECT, Settings(root=root, jobs=root / "jobs", engine="echo"), None, steps))
    (line,) = [each for each in found if each.check == "offline"]
    assert line.state == "fault"
    assert "ORT_DISABLE_TELEMETRY is 0, RAY_USAGE_STATS_ENABLED is not set" in line.seen
    assert "ORT_DISABLE_TELEMETRY=1, RAY_USAGE_STATS_ENABLED=0" in line.cure


def test_broken_settings_are_a_line_too(root: Path) -> None:
    code, told = asked(root, config={"engine": "ocr", "poll": "maybe"})
    assert code == 1
    ((state, seen, cure),) = lines(told, "settings")
    assert state == "fault"
    assert "poll" in seen
    assert cure


def test_no_inbox_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "note.yaml").write_text("fields: {number: {type: text}}\n")
    code, told = asked(tmp_path)
    assert code == 1
    assert "mkdir" in lines(told, "folders")[0][2]


def test_how_long_comes_from_the_last_run_of_the_same_engine(root: Path) -> None:
    runs = root / "runs"
    runs.mkdir()

    def run_report(name: str, model: str, speed: float, pages: int) -> None:
        documents = [{"inbox": "note", "pages": pages}, {"inbox": "note", "pages": 0}]
        told = {"model": model, "counts": {"pages_per_second": speed}, "documents": documents}
        (runs / f"{name}.json").write_text(json.dumps(told))

    run_report("2026-01-01_00-00-00", "ocr", 1.0, 3)
    run_report("2026-01-02_00-00-00", "ocr", 2.0, 4)
    run_report("2026-01-03_00-00-00", "qwen_vl", 20.0, 4)
    run_report("2026-01-04_00-00-00", "ocr", 0.0, 4)
    (runs / "2026-01-05_00-00-00.json").write_text("torn")
    pace = forecast.last_pace(runs, "ocr")
    assert pace is not None
    assert (pace.run, pace.seconds("note", 10), pace.seconds("other", 1)) == ("2026-01-02_00-00-00", 20.0, 2.0)
    assert forecast.last_pace(runs, "echo") is None
    for number in range(10):
        (root / "inbox" / "note" / f"{number}.pdf").write_bytes(b"%PDF")
    _, told = asked(root)
    assert told["tonight"][0]["seconds"] == 20.0


def test_tables_that_lost_rows_are_told_with_what_the_next_run_does(root: Path) -> None:
    from pipeline.schema.job import Job
    from pipeline.storage.job_table import JobTable
    from pipeline.storage.record_store import RecordStore
    from tests.unit.storage.test_parquet_table import JOB, record

    settings = Settings(root=root, sinks=("parquet", "duckdb"))
    other = Job.model_validate({"name": "other", "fields": {"number": {"type": "text"}}})
    store, table = RecordStore(root), JobTable(root, JOB, sinks=settings.sinks)
    assert list(doctor.tables(settings, [JOB, other])) == []
    for number in (1, 2):
        table.add(store.commit([record(number)]))
    table.flush()
    seen = "2 rows in parquet, 2 rows in duckdb: as many as records, and none older than its record"
    assert list(doctor.tables(settings, [JOB, other])) == [CheckResult("tables", "ok", seen)]
    (day,) = (root / "results" / "invoice").iterdir()
    day.unlink()
    (root / "results" / "invoice" / "Thumbs.db").touch()
    store.commit([record(2, {"total": None})])
    before = sorted(path for path in root.rglob("*") if path.is_file())
    cure = "The next run rebuilds it from the records; to do it now: run_batch.py table invoice"
    parquet = "invoice: the parquet table has 0 rows for 2 records (documents: 2 lost)"
    duckdb = "invoice: the duckdb table has 2 rows for 2 records (documents: 1 older than its record)"
    foreign = f"other files in {root}/results/invoice: Thumbs.db"
    assert list(doctor.tables(settings, [JOB, other])) == [
        CheckResult("tables", "warning", parquet, cure),
        CheckResult(
            "tables", "warning", foreign, "The next run moves them to aside/: pandas cannot read a folder with them."
        ),
        CheckResult("tables", "warning", duckdb, cure),
    ]
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before
    with RootLock(root, "run"):
        (found,) = doctor.tables(settings, [JOB])
        assert found.seen == "not compared with the records while a run is at work"


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_time_in_words(seconds: float, said: str) -> None:
    assert forecast.words(seconds) == said


def folder_of_weights(place: Path) -> Path:
    """Tiny, but whole: one shard of one tensor."""
    place.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (place / name).write_text("{}")
    (place / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    head = b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    (place / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(16))
    return place


def seen_weights(settings: Settings, published: dict[str, str] | None = None) -> tuple[CheckResult, list[str]]:
    read: list[str] = []

    def begin(text: str, size: int) -> Any:
        read.append(text)
        return lambda done: None

    findings = list(engine_check.checkup(settings, published or {}, begin))
    (found,) = (each for each in findings if each.check == "weights")
    return found, read


def test_weights_are_read_once_and_again_when_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = Settings(engine="ocr", weights=folder_of_weights(tmp_path / "weights"))
    first, read = seen_weights(settings)
    assert (first.state, read) == ("ok", ["reading the weights"])
    assert seen_weights(settings) == (first, [])
    shard = tmp_path / "weights" / "model.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + b"x")  # the same size: only its bytes tell
    os.utime(shard, ns=(time.time_ns(), time.time_ns()))
    second, read = seen_weights(settings)
    assert read == ["reading the weights"]
    assert second.state == "ok"
    assert second.seen != first.seen
    published = {"model.safetensors": "0" * 64}
    third, _ = seen_weights(settings, published)
    assert (third.state, "model.safetensors" in third.seen) == ("fault", True)
    noted = tmp_path / "weights/.cache/huggingface/download/model.safetensors.metadata"
    noted.parent.mkdir(parents=True)
    noted.write_text(f"commit\n{'1' * 64}\n0\n")
    assert seen_weights(settings)[0].state == "fault"
    shard.write_bytes(good[:-3])
    assert "cut off" in (cut := seen_weights(settings)[0]).seen or "belong" in cut.seen


def test_a_gpu_engine_without_gpu_and_torch_is_told_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    settings = Settings(engine="qwen_vl", weights=folder_of_weights(tmp_path / "weights"))
    found = {each.check: each for each in engine_check.checkup(settings, {}, lambda text, size: lambda done: None)}
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    assert found["GPU"].state == "fault"
    assert "ocr" in found["GPU"].cure
    assert found["VRAM"].state == "warning"
    assert found["attention"].state == "warning"


@pytest.mark.parametrize(
    ("free_mib", "vram", "state"),
    [(24000, 23, "ok"), (20000, 23, "warning"), (1000, None, "fault"), (24000, 2, "fault")],
)
def test_free_memory_is_held_against_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, vram: float | None, state: str
) -> None:
    """With an nvidia-smi that answers as the driver's does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA GeForce RTX 4090, 550.54.14, 24564, {free_mib}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = Settings(engine="qwen_vl", vram_gib=vram, weights=folder_of_weights(tmp_path / "weights"))
    found = {each.check: each for each in engine_check.checkup(settings, {}, lambda text, size: lambda done: None)}
    assert "RTX 4090" in found["GPU"].seen
    assert found["VRAM"].state == state
    assert (found["VRAM"].cure == "") == (state == "ok")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("closed", [".", "inbox", "inbox/note", ".lock"])
def test_a_folder_of_somebody_else_is_a_fault_with_its_cure(root: Path, closed: str) -> None:
    """Also for the superuser, who here lays down the power to read everything."""
    (root / ".lock").touch()
    (root / closed).chmod(0)
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [*ordinary, sys.executable, str(PROJECT / "run_batch.py")]
    with TemporaryDirectory() as apart:
        config = Path(apart, "config.yaml")
        config.write_text(json.dumps({"engine": "ocr", "root": str(root), "jobs": str(PROJECT / "jobs")}))
        told = [
            subprocess.run([*words, *verb, "--config", config], capture_output=True, text=True, check=False)
            for verb in (["doctor", "--json"], ["status"])
        ]
    (root / closed).chmod(0o700)
    found = [each for each in json.loads(told[0].stdout)["findings"] if each["state"] == "fault"]
    assert {each["check"] for each in found} == {"folders"}
    assert all("no right" in each["seen"] and each["cure"] for each in found), found
    assert (told[0].returncode, told[1].returncode) == (1, 3), told[1].stderr
    assert "no right" in told[1].stderr
    assert "Traceback" not in told[1].stderr


def test_a_box_that_is_a_link_to_a_folder_is_counted_as_a_run_counts_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.pdf").write_bytes(b"%PDF")
    (root / "inbox" / "note").rmdir()
    (root / "inbox" / "note").symlink_to(tmp_path / "elsewhere")
    _, told = asked(root)
    assert [box["documents"] for box in told["tonight"]] == [1]
    assert ": 1 file, 0 MiB" in lines(told, "disk")[0][1]


def folders(root: Path, check: str, **settings: object) -> tuple[str, str, str]:
    """The one line of that name about a root."""
    found = [each for each in doctor.folders(load_settings(None, root=root, **settings)) if each.check == check]
    ((state, seen, cure),) = [(each.state, each.seen, each.cure) for each in found]
    return state, seen, cure


@pytest.mark.parametrize(
    ("free_mib", "free_files", "state", "said"),
    [
        (99, 1e6, "fault", "0.1 GiB free; in the inbox: 2 files, 3 MiB"),
        (1025, 1e6, "warning", "it may not be enough"),
        (1028, 1e6, "ok", "1.0 GiB free"),
        (1028, 1015, "warning", "room for 1,015 more files only"),
        (1028, 1016, "ok", "1.0 GiB free"),
    ],
)
def test_the_room_on_the_disk_is_held_against_what_waits(
    root: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, free_files: int, state: str, said: str
) -> None:
    for name, mib in (("a.pdf", 1), ("b.pdf", 2), ("c.pdf.part", 9)):
        (root / "inbox" / "note" / name).write_bytes(bytes(mib << 20))
    monkeypatch.setattr("operations.doctor.shutil.disk_usage", lambda place: SimpleNamespace(free=free_mib << 20))
    room = SimpleNamespace(f_files=10**7, f_favail=int(free_files))
    monkeypatch.setattr("operations.doctor.os.statvfs", lambda place: room)
    seen = folders(root, "disk")
    assert (seen[0], bool(seen[2])) == (state, state != "ok")
    assert said in seen[1]


def test_who_is_at_work_and_what_a_killed_run_left(root: Path) -> None:
    assert folders(root, "at work") == ("ok", "nobody", "")
    left = root / "working" / "2026-01-01T020000.000-scanhost-1" / "note"
    left.mkdir(parents=True)
    (left / "a.pdf").touch()
    assert folders(root, "at work")[1] == "nobody; 1 cut-off run, which the next run puts in order"
    with RootLock(root, "night"):
        assert folders(root, "at work")[:2] == (
            "ok",
            f"run night, process {os.getpid()} on {socket.gethostname()}, since {holder(root)['since']}",
        )
        note = {**holder(root), "since": "2026-01-01T02:00:00+00:00"}
        (root / ".lock").write_text(json.dumps(note))
        assert folders(root, "at work")[0] == "warning"


def test_only_boxes_of_the_inbox_may_be_open_to_all(root: Path) -> None:
    (root / "inbox" / "note").chmod(0o1777)
    assert folders(root, "folders")[0] == "ok"
    (root / "records").mkdir()
    (root / "records").chmod(0o777)
    state, seen, cure = folders(root, "folders")
    assert (state, str(root / "records") in seen, "chmod" in cure) == ("warning", True, True)
