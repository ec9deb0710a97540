"""What a run tells while it goes on: the live file, JSON lines, Prometheus metrics, the GPU's load."""

import io
import itertools
import json
import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.scripted import echo
from models.scripted.echo import EchoEngine
from pipeline.core.errors import ModelError
from pipeline.engine import PARTIAL_LETTERS
from pipeline.reporting import live_status
from pipeline.reporting.console import Screen
from pipeline.reporting.events import EventFanout
from pipeline.reporting.json_log import JsonLog
from pipeline.reporting.metrics import Metrics
from pipeline.reporting.run_report import ReportEntry, RunReport
from pipeline.runs.session import Session
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import Settings
from pipeline.system.gpu_monitor import GpuMonitor, GpuQueryError, query
from pipeline.system.locks import RootLock
from tests.support.waiting import wait_until

NOTE = parse_job(b"name: note\nfields:\n  total: {type: money, required: true}\n")
SCRIPT = {"a.png": '{"total": "12.50"}', "*": "{}"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    from PIL import Image

    root = tmp_path / "root"
    (root / "inbox" / "note").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b\n{x}.png")):
        Image.new("RGB", (60, 80 + number), "white").save(root / "inbox" / "note" / name)
    (root / "inbox" / "note" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    return root


def drain(root: Path, listener: JsonLog | Screen | EventFanout, job: Job = NOTE, **keys: object) -> None:
    settings = Settings.model_validate({"root": root, "settle_s": 0, "workers": 1, **keys})
    with Session(settings, [job], EchoEngine(SCRIPT), "echo", listener) as session:
        session.batch()


def test_every_line_of_the_json_log_is_one_event(root: Path) -> None:
    out = io.StringIO()
    drain(root, JsonLog(out))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["started", "document", "document", "document", "ended"]
    assert {line["name"]: line["status"] for line in lines[1:-1]} == {
        "a.png": "ok", "b\n{x}.png": "review", "broken.pdf": "failed",
    }  # fmt: skip
    assert lines[-1]["counts"]["taken"] == 3
    assert out.getvalue().isascii()
    assert not {"question", "answer"} & set(lines[1])


def test_an_error_that_ends_a_run_is_a_line_too() -> None:
    out = io.StringIO()
    with pytest.raises(ModelError) as caught, JsonLog(out):
        raise ModelError("there are no weights")
    line = json.loads(out.getvalue())
    assert (line["event"], line["error"], line["text"]) == ("stopped", "ModelError", "there are no weights")
    assert caught.value.logged


def test_the_metrics_count_what_the_account_counts(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "scanmill.prom"
    drain(root, Screen(quiet=True), metrics=path)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text("utf-8"))
        for sample in family.samples
    }
    assert samples["scanmill_documents_total", "done"] == 2
    assert samples["scanmill_documents_total", "failed"] == 1
    assert samples["scanmill_records_total", "note", "review"] == 1
    assert samples["scanmill_pages_total",] == 2
    assert samples["scanmill_inbox_files", "note"] == 0
    assert samples["scanmill_last_batch_faults",] == 0
    assert abs(samples["scanmill_last_batch_ended_timestamp_seconds",] - time.time()) < 60


def test_metrics_that_cannot_be_written_name_the_file_and_stop_no_work(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drain(root, Screen(quiet=True), metrics=tmp_path / "gone" / "x.prom")
    assert "gone/x.prom: the metrics cannot be written (No such file or directory)" in caplog.text
    assert list((root / "inbox" / "note").iterdir()) == []


def test_other_users_may_read_the_metrics_and_nothing_lies_beside_them(root: Path, tmp_path: Path) -> None:
    """The collector is another user; the service's umask is 0077."""
    before = os.umask(0o077)
    try:
        drain(root, Screen(quiet=True), metrics=tmp_path / "scanmill.prom")
    finally:
        os.umask(before)
    assert (tmp_path / "scanmill.prom").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if "prom" in path.name] == ["scanmill.prom"]


def test_what_the_driver_does_not_tell_is_no_zero(tmp_path: Path) -> None:
    path = tmp_path / "scanmill.prom"
    metrics, run_report = Metrics(path, dict), RunReport("echo")
    run_report.finish()
    metrics.ended(run_report)
    assert "gpu_busy_ratio NaN" in path.read_text()
    run_report.load.append((1.0, 0.5))
    metrics.ended(run_report)
    assert "gpu_busy_ratio 0.5" in path.read_text()


def test_the_live_file_tells_others_and_goes_with_the_run(root: Path) -> None:
    seen = []

    class Look(JsonLog):
        def ended(self, run_report: object) -> None:
            seen.append(live_status.read(root))

    looking = Look(io.StringIO())
    settings = Settings.model_validate({"root": root, "settle_s": 0, "workers": 1})
    assert live_status.read(root) is None
    with Session(settings, [NOTE], EchoEngine(SCRIPT), "echo", looking) as session:
        session.batch()
        after = live_status.read(root)
    (during,) = seen
    assert during is not None
    assert after is not None
    assert (during["state"], during["waiting"], during["pid"]) == ("working", 3, os.getpid())
    assert (after["state"], after["counts"], after["pages"]) == ("waiting", {"ok": 1, "review": 1, "failed": 1}, 2)
    assert live_status.read(root) is None
    assert not (root / ".live.json").exists()


def test_what_a_killed_run_said_is_not_believed(root: Path) -> None:
    (root / ".live.json").write_text('{"run": "long ago", "state": "working"}')
    assert live_status.read(root) is None


def test_the_driver_is_asked_for_the_load_of_the_first_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\necho "$@" > "$0.asked"\nfor n in 50 "[N/A]" 100 0; do echo $n; done\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    told: list[float] = []
    with GpuMonitor(lambda second, share: told.append(share)):
        wait_until(lambda: len(told) >= 3)
    assert told == [0.5, 1.0, 0.0]
    assert "--id=3 " in (tmp_path / "nvidia-smi.asked").read_text()


@pytest.mark.parametrize(
    ("script", "reason"),
    [("echo 'No devices were found'; exit 6", "No devices were found"), ("exit 9", "nothing"), ("echo A, 1", "A, 1")],
)
def test_an_unusable_answer_of_the_driver_is_an_error_with_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GpuQueryError, match=f"nvidia-smi says: {reason}"):
        query("name", "driver_version", "memory.total")


