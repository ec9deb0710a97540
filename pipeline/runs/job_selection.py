"""Which inboxes the engine can process, and why the documents of the others wait."""

from collections.abc import Mapping, Sequence

from pipeline.engine import Engine
from pipeline.schema.job import Job


def jobs_by_inbox(engine: Engine, jobs: Sequence[Job]) -> tuple[dict[str, list[Job]], dict[str, str]]:
    """The jobs by inbox, and for each inbox that the engine cannot process, the reason.

    One unsupported job makes the whole inbox wait: a document that is moved to done/ would never meet that job.
    """
    by_inbox: dict[str, list[Job]] = {}
    reasons: dict[str, str] = {}
    for job in jobs:
        by_inbox.setdefault(job.inbox, []).append(job)
        if job.inbox not in reasons and (reason := engine.unsupported_reason(job)):
            reasons[job.inbox] = reason
    return {inbox: its_jobs for inbox, its_jobs in by_inbox.items() if inbox not in reasons}, reasons


def waiting_lines(jobs: Sequence[Job], reasons: Mapping[str, str], counts: Mapping[str, int]) -> list[str]:
    """One line about all documents that this engine leaves in the inbox; empty if there are none.

    `reasons` are from `jobs_by_inbox`; `counts` is the number of waiting documents by inbox.
    """
    by_reason: dict[str, list[str]] = {}
    for job in jobs:
        if counts.get(job.inbox) and job.inbox in reasons:
            by_reason.setdefault(reasons[job.inbox], []).append(job.name)
    if not by_reason:
        return []
    total = sum(counts.get(inbox, 0) for inbox in reasons)
    detail = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
    return [f"{total} document{'s' if total > 1 else ''} wait{'' if total > 1 else 's'} in the inbox: {detail}"]
