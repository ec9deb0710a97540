"""Measure the accuracy of a job: run labelled files through the normal scheduler, without writing to a root."""

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
    """The score of `job` on the labelled files, and a thumbnail of each readable document by file name.

    Labels with the same file content are read once and counted each. Raises ModelError, also for a job that the engine
    does not support.
    """
    if reason := engine.unsupported_reason(job):
        raise ModelError(f"{job.name} cannot be measured with this engine: {reason}.")
    labels = [label for label in labels if label.job in (None, job.name)]
    by_id: dict[str, list[int]] = {}  # indexes of labels by document id, filled as documents are read

    listener.started(len(labels))
    records: dict[tuple[str, int | None], Record] = {}
    pictures: dict[str, bytes] = {}
    for event in Scheduler(engine, pages).run(_assignments(job, labels, by_id)):
        match event:
            case Record():
                records[event.document.id, event.page] = event
            case DocumentFinished(returned=False):
                if event.cover is not None and event.cover.image is not None:
                    names = [labels[index].name for index in by_id[event.document.id]]
                    pictures |= dict.fromkeys(names, thumbnail(event.cover.image))
                listener.finished(ReportEntry.of(event.document, "done", pages=event.pages, seconds=event.seconds))
    answers: list[Record | None] = [None] * len(labels)
    for document_id, index in ((key, index) for key, indexes in by_id.items() for index in indexes):
        page = (labels[index].page or 1) if job.per == "page" else None
        answers[index] = records.get((document_id, page))
    return compare(job, labels, answers), pictures


def _assignments(job: Job, labels: Sequence[Label], by_id: dict[str, list[int]]) -> Iterator[Assignment]:
    """One assignment for each different file content; adds the index of every label to `by_id`."""
    for index, label in enumerate(labels):
        document_id = hashlib.sha256(label.file.read_bytes()).hexdigest()
        indexes = by_id.setdefault(document_id, [])
        indexes.append(index)
        if len(indexes) == 1:
            yield Assignment(document_of(label.file, document_id, job), [job])


def document_of(path: Path, document_id: str, job: Job) -> Document:
    """A Document for a file outside any inbox. For a job with questions, the question is read from its text file.

    Raises ConfigError if there is no such text file.
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
