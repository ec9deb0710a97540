"""Run documents through one engine: decode pages, send requests, check replies, emit events.

Flow control is pull-based: the engine pulls requests, requests pull decoded windows of pages, windows pull documents.
So the number of pages in memory is bounded. Nothing here touches the inbox or the results.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.time_budget import Budget
from pipeline.core.types import Page, Record
from pipeline.engine import Engine, Partial, Reply, Request
from pipeline.extraction import evidence, extract, second_pass
from pipeline.preprocessing.page_loader import PageLoader, PageTask
from pipeline.runs.document_state import DocumentState, PagePlan, PendingRecord
from pipeline.runs.scheduler_events import Assignment, DocumentFinished, Event, Idle, PartialAnswer

DECODE_WAIT_S = 0.05  # longest wait for a decoder before the engine is told that no request is ready
GRACE_S = 60.0  # after `stop`: time for requests and pages in flight to finish
MAX_PENDING_EVENTS = 64  # with so many events not yet emitted, no new document is started


@dataclass
class _ActiveDocument:
    state: DocumentState
    started_at: float
    budget: Budget
    cover: Page | None = None
    error: DocumentError | None = None


class _GraceOver(Exception):
    """All documents were returned, but decoders or the engine still have work in flight. Nobody waits for it."""


class Scheduler:
    """One stream of documents through one engine.

    `stop` is polled often. Once it is true no document is started. Documents whose pages are all with the engine have
    `grace_s` seconds to finish; the others are returned.
    """

    def __init__(
        self,
        engine: Engine,
        pages: PageLoader,
        stop: Callable[[], bool] = lambda: False,
        provenance: Mapping[str, Any] | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._engine, self._pages, self._stop, self._grace_s = engine, pages, stop, grace_s
        self._provenance = {**engine.provenance(), **(provenance or {})}
        self._assignments: Iterator[Assignment | None] = iter(())
        self._active: dict[str, _ActiveDocument] = {}  # by document id
        self._page_tasks: dict[PageTask, tuple[DocumentState, PagePlan, int]] = {}  # windows that are being decoded
        self._ready: Iterator[Request] = iter(())  # requests whose pages are decoded
        self._in_flight = 0  # requests that the engine pulled and did not answer yet
        self._events: list[Event] = []
        self._exhausted = False  # no more assignments
        self._stopped_at = 0.0

    def run(self, assignments: Iterable[Assignment | None]) -> Iterator[Event]:
        """Yields each record once it is checked, and DocumentFinished after the last record of a document.

        `assignments` may yield None: none now, maybe later. Raises ModelError, after all active documents were
        returned.
        """
        self._assignments = iter(assignments)
        try:
            while True:
                request = self._next_request()
                yield from self._pending_events()
                if request is not None:
                    yield from self._run_engine(request)
                elif self._all_requested:
                    return
                else:
                    yield Idle()
        except _GraceOver:
            yield from self._pending_events()
        except ModelError:
            self._return_documents(list(self._active))
            yield from self._pending_events()
            raise
        finally:
            self._pages.drop()

    def _pending_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # ---- the engine
    def _run_engine(self, first: Request) -> Iterator[Event]:
        """Stream requests to the engine, starting with `first`; handle each reply. Ends with the request stream."""
        for reply in self._engine.answer(self._request_stream(first)):
            match reply:
                case Partial():
                    self._handle_partial(reply)
                case Reply():
                    self._in_flight -= 1
                    self._handle_reply(reply)
            self._handle_stop()
            yield from self._pending_events()
        if self._in_flight:
            lost = f"{self._in_flight} request{'s' * (self._in_flight > 1)}"
            raise ModelError(f"The engine {self._engine.name} ended without an answer to {lost}.")

    def _request_stream(self, first: Request) -> Iterator[Request | None]:
        """The requests that the engine pulls; None while none is ready.

        The stream ends when the engine is idle and nothing is ready. Otherwise it would pull for ever, and no event
        could be emitted. `run` starts the next stream with the next request.
        """
        request: Request | None = first
        while True:
            self._in_flight += request is not None
            yield request
            request = self._next_request()
            if request is None and (not self._in_flight or self._no_request_left):
                return

    @property
    def _all_requested(self) -> bool:
        """Whether every page of every document was requested, apart from second passes that may still follow."""
        return (
            self._exhausted
            and not self._page_tasks
            and all(document.state.all_requested for document in self._active.values())
        )

    @property
    def _no_request_left(self) -> bool:
        """Whether no request can follow, whatever the engine answers.

        False after `stop`: an engine that keeps pulling lets the scheduler check the grace period.
        """
        if self._stop() or not self._all_requested:
            return False
        has_second_pass = self._engine.page_spec.high_resolution() is not None
        return not has_second_pass or not any(
            job.second_look for document in self._active.values() for job in document.state.jobs
        )

    # ---- documents in, requests out
    def _next_request(self) -> Request | None:
        """The next request whose pages are decoded; None if there is none after a short wait."""
        self._handle_stop()
        if (request := next(self._ready, None)) is not None:
            return request
        self._start_decoding()
        if not self._page_tasks:
            time.sleep(DECODE_WAIT_S / 10)  # everything is with the engine, or documents follow later
            return None
        self._ready = (request for task in self._pages.ready(DECODE_WAIT_S) for request in self._decoded(task))
        return next(self._ready, None)

    def _start_decoding(self) -> None:
        """Submit windows to the decoders while they have room."""
        while self._pages.room and (window := self._next_window()):
            state, plan = window
            budget = self._active[state.document.id].budget
            task = self._pages.ask(
                state.document, plan.preparation, plan.next_page, plan.window_pages, state.total_pages is None, budget
            )
            self._page_tasks[task] = state, plan, plan.next_page
            plan.next_page += plan.window_pages
            state.decoding_windows += 1

    def _next_window(self) -> tuple[DocumentState, PagePlan] | None:
        """The next window to decode: of an active document, else of a new one."""
        for document in self._active.values():
            if plan := document.state.next_plan():
                return document.state, plan
        if self._stop():
            self._exhausted = True
        if self._exhausted or len(self._events) >= MAX_PENDING_EVENTS:
            return None
        try:
            assignment = next(self._assignments)
        except StopIteration:
            self._exhausted = True
            return None
        if assignment is None:
            return None
        state = DocumentState(assignment.document, assignment.jobs, self._engine.page_spec)
        self._active[state.document.id] = _ActiveDocument(state, time.monotonic(), self._pages.budget())
        return state, state.page_plans[0]

    def _decoded(self, task: PageTask) -> Iterator[Request]:
        """The requests about a window that was decoded."""
        state, plan, first = self._page_tasks.pop(task)
        state.decoding_windows -= 1
        document = self._active.get(state.document.id)
        if document is None or plan not in state.page_plans:  # the document was returned, or its second pass dropped
            return
        try:
            window = task.result()
        except DocumentError as error:
            if state.total_pages is None:
                self._fail(document, error)
                return
            pages: Sequence[Page] = state.unreadable_pages(plan, first, error)
            if error.code == "too_much_time":  # fails the document; a missing window alone would not
                for request in state.requests(plan, first, pages):
                    self._handle_reply(Reply(request, "", "error", error=error.detail, error_code=error.code))
                return
        else:
            state.total_pages, pages = window.total_pages, window.pages
        document.cover = document.cover or next((page for page in pages if page.image is not None), None)
        for request in state.requests(plan, first, pages):
            if request.pages and all(page.fault for page in request.pages):
                self._handle_reply(Reply(request, "{}", "stop"))  # no readable page: extract reports why
            else:
                yield replace(request, budget=document.budget)

    # ---- replies in, records out
    def _handle_partial(self, partial: Partial) -> None:
        document = self._active.get(partial.request.document.id)
        if document is not None and len(document.state.jobs) == 1:
            self._events.append(PartialAnswer(document.state.document, partial.text))

    def _handle_reply(self, reply: Reply) -> None:
        """Add the reply to its record; check the record once it is complete, and start its second pass if needed."""
        document = self._active.get(reply.request.document.id)
        if document is None:  # it failed or was returned meanwhile
            return
        pending = document.state.add_reply(reply)
        if pending is None:
            return
        job, replies = pending.job, pending.replies
        record = extract.extract(job, document.state.document, pending.page, replies, self._provenance)
        record = evidence.locate(record, job, [page for reply in replies for page in reply.request.pages])
        if pending.first is not None:
            self._emit_record(document, pending, second_pass.choose(job, pending.first, record))
        elif self._stop() or not document.state.start_second_pass(pending, record):
            self._emit_record(document, pending, record)

    def _emit_record(self, document: _ActiveDocument, pending: PendingRecord, record: Record) -> None:
        """Emit the record; after the last one of a document, DocumentFinished."""
        document.state.close_record(pending)
        self._events.append(record)
        if record.error and document.error is None:
            document.error = DocumentError(*record.error)
        if document.state.complete:
            del self._active[document.state.document.id]
            self._events.append(self._finished(document, document.error))

    def _finished(
        self, document: _ActiveDocument, error: DocumentError | None = None, returned: bool = False
    ) -> DocumentFinished:
        pages = document.state.total_pages or 0
        seconds = time.monotonic() - document.started_at
        return DocumentFinished(document.state.document, pages, seconds, document.cover, error, returned)

    def _fail(self, document: _ActiveDocument, error: DocumentError) -> None:
        """Emit a failed record for each job of a document that cannot be read."""
        state = document.state
        del self._active[state.document.id]
        for job in state.jobs:
            self._events.append(extract.fail(job, state.document, error.code, error.detail, self._provenance))
        self._events.append(self._finished(document, error))

    # ---- stop
    def _handle_stop(self) -> None:
        """After `stop`: return documents that are not fully requested, and all others when the grace period is over.

        Raises _GraceOver if no document is left although decoders or the engine still have work in flight.
        """
        if not self._stop():
            return
        self._stopped_at = self._stopped_at or time.monotonic()
        self._return_unrequested()
        if time.monotonic() - self._stopped_at >= self._grace_s:
            self._return_documents(list(self._active))
        if not self._active and (self._page_tasks or self._in_flight):
            raise _GraceOver

    def _return_unrequested(self) -> None:
        """Return documents with pages not yet requested. A record that waits for its second pass keeps its first."""
        for document_id, document in list(self._active.items()):
            for pending in document.state.pending_second_pass():
                if pending.first is not None:
                    self._emit_record(document, pending, pending.first)
            if document_id in self._active and not document.state.all_requested:
                self._return_documents([document_id])

    def _return_documents(self, document_ids: Iterable[str]) -> None:
        self._events += [self._finished(self._active.pop(each), returned=True) for each in document_ids]
