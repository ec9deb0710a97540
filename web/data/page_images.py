"""Pictures of pages for the eye: decoded in guarded processes, never in the server, and kept small.

Bytes that people dropped are hostile until they are pixels. Here only their finished JPEG meets the server.
"""

import functools
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DocumentError
from pipeline.preprocessing import document_reader, orientation
from pipeline.preprocessing.page_loader import decoded, warm_up
from pipeline.schema.settings import Settings
from pipeline.system.process_pool import ProcessPool

SIDE_PX = 2200  # small print of an A4 page is still sharp when it is zoomed
KEPT = 64  # pictures that one server keeps: about 30 MB
DECODERS = 2


@dataclass(frozen=True)
class PageImage:
    """A page as a JPEG. `width` and `height` are the page's source pixels, in which records give their boxes.

    `turned` says by how many degrees clockwise (0, 90, 180, 270) it lies away from upright, where that was asked.
    """

    jpeg: bytes
    width: int
    height: int
    pages: int
    turned: int


class PageImages:
    """Decodes pages for one server. Safe to be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._limits = limits
        self._bounds = document_reader.Bounds(
            limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords)
        )
        # A worker dies with the thread that started it, so each pool has a thread of its own for good.
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
        self._own = threading.local()
        self._kept = functools.lru_cache(maxsize=KEPT)(self._decoded)

    def page(self, path: Path, number: int = 1, side_px: int = SIDE_PX, orient: bool = False) -> PageImage:
        """Page `number` (from 1), at most `side_px` on its longer side, as it lies in the file; with `orient` it is
        looked at as the job's step does, to say how it lies. Raises DocumentError with the reason.
        """
        try:
            found = path.stat()
        except OSError:
            raise DocumentError("vanished") from None
        return self._kept(path, found.st_mtime_ns, found.st_size, number, side_px, orient)

    def _decoded(self, path: Path, changed: int, size: int, number: int, side_px: int, orient: bool) -> PageImage:
        return self._threads.submit(self._ask, path, number, side_px, orient).result()

    def _ask(self, path: Path, number: int, side_px: int, orient: bool) -> PageImage:
        pool: ProcessPool | None = getattr(self._own, "pool", None)
        if pool is None:
            limits = self._limits
            pool = self._own.pool = ProcessPool(1, seconds=limits.seconds, memory_mib=limits.memory_mib, start=warm_up)
        task = pool.submit(render, path, self._bounds, number, side_px, orient)
        while not task.finished:
            pool.wait()
        return PageImage(*decoded(task))

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
    path: Path, bounds: document_reader.Bounds, number: int, side_px: int, orient: bool
) -> tuple[bytes, int, int, int, int]:
    """One task of a worker: a page as JPEG, its size in source pixels, how many pages there are, and how it lies."""
    from PIL import Image

    def need(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, side_px / max(width, height, 1))
        return max(1, round(width * scale)), max(1, round(height * scale))

    with document_reader.opened(path, bounds) as document:
        total = document.total
        page = next(
            iter(list(document_reader.pages(document, bounds, number, 1, need))), None
        )  # to its end: there it raises
    if page is None or page.image is None:
        raise DocumentError("broken", page.fault if page and page.fault else f"there is no page {number}")
    corner = page.to_source.point(page.width, page.height)
    picture = Image.fromarray(page.image)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    turned = orientation.turned(page.image) if orient else 0
    return buffer.getvalue(), round(abs(corner[0])), round(abs(corner[1])), total, turned
