"""What a record's values lack under its job: missing values, broken rules, doubts; and old records judged again.

A record keeps what its job said when it was read. Where the job has changed since, a reader of the record gets it
judged by the fields and rules of today, so that "ok" is right whatever the job said then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.core.types import Issue, Record
from pipeline.schema import rules
from pipeline.schema.data_path import plain, value_at
from pipeline.schema.fields import ITEM, BoxField, Field, column, is_empty, leaf_values, leaves, shown
from pipeline.schema.fields import missing as missing_paths

if TYPE_CHECKING:
    from pipeline.schema.job import Job

FROM_DATA = ("missing", "rule_failed")  # issues that follow from the data alone
_AGAIN = (*FROM_DATA, "doubtful")


def shaped(fields: Mapping[str, Field], data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with a dict for every group and every row: records of an older job may have none there."""
    whole = dict(data)
    for name, field in fields.items():
        if not field.children or ITEM in field.children:
            continue
        if field.repeats:
            whole[name] = [shaped(field.children, row or {}) for row in whole.get(name) or ()]
        else:
            whole[name] = shaped(field.children, whole.get(name) or {})
    return whole


def missing(fields: Mapping[str, Field], data: Mapping[str, Any]) -> Iterable[Issue]:
    """An issue for every required value that is not there. `data` is `shaped`."""
    for path in missing_paths(fields, data):
        yield Issue("missing", path, "is required and was not found")


def broken(job: "Job", data: Mapping[str, Any], today: date) -> Iterable[Issue]:
    """An issue for every rule that does not hold."""
    for rule in job.rules:
        yield from rules.check(rule, job.fields, data, job.tolerance, today)


def with_data_issues(
    job: "Job", data: Mapping[str, Any], confidence: Mapping[str, float], found: Iterable[Issue], today: date
) -> tuple[Issue, ...]:
    """`found`, then missing values, doubtful values and broken rules, without duplicates. `data` is `shaped`.

    A path that already has an issue in `found` is not reported as missing as well.
    """
    issues = list(found)
    known = {issue.path for issue in issues}
    issues += [issue for issue in missing(job.fields, data) if issue.path not in known]
    for path, sure in confidence.items():
        if sure < job.review_below and not is_empty(value := value_at(data, path)):
            issues.append(Issue("doubtful", path, f"{shown(value)} is sure to {sure:.2f} only (review_below)"))
    return tuple(dict.fromkeys([*issues, *broken(job, data, today)]))


def is_older(record: Record, job: "Job") -> bool:
    """Whether the record was read under another form of the job."""
    return record.provenance.get("job_digest") not in (None, job.digest)


def again(record: Record, job: "Job", said: Mapping[str, Any]) -> Record:
    """A record that was read under another form of the job, with the issues that it has under this one.

    `said` is its data as the record's file has them, before they were brought to the columns of today. What people
    corrected stays. An approval stands where nothing new came up since: it was given to what there was to see.
    """
    if record.error is not None or not is_older(record, job):
        return record
    data = shaped(job.fields, record.data)
    found = [issue for issue in record.issues if issue.code not in _AGAIN and _known(issue.path, job.fields)]
    found += _misfits(job.fields, data, said)
    today = record.processed_at.date() if record.processed_at else date.today()
    issues = with_data_issues(job, data, record.confidence, found, today)
    fresh = {(issue.code, issue.path) for issue in issues} - {(issue.code, issue.path) for issue in record.issues}
    return replace(record, issues=issues, approved=None if fresh else record.approved)


def _known(path: str, fields: Mapping[str, Field]) -> bool:
    """Whether the path speaks of the whole record or of a field that the job still has."""
    return not path or column(path).partition(".")[0] in fields


def _misfits(fields: Mapping[str, Field], data: Mapping[str, Any], said: Mapping[str, Any]) -> Iterable[Issue]:
    """Values of the record that its fields no longer allow, or that the job's columns cannot hold."""
    for path, field, value in leaf_values(fields, data):
        if is_empty(value) or isinstance(field, BoxField):  # a box is answered in other pixels than it is kept
            continue
        yield from (Issue(code, path + suffix, words) for code, words, suffix in field.coerce(value).problems)
        printed = value_at(data, path + field.companion_suffix) if field.companion_suffix else None
        if isinstance(printed, str) and (read := field.coerce(printed).value) is not None and read != value:
            yield Issue("conflict", path, f"is {shown(value)} in the record, but {shown(printed)} reads as {read} now")
    lost: set[str] = set()
    for path, _ in leaves(fields):
        for place, value in _values(said, path.split(".")):
            if is_empty(value) or not is_empty(value_at(data, place)) or place.partition("[")[0] in lost:
                continue
            lost.add(place)
            yield Issue("wrong_type", place, f"was read as {shown(plain(value))}, which the field cannot hold now")


def _values(tree: Any, steps: list[str], path: str = "") -> Iterable[tuple[str, Any]]:
    """What a record's file has at a column path, with the leaf path of each; also where it has another shape."""
    if isinstance(tree, list | tuple) and steps:
        for index, each in enumerate(tree):
            yield from _values(each, steps, f"{path}[{index}]")
    elif isinstance(tree, Mapping) and steps:
        yield from _values(tree.get(steps[0]), steps[1:], f"{path}.{steps[0]}" if path else steps[0])
    else:
        yield path, tree
        if isinstance(tree, list | tuple):
            yield from ((f"{path}[{index}]", each) for index, each in enumerate(tree))
