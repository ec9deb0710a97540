"""Data classes that the stages exchange: documents, pages, evidence, issues and records. Frozen and picklable.

Units: pixels for every box. There are two pixel spaces: *page* pixels (the picture an engine sees, after orient,
deskew, crop and fit) and *source* pixels (the upright original: a picture after its EXIF rotation, a PDF page at
`PDF_DPI`). `Page.to_source` maps the first to the second. Engines use page pixels; records use source pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Affine, Box

PDF_DPI = 200  # the source pixels of a PDF page: what office scanners use, and enough for 8-point print
Status = Literal["ok", "review", "failed"]

ISSUES: dict[str, str] = {
    "not_json": "The answer is not JSON, or does not have the form that was asked for.",
    "truncated": "The answer was cut off before its end, or a list was: rows may be missing.",
    "missing": "A required field has no value.",
    "wrong_type": "The answer cannot be read as the field's type.",
    "not_allowed": "The value can be read, but the job does not allow it (options, pattern, range, decimals).",
    "rule_failed": "A rule of the job does not hold.",
    "unreadable": "A page of the document could not be read; the others were.",
    "conflict": "Two parts of the document give different values.",
    "unseen": "The value was not found on the page.",
    "doubtful": "The confidence is below the job's `review_below`.",
    "bad_text": "A long text does not parse, lacks required parts or is too long; it is kept unchanged.",
    "bad_box": "A box is empty, inverted or outside the page.",
    "only_read": "The CPU engine cannot answer a question: the answer is the text that it read on the pictures.",
}


@dataclass(frozen=True, slots=True)
class Word:
    """A word or line of a text layer, in page pixels."""

    text: str
    box: Box

    def scaled(self, x: float, y: float) -> "Word":
        """The word on a page that is `x` times as wide and `y` times as high."""
        box = self.box
        return Word(self.text, Box(box.x * x, box.y * y, box.width * x, box.height * y))


@dataclass(frozen=True, slots=True)
class Document:
    """A claimed file. `id` is the SHA-256 of its bytes in hex; `name` its path below inbox/<box>/.

    Where a question came with it, `path` is a folder: `parts` are the pictures in it, in order, `question` is the
    question, and `earlier` the (question, answer) turns before it. The id is made from all three.
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
        """The files to decode. Page numbers run through all of them."""
        return (self.path,) if self.question is None else self.parts


@dataclass(frozen=True, eq=False, slots=True)
class Page:
    """One page of a document, from decoding to the engine.

    Each step of preprocessing returns a changed copy. `number` counts from 1 through all files of the document.
    `width`, `height` and `words` are in current pixels; `to_source` maps them to source pixels. `image` is RGB, uint8,
    shape (height, width, 3). It is None where the engine asked for text only and the page has a valid text layer.
    `words` is that layer, empty where there is none. `fault` says why the page cannot be read; then there is neither
    image nor words. `source_px` is the size of the page in source pixels; (0, 0) before preprocessing.
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
        """The bounding box in source pixels of a box in page pixels, clipped to the source.

        Where `source_px` is not known, it is clipped at the left and upper edge only.
        """
        whole = self.to_source.box(box)
        x, y = max(0.0, whole.x), max(0.0, whole.y)
        right, bottom = whole.right, whole.bottom
        if self.source_px != (0.0, 0.0):
            right, bottom = min(right, self.source_px[0]), min(bottom, self.source_px[1])
        return Box(x, y, max(0.0, right - x), max(0.0, bottom - y))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The place of a value and the text printed there. The box: page pixels in a Reply, source pixels in a Record."""

    page: int
    box: Box | None
    text: str


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem of an answer. `path` is a leaf path, or "" for the whole record; `code` is one of ISSUES."""

    code: str
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A manual correction: the value of the engine and that of the person, as in JSON. `by` is None where unknown."""

    path: str
    machine: Any
    person: Any
    at: datetime
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """A person confirmed the record."""

    at: datetime
    by: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One checked answer: a row of the table. `page` is its page for `per: page` jobs, else None.

    `data` holds typed Python values (date, time, Decimal, int, float, bool, str, dict, list) or None. `error` is the
    (code, detail) of a DocumentError; then data is empty and status is failed. `day` and `processed_at` are set by the
    store when it commits: the local day on which the bytes were first read, and the time of writing.
    `other_look` is the rejected answer of a job with two passes; `look` in the provenance (1 or 2) is the pass that
    was kept. `corrections` are those in force, one a path. With `approved` the status is ok whatever the issues.
    `files` are attachments, as paths below the root: code, Markdown, pictures with boxes. The store writes them.
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
