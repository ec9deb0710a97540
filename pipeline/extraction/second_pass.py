"""A second look: which answers are worth one, what is said about them, and which of the two answers counts."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.types import Issue, Record
from pipeline.schema.fields import column, is_empty, leaf_values
from pipeline.schema.job import Job

ASKED_AGAIN = frozenset(
    {"not_json", "truncated", "missing", "rule_failed", "wrong_type", "not_allowed", "bad_box", "bad_text"}
)

# How much each issue speaks against an answer. What cannot be read at all outweighs any sum that does not come out;
# `doubtful` weighs nothing, because the two looks are not sure of themselves in the same way.
WEIGHTS = {"not_json": 8, "unreadable": 8, "truncated": 4, "missing": 2, "rule_failed": 2, "wrong_type": 2,
           "not_allowed": 2, "bad_box": 2, "bad_text": 2, "conflict": 1, "unseen": 1, "doubtful": 0}  # fmt: skip
LOST = 2  # a value that only the other answer has: as much as a rule, or forgetting the total would mend every sum


def doubts(job: Job, record: Record) -> tuple[Issue, ...]:
    """What a second look would be about; nothing where the job wants none, or where it could not help."""
    if not job.second_look or record.error is not None:
        return ()
    return tuple(issue for issue in record.issues if issue.code in ASKED_AGAIN)


def concerning(part: Job, found: Sequence[Issue]) -> tuple[Issue, ...]:
    """Those that a part of the job can do something about. A rule may stand on fields of every part."""
    return tuple(
        issue
        for issue in found
        if issue.code == "rule_failed" or not issue.path or column(issue.path).partition(".")[0] in part.fields
    )


def better(job: Job, first: Record, second: Record) -> Record:
    """The answer that counts, with the other one beside it. The first, unless the second has less against it."""
    chosen, other, look = first, second, 1
    if second.error is None and _against(job, second, first) < _against(job, first, second):
        chosen, other, look = second, first, 2
    return replace(chosen, other_look=other, provenance={**chosen.provenance, "look": look})


def _against(job: Job, record: Record, other: Record) -> int:
    """What speaks against a record. Whole columns are compared: a row too many is no value that the other lost."""
    lost = _columns(job, other) - _columns(job, record)
    return sum(WEIGHTS.get(issue.code, 1) for issue in record.issues) + LOST * len(lost)


def _columns(job: Job, record: Record) -> set[str]:
    return {column(path) for path, _, value in leaf_values(job.fields, record.data) if not is_empty(value)}
