"""PDF pages are drawn as large as is wanted, and their text layer is kept where it can be believed."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.engine import PageSpec
from pipeline.preprocessing import document_reader
from tests.support.handmade import Leaf, pdf, picture, read, refused, text


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
    (sheet,) = read(path, need=PageSpec(max_side_px=1000).fit)
    assert (sheet.width, sheet.height) == (43, 1000)
    x, y = sheet.to_source.point(43, 1000)
    assert (x, y) == pytest.approx((1667, 38889), abs=1)
    (whole,) = read(path, document_reader.Bounds(megapixels=2))
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
    assert refused(locked, document_reader.Bounds(passwords=("lion",))).code == "encrypted"
    (sheet,) = read(locked, document_reader.Bounds(passwords=("lion", "tiger")))
    assert [word.text for word in sheet.words] == ["Amount", "due", "120.00"]
    (sheet,) = read(pdf(tmp_path / "b.pdf", [Leaf(text("Amount due 120.00"))], password=""))
    assert len(sheet.words) == 3
