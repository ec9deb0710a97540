"""One run over an inbox: claim, let the flow answer, write, move, and keep the account."""

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
from pipeline.runs.commit import NOTHING, Committer
from pipeline.runs.scheduler import GRACE_S, Answering, Assignment, DocumentFinished, Idle, Scheduler
from pipeline.schema import box_fields
from pipeline.schema.job import Job
from pipeline.storage.record_files import record_file
from pipeline.system.resource_shortage import raising_shortage

DRAWN_AHEAD = 64  # documents that wait for their pictures at most: all that is kept of them are records
LOOK_S = 0.5  # between two looks at `stop`, while pictures are drawn
LINKS = 20  # records that the account names for one document
PATIENCE = 5  # a run waits this many times `settle_s` for files that were just dropped; what still grows then is left


def jobs_by_inbox(engine: Engine, jobs: Sequence[Job]) -> tuple[dict[str, list[Job]], dict[str, str]]:
    """The jobs by inbox, and of each inbox that waits for another engine instead, why.

    An inbox waits as a whole when one of its jobs must: a document that went to done/ would never meet that job.
    """
    boxes: dict[str, list[Job]] = {}
    waits: dict[str, str] = {}
    for job in jobs:
        boxes.setdefault(job.inbox, []).append(job)
        if job.inbox not in waits and (reason := engine.unsupported_reason(job)):
            waits[job.inbox] = reason
    return {box: asked for box, asked in boxes.items() if box not in waits}, waits


def waiting_lines(jobs: Sequence[Job], waits: Mapping[str, str], counts: Mapping[str, int]) -> list[str]:
    """One line about all documents that this engine leaves in the inbox; none where there are none.

    `counts` says how many lie in each inbox.
    """
    by_reason: dict[str, list[str]] = {}
    for job in jobs:
        if counts.get(job.inbox) and job.inbox in waits:
            by_reason.setdefault(waits[job.inbox], []).append(job.name)
    total = sum(counts.get(box, 0) for box in waits)
    told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return (
        [f"{total} document{'s' if total > 1 else ''} wait{'' if total > 1 else 's'} in the inbox: {told}"]
        if told
        else []
    )


@dataclass(frozen=True)
class RunContext:
    """What a run works with: who answers, what decodes and draws, where files and records go, and who hears of it."""

    engine: Engine
    inbox: Inbox
    committer: Committer
    pages: PageLoader
    drawings: PageAnnotator
    listener: Listener


