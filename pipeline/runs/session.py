"""A root opened for work: one lock, one engine, one pool of decoders, and as many batches as are wanted."""

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
from pipeline.storage.corrections import repair
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from pipeline.system import filesystem
from pipeline.system.gpu_monitor import GpuMonitor
from pipeline.system.locks import RootLock, run_name
from pipeline.system.process_pool import ProcessPool

TRIES = 3  # to make a table whole while another machine writes it too
SPARED_S = 3600.0  # on a share, temporary files younger than this may belong to a run on another machine


def open_session(root: Path, jobs: Sequence[Job], patience: Callable[[str], bool] = lambda busy: False) -> RootLock:
    """The lock for a run that begins now. Raises ConfigError where the root has no inbox, StorageError."""
    with filesystem.storing(root / "inbox"):
        there = (root / "inbox").is_dir()
    if not there:
        boxes = " ".join(str(root / "inbox" / box) for box in sorted({job.inbox for job in jobs}))
        raise ConfigError([Fault(str(root), None, "inbox", f"there is no such folder; make it with: mkdir -p {boxes}")])
    return RootLock(root, run_name(datetime.now()), patience)


class Session:
    """Use as a context. Raises ConfigError (no inbox), BusyError (another run holds the root), StorageError.

    `lock` is given where the root was taken before the engine was loaded; it is then the giver's to release.
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
        self._settings, self._jobs, self._engine, self._held = settings, jobs, engine, lock
        self._engine_line, self._listener = engine_line, listener
        self._boxes, self._waits = jobs_by_inbox(engine, jobs)
        self._store = RecordStore(settings.root)
        self._stuck: set[str] = set()  # what the last account says could not be taken
        self._repaired: list[str] = []  # what the next account is to say of the runs before, and of their tables

    def __enter__(self) -> Self:
        settings, root = self._settings, self._settings.root
        with ExitStack() as stack:  # what was opened is closed again where the rest of the way fails
            self._lock = self._held or stack.enter_context(open_session(root, self._jobs))
            run = self._lock.run
            asking = {job.inbox for job in self._jobs if job.questions}
            self._inbox = Inbox(root, run, settings.settle_s, asking=asking, check=self._lock.check)
            stack.callback(self._inbox.close)
            filesystem.sweep(root, 0.0 if self._lock.alone else SPARED_S)
            self._inbox.make(sorted({job.inbox for job in self._jobs}))
            self._recover()
            self._listener = self._told(run, stack)
            self._pool = stack.enter_context(decoders(settings))
            self._drawings = _drawings(settings)
            stack.callback(self._drawings.close)
            self._open = stack.pop_all()
        for line in self._left():
            self._listener.note(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _told(self, run: str, stack: ExitStack) -> Listener:
        """The caller's listener, and those that tell other processes."""
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
            self._repaired += table.ensure()
        boxes: dict[str, list[Job]] = {}
        for job in self._jobs:
            boxes.setdefault(job.inbox, []).append(job)
        committer = Committer(self._inbox, self._store, self._tables, self._lock.check)
        finished, returned = committer.recover(boxes, self._lock.alive)
        if finished or returned:
            told = f"{finished} finished, {returned} given back to the inbox"
            self._repaired.append(f"a run before this one was cut off: {told}")
        for line in self._repaired:
            self._listener.note(line)
        if not self._lock.alone:
            self._agree()

    def _agree(self) -> None:
        """Where no lock keeps machines apart, one may have overwritten the rows of another: then from the records.

        Whoever writes a table looks afterwards, so that the last one to write it sees all that is missing.
        """
        for table in self._tables.values():
            for _ in range(TRIES):
                if not table.ensure():
                    break

    def _left(self) -> list[str]:
        """What this engine leaves in the inbox, in one line."""
        return waiting_lines(self._jobs, self._waits, self._inbox.boxes.waiting(self._waits))

    def waiting(self) -> int:
        """How many files lie in the inboxes that this engine can answer."""
        return sum(self._inbox.boxes.waiting(list(self._boxes)).values())

    def rest(self) -> None:
        """Free what the engine holds, until there is something to ask it."""
        self._engine.close()
        self._listener.note("nothing to do: the engine is unloaded, until something is dropped")

    def batch(self, limit: int | None = None, stop: Callable[[], bool] = lambda: False) -> RunReport:
        """Drains the inbox once. Writes the account under runs/ when anything was taken, newly could not be, or was
        left by a run that was cut off.

        Raises ModelError when the engine gave up; the account is written then too. Raises StorageError.
        """
        jobs = tuple(job.name for jobs in self._boxes.values() for job in jobs)
        run_report = RunReport(self._engine_line, jobs, self._engine.name)
        run_report.left = self._left()
        run_report.notes.extend([*self._repaired, *run_report.left])
        committer = Committer(self._inbox, self._store, self._tables, self._lock.check)
        pages = PageLoader(self._pool, self._settings.limits, self._settings.passwords)
        context = RunContext(self._engine, self._inbox, committer, pages, self._drawings, self._listener)
        batch = BatchRun(context, self._boxes, run_report, limit, stop)
        heard = _ToAccount(run_report)
        logging.getLogger("scanmill").addHandler(heard)
        try:
            with GpuMonitor(lambda second, share: run_report.load.append((second, share))):
                batch.drain()
        except ModelError as error:
            run_report.notes.insert(0, f"The run ended before its time: {error}")  # before all that led to it
            self._settle(run_report)
            raise
        finally:
            logging.getLogger("scanmill").removeHandler(heard)
        self._settle(run_report)
        return run_report

    def _settle(self, run_report: RunReport) -> None:
        if not self._lock.exclusive:
            self._agree()
        stuck = self._inbox.boxes.stuck
        run_report.stuck.extend(stuck.values())
        run_report.finish()
        if run_report.summary()["taken"] or stuck.keys() - self._stuck or self._repaired:
            html_report.write(run_report, self._settings.root)
        self._stuck, self._repaired = set(stuck), []
        self._listener.ended(run_report)


class _ToAccount(logging.Handler):
    """What an engine warns of (that it had to be started again, and why) is read in the morning too."""

    def __init__(self, run_report: RunReport) -> None:
        super().__init__(logging.WARNING)
        self._account = run_report

    def emit(self, record: logging.LogRecord) -> None:
        self._account.notes.append(record.getMessage())


def _drawings(settings: Settings) -> PageAnnotator:
    """One process for eight decoders: boxes are drawn while the engine looks at the next pages."""
    limits = settings.limits
    bounds = Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords))
    size = max(1, (settings.workers or os.cpu_count() or 1) // 8)
    return PageAnnotator(settings.root, size, limits.seconds, limits.memory_mib, bounds, limits.document_seconds)


def decoders(settings: Settings) -> ProcessPool:
    """The guarded processes that decode, one a core unless the config says otherwise.

    Raises ConfigError where an installed package brings a format that cannot be used.
    """
    FORMATS.all()
    size = settings.workers or os.cpu_count() or 1
    return ProcessPool(size, seconds=settings.limits.seconds, memory_mib=settings.limits.memory_mib, start=warm_up)
