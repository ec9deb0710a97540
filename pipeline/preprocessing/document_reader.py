"""Read a file: detect its format by content, count its pages, and decode each into a `Page`.

Runs in a guarded worker, because decoders process hostile bytes.
"""

import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pipeline.core.errors import DocumentError
from pipeline.core.geometry import Affine
from pipeline.core.types import Page
from pipeline.plugins.formats import HEAD_BYTES, Format, Need, Opened, detect, explain_error
from pipeline.plugins.formats import Bounds as Bounds

KNOWN_UNSUPPORTED = {  # common files that are not documents; the error names them
    b"PK\x03\x04": "it looks like a ZIP or an office file",
    b"\xd0\xcf\x11\xe0": "it looks like an old office file",
    b"<": "it looks like a web page or XML",
    b"{": "it looks like JSON",
}


def sniff(path: Path) -> type[Format]:
    """The format of the file, by its content, never by its name.

    Raises DocumentError(empty | unsupported | not_a_file | not_readable | vanished).
    """
    with _file_faults():
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DocumentError("not_a_file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    if not head:
        raise DocumentError("empty")
    if found := detect(head):
        return found
    raise DocumentError(
        "unsupported", next((words for start, words in KNOWN_UNSUPPORTED.items() if head.startswith(start)), "")
    )


@contextmanager
def _file_faults() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DocumentError("vanished") from None
    except PermissionError:
        raise DocumentError("not_readable") from None


@contextmanager
def opened(path: Path, bounds: Bounds) -> Iterator[Opened]:
    """The opened file; its size and number of pages are within bounds.

    Raises DocumentError(empty | unsupported | broken | encrypted | no_pages | too_large | too_many_pages | not_a_file |
    not_readable | vanished).
    """
    kind = sniff(path)
    with _file_faults():
        _bound_size(path.stat().st_size, bounds)
        with kind.open(path, bounds) as document:
            if document.total == 0:
                raise DocumentError("no_pages")
            _bound_pages(document.total, bounds)
            yield document


class CombinedDocument:
    """Several files as one document with continuous page numbers. One file is open at a time.

    A file that cannot be opened counts as one unreadable page; files in `fatal` are not opened.
    """

    def __init__(
        self, paths: Sequence[Path], bounds: Bounds, stack: ExitStack, fatal: Mapping[Path, DocumentError]
    ) -> None:
        """Raises DocumentError(too_large | too_many_pages) for their sum."""
        self._bounds, self._stack, self._fatal = bounds, stack, fatal
        self._pages: list[tuple[Path, int]] = []  # each page's file, and its number there
        self._open: tuple[Path, Opened] | None = None
        size = sum(path.lstat().st_size for path in paths)
        _bound_size(size, bounds)
        for path in paths:
            try:
                pages = self._of(path).total
            except DocumentError:
                pages = 1
            self._pages += [(path, number + 1) for number in range(pages)]
            _bound_pages(len(self._pages), bounds)

    @property
    def total(self) -> int:
        return len(self._pages)

    def page(self, number: int, need: Need, text_only: bool, max_pixels: int) -> Page:
        """Raises DocumentError, whose detail names the file."""
        path, inside = self._pages[number - 1]
        try:
            return replace(self._of(path).page(inside, need, text_only, max_pixels), number=number)
        except DocumentError as error:
            why = error.detail or explain_error(error.code).cause
            raise DocumentError(error.code, f"{path.name}: {why}") from None

    def _of(self, path: Path) -> Opened:
        if path in self._fatal:
            raise self._fatal[path]
        if self._open is None or self._open[0] != path:
            self._open = None
            self._stack.close()
            self._open = path, self._stack.enter_context(opened(path, self._bounds))
        return self._open[1]


@contextmanager
def opened_together(
    paths: Sequence[Path], bounds: Bounds, fatal: Mapping[Path, DocumentError] = MappingProxyType({})
) -> Iterator[Opened]:
    """The opened files of a document. Raises DocumentError as `opened` does; for several files, only when read.

    `fatal`: files that killed a worker before, each with its error.
    """
    with ExitStack() as stack:
        if len(paths) == 1:
            yield stack.enter_context(opened(paths[0], bounds))
        else:
            with _file_faults():
                document = CombinedDocument(paths, bounds, stack, fatal)
            yield document


def _bound_size(size: int, bounds: Bounds) -> None:
    if size > bounds.file_mib * 2**20:
        raise DocumentError("too_large", f"{size / 2**20:.0f} MiB; at most {bounds.file_mib:g} are read")


def _bound_pages(pages: int, bounds: Bounds) -> None:
    if pages > bounds.pages:
        raise DocumentError("too_many_pages", f"{pages} pages; at most {bounds.pages} are read")


def pages(
    document: Opened,
    bounds: Bounds,
    first: int = 1,
    count: int | None = None,
    need: Need = lambda width, height: (width, height),
    text_only: bool = False,
) -> Iterator[Page]:
    """The pages `first` … `first + count - 1` that exist (to the end, if count is None).

    `need(width, height)`, in source pixels, returns the least size of the decoded picture: it saves decoders work.
    `text_only`: pages with a reliable text layer have no picture. An unreadable page has a `fault`; if all pages of the
    document are unreadable, raises the first DocumentError.
    """
    last = document.total if count is None else min(document.total, first + count - 1)
    errors = []
    for number in range(first, last + 1):
        try:
            yield document.page(number, need, text_only, int(bounds.megapixels * 1e6))
        except DocumentError as error:
            errors.append(error)
            yield Page(number, 0, 0, Affine(), fault=error.detail)
    if len(errors) == document.total:
        raise errors[0]
