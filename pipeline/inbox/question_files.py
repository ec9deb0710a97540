"""Read a claimed set: question, earlier turns and pictures.

The question is the only text file, or `question.txt`. `earlier.json` holds the earlier turns of the conversation. All
other files are pictures, in natural order of their names (2 before 10).
"""

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DocumentError
from pipeline.inbox.grouping import EARLIER, QUESTION, TEXT, is_text, lacks, named_picture, natural
from pipeline.inbox.scanner import signature, walk_files
from pipeline.system import filesystem

QUESTION_BYTES, EARLIER_BYTES = 64 * 1024, 1024 * 1024
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """A claimed folder. With `error` it cannot be processed; the id covers the files that exist.

    `name` is the name of the dropped picture or lone text, else of the folder.
    """

    id: str
    name: str
    parts: tuple[Path, ...]
    question: str | None
    earlier: tuple[tuple[str, str], ...]
    size_bytes: int
    changed_s: float
    error: DocumentError | None


def read(folder: Path) -> QuestionSet | None:
    """Reads a claimed folder; None while a file in it is still being written. Raises OSError."""
    found = {name: seen for name, seen in walk_files(folder) if seen}
    names = sorted(found, key=natural)
    texts = [name for name in names if is_text(name)]
    asking = [name for name in texts if name.lower() == QUESTION] or texts
    total, question = hashlib.sha256(), None
    earlier: tuple[tuple[str, str], ...] = ()
    error: DocumentError | None = None
    try:
        question, earlier = _question(folder, names, asking)
    except DocumentError as fault:
        error = fault
    texts_used = {asking[0], EARLIER} if len(asking) == 1 else {EARLIER}
    parts = [name for name in names if name not in texts_used]
    for name in names:
        read_as = _digest(folder / name)
        if read_as is None or signature(os.lstat(folder / name)) != signature(found[name]):
            return None
        if name in parts:
            total.update(read_as)
    total.update(json.dumps([question, earlier], ensure_ascii=True).encode())
    return QuestionSet(
        id=total.hexdigest(),
        name=_name(folder.name, parts or texts),
        parts=tuple(folder / name for name in parts) if error is None else (),
        question=question,
        earlier=earlier,
        size_bytes=sum(seen.st_size for seen in found.values()),
        changed_s=max((seen.st_mtime for seen in found.values()), default=0.0),
        error=error,
    )


def _name(folder: str, files: list[str]) -> str:
    alone = files[0] if len(files) == 1 else ""
    return alone if any(filesystem.named_for(folder, each) for each in (alone, os.path.splitext(alone)[0])) else folder


def _question(folder: Path, names: list[str], asking: list[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Raises DocumentError(no_question | no_picture)."""
    if not asking:
        raise DocumentError("no_question")
    if len(asking) > 1:
        listed = ", ".join(asking[:3]) + (", …" if len(asking) > 3 else "")
        raise DocumentError("no_question", f"{len(asking)} texts ({listed}): call the one that asks {QUESTION}")
    if lacks(names) == "picture":
        raise DocumentError("no_picture", f"{named_picture(os.path.basename(asking[0]))} is not there")
    question = text_of(_bytes(folder / asking[0], QUESTION_BYTES), asking[0])
    if not question:
        raise DocumentError("no_question", f"{asking[0]} is empty")
    return question, turns_of(_bytes(folder / EARLIER, EARLIER_BYTES)) if EARLIER in names else ()


def attachment(picture: Path) -> str:
    """The question in the text beside a picture. Raises DocumentError(no_question)."""
    text = picture.with_name(picture.name + TEXT)
    if not (question := text_of(_bytes(text, QUESTION_BYTES), text.name)):
        raise DocumentError("no_question", f"{text.name} is empty")
    return question


def text_of(raw: bytes, name: str) -> str:
    """Decodes UTF-8, UTF-16 with BOM, or GB18030, and strips blanks. Raises DocumentError(no_question)."""
    for encoding in [codec for bom, codec in _BOMS if raw.startswith(bom)] or ["utf-8", "gb18030"]:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _NOT_TEXT.search(text):
            return "\n".join(text.splitlines()).strip()
        break
    raise DocumentError("no_question", f"{name} is not plain text; save it as UTF-8")


def turns_of(raw: bytes) -> tuple[tuple[str, str], ...]:
    """`[{"question": …, "answer": …}, …]`, the oldest first. Raises DocumentError(no_question)."""
    try:
        return tuple((_turn_text(turn["question"]), _turn_text(turn["answer"])) for turn in json.loads(raw))
    except (ValueError, TypeError, KeyError, RecursionError):
        form = '[{"question": "…", "answer": "…"}]'
        raise DocumentError("no_question", f"{EARLIER} is not a list of turns: {form}") from None


def _turn_text(words: object) -> str:
    if not isinstance(words, str):
        raise TypeError("a turn is text")
    words.encode()  # a lone surrogate raises ValueError
    return words.strip()


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _bytes(path: Path, most: int) -> bytes:
    """Raises DocumentError(no_question) for anything but a readable file of at most `most` bytes."""
    try:
        with open(_opened(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DocumentError("no_question", f"{path.name} is not a file")
            raw = file.read(most + 1)
    except OSError as error:
        raise DocumentError("no_question", f"{path.name} cannot be read: {error.strerror or error}") from None
    if len(raw) > most:
        raise DocumentError("no_question", f"{path.name} is longer than {most // 1024} KiB")
    return raw


def _digest(path: Path) -> bytes | None:
    """SHA-256 of the content, or of the reason why it cannot be read; None if the file is gone."""
    try:
        with open(_opened(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return hashlib.sha256(b"not a file").digest()
            return hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:
        return None
    except OSError as error:
        return hashlib.sha256(f"cannot be read: {error.errno}".encode()).digest()
