"""Every kind of file becomes upright RGB pages in source pixels, or a reason that names what is wrong."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from handmade import Leaf, dot, dotted, pdf, text, written
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline import documents
from pipeline.errors import DocumentError
from pipeline.types import Sheet, Wants

ROOM = documents.Bounds()


def read(path: Path, bounds: documents.Bounds = ROOM, **how: object) -> list[Sheet]:
    with documents.opened(path, bounds) as document:
        return list(documents.sheets(document, bounds, **how))  # type: ignore[arg-type]


def refused(path: Path, bounds: documents.Bounds = ROOM) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(path, bounds)
    return caught.value


def picture(sheet: Sheet) -> NDArray[np.uint8]:
    assert sheet.image is not None
    assert sheet.image.dtype == np.uint8
    assert sheet.image.shape == (sheet.height, sheet.width, 3)
    return sheet.image


# ---- what a file is
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "bmp", "gif", "pdf"])
def test_a_file_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lies.doc"
    written(60, 80, 3).save(path, kind.upper())
    assert documents.sniff(path) == kind
    assert read(path)[0].fault is None


def test_a_pdf_may_begin_with_junk(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [Leaf()])
    path.write_bytes(b"junk of a mail gateway\r\n" + path.read_bytes())
    assert documents.sniff(path) == "pdf"


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
    assert refused(path, documents.Bounds(pages=2)).code == "too_many_pages"
    assert refused(path, documents.Bounds(file_mib=0.0001)).code == "too_large"
    assert refused(pdf(tmp_path / "none.pdf", [])).code in ("no_pages", "broken")  # PDFium does not open it
    dotted_png = tmp_path / "a.png"
    Image.new("1", (2000, 1500)).save(dotted_png)
    assert len(read(dotted_png, documents.Bounds(megapixels=3))) == 1
    error = refused(dotted_png, documents.Bounds(megapixels=2.9))
    assert error.code == "too_many_pixels"
    assert "2000 × 1500" in error.detail


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bmp"
    Image.new("RGB", (2, 2)).save(path)
    head = bytearray(path.read_bytes())
    head[18:26] = (60_000).to_bytes(4, "little") + (60_000).to_bytes(4, "little")
    path.write_bytes(bytes(head))
    assert refused(path).code == "too_many_pixels"


# ---- PDF
def test_a_pdf_page_is_read_at_200_dpi(tmp_path: Path) -> None:
    (sheet,) = read(pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00"), 297, 421)]))
    assert (sheet.width, sheet.height) == (825, 1169)
    assert [word.text for word in sheet.words] == ["Amount", "due", "120.00"]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_words_lie_where_their_ink_is(tmp_path: Path, rotate: int) -> None:
    turned = {0: "1 0 0 1 40 150", 90: "0 1 -1 0 150 40", 180: "-1 0 0 -1 250 60", 270: "0 -1 1 0 60 160"}[rotate]
    content = f"BT /F1 14 Tf {turned} Tm (Rechnung 4711) Tj ET"
    (sheet,) = read(pdf(tmp_path / "a.pdf", [Leaf(content, rotate=rotate)]))
    assert (sheet.width, sheet.height) == ((833, 556) if rotate % 180 == 0 else (556, 833))
    ink = np.argwhere(picture(sheet)[:, :, 0] < 128)
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0) + 1
    assert [word.text for word in sheet.words] == ["Rechnung", "4711"]
    assert min(word.box.x for word in sheet.words) == pytest.approx(left, abs=2)
    assert min(word.box.y for word in sheet.words) == pytest.approx(top, abs=2)
    assert max(word.box.right for word in sheet.words) == pytest.approx(right, abs=2)
    assert max(word.box.bottom for word in sheet.words) == pytest.approx(bottom, abs=2)


def test_a_page_is_drawn_no_larger_than_wanted(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00"), 600, 14_000)])
    (sheet,) = read(path, need=Wants(max_side_px=1000).fit)
    assert (sheet.width, sheet.height) == (43, 1000)
    x, y = sheet.to_source.point(43, 1000)
    assert (x, y) == pytest.approx((1667, 38889), abs=1)
    (whole,) = read(path, documents.Bounds(megapixels=2))
    assert whole.width * whole.height <= 2e6


def test_without_need_for_pictures_a_sound_page_is_not_drawn(tmp_path: Path) -> None:
    printed, scanned = read(pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00")), Leaf()]), text_only=True)
    assert printed.image is None
    assert len(printed.words) == 3
    assert scanned.image is not None


def test_a_text_layer_that_cannot_be_believed_is_not_kept(tmp_path: Path) -> None:
    scan = "q 250 0 0 200 0 0 cm /Im1 Do Q\n"
    logo = "q 50 0 0 50 0 0 cm /Im1 Do Q\n"
    box = "/Annots [900 0 R]"
    leaves = {
        "over a scan": Leaf(scan + text("Amount due 120.00")),
        "invisible": Leaf(text("Amount due 120.00", mode=3)),
        "sideways": Leaf(text("Amount due 120.00"), rotate=90),
        "too short": Leaf(text("Page 1")),
        "no letters": Leaf(text("?!$ %&/ ;:_ ~#+ ...")),
        "glyph names": Leaf(text("cid11 Amount \\(cid:12\\)\\(cid:13\\) due \\(cid:14\\)")),
        "control characters": Leaf(text("Amount\\001\\002\\003 due")),
        "with a form field": Leaf(text("Amount due 120.00"), more=box),
        "sound": Leaf(logo + text("Amount due 120.00")),
    }
    field = "<< /Type /Annot /Subtype /Widget /FT /Tx /T (total) /V (99.00) /Rect [40 20 200 60] /F 4 >>"
    path = pdf(tmp_path / "a.pdf", list(leaves.values()), {900: field})
    kept = {name for name, sheet in zip(leaves, read(path), strict=True) if sheet.words}
    assert kept == {"sound"}


def test_values_of_form_fields_are_drawn(tmp_path: Path) -> None:
    look = "/AP << /N 902 0 R >>"
    stream = text("Value 4711", 2, 2)
    objects = {
        0: "/AcroForm << /Fields [900 0 R] /DA (/F1 12 Tf 0 g) /DR << /Font << /F1 3 0 R >> >> >>",
        900: f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (t) /V (Value 4711) /Rect [40 20 200 60] /F 4 {look} >>",
        902: f"<< /Type /XObject /Subtype /Form /BBox [0 0 160 40] /Resources << /Font << /F1 3 0 R >> >> "
        f"/Length {len(stream)} >>\nstream\n{stream}\nendstream",
    }
    (sheet,) = read(pdf(tmp_path / "a.pdf", [Leaf("", more="/Annots [900 0 R]")], objects))
    ink = np.argwhere(picture(sheet)[:, :, 0] < 128)
    assert len(ink) > 100
    assert ink[:, 0].min() > 556 * 140 / 200  # in the field, at the foot of the page


def test_passwords(tmp_path: Path) -> None:
    locked = pdf(tmp_path / "a.pdf", [Leaf(text("Amount due 120.00"))], password="tiger")
    assert refused(locked).code == "encrypted"
    assert refused(locked, documents.Bounds(passwords=("lion",))).code == "encrypted"
    (sheet,) = read(locked, documents.Bounds(passwords=("lion", "tiger")))
    assert [word.text for word in sheet.words] == ["Amount", "due", "120.00"]
    (sheet,) = read(pdf(tmp_path / "b.pdf", [Leaf(text("Amount due 120.00"))], password=""))
    assert len(sheet.words) == 3


# ---- pictures
def ramp() -> NDArray[np.uint8]:
    """A grey ramp, dark on the left."""
    return np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :], 48, axis=0)


def lab(grey: NDArray[np.uint8]) -> Image.Image:
    rgb = Image.fromarray(grey).convert("RGB")
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    changed = ImageCms.applyTransform(rgb, to_lab)
    assert changed is not None
    return changed


def clear(mode: str) -> Image.Image:
    """The ramp as black ink of growing transparency."""
    ink = Image.new("LA" if mode == "LA" else "RGBA", (64, 48), 0)
    ink.putalpha(Image.fromarray(255 - ramp()))
    return ink


def palette() -> Image.Image:
    """The ramp in 64 colours, of which the last (white) is black and transparent."""
    indexed = Image.fromarray(ramp() // 4).convert("P")
    indexed.frombytes((ramp() // 4).tobytes())
    indexed.putpalette([value for level in range(63) for value in (level * 4,) * 3] + [0, 0, 0])
    indexed.info["transparency"] = 63
    return indexed


GREY = ramp()
MODES = {
    "png L": (Image.fromarray(GREY), "png"),
    "png 16 bit": (Image.fromarray(GREY.astype(np.uint16) * 257), "png"),
    "tiff 16 bit": (Image.fromarray(GREY.astype(np.uint16) * 257), "tiff"),
    "tiff 12 bit in 16": (Image.fromarray((GREY.astype(np.uint16) * 16.06).astype(np.uint16)), "tiff"),
    "tiff 16 bit big endian": (Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2")), "tiff"),
    "tiff 32 bit": (Image.fromarray(GREY.astype(np.int32) * 257), "tiff"),
    "tiff float 0..1": (Image.fromarray((GREY / 255).astype(np.float32)), "tiff"),
    "tiff float 0..255": (Image.fromarray(GREY.astype(np.float32)), "tiff"),
    "tiff float wide": (Image.fromarray((GREY * 40.0 - 700).astype(np.float32)), "tiff"),
    "tiff CMYK": (Image.fromarray(GREY).convert("CMYK"), "tiff"),
    "jpeg CMYK": (Image.fromarray(GREY).convert("CMYK"), "jpeg"),
    "tiff LAB": (lab(GREY), "tiff"),
    "png LA": (clear("LA"), "png"),
    "png RGBA": (clear("RGBA"), "png"),
    "webp RGBA": (clear("RGBA"), "webp"),
    "tiff RGBA": (clear("RGBA"), "tiff"),
    "png P with transparency": (palette(), "png"),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(tmp_path: Path, name: str) -> None:
    image, kind = MODES[name]
    path = tmp_path / "a"
    image.save(path, kind, **({"lossless": True} if kind == "webp" else {}))
    (sheet,) = read(path)
    difference = np.abs(picture(sheet).astype(int) - GREY[:, :, None])
    assert difference.max() <= 14, name  # JPEG and palettes are not exact; a wrong mode is off by a hundred
    assert difference.mean() <= 3, name


def test_white_is_zero_in_a_16_bit_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray((255 - GREY).astype(np.uint16) * 257).save(path, tiffinfo={262: 0})
    content = path.read_bytes()
    (sheet,) = read(path)
    with Image.open(path) as again:
        assert again.tag_v2[262] == 0, content[:8]  # type: ignore[attr-defined]
    assert np.abs(picture(sheet).astype(int) - GREY[:, :, None]).max() <= 2


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE).save(path, compression="group4")
    (sheet,) = read(path)
    assert set(np.unique(picture(sheet))) == {0, 255}
    assert picture(sheet)[0, 0, 0] == 0


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = Image.fromarray(dotted(400, 240, [(40, 30)], 12))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    stored.save(path, kind, exif=exif)
    for need in (lambda wide, high: (wide, high), Wants(max_side_px=100).fit):
        (sheet,) = read(path, need=need)
        scale = sheet.to_source.a
        found = dot(picture(sheet), (40 / scale, 30 / scale), 30 / scale)
        assert sheet.to_source.point(*found) == pytest.approx((40, 30), abs=1)


def test_heic(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.fromarray(dotted(400, 240, [(40, 30)], 12))).save(path)
    (sheet,) = read(path)
    assert (sheet.width, sheet.height) == (400, 240)
    assert dot(picture(sheet), (40, 30), 30) == pytest.approx((40, 30), abs=1)
    assert refused(path, documents.Bounds(megapixels=0.05)).code == "too_many_pixels"


@pytest.mark.parametrize("mode", ["RGB", "1"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("size", [(1600, 1200), (1607, 1207)])
def test_a_picture_decoded_smaller_keeps_its_places(
    tmp_path: Path, size: tuple[int, int], kind: str, mode: str
) -> None:
    wide, high = size
    dots = [(wide * x, high * y) for x in (0.1, 0.5, 0.94) for y in (0.1, 0.5, 0.94)]
    path = tmp_path / "a"
    Image.fromarray(dotted(wide, high, dots, 24)).convert(mode).save(path, kind, quality=95)
    (sheet,) = read(path, need=Wants(max_side_px=390).fit)
    assert sheet.width == wide // 4
    for place in dots:
        found = dot(picture(sheet), (place[0] / 4, place[1] / 4), 10)
        assert sheet.to_source.point(*found) == pytest.approx(place, abs=1)


def noisy(path: Path, **how: object) -> Path:
    noise = np.random.default_rng(1).integers(0, 255, (1000, 400, 3), np.uint8)
    Image.fromarray(noise).save(path, "jpeg", **how)
    return path


def test_a_cut_off_jpeg_is_read_when_only_its_margin_is_missing(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.jpg")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 995 // 1000])
    assert picture(read(path)[0])[900].std() > 20
    path.write_bytes(whole[: len(whole) // 2])
    error = refused(path)
    assert error.code == "broken"
    assert "cut off: 5" in error.detail  # about half
    path = noisy(tmp_path / "b.jpg", progressive=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    assert refused(path).code == "broken"


def test_only_tiff_has_pages(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30 + n, 20), color) for n, color in enumerate(["red", "lime", "blue"])]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    sheets = read(tmp_path / "a.tiff")
    assert [(sheet.number, sheet.width) for sheet in sheets] == [(1, 30), (2, 31), (3, 32)]
    assert [tuple(picture(sheet)[5, 5]) for sheet in sheets] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    (second,) = read(tmp_path / "a.tiff", first=2, count=1)
    assert second.number == 2
    assert not read(tmp_path / "a.tiff", first=9, count=4)
    for kind in ("gif", "webp", "png"):
        same = [frame.resize((30, 20)) for frame in frames]
        same[0].save(tmp_path / "moving", kind, save_all=True, append_images=same[1:])
        (sheet,) = read(tmp_path / "moving")
        assert picture(sheet)[5, 5, 0] > 200


def test_one_bad_page_among_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    good = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8))
    good.save(path, save_all=True, append_images=[good, good], compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    with Image.open(path) as image:
        image.seek(1)
        start = image.tag_v2[273][0]  # type: ignore[attr-defined]
    content[start : start + 3000] = b"\xff" * 3000
    path.write_bytes(bytes(content))
    first, second, third = read(path)
    assert (first.fault, third.fault) == (None, None)
    assert second.fault is not None
    assert "page 2" in second.fault


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
                    "fault" if sheet.fault else "read" for sheet in read(small, documents.Bounds(megapixels=5))
                )
            except DocumentError as error:
                codes.add(error.code)
    assert {"read", "broken"} <= codes <= {"read", "fault", "broken", "unsupported", "too_many_pixels", "encrypted"}
