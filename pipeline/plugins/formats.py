"""The kinds of file that are read: how each is recognised by its content, and what opens it.

Decoders meet hostile bytes, so `open` is only called in a guarded worker. `matches` compares the first bytes of a file
and may be asked anywhere; no name decides what a file is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

from pipeline.core.errors import DOCUMENT_ERRORS, Cause
from pipeline.core.types import Page
from pipeline.plugins.registry import Registry

HEAD_BYTES = 1024  # a PDF may have junk before its header; readers look for it in the first 1024 bytes
Need = Callable[[int, int], tuple[int, int]]  # from the size in source pixels to the size that is wanted


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a file is read at most. `passwords` are tried on encrypted PDFs, after the empty one."""

    file_mib: float = 4096
    pages: int = 5000
    megapixels: float = 300
    passwords: tuple[str, ...] = ()


class Opened(Protocol):
    """An open file: its pages one by one, in any order."""

    @property
    def total(self) -> int:
        """How many pages it has, told without decoding one."""
        ...

    def page(self, number: int, need: Need, text_only: bool, max_pixels: int) -> Page:
        """Page `number` (from 1). Raises DocumentError.

        `need(width, height)` in source pixels gives the size that the picture should have; it may be larger, never
        smaller where the file has as much, and never above `max_pixels`. `Page.words` is the text layer, where the file
        has a sound one; with `text_only` such a page needs no picture.
        """
        ...


class Format(ABC):
    """One kind of file. Never made an object: all that is asked of it is asked of the class.

    Its module imports no decoder at its top: the class is imported in every process, also outside of the guard.
    `title` is the name for people. `suffixes` are the usual endings of a name, the first for copies that we name.
    `magic` are beginnings of such a file. `question_picture`: whether a question may be about such a file, so that
    `x.pdf.txt` asks about `x.pdf`, and the page takes it as an upload.
    """

    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    magic: ClassVar[tuple[bytes, ...]] = ()
    question_picture: ClassVar[bool] = True

    @classmethod
    def matches(cls, head: bytes) -> bool:
        """Whether a file that begins with `head`, its first HEAD_BYTES bytes, is of this kind."""
        return head.startswith(cls.magic)

    @classmethod
    @abstractmethod
    def open(cls, path: Path, bounds: Bounds) -> AbstractContextManager[Opened]:
        """The open file. Raises DocumentError(broken | encrypted)."""


FORMATS: Registry[Format] = Registry(
    "format",
    "scanmill.formats",
    Format,
    {
        "jpeg": "pipeline.preprocessing.image:Jpeg",
        "png": "pipeline.preprocessing.image:Png",
        "tiff": "pipeline.preprocessing.image:Tiff",
        "webp": "pipeline.preprocessing.image:Webp",
        "bmp": "pipeline.preprocessing.image:Bmp",
        "gif": "pipeline.preprocessing.image:Gif",
        "heic": "pipeline.preprocessing.image:Heic",
        "pdf": "pipeline.preprocessing.pdf:PdfFormat",  # last: its magic may stand anywhere in the head of another kind
    },
)


def detect(head: bytes) -> type[Format] | None:
    """The kind of a file that begins with `head`: the first in the registry that matches."""
    return next((each for each in FORMATS.all().values() if each.matches(head)), None)


def picture_suffixes() -> tuple[str, ...]:
    """The endings of files that a question may be about: ".jpg" and so on."""
    return tuple(suffix for each in FORMATS.all().values() if each.question_picture for suffix in each.suffixes)


def titles() -> str:
    """What is read, for people: "JPEG, PNG … or PDF"."""
    *others, last = (each.title for each in FORMATS.all().values())
    return f"{', '.join(others)} or {last}"


def explain_error(code: str) -> Cause:
    """Cause and cure of a document error; both are empty for a code that is not known."""
    known = DOCUMENT_ERRORS.get(code, Cause("", ""))
    return replace(known, cure=known.cure.replace("{formats}", titles())) if "{formats}" in known.cure else known