class BatchRun:
    """One drain of the inbox. `boxes` are the jobs by inbox, `account` hears of every document.

    `stop` is asked often. Once it is true nothing new is begun, what is in hand has `grace_s` seconds to be answered
    and committed, and the rest goes back to the inbox. `limit` ends the batch after so many documents.
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
        self._asked: dict[str, Assignment] = {}  # what is in hand, by document id
        self._records: dict[str, list[Record]] = {}
        self._twins: deque[Claim] = deque()
        self._drawn: dict[str, tuple[DocumentFinished, list[Record]]] = {}  # answered, while boxes are drawn

    def drain(self) -> None:
        """Raises ModelError, once what was finished is committed and the rest is back in the inbox; and StorageError:
        the next run then finishes or repeats what was in hand."""
        context = self.context
        context.listener.started(sum(context.inbox.boxes.waiting(list(self.boxes)).values()))
        flow = Scheduler(context.engine, context.pages, self.stop, {"run": context.inbox.run}, self.grace_s)
        try:
            with raising_shortage():
                for event in flow.run(self._assignments()):
                    match event:
                        case Record():
                            self._records.setdefault(event.document.id, []).append(event)
                        case DocumentFinished():
                            self._finish(event)
                        case Answering():
                            self._answering(event)
                        case Idle():
                            pass
                    self._settle()
                self._commit_all_drawn()
        except ModelError:
            with suppress(ModelError):  # raised again where drawing is what failed
                self._commit_all_drawn()
            self._end()
            raise
        self._end()

    def _settle(self) -> None:
        """Commits what is drawn by now, and flushes where that keeps within its share of the time."""
        self._commit_drawn(0)
        if self.context.committer.due:
            self.context.committer.flush()

    def _commit_all_drawn(self) -> None:
        """Waits for pictures that are being drawn, once `stop` is true no longer than `grace_s`. Raises ModelError."""
        until = None
        while self._drawn and self.context.drawings.busy:
            if self.stop():
                until = until or time.monotonic() + self.grace_s
                if time.monotonic() >= until:
                    return
            self._commit_drawn(LOOK_S)

    def _end(self) -> None:
        """Returns what is still in hand, which is something only where the run ends before its time."""
        if self._drawn:
            self.context.drawings.close()
        for assignment in self._asked.values():
            self._give_back(assignment.document)
        self._asked.clear()
        for claim in self._twins:
            self._give_back(claim.document)
        self.context.committer.flush()

    def _answering(self, event: Answering) -> None:
        """Only where a program asked, and somebody sits before it and waits."""
        if (event.document.path / COMPLETE).exists():
            self.context.listener.answering(event.document.id, event.text)

    # ---- documents in
    def _assignments(self) -> Iterator[Assignment | None]:
        """Claimed documents that somebody still asks about. A twin of one in hand waits until that one is committed."""
        claims, ended = self._claims(), False
        while not ended or self._twins:
            if self._twins and self._twins[0].document.id not in self._asked:
                claim: Claim | None = self._twins.popleft()
            elif ended:
                claim = None
            else:
                try:
                    claim = next(claims)
                except StopIteration:
                    ended = True
                    continue
            if claim is None:
                yield None
            elif assignment := self._assigned(claim):
                yield assignment
            else:
                self._settle()  # also where thousands follow that need no engine

    def _assigned(self, claim: Claim) -> Assignment | None:
        """What the claimed document is asked; None where it is dealt with already, or waits as a twin."""
        document, jobs = claim.document, self.boxes[claim.document.inbox]
        if document.id in self._asked:
            self._twins.append(claim)
        elif claim.error:
            self._refuse(document, jobs, claim.error)
        elif missing := self.context.committer.missing(document, jobs):
            self._asked[document.id] = assignment = Assignment(document, missing)
            return assignment
        else:
            self._close(document, "duplicate", ReportEntry.of(document, "duplicate"))
        return None

    def _claims(self) -> Iterator[Claim | None]:
        """Scans until a scan finds nothing: what came meanwhile is taken too, and what settles soon is waited for."""
        taken, patience = 0, time.monotonic() + PATIENCE * self.context.inbox.boxes.settle_s
        while True:
            before = taken
            for claim in self.context.inbox.claims(list(self.boxes)):
                self.run_report.take(claim.document.inbox, claim.document.name)
                yield claim
                taken += 1
                if taken == self.limit:
                    return
            if taken == before:
                if not self.context.inbox.boxes.settling or time.monotonic() > patience:
                    return
                yield None

    # ---- documents out
    def _finish(self, item: DocumentFinished) -> None:
        document = item.document
        records = self._records.pop(document.id, [])
        if item.returned:
            del self._asked[document.id]
            self._give_back(document)
        elif marks := self._marks(document, records):
            while len(self._drawn) >= DRAWN_AHEAD and not self.stop():
                self._commit_drawn(LOOK_S)
            self._drawn[document.id] = item, records
            self.context.drawings.begin(document, marks)
        else:
            self._commit(item, records)

    def _marks(self, document: Document, records: Sequence[Record]) -> dict[tuple[str, int], list[BoxAnnotation]]:
        """The boxes to draw, by job and page."""
        jobs = {job.name: job for job in self._asked[document.id].jobs}
        marks: dict[tuple[str, int], list[BoxAnnotation]] = {}
        for record in records:
            for page, box, label in box_fields.labelled(jobs[record.job].fields, dict(record.data)):
                marks.setdefault((record.job, page), []).append(BoxAnnotation(box, label))
        return marks

    def _commit_drawn(self, timeout_s: float) -> None:
        """Commits the documents whose pictures are drawn by now; waits for one up to `timeout_s`."""
        for drawing in self.context.drawings.finished(timeout_s):
            item, records = self._drawn.pop(drawing.document.id)
            self._commit(item, [_lacking(record, drawing.faults) for record in records], drawing.pictures)

    def _commit(
        self, item: DocumentFinished, records: Sequence[Record], drawn: Mapping[tuple[str, int], Path] = NOTHING
    ) -> None:
        document = item.document
        del self._asked[document.id]
        where: Where = "failed" if item.error else "done"
        records = self.context.committer.write(records, drawn)
        look = item.error is not None or any(record.status != "ok" for record in records)
        entry = ReportEntry.of(
            document,
            where,
            records,
            pages=item.pages,
            seconds=item.seconds,
            error=(item.error.code, item.error.detail) if item.error else None,
            record_paths=[record_file(each.job, document.id, each.page) for each in records[:LINKS]],
            thumbnail=self._picture(item.cover) if look else None,
        )
        if document.question is not None and (document.path / COMPLETE).exists():
            # a program asked and takes the answer itself; whoever deletes it there shall not find it here
            entry = replace(entry, question=None, answer=None, thumbnail=None)
        self._close(document, where, entry, item.error)

    def _refuse(self, document: Document, jobs: Sequence[Job], error: DocumentError) -> None:
        """What was claimed but cannot even be opened: a failed record for each job, so that the tables tell of it."""
        told = {**self.context.engine.provenance(), "run": self.context.inbox.run}
        records = [extract.fail(job, document, error.code, error.detail, told) for job in jobs]
        self.context.committer.write(records)
        entry = ReportEntry.of(document, "failed", records, error=(error.code, error.detail))
        self._close(document, "failed", entry, error)

    def _give_back(self, document: Document) -> None:
        place = self.context.inbox.give_back(document)
        self.run_report.add(ReportEntry.of(document, "given back", moved_to=place.relative_to(self.context.inbox.root)))

    def _close(self, document: Document, where: Where, entry: ReportEntry, error: DocumentError | None = None) -> None:
        def moved(place: Path) -> None:
            self.run_report.add(replace(entry, moved_to=str(place.relative_to(self.context.inbox.root))))

        self.context.listener.finished(entry)
        self.context.committer.close(document, where, moved, error)

    def _picture(self, cover: Page | None) -> bytes | None:
        if cover is None or cover.image is None or not self.run_report.wants_thumbnails:
            return None
        return thumbnail(cover.image)


def _lacking(record: Record, faults: Mapping[tuple[str, int], str]) -> Record:
    """The record, which says where a picture of its boxes is missing."""
    told = [
        Issue("unreadable", "", f"the boxes could not be drawn into page {page}: {fault}")
        for (job, page), fault in faults.items()
        if job == record.job and page in record.pages
    ]
    return replace(record, issues=(*record.issues, *told)) if told else record
