"""From replies to a checked record: parse, coerce, merge the windows, check for missing values and broken rules."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pipeline.core.types import Document, Evidence, Issue, Page, Record
from pipeline.engine import Reply
from pipeline.extraction.window_merge import MergedAnswer, WindowAnswer, window_answer
from pipeline.schema import box_fields, record_check
from pipeline.schema.fields import column, is_empty, leaf_values
from pipeline.schema.job import Job


def extract(
    job: Job,
    document: Document,
    page: int | None,
    replies: Sequence[Reply],
    provenance: Mapping[str, Any] | None = None,
    *,
    today: date | None = None,
) -> Record:
    """The record of one answer. `replies` are in the order of the windows, then of the job's parts (regions).

    `page` is for jobs with `per: page`. Any reply gives a record; an engine error or a document without readable pages
    gives a failed record. `today` is for rules; default: the local day.
    """
    pages = [each for reply in replies for each in reply.request.pages]
    if failed := next((reply for reply in replies if reply.finish == "error"), None):
        detail = failed.error or "the engine gave no reason"
        return fail(job, document, failed.error_code, detail, provenance, page=page, pages=pages)
    unread = [
        Issue("unreadable", "", f"page {each.number} could not be read: {each.fault}") for each in pages if each.fault
    ]
    if pages and len(unread) == len(pages) and page is None:
        return fail(job, document, "broken", "; ".join(issue.message for issue in unread[:3]), provenance, pages=pages)

    windows = [window_answer(reply) for reply in replies]
    merged = MergedAnswer(windows)
    data = merged.object(job.fields)
    present = {path: value for path, _, value in leaf_values(job.fields, data) if not is_empty(value)}
    confidence = {path: sure for path, sure in merged.confidence.items() if path in present}
    reported = [*unread, *merged.issues]
    issues = record_check.with_data_issues(job, data, confidence, reported, today or date.today())
    return Record(
        document=document,
        job=job.name,
        page=page,
        pages=_numbers(pages),
        data=data,
        confidence=confidence,
        evidence={path: found for path, found in merged.evidence.items() if path in present}
        | _line_evidence(windows, present)
        | {path: Evidence(number, box, "") for path, number, box in box_fields.source_boxes(job.fields, data)},
        issues=issues,
        error=None,
        provenance={"job_digest": job.digest, **(provenance or {}), **_input_sizes(job, pages)},
    )


def _line_evidence(windows: Sequence[WindowAnswer], present: Mapping[str, Any]) -> dict[str, Evidence]:
    """Evidence for the lines of long texts, numbered across all windows."""
    found: dict[str, Evidence] = {}
    counts: Counter[str] = Counter()
    for window in windows:
        for path, line in window.evidence.items():
            if path not in present and (text := column(path)) in present:
                found[f"{text}[{counts[text]}]"] = line
                counts[text] += 1
    return found


def _input_sizes(job: Job, pages: Sequence[Page]) -> dict[str, Any]:
    """For questions: the pixel size of each page as given to the engine, since a text answer may name pixels."""
    return {"seen_px": [[page.width, page.height] for page in pages]} if job.questions else {}


def fail(
    job: Job,
    document: Document,
    code: str,
    detail: str,
    provenance: Mapping[str, Any] | None = None,
    *,
    page: int | None = None,
    pages: Sequence[Page] = (),
) -> Record:
    """The record of a failed document; `code` is one of errors.DOCUMENT_ERRORS."""
    return Record(
        document=document,
        job=job.name,
        page=page,
        pages=_numbers(pages),
        data={},
        confidence={},
        evidence={},
        issues=(),
        error=(code, detail),
        provenance={"job_digest": job.digest, **(provenance or {})},
    )


def _numbers(pages: Sequence[Page]) -> tuple[int, ...]:
    """The page numbers without duplicates: several parts of a job may read the same page."""
    return tuple(dict.fromkeys(page.number for page in pages))
