"""One document on its way: which pages were given out to which questions, which replies are back, who looks again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from pipeline import prompt, secondlook
from pipeline.errors import DocumentError
from pipeline.geometry import Affine
from pipeline.job import Job
from pipeline.pages import Plan
from pipeline.types import Document, Issue, Page, Record, Reply, Request, Wants


@dataclass(frozen=True, eq=False)
class Part:
    """One of the questions that a job is put in, as `Job.parts[number]`. With `doubts` it is a second look."""

    job: Job
    number: int
    doubts: tuple[Issue, ...] = ()

    @property
    def asked(self) -> Job:
        return self.job.parts[self.number]

    def ask(self, document: Document, pages: Sequence[Page], window: int = 0, windows: int = 1) -> Request:
        count = len(self.job.parts)
        return prompt.ask(
            self.asked, document, pages, window, windows, part=self.number, parts=count, doubts=self.doubts
        )


@dataclass(eq=False)
class Reel:
    """The pages of one document under one plan, given out window by window. `last_page` is None for the document's."""

    plan: Plan
    window_pages: int
    parts: list[Part]
    next_page: int = 1
    last_page: int | None = None


@dataclass(eq=False)
class Answer:
    """What has come back for one record. `first` is the record before the second look, whose reels are `reels`."""

    job: Job
    page: int | None
    awaited: int
    windows: int
    by_place: dict[tuple[int, int], Reply] = field(default_factory=dict)  # window and part
    first: Record | None = None
    reels: list[Reel] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """In the order of windows; where a part was asked again, its second reply."""
        return [self.by_place[place] for place in sorted(self.by_place)]


@dataclass
class Tray:
    """`total_pages` is None until the first window came back from its decoder."""

    document: Document
    jobs: Sequence[Job]
    wants: Wants
    total_pages: int | None = None
    open_windows: int = 0
    answered: int = 0
    answers: dict[tuple[str, int | None], Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Questions that want to see the same pages in the same way share one reel, so each page is decoded once."""
        self.reels = self._reels([Part(job, n) for job in self.jobs for n in range(len(job.parts))], self.wants)

    def _reels(self, parts: Sequence[Part], wants: Wants) -> list[Reel]:
        reels: dict[tuple[Plan, int], Reel] = {}
        for part in parts:
            plan = Plan(part.job.preprocess, part.asked.region, wants)
            window = part.job.window or self.wants.window_pages
            reels.setdefault((plan, window), Reel(plan, window, [])).parts.append(part)
        return list(reels.values())

    # ---- pages out
    def wanted(self) -> Reel | None:
        """The reel that may give out its next window now. Until the page count is known only the first window is."""
        if self.total_pages is None:
            return self.reels[0] if not self.open_windows else None
        return next((reel for reel in self.reels if self._left(reel)), None)

    def _left(self, reel: Reel) -> bool:
        return reel.next_page <= (reel.last_page or self.total_pages or 1)

    @property
    def given_out(self) -> bool:
        """Whether every page was given out to every question."""
        return self.total_pages is not None and self.wanted() is None

    def requests(self, reel: Reel, first: int, pages: Sequence[Page]) -> Iterator[Request]:
        """The questions about one decoded window."""
        assert self.total_pages is not None
        windows = max(1, ceil(self.total_pages / reel.window_pages))
        for part in reel.parts:
            if part.job.per == "page":
                yield from (part.ask(self.document, (page,)) for page in pages)
            else:
                yield part.ask(self.document, pages, (first - 1) // reel.window_pages, windows)

    def lost(self, reel: Reel, first: int, error: DocumentError) -> list[Page]:
        """Stand-ins for the pages of a window that could not be read although others could."""
        assert self.total_pages is not None
        last = min(first + reel.window_pages - 1, reel.last_page or self.total_pages)
        return [Page(n, 0, 0, Affine(), fault=str(error)) for n in range(first, last + 1)]

    # ---- replies in
    def take(self, reply: Reply) -> Answer | None:
        """Keeps a reply; returns its answer once the last reply is there, and each time again after `look_again`."""
        request = reply.request
        job = next(job for job in self.jobs if job.name == request.job.name)
        page = request.pages[0].number if job.per == "page" else None
        answer = self.answers.get((job.name, page))
        if answer is None:
            if request.look == 2:  # it was given up meanwhile
                return None
            answer = Answer(job, page, request.windows * request.parts, request.windows)
            self.answers[job.name, page] = answer
        answer.by_place[request.window, request.part] = _lightened(reply)
        answer.awaited -= 1
        return None if answer.awaited else answer

    def look_again(self, answer: Answer, record: Record) -> bool:
        """Begins a second look at an answer that is whole, where it is worth one and the engine can look closer.

        Every window is asked again, but only the parts of the job that can do something about what is wrong.
        """
        nearer, found = self.wants.nearer(), secondlook.doubts(answer.job, record)
        if nearer is None or answer.first is not None or not found:
            return False
        parts = [Part(answer.job, n, secondlook.concerning(part, found)) for n, part in enumerate(answer.job.parts)]
        parts = [part for part in parts if part.doubts]
        answer.reels = self._reels(parts, nearer)
        if answer.page is not None:
            for reel in answer.reels:
                reel.next_page = reel.last_page = answer.page
                reel.window_pages = 1
        self.reels += answer.reels
        answer.first, answer.awaited = record, len(parts) * answer.windows
        return True

    def hesitant(self) -> list[Answer]:
        """Answers whose second look is not wholly given out yet."""
        return [answer for answer in self.answers.values() if any(self._left(reel) for reel in answer.reels)]

    def settle(self, answer: Answer) -> None:
        """The answer's record is out; what still comes for it is not wanted."""
        del self.answers[answer.job.name, answer.page]
        self.reels = [reel for reel in self.reels if reel not in answer.reels]
        self.answered += 1

    @property
    def complete(self) -> bool:
        """Whether every answer that the jobs ask for is there."""
        if not self.given_out:
            return False
        assert self.total_pages is not None
        return self.answered == sum(self.total_pages if job.per == "page" else 1 for job in self.jobs)


def _lightened(reply: Reply) -> Reply:
    """The reply without what extraction no longer needs: a long document must not keep its pictures to the end."""
    keep_words = not reply.evidence
    pages = tuple(replace(page, image=None, words=page.words if keep_words else ()) for page in reply.request.pages)
    return replace(reply, request=replace(reply.request, pages=pages))
