"""Drain, then wait until there is something to drain. Events are hints that make it quick; the rescan is the truth."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from pipeline.reporting.run_report import RunReport
from pipeline.runs.session import Session

TICK_S = 0.5  # how soon a stop is noticed while nothing happens


log = logging.getLogger("scanmill")


class _Hint(FileSystemEventHandler):
    def __init__(self, bell: threading.Event) -> None:
        self._bell = bell

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._bell.set()


def watch(
    session: Session,
    folder: Path,
    stop: Callable[[], bool],
    poll: bool,
    rescan_s: float,
    idle_s: float | None = None,
    end_s: float | None = None,
) -> Iterator[RunReport]:
    """Batches as long as `stop` is false; yields the account of each that has something to tell.

    `poll` looks at the folder instead of asking the kernel, for network shares that tell nothing. After `idle_s`
    seconds without a batch the engine is put to rest, after `end_s` the watch ends. Raises what a batch raises.
    """
    bell = threading.Event()
    observer = _started(PollingObserver(timeout=rescan_s), folder, bell) if poll else _told(folder, bell, rescan_s)
    worked = tried = time.monotonic()
    resting, left = False, 0
    try:
        while not stop():
            rang = bell.is_set()
            bell.clear()
            waiting = session.waiting()
            # What could not be taken, and has not changed, is not worth waking the engine at every look.
            known = resting and not rang and waiting == left and time.monotonic() - tried < (idle_s or 0.0)
            if waiting and not known:
                run_report = session.batch(stop=stop)
                tried, resting, left = time.monotonic(), False, session.waiting()
                if run_report.summary()["taken"]:
                    worked = tried
                if run_report.written:
                    yield run_report
            waited = 0.0
            while not stop() and waited < rescan_s and not bell.wait(TICK_S):
                waited += TICK_S
                idle = time.monotonic() - worked
                if end_s is not None and idle >= end_s:
                    return
                if idle_s is not None and not resting and idle >= idle_s:
                    session.rest()
                    resting = True
    finally:
        observer.stop()
        observer.join()


def _told(folder: Path, bell: threading.Event, rescan_s: float) -> BaseObserver:
    """The kernel's notices; where it gives none, a look at the folder every `rescan_s`."""
    try:
        return _started(Observer(), folder, bell)
    except OSError as error:
        log.warning(
            "The system gives no notice of new files (%s): they are looked for every %g s. "
            "To have them at once, raise fs.inotify.max_user_instances and max_user_watches (sysctl).",
            error.strerror or error,
            rescan_s,
        )
        return _started(PollingObserver(timeout=rescan_s), folder, bell)


def _started(observer: BaseObserver, folder: Path, bell: threading.Event) -> BaseObserver:
    observer.schedule(_Hint(bell), str(folder), recursive=True)
    observer.start()
    return observer
