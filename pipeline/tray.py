"""One document on its way: which jobs still ask, which pages were given out, which replies are back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from pipeline import prompt
from pipeline.errors import DocumentError
from pipeline.job import Job
from pipeline.pages import Plan
from pipeline.types import Affine, Document, Page, Reply, Request, Wants

Answer = tuple[Job, int | None]  # a job and, for `per: page`, the page's number


@dataclass
class Reel:
    """The pages of one document under one plan, given out window by window."""

    plan: Plan
    window_pages: int
    jobs: list[Job]
    next_page: int = 1


@dataclass
class Tray:
    """`total_pages` is None until the first window came back from its decoder."""

    document: Document
    reels: list[Reel]
    total_pages: int | None = None
    open_windows: int = 0
    replies: dict[tuple[str, int | None], dict[int, Reply]] = field(default_factory=dict)
    answered: int = 0
    error: DocumentError | None = None

    @staticmethod
    def of(document: Document, jobs: Sequence[Job], wants: Wants) -> "Tray":
        """Jobs that want to see the same pages in the same way share one reel, so that each page is decoded once."""
        reels: dict[tuple[Plan, int], Reel] = {}
        for job in jobs:
            plan = Plan(job.preprocess, job.region, wants)
            window = job.window or wants.window_pages
            reels.setdefault((plan, window), Reel(plan, window, [])).jobs.append(job)
        return Tray(document, list(reels.values()))

    def wanted(self) -> Reel | None:
        """The reel that may give out its next window now. Until the page count is known only the first window is."""
        if self.error is not None:
            return None
        if self.total_pages is None:
            return self.reels[0] if not self.open_windows else None
        return next((reel for reel in self.reels if reel.next_page <= self.total_pages), None)

    @property
    def given_out(self) -> bool:
        """Whether every page was given out to every job."""
        return self.total_pages is not None and self.wanted() is None

    def requests(self, reel: Reel, first: int, pages: Sequence[Page]) -> Iterator[Request]:
        """The questions about one decoded window."""
        assert self.total_pages is not None
        windows = ceil(self.total_pages / reel.window_pages)
        for job in reel.jobs:
            if job.per == "page":
                yield from (prompt.ask(job, self.document, (page,)) for page in pages)
            else:
                yield prompt.ask(job, self.document, tuple(pages), (first - 1) // reel.window_pages, windows)

    def lost(self, reel: Reel, first: int, error: DocumentError) -> list[Page]:
        """Stand-ins for the pages of a window that could not be read although others could."""
        assert self.total_pages is not None
        last = min(first + reel.window_pages - 1, self.total_pages)
        return [Page(self.document, n, 0, 0, Affine(), fault=str(error)) for n in range(first, last + 1)]

    def take(self, reply: Reply) -> list[Reply] | None:
        """Keeps a reply; returns all replies of its answer, in window order, once the last of them is there."""
        request = reply.request
        page = request.pages[0].number if request.job.per == "page" else None
        windows = self.replies.setdefault((request.job.name, page), {})
        windows[request.window] = _lightened(reply)
        if len(windows) < request.windows:
            return None
        self.answered += 1
        del self.replies[request.job.name, page]
        return [windows[number] for number in range(request.windows)]

    @property
    def complete(self) -> bool:
        """Whether every answer that the jobs ask for is there."""
        if not self.given_out:
            return False
        assert self.total_pages is not None
        expected = sum(self.total_pages if job.per == "page" else 1 for reel in self.reels for job in reel.jobs)
        return self.answered == expected


def _lightened(reply: Reply) -> Reply:
    """The reply without what extraction no longer needs: a long document must not keep its pictures to the end."""
    keep_words = not reply.evidence
    pages = tuple(replace(page, image=None, words=page.words if keep_words else ()) for page in reply.request.pages)
    return replace(reply, request=replace(reply.request, pages=pages))
