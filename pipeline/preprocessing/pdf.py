"""The PDF format: render pages with PDFium at the required size, with the text layer where it is reliable."""

import ctypes
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DocumentError
from pipeline.core.geometry import Affine
from pipeline.core.types import PDF_DPI, Page, Word
from pipeline.plugins.formats import Bounds, Format, Need, Opened
from pipeline.preprocessing import pdf_text

POINTS = 72  # a point is 1/72 inch
PROBE = 1_000_000  # PDFium maps points to whole pixels only; at this size rounding is negligible


class PdfFormat(Format):
    """PDF, with the passwords of the config."""

    title = "PDF"
    suffixes = (".pdf",)
    magic = (b"%PDF-",)

    @classmethod
    def matches(cls, head: bytes) -> bool:
        """Allows junk before the header."""
        return any(magic in head for magic in cls.magic)

    @classmethod
    def open(cls, path: Path, bounds: Bounds) -> AbstractContextManager[Opened]:
        return opened(path, bounds.passwords)


@contextmanager
def opened(path: Path, passwords: Sequence[str] = ()) -> Iterator["Pdf"]:
    """The open document. Tries no password first, then `passwords`. Raises DocumentError(encrypted | broken)."""
    import pypdfium2

    logging.getLogger("pypdfium2").setLevel(
        logging.ERROR
    )  # it warns of XFA forms, which are rendered as far as possible
    for password in (None, *passwords):
        try:
            document = pypdfium2.PdfDocument(path, password=password)
            break
        except pypdfium2.PdfiumError as error:
            if error.err_code != pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise DocumentError("broken", str(error)) from None
    else:
        tried = f", and none of the {len(passwords)} known ones opens it" if passwords else ""
        raise DocumentError("encrypted", f"it has a user password{tried}")
    try:
        if document.get_formtype() != pypdfium2.raw.FORMTYPE_NONE:
            document.init_forms()
        yield Pdf(document, len(document))
    finally:
        document.close()


@dataclass(frozen=True, slots=True)
class Pdf:
    """An open PDF of `total` pages."""

    document: Any
    total: int

    def page(self, number: int, need: Need, text_only: bool, max_pixels: int) -> Page:
        """Page `number` (from 1). Raises DocumentError(broken).

        `need(width, height)`, in source pixels, gives the size of the picture, which has at most `max_pixels`. With
        `text_only`, a page with a reliable text layer is not rendered.
        """
        import pypdfium2

        try:
            page = self.document[number - 1]
        except pypdfium2.PdfiumError as error:
            raise DocumentError("broken", f"page {number} cannot be loaded ({error})") from None
        try:
            wide_pt, high_pt = page.get_size()
            if not (wide_pt > 0 and high_pt > 0):
                raise DocumentError("broken", f"page {number} has no size")
            width, height = (max(1, round(side * PDF_DPI / POINTS)) for side in (wide_pt, high_pt))
            words = _words(page, width, height)
            if words and text_only:
                return Page(number, width, height, Affine(), words=words)
            wide, high = need(width, height)
            shrink = min(1.0, (max_pixels / (wide * high)) ** 0.5)
            wide, high = max(1, int(wide * shrink)), max(1, int(high * shrink))
            image = _render(self.document, page, wide, high)
            if _is_one_colour(image) and (lost := _undecodable(page)):
                raise DocumentError("broken", f"page {number} would be blank: {lost} on it cannot be decoded")
            x, y = width / wide, height / high
            scaled = tuple(word.scaled(1 / x, 1 / y) for word in words)
            return Page(number, wide, high, Affine(a=x, e=y), image, scaled)
        except pypdfium2.PdfiumError as error:
            raise DocumentError("broken", f"page {number} cannot be drawn ({error})") from None
        finally:
            page.close()


def _to_pixels(page: Any, width: int, height: int) -> Affine:
    """From points (y up, before the page's rotation and crop) to source pixels."""
    from pypdfium2 import raw

    def probe(x: float, y: float) -> tuple[float, float]:
        across, down = ctypes.c_int(), ctypes.c_int()
        raw.FPDF_PageToDevice(page, 0, 0, PROBE, PROBE, 0, x, y, across, down)
        return across.value * width / PROBE, down.value * height / PROBE

    (c, f), (ac, df), (bc, ef) = probe(0, 0), probe(1000, 0), probe(0, 1000)
    return Affine((ac - c) / 1000, (bc - c) / 1000, c, (df - f) / 1000, (ef - f) / 1000, f)


def _words(page: Any, width: int, height: int) -> tuple[Word, ...]:
    """The words in source pixels; none if the text layer is not reliable."""
    import pypdfium2

    try:
        textpage = page.get_textpage()
    except pypdfium2.PdfiumError:
        return ()  # the page is read from its picture
    try:
        found = pdf_text.words(textpage, _to_pixels(page, width, height))
        return found if pdf_text.is_reliable(page, textpage, found, page.get_rotation()) else ()
    finally:
        textpage.close()


def _is_one_colour(image: NDArray[np.uint8]) -> bool:
    first = image[0, 0]
    return bool((image[::16, ::16] == first).all() and (image == first).all())


def _undecodable(page: Any) -> str:
    """The number of pictures that PDFium cannot decode, in words; "" for none. PDFium leaves them blank silently."""
    from pypdfium2 import raw

    count = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]):
        bitmap = raw.FPDFImageObj_GetBitmap(item.raw)
        if bitmap:
            raw.FPDFBitmap_Destroy(bitmap)
        else:
            count += 1
    return f"{count} pictures" if count > 1 else "a picture" if count else ""


def _render(document: Any, page: Any, width: int, height: int) -> NDArray[np.uint8]:
    """The page on white with form fields and annotations, RGB. The raw call takes an exact size in pixels."""
    from pypdfium2 import PdfBitmap, raw

    bitmap = PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
        raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        if document.formenv is not None:
            raw.FPDF_FFLDraw(document.formenv, bitmap, page, 0, 0, width, height, 0, flags)
        image: NDArray[np.uint8] = bitmap.to_numpy()[:, :, :3].copy()
        return image
    finally:
        bitmap.close()
