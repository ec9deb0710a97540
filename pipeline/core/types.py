"""The things that flow. Frozen, picklable, and ignorant of how they are made.

Units: pixels for every box. Two pixel spaces exist and are never mixed: *page* pixels (the picture an engine sees,
after orient, deskew, crop and fit) and *source* pixels (the upright original: a picture after its EXIF turn, a PDF page
at `PDF_DPI`). `Page.to_source` maps the first to the second. Engines speak page pixels; records hold source pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Affine, Box

if TYPE_CHECKING:
    pass

PDF_DPI = 200  # the source pixels of a PDF page: what office scanners use, and enough for 8-point print
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
class Evidence:
    """Where a value stands and what is printed there. The box: page pixels in a Reply, source pixels in a Record."""

    page: int
    box: Box | None
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
