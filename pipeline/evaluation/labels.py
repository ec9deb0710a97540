"""Label files: the true values of documents, as a reference for measurements. One JSON object per line.

    {"file": "179.jpg", "fields": {"company": "KEDAI PAPAN", "total": "174.90"}, "norm": {"total": 174.9}}

`file` is a path relative to the label file, or to `img/` beside it. `fields` holds values as printed: a list for
alternatives or for a list field, dicts for groups. `norm` holds typed values: ISO dates, plain numbers. null or ""
means that the document has no such value; a missing key means that it is not labelled. `job` and `page` are optional
and limit the line to one job or page. Other keys are ignored.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True)
class Label:
    """The true values of one document. `name` is its file as written in the label file, `file` the resolved path."""

    name: str
    file: Path
    fields: Mapping[str, Any]
    norm: Mapping[str, Any] = field(default_factory=dict)
    job: str | None = None
    page: int | None = None
    line: int = 0


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, in order. Numbers are Decimal. Raises ConfigError with all faults."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError([Fault(str(path), None, "", f"cannot be read: {reason}")]) from None
    faults: list[Fault] = []
    labels: list[Label] = []
    seen: dict[tuple[str, str | None, int | None], int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        found, label = _label(path, number, line)
        if label is not None:
            first = seen.setdefault((label.name, label.job, label.page), number)
            if first != number:
                found.append(Fault(str(path), number, "file", f'"{label.name}" is labelled in line {first} already'))
            labels.append(label)
        faults += found
    if not labels and not faults:
        faults.append(Fault(str(path), None, "", 'holds no label; a label is a line like {"file": …, "fields": {…}}'))
    if faults:
        raise ConfigError(faults)
    return labels


def _label(path: Path, number: int, line: str) -> tuple[list[Fault], Label | None]:
    def fault(key: str, message: str) -> Fault:
        return Fault(str(path), number, key, message)

    try:
        row = json.loads(line, parse_float=Decimal)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" (column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        return [fault("", f"is not JSON{where}; every line is one JSON object")], None
    if not isinstance(row, dict):
        return [fault("", 'is not an object like {"file": …, "fields": {…}}')], None
    name, fields, norm = row.get("file"), row.get("fields") or {}, row.get("norm") or {}
    job, page = row.get("job"), row.get("page")
    faults = [fault(key, message) for key, message in _invalid(fields, norm, job, page)]
    file = _labelled_file(path.parent, name)
    if isinstance(file, str):
        faults.append(fault("file", file))
    if faults or isinstance(file, str):
        return faults, None
    return [], Label(str(name), file, fields, norm, job, page, number)


def _invalid(fields: Any, norm: Any, job: Any, page: Any) -> Iterator[tuple[str, str]]:
    """(key, message) for every value of the wrong type."""
    for key, value in (("fields", fields), ("norm", norm)):
        if not isinstance(value, dict):
            yield key, "must be an object of field names and values"
    if job is not None and not isinstance(job, str):
        yield "job", "must be the name of a job"
    if page is not None and (not isinstance(page, int) or isinstance(page, bool) or page < 1):
        yield "page", "must be a page number, from 1"


def _labelled_file(folder: Path, name: Any) -> Path | str:
    """The file `name` in `folder`/img or `folder`, or what is wrong with the name."""
    if not isinstance(name, str) or not name or "\0" in name:
        return "must be the name of the labelled file"
    candidates = (folder / "img" / name, folder / name)
    file = next((each for each in candidates if each.is_file()), None)
    return file or f'"{name}" is neither in {candidates[0].parent} nor in {folder}'
