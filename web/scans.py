"""Pictures of pages for the eye: decoded in guarded processes, never in the server, and kept small.

Bytes that people dropped are hostile until they are pixels. Here only their finished JPEG meets the server.
"""

import functools
import hashlib
import io
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import disk, documents, questions, upright
from pipeline.boxes import ERROR_SUFFIX
from pipeline.errors import ConfigError, DocumentError, ModelError, StorageError
from pipeline.inbox import SETS
from pipeline.pages import decoded, warm_up
from pipeline.records import from_json
from pipeline.settings import Settings
from pipeline.types import Document
from pipeline.workers import Pool

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from pipeline.job import Job
    from web.place import Place

SIDE_PX = 2200  # small print of an A4 page is still sharp when it is zoomed
KEPT = 64  # pictures that one server keeps: about 30 MB
DECODERS = 2


@dataclass(frozen=True)
class Picture:
    """A page as a JPEG. `width` and `height` are the page's source pixels, in which records give their boxes.

    `turned` says by how many degrees clockwise (0, 90, 180, 270) it lies away from upright, where that was asked.
    """

    jpeg: bytes
    width: int
    height: int
    pages: int
    turned: int


class Scans:
    """Decodes pages for one server. Safe to be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._limits = limits
        self._bounds = documents.Bounds(limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords))
        # A worker dies with the thread that started it, so each pool has a thread of its own for good.
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
        self._own = threading.local()
        self._kept = functools.lru_cache(maxsize=KEPT)(self._decoded)

    def page(self, path: Path, number: int = 1, side_px: int = SIDE_PX, orient: bool = False) -> Picture:
        """Page `number` (from 1), at most `side_px` on its longer side, as it lies in the file; with `orient` it is
        looked at as the job's step does, to say how it lies. Raises DocumentError with the reason.
        """
        try:
            found = path.stat()
        except OSError:
            raise DocumentError("vanished") from None
        return self._kept(path, found.st_mtime_ns, found.st_size, number, side_px, orient)

    def _decoded(self, path: Path, changed: int, size: int, number: int, side_px: int, orient: bool) -> Picture:
        return self._threads.submit(self._ask, path, number, side_px, orient).result()

    def _ask(self, path: Path, number: int, side_px: int, orient: bool) -> Picture:
        pool: Pool | None = getattr(self._own, "pool", None)
        if pool is None:
            limits = self._limits
            pool = self._own.pool = Pool(1, seconds=limits.seconds, memory_mib=limits.memory_mib, start=warm_up)
        task = pool.submit(render, path, self._bounds, number, side_px, orient)
        while not task.finished:
            pool.wait()
        return Picture(*decoded(task))

    def close(self) -> None:
        """Ends the decoders."""
        together = threading.Barrier(DECODERS)  # so that no thread takes two of these and another none
        for _ in range(DECODERS):
            self._threads.submit(self._close_own, together)
        self._threads.shutdown()

    def _close_own(self, together: threading.Barrier) -> None:
        together.wait()
        if (pool := getattr(self._own, "pool", None)) is not None:
            pool.close()


def render(
    path: Path, bounds: documents.Bounds, number: int, side_px: int, orient: bool
) -> tuple[bytes, int, int, int, int]:
    """One task of a worker: a page as JPEG, its size in source pixels, how many pages there are, and how it lies."""
    from PIL import Image

    def need(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, side_px / max(width, height, 1))
        return max(1, round(width * scale)), max(1, round(height * scale))

    with documents.opened(path, bounds) as document:
        total = document.total
        page = next(iter(list(documents.pages(document, bounds, number, 1, need))), None)  # to its end: there it raises
    if page is None or page.image is None:
        raise DocumentError("broken", page.fault if page and page.fault else f"there is no page {number}")
    corner = page.to_source.point(page.width, page.height)
    picture = Image.fromarray(page.image)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    turned = upright.turned(page.image) if orient else 0
    return buffer.getvalue(), round(abs(corner[0])), round(abs(corner[1])), total, turned


def original(root: Path, document: Document) -> Path | None:
    """Where the file of a record lies now, known by its bytes; None where it is gone."""
    for place in _places(root, document):
        try:
            if place.stat().st_size == document.size_bytes and _same(place, document.id):
                return place
        except OSError:
            continue
    return None


def pictures(root: Path, document: Document) -> list[Path] | None:
    """The files that a record's pages come from, in order: its original, or the pictures of the set that was asked
    about, none where a question came alone. None where they are gone.
    """
    if found := original(root, document):
        return [found]
    for folder in _folders(root, document.inbox, SETS):
        for place in folder.iterdir() if folder.is_dir() else ():
            names = (document.name, Path(document.name).stem)
            if place.is_dir() and any(disk.named_for(place.name, name) for name in names):
                asked = questions.read(place)
                if asked is not None and asked.id == document.id:
                    return list(asked.parts)
    return None


def _same(place: Path, document_id: str) -> bool:
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == document_id


def _places(root: Path, document: Document) -> Iterator[Path]:
    """Where a file of this name may lie, the likeliest first; " (2)" stands where the name was taken."""
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
    """Where what was dropped into a box may lie; `claimed` is the ending of the box's name in working/."""
    folders = sorted((root / "done" / box).glob("*/"), reverse=True)
    folders += [root / end / box for end in ("failed", "duplicate", "inbox")]
    return folders + sorted((root / "working").glob(f"*/{box}{claimed}"))


