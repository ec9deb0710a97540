"""Small PDFs written by hand and pages drawn on the spot: what the tests of decoding read, and how they read it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.errors import DocumentError
from pipeline.core.types import Page
from pipeline.preprocessing import document_reader

SENTENCES = (
    "The quick brown fox jumps over the lazy dog and runs.",
    "Invoice number 4711 of 12 March 2024, page 1 of 2.",
    "Please pay 1,234.56 within thirty days of delivery.",
    "All goods stay our property until they are paid for.",
)
_PAD = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


@dataclass(frozen=True)
class Leaf:
    """One page: its size in points, what is drawn, its turn, and more entries of the page object."""

    content: str = ""
    width: float = 300
    height: float = 200
    rotate: int = 0
    more: str = ""


def text(words: str, x: float = 40, y: float = 100, size: float = 12, mode: int = 0) -> str:
    return f"BT {mode} Tr /F1 {size} Tf {x} {y} Td ({words}) Tj ET\n"


def pdf(path: Path, leaves: list[Leaf], objects: dict[int, str] | None = None, password: str | None = None) -> Path:
    """A PDF of these pages. `objects` (numbers from 900) are added; `catalog` entries under number 0."""
    extra = dict(objects or {})
    bodies: dict[int, bytes] = {}
    kids = []
    for index, leaf in enumerate(leaves):
        page, stream = 10 + 2 * index, 11 + 2 * index
        kids.append(f"{page} 0 R")
        bodies[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {leaf.width} {leaf.height}] /Rotate {leaf.rotate} "
            f"/Resources << /Font << /F1 3 0 R >> /XObject << /Im1 4 0 R >> >> /Contents {stream} 0 R {leaf.more} >>"
        ).encode()
        bodies[stream] = leaf.content.encode("latin-1")
    bodies[1] = f"<< /Type /Catalog /Pages 2 0 R {extra.pop(0, '')} >>".encode()
    bodies[2] = f"<< /Type /Pages /Count {len(leaves)} /Kids [{' '.join(kids)}] >>".encode()
    bodies[3] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    bodies[4] = b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray"
    streams = {number: body for number, body in bodies.items() if number >= 10 and number % 2}
    streams[4] = b"\xe0"
    bodies.update({number: body.encode("latin-1") for number, body in extra.items()})
    trailer, key = "", b""
    if password is not None:
        trailer, key = _lock(password)
        bodies[5] = trailer.split("|")[0].encode("latin-1")
        trailer = trailer.split("|")[1]
    out, places = bytearray(b"%PDF-1.6\n"), {}
    for number in sorted(bodies):
        places[number] = len(out)
        body = bodies[number]
        if number in streams:
            data = streams[number]
            if key:
                data = _rc4(hashlib.md5(key + number.to_bytes(3, "little") + b"\0\0").digest()[:10], data)
            head = body if number == 4 else b"<<"
            body = head + b" /Length %d >>\nstream\n" % len(data) + data + b"\nendstream"
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    last = max(bodies)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (last + 1)
    for number in range(1, last + 1):
        out += b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 00000 f \n"
    out += f"trailer << /Size {last + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode("latin-1")
    path.write_bytes(bytes(out))
    return path


def _rc4(key: bytes, data: bytes) -> bytes:
    box, j = list(range(256)), 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    i = j = 0
    out = bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


def _lock(password: str) -> tuple[str, bytes]:
    """The encryption object, the entries of the trailer, and the key: 40 bits, the oldest way (PDF 1.7, 7.6.3)."""
    user = (password.encode("latin-1") + _PAD)[:32]
    owner = _rc4(hashlib.md5((b"owner" + _PAD)[:32]).digest()[:5], user)
    name = b"0123456789abcdef"
    key = hashlib.md5(user + owner + (-4 & 0xFFFFFFFF).to_bytes(4, "little") + name).digest()[:5]
    check = _rc4(key, _PAD)
    lock = f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{owner.hex()}> /U <{check.hex()}> >>"
    return f"{lock}|/Encrypt 5 0 R /ID [<{name.hex()}> <{name.hex()}>]", key


def written(width: int = 900, height: int = 1200, lines: int = 24) -> Image.Image:
    """A page of printed lines, black on white."""
    page = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(height // (lines + 8) * 0.7)
    for line in range(lines):
        pen.text((width * 0.1, height * (line + 4) / (lines + 8)), SENTENCES[line % 4], fill="black", font=font)
    return page


def dotted(width: int, height: int, dots: list[tuple[float, float]], radius: float = 6) -> NDArray[np.uint8]:
    """White, with one round soft black dot at each place (pixels, between-pixel coordinates)."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    ink = np.zeros((height, width))
    for cx, cy in dots:
        ink = np.maximum(ink, np.clip(radius + 0.5 - np.hypot(x - cx, y - cy), 0, 1))
    return np.repeat((255 * (1 - ink)).round().astype(np.uint8)[:, :, None], 3, axis=2)


def dot(image: NDArray[np.uint8], near: tuple[float, float], reach: float) -> tuple[float, float]:
    """The middle of the ink around a place. Fails where there is none."""
    left, top = (max(0, int(place - reach)) for place in near)
    part = 255.0 - image[top : int(near[1] + reach) + 1, left : int(near[0] + reach) + 1, 0]
    assert part.sum() > 255, f"no dot around {near}"
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]] + 0.5
    return float((x * part).sum() / part.sum()) + left, float((y * part).sum() / part.sum()) + top


ROOM = document_reader.Bounds()


def read(path: Path, bounds: document_reader.Bounds = ROOM, **how: object) -> list[Page]:
    with document_reader.opened(path, bounds) as document:
        return list(document_reader.pages(document, bounds, **how))  # type: ignore[arg-type]


def refused(path: Path, bounds: document_reader.Bounds = ROOM) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(path, bounds)
    return caught.value


def picture(sheet: Page) -> NDArray[np.uint8]:
    assert sheet.image is not None
    assert sheet.image.dtype == np.uint8
    assert sheet.image.shape == (sheet.height, sheet.width, 3)
    return sheet.image
