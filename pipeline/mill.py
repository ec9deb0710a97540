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

from pipeline import disk, report
from pipeline.account import Account
from pipeline.corrections import mend
from pipeline.documents import Bounds
from pipeline.drawing import Drawings
from pipeline.errors import ConfigError, Fault, ModelError
from pipeline.formats import FORMATS
from pipeline.gpuload import GpuLoad
from pipeline.inbox import Inbox
from pipeline.job import Job
from pipeline.ledger import Ledger
from pipeline.listeners import All, Listener
from pipeline.live import Live
from pipeline.lock import RootLock, run_name
from pipeline.metrics import Metrics
from pipeline.pages import Pages, warm_up
from pipeline.run import Batch, RunContext, by_inbox, left
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.table import Table
from pipeline.types import Engine
from pipeline.workers import Pool

TRIES = 3  # to make a table whole while another machine writes it too
SPARED_S = 3600.0  # on a share, temporary files younger than this may belong to a run on another machine


def hold(root: Path, jobs: Sequence[Job], patience: Callable[[str], bool] = lambda busy: False) -> RootLock:
    """The lock for a run that begins now. Raises ConfigError where the root has no inbox, StorageError."""
    with disk.storing(root / "inbox"):
        there = (root / "inbox").is_dir()
    if not there:
        boxes = " ".join(str(root / "inbox" / box) for box in sorted({job.inbox for job in jobs}))
        raise ConfigError([Fault(str(root), None, "inbox", f"there is no such folder; make it with: mkdir -p {boxes}")])
    return RootLock(root, run_name(datetime.now()), patience)


class Mill:
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
        self._boxes, self._waits = by_inbox(engine, jobs)
        self._store = Store(settings.root)
        self._stuck: set[str] = set()  # what the last account says could not be taken
        self._repaired: list[str] = []  # what the next account is to say of the runs before, and of their tables

    def __enter__(self) -> Self:
        settings, root = self._settings, self._settings.root
        with ExitStack() as stack:  # what was opened is closed again where the rest of the way fails
            self._lock = self._held or stack.enter_context(hold(root, self._jobs))
            run = self._lock.run
            asking = {job.inbox for job in self._jobs if job.questions}
            self._inbox = Inbox(root, run, settings.settle_s, asking=asking, check=self._lock.check)
            stack.callback(self._inbox.close)
            disk.sweep(root, 0.0 if self._lock.alone else SPARED_S)
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
        live = Live(self._settings.root, run, self._engine.name, self._boxes)
        stack.callback(live.close)
        if self._settings.metrics is None:
            return All(self._listener, live)
        waiting = partial(self._inbox.boxes.waiting, sorted({job.inbox for job in self._jobs}))
        return All(self._listener, live, Metrics(self._settings.metrics, waiting))

    def _recover(self) -> None:
        root, sinks = self._settings.root, self._settings.sinks
        self._tables = {job.name: Table(root, job, len(self._jobs), sinks=sinks) for job in self._jobs}
        for table in self._tables.values():
            mend(root, table.job, sinks)
            self._repaired += table.ensure()
        boxes: dict[str, list[Job]] = {}
        for job in self._jobs:
            boxes.setdefault(job.inbox, []).append(job)
        ledger = Ledger(self._inbox, self._store, self._tables, self._lock.check)
        finished, returned = ledger.recover(boxes, self._lock.alive)
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
        return left(self._jobs, self._waits, self._inbox.boxes.waiting(self._waits))

    def waiting(self) -> int:
        """How many files lie in the inboxes that this engine can answer."""
        return sum(self._inbox.boxes.waiting(list(self._boxes)).values())

    def rest(self) -> None:
        """Free what the engine holds, until there is something to ask it."""
        self._engine.close()
        self._listener.note("nothing to do: the engine is unloaded, until something is dropped")

    def batch(self, limit: int | None = None, stop: Callable[[], bool] = lambda: False) -> Account:
        """Drains the inbox once. Writes the account under runs/ when anything was taken, newly could not be, or was
        left by a run that was cut off.

        Raises ModelError when the engine gave up; the account is written then too. Raises StorageError.
        """
        jobs = tuple(job.name for jobs in self._boxes.values() for job in jobs)
        account = Account(self._engine_line, jobs, self._engine.name)
        account.left = self._left()
        account.notes.extend([*self._repaired, *account.left])
        ledger = Ledger(self._inbox, self._store, self._tables, self._lock.check)
        pages = Pages(self._pool, self._settings.limits, self._settings.passwords)
        context = RunContext(self._engine, self._inbox, ledger, pages, self._drawings, self._listener)
        batch = Batch(context, self._boxes, account, limit, stop)
        heard = _ToAccount(account)
        logging.getLogger("scanmill").addHandler(heard)
        try:
            with GpuLoad(lambda second, share: account.load.append((second, share))):
                batch.drain()
        except ModelError as error:
            account.notes.insert(0, f"The run ended before its time: {error}")  # before all that led to it
            self._settle(account)
            raise
        finally:
            logging.getLogger("scanmill").removeHandler(heard)
        self._settle(account)
        return account

    def _settle(self, account: Account) -> None:
        if not self._lock.exclusive:
            self._agree()
        stuck = self._inbox.boxes.stuck
        account.stuck.extend(stuck.values())
        account.finish()
        if account.summary()["taken"] or stuck.keys() - self._stuck or self._repaired:
            report.write(account, self._settings.root)
        self._stuck, self._repaired = set(stuck), []
        self._listener.ended(account)


class _ToAccount(logging.Handler):
    """What an engine warns of (that it had to be started again, and why) is read in the morning too."""

    def __init__(self, account: Account) -> None:
        super().__init__(logging.WARNING)
        self._account = account

    def emit(self, record: logging.LogRecord) -> None:
        self._account.notes.append(record.getMessage())


def _drawings(settings: Settings) -> Drawings:
    """One process for eight decoders: boxes are drawn while the engine looks at the next pages."""
    limits = settings.limits
    bounds = Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords))
    size = max(1, (settings.workers or os.cpu_count() or 1) // 8)
    return Drawings(settings.root, size, limits.seconds, limits.memory_mib, bounds, limits.document_seconds)


def decoders(settings: Settings) -> Pool:
    """The guarded processes that decode, one a core unless the config says otherwise.

    Raises ConfigError where an installed package brings a format that cannot be used.
    """
    FORMATS.all()
    size = settings.workers or os.cpu_count() or 1
    return Pool(size, seconds=settings.limits.seconds, memory_mib=settings.limits.memory_mib, start=warm_up)
