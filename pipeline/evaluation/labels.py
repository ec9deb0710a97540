"""Label files: what truly stands on documents, to measure against. One JSON object a line.

    {"file": "179.jpg", "fields": {"company": "KEDAI PAPAN", "total": "174.90"}, "norm": {"total": 174.9}}

`file` lies under `img/` beside the label file, or is relative to the label file itself. `fields` holds values as
printed (a list where any of several printings is right, or where the job's field is a list; dicts for groups), `norm`
typed values where they exist: ISO dates, plain numbers. null or "" says that the document has no such value; a key that
is absent says nothing. `job` names the job that the line is about, and `page` the page, where they matter. Other keys
are left alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True)
class Label:
    """What one document truly says. `name` is its file as the label file calls it, `file` where it lies."""

    name: str
    file: Path
    fields: Mapping[str, Any]
    norm: Mapping[str, Any] = field(default_factory=dict)
    job: str | None = None
    page: int | None = None
    line: int = 0


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, in its order. Numbers are exact (Decimal). Raises ConfigError with every fault."""
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
    faults = []
    name, fields, norm = row.get("file"), row.get("fields") or {}, row.get("norm") or {}
    job, page = row.get("job"), row.get("page")
    for key, value in (("fields", fields), ("norm", norm)):
        if not isinstance(value, dict):
            faults.append(fault(key, "must be an object of field names and values"))
    if job is not None and not isinstance(job, str):
        faults.append(fault("job", "must be the name of a job"))
    if page is not None and (not isinstance(page, int) or isinstance(page, bool) or page < 1):
        faults.append(fault("page", "must be a page number, from 1"))
    file = None
    if not isinstance(name, str) or not name or "\0" in name:
        faults.append(fault("file", "must be the name of the labelled file"))
    else:
        places = (path.parent / "img" / name, path.parent / name)
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            faults.append(fault("file", f'"{name}" lies neither in {places[0].parent} nor in {path.parent}'))
    if faults or file is None or not isinstance(name, str):
        return faults, None
    return [], Label(name, file, fields, norm, job, page, number)
