"""Documents in, checked records out: decode, ask, extract. Nothing here touches the inbox or the results.

The pace is set from the end: the engine pulls requests as it has room, requests pull decoded windows, windows pull
documents. So the number of pages in memory is bounded whatever lies in the inbox.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline import evidence, extract, secondlook
from pipeline.budget import Budget
from pipeline.errors import DocumentError
from pipeline.job import Job
from pipeline.pages import Pages, Ticket
from pipeline.tray import Answer, Reel, Tray
from pipeline.types import Document, Model, Page, Partial, Record, Reply, Request

NAP_S = 0.05  # the longest wait for a decoder before the engine is told "nothing ready now"
GRACE_S = 60.0  # after `stop`, so long may take what decoders and engine have in hand


@dataclass(frozen=True, eq=False)
class Finished:
    """All answers of a document are out. `error` says why there are none; `returned` that it was not begun."""

    document: Document
    pages: int
    seconds: float
    cover: Page | None = None
    error: DocumentError | None = None
    returned: bool = False


@dataclass
class _Open:
    tray: Tray
    jobs: Sequence[Job]
    since: float
    cover: Page | None = None
    error: DocumentError | None = None
    budget: Budget | None = None


class _TimeUp(Exception):
    """Nothing that the engine or the decoders still have is waited for."""


class Flow:
    """One stream of documents through one engine.

    `documents` may yield None: "none now, more may come once others are finished". `stop` is asked often; once it is
    true no document is begun, documents whose pages are all given out have `grace_s` seconds to be finished, and the
    others come out as `returned`. `answering` hears how far the answer to a question is, where the engine tells and the
    question goes to one job only.
    """

    def __init__(
        self,
        documents: Iterator[Document | None],
        jobs: Callable[[Document], Sequence[Job]],
        model: Model,
        pages: Pages,
        stop: Callable[[], bool] = lambda: False,
        provenance: Mapping[str, Any] | None = None,
        answering: Callable[[Document, str], None] = lambda document, text: None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._documents, self._jobs, self._model, self._pages, self._stop = documents, jobs, model, pages, stop
        self._answering, self._grace_s = answering, grace_s
        self._provenance = {**model.provenance(), **(provenance or {})}
        self._open: dict[str, _Open] = {}
        self._tickets: dict[Ticket, tuple[Tray, Reel, int]] = {}
        self._out: list[Record | Finished] = []
        self._drained = False
        self._unanswered = 0  # requests that the engine has
        self._stopped_at: float | None = None

    def records(self) -> Iterator[Record | Finished]:
        """Every record as soon as it is checked, and a `Finished` after a document's last. Raises ModelError."""
        try:
            for reply in self._model.answer(self._requests()):
                if reply is None:
                    self._wind_down()
                elif isinstance(reply, Partial):
                    self._tell(reply)
                else:
                    self._unanswered -= 1
                    self._take(reply)
                yield from self.out()
        except _TimeUp:
            self._pages.drop()
            self._tickets.clear()
        yield from self.out()

    def out(self) -> list[Record | Finished]:
        """What has come out since it was last asked. Whoever gives documents may ask too: those that cannot be opened
        never reach the engine, and need not wait for its next reply.
        """
        out, self._out = self._out, []
        return out

    # ---- documents in, requests out
    def _requests(self) -> Iterator[Request | None]:
        while True:
            self._wind_down()
            while self._pages.room and (window := self._next_window()):
                tray, reel = window
                opens, budget = tray.total_pages is None, self._open[tray.document.id].budget
                ticket = self._pages.ask(tray.document, reel.plan, reel.next_page, reel.window_pages, opens, budget)
                self._tickets[ticket] = tray, reel, reel.next_page
                reel.next_page += reel.window_pages
                tray.open_windows += 1
            waits = self._stop() and self._unanswered  # to be asked again, and so to see when the time is up
            if self._drained and not self._tickets and not self._more_to_ask() and not waits:
                return
            if not self._tickets:
                time.sleep(NAP_S / 10)  # all is with the engine, or more documents will come only later
            ready = self._pages.ready(NAP_S) if self._tickets else []
            for ticket in ready:
                for request in self._opened(ticket):
                    self._unanswered += 1
                    yield request
            if not ready:
                yield None

    def _more_to_ask(self) -> bool:
        """Whether documents under way have pages to give out, or answers that may be worth a second look."""
        may_look = not self._stop() and self._model.wants.nearer() is not None
        return any(
            not entry.tray.given_out or (may_look and any(job.second_look for job in entry.jobs))
            for entry in self._open.values()
        )

    def _next_window(self) -> tuple[Tray, Reel] | None:
        """The next window to decode: of a document that was begun, else of a new one."""
        for entry in self._open.values():
            if reel := entry.tray.wanted():
                return entry.tray, reel
        if self._stop():
            self._drained = True
        if self._drained:
            return None
        try:
            document = next(self._documents)
        except StopIteration:
            self._drained = True
            return None
        if document is None:
            return None
        jobs = self._jobs(document)
        tray = Tray(document, jobs, self._model.wants)
        self._open[document.id] = _Open(tray, jobs, time.monotonic(), budget=self._pages.budget())
        return tray, tray.reels[0]

    def _opened(self, ticket: Ticket) -> Iterator[Request]:
        """The requests about a window that came back from its decoder."""
        tray, reel, first = self._tickets.pop(ticket)
        tray.open_windows -= 1
        entry = self._open.get(tray.document.id)
        if entry is None or reel not in tray.reels:  # the document was returned, or a second look given up
            return
        try:
            window = ticket.result()
        except DocumentError as error:
            if tray.total_pages is None:
                self._fail(entry, error)
                return
            pages: Sequence[Page] = tray.lost(reel, first, error)
            if error.code == "too_much_time":  # the document fails, where other windows may be missing
                for request in tray.requests(reel, first, pages):
                    self._take(Reply(request, "", "error", error=error.detail, error_code=error.code))
                return
        else:
            tray.total_pages, pages = window.total_pages, window.pages
        entry.cover = entry.cover or next((page for page in pages if page.image is not None), None)
        for request in tray.requests(reel, first, pages):
            if request.pages and all(page.fault for page in request.pages):
                self._take(Reply(request, "{}", "stop"))  # nothing to look at: extract says why
            else:
                yield replace(request, budget=entry.budget)

    # ---- replies in, records out
    def _tell(self, partial: Partial) -> None:
        entry = self._open.get(partial.request.document.id)
        if entry is not None and len(entry.jobs) == 1:
            self._answering(entry.tray.document, partial.text)

    def _take(self, reply: Reply) -> None:
        entry = self._open.get(reply.request.document.id)
        if entry is None:  # the document failed or was returned meanwhile
            return
        answer = entry.tray.take(reply)
        if answer is None:
            return
        job, replies = answer.job, answer.replies
        record = extract.extract(job, entry.tray.document, answer.page, replies, self._provenance)
        record = evidence.locate(record, job, [page for reply in replies for page in reply.request.pages])
        if answer.first is not None:
            self._keep(entry, answer, secondlook.better(job, answer.first, record))
        elif self._stop() or not entry.tray.look_again(answer, record):
            self._keep(entry, answer, record)

    def _keep(self, entry: _Open, answer: Answer, record: Record) -> None:
        """The record is out; with a document's last one the document is finished."""
        entry.tray.settle(answer)
        self._out.append(record)
        if record.error and entry.error is None:
            entry.error = DocumentError(*record.error)
        if entry.tray.complete:
            del self._open[entry.tray.document.id]
            self._out.append(self._finished(entry, entry.error))

    def _finished(self, entry: _Open, error: DocumentError | None = None, returned: bool = False) -> Finished:
        pages = entry.tray.total_pages or 0
        seconds = time.monotonic() - entry.since
        return Finished(entry.tray.document, pages, seconds, entry.cover, error, returned)

    def _fail(self, entry: _Open, error: DocumentError) -> None:
        document = entry.tray.document
        del self._open[document.id]
        for job in entry.jobs:
            self._out.append(extract.fail(job, document, error.code, error.detail, self._provenance))
        self._out.append(self._finished(entry, error))

    def _wind_down(self) -> None:
        """Once `stop` is true: lets go of what is not wholly given out, and of the rest when its grace is over.

        Raises _TimeUp where nothing is left to wait for, though decoders or the engine are still at work.
        """
        if not self._stop():
            return
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
        self._return_unbegun()
        if now - self._stopped_at >= self._grace_s:
            self._out += [self._finished(entry, returned=True) for entry in self._open.values()]
            self._open.clear()
        if not self._open and (self._tickets or self._unanswered):
            raise _TimeUp

    def _return_unbegun(self) -> None:
        """Lets go of every document whose pages are not all with the engine yet; of a second look its first counts."""
        for name, entry in list(self._open.items()):
            for answer in entry.tray.hesitant():
                if answer.first is not None:
                    self._keep(entry, answer, answer.first)
            if name not in self._open:
                continue
            if not entry.tray.given_out:
                del self._open[name]
                self._out.append(self._finished(entry, returned=True))
