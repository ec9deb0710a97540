"""Find the original file of a record in done/, failed/, duplicate/, inbox/ or working/."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.types import Document
from pipeline.inbox import question_files
from pipeline.inbox.file_queue import SETS
from pipeline.inbox.scanner import ERROR_SUFFIX
from pipeline.system import filesystem


def original(root: Path, document: Document) -> Path | None:
    """The original of a record, identified by its content; None if it is gone."""
    for place in _places(root, document):
        try:
            if place.stat().st_size == document.size_bytes and _same(place, document.id):
                return place
        except OSError:
            continue
    return None


def pictures(root: Path, document: Document) -> list[Path] | None:
    """The files of a record's pages, in order: its original, or the pictures of its set (none for a lone question).

    None if they are gone.
    """
    if found := original(root, document):
        return [found]
    for folder in _folders(root, document.inbox, SETS):
        for place in folder.iterdir() if folder.is_dir() else ():
            names = (document.name, Path(document.name).stem)
            if place.is_dir() and any(filesystem.named_for(place.name, name) for name in names):
                asked = question_files.read(place)
                if asked is not None and asked.id == document.id:
                    return list(asked.parts)
    return None


def _same(place: Path, document_id: str) -> bool:
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == document_id


def _places(root: Path, document: Document) -> Iterator[Path]:
    """Possible paths of the document, the most likely first. A taken name has got a suffix such as " (2)"."""
    *inner, name = document.name.split("/")
    if ".." in inner or "" in inner:
        return
    stem, suffix = Path(name).stem, Path(name).suffix
    for folder in _folders(root, document.inbox):
        place = folder.joinpath(*inner)
        yield place / name
        if place.is_dir():
            for each in sorted(place.iterdir()):
                if each.name.startswith(f"{stem[:200]} (") and each.suffix == suffix and ERROR_SUFFIX not in each.name:
                    yield each


def _folders(root: Path, box: str, claimed: str = "") -> list[Path]:
    """Folders with documents of an inbox; `claimed` is the suffix of its folder in working/."""
    folders = sorted((root / "done" / box).glob("*/"), reverse=True)
    folders += [root / end / box for end in ("failed", "duplicate", "inbox")]
    return folders + sorted((root / "working").glob(f"*/{box}{claimed}"))
