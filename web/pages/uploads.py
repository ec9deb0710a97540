"""Pictures that a visitor drops: bounded, looked at by a guarded decoder only, and kept with their conversation."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import DocumentError, ModelError
from pipeline.core.geometry import Box
from pipeline.preprocessing.document_reader import sniff
from pipeline.system import filesystem
from web.context import current_context
from web.data import answer_markup
from web.data.answer_markup import BoxMark
from web.data.conversations import History, StoredImage, Turn
from web.data.page_images import PageImage as Page
from web.data.question_client import QuestionClient

LOW_PX = 756  # 27 of the 28-px cells of Qwen2.5-VL on the longer side
THUMBNAIL_PX, SHOWN_PX = 320, 1600


@dataclass(frozen=True)
class Attached:
    """A picture of a conversation, and where it lies."""

    kept: StoredImage
    path: Path

    @property
    def size_words(self) -> str:
        size = self.kept.size_bytes
        return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{max(1, round(size / 1024))} KiB"

    def shown(self, number: int = 1) -> bytes:
        """A page as a JPEG for the eye. Raises DocumentError."""
        return current_context().page_images.page(self.path, number, SHOWN_PX).jpeg

    def way(self, low: bool) -> Path:
        """The file that is asked about: the original, or a small copy of its first page. Raises DocumentError."""
        if not self.path.exists():
            raise DocumentError("vanished", self.kept.name)
        if not low:
            return self.path
        small = self.path.with_name(f"{self.path.stem}.low.jpg")
        if not small.exists():
            made = small.with_name(f".{secrets.token_hex(8)}")
            with filesystem.storing(small):
                made.write_bytes(current_context().page_images.page(self.path, 1, LOW_PX).jpeg)
                made.replace(small)
        return small


def attach(history: History, conversation: str, name: str, content: bytes) -> None:
    """Keeps an upload and looks at it once. Raises DocumentError, whose detail begins with the upload's name;
    ModelError where no decoder works here."""
    folder = history.folder(conversation)
    place = _place(folder)
    with filesystem.storing(place):
        place.write_bytes(content)
    try:
        kind = sniff(place)
        if not kind.question_picture:
            raise DocumentError("unsupported", f"a question cannot be about a {kind.title} file")
        seen = current_context().page_images.page(place, 1, THUMBNAIL_PX)
    except DocumentError as error:
        place.unlink(missing_ok=True)
        raise DocumentError(error.code, f"{name}: {error.detail}" if error.detail else name) from None
    except ModelError:
        place.unlink(missing_ok=True)
        raise
    final = place.with_suffix(kind.suffixes[0])
    with filesystem.storing(final):
        place.rename(final)
    told = kind.title if seen.pages == 1 else f"{kind.title}, {seen.pages} pages"
    size = len(content)
    history.add_picture(conversation, StoredImage(final.name, name, told, seen.width, seen.height, size, seen.jpeg))


def _place(folder: Path) -> Path:
    """The first number that is free, taken: two tabs may drop pictures into one conversation at once."""
    number = 1
    while True:
        place = folder / f"{number}.new"
        with filesystem.storing(place):
            try:
                if not any(folder.glob(f"{number}.*")):
                    place.open("xb").close()
                    return place
            except FileExistsError:
                continue
        number += 1


def attached(history: History, conversation: str) -> list[Attached]:
    folder = history.folder(conversation)
    return [Attached(each, folder / each.file) for each in history.pictures(conversation)]


@dataclass(frozen=True)
class Marked:
    """A page with boxes, which are in pixels of `size` (width, height): of the file that was asked about."""

    jpeg: bytes
    size: tuple[int, int]
    boxes: list[Mapping[str, Any]]


def marked(turn: Turn, pictures: Sequence[Attached], desk: QuestionClient) -> Iterator[Marked]:
    """The pages on which an answer has boxes. Raises DocumentError where one cannot be shown any more.

    A record numbers the pages of all its pictures through: the page after a PDF of three is the fourth.
    """
    record = desk.answer(turn.document_id, datetime.fromisoformat(turn.asked_at)) if turn.answer else None
    if record is None or turn.answer is None:
        return
    placed: dict[int, list[tuple[str, Box, str]]] = {}
    for path, told in record.evidence.items():
        if told.box is not None and f"{path}[0]" not in record.evidence:  # then its lines have a box each
            placed.setdefault(told.page, []).append((path, told.box, told.text))
    seen = record.provenance.get("seen_px") or []
    spoken = answer_markup.marks(turn.answer, *seen[0]) if seen and 1 not in placed else []
    wanted = sorted({*placed, *([1] if spoken else [])})
    first = 1
    for each in pictures:
        if not wanted or wanted[-1] < first:
            return
        asked, images = each.way(turn.low_resolution), current_context().page_images
        total = images.page(asked, 1, SHOWN_PX).pages
        for number in [page - first + 1 for page in wanted if first <= page < first + total]:
            page = images.page(asked, number, SHOWN_PX)
            boxes = [_box(*found) for found in placed.get(first + number - 1, ())]
            if first + number == 2:
                boxes += [_spoken(f"{count}", mark, page) for count, mark in enumerate(spoken)]
            yield Marked(each.shown(number), (page.width, page.height), boxes)
        first += total


def _spoken(path: str, mark: BoxMark, page: Page) -> Mapping[str, Any]:
    box, wide, high = mark.box, page.width, page.height
    return _box(path, Box(box.x * wide, box.y * high, box.width * wide, box.height * high), mark.label)


def _box(path: str, box: Box, label: str) -> Mapping[str, Any]:
    return {"path": path, "x": box.x, "y": box.y, "width": box.width, "height": box.height, "label": label, "mark": ""}
