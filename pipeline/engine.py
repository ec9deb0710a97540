"""The protocol between the pipeline and the engines: what an engine is asked, and what it answers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline.core.time_budget import Budget

if TYPE_CHECKING:
    from pipeline.schema.job import Job
from pipeline.core.types import Document, Evidence, Issue, Page

PARTIAL_LETTERS = 20_000  # of an answer that is still being made, for whoever watches; the reply has all of it

Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class PageSpec:
    """What an engine wants to be given. Picklable, so that pages are fitted where they are decoded.

    `closer`: how many times the pixels of a page it takes at a second look; 0 where such a look shows it nothing new.
    """

    max_side_px: int = 4096
    max_pixels: int = 16_000_000
    min_pixels: int = 0
    multiple_px: int = 1
    window_pages: int = 4
    text_layer: bool = False
    high_resolution_scale: float = 0.0

    def high_resolution(self) -> "PageSpec | None":
        """For a second look: pages of `closer` times as many pixels. None where the engine would see nothing new."""
        if self.high_resolution_scale <= 0:
            return None
        side, pixels = (
            int(self.max_side_px * self.high_resolution_scale**0.5),
            int(self.max_pixels * self.high_resolution_scale),
        )
        return replace(self, max_side_px=side, max_pixels=pixels)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The size nearest to (width, height) that keeps shape and limits, in whole multiples of `multiple_px`."""
        step = self.multiple_px
        scale = min(1.0, self.max_side_px / max(width, height), (self.max_pixels / (width * height)) ** 0.5)
        if width * height * scale * scale < self.min_pixels:
            scale = (self.min_pixels / (width * height)) ** 0.5
        wide, high = (max(step, round(side * scale / step) * step) for side in (width, height))
        while wide * high > max(self.max_pixels, step * step) and max(wide, high) > step:
            if wide >= high:
                wide -= step
            else:
                high -= step
        longest = max(step, self.max_side_px // step * step)
        return min(wide, longest), min(high, longest)


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """One question: a job put to some pages of one document.

    `window` counts from 0: a long document is asked in `windows` windows, and only the pages of this one are here.
    `job` has only the fields that are asked now: those of one region are asked on their own, as part `part` of `parts`
    (`Job.parts`). `look` is 2 for a second look.
    `schema` is the JSON schema of the answer, or None for free text. The model reads `system`, then the pages' pictures
    in order, then `question`: so every question about the same pages shares all that stands before it. `earlier` holds
    the turns of a conversation about these pages, (question, answer) each: they are read after the pictures too.
    `budget` is the time that worker processes may still spend on the document; all its requests share it.
    """

    document: Document
    job: "Job"
    pages: tuple[Page, ...]
    system: str
    question: str
    schema: Mapping[str, Any] | None
    max_new_tokens: int
    window: int = 0
    windows: int = 1
    part: int = 0
    parts: int = 1
    look: Literal[1, 2] = 1
    earlier: tuple[tuple[str, str], ...] = ()
    budget: Budget | None = None

    @property
    def watched(self) -> bool:
        """Whether somebody may look on as the answer is made: a whole question, asked in free text."""
        return self.job.questions and self.schema is None and self.windows == self.parts == 1


@dataclass(frozen=True, eq=False, slots=True)
class Reply:
    """What an engine answered. Keys of `evidence` and `confidence` are leaf paths (`total`, `lines[0].amount`); where
    the lines of a long text stand may be told beside the whole: `answer[0]`, `answer[1]`.

    `logprobs` has a number a token: its log-probability among the tokens that the schema allowed there (0 where only
    one was possible). `free_logprobs` is the same among all tokens, NaN where the token was never sampled.
    `issues` are what the engine itself has to say about its answer. `error_code`, one of errors.DOCUMENT_ERRORS, goes
    with `error`.
    """

    request: Request
    text: str
    finish: Finish
    error: str | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    logprobs: tuple[float, ...] = ()
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    free_logprobs: tuple[float, ...] = ()
    low_resolution: bool = False
    first_token_s: float = 0.0
    issues: tuple["Issue", ...] = ()
    error_code: str = "engine"


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """How an answer begins that is still being made, for the eyes of whoever waits: at most `PARTIAL_LETTERS` of it.

    It is no result: the reply that follows says all of it again.
    """

    request: Request
    text: str


class Engine(Protocol):
    """What answers. Engines live in models/ and know nothing of inboxes, files or tables."""

    name: str
    page_spec: PageSpec

    def unsupported_reason(self, job: "Job") -> str | None:
        """Why this engine cannot answer the job (its documents then wait in the inbox), or None. One for many jobs."""
        ...

    def answer(self, requests: Iterable[Request | None]) -> "Iterator[Reply | Partial | None]":
        """One reply a request, in any order, pulled as there is room and given as soon as ready.

        None in `requests` means "nothing ready at this moment": an engine with work in hand goes on with it. None among
        the replies means the same of the engine, which says so where it has no room to pull: so that its caller, too,
        can look at the clock.
        Of a question (`Request.watched`) an engine may tell, now and then, how far its answer is: a Partial, which
        usually begins with the one before it, and does not where the engine had to start the answer again. Never after
        the request's reply.
        """
        ...

    def provenance(self) -> Mapping[str, str]:
        """What to write into every record: engine, version, weights digest."""
        ...

    def close(self) -> None:
        """Free all that it holds. A question that comes later starts it again."""
        ...
