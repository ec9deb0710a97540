"""Documents in, checked records out: decode, ask, extract. Nothing here touches the inbox or the results.

The pace is set from the end: the engine pulls requests as it has room, requests pull decoded windows, windows pull
documents. So the number of pages in memory is bounded whatever lies in the inbox. What comes of it leaves as events.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.time_budget import Budget
from pipeline.core.types import Document, Page, Record
from pipeline.engine import Engine, Partial, Reply, Request
from pipeline.extraction import evidence, extract, second_pass
from pipeline.preprocessing.page_loader import PageLoader, PageTask
from pipeline.runs.document_state import DocumentState, PagePlan, PendingRecord
from pipeline.schema.job import Job

NAP_S = 0.05  # the longest wait for a decoder before the engine is told "nothing ready now"
GRACE_S = 60.0  # after `stop`, so long may take what decoders and engine have in hand
EVENTS = 64  # that wait to be handled: with so many no document is begun, until the engine's next reply lets them out


@dataclass(frozen=True, eq=False)
class Assignment:
    """A document, and the jobs that it is asked for."""

    document: Document
    jobs: Sequence[Job]


@dataclass(frozen=True, eq=False)
class Answering:
    """How far the answer to a question is, where the engine tells and the question goes to one job only."""

    document: Document
    text: str


@dataclass(frozen=True, eq=False)
class DocumentFinished:
    """All answers of a document are out. `error` says why there are none; `returned` that it is to be read later."""

    document: Document
    pages: int
    seconds: float
    cover: Page | None = None
    error: DocumentError | None = None
    returned: bool = False


@dataclass(frozen=True)
class Idle:
    """Nothing was ready for a moment, and the engine has nothing in hand."""


Event = Record | DocumentFinished | Answering | Idle


@dataclass
class _Open:
    state: DocumentState
    since: float
    budget: Budget
    cover: Page | None = None
    error: DocumentError | None = None


class _TimeUp(Exception):
    """Nothing that the engine or the decoders still have is waited for."""


class Scheduler:
    """One stream of documents through one engine.

    `stop` is asked often; once it is true no document is begun, documents whose pages are all given out have `grace_s`
    seconds to be finished, and the others come out as `returned`.
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
        self._open: dict[str, _Open] = {}
        self._tickets: dict[PageTask, tuple[DocumentState, PagePlan, int]] = {}
        self._ready: Iterator[Request] = iter(())  # of windows that are decoded
        self._in_hand = 0  # requests that the engine has pulled and not answered
        self._events: list[Event] = []
        self._drained = False
        self._stopped_at = 0.0

    def run(self, assignments: Iterable[Assignment | None]) -> Iterator[Event]:
        """Every record as soon as it is checked, and a `Finished` after a document's last.

        `assignments` may yield None: "none now, more may come once others are finished". Raises ModelError, after a
        `Finished` for each document under way.
        """
        self._assignments = iter(assignments)
        try:
            while True:
                request = self._next_request()
                yield from self._out()
                if request is not None:
                    yield from self._answers(request)
                elif self._all_given_out:
                    return
                else:
                    yield Idle()
        except _TimeUp:
            yield from self._out()
        except ModelError:
            self._return(list(self._open))
            yield from self._out()
            raise
        finally:
            self._pages.drop()  # nobody else would take what its pool still has at work

    def _out(self) -> list[Event]:
        out, self._events = self._events, []
        return out

    # ---- the engine
    def _answers(self, first: Request) -> Iterator[Event]:
        """What comes of one stream of requests: `first`, and all that become ready before the engine has answered."""
        for reply in self._engine.answer(self._requests(first)):
            match reply:
                case Partial():
                    self._tell(reply)
                case Reply():
                    self._in_hand -= 1
                    self._take(reply)
            self._wind_down()
            yield from self._out()
        if self._in_hand:
            lost = f"{self._in_hand} request{'s' * (self._in_hand > 1)}"
            raise ModelError(f"The engine {self._engine.name} ended without an answer to {lost}.")

    def _requests(self, first: Request) -> Iterator[Request | None]:
        """What the engine pulls. An engine that has nothing in hand could pull for ever and never let an event out: so
        the stream ends where nothing is ready then, and begins anew with the next request."""
        request: Request | None = first
        while True:
            self._in_hand += request is not None
            yield request
            request = self._next_request()
            if request is None and (not self._in_hand or self._all_asked):
                return

    @property
    def _all_given_out(self) -> bool:
        return self._drained and not self._tickets and all(entry.state.given_out for entry in self._open.values())

    @property
    def _all_asked(self) -> bool:
        """Whether no request will follow, whatever the engine still answers. Not after `stop`: an engine that goes on
        pulling lets the flow see when the time is up."""
        if self._stop() or not self._all_given_out:
            return False
        may_look = self._engine.page_spec.high_resolution() is not None
        return not may_look or not any(job.second_look for entry in self._open.values() for job in entry.state.jobs)

    # ---- documents in, requests out
    def _next_request(self) -> Request | None:
        """The next question whose pages are decoded; None where there is none after a moment."""
        self._wind_down()
        if (request := next(self._ready, None)) is not None:
            return request
        while self._pages.room and (window := self._next_window()):
            state, page_plan = window
            opens, budget = state.total_pages is None, self._open[state.document.id].budget
            ticket = self._pages.ask(
                state.document, page_plan.plan, page_plan.next_page, page_plan.window_pages, opens, budget
            )
            self._tickets[ticket] = state, page_plan, page_plan.next_page
            page_plan.next_page += page_plan.window_pages
            state.open_windows += 1
        if not self._tickets:
            time.sleep(NAP_S / 10)  # all is with the engine, or more documents will come only later
            return None
        self._ready = (request for ticket in self._pages.ready(NAP_S) for request in self._opened(ticket))
        return next(self._ready, None)

    def _next_window(self) -> tuple[DocumentState, PagePlan] | None:
        """The next window to decode: of a document that was begun, else of a new one."""
        for entry in self._open.values():
            if page_plan := entry.state.wanted():
                return entry.state, page_plan
        if self._stop():
            self._drained = True
        if self._drained or len(self._events) >= EVENTS:
            return None
        try:
            assignment = next(self._assignments)
        except StopIteration:
            self._drained = True
            return None
        if assignment is None:
            return None
        state = DocumentState(assignment.document, assignment.jobs, self._engine.page_spec)
        self._open[state.document.id] = _Open(state, time.monotonic(), self._pages.budget())
        return state, state.page_plans[0]

    def _opened(self, ticket: PageTask) -> Iterator[Request]:
        """The requests about a window that came back from its decoder."""
        state, page_plan, first = self._tickets.pop(ticket)
        state.open_windows -= 1
        entry = self._open.get(state.document.id)
        if entry is None or page_plan not in state.page_plans:  # the document was returned, or a second look given up
            return
        try:
            window = ticket.result()
        except DocumentError as error:
            if state.total_pages is None:
                self._fail(entry, error)
                return
            pages: Sequence[Page] = state.lost(page_plan, first, error)
            if error.code == "too_much_time":  # the document fails, where other windows may be missing
                for request in state.requests(page_plan, first, pages):
                    self._take(Reply(request, "", "error", error=error.detail, error_code=error.code))
                return
        else:
            state.total_pages, pages = window.total_pages, window.pages
        entry.cover = entry.cover or next((page for page in pages if page.image is not None), None)
        for request in state.requests(page_plan, first, pages):
            if request.pages and all(page.fault for page in request.pages):
                self._take(Reply(request, "{}", "stop"))  # nothing to look at: extract says why
            else:
                yield replace(request, budget=entry.budget)

    # ---- replies in, records out
    def _tell(self, partial: Partial) -> None:
        entry = self._open.get(partial.request.document.id)
        if entry is not None and len(entry.state.jobs) == 1:
            self._events.append(Answering(entry.state.document, partial.text))

    def _take(self, reply: Reply) -> None:
        entry = self._open.get(reply.request.document.id)
        if entry is None:  # the document failed or was returned meanwhile
            return
        answer = entry.state.take(reply)
        if answer is None:
            return
        job, replies = answer.job, answer.replies
        record = extract.extract(job, entry.state.document, answer.page, replies, self._provenance)
        record = evidence.locate(record, job, [page for reply in replies for page in reply.request.pages])
        if answer.first is not None:
            self._keep(entry, answer, second_pass.choose(job, answer.first, record))
        elif self._stop() or not entry.state.look_again(answer, record):
            self._keep(entry, answer, record)

    def _keep(self, entry: _Open, answer: PendingRecord, record: Record) -> None:
        """The record is out; with a document's last one the document is finished."""
        entry.state.settle(answer)
        self._events.append(record)
        if record.error and entry.error is None:
            entry.error = DocumentError(*record.error)
        if entry.state.complete:
            del self._open[entry.state.document.id]
            self._events.append(self._finished(entry, entry.error))

    def _finished(self, entry: _Open, error: DocumentError | None = None, returned: bool = False) -> DocumentFinished:
        pages = entry.state.total_pages or 0
        seconds = time.monotonic() - entry.since
        return DocumentFinished(entry.state.document, pages, seconds, entry.cover, error, returned)

    def _fail(self, entry: _Open, error: DocumentError) -> None:
        document = entry.state.document
        del self._open[document.id]
        for job in entry.state.jobs:
            self._events.append(extract.fail(job, document, error.code, error.detail, self._provenance))
        self._events.append(self._finished(entry, error))

    # ---- the end
    def _wind_down(self) -> None:
        """Once `stop` is true: lets go of what is not wholly given out, and of the rest when its grace is over.

        Raises _TimeUp where nothing is left to wait for, though decoders or the engine are still at work.
        """
        if not self._stop():
            return
        self._stopped_at = self._stopped_at or time.monotonic()
        self._return_unbegun()
        if time.monotonic() - self._stopped_at >= self._grace_s:
            self._return(list(self._open))
        if not self._open and (self._tickets or self._in_hand):
            raise _TimeUp

    def _return_unbegun(self) -> None:
        """Lets go of every document whose pages are not all with the engine yet; of a second look its first counts."""
        for name, entry in list(self._open.items()):
            for answer in entry.state.pending_second_pass():
                if answer.first is not None:
                    self._keep(entry, answer, answer.first)
            if name in self._open and not entry.state.given_out:
                self._return([name])

    def _return(self, names: Iterable[str]) -> None:
        self._events += [self._finished(self._open.pop(name), returned=True) for name in names]
