"""The second pass: which answers need one, the issues in its prompt, and the choice between both answers."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.types import Issue, Record
from pipeline.schema.fields import column, is_empty, leaf_values
from pipeline.schema.job import Job

RETRY_CODES = frozenset(
    {"not_json", "truncated", "missing", "rule_failed", "wrong_type", "not_allowed", "bad_box", "bad_text"}
)

# The penalty of each issue. An unreadable answer is worse than any wrong sum; `doubtful` has no weight, because
# confidences of the two passes are not comparable.
WEIGHTS = {"not_json": 8, "unreadable": 8, "truncated": 4, "missing": 2, "rule_failed": 2, "wrong_type": 2,
           "not_allowed": 2, "bad_box": 2, "bad_text": 2, "conflict": 1, "unseen": 1, "doubtful": 0}  # fmt: skip
LOST = 2  # a value that only the other answer has; as much as a rule, or omitting the total would satisfy every sum


def reasons(job: Job, record: Record) -> tuple[Issue, ...]:
    """The issues for a second pass; none where the job has no second pass, or where it could not help."""
    if not job.second_look or record.error is not None:
        return ()
    return tuple(issue for issue in record.issues if issue.code in RETRY_CODES)


def for_part(part: Job, found: Sequence[Issue]) -> tuple[Issue, ...]:
    """The issues that concern a part of the job. A rule may use fields of every part."""
    return tuple(
        issue
        for issue in found
        if issue.code == "rule_failed" or not issue.path or column(issue.path).partition(".")[0] in part.fields
    )


def choose(job: Job, first: Record, second: Record) -> Record:
    """The better answer, with the other one in `other_look`. The first, unless the second has a lower penalty."""
    chosen, other, look = first, second, 1
    if second.error is None and _penalty(job, second, first) < _penalty(job, first, second):
        chosen, other, look = second, first, 2
    return replace(chosen, other_look=other, provenance={**chosen.provenance, "look": look})


def _penalty(job: Job, record: Record, other: Record) -> int:
    """Compares whole columns for lost values: an extra row in one answer is not a lost value of the other."""
    lost = _columns(job, other) - _columns(job, record)
    return sum(WEIGHTS.get(issue.code, 1) for issue in record.issues) + LOST * len(lost)


def _columns(job: Job, record: Record) -> set[str]:
    return {column(path) for path, _, value in leaf_values(job.fields, record.data) if not is_empty(value)}
