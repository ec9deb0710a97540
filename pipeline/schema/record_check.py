"""Check the values of a record against its job: missing values, rules, confidence; and recheck old records.

A record stores the issues of the job that it was read with. Where the job has changed since, readers get the record
checked against the current fields and rules, so that its status is that of today.
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

FROM_DATA = ("missing", "rule_failed")  # issues that follow from the data only
_RECHECKED = (*FROM_DATA, "doubtful")


def with_all_groups(fields: Mapping[str, Field], data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with a dict for every group and row: records of an older job may lack some."""
    whole = dict(data)
    for name, field in fields.items():
        if not field.children or ITEM in field.children:
            continue
        if field.repeats:
            whole[name] = [with_all_groups(field.children, row or {}) for row in whole.get(name) or ()]
        else:
            whole[name] = with_all_groups(field.children, whole.get(name) or {})
    return whole


def missing(fields: Mapping[str, Field], data: Mapping[str, Any]) -> Iterable[Issue]:
    """An issue for every missing required value. `data` is from `with_all_groups`."""
    for path in missing_paths(fields, data):
        yield Issue("missing", path, "is required and was not found")


def broken(job: "Job", data: Mapping[str, Any], today: date) -> Iterable[Issue]:
    """An issue for every rule that does not hold."""
    for rule in job.rules:
        yield from rules.check(rule, job.fields, data, job.tolerance, today)


def with_data_issues(
    job: "Job", data: Mapping[str, Any], confidence: Mapping[str, float], found: Iterable[Issue], today: date
) -> tuple[Issue, ...]:
    """`found`, then missing values, doubtful values and broken rules, without duplicates. `data` is `with_all_groups`.

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
    """Whether the record was read with another version of the job."""
    return record.provenance.get("job_digest") not in (None, job.digest)


def recheck(record: Record, job: "Job", stored: Mapping[str, Any]) -> Record:
    """A record of another version of the job, with the issues that it has under this one.

    `stored` is its data as in the record's file, before conversion to the current columns. Manual corrections stay. An
    approval stays where there are no new issues.
    """
    if record.error is not None or not is_older(record, job):
        return record
    data = with_all_groups(job.fields, record.data)
    found = [issue for issue in record.issues if issue.code not in _RECHECKED and _known(issue.path, job.fields)]
    found += _misfits(job.fields, data, stored)
    today = record.processed_at.date() if record.processed_at else date.today()
    issues = with_data_issues(job, data, record.confidence, found, today)
    fresh = {(issue.code, issue.path) for issue in issues} - {(issue.code, issue.path) for issue in record.issues}
    return replace(record, issues=issues, approved=None if fresh else record.approved)


def _known(path: str, fields: Mapping[str, Field]) -> bool:
    """Whether the path is that of the whole record or of a field that the job still has."""
    return not path or column(path).partition(".")[0] in fields


def _misfits(fields: Mapping[str, Field], data: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterable[Issue]:
    """Issues of values that the fields no longer allow, or that the job's columns cannot store."""
    for path, field, value in leaf_values(fields, data):
        if is_empty(value) or isinstance(field, BoxField):  # answers and records have boxes in different pixels
            continue
        yield from (Issue(code, path + suffix, words) for code, words, suffix in field.coerce(value).problems)
        printed = value_at(data, path + field.companion_suffix) if field.companion_suffix else None
        if isinstance(printed, str) and (read := field.coerce(printed).value) is not None and read != value:
            yield Issue("conflict", path, f"is {shown(value)} in the record, but {shown(printed)} reads as {read} now")
    lost: set[str] = set()
    for path, _ in leaves(fields):
        for place, value in _values(stored, path.split(".")):
            if is_empty(value) or not is_empty(value_at(data, place)) or place.partition("[")[0] in lost:
                continue
            lost.add(place)
            yield Issue("wrong_type", place, f"was read as {shown(plain(value))}, which the field cannot hold now")


def _values(tree: Any, steps: list[str], path: str = "") -> Iterable[tuple[str, Any]]:
    """(leaf path, value) of all values at a column path of a record's file, whatever its structure."""
    if isinstance(tree, list | tuple) and steps:
        for index, each in enumerate(tree):
            yield from _values(each, steps, f"{path}[{index}]")
    elif isinstance(tree, Mapping) and steps:
        yield from _values(tree.get(steps[0]), steps[1:], f"{path}.{steps[0]}" if path else steps[0])
    else:
        yield path, tree
        if isinstance(tree, list | tuple):
            yield from ((f"{path}[{index}]", each) for index, each in enumerate(tree))
