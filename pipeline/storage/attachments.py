"""The files that lie beside a record: code and Markdown with the right ending, and pictures with boxes drawn in.

`<root>/files/<job>/<day>/login-3fa9c2d1e0b4.vue`: the document's name, the first digits of its id, the page where the
document has several answers or pictures, and the field where the job has several files. results/ holds Parquet only.
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
    """One such file: what follows the document's id in its name (".vue"), and its bytes or a whole temporary file."""

    suffix: str
    content: bytes | Path


def texts(job: Job, record: Record) -> Iterator[Attachment]:
    """The code and Markdown of a record."""
    several = sum(bool(leaf.file_suffix) for _, leaf in leaves(job.fields)) > 1
    for path, leaf, value in leaf_values(job.fields, record.data):
        if leaf.file_suffix and isinstance(value, str):
            place = f".{path.replace('[', '-').replace(']', '')}" if several or "[" in path else ""
            yield Attachment(place + leaf.file_suffix, (value + "\n").encode("utf-8", "replace"))


def picture(page: int, pages: int, drawn: Path) -> Attachment:
    """The picture of a page, out of `pages`, with its boxes."""
    return Attachment(f"{f'.p{page:04}' if pages > 1 else ''}.annotated.jpg", drawn)


def folder(root: Path, record: Record) -> Path:
    """Where the files of a record lie; it is made where it is missing. Raises StorageError."""
    assert record.day is not None
    return filesystem.folder(root, FOLDER, record.job, record.day.isoformat())


def name(record: Record, suffix: str) -> str:
    """What a record calls one of its files: its place, from the root."""
    assert record.day is not None
    return "/".join((FOLDER, filesystem.child(record.job), record.day.isoformat(), file_name(record, suffix)))


def inside(root: Path, name: str) -> Path:
    """The place of a file that a record names. Raises ValueError for what is no such place."""
    top, *parts = name.split("/")
    if top != FOLDER or len(parts) != 3:
        raise ValueError(f"{name!r} is not the name of a file beside a record")
    return root.joinpath(FOLDER, *map(filesystem.child, parts))


def file_name(record: Record, suffix: str) -> str:
    """A name that leads nowhere else and that every file system takes, whatever the document was called."""
    page = "" if record.page is None else f".p{record.page:04}"
    stem = _UNSAFE.sub("_", filesystem.printable(PurePosixPath(record.document.name).name)).rpartition(".")
    said = (stem[0] or stem[2]).strip(" .") or "document"
    while len(said.encode()) > _STEM_BYTES:
        said = said[:-1]
    return filesystem.child(f"{said}-{record.document.id[:ID_DIGITS]}{page}{suffix}")
