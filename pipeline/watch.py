"""Drain, then wait until there is something to drain. Events are hints that make it quick; the rescan is the truth."""

import threading
from collections.abc import Callable
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


def watch(mill: Mill, folder: Path, stop: Callable[[], bool], poll: bool, rescan_s: float) -> list[Account]:
    """Batches as long as `stop` is false; the accounts of those that took anything.

    `poll` looks at the folder instead of asking the kernel, for network shares that tell nothing.
    Raises what a batch raises.
    """
    bell = threading.Event()
    observer = PollingObserver(timeout=rescan_s) if poll else Observer()
    observer.schedule(_Hint(bell), str(folder), recursive=True)
    observer.start()
    accounts = []
    try:
        while not stop():
            bell.clear()
            if mill.waiting():
                account = mill.batch(stop=stop)
                if account.summary()["taken"]:
                    accounts.append(account)
            waited = 0.0
            while not stop() and waited < rescan_s and not bell.wait(TICK_S):
                waited += TICK_S
    finally:
        observer.stop()
        observer.join()
    return accounts
