"""The CPU engine: guarded worker processes read the pages and answer every job about them.

Each worker has one thread. The pages of a window are read in parallel, one task a page; then one task answers.
Consecutive requests about the same pages are grouped, so that the pages are read once.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from models.ocr.candidates.families import family, unsupported_reason
from models.ocr.text.lines import Line
from models.ocr.text.recognizer import read, reader
from models.ocr.text.ruled_lines import RuledGrid, ruled_grids
from pipeline.core.errors import ModelError
from pipeline.core.time_budget import Budget
from pipeline.core.types import Issue, Page
from pipeline.engine import PageSpec, Reply, Request
from pipeline.schema.fields import leaves
from pipeline.system.filesystem import sha256_of
from pipeline.system.pool_task import Task, WorkerOverBudget
from pipeline.system.process_pool import ProcessPool

if TYPE_CHECKING:
    from models.ocr.answer import OcrAnswer
    from pipeline.schema.job import Job

PAGES_PER_WORKER = 8  # in flight, so that windows of many pages do not fill the memory
POLL_S = 0.5  # the longest wait for a page before None is yielded


class OcrTask(NamedTuple):
    """The input of a task: a page to read or the lines that were read, and the size of the page.

    `tables`: whether a job wants tables of any kind, so that drawn lines are looked for; `meshes` are those found.
    """

    number: int
    width: int
    height: int
    lines: list[Line] | None
    page: Page | None
    tables: bool = False
    meshes: tuple[RuledGrid, ...] = ()


@dataclass(eq=False)
class _RequestGroup:
    """Requests about the same pages, and their progress."""

    requests: list[Request]
    began: float
    tasks: list[OcrTask] = field(default_factory=list)
    unread: int = 0

    @property
    def pages(self) -> tuple[Page, ...]:
        return self.requests[0].pages

    @property
    def budget(self) -> Budget | None:
        return self.requests[0].budget


class OcrEngine:
    """An `Engine` on the CPU, with `workers` processes (None: one a core). Limits are those of one page."""

    name = "ocr"
    # 2600 px are 220 dpi on A4: 6-point print is 18 px high, which the recogniser reads; more only costs time
    page_spec = PageSpec(max_side_px=2600, window_pages=8, text_layer=True)

    def __init__(self, workers: int | None = None, seconds: float = 120, memory_mib: int = 2048) -> None:
        """Start the processes, which load the models at once. Raises ModelError where the models are missing."""
        from models.ocr.text.recognizer import model_files

        self._files = model_files()
        self._size = workers or os.cpu_count() or 1
        self._new_pool = partial(ProcessPool, self._size, seconds=seconds, memory_mib=memory_mib, start=warm_up)
        self._pool, self._running = self._new_pool(), True
        self._reading: dict[Task, tuple[_RequestGroup, int]] = {}
        self._answering: dict[Task, _RequestGroup] = {}
        self._pages = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of the worker processes; empty while the engine is closed."""
        return self._pool.pids

    def unsupported_reason(self, job: "Job") -> str | None:
        return unsupported_reason(job)

    def provenance(self) -> Mapping[str, str]:
        from importlib.metadata import version

        digests = {
            f"{name}_sha256": sha256_of(path)[:16]
            for name, path in zip(("detector", "recogniser"), self._files, strict=True)
        }
        return {"engine": self.name, "rapidocr": version("rapidocr"), **digests}

    def close(self) -> None:
        """End the processes. The next request starts new ones."""
        self._pool.close()
        self._reading.clear()
        self._answering.clear()
        self._pages = 0
        self._running = False

    def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | None]:
        """One reply a request, as soon as it is ready. Raises ModelError when the models cannot be loaded."""
        if not self._running:
            self._pool, self._running = self._new_pool(), True
        try:
            yield from self._answers(requests)
        finally:
            if self._pool.in_flight:  # the caller closed the stream: drop the tasks in flight
                self.close()

    def _answers(self, requests: Iterable[Request | None]) -> Iterator[Reply | None]:
        source = iter(requests)
        held: list[Request] = []  # requests about the same pages; the next may join them
        more = True
        while more or self._pool.in_flight:
            idle = False
            while more and not idle and self._has_room():
                try:
                    request = next(source)
                except StopIteration:
                    request, more = None, False
                idle = request is None
                if request is not None and not request.pages:  # a question without pictures
                    yield Reply(
                        request, "", "error", error="no picture came with the question", error_code="only_reads"
                    )
                    continue
                if held and (request is None or request.pages != held[0].pages):
                    self._begin(held)
                    held = []
                if request is not None:
                    held.append(request)
            # the source has waited already when it had nothing; when there is no room, a task has to finish first
            finished = self._pool.wait(0 if idle and more else POLL_S)
            for task in finished:
                yield from self._take(task)
            if not finished and not idle and more:
                yield None

    def _has_room(self) -> bool:
        return self._pool.room > 0 and self._pages < PAGES_PER_WORKER * self._size

    def _begin(self, requests: list[Request]) -> None:
        question = _RequestGroup(requests, time.monotonic())
        self._pages += len(question.pages)
        tables = any(family(leaf.finder).tables for request in requests for _, leaf in leaves(request.job.fields))
        for page in question.pages:
            lines: list[Line] | None = None if page.fault is None else []
            question.tasks.append(OcrTask(page.number, page.width, page.height, lines, page, tables))
        pictures = [i for i, page in enumerate(question.pages) if page.image is not None and not page.words]
        if len(pictures) <= 1:  # the task that answers reads it too
            self._ask(question)
            return
        question.unread = len(pictures)
        for i in pictures:
            self._reading[self._pool.submit(read_task, question.tasks[i], budget=question.budget)] = question, i

    def _ask(self, question: _RequestGroup) -> None:
        jobs = [request.job for request in question.requests]
        self._answering[self._pool.submit(answer_all, question.tasks, jobs, budget=question.budget)] = question

    def _take(self, task: Task) -> Iterator[Reply]:
        if task in self._reading:
            question, index = self._reading.pop(task)
            if not question.unread:  # another page of it failed before
                return
            try:
                question.tasks[index] = task.result()
            except ModelError:
                raise
            except Exception as error:  # noqa: BLE001 - only these requests fail
                question.unread = 0
                yield from self._fail(question, error)
                return
            question.unread -= 1
            if not question.unread:
                self._ask(question)
            return
        question = self._answering.pop(task)
        try:
            answers: Sequence[OcrAnswer] = task.result()
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            yield from self._fail(question, error)
            return
        self._pages -= len(question.pages)
        seconds = time.monotonic() - question.began
        for request, answer in zip(question.requests, answers, strict=True):
            issues = _only_read(request.job, answer)
            unsure = {issue.path for issue in issues}  # the recognition score says nothing about the answer
            yield Reply(
                request,
                answer.text,
                "stop",
                evidence=answer.evidence,
                confidence={path: sure for path, sure in answer.confidence.items() if path not in unsure},
                seconds=seconds,
                issues=issues,
            )

    def _fail(self, question: _RequestGroup, error: Exception) -> Iterator[Reply]:
        self._pages -= len(question.pages)
        seconds = time.monotonic() - question.began
        message = f"The page could not be read: {error}"
        code = "too_much_time" if isinstance(error, WorkerOverBudget) else "engine"
        for request in question.requests:
            yield Reply(request, "", "error", error=message, seconds=seconds, error_code=code)


