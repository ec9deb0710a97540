"""What systemd hears of a watch, over a real socket; and that an idle engine is put to rest and wakes up again."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from operations.systemd_notify import Systemd
from tests.support.waiting import EVENT_S, wait_until

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        ears.settimeout(20)
        yield ears


def heard(ears: socket.socket) -> list[str]:
    ears.setblocking(False)
    lines = []
    try:
        while True:
            lines.append(ears.recv(4096).decode())
    except BlockingIOError:
        return lines


def test_signs_of_life_come_as_often_as_systemd_wants_and_no_oftener(
    ears: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    now = 1000.0
    monkeypatch.setattr("operations.systemd_notify.time", SimpleNamespace(monotonic=lambda: now))
    systemd = Systemd()
    systemd.ready()
    for _ in range(1000):
        systemd.alive()
    now += 0.11
    systemd.alive()
    systemd.status("two\nlines")
    systemd.status("two\nlines")
    assert heard(ears) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STATUS=two lines"]


def test_without_systemd_no_socket_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    opened: list[object] = []
    monkeypatch.setattr("operations.systemd_notify.socket.socket", lambda *kind: opened.append(kind))
    systemd = Systemd()
    systemd.ready()
    systemd.alive()
    systemd.status("at work")
    systemd.stopping()
    assert opened == []


def test_a_systemd_that_goes_away_and_comes_back_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    systemd = Systemd()
    systemd.ready()  # nobody is there, and nothing is raised
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        systemd.stopping()
        assert heard(ears) == ["STOPPING=1"]


def test_a_systemd_that_does_not_listen_holds_up_nothing(
    ears: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    systemd = Systemd()
    for number in range(2000):
        systemd.status(str(number))
    assert 1 <= len(heard(ears)) < 2000


def test_the_watchdog_of_another_process_is_not_ours(
    ears: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Systemd().alive()
    assert heard(ears) == []


def test_a_watch_is_ready_alive_rests_wakes_and_says_goodbye(ears: socket.socket, tmp_path: Path) -> None:
    box = tmp_path / "inbox" / "note"
    box.mkdir(parents=True)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "note.yaml").write_text("preprocess: []\nfields: {number: {type: text}}\n")
    (tmp_path / "replies.json").write_text('{"*": "{\\"number\\": \\"A-1\\"}"}')
    settings = {"engine": "echo", "weights": str(tmp_path / "replies.json"), "settle_s": 0.1, "rescan_s": 1.0}
    (tmp_path / "config.yaml").write_text(json.dumps({**settings, "workers": 1, "idle_unload_minutes": 1 / 60}))
    places = ["--root", str(tmp_path), "--config", str(tmp_path / "config.yaml"), "--jobs", str(tmp_path / "jobs")]
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    environment.pop("WATCHDOG_PID", None)
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "run_batch.py"), "watch", *places], stderr=said, env=environment
        )
    lines: list[str] = []

    def said_so(count: int) -> bool:
        lines.extend(heard(ears))  # a socket keeps ten datagrams, no more
        return (tmp_path / "said").read_text().count("unloaded") == count

    try:
        wait_until(lambda: said_so(1))
        Image.new("RGB", (60, 40), (1, 9, 9)).save(box / "late.png")
        wait_until(lambda: list((tmp_path / "done").rglob("late.png")))
        wait_until(lambda: said_so(2))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(EVENT_S)
    lines += heard(ears)
    assert lines.index("READY=1") < lines.index("WATCHDOG=1")
    assert lines.count("WATCHDOG=1") >= 3
    assert any("1 taken, 1 done, 0 failed" in line for line in lines if line.startswith("STATUS="))
    assert lines[-1] == "STOPPING=1"
    assert process.returncode == 130
