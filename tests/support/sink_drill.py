"""Kills a process that writes to a sink, before every change of its root in turn and at random moments; then looks.

    python tests/support/sink_drill.py SINK SITE ROOT EVERY KILLS

Prints one JSON object: how many kills there were, how many kinds of changes they met, and what was wrong afterwards.
"""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system.locks import writing
from tests.stress import launch
from tests.support.sinking import class_of, shown, table_of
from tests.unit.storage.test_parquet_table import JOB, failed, record

NAME, SITE, TOP = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
KIND = class_of(NAME, SITE)


def table(root: Path) -> JobTable:
    return table_of(root, JOB, NAME, KIND)


def night(root: Path) -> None:
    """What happens to a sink: rows come, are replaced, go; pages and failures; it is made again."""
    store, at_work = RecordStore(root), table(root)
    for number in range(3):
        at_work.add(store.commit([record(number)]))
        at_work.add(store.commit([failed(number + 10)]))
        at_work.add(store.commit([record(number + 20, page=page) for page in (1, 2)]))
        at_work.flush()
        at_work.add(store.commit([record(number + 20)]))
        forgotten = record(number).document.id
        with writing(root, JOB.name):
            store.delete(JOB, forgotten)
            at_work.update_rows(forgotten)
        at_work.flush()
    at_work.rebuild()


def in_a_child(work: Callable[[], None], kill_after_s: float | None = None) -> int:
    """Its exit code, or the negative number of the signal that ended it."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)  # any moment is as good as any other: nothing is expected of this one
        os.kill(pid, 9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def afterwards(root: Path) -> None:
    """What the next run does. Fails where the sink is then not what the records say."""
    mended = table(root)
    mended.repair()
    verdict = mended.verify()[NAME]
    assert verdict.sound, verdict
    said = [each for _, day in RecordStore(root).days(JOB) for each in day]
    rows = sorted(((each.document.id, each.page, each.status, each.document.name) for each in said), key=str)
    assert shown(root, JOB.name, NAME) == rows, (shown(root, JOB.name, NAME), rows)
    assert mended.repair() == []


def drill(number: int, work: Callable[[Path], None], kill_after_s: float | None = None) -> tuple[int, str | None]:
    """The exit code of the work, and what was wrong afterwards."""
    root = TOP / f"root{number}"
    root.mkdir()
    code = in_a_child(lambda: work(root), kill_after_s)
    ended = in_a_child(lambda: afterwards(root))
    shutil.rmtree(root)
    return code, None if ended == 0 else f"kill {number}: the next run ended with {ended}"


def main() -> None:
    every, kills = int(sys.argv[4]), int(sys.argv[5])
    told, kinds, faults, killed = TOP / "told.txt", set[str](), list[str](), 0
    begun = time.monotonic()
    code, fault = drill(0, night)
    took_s = time.monotonic() - begun
    faults += [f"the night that was left alone ended with {code}"] * (code != 0) + [fault] * (fault is not None)
    number = 1
    while True:

        def cut(root: Path, at: int = number) -> None:
            launch.die_at(at, root, told)()
            night(root)

        code, fault = drill(number, cut)
        if code == 0:
            break
        killed += code == -9
        kinds.add(told.read_text())
        faults += [fault] if fault else []
        number += every
    chance = random.Random(0)
    for each in range(kills):
        code, fault = drill(10_000 + each, night, chance.uniform(0, took_s))
        killed += code == -9
        faults += [fault] if fault else []
    sys.stdout.write(json.dumps({"killed": killed, "kinds": sorted(kinds), "faults": faults}) + "\n")


if __name__ == "__main__":
    main()
