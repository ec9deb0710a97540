"""The things that flow. Frozen, picklable, and ignorant of how they are made.

Units: pixels for every box. Two pixel spaces exist and are never mixed: *page* pixels (the picture an engine sees,
after orient, deskew, crop and fit) and *source* pixels (the upright original: a picture after its EXIF turn, a PDF page
at `PDF_DPI`). `Page.to_source` maps the first to the second. Engines speak page pixels; records hold source pixels.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.budget import Budget
from pipeline.geometry import Affine, Box

if TYPE_CHECKING:
    from pipeline.job import Job

PDF_DPI = 200  # the source pixels of a PDF page: what office scanners use, and enough for 8-point print
PARTIAL_LETTERS = 20_000  # of an answer that is still being made, for whoever watches; the reply has all of it
Finish = Literal["stop", "length", "error"]
Status = Literal["ok", "review", "failed"]

ISSUES: dict[str, str] = {
    "not_json": "The answer is not JSON, or answers something else than what was asked.",
    "truncated": "The answer was cut off before its end, or a list was: rows may be missing.",
    "missing": "A required field has no value.",
    "wrong_type": "The answer does not read as the field's type.",
    "not_allowed": "The value reads well but the job does not allow it (options, pattern, range, decimals).",
    "rule_failed": "A rule of the job does not hold.",
    "unreadable": "A page of the document could not be read; the others were.",
    "conflict": "Two parts of the document give different values.",
    "unseen": "The value does not stand on the page.",
    "doubtful": "The confidence is below the job's `review_below`.",
    "bad_text": "A long text does not parse, lacks what was asked for or is too long; it is kept as it is.",
    "bad_box": "A box is empty, inverted or outside the page.",
    "only_read": "The CPU engine cannot answer a question: the answer is the text that it read on the pictures.",
}


@dataclass(frozen=True, slots=True)
class Word:
    """A word or line of a text layer, in page pixels."""

    text: str
    box: Box

    def scaled(self, x: float, y: float) -> "Word":
        """The same word on a page that is `x` times as wide and `y` times as high."""
        box = self.box
        return Word(self.text, Box(box.x * x, box.y * y, box.width * x, box.height * y))


@dataclass(frozen=True, slots=True)
class Document:
    """A claimed file. `id` is the SHA-256 of its bytes in hex; `name` its path below inbox/<box>/.

    Where a question came with it, `path` is a folder: `parts` are the pictures in it, none or several, in their order,
    `question` is what was asked, and `earlier` the (question, answer) turns before it. The id is made from all three.
    """

    id: str
    name: str
    path: Path
    inbox: str
    received_at: datetime
    size_bytes: int
    question: str | None = None
    earlier: tuple[tuple[str, str], ...] = ()
    parts: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is to be decoded: page numbers run through all of them."""
        return (self.path,) if self.question is None else self.parts


@dataclass(frozen=True, eq=False, slots=True)
class Page:
    """One page of a document, from the moment it is read from its file to the moment an engine sees it.

    `documents` makes it, each step of `preprocess` gives a changed copy. `number` counts from 1 through all files of
    the document. `width`, `height` and `words` are in the pixels of this moment; `to_source` leads from them to source
    pixels. `image` is RGB, uint8, shape (height, width, 3), or None where the words say all: the engine asked for text
    only (`Wants.text_layer`) and the page has a sound text layer. `words` is that layer, empty where there is none.
    `fault` says why the page cannot be read; then there is neither image nor words. `source_px` is the size of the page
    in source pixels, as `preprocess` met it; (0, 0) before that.
    """

    number: int
    width: int
    height: int
    to_source: Affine
    image: NDArray[np.uint8] | None = None
    words: tuple[Word, ...] = ()
    fault: str | None = None
    source_px: tuple[float, float] = (0.0, 0.0)

    def source_box(self, box: Box) -> Box:
        """The upright box in source pixels around a box in page pixels, cut off at the edges of the source.

        Where `source_px`, its size, is not known, only at the left and upper edge.
        """
        whole = self.to_source.box(box)
        x, y = max(0.0, whole.x), max(0.0, whole.y)
        right, bottom = whole.right, whole.bottom
        if self.source_px != (0.0, 0.0):
            right, bottom = min(right, self.source_px[0]), min(bottom, self.source_px[1])
        return Box(x, y, max(0.0, right - x), max(0.0, bottom - y))


@dataclass(frozen=True, slots=True)
class Wants:
    """What an engine wants to be given. Picklable, so that pages are fitted where they are decoded.

    `closer`: how many times the pixels of a page it takes at a second look; 0 where such a look shows it nothing new.
    """

    max_side_px: int = 4096
    max_pixels: int = 16_000_000
    min_pixels: int = 0
    multiple_px: int = 1
    window_pages: int = 4
    text_layer: bool = False
    closer: float = 0.0

    def nearer(self) -> "Wants | None":
        """For a second look: pages of `closer` times as many pixels. None where the engine would see nothing new."""
        if self.closer <= 0:
            return None
        side, pixels = int(self.max_side_px * self.closer**0.5), int(self.max_pixels * self.closer)
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a value stands and what is printed there. The box: page pixels in a Reply, source pixels in a Record."""

    page: int
    box: Box | None
    text: str


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


@dataclass(frozen=True, slots=True)
class Issue:
    """Something to know about an answer. `path` is a leaf path, or "" for the whole record; `code` is one of ISSUES."""

    code: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person changed, and when: the machine's value and theirs, as JSON has them. `by` is None where unknown."""

    path: str
    machine: Any
    person: Any
    at: datetime
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """A person looked at the record and says that it is right."""

    at: datetime
    by: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One checked answer: a row of the table. `page` is its page for `per: page` jobs, else None.

    `data` holds typed Python values (date, time, Decimal, int, float, bool, str, dict, list) or None. `error` is the
    (code, detail) of a DocumentError; then data is empty and status is failed. `day` and `processed_at` are set by the
    store when it commits: the local day on which the bytes were first read, and when this answer was written.
    `other_look` is the answer that does not count, where a job looked twice; provenance's `look` (1 or 2) says which
    does.
    `corrections` are those that hold, one a path; with `approved` the status is ok whatever the issues say.
    `files` lie beside the record, named from the root: code, Markdown, pictures with boxes; the store writes them.
    """

    document: Document
    job: str
    page: int | None
    pages: tuple[int, ...]
    data: Mapping[str, Any]
    confidence: Mapping[str, float]
    evidence: Mapping[str, Evidence]
    issues: tuple[Issue, ...]
    error: tuple[str, str] | None
    provenance: Mapping[str, Any]
    day: date | None = None
    processed_at: datetime | None = None
    other_look: "Record | None" = None
    corrections: tuple[Correction, ...] = ()
    approved: Approval | None = None
    files: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        if self.error is not None:
            return "failed"
        return "review" if self.issues and not self.approved else "ok"


class Engine(Protocol):
    """What answers. Engines live in models/ and know nothing of inboxes, files or tables."""

    name: str
    wants: Wants

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
