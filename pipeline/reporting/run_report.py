"""The account of one run: what was taken, what became of it, and what a person should look at.

`Account` gathers entries while the run goes on; report.py writes it below runs/ at its end. What was *taken* is counted
when a document is claimed, and what became of it when it is settled: so the sum can fail.

The JSON object (`to_dict`), version 1: `scanmill` (1), `kind` ("run"), `engine` (a sentence), `model` (its name),
`started_at`, `finished_at` (local time with its offset), `counts` (as `summary`), `jobs` (records of each job by
status), `faults`, `notes` (sentences), `documents`, each with `document_id` (SHA-256), `name`, `inbox`, `outcome`,
`jobs`, `pages`, `seconds`, `settled_at`, `error` ({code, detail, cause, cure} or null), `issues` ([{job, code, path,
message}], at most 20) and `issues_total`, `confidence` (the lowest of its values, or null), `records` and `moved_to`
(paths as given, meant to be below the root), `question` and `answer` (how they begin, where a question came with it);
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
SAID_LETTERS = 600  # of a question and of its answer; the record has all
ISSUES_KEPT = 20  # of one document: enough to see what is wrong; the record holds them all
SAMPLES = 720  # of the GPU's load that are kept: one a minute over twelve hours


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True, slots=True)
class ReportEntry:
    """What became of one document. `answers` is a (job, status) for every record; `seconds` from claim to settling.

    `error` is the (code, detail) of its DocumentError; `issues` are (job, Issue), the first `ISSUES_KEPT` of all.
    Where a question came with the document, `question` and `answer` are how both begin.
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
        """The entry of a document with its records. Without `error`, the error of the first failed record counts."""
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
    def needs_a_look(self) -> bool:
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
    return text if len(text) <= SAID_LETTERS else text[: SAID_LETTERS - 1] + "…"


def _answer(records: Sequence[Record]) -> str | None:
    """The first text that was answered."""
    texts = (value for record in records for value in record.data.values() if isinstance(value, str))
    return next((_start(text) for text in texts), None)


@dataclass(slots=True)
class RunReport:
    """What happened in one run. `take` at every claim, `add` when its document is settled, `finish` at the end.

    `engine` is the line that says which engine reads and why, `model` its name; `notes` are sentences for the reader of
    the report.
    """

    engine: str
    jobs: tuple[str, ...] = ()
    model: str = ""
    started_at: datetime = field(default_factory=_now)
    finished_at: datetime | None = None
    notes: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)  # what could not even be taken, in sentences
    left: list[str] = field(default_factory=list)  # what waits in the inbox for another engine, in a line
    entries: CompressedList[ReportEntry] = field(default_factory=CompressedList)
    load: list[tuple[float, float]] = field(default_factory=list)  # (seconds since the start, 0 to 1) of the GPU
    written: Path | None = None  # the HTML page, once there is one
    _open: Counter[tuple[str, str]] = field(default_factory=Counter)
    _taken: int = 0
    _pictures: int = 0

    def take(self, inbox: str, name: str) -> None:
        """A document was claimed out of `inbox`."""
        self._taken += 1
        self._open[inbox, name] += 1

    def add(self, entry: ReportEntry) -> None:
        """A document was settled. Its thumbnail is kept where it will be shown, so that memory stays bounded."""
        self._open[entry.inbox, entry.name] -= 1
        if not self._open[entry.inbox, entry.name]:
            del self._open[entry.inbox, entry.name]
        if entry.thumbnail is not None:
            if entry.needs_a_look and self.wants_thumbnails and len(entry.thumbnail) <= THUMBNAIL_BYTES:
                self._pictures += 1
            else:
                entry = replace(entry, thumbnail=None)
        self.entries.append(entry)

    @property
    def wants_thumbnails(self) -> bool:
        """Whether the report has room for one more picture."""
        return self._pictures < THUMBNAILS

    def finish(self) -> None:
        self.finished_at = _now()

    @property
    def seconds(self) -> float:
        """The length of the run, or its length so far."""
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
        """How many records of each job are ok, in review and failed."""
        jobs: dict[str, dict[str, int]] = {job: dict.fromkeys(STATUSES, 0) for job in self.jobs}
        for entry in self.entries:
            for job, status in entry.answers:
                jobs.setdefault(job, dict.fromkeys(STATUSES, 0))[status] += 1
        return jobs

    def faults(self) -> list[str]:
        """What could not be taken, and what does not add up."""
        return [*self.stuck, *self.imbalance()]

    def imbalance(self) -> list[str]:
        """What does not add up, in sentences; empty when taken = done + failed + duplicate + given back, one by one."""
        counts = Counter(entry.outcome for entry in self.entries)
        parts = [(counts[outcome], outcome) for outcome in OUTCOMES]
        found = []
        if self._taken != len(self.entries):
            total = " + ".join(f"{count} {outcome}" for count, outcome in parts)
            found.append(f"{self._taken} documents were taken, but {total} make {len(self.entries)}.")
        for (inbox, name), rest in self._open.items():
            place = html.words(f"{inbox}/{name}")
            found.append(
                f"{place} was taken, and nothing is known of its end."
                if rest > 0
                else f"{place} was settled, but never taken."
            )
        for entry in self.entries:
            if entry.outcome == "failed" and entry.error is None:
                found.append(f"{html.words(f'{entry.inbox}/{entry.name}')} failed, and no reason was kept.")
        return found

    def gpu_busy(self) -> dict[str, Any] | None:
        """`mean` and at most `SAMPLES` `samples`, neighbours averaged; None where no driver told."""
        if not self.load:
            return None
        step = -(-len(self.load) // SAMPLES)
        groups = [self.load[at : at + step] for at in range(0, len(self.load), step)]
        samples = [[round(group[-1][0], 1), round(fmean(busy for _, busy in group), 3)] for group in groups]
        return {"mean": round(fmean(busy for _, busy in self.load), 3), "samples": samples}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the keys are told at the head of this module."""
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


def worst(entry: ReportEntry) -> str:
    """The word that stands for a document: its outcome, or `review`/`failed` where one of its records is."""
    if entry.outcome == "failed" or any(status == "failed" for _, status in entry.answers):
        return "failed"
    if any(status == "review" for _, status in entry.answers):
        return "review"
    return "ok" if entry.outcome == "done" else entry.outcome
