"""A file is known by its content, kept within limits, and refused for a reason that names what is wrong."""

import os
import random
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.errors import DocumentError
from pipeline.preprocessing import document_reader
from tests.support.handmade import Leaf, pdf, read, refused, written


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "bmp", "gif", "pdf"])
def test_a_file_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lies.doc"
    written(60, 80, 3).save(path, kind.upper())
    assert document_reader.sniff(path).title == kind.upper()
    assert read(path)[0].fault is None


def test_a_pdf_may_begin_with_junk(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [Leaf()])
    path.write_bytes(b"junk of a mail gateway\r\n" + path.read_bytes())
    assert document_reader.sniff(path).title == "PDF"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"", "empty", ""),
        (b"PK\x03\x04rest", "unsupported", "office file"),
        (b"<!doctype html>", "unsupported", "web page"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "unsupported", ""),
        (b"just words", "unsupported", ""),
        (b"%PDF-1.7\nand nothing more", "broken", ""),
        (b"\x89PNG\r\n\x1a\nand nothing more", "broken", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "broken", "JPEG"),
        (b"II*\0\xff\xff\xff\xff", "broken", "TIFF"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "broken", "WEBP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "broken", "HEIC"),
    ],
)
def test_what_is_no_document_says_so(tmp_path: Path, content: bytes, code: str, says: str) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    error = refused(path)
    assert error.code == code
    assert says in error.detail
    assert str(tmp_path) not in error.detail


def test_links_folders_and_missing_files(tmp_path: Path) -> None:
    target = pdf(tmp_path / "a.pdf", [Leaf()])
    (tmp_path / "link.pdf").symlink_to(target)
    assert refused(tmp_path / "link.pdf").code == "not_a_file"
    assert refused(tmp_path).code == "not_a_file"
    assert refused(tmp_path / "gone.pdf").code == "vanished"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_rights(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [Leaf()])
    path.chmod(0)
    assert refused(path).code == "not_readable"


def test_limits(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [Leaf()] * 3)
    assert refused(path, document_reader.Bounds(pages=2)).code == "too_many_pages"
    assert refused(path, document_reader.Bounds(file_mib=0.0001)).code == "too_large"
    assert refused(pdf(tmp_path / "none.pdf", [])).code in ("no_pages", "broken")  # PDFium does not open it
    dotted_png = tmp_path / "a.png"
    Image.new("1", (2000, 1500)).save(dotted_png)
    assert len(read(dotted_png, document_reader.Bounds(megapixels=3))) == 1
    error = refused(dotted_png, document_reader.Bounds(megapixels=2.9))
    assert error.code == "too_many_pixels"
    assert "2000 × 1500" in error.detail


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bmp"
    Image.new("RGB", (2, 2)).save(path)
    head = bytearray(path.read_bytes())
    head[18:26] = (60_000).to_bytes(4, "little") + (60_000).to_bytes(4, "little")
    path.write_bytes(bytes(head))
    assert refused(path).code == "too_many_pixels"


def test_random_damage_gives_pages_or_a_reason(tmp_path: Path) -> None:
    dice = random.Random(7)
    page, small, codes = written(200, 260, 6), tmp_path / "a", set()
    for kind in ("jpeg", "png", "tiff", "webp", "gif", "bmp", "pdf"):
        page.save(small, kind)
        whole = small.read_bytes()
        for _ in range(25):
            damaged = bytearray(whole)
            for _ in range(dice.randrange(1, 12)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            small.write_bytes(bytes(damaged[: dice.randrange(len(whole) // 2, len(whole) + 1)]))
            try:
                codes.update(
                    "fault" if sheet.fault else "read" for sheet in read(small, document_reader.Bounds(megapixels=5))
                )
            except DocumentError as error:
                codes.add(error.code)
    assert {"read", "broken"} <= codes <= {"read", "fault", "broken", "unsupported", "too_many_pixels", "encrypted"}
