"""What goes into the scheduler (assignments) and what comes out of it (events)."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.errors import DocumentError
from pipeline.core.types import Document, Page, Record
from pipeline.schema.job import Job


@dataclass(frozen=True, eq=False)
class Assignment:
    """A document and the jobs to run on it."""

    document: Document
    jobs: Sequence[Job]


@dataclass(frozen=True, eq=False)
class PartialAnswer:
    """The start of an answer that is still being generated. Only for documents with a single job."""

    document: Document
    text: str


@dataclass(frozen=True, eq=False)
class DocumentFinished:
    """All records of a document were emitted.

    `error` is the first error of its records. With `returned` the document was not processed to its end and has to be
    read again later. `cover` is the first page that could be decoded, `seconds` the time since its first page was
    requested.
    """

    document: Document
    pages: int
    seconds: float
    cover: Page | None = None
    error: DocumentError | None = None
    returned: bool = False


@dataclass(frozen=True)
class Idle:
    """Nothing was ready for a moment, and the engine has no request in flight."""


Event = Record | DocumentFinished | PartialAnswer | Idle
