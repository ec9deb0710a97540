"""Turn a claimed file or set into a Document with its id, or an error."""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import DocumentError
from pipeline.core.types import Document
from pipeline.inbox import question_files
from pipeline.inbox.scanner import signature
from pipeline.system import filesystem


@dataclass(frozen=True, slots=True)
class Claim:
    """A document claimed by `run`. With `error` it cannot be opened and must be finished as failed.

    The id is then derived from inbox and name instead of the content.
    """

    document: Document
    run: str
    error: DocumentError | None = None


def claim_file(path: Path, box: str, name: str, run: str) -> Claim | None:
    """The claim of a single file; None while the file is still being written."""
    digest = hashlib.sha256(os.fsencode(f"{box}\0{name}")).hexdigest()
    size, received, error = 0, datetime.now(UTC), None
    try:
        found = os.lstat(path)
        with suppress(ValueError, OverflowError, OSError):  # a time outside the calendar
            received = min(received, datetime.fromtimestamp(found.st_mtime, UTC))
        if not stat.S_ISREG(found.st_mode):
            raise DocumentError("not_a_file", filesystem.kind(found.st_mode))
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            read = hashlib.file_digest(file, "sha256").hexdigest()
            if signature(os.fstat(file.fileno())) != signature(found):
                return None
        digest, size = read, found.st_size
    except DocumentError as fault:
        error = fault
    except FileNotFoundError:
        error = DocumentError("vanished")
    except OSError as fault:
        error = DocumentError("not_readable", fault.strerror or str(fault))
    return Claim(Document(digest, name, path, box, received, size), run, error)


def claim_set(path: Path, box: str, run: str) -> Claim | None:
    """The claim of a set; None while a file in it is still being written."""
    found, error = None, DocumentError("vanished")
    try:
        found = question_files.read(path)
        if found is None:
            return None
    except FileNotFoundError:
        pass
    except OSError as fault:
        error = DocumentError("not_readable", fault.strerror or str(fault))
    if found is None:
        digest = hashlib.sha256(os.fsencode(f"{box}\0{path.name}")).hexdigest()
        return Claim(Document(digest, path.name, path, box, datetime.now(UTC), 0), run, error)
    received = datetime.now(UTC)
    with suppress(ValueError, OverflowError, OSError):
        received = min(received, datetime.fromtimestamp(found.changed_s, UTC))
    document = Document(
        found.id, found.name, path, box, received, found.size_bytes, found.question, found.earlier, found.parts
    )
    return Claim(document, run, found.error)
