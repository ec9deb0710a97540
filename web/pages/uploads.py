"""Uploaded images of the Ask page: validated by a guarded decoder and stored with their conversation."""

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
from web.data.conversations import ConversationStore, StoredImage, Turn
from web.data.page_images import PageImage
from web.data.question_client import QuestionClient

LOW_PX = 756  # 27 patches of 28 px, the unit of Qwen2.5-VL
THUMBNAIL_PX, DISPLAY_PX = 320, 1600


@dataclass(frozen=True)
class Attachment:
    """An image of a conversation and the path of its file."""

    image: StoredImage
    path: Path

    @property
    def size_words(self) -> str:
        size = self.image.size_bytes
        return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{max(1, round(size / 1024))} KiB"

    def jpeg(self, number: int = 1) -> bytes:
        """A page as a JPEG for display. Raises DocumentError."""
        return current_context().page_images.page(self.path, number, DISPLAY_PX).jpeg

    def question_file(self, low: bool) -> Path:
        """The file to submit: the original, or with `low` a small copy of its first page. Raises DocumentError."""
        if not self.path.exists():
            raise DocumentError("vanished", self.image.name)
        if not low:
            return self.path
        small = self.path.with_name(f"{self.path.stem}.low.jpg")
        if not small.exists():
            staging = small.with_name(f".{secrets.token_hex(8)}")
            with filesystem.storing(small):
                staging.write_bytes(current_context().page_images.page(self.path, 1, LOW_PX).jpeg)
                staging.replace(small)
        return small


def attach(store: ConversationStore, conversation: str, name: str, content: bytes) -> None:
    """Store an upload if it can be decoded.

    Raises DocumentError, whose detail begins with the name of the upload, and ModelError if no decoder works.
    """
    folder = store.folder(conversation)
    path = reserve_number(folder)
    with filesystem.storing(path):
        path.write_bytes(content)
    try:
        kind = sniff(path)
        if not kind.question_picture:
            raise DocumentError("unsupported", f"a question cannot be about a {kind.title} file")
        first = current_context().page_images.page(path, 1, THUMBNAIL_PX)
    except DocumentError as error:
        path.unlink(missing_ok=True)
        raise DocumentError(error.code, f"{name}: {error.detail}" if error.detail else name) from None
    except ModelError:
        path.unlink(missing_ok=True)
        raise
    final = path.with_suffix(kind.suffixes[0])
    with filesystem.storing(final):
        path.rename(final)
    title = kind.title if first.pages == 1 else f"{kind.title}, {first.pages} pages"
    size = len(content)
    store.add_image(conversation, StoredImage(final.name, name, title, first.width, first.height, size, first.jpeg))


def reserve_number(folder: Path) -> Path:
    """Create an empty file with the first unused number: two tabs may upload to one conversation at once."""
    number = 1
    while True:
        path = folder / f"{number}.new"
        with filesystem.storing(path):
            try:
                if not any(folder.glob(f"{number}.*")):
                    path.open("xb").close()
                    return path
            except FileExistsError:
                continue
        number += 1


def attachments(store: ConversationStore, conversation: str) -> list[Attachment]:
    """The images of a conversation."""
    folder = store.folder(conversation)
    return [Attachment(each, folder / each.file) for each in store.images(conversation)]


@dataclass(frozen=True)
class AnnotatedPage:
    """A page with boxes, in pixels of `size` (width, height), the size of the submitted page."""

    jpeg: bytes
    size: tuple[int, int]
    boxes: list[Mapping[str, Any]]


def annotated_pages(turn: Turn, images: Sequence[Attachment], client: QuestionClient) -> Iterator[AnnotatedPage]:
    """The pages on which an answer has boxes. Raises DocumentError if a page cannot be shown.

    A record numbers the pages of all its images consecutively: the page after a PDF of three pages is the fourth.
    """
    record = client.answer(turn.document_id, datetime.fromisoformat(turn.asked_at)) if turn.answer else None
    if record is None or turn.answer is None:
        return
    placed: dict[int, list[tuple[str, Box, str]]] = {}
    for path, evidence in record.evidence.items():
        if evidence.box is not None and f"{path}[0]" not in record.evidence:  # else each line has a box of its own
            placed.setdefault(evidence.page, []).append((path, evidence.box, evidence.text))
    seen = record.provenance.get("seen_px") or []
    named = answer_markup.box_marks(turn.answer, *seen[0]) if seen and 1 not in placed else []
    wanted = sorted({*placed, *([1] if named else [])})
    first = 1
    for each in images:
        if not wanted or wanted[-1] < first:
            return
        file, renderer = each.question_file(turn.low_resolution), current_context().page_images
        total = renderer.page(file, 1, DISPLAY_PX).pages
        for number in [page - first + 1 for page in wanted if first <= page < first + total]:
            page = renderer.page(file, number, DISPLAY_PX)
            boxes = [_box(*found) for found in placed.get(first + number - 1, ())]
            if first + number == 2:
                boxes += [_scaled_box(f"{count}", mark, page) for count, mark in enumerate(named)]
            yield AnnotatedPage(each.jpeg(number), (page.width, page.height), boxes)
        first += total


def _scaled_box(path: str, mark: BoxMark, page: PageImage) -> Mapping[str, Any]:
    box, wide, high = mark.box, page.width, page.height
    return _box(path, Box(box.x * wide, box.y * high, box.width * wide, box.height * high), mark.label)


def _box(path: str, box: Box, label: str) -> Mapping[str, Any]:
    return {"path": path, "x": box.x, "y": box.y, "width": box.width, "height": box.height, "label": label, "mark": ""}
