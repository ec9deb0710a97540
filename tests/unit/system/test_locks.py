"""Real processes: who holds a root, and what is left when they die."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.core.errors import BUSY, BusyError, StorageError
from pipeline.system import locks as lock_module
from pipeline.system.locks import RootLock, holder, run_name
from tests.support.waiting import EVENT_S


def mounts(root: Path, kind: str) -> Path:
    """A mount table like the system's, with `root` on a file system of that kind."""
    table = root / "mounts.txt"
    table.write_text(f"1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n2 1 0:5 / {root} rw - {kind} server:/x rw\n")
    return table


HOLD = """
import sys, time
from pathlib import Path
from pipeline.system.locks import RootLock
with RootLock(Path(sys.argv[1]), "night-run"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(root: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_who_holds_the_root_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        with pytest.raises(BusyError, match=rf"night-run \(process {process.pid} on .*since 20\d\d-") as busy:
            RootLock(tmp_path, "mine").__enter__()
        assert busy.value.exit_code == BUSY
        assert holder(tmp_path)["run"] == "night-run"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert "night-run" in (tmp_path / ".lock").read_text()
    assert holder(tmp_path) == {}
    with RootLock(tmp_path, "mine") as lock:
        assert lock.exclusive
        assert holder(tmp_path)["pid"] == os.getpid()
    assert holder(tmp_path) == {}


def test_asking_who_holds_the_root_disturbs_no_start(tmp_path: Path) -> None:
    with RootLock(tmp_path, "first"):
        pass
    with open(tmp_path / ".lock") as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (os.dup(asked.fileno()), fcntl.LOCK_UN)).start()
        with RootLock(tmp_path, "second") as lock:
            assert lock.exclusive


def test_two_locks_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with RootLock(tmp_path, "a"), pytest.raises(BusyError, match="run a "):
        RootLock(tmp_path, "b").__enter__()
    with RootLock(tmp_path, "b"):
        pass


def test_a_forked_child_does_not_keep_the_root(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from pipeline.system.locks import RootLock
lock = RootLock(Path(sys.argv[1]), "parent").__enter__()
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(60)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, timeout=EVENT_S
    )
    child = int(done.stdout)
    try:
        os.kill(child, 0)  # it lives on
        with RootLock(tmp_path, "next") as lock:
            assert lock.exclusive
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_disk_without_locks_lets_the_run_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RootLock(tmp_path, "mine") as lock:
        assert not lock.exclusive
        assert lock.alive("any-other")  # nobody can tell, so nothing is taken from it


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone: the folder is not there"):
        RootLock(tmp_path / "gone", "mine").__enter__()


def test_on_a_local_disk_every_other_run_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "MOUNTS", mounts(tmp_path, "ext4"))
    with RootLock(tmp_path, "mine") as lock:
        assert not lock.alive("2026-11-22T031500.123-otherhost-17")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_on_a_share_busy_runs_of_other_machines_are_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(lock_module, "MOUNTS", mounts(tmp_path, kind))
    mine = run_name(datetime(2026, 11, 22, 3, 15, 0, 123456))
    assert mine.startswith("2026-11-22T031500.123-")
    assert mine.endswith(f"-{os.getpid()}")
    foreign = "2026-11-22T031500.123-otherhost-17"
    box = tmp_path / "working" / foreign / "box"
    box.mkdir(parents=True)
    with RootLock(tmp_path, mine) as lock:
        assert lock.alive(mine)
        assert not lock.alive(run_name(datetime(2026, 11, 21)))
        assert lock.alive(foreign)
        for folder in (box, box.parent):
            os.utime(folder, (1e9, 1e9))
        assert not lock.alive(foreign)


def test_who_is_patient_gets_the_root_when_it_is_free(tmp_path: Path) -> None:
    process = hold(tmp_path)
    asked: list[str] = []

    def again(busy: str) -> bool:
        asked.append(busy)
        process.kill()
        process.wait()
        return True

    with RootLock(tmp_path, "mine", again) as lock:
        assert lock.exclusive
        assert holder(tmp_path)["run"] == "mine"
    assert len(asked) == 1
    assert "night-run" in asked[0]
    assert process.stdout is not None
    process.stdout.close()


def test_who_leaves_while_waiting_holds_nothing(tmp_path: Path) -> None:
    def leave(busy: str) -> bool:
        raise KeyboardInterrupt

    with RootLock(tmp_path, "first"):
        with pytest.raises(KeyboardInterrupt):
            RootLock(tmp_path, "second", leave).__enter__()
        assert holder(tmp_path)["run"] == "first"
    with RootLock(tmp_path, "third"):
        pass
