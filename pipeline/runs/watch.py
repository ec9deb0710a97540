"""Watch the inbox and run a batch whenever there are files. Regular rescans catch what notifications miss."""

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

STOP_POLL_S = 0.5  # how often `stop` is checked while idle

log = logging.getLogger("scanmill")


class _OnChange(FileSystemEventHandler):
    def __init__(self, changed: threading.Event) -> None:
        self._changed = changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._changed.set()


def watch(
    session: Session,
    folder: Path,
    stop: Callable[[], bool],
    poll: bool,
    rescan_s: float,
    idle_s: float | None = None,
    end_s: float | None = None,
) -> Iterator[RunReport]:
    """Runs batches until `stop` is true; yields the report of each batch that wrote one.

    With `poll` the folder is scanned every `rescan_s` seconds instead of relying on the kernel's notifications, which
    network shares do not send. The engine is unloaded after `idle_s` seconds without a batch; the watch ends after
    `end_s`. Raises what a batch raises.
    """
    changed = threading.Event()
    observer = _polling(folder, changed, rescan_s) if poll else _notified(folder, changed, rescan_s)
    last_work = last_batch = time.monotonic()
    unloaded, left = False, 0
    try:
        while not stop():
            notified = changed.is_set()
            changed.clear()
            waiting = session.waiting()
            # Files that could not be claimed and have not changed do not reload the engine at every scan.
            unchanged = (
                unloaded and not notified and waiting == left and time.monotonic() - last_batch < (idle_s or 0.0)
            )
            if waiting and not unchanged:
                run_report = session.batch(stop=stop)
                last_batch, unloaded, left = time.monotonic(), False, session.waiting()
                if run_report.summary()["taken"]:
                    last_work = last_batch
                if run_report.written:
                    yield run_report
            waited = 0.0
            while not stop() and waited < rescan_s and not changed.wait(STOP_POLL_S):
                waited += STOP_POLL_S
                idle = time.monotonic() - last_work
                if end_s is not None and idle >= end_s:
                    return
                if idle_s is not None and not unloaded and idle >= idle_s:
                    session.unload_engine()
                    unloaded = True
    finally:
        observer.stop()
        observer.join()


def _notified(folder: Path, changed: threading.Event, rescan_s: float) -> BaseObserver:
    """An observer on the kernel's notifications; if there are none, one that scans the folder every `rescan_s`."""
    try:
        return _started(Observer(), folder, changed)
    except OSError as error:
        log.warning(
            "The system does not report new files (%s). The inbox is scanned every %g s instead. "
            "To react at once, raise fs.inotify.max_user_instances and max_user_watches (sysctl).",
            error.strerror or error,
            rescan_s,
        )
        return _polling(folder, changed, rescan_s)


def _polling(folder: Path, changed: threading.Event, rescan_s: float) -> BaseObserver:
    return _started(PollingObserver(timeout=rescan_s), folder, changed)


def _started(observer: BaseObserver, folder: Path, changed: threading.Event) -> BaseObserver:
    observer.schedule(_OnChange(changed), str(folder), recursive=True)
    observer.start()
    return observer
