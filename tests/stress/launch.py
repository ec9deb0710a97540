"""The real command line in a process of its own, watched from outside the code that runs.

The interpreter is loaded once and forked for each run, which saves a second a run. What a run does to its root is seen
by an audit hook (PEP 578), which Python calls before every rename, link, removal, folder and opening for writing; and
by a counted `os.fsync`, which has no such event. So nothing in Scanmill knows that it is watched.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_TWO_NAMES = ("os.rename", "os.link")
_ONE_NAME = ("os.remove", "os.rmdir", "os.mkdir")


@dataclass(frozen=True)
class Run:
    """A run that was started. `said` gets its stderr."""

    pid: int
    said: Path

    def wait(self, timeout_s: float = 120) -> int:
        """Its exit code, negative for a signal. Raises TimeoutError, after killing it."""
        until = time.monotonic() + timeout_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"the run took longer than {timeout_s:g} s; it said: {self.said.read_text()}")
            time.sleep(0.005)

    def orphans(self, patience_s: float = 30) -> list[int]:
        """Processes of the run that outlive it, after a moment in which they may notice."""
        until = time.monotonic() + patience_s
        while (left := _session(self.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        return left


def load() -> None:
    """Imports what a run needs, once, so that each fork begins at once."""
    for name in (
        "pandas",
        "pyarrow.compute",
        "pyarrow.parquet",
        "models.scripted.echo",
        "pipeline.runs.session",
        "run_batch",
    ):
        import_module(name)


def start(words: list[str], said: Path, before: Callable[[], None] = lambda: None) -> Run:
    """Begins `run_batch.py` with these words. `before` is called in the new process, before any of its work."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Run(pid, said)
    code = 1
    try:
        os.setsid()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        import run_batch

        before()
        run_batch.main(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the end of this process: what it was is told, and the code says so
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill(run: Run) -> None:
    """SIGKILL, and wait until it is gone."""
    os.kill(run.pid, signal.SIGKILL)
    run.wait()


def die_at(number: int, root: Path, told: Path) -> Callable[[], None]:
    """For `start(before=…)`: SIGKILL just before the `number`-th change of the root; `told` then says what it was."""

    def before() -> None:
        seen = 0

        def change(what: str) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                told.write_text(what)
                os.kill(os.getpid(), signal.SIGKILL)

        watch(root, change)

    return before


def jump_clock(records: Path, jump_s: float) -> None:
    """For `start(before=…)`: every clock that Scanmill asks for the time of day jumps once six records are written."""
    shift_clock(lambda: jump_s if records.is_dir() and len(os.listdir(records)) > 5 else 0.0)


def shift_clock(shift_s: Callable[[], float]) -> None:
    """For `start(before=…)`: every clock that Scanmill asks for the time of day is wrong by what `shift_s` says."""
    asked = time.time

    def shifted() -> float:
        return asked() + shift_s()

    class Kind(type):
        def __instancecheck__(cls, each: object) -> bool:  # what was made before, or elsewhere, is a datetime too
            return isinstance(each, datetime)

    class Shifted(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=shift_s())

    setattr(time, "time", shifted)  # noqa: B010
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in ("pipeline", "commands")]:
        if vars(module).get("datetime") is datetime:
            setattr(module, "datetime", Shifted)  # noqa: B010
        for each in list(vars(module).values()):
            init: Any = getattr(each, "__init__", None)
            if isinstance(each, type) and getattr(init, "__defaults__", None):
                init.__defaults__ = tuple(shifted if it is asked else it for it in init.__defaults__)


def watch(root: Path, change: Callable[[str], None]) -> None:
    """Calls `change(what)` before every change below `root` by this process. There is no way back."""
    top = os.fsencode(root)
    fsync = os.fsync
    told = False  # what `change` itself does is not told

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal told
        if told or not (what := _change(event, arguments, top)):
            return
        told = True
        try:
            change(what)
        finally:
            told = False

    def counted(handle: Any) -> None:
        change("fsync")
        fsync(handle)

    sys.addaudithook(hook)
    setattr(os, "fsync", counted)  # noqa: B010 - it is put in the place of a function that takes more


def _change(event: str, arguments: tuple[Any, ...], top: bytes) -> str:
    """What kind of change below `top` an audit event tells of; "" for none."""
    if event == "open":
        name, _, flags = arguments
        if not isinstance(flags, int) or not flags & _WRITES:
            return ""
        target, verb = name, "write"
    elif event in _TWO_NAMES:
        target, verb = arguments[1], event.removeprefix("os.")
    elif event in _ONE_NAME:
        target, verb = arguments[0], event.removeprefix("os.")
    else:
        return ""
    if not isinstance(target, str | bytes | os.PathLike):
        return ""
    path = os.fsencode(target)
    if not path.startswith(top + b"/"):
        return ""
    return f"{verb} {path[len(top) + 1 :].split(b'/')[0].decode('utf-8', 'replace')}"


def _session(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != leader:
            try:
                state, _, _, session = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(session) == leader and state != "Z":
                found.append(int(name))
    return found
