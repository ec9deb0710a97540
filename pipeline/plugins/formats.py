"""The registry of file formats: how each is detected by content and opened.

Decoders get untrusted bytes, so `open` is only called in a worker process. `matches` compares the first bytes of a file
and is safe anywhere. File names do not count.
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
Need = Callable[[int, int], tuple[int, int]]  # (width, height) in source pixels -> wanted size


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits for reading a file. `passwords` are tried on encrypted PDFs, after the empty one."""

    file_mib: float = 4096
    pages: int = 5000
    megapixels: float = 300
    passwords: tuple[str, ...] = ()


class Opened(Protocol):
    """An open file with random access to its pages."""

    @property
    def total(self) -> int:
        """The number of pages, without decoding one."""
        ...

    def page(self, number: int, need: Need, text_only: bool, max_pixels: int) -> Page:
        """Page `number` (from 1). Raises DocumentError.

        `need(width, height)` in source pixels gives the wanted size. The picture may be larger, is smaller only where
        the file has no more, and has at most `max_pixels`. `Page.words` is the text layer, where the file has a valid
        one; with `text_only` such a page needs no picture.
        """
        ...


class Format(ABC):
    """One file format. It has class methods only and is never instantiated.

    Its module must not import a decoder at the top: the class is imported in every process. `title` is the name for
    people. `suffixes` are the usual suffixes, the preferred one first. `magic` are the possible first bytes.
    `question_picture`: whether a question may be about such a file, so that `x.pdf.txt` asks about `x.pdf`, and the
    web page accepts it as an upload.
    """

    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    magic: ClassVar[tuple[bytes, ...]] = ()
    question_picture: ClassVar[bool] = True

    @classmethod
    def matches(cls, head: bytes) -> bool:
        """Whether a file with these first HEAD_BYTES bytes has this format."""
        return head.startswith(cls.magic)

    @classmethod
    @abstractmethod
    def open(cls, path: Path, bounds: Bounds) -> AbstractContextManager[Opened]:
        """Open the file. Raises DocumentError(broken | encrypted)."""


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
        "pdf": "pipeline.preprocessing.pdf:PdfFormat",  # last: its magic may be anywhere in the head of another format
    },
)


def detect(head: bytes) -> type[Format] | None:
    """The first format in the registry that matches `head`."""
    return next((each for each in FORMATS.all().values() if each.matches(head)), None)


def picture_suffixes() -> tuple[str, ...]:
    """Suffixes of files that a question may be about: ".jpg" and so on."""
    return tuple(suffix for each in FORMATS.all().values() if each.question_picture for suffix in each.suffixes)


def titles() -> str:
    """The names of all formats, for people: "JPEG, PNG … or PDF"."""
    *others, last = (each.title for each in FORMATS.all().values())
    return f"{', '.join(others)} or {last}"


def explain_error(code: str) -> Cause:
    """Cause and cure of a document error; both are empty for an unknown code."""
    known = DOCUMENT_ERRORS.get(code, Cause("", ""))
    return replace(known, cure=known.cure.replace("{formats}", titles())) if "{formats}" in known.cure else known
