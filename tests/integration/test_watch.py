"""Watching and stopping, with real processes and signals; only the model is scripted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from pipeline.reporting.run_report import RunReport
from pipeline.runs.session import Session
from pipeline.runs.watch import watch
from tests.support.builders import drop_image
from tests.support.waiting import EVENT_S, wait_until

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """The command line over a root with one job and the scripted engine."""
    root = tmp_path
    (root / "inbox" / "note").mkdir(parents=True)
    (root / "jobs").mkdir()
    (root / "jobs" / "note.yaml").write_text("preprocess: []\nfields: {number: {type: text}}\n")
    (root / "replies.json").write_text('{"*": "{\\"number\\": \\"A-1\\"}"}')

    def words(verb: str, **settings: object) -> list[str]:
        config = {"engine": "echo", "weights": str(root / "replies.json"), "settle_s": 0.2, "workers": 1, **settings}
        (root / "config.yaml").write_text(json.dumps(config))
        places = ["--root", str(root), "--config", str(root / "config.yaml"), "--jobs", str(root / "jobs")]
        return [sys.executable, str(PROJECT / "run_batch.py"), verb, *places]

    return words


@pytest.mark.parametrize("poll", [False, True])
def test_watch_reads_what_is_dropped_until_it_is_stopped(
    command: Callable[..., list[str]], tmp_path: Path, poll: bool
) -> None:
    drop_image(tmp_path, "before.png", 1)
    process = subprocess.Popen(command("watch", poll=poll, rescan_s=1.0), stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: list((tmp_path / "done").rglob("before.png")))
        drop_image(tmp_path, "later.png", 2)
        wait_until(lambda: list((tmp_path / "done").rglob("later.png")))
        wait_until(lambda: len(list((tmp_path / "runs").glob("*.json"))) == 2)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=EVENT_S)
    assert process.returncode == 130, said
    assert "watching" in said


def test_a_watch_may_end_when_there_is_nothing_to_do(command: Callable[..., list[str]], tmp_path: Path) -> None:
    drop_image(tmp_path, "only.png", 1)
    done = subprocess.run(
        [*command("watch"), "--stop-when-idle", "0.02"], capture_output=True, text=True, timeout=EVENT_S
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "done").rglob("only.png"))


def test_a_stopped_run_gives_back_what_it_has_not_begun(command: Callable[..., list[str]], tmp_path: Path) -> None:
    for number in range(250):
        drop_image(tmp_path, f"{number:03}.png", number)
    process = subprocess.Popen(
        [*command("run", settle_s=0), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list((tmp_path / "records").rglob("*.json")))
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=EVENT_S)
    run_report = json.loads(said)
    assert process.returncode == 130
    assert run_report["faults"] == []
    counts = run_report["counts"]
    assert 0 < counts["done"] < 250
    assert counts["taken"] == counts["done"] + counts["given_back"]
    assert len(list((tmp_path / "inbox" / "note").iterdir())) == 250 - counts["done"]


class StuckSession:
    """Stands in for a root with one file that can never be taken; notes when what was asked of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float]] = []

    def waiting(self) -> int:
        return 1

    def batch(self, stop: Callable[[], bool]) -> RunReport:
        self.said.append(("batch", time.monotonic()))
        return RunReport("nothing was taken")

    def unload_engine(self) -> None:
        self.said.append(("rest", time.monotonic()))


def test_a_file_that_cannot_be_taken_does_not_keep_the_engine_awake(tmp_path: Path) -> None:
    stuck = StuckSession()
    session = cast(Session, stuck)

    def rested() -> list[int]:
        return [number for number, (what, _) in enumerate(stuck.said) if what == "rest"]

    def stop() -> bool:
        return len(rested()) == 2

    assert list(watch(session, tmp_path, stop, poll=False, rescan_s=0.5, idle_s=1.2)) == []
    for number in rested():
        before, after = stuck.said[number - 1], stuck.said[number + 1 : number + 2]
        assert before[0] == "batch"
        assert all(what == "batch" and at - before[1] >= 1.2 for what, at in after)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_what_cannot_be_taken_is_told_once(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """By a user who may not look into a folder; the superuser lays down the power to do so."""
    drop_image(tmp_path, "first.png", 1)
    (tmp_path / "inbox" / "note" / "closed").mkdir(mode=0)
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [*ordinary, *command("watch", rescan_s=0.3)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: list((tmp_path / "runs").glob("*.json")))
        for name, colour in (("second.png", 2), ("third.png", 3)):
            time.sleep(1)  # three looks
            drop_image(tmp_path, name, colour)
            wait_until(lambda name=name: list((tmp_path / "done").rglob(name)))
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=EVENT_S)
    run_reports = [json.loads(path.read_text()) for path in sorted((tmp_path / "runs").glob("*.json"))]
    assert [run_report["counts"]["taken"] for run_report in run_reports if run_report["counts"]["taken"]] == [1, 1, 1]
    assert len(run_reports) <= 4, "an account at every look"
    assert all("closed" in run_report["faults"][0] for run_report in run_reports)
    assert "closed: Scanmill has no right" in told


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_without_the_system_s_notices_the_folder_is_looked_at(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    """In a user namespace that may have no inotify at all."""
    none = 'echo 0 > /proc/sys/user/max_inotify_instances || exit 99; exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", none, "sh", *command("watch", rescan_s=0.5)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        head = [process.stderr.readline() for _ in range(3)]
        if process.poll() is not None:
            pytest.skip(f"no user namespace may be made here: {head[0].strip()}")
        drop_image(tmp_path, "scan.png", 1)
        wait_until(lambda: list((tmp_path / "done").rglob("scan.png")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 130
    assert "The inbox is scanned every 0.5 s" in "".join(head)


def test_a_nightly_run_waits_for_the_page_s_own_watch(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """And says so; it leaves when it is told to; and whoever does not wait is told at once."""
    drop_image(tmp_path, "night.png", 3)
    with subprocess.Popen(command("watch"), stderr=subprocess.PIPE, text=True) as holding:
        assert holding.stderr
        wait_until(lambda: list((tmp_path / "done").rglob("night.png")))
        busy = subprocess.run(command("run"), capture_output=True, text=True, check=False)
        assert busy.returncode == 75
        assert "echo" not in busy.stderr, "an engine was loaded for nothing"
        with subprocess.Popen([*command("run"), "--wait", "5"], stderr=subprocess.PIPE, text=True) as left:
            assert left.stderr
            assert "Waiting for it" in left.stderr.readline()
            left.send_signal(signal.SIGTERM)
            assert left.wait(EVENT_S) == 130
        with subprocess.Popen([*command("run"), "--wait", "5"], stderr=subprocess.PIPE, text=True) as night:
            assert night.stderr
            assert "is being worked on by run" in night.stderr.readline()
            holding.send_signal(signal.SIGTERM)
            assert holding.wait(EVENT_S) == 130
            told = night.stderr.read()
            assert night.wait(EVENT_S) == 0, told
