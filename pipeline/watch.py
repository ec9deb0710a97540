"""Drain, then wait until there is something to drain. Events are hints that make it quick; the rescan is the truth."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from pipeline.account import Account
from pipeline.mill import Mill

TICK_S = 0.5  # how soon a stop is noticed while nothing happens


class _Hint(FileSystemEventHandler):
    def __init__(self, bell: threading.Event) -> None:
        self._bell = bell

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._bell.set()


def watch(
    mill: Mill,
    folder: Path,
    stop: Callable[[], bool],
    poll: bool,
    rescan_s: float,
    idle_s: float | None = None,
    end_s: float | None = None,
) -> Iterator[Account]:
    """Batches as long as `stop` is false; yields the account of each that took anything.

    `poll` looks at the folder instead of asking the kernel, for network shares that tell nothing. After `idle_s`
    seconds without a batch the engine is put to rest, after `end_s` the watch ends. Raises what a batch raises.
    """
    bell = threading.Event()
    observer = PollingObserver(timeout=rescan_s) if poll else Observer()
    observer.schedule(_Hint(bell), str(folder), recursive=True)
    observer.start()
    worked = tried = time.monotonic()
    resting, left = False, 0
    try:
        while not stop():
            rang = bell.is_set()
            bell.clear()
            waiting = mill.waiting()
            # What could not be taken, and has not changed, is not worth waking the engine at every look.
            known = resting and not rang and waiting == left and time.monotonic() - tried < (idle_s or 0.0)
            if waiting and not known:
                account = mill.batch(stop=stop)
                tried, resting, left = time.monotonic(), False, mill.waiting()
                if account.summary()["taken"]:
                    worked = tried
                    yield account
            waited = 0.0
            while not stop() and waited < rescan_s and not bell.wait(TICK_S):
                waited += TICK_S
                idle = time.monotonic() - worked
                if end_s is not None and idle >= end_s:
                    return
                if idle_s is not None and not resting and idle >= idle_s:
                    mill.rest()
                    resting = True
    finally:
        observer.stop()
        observer.join()