def answer(request: "Request") -> "Response":
    """The route of a record's pages: a JPEG; its size in source pixels, the number of pages and by how many degrees it
    is to be turned clockwise to stand upright in the headers.
    """
    from starlette.responses import PlainTextResponse, Response

    from pipeline.formats import explained
    from pipeline.store import record_file
    from web.history import private
    from web.place import here

    asked, place = request.path_params, here()
    try:
        record_page, number = _number(asked["record_page"]), _number(asked["page"])
        path = place.root / record_file(asked["job"], asked["document_id"], record_page or None)
        document = from_json(path.read_text("utf-8")).document
        job = _job(place, asked["job"])
        if private(document.name, job):
            raise ValueError("a conversation is its visitor's alone")
        found = pictures(place.root, document)
    except (OSError, ValueError, KeyError, TypeError, StorageError):
        return PlainTextResponse("There is no such record any more.", 404)
    if found is None:
        return PlainTextResponse("The original is no longer here: it was moved or deleted since it was read.", 404)
    if not found:
        return PlainTextResponse("There is no picture: the question came alone.", 404)
    try:
        picture, total = _sheet(place, found, number, job is not None and "orient" in job.preprocess)
    except DocumentError as error:
        return PlainTextResponse(explained(error.code).cause, 422)
    except ModelError as error:  # no decoder works here, whatever the document
        return PlainTextResponse(str(error), 503)
    told = {"X-Source-Size": f"{picture.width}x{picture.height}", "X-Pages": str(total)}
    told["X-Turn"] = str(-picture.turned % 360)
    return Response(picture.jpeg, 200, told, "image/jpeg")


def _number(text: str) -> int:
    """Raises ValueError for what no page has as its number."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("no number of a page")
    return int(text)


def _sheet(place: "Place", files: list[Path], number: int, orient: bool) -> tuple[Picture, int]:
    """A page of files whose pages are counted through, and how many there are. Raises DocumentError."""
    if len(files) == 1:
        picture = place.scans.page(files[0], number, orient=orient)
        return picture, picture.pages
    total, wanted = 0, (files[-1], 0)
    for each in files:
        if total < number:
            wanted = each, number - total
        try:
            total += place.scans.page(each).pages
        except DocumentError:  # it counts as one page, and has no picture
            total += 1
    return place.scans.page(*wanted, orient=orient), total


def _job(place: "Place", name: str) -> "Job | None":
    """The job as it is now; a page is shown also where its job is gone or broken."""
    try:
        return place.job(name)
    except ConfigError:
        return None
