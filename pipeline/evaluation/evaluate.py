"""How right is a job? Labelled files go through the same flow as any document; nothing is written to a root."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import ConfigError, DocumentError, Fault, ModelError
from pipeline.core.types import Document, Record
from pipeline.engine import Engine
from pipeline.evaluation.labels import Label
from pipeline.evaluation.scoring import Score, compare
from pipeline.inbox import question_files
from pipeline.preprocessing.page_loader import PageLoader
from pipeline.reporting.events import Listener
from pipeline.reporting.run_report import ReportEntry, thumbnail
from pipeline.runs.scheduler import Scheduler
from pipeline.runs.scheduler_events import Assignment, DocumentFinished
from pipeline.schema.job import Job


def evaluate(
    job: Job, labels: Sequence[Label], engine: Engine, pages: PageLoader, listener: Listener
) -> tuple[Score, dict[str, bytes]]:
    """The score of `job` on the labelled files, and a small picture of each document that had one, by file name.

    The same bytes labelled twice are read once and counted twice. Raises ModelError, also for a job that the engine
    refuses: its values would say nothing of the job.
    """
    if reason := engine.unsupported_reason(job):
        raise ModelError(f"{job.name} cannot be measured with this engine: {reason}.")
    labels = [label for label in labels if label.job in (None, job.name)]
    by_id: dict[str, list[int]] = {}

    def assignments() -> Iterator[Assignment]:
        for number, label in enumerate(labels):
            document_id = hashlib.sha256(label.file.read_bytes()).hexdigest()
            twins = by_id.setdefault(document_id, [])
            twins.append(number)
            if len(twins) == 1:
                yield Assignment(document_of(label.file, document_id, job), [job])

    listener.started(len(labels))
    records: dict[tuple[str, int | None], Record] = {}
    pictures: dict[str, bytes] = {}
    for event in Scheduler(engine, pages).run(assignments()):
        match event:
            case Record():
                records[event.document.id, event.page] = event
            case DocumentFinished(returned=False):
                if event.cover is not None and event.cover.image is not None:
                    picture = thumbnail(event.cover.image)
                    pictures.update({labels[number].name: picture for number in by_id[event.document.id]})
                listener.finished(ReportEntry.of(event.document, "done", pages=event.pages, seconds=event.seconds))
    answers: list[Record | None] = [None] * len(labels)
    for document_id, numbers in by_id.items():
        for number in numbers:
            page = (labels[number].page or 1) if job.per == "page" else None
            answers[number] = records.get((document_id, page))
    return compare(job, labels, answers), pictures


def document_of(path: Path, document_id: str, job: Job) -> Document:
    """A file that lies outside of any inbox, as a Document; for a job of questions with that in the text beside it.

    Raises ConfigError where there is no such text.
    """
    document = Document(document_id, path.name, path, job.inbox, datetime.now(UTC), path.stat().st_size)
    if not job.questions:
        return document
    try:
        question = question_files.attachment(path)
    except DocumentError as error:
        raise ConfigError(
            [Fault(str(path), None, "", f"{error.detail}; a labelled file of this job needs one")]
        ) from None
    return replace(document, question=question, parts=(path,), path=path.parent)
