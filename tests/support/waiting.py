"""Wait for events, and time limits that fit the machine: tests never sleep for guessed seconds."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

EVENT_S = 120.0  # only a failing test waits this long: an event ends the wait at once
_IMPORTS = "import models.scripted.faulty, pipeline.extraction.prompt"  # what the smallest engine process loads


def wait_until(true: Callable[[], object], seconds: float = EVENT_S, every_s: float = 0.02) -> None:
    """Return when `true()` is truthy. Raises AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"did not happen within {seconds:g} s"
        time.sleep(every_s)


def measured_start_s() -> float:
    """Seconds that a Python process needs here and now until the smallest engine is imported. The slower of two."""
    return max(_start_s() for _ in range(2))


def _start_s() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, timeout=EVENT_S)
    return time.perf_counter() - begun


def gone(pid: int) -> bool:
    """Whether a process has ended. Linux only: reads /proc; a zombie has ended."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return not fields or fields[0] == "Z"


def children(pid: int) -> set[int]:
    """Ids of the running child processes of a process. Linux only."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(place)
        if fields and int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(place.parent.name))
    return found


def cpu_ticks(pid: int) -> int:
    """CPU time that a process has used, in clock ticks (10 ms). Linux only."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return int(fields[11]) + int(fields[12]) if fields else 0


def _stat(place: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process has ended."""
    try:
        return place.read_text().rpartition(")")[2].split()
    except OSError:
        return []
