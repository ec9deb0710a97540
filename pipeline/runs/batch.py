"""One batch: claim documents, run them through the scheduler, commit records, move files, fill the run report."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.types import Document, Issue, Page, Record
from pipeline.engine import Engine
from pipeline.extraction import extract
from pipeline.inbox.file_queue import Claim, Inbox, Where
from pipeline.inbox.grouping import COMPLETE
from pipeline.preprocessing.annotate import BoxAnnotation, PageAnnotator
from pipeline.preprocessing.page_loader import PageLoader
from pipeline.reporting.events import Listener
from pipeline.reporting.run_report import ReportEntry, RunReport, thumbnail
from pipeline.runs.commit import NO_PICTURES, Committer
from pipeline.runs.scheduler import GRACE_S, Scheduler
from pipeline.runs.scheduler_events import Assignment, DocumentFinished, Idle, PartialAnswer
from pipeline.schema import box_fields
from pipeline.schema.job import Job
from pipeline.storage.record_files import record_file
from pipeline.system.resource_shortage import raising_shortage

MAX_ANNOTATING = 64  # documents whose boxes are being drawn; only their records are in memory
STOP_POLL_S = 0.5  # how often `stop` is checked while pictures are drawn
MAX_RECORD_LINKS = 20  # of one document in the run report
SETTLE_ROUNDS = 5  # the batch waits at most `settle_s` times this for files that are still being copied


@dataclass(frozen=True)
class RunContext:
    """The parts that a batch works with."""

    engine: Engine
    inbox: Inbox
    committer: Committer
    pages: PageLoader
    drawings: PageAnnotator
    listener: Listener


class BatchRun:
    """Processes the inbox once. `boxes` are the jobs by inbox; every document is entered in `run_report`.

    `stop` is polled often. Once it is true no document is started, documents in flight have `grace_s` seconds to finish
    and be committed, and the rest goes back to the inbox. `limit` is the largest number of documents to process.
    """

    def __init__(
        self,
        context: RunContext,
        boxes: Mapping[str, Sequence[Job]],
        run_report: RunReport,
        limit: int | None = None,
        stop: Callable[[], bool] = lambda: False,
        grace_s: float = GRACE_S,
    ) -> None:
        self.context, self.boxes, self.run_report, self.limit, self.stop = context, boxes, run_report, limit, stop
        self.grace_s = grace_s
        self._active: dict[str, Assignment] = {}  # started and not yet closed, by document id
        self._records: dict[str, list[Record]] = {}  # of active documents, by document id
        self._deferred: deque[Claim] = deque()  # same bytes as an active document: processed once that is committed
        self._annotating: dict[str, tuple[DocumentFinished, list[Record]]] = {}  # finished; boxes are being drawn

    def drain(self) -> None:
        """Runs the event loop until no document is left.

        Raises ModelError, after finished documents were committed and the others are back in the inbox. Raises
        StorageError; the next run then finishes or repeats what was in flight.
        """
        context = self.context
        context.listener.started(sum(context.inbox.boxes.waiting(list(self.boxes)).values()))
        scheduler = Scheduler(context.engine, context.pages, self.stop, {"run": context.inbox.run}, self.grace_s)
        try:
            with raising_shortage():
                for event in scheduler.run(self._assignments()):
                    match event:
                        case Record():
                            self._records.setdefault(event.document.id, []).append(event)
                        case DocumentFinished():
                            self._handle_finished(event)
                        case PartialAnswer():
                            self._handle_partial(event)
                        case Idle():
                            pass
                    self._commit_ready()
                self._commit_all_annotated()
        except ModelError:
            with suppress(ModelError):  # where drawing is what failed
                self._commit_all_annotated()
            self._return_active()
            raise
        self._return_active()

    # ---- documents in
    def _assignments(self) -> Iterator[Assignment | None]:
        """Assignments for claimed documents; None while there is none, but more may follow."""
        claims, exhausted = self._claims(), False
        while not exhausted or self._deferred:
            if self._deferred and self._deferred[0].document.id not in self._active:
                claim: Claim | None = self._deferred.popleft()
            elif exhausted:
                claim = None
            else:
                try:
                    claim = next(claims)
                except StopIteration:
                    exhausted = True
                    continue
            if claim is None:
                yield None
            elif assignment := self._assign(claim):
                yield assignment
            else:
                self._commit_ready()  # thousands of documents in a row may need no engine, and so cause no event

    def _assign(self, claim: Claim) -> Assignment | None:
        """The jobs to run on the claimed document. None if it was closed here (unreadable, duplicate) or deferred."""
        document, jobs = claim.document, self.boxes[claim.document.inbox]
        if document.id in self._active:
            self._deferred.append(claim)
        elif claim.error:
            self._fail_claim(document, jobs, claim.error)
        elif missing := self.context.committer.missing(document, jobs):
            self._active[document.id] = assignment = Assignment(document, missing)
            return assignment
        else:
            self._close(document, "duplicate", ReportEntry.of(document, "duplicate"))
        return None

    def _claims(self) -> Iterator[Claim | None]:
        """Scans the inbox until a scan finds nothing. None while files are still being copied."""
        taken, wait_until = 0, time.monotonic() + SETTLE_ROUNDS * self.context.inbox.boxes.settle_s
        while True:
            before = taken
            for claim in self.context.inbox.claims(list(self.boxes)):
                self.run_report.take(claim.document.inbox, claim.document.name)
                yield claim
                taken += 1
                if taken == self.limit:
                    return
            if taken == before:
                if not self.context.inbox.boxes.settling or time.monotonic() > wait_until:
                    return
                yield None

    # ---- events
    def _handle_partial(self, event: PartialAnswer) -> None:
        """Publish a partial answer only if a program submitted the question and waits for it."""
        if (event.document.path / COMPLETE).exists():
            self.context.listener.answering(event.document.id, event.text)

    def _handle_finished(self, event: DocumentFinished) -> None:
        """Return the document, or draw its boxes, or commit it."""
        document = event.document
        records = self._records.pop(document.id, [])
        if event.returned:
            del self._active[document.id]
            self._give_back(document)
        elif boxes := self._boxes_to_draw(document, records):
            while len(self._annotating) >= MAX_ANNOTATING and not self.stop():
                self._commit_annotated(STOP_POLL_S)
            self._annotating[document.id] = event, records
            self.context.drawings.begin(document, boxes)
        else:
            self._commit(event, records)

    def _boxes_to_draw(
        self, document: Document, records: Sequence[Record]
    ) -> dict[tuple[str, int], list[BoxAnnotation]]:
        """The boxes by job and page."""
        jobs = {job.name: job for job in self._active[document.id].jobs}
        boxes: dict[tuple[str, int], list[BoxAnnotation]] = {}
        for record in records:
            for page, box, label in box_fields.labelled(jobs[record.job].fields, dict(record.data)):
                boxes.setdefault((record.job, page), []).append(BoxAnnotation(box, label))
        return boxes

    # ---- commit
    def _commit_ready(self) -> None:
        """Commit documents whose boxes are drawn; flush tables and moves when they are due."""
        self._commit_annotated(0)
        if self.context.committer.due:
            self.context.committer.flush()

    def _commit_annotated(self, timeout_s: float) -> None:
        """Commit documents whose boxes are drawn; wait up to `timeout_s` for the first."""
        for drawing in self.context.drawings.finished(timeout_s):
            event, records = self._annotating.pop(drawing.document.id)
            self._commit(event, [_with_drawing_faults(record, drawing.faults) for record in records], drawing.pictures)

    def _commit_all_annotated(self) -> None:
        """Wait until all boxes are drawn; after `stop` no longer than `grace_s`. Raises ModelError."""
        deadline = None
        while self._annotating and self.context.drawings.busy:
            if self.stop():
                deadline = deadline or time.monotonic() + self.grace_s
                if time.monotonic() >= deadline:
                    return
            self._commit_annotated(STOP_POLL_S)

    def _commit(
        self,
        event: DocumentFinished,
        records: Sequence[Record],
        pictures: Mapping[tuple[str, int], Path] = NO_PICTURES,
    ) -> None:
        document, error = event.document, event.error
        del self._active[document.id]
        where: Where = "failed" if error else "done"
        records = self.context.committer.write(records, pictures)
        needs_review = error is not None or any(record.status != "ok" for record in records)
        entry = ReportEntry.of(
            document,
            where,
            records,
            pages=event.pages,
            seconds=event.seconds,
            error=(error.code, error.detail) if error else None,
            record_paths=[record_file(each.job, document.id, each.page) for each in records[:MAX_RECORD_LINKS]],
            thumbnail=self._thumbnail(event.cover) if needs_review else None,
        )
        if document.question is not None and (document.path / COMPLETE).exists():
            # The program that submitted the question may delete it and its answer: keep no copy in the report.
            entry = replace(entry, question=None, answer=None, thumbnail=None)
        self._close(document, where, entry, error)

    def _fail_claim(self, document: Document, jobs: Sequence[Job], error: DocumentError) -> None:
        """Write a failed record for each job of a document that was claimed but cannot be opened."""
        provenance = {**self.context.engine.provenance(), "run": self.context.inbox.run}
        records = [extract.fail(job, document, error.code, error.detail, provenance) for job in jobs]
        self.context.committer.write(records)
        entry = ReportEntry.of(document, "failed", records, error=(error.code, error.detail))
        self._close(document, "failed", entry, error)

    def _close(self, document: Document, where: Where, entry: ReportEntry, error: DocumentError | None = None) -> None:
        """Queue the move of the document; the report entry is added once it has moved."""

        def moved(path: Path) -> None:
            self.run_report.add(replace(entry, moved_to=str(path.relative_to(self.context.inbox.root))))

        self.context.listener.finished(entry)
        self.context.committer.close(document, where, moved, error)

    def _return_active(self) -> None:
        """Give back all documents that are still active, which are some only if the batch ends early; flush."""
        if self._annotating:
            self.context.drawings.close()
        for document in (
            *(assignment.document for assignment in self._active.values()),
            *(claim.document for claim in self._deferred),
        ):
            self._give_back(document)
        self._active.clear()
        self.context.committer.flush()

    def _give_back(self, document: Document) -> None:
        path = self.context.inbox.give_back(document)
        self.run_report.add(ReportEntry.of(document, "given back", moved_to=path.relative_to(self.context.inbox.root)))

    def _thumbnail(self, cover: Page | None) -> bytes | None:
        if cover is None or cover.image is None or not self.run_report.wants_thumbnails:
            return None
        return thumbnail(cover.image)


def _with_drawing_faults(record: Record, faults: Mapping[tuple[str, int], str]) -> Record:
    """The record with an issue for each of its pages whose boxes could not be drawn."""
    issues = [
        Issue("unreadable", "", f"the boxes could not be drawn into page {page}: {fault}")
        for (job, page), fault in faults.items()
        if job == record.job and page in record.pages
    ]
    return replace(record, issues=(*record.issues, *issues)) if issues else record
