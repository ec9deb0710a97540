"""Decode and prepare pages of documents in guarded workers, a bounded number of windows at a time.

One task opens a file, decodes a window of its pages and prepares each. Only finished pages are sent back, and a file on
which a decoder crashes, hangs or exhausts memory costs one task.
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

WINDOWS_PER_WORKER = 2  # one in work, one waiting or finished


class DecodeLimits(Protocol):
    """The limits of `settings.Limits` for documents; the pool has the time and memory limits of a task."""

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
    """How to prepare pages. `steps`: any of "orient", "deskew"; `region`: in fractions of the upright page."""

    steps: tuple[str, ...]
    region: Region | None
    page_spec: PageSpec


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive pages of a document with `total_pages`. Empty if they begin after the last one."""

    total_pages: int
    pages: tuple[Page, ...]


@dataclass(eq=False)
class PageTask:
    """One requested window. `opens`: the first one of its document."""

    document: Document
    plan: PagePreparation
    first: int
    count: int
    opens: bool
    budget: Budget | None
    task: Task = field(repr=False)
    alone: dict[Task, Path] = field(default_factory=dict, repr=False)  # each of its files, tried separately

    def result(self) -> Window:
        """The window, after `PageLoader.ready` has returned this task. Raises as `decoded`."""
        total, pages = decoded(self.task)
        return Window(total, tuple(pages))


class PageLoader:
    """Requests windows of pages from a pool that serves nothing else. Use `warm_up` as the pool's `start`."""

    def __init__(self, pool: ProcessPool, limits: DecodeLimits, passwords: Sequence[str] = ()) -> None:
        self._pool = pool
        self._bounds = document_reader.Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(passwords))
        self._document_seconds = limits.document_seconds
        self._requested: dict[Task, PageTask] = {}
        self._fatal: dict[str, dict[Path, DocumentError]] = {}  # fatal files of documents with several files, by id

    @property
    def room(self) -> int:
        """How many more windows may be requested now, so that memory stays bounded."""
        return max(0, WINDOWS_PER_WORKER * self._pool.size - len(set(self._requested.values())))

    def budget(self) -> Budget:
        """The time budget of one document, for all of its jobs."""
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
        """Starts to read the pages `first` … `first + count - 1`. Does not block.

        `opens`: the first request for the document. If one of its several files kills the worker then, that file counts
        as one unreadable page; in later requests, when pages are numbered, the window fails.
        """
        task = self._submitted(document, plan, first, count, budget)
        self._requested[task] = page_task = PageTask(document, plan, first, count, opens, budget, task)
        return page_task

    def drop(self) -> None:
        """Drops all requested windows that are not ready."""
        self._pool.drop_tasks()
        self._requested.clear()

    def _submitted(
        self, document: Document, plan: PagePreparation, first: int, count: int, budget: Budget | None
    ) -> Task:
        fatal = self._fatal.get(document.id, {})
        return self._pool.submit(read, document.files, self._bounds, plan, first, count, fatal, budget=budget)

    def ready(self, timeout_s: float) -> list[PageTask]:
        """The finished windows, including failed ones. Waits up to `timeout_s` for one."""
        done = []
        for task in self._pool.wait(timeout_s):
            page_task = self._requested.pop(task)
            if not self._try_files_separately(page_task, task):
                done.append(page_task)
        return done

    def _try_files_separately(self, page_task: PageTask, task: Task) -> bool:
        """Whether the task must wait: its worker died, and its files are tried one by one to find the cause."""
        if page_task.alone:
            path, error = page_task.alone.pop(task), _fatal_error(task)
            if error:
                self._fatal.setdefault(page_task.document.id, {})[path] = error
            if not page_task.alone and page_task.document.id in self._fatal:
                page_task.task = self._submitted(
                    page_task.document, page_task.plan, page_task.first, page_task.count, page_task.budget
                )
                self._requested[page_task.task] = page_task
                return True
            return bool(page_task.alone)
        if not page_task.opens or len(page_task.document.files) < 2 or not _fatal_error(task):
            return False
        page_task.opens = False
        for path in page_task.document.files:
            single = self._pool.submit(
                read, (path,), self._bounds, page_task.plan, 1, page_task.count, budget=page_task.budget
            )
            page_task.alone[single], self._requested[single] = path, page_task
        return True


def decoded(task: Task) -> Any:
    """The result of a finished task.

    Raises ModelError if no worker can start or a library cannot be loaded; DocumentError for every other error: the
    file caused it.
    """
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


def _fatal_error(task: Task) -> DocumentError | None:
    """The error that killed the worker of a task, if any."""
    try:
        decoded(task)
    except ModelError:  # reported by its page task
        return None
    except DocumentError as error:
        return error if error.code in ("too_slow", "too_much_memory", "crashed") else None
    return None


def warm_up() -> None:
    """For `ProcessPool(start=...)`: imports the decoders before the first page, and uses one core."""
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
    fatal: Mapping[Path, DocumentError] = MappingProxyType({}),
) -> tuple[int, list[Page]]:
    """The task of a worker: the total number of pages, and the requested pages. Raises DocumentError.

    A question without pictures has no files and no pages.
    """
    if not files:
        return 0, []
    steps, region, page_spec = plan.steps, plan.region, plan.page_spec
    need = partial(preprocess.need, region, page_spec)
    with document_reader.opened_together(files, bounds, fatal) as document:
        pages = document_reader.pages(document, bounds, first, count, need, page_spec.text_layer)
        return document.total, [preprocess.prepare(page, steps, region, page_spec) for page in pages]
