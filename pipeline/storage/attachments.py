"""Attachments: files of a record with code, Markdown or page pictures with boxes.

Path: `<root>/files/<job>/<day>/login-3fa9c2d1e0b4.vue`. The name has the document's name, the start of its id, the
page where a document has several, and the field where a job has several attachments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core.types import Record
from pipeline.schema.fields import leaf_values, leaves
from pipeline.schema.job import Job
from pipeline.system import filesystem

FOLDER = "files"
ID_DIGITS = 12  # 48 bits: two documents of one day never share them
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\u202a-\u202e\u2066-\u2069]')
_STEM_BYTES = 120  # leaves room for the rest in a name of 255 bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    """`suffix` follows the document id in the file name (".vue"). `content`: bytes, or the path of a temporary file."""

    suffix: str
    content: bytes | Path


def texts(job: Job, record: Record) -> Iterator[Attachment]:
    """The code and Markdown attachments of a record."""
    several = sum(bool(leaf.file_suffix) for _, leaf in leaves(job.fields)) > 1
    for path, leaf, value in leaf_values(job.fields, record.data):
        if leaf.file_suffix and isinstance(value, str):
            place = f".{path.replace('[', '-').replace(']', '')}" if several or "[" in path else ""
            yield Attachment(place + leaf.file_suffix, (value + "\n").encode("utf-8", "replace"))


def picture(page: int, pages: int, drawn: Path) -> Attachment:
    """The picture of a page with boxes; `pages` is the number of pages."""
    return Attachment(f"{f'.p{page:04}' if pages > 1 else ''}.annotated.jpg", drawn)


def folder(root: Path, record: Record) -> Path:
    """The folder for the attachments of a record, created if missing. Raises StorageError."""
    assert record.day is not None
    return filesystem.folder(root, FOLDER, record.job, record.day.isoformat())


def name(record: Record, suffix: str) -> str:
    """The path of an attachment, relative to the root."""
    assert record.day is not None
    return "/".join((FOLDER, filesystem.child(record.job), record.day.isoformat(), file_name(record, suffix)))


def inside(root: Path, name: str) -> Path:
    """The absolute path of an attachment named by a record. Raises ValueError for any other path."""
    top, *parts = name.split("/")
    if top != FOLDER or len(parts) != 3:
        raise ValueError(f"{name!r} is not the path of an attachment")
    return root.joinpath(FOLDER, *map(filesystem.child, parts))


def file_name(record: Record, suffix: str) -> str:
    """A safe file name on every file system, whatever the name of the document."""
    page = "" if record.page is None else f".p{record.page:04}"
    stem = _UNSAFE.sub("_", filesystem.printable(PurePosixPath(record.document.name).name)).rpartition(".")
    short = (stem[0] or stem[2]).strip(" .") or "document"
    while len(short.encode()) > _STEM_BYTES:
        short = short[:-1]
    return filesystem.child(f"{short}-{record.document.id[:ID_DIGITS]}{page}{suffix}")
