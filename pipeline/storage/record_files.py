"""Record files: their names, and reading the records of one document.

`<root>/records/<job>/<id>.json` is the record of a whole document, `<id>.p0003.json` the record of page 3.
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import StorageError
from pipeline.core.safe_text import sanitize
from pipeline.core.types import Record
from pipeline.storage.record_json import from_json
from pipeline.system import filesystem

if TYPE_CHECKING:
    from pipeline.schema.job import Job

_ID = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"([0-9a-f]{64})(?:\.p(\d{4,}))?\.json")
_PRIME = 1_000_003  # small changes of both time and size must not cancel out


class DamagedRecord(StorageError):
    """A record file that cannot be parsed."""

    def __init__(self, path: Path, why: str) -> None:
        self.document_id = path.name[:64]
        super().__init__(
            f"{sanitize(path)} is not a whole record ({sanitize(why)}). Delete it, and drop its document again."
        )


def record_file(job: str, document_id: str, page: int | None) -> Path:
    """The path of a record, relative to the root. Raises ValueError for an invalid document id or job name."""
    if not _ID.fullmatch(document_id):
        raise ValueError(f"{document_id!r} is not a document id (64 hex digits)")
    suffix = "" if page is None else f".p{page:04}"
    return Path("records", filesystem.child(job), f"{document_id}{suffix}.json")


def is_file_name(name: str) -> bool:
    """Whether a file of this name is a record file."""
    return bool(_FILE.fullmatch(name))


def is_record_file(job: str, path: str) -> bool:
    """Whether a path relative to the root is that of a record of the job."""
    folder, _, name = path.rpartition("/")
    return folder == f"records/{job}" and is_file_name(name)


def page_of(name: str) -> int | None:
    """The page in the name of a record file."""
    found = _FILE.fullmatch(name)
    return int(found[2]) if found and found[2] else None


def version_of(found: os.stat_result) -> int:
    """A number that changes when the file is written again."""
    return (found.st_mtime_ns * _PRIME + found.st_size) % 2**63


def document_files(root: Path, job: str, document_id: str) -> list[Path]:
    """The record files of a document, found without listing the folder."""
    paths = [path] if (path := root / record_file(job, document_id, None)).exists() else []
    page = 1
    while (path := root / record_file(job, document_id, page)).exists():
        paths.append(path)
        page += 1
    return paths


def read_record(path: Path, job: "Job | None" = None) -> Record:
    """Raises DamagedRecord and StorageError."""
    with filesystem.storing(path):
        content = filesystem.read_file(path)
    try:
        return from_json(content.decode(), job)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecord(path, f"{type(error).__name__} {error}") from error


def read_day(path: Path) -> date:
    """The day of a record. Raises DamagedRecord and FileNotFoundError."""
    try:
        return date.fromisoformat(json.loads(filesystem.read_file(path))["day"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedRecord(path, f"it has no day: {error}") from error


def first_day(paths: Sequence[Path]) -> date | None:
    """The day of the first file that can be read."""
    for path in paths:
        with suppress(FileNotFoundError, DamagedRecord):
            return read_day(path)
    return None


def latest_records(paths: Sequence[Path], job: "Job | None" = None) -> list[Record]:
    """The records of one document in page order, without leftovers of an unfinished or older commit.

    Raises DamagedRecord and StorageError.
    """
    records = [read_record(path, job) for path in paths]
    whole = [record for record in records if record.page is None]
    pages = sorted((record for record in records if record.page is not None), key=lambda record: record.page or 0)
    if not pages or pages[0].page != 1:
        return whole
    if whole and _timestamp(whole[0]) >= _timestamp(pages[0]):
        return whole
    return pages


def manually_reviewed(paths: Sequence[Path]) -> list[Record]:
    """The records of one document when any of them has a manual correction or an approval, else none."""
    try:
        records = latest_records(paths)
    except DamagedRecord:
        return []
    return records if any(record.corrections or record.approved for record in records) else []


def _timestamp(record: Record) -> float:
    return record.processed_at.timestamp() if record.processed_at else 0.0
