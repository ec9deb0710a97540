"""The state of one document in the scheduler: requested pages, received replies, second passes."""

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
    """One part of a job that is asked on its own: `Job.parts[number]`. With `doubts` it belongs to a second pass."""

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
    """The pages of one document under one preparation, requested window by window.

    `last_page` None means the last page of the document.
    """

    preparation: PagePreparation
    window_pages: int
    parts: list[SubJob]
    next_page: int = 1
    last_page: int | None = None


@dataclass(eq=False)
class PendingRecord:
    """The replies for one record so far.

    `first` is the record of the first pass while the second is under way; `page_plans` are those of the second pass.
    """

    job: Job
    page: int | None
    awaited: int
    windows: int
    by_window: dict[tuple[int, int], Reply] = field(default_factory=dict)  # by window and part
    first: Record | None = None
    page_plans: list[PagePlan] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """In the order of windows. The reply of a second pass replaces the one of the first."""
        return [self.by_window[key] for key in sorted(self.by_window)]


@dataclass
class DocumentState:
    """`total_pages` is None until the first window is decoded. `decoding_windows` are with the decoders now."""

    document: Document
    jobs: Sequence[Job]
    page_spec: PageSpec
    total_pages: int | None = None
    decoding_windows: int = 0
    closed: int = 0  # records that were emitted
    pending: dict[tuple[str, int | None], PendingRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page_plans = self._plan(
            [SubJob(job, n) for job in self.jobs for n in range(len(job.parts))], self.page_spec
        )

    def _plan(self, parts: Sequence[SubJob], page_spec: PageSpec) -> list[PagePlan]:
        """Sub-jobs with the same page preparation share one plan, so that each page is decoded once."""
        plans: dict[tuple[PagePreparation, int], PagePlan] = {}
        for part in parts:
            preparation = PagePreparation(part.job.preprocess, part.asked.region, page_spec)
            window = part.job.window or self.page_spec.window_pages
            plans.setdefault((preparation, window), PagePlan(preparation, window, [])).parts.append(part)
        return list(plans.values())

    # ---- pages out
    def next_plan(self) -> PagePlan | None:
        """The plan whose next window may be requested now. Until the page count is known, only the first window is."""
        if self.total_pages is None:
            return self.page_plans[0] if not self.decoding_windows else None
        return next((plan for plan in self.page_plans if self._has_pages_left(plan)), None)

    def _has_pages_left(self, plan: PagePlan) -> bool:
        return plan.next_page <= (plan.last_page or self.total_pages or 1)

    @property
    def all_requested(self) -> bool:
        """Whether every page was requested for every job."""
        return self.total_pages is not None and self.next_plan() is None

    def requests(self, plan: PagePlan, first: int, pages: Sequence[Page]) -> Iterator[Request]:
        """The requests about one decoded window."""
        assert self.total_pages is not None
        windows = max(1, ceil(self.total_pages / plan.window_pages))
        for part in plan.parts:
            if part.job.per == "page":
                yield from (part.ask(self.document, (page,)) for page in pages)
            else:
                yield part.ask(self.document, pages, (first - 1) // plan.window_pages, windows)

    def unreadable_pages(self, plan: PagePlan, first: int, error: DocumentError) -> list[Page]:
        """Placeholders for the pages of a window that could not be decoded, in a document that has readable pages."""
        assert self.total_pages is not None
        last = min(first + plan.window_pages - 1, plan.last_page or self.total_pages)
        return [Page(n, 0, 0, Affine(), fault=str(error)) for n in range(first, last + 1)]

    # ---- replies in
    def add_reply(self, reply: Reply) -> PendingRecord | None:
        """Adds a reply to its record. Returns the record's replies once all are there, after each pass."""
        request = reply.request
        job = next(job for job in self.jobs if job.name == request.job.name)
        page = request.pages[0].number if job.per == "page" else None
        pending = self.pending.get((job.name, page))
        if pending is None:
            if request.look == 2:  # the second pass was dropped meanwhile
                return None
            pending = PendingRecord(job, page, request.windows * request.parts, request.windows)
            self.pending[job.name, page] = pending
        pending.by_window[request.window, request.part] = _without_pictures(reply)
        pending.awaited -= 1
        return None if pending.awaited else pending

    def start_second_pass(self, pending: PendingRecord, record: Record) -> bool:
        """Starts a second pass of a complete record, if it has doubts and the engine can read at a higher resolution.

        Every window is requested again, but only for the parts of the job that the doubts concern.
        """
        high_resolution, found = self.page_spec.high_resolution(), second_pass.reasons(pending.job, record)
        if high_resolution is None or pending.first is not None or not found:
            return False
        parts = [SubJob(pending.job, n, second_pass.for_part(part, found)) for n, part in enumerate(pending.job.parts)]
        parts = [part for part in parts if part.doubts]
        pending.page_plans = self._plan(parts, high_resolution)
        if pending.page is not None:
            for plan in pending.page_plans:
                plan.next_page = plan.last_page = pending.page
                plan.window_pages = 1
        self.page_plans += pending.page_plans
        pending.first, pending.awaited = record, len(parts) * pending.windows
        return True

    def pending_second_pass(self) -> list[PendingRecord]:
        """Records whose second pass is not fully requested yet."""
        return [
            pending
            for pending in self.pending.values()
            if any(self._has_pages_left(plan) for plan in pending.page_plans)
        ]

    def close_record(self, pending: PendingRecord) -> None:
        """The record was emitted: drop its remaining page plans."""
        del self.pending[pending.job.name, pending.page]
        self.page_plans = [plan for plan in self.page_plans if plan not in pending.page_plans]
        self.closed += 1

    @property
    def complete(self) -> bool:
        """Whether every record of every job was emitted."""
        if not self.all_requested:
            return False
        assert self.total_pages is not None
        return self.closed == sum(self.total_pages if job.per == "page" else 1 for job in self.jobs)


def _without_pictures(reply: Reply) -> Reply:
    """The reply without pictures, and without words if it has evidence, to save memory in long documents."""
    keep_words = not reply.evidence
    pages = tuple(replace(page, image=None, words=page.words if keep_words else ()) for page in reply.request.pages)
    return replace(reply, request=replace(reply.request, pages=pages))