def test_without_a_driver_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query("name") is None
    told: list[float] = []
    with GpuMonitor(lambda second, share: told.append(share)):
        pass
    assert told == []


ASK = parse_job(b"name: ask\nquestions: true\npreprocess: []\nfields: {answer: {type: prose, required: true}}\n")


class Watching(JsonLog):
    """Looks into the live file whenever something is told."""

    def __init__(self, root: Path) -> None:
        super().__init__(io.StringIO())
        self.root, self.seen, self.after = root, [], []  # type: ignore[var-annotated]

    def answering(self, document_id: str, text: str) -> None:
        if told := live_status.read(self.root):
            self.seen.append(told["answering"])
            assert (self.root / ".live.json").stat().st_mode & 0o777 == 0o600

    def finished(self, entry: ReportEntry) -> None:
        self.after.append(entry)


def asked(root: Path, name: str, question: str, by_program: bool) -> None:
    folder = root / "inbox" / "ask" / name
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text(question)
    if by_program:
        (folder / ".complete").touch()


def test_an_answer_is_seen_as_it_is_made_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "PAUSE_S", 0.0)
    monkeypatch.setattr(live_status, "PARTIAL_S", 0.0)
    root = tmp_path
    asked(root, "page-1", "What is it?", True)
    asked(root, "by-hand", "And this?", False)
    said = "A cat upon a mat, as far as can be seen."
    watching = Watching(root)
    settings = Settings.model_validate({"root": root, "settle_s": 0, "workers": 1})
    with Session(settings, [ASK, NOTE], EchoEngine({"*": f"<slowly>{said}"}), "echo", watching) as session:
        run_report = session.batch()
        after = live_status.read(root)
    assert run_report.summary()["done"] == 2
    texts = [text for answers in watching.seen for text in answers.values()]
    assert len(set(texts)) > 3
    assert all(said.startswith(text) for text in texts)
    assert {key for answers in watching.seen for key in answers} == {
        entry.document_id for entry in watching.after if entry.name == "page-1"
    }
    assert after is not None
    assert after["answering"] == {}
    assert after["boxes"] == ["ask", "note"]
    left = [path for path in root.rglob("*") if path.is_file() and b"A cat" in path.read_bytes()]
    assert {path.relative_to(root).parts[0] for path in left} == {"records", "results", "runs"}


def test_many_long_answers_are_bounded(tmp_path: Path) -> None:
    told = live_status.LiveStatus(tmp_path, "run", "echo", ["ask"], clock=itertools.count(0, 60).__next__)
    told.started(1)
    for number in range(100):
        told.answering(f"{number}", "字" * 1_000_000)
    told.answering("3", "anew")
    assert len(told._answers) == live_status.MAX_PARTIAL_ANSWERS
    assert told._answers["3"] == "anew"
    assert len(told._answers["4"]) == PARTIAL_LETTERS


def test_what_a_killed_run_said_can_be_wiped(tmp_path: Path) -> None:
    (tmp_path / ".live.json").write_text('{"run": "gone", "answering": {"a": "secret"}}')
    with RootLock(tmp_path, "alive"):
        live_status.wipe(tmp_path)
        assert (tmp_path / ".live.json").exists()
    live_status.wipe(tmp_path)
    live_status.wipe(tmp_path)
    assert not (tmp_path / ".live.json").exists()
