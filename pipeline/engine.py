"""The protocol between the pipeline and the engines: requests, replies, and the engine interface."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline.core.time_budget import Budget
from pipeline.core.types import Document, Evidence, Issue, Page

if TYPE_CHECKING:
    from pipeline.schema.job import Job

PARTIAL_LETTERS = 20_000  # longest text of a Partial; the reply is complete

Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class PageSpec:
    """The size and number of pages that an engine accepts. Picklable: decoder processes resize pages by it.

    `high_resolution_scale`: how many times the pixels of a page it accepts in a second pass; 0 means no second pass.
    """

    max_side_px: int = 4096
    max_pixels: int = 16_000_000
    min_pixels: int = 0
    multiple_px: int = 1
    window_pages: int = 4
    text_layer: bool = False
    high_resolution_scale: float = 0.0

    def high_resolution(self) -> "PageSpec | None":
        """The spec for a second pass, with `high_resolution_scale` times the pixels; None without a second pass."""
        if self.high_resolution_scale <= 0:
            return None
        side_px = int(self.max_side_px * self.high_resolution_scale**0.5)
        return replace(self, max_side_px=side_px, max_pixels=int(self.max_pixels * self.high_resolution_scale))

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The size nearest to (width, height), in pixels, that keeps the aspect ratio and all limits of this spec."""
        step = self.multiple_px
        scale = min(1.0, self.max_side_px / max(width, height), (self.max_pixels / (width * height)) ** 0.5)
        if width * height * scale * scale < self.min_pixels:
            scale = (self.min_pixels / (width * height)) ** 0.5
        fit_width, fit_height = (max(step, round(side * scale / step) * step) for side in (width, height))
        while fit_width * fit_height > max(self.max_pixels, step * step) and max(fit_width, fit_height) > step:
            if fit_width >= fit_height:
                fit_width -= step
            else:
                fit_height -= step
        longest = max(step, self.max_side_px // step * step)
        return min(fit_width, longest), min(fit_height, longest)


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """One request: a job for some pages of one document.

    `window` counts from 0: a long document is split into `windows` windows, and `pages` are those of this one.
    `job` has only the fields of this request: the fields of each region are a request of their own, part `part` of
    `parts` (`Job.parts`). `look` is 2 in a second pass.
    `schema` is the JSON schema of the answer, or None for free text. The model reads `system`, then the pages in order,
    then `question`, so that all requests about the same pages share a prefix. `earlier` holds the turns of a
    conversation about these pages as (question, answer); they come after the pages too.
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
        """Whether partial answers are of use: a question in free text that is a single request."""
        return self.job.questions and self.schema is None and self.windows == self.parts == 1


@dataclass(frozen=True, eq=False, slots=True)
class Reply:
    """The answer of an engine to one request.

    Keys of `evidence` and `confidence` are leaf paths (`total`, `lines[0].amount`). The lines of a long text may have
    evidence of their own: `answer[0]`, `answer[1]`.
    `logprobs` has the log-probability of each token among those that the schema allowed (0 if only one was allowed).
    `free_logprobs` is the same among all tokens, NaN if the token was not sampled.
    `issues` are the engine's own remarks on the answer. `error_code`, one of errors.DOCUMENT_ERRORS, goes with `error`.
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
    issues: tuple[Issue, ...] = ()
    error_code: str = "engine"


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """The start of an answer that is still being generated, at most `PARTIAL_LETTERS` of it.

    For display only: the reply that follows has the complete text.
    """

    request: Request
    text: str


class Engine(Protocol):
    """Answers requests. Engines are in models/ and know nothing of inboxes, files or tables."""

    name: str
    page_spec: PageSpec

    def unsupported_reason(self, job: "Job") -> str | None:
        """Why this engine cannot process the job (its documents then wait in the inbox), or None.

        Jobs with the same reason are reported together.
        """
        ...

    def answer(self, requests: Iterable[Request | None]) -> "Iterator[Reply | Partial | None]":
        """Yields one reply for each request, in any order, as soon as it is ready. Pulls requests as it has room.

        None in `requests` means that no request is ready: the engine goes on with those in flight. None among the
        replies means that no reply is ready and there is no room to pull: the caller can check the time.
        For a request that is `watched` the engine may yield Partials before the reply. Each extends the one before,
        unless the engine had to start the answer again.
        """
        ...

    def provenance(self) -> Mapping[str, str]:
        """Entries for every record: engine, version, weights digest."""
        ...

    def close(self) -> None:
        """Free all resources. A later request loads the engine again."""
        ...
