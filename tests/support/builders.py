"""Builders of documents, pages and records, files in an inbox, and whole runs, with sane defaults."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page, Record
from pipeline.engine import Engine
from pipeline.schema.job import Job
from pipeline.schema.settings import Settings

RECEIVED = datetime(2026, 11, 22, tzinfo=UTC)


def document(name: str = "a.pdf", inbox: str = "box", **changes: Any) -> Document:
    """A document whose id is the digest of its name; `changes` are fields of Document."""
    made = Document(sha256(os.fsencode(name)).hexdigest(), name, Path(name), inbox, RECEIVED, 1)
    return replace(made, **changes)


def file_document(path: Path, inbox: str = "box") -> Document:
    """The document of a file that is there, with the id of its name."""
    return document(path.name, inbox, path=path, size_bytes=path.stat().st_size)


def page(number: int = 1, width: int = 100, height: int = 100, **changes: Any) -> Page:
    """A page without a turn or scale; `changes` are fields of Page. An image sets the size."""
    if (image := changes.get("image")) is not None:
        height, width = image.shape[:2]
    return Page(number, width, height, changes.pop("to_source", Affine()), **changes)


def record(
    data: Mapping[str, Any], job: Job | str = "note", page: int | None = None, run: str = "r1", /, **changes: Any
) -> Record:
    """A record without evidence or issues, answered by the scripted engine; `changes` are fields of Record."""
    name, digest = (job, "") if isinstance(job, str) else (job.name, job.digest)
    made = Record(
        document=document(),
        job=name,
        page=page,
        pages=(page or 1,),
        data=data,
        confidence={},
        evidence={},
        issues=(),
        error=None,
        provenance={"engine": "echo", "run": run, "job_digest": digest},
    )
    return replace(made, **changes)


def drop_file(root: Path, name: str, content: bytes | str, inbox: str) -> Path:
    """Write a file into an inbox; folders in between are made."""
    path = root / "inbox" / inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def drop_image(root: Path, name: str, colour: int = 0, inbox: str = "note") -> Path:
    """Save a small picture in an inbox; each colour (0 to 255) has other bytes, so another document id."""
    path = root / "inbox" / inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (colour, 99, 7)).save(path)
    return path


def files(root: Path, *folder: str) -> list[str]:
    """Paths of the files and links below a folder of the root, relative to it and sorted."""
    top = root.joinpath(*folder)
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_symlink() or not path.is_dir())


def file_names(root: Path, *folder: str) -> list[str]:
    """The same without the folders."""
    return sorted(Path(path).name for path in files(root, *folder))


def run_batch(settings: Settings, engine: Engine, *jobs: Job, ear: Any = None, **options: Any) -> Any:
    """The report of one batch over the root of `settings`. `ear` listens; `options` are those of `Session.batch`."""
    from pipeline.runs.session import Session
    from tests.support.ear import Ear

    with Session(settings, jobs, engine, "echo", ear or Ear()) as session:
        return session.batch(**options)
