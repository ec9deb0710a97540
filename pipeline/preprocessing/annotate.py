"""Draw boxes into pictures of pages, in guarded worker processes beside the engine.

A worker decodes the page again and writes the picture to a temporary file. The first box starts the workers.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.geometry import Affine, Box
from pipeline.core.time_budget import Budget
from pipeline.core.types import Document
from pipeline.preprocessing import document_reader
from pipeline.system import filesystem
from pipeline.system.pool_task import Task
from pipeline.system.process_pool import ProcessPool
from pipeline.system.worker_process import WorkerError

LONGEST_PX = 6000  # longest side of an annotated picture; larger pages are scaled down
QUALITY = 88
_COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 150, 170))
_WHITE = (255, 255, 255)


class BoxAnnotation(NamedTuple):
    """A box in source pixels, and its label."""

    box: Box
    label: str


PageKey = tuple[str, int]  # a job's name and the number of a page


@dataclass(eq=False)
class AnnotatedDocument:
    """The annotated pictures of one document. `faults` has the reason for each page that could not be drawn."""

    document: Document
    pending: int
    pictures: dict[PageKey, Path] = field(default_factory=dict)
    faults: dict[PageKey, str] = field(default_factory=dict)


class PageAnnotator:
    """Draws boxes in `size` worker processes. Must be closed."""

    def __init__(
        self,
        root: Path,
        size: int,
        seconds: float,
        memory_mib: int,
        bounds: document_reader.Bounds,
        document_seconds: float = 10_800,
    ) -> None:
        self._root, self._size, self._bounds, self._document_seconds = root, size, bounds, document_seconds
        self._limits = seconds, memory_mib
        self._pool: ProcessPool | None = None
        self._tasks: dict[Task, tuple[AnnotatedDocument, PageKey, Path]] = {}

    def begin(self, document: Document, marks: Mapping[PageKey, Sequence[BoxAnnotation]]) -> None:
        """Starts to draw every page with marks. Does not block. Raises StorageError."""
        if self._pool is None:
            seconds, memory_mib = self._limits
            self._pool = ProcessPool(self._size, seconds=seconds, memory_mib=memory_mib, start=warm_up)
        result, budget = AnnotatedDocument(document, len(marks)), Budget(self._document_seconds)
        for key, some in marks.items():
            target = filesystem.scratch(self._root, "annotated.jpg")
            task = self._pool.submit(draw, document.files, self._bounds, key[1], list(some), target, budget=budget)
            self._tasks[task] = result, key, target

    @property
    def busy(self) -> bool:
        """Whether pictures are being drawn."""
        return bool(self._pool and self._pool.in_flight)

    def finished(self, timeout_s: float | None) -> list[AnnotatedDocument]:
        """The completely drawn documents; waits for one up to `timeout_s` (None: without limit).

        Raises StorageError if a picture cannot be written, ModelError if a library cannot be loaded.
        """
        done: list[AnnotatedDocument] = []
        while self._pool is not None and self._tasks and not done:
            finished = self._pool.wait(timeout_s)
            if not finished:
                break
            for task in finished:
                result, key, target = self._tasks[task]
                fault = _fault(task)
                del self._tasks[task]  # not before: `close` removes the file of a task that raised
                if fault:
                    target.unlink(missing_ok=True)
                    result.faults[key] = fault
                else:
                    result.pictures[key] = target
                result.pending -= 1
                if not result.pending:
                    done.append(result)
        return done

    def close(self) -> None:
        """Stops the workers and discards unfinished pictures."""
        if self._pool is not None:
            self._pool.close()
            for _, _, target in self._tasks.values():
                target.unlink(missing_ok=True)
            self._tasks.clear()
            self._pool = None


def _fault(task: Task) -> str | None:
    """The reason why a page could not be drawn, if any."""
    try:
        task.result()
    except ModelError:  # not caused by the page; every other page would fail too
        raise
    except (DocumentError, WorkerError) as error:
        return str(error)
    except Exception as error:  # on hostile bytes a decoder may raise anything; only this picture is lost
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EROFS):
            raise filesystem.storage_error(error, "the folder for temporary files") from error
        return f"{type(error).__name__}: {error}"
    return None


# ---- in a worker


def warm_up() -> None:
    import cv2

    cv2.setNumThreads(1)
    cv2.FontFace("uni")


def draw(
    files: Sequence[Path], bounds: document_reader.Bounds, page: int, marks: Sequence[BoxAnnotation], target: Path
) -> None:
    """Writes the page with its marks to `target`. Raises DocumentError, OSError."""
    with document_reader.opened_together(files, bounds) as document:
        drawn = next(document_reader.pages(document, bounds, page, 1, _limited_size))
    if drawn.image is None:
        raise DocumentError("broken", drawn.fault or "the page has no picture")
    image = annotated(drawn.image, drawn.to_source, marks)
    from PIL import Image

    with open(target, "xb") as file:
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
        file.flush()
        os.fsync(file.fileno())


def _limited_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def annotated(image: NDArray[np.uint8], to_source: Affine, marks: Sequence[BoxAnnotation]) -> NDArray[np.uint8]:
    """A copy of the picture [height, width, 3] with every box, its number and its label; one colour per label."""
    import cv2

    size = _limited_size(image.shape[1], image.shape[0])
    canvas = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    here = Affine(size[0] / image.shape[1], 0, 0, 0, size[1] / image.shape[0], 0).after(to_source.inverse())
    line, letters = max(2, round(max(size) / 700)), max(14, round(max(size) / 70))
    font = cv2.FontFace("uni")  # built into OpenCV, with Chinese letters; independent of system fonts
    labels = list(dict.fromkeys(mark.label for mark in marks))
    for number, mark in enumerate(marks, 1):
        colour = _COLOURS[labels.index(mark.label) % len(_COLOURS)]
        box = here.box(mark.box)
        corners = [round(each) for each in (box.x, box.y, box.right, box.bottom)]
        cv2.rectangle(canvas, corners[:2], corners[2:], colour, line)
        words = f"{number} {mark.label}".strip()
        _, _, wide, high = cv2.getTextSize((0, 0), words, (0, 0), font, letters)
        left = max(0, min(corners[0], size[0] - wide - 2 * line))
        bottom = corners[1] if corners[1] > high + 2 * line else min(size[1], corners[3] + high + 2 * line)
        cv2.rectangle(canvas, (left, bottom - high - 2 * line), (left + wide + 2 * line, bottom), colour, cv2.FILLED)
        cv2.putText(canvas, words, (left + line, bottom - line - round(high * 0.15)), _WHITE, font, letters)
    return canvas
