"""The report of one run: which documents were claimed, their outcomes, and which need review.

`RunReport` collects entries during the run; html_report.py writes it below runs/ at the end. Documents are counted when
they are claimed and again when they are closed, so that a lost document is noticed.

The JSON object (`to_dict`), version 1: `scanmill` (1), `kind` ("run"), `engine` (a sentence), `model` (its name),
`started_at`, `finished_at` (local time with its offset), `counts` (as `summary`), `jobs` (records of each job by
status), `faults`, `notes` (sentences), `documents`, each with `document_id` (SHA-256), `name`, `inbox`, `outcome`,
`jobs`, `pages`, `seconds`, `settled_at`, `error` ({code, detail, cause, cure} or null), `issues` ([{job, code, path,
message}], at most 20) and `issues_total`, `confidence` (the lowest of its values, or null), `records` and `moved_to`
(paths relative to the root), `question` and `answer` (their beginning, for a document with a question);
`gpu_busy`: null, or `mean` (0 to 1) and `samples` ([seconds since the start, 0 to 1]), from the driver.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from pipeline.core.types import Document, Issue, Record, Status
from pipeline.plugins.formats import explain_error
from pipeline.reporting import html
from pipeline.reporting.html import THUMBNAIL_BYTES
from pipeline.reporting.html import thumbnail as thumbnail
from pipeline.system.compressed_list import CompressedList

Outcome = Literal["done", "failed", "duplicate", "given back"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
STATUSES: tuple[Status, ...] = get_args(Status)

VERSION = 1
THUMBNAILS = 100  # in one report
EXCERPT_LETTERS = 600  # of a question and of its answer; the record has the full text
ISSUES_KEPT = 20  # of one document; the record has all
SAMPLES = 720  # of the GPU load that are kept: one per minute over twelve hours


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """The outcome of one document. `answers` is a (job, status) for every record; `seconds` its processing time.

    `error` is the (code, detail) of its DocumentError; `issues` are (job, Issue), the first `ISSUES_KEPT` of all.
    For a document with a question, `question` and `answer` are the beginning of both.
    """

    document_id: str
    name: str
    inbox: str
    outcome: Outcome
    answers: tuple[tuple[str, Status], ...] = ()
    pages: int = 0
    seconds: float = 0.0
    settled_at: datetime = field(default_factory=_now)
    error: tuple[str, str] | None = None
    issues: tuple[tuple[str, Issue], ...] = ()
    issues_total: int = 0
    confidence: float | None = None
    thumbnail: bytes | None = None
    records: tuple[str, ...] = ()
    moved_to: str | None = None
    question: str | None = None
    answer: str | None = None

    @classmethod
    def of(
        cls,
        document: Document,
        outcome: Outcome,
        records: Sequence[Record] = (),
        *,
        pages: int = 0,
        seconds: float = 0.0,
        error: tuple[str, str] | None = None,
        thumbnail: bytes | None = None,
        record_paths: Iterable[Path | str] = (),
        moved_to: Path | str | None = None,
    ) -> "ReportEntry":
        """The entry of a document with its records. Without `error`, the error of the first failed record is used."""
        issues = [(record.job, issue) for record in records for issue in record.issues]
        return cls(
            document_id=document.id,
            name=document.name,
            inbox=document.inbox,
            outcome=outcome,
            answers=tuple((record.job, record.status) for record in records),
            pages=pages,
            seconds=seconds,
            error=error or next((record.error for record in records if record.error), None),
            issues=tuple(issues[:ISSUES_KEPT]),
            issues_total=len(issues),
            confidence=min((value for record in records for value in record.confidence.values()), default=None),
            thumbnail=thumbnail,
            records=tuple(str(path) for path in record_paths),
            moved_to=None if moved_to is None else str(moved_to),
            question=document.question and _start(document.question),
            answer=_answer(records) if document.question is not None else None,
        )

    @property
    def needs_review(self) -> bool:
        return self.outcome == "failed" or self.error is not None or any(status != "ok" for _, status in self.answers)

    def to_dict(self) -> dict[str, Any]:
        jobs: dict[str, dict[str, int]] = {}
        for job, status in self.answers:
            jobs.setdefault(job, dict.fromkeys(STATUSES, 0))[status] += 1
        error = None
        if self.error is not None:
            code, detail = self.error
            known = explain_error(code)
            error = {
                "code": code,
                "detail": detail,
                "cause": known.cause,
                "cure": known.cure,
            }
        return {
            "document_id": self.document_id,
            "name": self.name,
            "inbox": self.inbox,
            "outcome": self.outcome,
            "jobs": jobs,
            "pages": self.pages,
            "seconds": round(self.seconds, 3),
            "settled_at": self.settled_at.astimezone().isoformat(timespec="milliseconds"),
            "error": error,
            "issues": [
                {"job": job, "code": issue.code, "path": issue.path, "message": issue.message}
                for job, issue in self.issues
            ],
            "issues_total": max(self.issues_total, len(self.issues)),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "records": list(self.records),
            "moved_to": self.moved_to,
            "question": self.question,
            "answer": self.answer,
        }


def _start(text: str) -> str:
    return text if len(text) <= EXCERPT_LETTERS else text[: EXCERPT_LETTERS - 1] + "…"


def _answer(records: Sequence[Record]) -> str | None:
    """The first text among all answers."""
    texts = (value for record in records for value in record.data.values() if isinstance(value, str))
    return next((_start(text) for text in texts), None)


@dataclass(slots=True)
class RunReport:
    """The report of one run. Call `take` for every claim, `add` when its document is closed, `finish` at the end.

    `engine` is a sentence that says which engine is used and why, `model` its name; `notes` are sentences.
    """

    engine: str
    jobs: tuple[str, ...] = ()
    model: str = ""
    started_at: datetime = field(default_factory=_now)
    finished_at: datetime | None = None
    notes: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)  # documents that could not be claimed, in sentences
    left: list[str] = field(default_factory=list)  # one line about documents that wait for another engine
    entries: CompressedList[ReportEntry] = field(default_factory=CompressedList)
    load: list[tuple[float, float]] = field(
        default_factory=list
    )  # samples of the GPU load: (seconds since the start, 0 to 1)
    written: Path | None = None  # path of the HTML page, once written
    _open: Counter[tuple[str, str]] = field(default_factory=Counter)
    _taken: int = 0
    _thumbnails: int = 0

    def take(self, inbox: str, name: str) -> None:
        """Count a document that was claimed from `inbox`."""
        self._taken += 1
        self._open[inbox, name] += 1

    def add(self, entry: ReportEntry) -> None:
        """Add the entry of a closed document. Only thumbnails that the page shows are kept, to bound memory."""
        self._open[entry.inbox, entry.name] -= 1
        if not self._open[entry.inbox, entry.name]:
            del self._open[entry.inbox, entry.name]
        if entry.thumbnail is not None:
            if entry.needs_review and self.wants_thumbnails and len(entry.thumbnail) <= THUMBNAIL_BYTES:
                self._thumbnails += 1
            else:
                entry = replace(entry, thumbnail=None)
        self.entries.append(entry)

    @property
    def wants_thumbnails(self) -> bool:
        """Whether the report has room for another thumbnail."""
        return self._thumbnails < THUMBNAILS

    def finish(self) -> None:
        self.finished_at = _now()

    @property
    def seconds(self) -> float:
        """The duration of the run, so far or in total."""
        return max(0.0, ((self.finished_at or _now()) - self.started_at).total_seconds())

    def summary(self) -> dict[str, Any]:
        """taken, done, failed, duplicate, given_back, pages, records by status, seconds and pages_per_second."""
        outcomes = Counter(entry.outcome for entry in self.entries)
        statuses = Counter(status for entry in self.entries for _, status in entry.answers)
        pages, seconds = sum(entry.pages for entry in self.entries), self.seconds
        return {
            "taken": self._taken,
            **{outcome.replace(" ", "_"): outcomes[outcome] for outcome in OUTCOMES},
            "pages": pages,
            "records": {status: statuses[status] for status in STATUSES},
            "seconds": round(seconds, 3),
            "pages_per_second": round(pages / seconds, 3) if seconds > 0 else 0.0,
        }

    def by_job(self) -> dict[str, dict[str, int]]:
        """The number of records by job and status."""
        jobs: dict[str, dict[str, int]] = {job: dict.fromkeys(STATUSES, 0) for job in self.jobs}
        for entry in self.entries:
            for job, status in entry.answers:
                jobs.setdefault(job, dict.fromkeys(STATUSES, 0))[status] += 1
        return jobs

    def faults(self) -> list[str]:
        """Documents that could not be claimed, and counts that do not add up; in sentences."""
        return [*self.stuck, *self.imbalance()]

    def imbalance(self) -> list[str]:
        """Inconsistent counts, in sentences. Empty if every claimed document has exactly one outcome."""
        counts = Counter(entry.outcome for entry in self.entries)
        parts = [(counts[outcome], outcome) for outcome in OUTCOMES]
        found = []
        if self._taken != len(self.entries):
            total = " + ".join(f"{count} {outcome}" for count, outcome in parts)
            found.append(f"{self._taken} documents were taken, but {total} is {len(self.entries)}.")
        for (inbox, name), rest in self._open.items():
            place = html.words(f"{inbox}/{name}")
            found.append(
                f"{place} was taken, but has no outcome."
                if rest > 0
                else f"{place} has an outcome, but was never taken."
            )
        for entry in self.entries:
            if entry.outcome == "failed" and entry.error is None:
                found.append(f"{html.words(f'{entry.inbox}/{entry.name}')} failed without a reason.")
        return found

    def gpu_busy(self) -> dict[str, Any] | None:
        """`mean` and at most `SAMPLES` `samples` (neighbours are averaged); None without samples."""
        if not self.load:
            return None
        step = -(-len(self.load) // SAMPLES)
        groups = [self.load[at : at + step] for at in range(0, len(self.load), step)]
        samples = [[round(group[-1][0], 1), round(fmean(busy for _, busy in group), 3)] for group in groups]
        return {"mean": round(fmean(busy for _, busy in self.load), 3), "samples": samples}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the module docstring lists the keys."""
        return {
            "scanmill": VERSION,
            "kind": "run",
            "engine": self.engine,
            "model": self.model,
            "started_at": self.started_at.astimezone().isoformat(timespec="milliseconds"),
            "finished_at": (self.finished_at or _now()).astimezone().isoformat(timespec="milliseconds"),
            "counts": self.summary(),
            "jobs": self.by_job(),
            "faults": self.faults(),
            "notes": list(self.notes),
            "gpu_busy": self.gpu_busy(),
            "documents": [entry.to_dict() for entry in self.entries],
        }


def document_status(entry: ReportEntry) -> str:
    """The status of a document: `failed` or `review` if one of its records is, `ok`, or its outcome."""
    if entry.outcome == "failed" or any(status == "failed" for _, status in entry.answers):
        return "failed"
    if any(status == "review" for _, status in entry.answers):
        return "review"
    return "ok" if entry.outcome == "done" else entry.outcome
