"""Page images for the browser: decoded in guarded processes, scaled down and cached.

Files are untrusted. The server itself never decodes them; it only receives the finished JPEG.
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

SIDE_PX = 2200  # keeps small print of an A4 page legible when zoomed
CACHED_IMAGES = 64  # about 30 MB
DECODERS = 2


@dataclass(frozen=True)
class PageImage:
    """A page as a JPEG. `width` and `height` are in source pixels, the unit of the boxes in records.

    `turned` is the clockwise rotation of the page in degrees (0, 90, 180, 270); 0 unless it was requested.
    """

    jpeg: bytes
    width: int
    height: int
    pages: int
    turned: int


class PageImages:
    """Renders pages for one server. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self._limits = limits
        self._bounds = document_reader.Bounds(
            limits.file_mib, limits.pages, limits.megapixels, tuple(settings.passwords)
        )
        # A worker dies with the thread that started it, so each pool belongs to one permanent thread.
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")
        self._local = threading.local()
        self._cached = functools.lru_cache(maxsize=CACHED_IMAGES)(self._decoded)

    def page(self, path: Path, number: int = 1, side_px: int = SIDE_PX, orient: bool = False) -> PageImage:
        """Render page `number` (from 1) with at most `side_px` on its longer side, in the orientation of the file.

        `orient` detects the rotation as the job's step does. Raises DocumentError.
        """
        try:
            found = path.stat()
        except OSError:
            raise DocumentError("vanished") from None
        return self._cached(path, found.st_mtime_ns, found.st_size, number, side_px, orient)

    def _decoded(self, path: Path, changed: int, size: int, number: int, side_px: int, orient: bool) -> PageImage:
        return self._threads.submit(self._render, path, number, side_px, orient).result()

    def _render(self, path: Path, number: int, side_px: int, orient: bool) -> PageImage:
        pool: ProcessPool | None = getattr(self._local, "pool", None)
        if pool is None:
            limits = self._limits
            pool = self._local.pool = ProcessPool(
                1, seconds=limits.seconds, memory_mib=limits.memory_mib, start=warm_up
            )
        task = pool.submit(render, path, self._bounds, number, side_px, orient)
        while not task.finished:
            pool.wait()
        return PageImage(*decoded(task))

    def close(self) -> None:
        """Stop the worker processes."""
        barrier = threading.Barrier(DECODERS)  # makes each thread take exactly one task
        for _ in range(DECODERS):
            self._threads.submit(self._close_local, barrier)
        self._threads.shutdown()

    def _close_local(self, barrier: threading.Barrier) -> None:
        barrier.wait()
        if (pool := getattr(self._local, "pool", None)) is not None:
            pool.close()


def render(
    path: Path, bounds: document_reader.Bounds, number: int, side_px: int, orient: bool
) -> tuple[bytes, int, int, int, int]:
    """Worker task: a page as JPEG, its width and height in source pixels, the page count, and its rotation."""
    from PIL import Image

    def target_size(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, side_px / max(width, height, 1))
        return max(1, round(width * scale)), max(1, round(height * scale))

    with document_reader.opened(path, bounds) as document:
        total = document.total
        found = list(document_reader.pages(document, bounds, number, 1, target_size))  # errors are raised at the end
    page = found[0] if found else None
    if page is None or page.image is None:
        raise DocumentError("broken", page.fault if page and page.fault else f"there is no page {number}")
    corner = page.to_source.point(page.width, page.height)
    image = Image.fromarray(page.image)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    turned = orientation.rotation(page.image) if orient else 0
    return buffer.getvalue(), round(abs(corner[0])), round(abs(corner[1])), total, turned
