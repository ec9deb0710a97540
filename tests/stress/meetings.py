"""Two runs on one root, two machines on one share, and a run that is asked to stop.

    python tests/stress/meetings.py [TRIAL]…

two_runs      the second ends with exit code 75 and says who is at work and since when; the lock of a dead run is free
two_machines  on a share that knows no locks (simulated: no flock, two host names), started together: each document is
              answered once, and the tables hold every row
stop          SIGTERM, SIGINT and --until: what is with the engine is finished, the rest goes back, the account adds up
"""

import errno
import fcntl
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.stress import launch
from tests.stress.night import Night, copied, lay_out, waiting
from tests.stress.outcome import contents, differences, outcome, unsettled
from tests.stress.verdict import Trial, chosen, exit_code, held

BUSY, INTERRUPTED = 75, 130
DOCUMENTS = 120
Found = tuple[str, list[str]]


def _ready(night: Night, records: int) -> None:
    """Returns once so many records of the job `note` are written."""
    place = night.root / "records" / "note"
    until = time.monotonic() + 60
    while not (place.is_dir() and len(os.listdir(place)) >= records) and time.monotonic() < until:
        time.sleep(0.001)


def _accounts(night: Night) -> list[dict[str, int]]:
    return [json.loads(path.read_bytes())["counts"] for path in sorted((night.root / "runs").glob("*.json"))]


def two_runs(place: Path) -> Found:
    night = lay_out(place / "two_runs", DOCUMENTS)
    dropped = contents(night.root / "inbox")
    first = launch.start(night.words, place / "first.txt")
    _ready(night, 3)
    second = launch.start(night.words, place / "second.txt")
    code = second.wait()
    said = second.said.read_text().strip().splitlines()[-1]
    faults = [] if code == BUSY else [f"exit code {code} instead of {BUSY}"]
    if not re.search(rf"process {first.pid} on \S+, since {datetime.now():%Y-%m-%d}T", said):
        faults.append(f"who holds it is not said: {said}")
    launch.kill(first)
    third = launch.start(night.words, place / "third.txt")
    if third.wait() not in (0, 1):
        faults.append(f"the lock of a dead run was not taken over: {third.said.read_text()}")
    return said[said.find("is being") :], faults + unsettled(night.root, dropped)


def _machine(name: str) -> None:
    """For `start(before=…)`: a machine of that name, on a share that knows no locks."""

    def refuse(handle: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    fcntl.flock = refuse
    socket.gethostname = lambda: name
    import pipeline.system.locks

    pipeline.system.locks.MOUNTS = Path("/nowhere")  # the system does not say what kind of disk it is


def two_machines(place: Path) -> Found:
    alone = lay_out(place / "alone", DOCUMENTS)
    for twin in (alone.root / "inbox").rglob("twin*"):  # which of two is the duplicate is chance here
        twin.unlink()
    dropped = contents(alone.root / "inbox")
    night = copied(alone, place / "two_machines")
    launch.start(alone.words, place / "alone.txt").wait()
    runs = [launch.start(night.words, place / f"{name}.txt", partial(_machine, name)) for name in ("ash", "birch")]
    codes = [run.wait() for run in runs]
    faults = [f"exit code {code}: {run.said.read_text()}" for code, run in zip(codes, runs, strict=True) if code > 1]
    run_reports = _accounts(night)
    taken = Counter[str]()
    for path in (night.root / "runs").glob("*.json"):
        taken.update(f"{each['inbox']}/{each['name']}" for each in json.loads(path.read_bytes())["documents"])
    faults += [f"{name} was taken {count} times" for name, count in taken.items() if count > 1]
    faults += unsettled(night.root, dropped) + differences(outcome(alone.root), outcome(night.root))
    if len(run_reports) != 2:
        faults.append(f"{len(run_reports)} accounts of two runs")
    return " and ".join(f"{counts['taken']} documents" for counts in run_reports), faults


def stop(place: Path, number: signal.Signals) -> Found:
    night = lay_out(place / number.name, DOCUMENTS)
    dropped = contents(night.root / "inbox")
    run = launch.start(night.words, place / f"{number.name}.txt")
    _ready(night, 10)
    os.kill(run.pid, number)
    code = run.wait()
    faults = [] if code == INTERRUPTED else [f"exit code {code}: {run.said.read_text()}"]
    return _stopped(night, dropped, faults, place)


def until(place: Path) -> Found:
    """The clock leaps past the hour once some records lie there, so that nobody has to wait for it."""
    night = lay_out(place / "until", DOCUMENTS)
    dropped = contents(night.root / "inbox")
    hour = datetime.now() + timedelta(hours=6)
    words = ["run", *night.words, "--until", f"{hour:%H:%M}"]
    leap = partial(launch.jump_clock, night.root / "records" / "note", 6 * 3600.0 + 60)
    code = (run := launch.start(words, place / "until.txt", leap)).wait()
    return _stopped(night, dropped, [] if code in (0, 1) else [f"exit code {code}: {run.said.read_text()}"], place)


def _stopped(night: Night, dropped: Counter[str], faults: list[str], place: Path) -> Found:
    """What the account says of a run that was stopped, and whether the next one ends the work."""
    run_reports = _accounts(night)
    if len(run_reports) != 1:
        return "no account", [*faults, f"{len(run_reports)} accounts were written"]
    counts = run_reports[0]
    ended = sum(counts[word] for word in ("done", "failed", "duplicate", "given_back"))
    left = waiting(night.root / "inbox")
    if counts["taken"] != ended:
        faults.append(f"the account does not add up: {counts}")
    if not left:
        faults.append("nothing was left in the inbox: it did not stop")
    if left != DOCUMENTS - ended + counts["given_back"]:
        faults.append(f"{left} documents wait, but the account says {counts}")
    if list((night.root / "working").rglob("*")):
        faults.append("something was left in working/")
    again = launch.start(night.words, place / "again.txt")
    if again.wait() not in (0, 1):
        faults.append(f"the next run failed: {again.said.read_text()}")
    said = f"{ended - counts['given_back']} ended, {counts['given_back']} given back, {left} wait"
    return said, faults + unsettled(night.root, dropped)


def main() -> None:
    launch.load()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        trials: list[Trial] = [
            ("two_runs", partial(two_runs, place)),
            ("two_machines", partial(two_machines, place)),
            ("stop SIGTERM", partial(stop, place, signal.SIGTERM)),
            ("stop SIGINT", partial(stop, place, signal.SIGINT)),
            ("stop --until", partial(until, place)),
        ]
        raise SystemExit(exit_code(held(chosen(__doc__, trials))))


if __name__ == "__main__":
    main()
