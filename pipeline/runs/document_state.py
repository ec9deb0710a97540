"""One document on its way: which pages were given out to which questions, which replies are back, who looks again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from pipeline.core.errors import DocumentError
from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Issue, Page, Record
from pipeline.engine import PageSpec, Reply, Request
from pipeline.extraction import prompt, second_pass
from pipeline.preprocessing.page_loader import PagePreparation
from pipeline.schema.job import Job


@dataclass(frozen=True, eq=False)
class SubJob:
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
class PagePlan:
    """The pages of one document under one plan, given out window by window. `last_page` is None for the document's."""

    plan: PagePreparation
    window_pages: int
    parts: list[SubJob]
    next_page: int = 1
    last_page: int | None = None


@dataclass(eq=False)
class PendingRecord:
    """What has come back for one record. `first` is the record before the second look, whose reels are `reels`."""

    job: Job
    page: int | None
    awaited: int
    windows: int
    by_place: dict[tuple[int, int], Reply] = field(default_factory=dict)  # window and part
    first: Record | None = None
    page_plans: list[PagePlan] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """In the order of windows; where a part was asked again, its second reply."""
        return [self.by_place[place] for place in sorted(self.by_place)]


@dataclass
class DocumentState:
    """`total_pages` is None until the first window came back from its decoder."""

    document: Document
    jobs: Sequence[Job]
    page_spec: PageSpec
    total_pages: int | None = None
    open_windows: int = 0
    answered: int = 0
    answers: dict[tuple[str, int | None], PendingRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Questions that want to see the same pages in the same way share one reel, so each page is decoded once."""
        self.page_plans = self._reels(
            [SubJob(job, n) for job in self.jobs for n in range(len(job.parts))], self.page_spec
        )

    def _reels(self, parts: Sequence[SubJob], page_spec: PageSpec) -> list[PagePlan]:
        page_plans: dict[tuple[PagePreparation, int], PagePlan] = {}
        for part in parts:
            plan = PagePreparation(part.job.preprocess, part.asked.region, page_spec)
            window = part.job.window or self.page_spec.window_pages
            page_plans.setdefault((plan, window), PagePlan(plan, window, [])).parts.append(part)
        return list(page_plans.values())

    # ---- pages out
    def wanted(self) -> PagePlan | None:
        """The reel that may give out its next window now. Until the page count is known only the first window is."""
        if self.total_pages is None:
            return self.page_plans[0] if not self.open_windows else None
        return next((page_plan for page_plan in self.page_plans if self._left(page_plan)), None)

    def _left(self, page_plan: PagePlan) -> bool:
        return page_plan.next_page <= (page_plan.last_page or self.total_pages or 1)

    @property
    def given_out(self) -> bool:
        """Whether every page was given out to every question."""
        return self.total_pages is not None and self.wanted() is None

    def requests(self, page_plan: PagePlan, first: int, pages: Sequence[Page]) -> Iterator[Request]:
        """The questions about one decoded window."""
        assert self.total_pages is not None
        windows = max(1, ceil(self.total_pages / page_plan.window_pages))
        for part in page_plan.parts:
            if part.job.per == "page":
                yield from (part.ask(self.document, (page,)) for page in pages)
            else:
                yield part.ask(self.document, pages, (first - 1) // page_plan.window_pages, windows)

    def lost(self, page_plan: PagePlan, first: int, error: DocumentError) -> list[Page]:
        """Stand-ins for the pages of a window that could not be read although others could."""
        assert self.total_pages is not None
        last = min(first + page_plan.window_pages - 1, page_plan.last_page or self.total_pages)
        return [Page(n, 0, 0, Affine(), fault=str(error)) for n in range(first, last + 1)]

    # ---- replies in
    def take(self, reply: Reply) -> PendingRecord | None:
        """Keeps a reply; returns its answer once the last reply is there, and each time again after `look_again`."""
        request = reply.request
        job = next(job for job in self.jobs if job.name == request.job.name)
        page = request.pages[0].number if job.per == "page" else None
        answer = self.answers.get((job.name, page))
        if answer is None:
            if request.look == 2:  # it was given up meanwhile
                return None
            answer = PendingRecord(job, page, request.windows * request.parts, request.windows)
            self.answers[job.name, page] = answer
        answer.by_place[request.window, request.part] = _lightened(reply)
        answer.awaited -= 1
        return None if answer.awaited else answer

    def look_again(self, answer: PendingRecord, record: Record) -> bool:
        """Begins a second look at an answer that is whole, where it is worth one and the engine can look closer.

        Every window is asked again, but only the parts of the job that can do something about what is wrong.
        """
        high_resolution, found = self.page_spec.high_resolution(), second_pass.reasons(answer.job, record)
        if high_resolution is None or answer.first is not None or not found:
            return False
        parts = [SubJob(answer.job, n, second_pass.for_part(part, found)) for n, part in enumerate(answer.job.parts)]
        parts = [part for part in parts if part.doubts]
        answer.page_plans = self._reels(parts, high_resolution)
        if answer.page is not None:
            for page_plan in answer.page_plans:
                page_plan.next_page = page_plan.last_page = answer.page
                page_plan.window_pages = 1
        self.page_plans += answer.page_plans
        answer.first, answer.awaited = record, len(parts) * answer.windows
        return True

    def pending_second_pass(self) -> list[PendingRecord]:
        """Answers whose second look is not wholly given out yet."""
        return [
            answer for answer in self.answers.values() if any(self._left(page_plan) for page_plan in answer.page_plans)
        ]

    def settle(self, answer: PendingRecord) -> None:
        """The answer's record is out; what still comes for it is not wanted."""
        del self.answers[answer.job.name, answer.page]
        self.page_plans = [page_plan for page_plan in self.page_plans if page_plan not in answer.page_plans]
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