def _only_read(job: "Job", answer: "OcrAnswer") -> tuple[Issue, ...]:
    """Issues that say that questions were not understood: the CPU engine only reads text."""
    if not job.questions:
        return ()
    issues: list[Issue] = []
    for path, leaf in leaves(job.fields):
        if not leaf.readable:
            what = "this is the text that it read" if path in answer.evidence else "it read no text"
            issues.append(Issue("only_read", path, f"the CPU engine cannot answer a question; {what}"))
    return tuple(issues)


def warm_up() -> None:
    """In each new process: load the models and the code that answers."""
    import cv2

    import_module("models.ocr.answer")
    cv2.setNumThreads(1)
    reader()


def read_task(task: OcrTask) -> OcrTask:
    """In a worker: read the page of a task; return the task with its lines and without its page."""
    if task.lines is not None or task.page is None:
        return task._replace(page=None)
    image = task.page.image if task.tables else None
    found = () if image is None else ruled_grids(image)
    return task._replace(lines=read(task.page), page=None, meshes=found)


def answer_all(tasks: Sequence[OcrTask], jobs: Sequence["Job"]) -> "list[OcrAnswer]":
    """In a worker: read the pages that are not read yet, and answer each job about them."""
    from models.ocr.answer import answer
    from models.ocr.text.layout import page_layout

    read_tasks = [read_task(task) for task in tasks]
    sheets = [
        (one.number, page_layout(one.lines or [], one.width, one.height, meshes=one.meshes)) for one in read_tasks
    ]
    return [answer(sheets, job) for job in jobs]
