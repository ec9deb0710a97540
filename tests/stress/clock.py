"""Thousands of tiny files while the clock jumps, ahead and back: nothing is lost, doubled, or waited for without end.

    python tests/stress/clock.py [--documents 5000] [TRIAL]…

run: the clock of a run jumps every few records. watch: files are dropped while a watch runs. system: a process of its
own under Debian's faketime, whose clock jumps twice a second (skipped where it is not installed). The files' own times
lie before 1970, today, tomorrow and in 2242.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from tests.stress import launch
from tests.stress.verdict import Skipped, Trial, exit_code, held

DAY_S = 86400.0
JUMPS_S = (0.0, -1.0, 90.0, -3600.0, 3600.0, DAY_S, -DAY_S, 40 * DAY_S, -400 * DAY_S, 400 * DAY_S)
EVERY = 37  # records between two jumps
JUMP_S = 0.5  # between two jumps of a clock that somebody else sets
SHARE_S, BASE_S = 0.2, 120.0  # what a document may take on a busy machine, and a run beside that
# libfaketime 0.9.10 refuses what Python's time.sleep asks the kernel for (an absolute time of the monotonic clock).
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"
Found = tuple[str, list[str]]


class Root:
    """A folder with a job, the scripted engine, and files to drop."""

    def __init__(self, place: Path, documents: int) -> None:
        self.root, self.documents = place / "root", documents
        self.inbox = self.root / "inbox" / "note"
        self.inbox.mkdir(parents=True)
        (place / "jobs").mkdir()
        (place / "jobs" / "note.yaml").write_text("preprocess: []\nfields: {number: {type: text, required: true}}\n")
        (place / "replies.json").write_text(json.dumps({"*": '{"number": "A-1"}'}))
        config = place / "machine.yaml"
        config.write_text(f"engine: echo\nweights: {place / 'replies.json'}\nsettle_s: 0.3\nrescan_s: 0.5\n")
        self.words = ["--root", str(self.root), "--config", str(config), "--jobs", str(place / "jobs")]

    def drop(self, start: int, end: int) -> None:
        """Files of different bytes, each with a time of change of its own kind; by one rename, as a program drops."""
        times = (0.0, -1e9, 1.7e9, time.time(), time.time() + DAY_S, time.time() + 400 * DAY_S, float(2**33))
        for number in range(start, end):
            new = self.inbox / f".{number}.png"
            Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, number // 65536)).save(new)
            moment = times[number % len(times)]
            os.utime(new, (moment, moment))
            new.rename(self.inbox / f"{number:05}.png")

    @property
    def patience_s(self) -> float:
        return BASE_S + SHARE_S * self.documents

    def faults(self) -> list[str]:
        """What was lost or doubled."""
        import pandas as pd

        wanted = Counter(f"{number:05}.png" for number in range(self.documents))
        ended = Counter(path.name for path in (self.root / "done").rglob("*.png"))
        table = self.root / "results" / "note"
        rows = pd.read_parquet(table) if table.is_dir() else pd.DataFrame({"source": [], "document_id": []})
        told = [json.loads(path.read_text()) for path in (self.root / "runs").glob("*.json")]
        sums = {key: sum(each["counts"][key] for each in told) for key in ("taken", "done", "failed", "duplicate")}
        counted = {
            "files in done/ that are missing or doubled": (wanted - ended) + (ended - wanted),
            "files left elsewhere": [
                path.name
                for folder in ("inbox", "working", "failed", "duplicate", ".tmp")
                for path in (self.root / folder).rglob("*")
                if path.is_file()
            ],
            "rows by file that are missing or doubled": (wanted - Counter(rows["source"]))
            + (Counter(rows["source"]) - wanted),
            "documents with more than one row": sorted(rows["document_id"][rows["document_id"].duplicated()]),
            "faults in the accounts": [fault for each in told for fault in each["faults"]],
        }
        found = [f"{what}: {list(those)[:5]} ({len(those)})" for what, those in counted.items() if those]
        if (records := len(list(self.root.glob("records/note/*.json")))) != self.documents:
            found.append(f"{records} records for {self.documents} documents")
        if sums != {"taken": self.documents, "done": self.documents, "failed": 0, "duplicate": 0}:
            found.append(f"the accounts together say {sums}")
        return found


def wandering(records: Path, seed: int = 0) -> Callable[[], float]:
    """What the clock is wrong by: it changes with the number of records, so that it jumps in the middle of the work."""
    jumps = random.Random(seed).choices(JUMPS_S, k=1000)
    seen, asked = 0, 0

    def shift_s() -> float:
        nonlocal seen, asked
        asked += 1
        if asked % 20 == 0 and records.is_dir():  # a look at the folder now and then
            seen = len(os.listdir(records)) // EVERY
        return jumps[seen % len(jumps)]

    return shift_s


def in_a_run(place: Path, documents: int) -> Found:
    root = Root(place, documents)
    root.drop(0, documents)
    began = time.monotonic()
    clock = partial(launch.shift_clock, wandering(root.root / "records" / "note"))
    code = launch.start(["run", *root.words], place / "said", clock).wait(root.patience_s)
    faults = [] if code == 0 else [f"exit code {code}: {(place / 'said').read_text()}"]
    again = launch.start(["run", *root.words], place / "again", clock).wait(root.patience_s)
    faults += [f"the next run ended with {again}"] if again else []
    return f"{documents} documents in {time.monotonic() - began:.0f} s", [*faults, *root.faults()]


def in_a_watch(place: Path, documents: int) -> Found:
    """The watch ends by itself, since it is idle: by a clock that does not jump."""
    root = Root(place, documents)
    began = time.monotonic()
    words = ["watch", *root.words, "--stop-when-idle", "0.2"]
    clock = partial(launch.shift_clock, wandering(root.root / "records" / "note", seed=1))
    run = launch.start(words, place / "said", clock)
    for start in range(0, documents, 100):
        root.drop(start, min(start + 100, documents))
        time.sleep(0.1)
    code = run.wait(root.patience_s)
    faults = [] if code == 0 else [f"exit code {code}: {(place / 'said').read_text()}"]
    return f"{documents} documents in {time.monotonic() - began:.0f} s", [*faults, *root.faults()]


def of_the_system(place: Path, documents: int) -> Found:
    """A clock that no Python code knows of: libfaketime reads from a file, again and again, what it is wrong by."""
    library = next(Path("/").glob(LIBRARY.lstrip("/")), None)
    if library is None:
        raise Skipped("needs faketime: apt install faketime")
    root, wrong = Root(place, documents), place / "wrong"
    root.drop(0, documents)
    wrong.write_text("+0")
    (place / "sitecustomize.py").write_text(SLEEP)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": str(place),
        "FAKETIME_TIMESTAMP_FILE": str(wrong),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # no kernel's monotonic clock jumps
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",  # nor do the times of files that lie there
    }
    ended, jumps = threading.Event(), random.Random(2)

    def jump() -> None:
        while not ended.wait(JUMP_S):
            new = place / "new"
            new.write_text(f"{jumps.choice(JUMPS_S):+.0f}")
            new.replace(wrong)

    program = str(Path(__file__).resolve().parents[2] / "run_batch.py")
    began, hand = time.monotonic(), threading.Thread(target=jump)
    hand.start()
    try:
        done = subprocess.run(
            [sys.executable, program, "run", *root.words],
            env=environment, capture_output=True, text=True, timeout=root.patience_s, check=False,
        )  # fmt: skip
    finally:
        ended.set()
        hand.join()
    faults = [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr}"]
    return f"{documents} documents in {time.monotonic() - began:.0f} s", [*faults, *root.faults()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trials = {"run": in_a_run, "watch": in_a_watch, "system": of_the_system}
    parser.add_argument("trial", nargs="*", metavar="TRIAL", choices=[[], *trials], help=", ".join(trials))
    parser.add_argument("--documents", type=int, default=5000, metavar="N")
    asked = parser.parse_args()
    launch.load()
    with tempfile.TemporaryDirectory() as place:
        chosen: list[Trial] = []
        for name, trial in trials.items():
            if not asked.trial or name in asked.trial:
                (Path(place) / name).mkdir()
                chosen.append((name, partial(trial, Path(place) / name, asked.documents)))
        raise SystemExit(exit_code(held(chosen)))


if __name__ == "__main__":
    main()
