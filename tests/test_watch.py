"""Watching and stopping, with real processes and signals; only the model is scripted."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from pipeline.account import Account
from pipeline.mill import Mill
from pipeline.watch import watch

PROJECT = Path(__file__).parents[1]


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


def drop(root: Path, name: str, colour: int) -> None:
    Image.new("RGB", (60, 40), (colour, 9, 9)).save(root / "inbox" / "note" / name)


def until(there: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("poll", [False, True])
def test_watch_reads_what_is_dropped_until_it_is_stopped(
    command: Callable[..., list[str]], tmp_path: Path, poll: bool
) -> None:
    drop(tmp_path, "before.png", 1)
    process = subprocess.Popen(command("watch", poll=poll, rescan_s=1.0), stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: list((tmp_path / "done").rglob("before.png")))
        drop(tmp_path, "later.png", 2)
        until(lambda: list((tmp_path / "done").rglob("later.png")))
        until(lambda: len(list((tmp_path / "runs").glob("*.json"))) == 2)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "watching" in said


def test_a_watch_may_end_when_there_is_nothing_to_do(command: Callable[..., list[str]], tmp_path: Path) -> None:
    drop(tmp_path, "only.png", 1)
    done = subprocess.run([*command("watch"), "--stop-when-idle", "0.02"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "done").rglob("only.png"))


def test_a_stopped_run_gives_back_what_it_has_not_begun(command: Callable[..., list[str]], tmp_path: Path) -> None:
    for number in range(250):
        drop(tmp_path, f"{number:03}.png", number)
    process = subprocess.Popen(
        [*command("run", settle_s=0), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    until(lambda: list((tmp_path / "records").rglob("*.json")))
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    account = json.loads(said)
    assert process.returncode == 130
    assert account["faults"] == []
    counts = account["counts"]
    assert 0 < counts["done"] < 250
    assert counts["taken"] == counts["done"] + counts["given_back"]
    assert len(list((tmp_path / "inbox" / "note").iterdir())) == 250 - counts["done"]


class StuckMill:
    """Stands in for a root with one file that can never be taken; notes when what was asked of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float]] = []

    def waiting(self) -> int:
        return 1

    def batch(self, stop: Callable[[], bool]) -> Account:
        self.said.append(("batch", time.monotonic()))
        return Account("nothing was taken")

    def rest(self) -> None:
        self.said.append(("rest", time.monotonic()))


def test_a_file_that_cannot_be_taken_does_not_keep_the_engine_awake(tmp_path: Path) -> None:
    stuck, end = StuckMill(), time.monotonic() + 4
    mill = cast(Mill, stuck)
    assert list(watch(mill, tmp_path, lambda: time.monotonic() > end, poll=False, rescan_s=0.5, idle_s=1.2)) == []
    rested = [number for number, (what, _) in enumerate(stuck.said) if what == "rest"]
    assert rested
    for number in rested:
        before, after = stuck.said[number - 1], stuck.said[number + 1 : number + 2]
        assert before[0] == "batch"
        assert all(what == "batch" and at - before[1] >= 1.2 for what, at in after)


def test_a_nightly_run_waits_for_the_page_s_own_watch(command: Callable[..., list[str]], tmp_path: Path) -> None:
    """And says so; it leaves when it is told to; and whoever does not wait is told at once."""
    drop(tmp_path, "night.png", 3)
    idle = [*command("watch"), "--stop-when-idle", "0.15"]
    with subprocess.Popen(idle, stderr=subprocess.PIPE, text=True) as holding:
        assert holding.stderr
        until(lambda: list((tmp_path / "done").rglob("night.png")))
        busy = subprocess.run(command("run"), capture_output=True, text=True, check=False)
        assert busy.returncode == 75
        assert "echo" not in busy.stderr, "an engine was loaded for nothing"
        with subprocess.Popen([*command("run"), "--wait", "5"], stderr=subprocess.PIPE, text=True) as left:
            assert left.stderr
            assert "is waited for" in left.stderr.readline()
            left.send_signal(signal.SIGTERM)
            assert left.wait(10) == 130
        night = subprocess.run([*command("run"), "--wait", "1"], capture_output=True, text=True, check=False)
        assert night.returncode == 0, night.stderr
        assert holding.wait(10) == 0
    assert "is being worked on by run" in night.stderr
