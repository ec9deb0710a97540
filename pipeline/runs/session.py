"""A session on one root: its lock, engine and decoders, kept open for any number of batches."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.core.errors import ConfigError, Fault, ModelError
from pipeline.engine import Engine
from pipeline.inbox.file_queue import Inbox
from pipeline.plugins.formats import FORMATS
from pipeline.preprocessing.annotate import PageAnnotator
from pipeline.preprocessing.document_reader import Bounds
from pipeline.preprocessing.page_loader import PageLoader, warm_up
from pipeline.reporting import html_report
from pipeline.reporting.events import EventFanout, Listener
from pipeline.reporting.live_status import LiveStatus
from pipeline.reporting.metrics import Metrics
from pipeline.reporting.run_report import RunReport
from pipeline.runs.batch import BatchRun, RunContext
from pipeline.runs.commit import Committer
from pipeline.runs.job_selection import jobs_by_inbox, waiting_lines
from pipeline.schema.job import Job
from pipeline.schema.settings import Settings
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.storage.save_marker import repair
from pipeline.system import filesystem
from pipeline.system.gpu_monitor import GpuMonitor
from pipeline.system.locks import RootLock, run_name
from pipeline.system.process_pool import ProcessPool

REBUILD_TRIES = 3  # of a table that another machine writes at the same time
MIN_SCRATCH_AGE_S = 3600.0  # on a network share, younger temporary files may belong to a run on another machine


def open_session(root: Path, jobs: Sequence[Job], patience: Callable[[str], bool] = lambda busy: False) -> RootLock:
    """The lock for a run that starts now. Raises ConfigError if the root has no inbox, and StorageError."""
    with filesystem.storing(root / "inbox"):
        exists = (root / "inbox").is_dir()
    if not exists:
        boxes = " ".join(str(root / "inbox" / box) for box in sorted({job.inbox for job in jobs}))
        raise ConfigError([Fault(str(root), None, "inbox", f"there is no such folder; make it with: mkdir -p {boxes}")])
    return RootLock(root, run_name(datetime.now()), patience)


class Session:
    """Use as a context manager. Raises ConfigError (no inbox), BusyError (another run holds the root), StorageError.

    A `lock` that was acquired by the caller is released by the caller.
    """

    def __init__(
        self,
        settings: Settings,
        jobs: Sequence[Job],
        engine: Engine,
        engine_line: str,
        listener: Listener,
        lock: RootLock | None = None,
    ) -> None:
        self._settings, self._jobs, self._engine, self._given_lock = settings, jobs, engine, lock
        self._engine_line, self._listener = engine_line, listener
        self._boxes, self._unsupported = jobs_by_inbox(engine, jobs)
        self._store = RecordStore(settings.root)
        self._stuck: set[str] = set()  # files that could not be claimed, as of the last report
        self._repairs: list[str] = []  # notes for the next report about earlier runs and their tables

    def __enter__(self) -> Self:
        settings, root = self._settings, self._settings.root
        with ExitStack() as stack:  # closes what was opened if a later step fails
            self._lock = self._given_lock or stack.enter_context(open_session(root, self._jobs))
            run = self._lock.run
            asking = {job.inbox for job in self._jobs if job.questions}
            self._inbox = Inbox(root, run, settings.settle_s, asking=asking, check=self._lock.check)
            stack.callback(self._inbox.close)
            filesystem.sweep(root, 0.0 if self._lock.alone else MIN_SCRATCH_AGE_S)
            self._inbox.make(sorted({job.inbox for job in self._jobs}))
            self._recover()
            self._listener = self._listeners(run, stack)
            self._pool = stack.enter_context(decoders(settings))
            self._drawings = _annotator(settings)
            stack.callback(self._drawings.close)
            self._open = stack.pop_all()
        for line in self._waiting_lines():
            self._listener.note(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _listeners(self, run: str, stack: ExitStack) -> Listener:
        """The caller's listener, the live status and the metrics, as one."""
        live = LiveStatus(self._settings.root, run, self._engine.name, self._boxes)
        stack.callback(live.close)
        if self._settings.metrics is None:
            return EventFanout(self._listener, live)
        waiting = partial(self._inbox.boxes.waiting, sorted({job.inbox for job in self._jobs}))
        return EventFanout(self._listener, live, Metrics(self._settings.metrics, waiting))

    def _recover(self) -> None:
        root, sinks = self._settings.root, self._settings.sinks
        self._tables = {job.name: JobTable(root, job, len(self._jobs), sinks=sinks) for job in self._jobs}
        for table in self._tables.values():
            repair(root, table.job, sinks)
            self._repairs += table.repair()
        boxes: dict[str, list[Job]] = {}
        for job in self._jobs:
            boxes.setdefault(job.inbox, []).append(job)
        committer = Committer(self._inbox, self._store, self._tables, self._lock.check)
        finished, returned = committer.recover(boxes, self._lock.alive)
        if finished or returned:
            counts = f"{finished} finished, {returned} given back to the inbox"
            self._repairs.append(f"a run before this one was cut off: {counts}")
        for line in self._repairs:
            self._listener.note(line)
        if not self._lock.alone:
            self._rebuild_tables()

    def _rebuild_tables(self) -> None:
        """Rebuild tables that lack rows: where no lock is shared, another machine may have overwritten them.

        Every machine checks after it wrote a table, so that the last one finds all missing rows.
        """
        for table in self._tables.values():
            for _ in range(REBUILD_TRIES):
                if not table.repair():
                    break

    def _waiting_lines(self) -> list[str]:
        """One line about documents that this engine cannot process; empty if there are none."""
        return waiting_lines(self._jobs, self._unsupported, self._inbox.boxes.waiting(self._unsupported))

    def waiting(self) -> int:
        """The number of files in the inboxes that this engine can process."""
        return sum(self._inbox.boxes.waiting(list(self._boxes)).values())

    def unload_engine(self) -> None:
        """Unload the engine until the next request."""
        self._engine.close()
        self._listener.note("nothing to do: the engine is unloaded, until something is dropped")

    def batch(self, limit: int | None = None, stop: Callable[[], bool] = lambda: False) -> RunReport:
        """Processes the inbox once. Writes a run report below runs/ if a document was claimed, one could newly not be
        claimed, or an earlier run was recovered.

        Raises ModelError if the engine failed; the report is written then too. Raises StorageError.
        """
        jobs = tuple(job.name for jobs in self._boxes.values() for job in jobs)
        run_report = RunReport(self._engine_line, jobs, self._engine.name)
        run_report.left = self._waiting_lines()
        run_report.notes.extend([*self._repairs, *run_report.left])
        committer = Committer(self._inbox, self._store, self._tables, self._lock.check)
        pages = PageLoader(self._pool, self._settings.limits, self._settings.passwords)
        context = RunContext(self._engine, self._inbox, committer, pages, self._drawings, self._listener)
        batch = BatchRun(context, self._boxes, run_report, limit, stop)
        warnings = _ReportWarnings(run_report)
        logging.getLogger("scanmill").addHandler(warnings)
        try:
            with GpuMonitor(lambda second, share: run_report.load.append((second, share))):
                batch.drain()
        except ModelError as error:
            run_report.notes.insert(0, f"The run ended before its time: {error}")  # before the warnings that led to it
            self._finish_report(run_report)
            raise
        finally:
            logging.getLogger("scanmill").removeHandler(warnings)
        self._finish_report(run_report)
        return run_report

    def _finish_report(self, run_report: RunReport) -> None:
        if not self._lock.exclusive:
            self._rebuild_tables()
        stuck = self._inbox.boxes.stuck
        run_report.stuck.extend(stuck.values())
        run_report.finish()
        if run_report.summary()["taken"] or stuck.keys() - self._stuck or self._repairs:
            html_report.write(run_report, self._settings.root)
        self._stuck, self._repairs = set(stuck), []
        self._listener.ended(run_report)


class _ReportWarnings(logging.Handler):
    """Copies warnings, such as restarts of the engine, into the run report."""

    def __init__(self, run_report: RunReport) -> None:
        super().__init__(logging.WARNING)
        self._run_report = run_report

    def emit(self, record: logging.LogRecord) -> None:
        self._run_report.notes.append(record.getMessage())


def _annotator(settings: Settings) -> PageAnnotator:
    """The pool that draws boxes into pages, with one process for eight decoders."""
    limits = settings.limits
    bounds = Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords))
    size = max(1, (settings.workers or os.cpu_count() or 1) // 8)
    return PageAnnotator(settings.root, size, limits.seconds, limits.memory_mib, bounds, limits.document_seconds)


def decoders(settings: Settings) -> ProcessPool:
    """The guarded processes that decode pages; as many as cores unless the config sets `workers`.

    Raises ConfigError if an installed package provides a format that cannot be used.
    """
    FORMATS.all()
    size = settings.workers or os.cpu_count() or 1
    return ProcessPool(size, seconds=settings.limits.seconds, memory_mib=settings.limits.memory_mib, start=warm_up)
