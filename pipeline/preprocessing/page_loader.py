"""Pages of documents, decoded and prepared in guarded workers, a bounded number of windows at a time.

One task of a worker opens a file, decodes a window of its pages and prepares each; so only finished pages travel, and a
file that makes its decoder crash, hang or swallow memory costs one task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.geometry import Region
from pipeline.core.time_budget import Budget
from pipeline.core.types import Document, Page
from pipeline.engine import PageSpec
from pipeline.plugins.formats import FORMATS
from pipeline.preprocessing import document_reader, preprocess
from pipeline.system.pool_task import Task, WorkerOutOfMemory, WorkerOverBudget, WorkerTooSlow
from pipeline.system.process_pool import ProcessPool
from pipeline.system.worker_process import WorkerError

WINDOWS_PER_WORKER = 2  # one at work, one that waits or is done


class DecodeLimits(Protocol):
    """What `settings.Limits` says of documents; the limits of one task's time and memory are the pool's."""

    @property
    def file_mib(self) -> float: ...
    @property
    def pages(self) -> int: ...
    @property
    def megapixels(self) -> float: ...
    @property
    def document_seconds(self) -> float: ...


@dataclass(frozen=True)
class PagePreparation:
    """How to prepare pages. `steps` out of "orient" and "deskew"; `region` in fractions of the upright page."""

    steps: tuple[str, ...]
    region: Region | None
    page_spec: PageSpec


@dataclass(frozen=True, eq=False)
class Window:
    """Some pages in a row, out of the document's `total_pages`. Empty where they begin behind the last one."""

    total_pages: int
    pages: tuple[Page, ...]


@dataclass(eq=False)
class PageTask:
    """One window that was asked for. `opens`: nothing of its document is known before."""

    document: Document
    plan: PagePreparation
    first: int
    count: int
    opens: bool
    budget: Budget | None
    task: Task = field(repr=False)
    alone: dict[Task, Path] = field(default_factory=dict, repr=False)  # its files, each tried by itself

    def result(self) -> Window:
        """The window, once `Pages.ready` has returned this ticket. Raises as `decoded`."""
        total, pages = decoded(self.task)
        return Window(total, tuple(pages))


class PageLoader:
    """Asks a pool for windows of pages. The pool serves nobody else, and `warm_up` is a good `start` for it."""

    def __init__(self, pool: ProcessPool, limits: DecodeLimits, passwords: Sequence[str] = ()) -> None:
        self._pool = pool
        self._bounds = document_reader.Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(passwords))
        self._document_seconds = limits.document_seconds
        self._asked: dict[Task, PageTask] = {}
        self._deadly: dict[str, dict[Path, DocumentError]] = {}  # of documents with several files, by id

    @property
    def room(self) -> int:
        """How many more windows may be asked for now, so that the pages in memory stay bounded."""
        return max(0, WINDOWS_PER_WORKER * self._pool.size - len(set(self._asked.values())))

    def budget(self) -> Budget:
        """The time that one document may cost, for all that is asked about it."""
        return Budget(self._document_seconds)

    def ask(
        self,
        document: Document,
        plan: PagePreparation,
        first: int,
        count: int,
        opens: bool = False,
        budget: Budget | None = None,
    ) -> PageTask:
        """Begins to read the pages `first` … `first + count - 1`. Never waits.

        `opens`: nothing is known of the document yet. Where it has several files, and one of them ends the process
        that reads it, that one counts as a page that cannot be read; once pages are numbered, the window is lost.
        """
        task = self._submitted(document, plan, first, count, budget)
        self._asked[task] = ticket = PageTask(document, plan, first, count, opens, budget, task)
        return ticket

    def drop(self) -> None:
        """Forget all windows that were asked for and are not ready."""
        self._pool.drop_tasks()
        self._asked.clear()

    def _submitted(
        self, document: Document, plan: PagePreparation, first: int, count: int, budget: Budget | None
    ) -> Task:
        deadly = self._deadly.get(document.id, {})
        return self._pool.submit(read, document.files, self._bounds, plan, first, count, deadly, budget=budget)

    def ready(self, timeout_s: float) -> list[PageTask]:
        """The windows that are finished, well or not. Waits for one up to `timeout_s`; empty where there is none."""
        done = []
        for task in self._pool.wait(timeout_s):
            ticket = self._asked.pop(task)
            if not self._tried_alone(ticket, task):
                done.append(ticket)
        return done

    def _tried_alone(self, ticket: PageTask, task: Task) -> bool:
        """Whether the ticket is to wait: its process died, and its files are tried one by one to learn of which."""
        if ticket.alone:
            path, error = ticket.alone.pop(task), _death(task)
            if error:
                self._deadly.setdefault(ticket.document.id, {})[path] = error
            if not ticket.alone and ticket.document.id in self._deadly:
                ticket.task = self._submitted(ticket.document, ticket.plan, ticket.first, ticket.count, ticket.budget)
                self._asked[ticket.task] = ticket
                return True
            return bool(ticket.alone)
        if not ticket.opens or len(ticket.document.files) < 2 or not _death(task):
            return False
        ticket.opens = False
        for path in ticket.document.files:
            single = self._pool.submit(read, (path,), self._bounds, ticket.plan, 1, ticket.count, budget=ticket.budget)
            ticket.alone[single], self._asked[single] = path, ticket
        return True


def decoded(task: Task) -> Any:
    """What a finished task gave. Raises ModelError where no worker can start or a library cannot be loaded;
    DocumentError whatever else went wrong: it is the file's fault."""
    try:
        return task.result()
    except (DocumentError, ModelError):
        raise
    except WorkerTooSlow as error:
        raise DocumentError("too_slow", str(error)) from None
    except WorkerOverBudget as error:
        raise DocumentError("too_much_time", str(error)) from None
    except WorkerOutOfMemory as error:
        raise DocumentError("too_much_memory", str(error)) from None
    except WorkerError as error:
        raise DocumentError("crashed", str(error)) from None
    except Exception as error:  # on hostile bytes a decoder may raise anything
        raise DocumentError("broken", f"{type(error).__name__}: {error}") from error


def _death(task: Task) -> DocumentError | None:
    """What ended the process of a task, if anything did."""
    try:
        decoded(task)
    except ModelError:  # its ticket tells
        return None
    except DocumentError as error:
        return error if error.code in ("too_slow", "too_much_memory", "crashed") else None
    return None


def warm_up() -> None:
    """For `Pool(start=...)`: imports what every page needs before the first one comes, and keeps to one core."""
    import cv2
    import numpy as np  # noqa: F401
    import PIL.JpegImagePlugin  # noqa: F401

    FORMATS.all()
    cv2.setNumThreads(1)


def read(
    files: Sequence[Path],
    bounds: document_reader.Bounds,
    plan: PagePreparation,
    first: int,
    count: int,
    deadly: Mapping[Path, DocumentError] = MappingProxyType({}),
) -> tuple[int, list[Page]]:
    """One task of a worker: the number of pages in all, and the pages that were asked for. Raises DocumentError.

    A question without pictures has no files, and no pages.
    """
    if not files:
        return 0, []
    steps, region, page_spec = plan.steps, plan.region, plan.page_spec
    need = partial(preprocess.need, region, page_spec)
    with document_reader.together(files, bounds, deadly) as document:
        pages = document_reader.pages(document, bounds, first, count, need, page_spec.text_layer)
        return document.total, [preprocess.prepare(page, steps, region, page_spec) for page in pages]
