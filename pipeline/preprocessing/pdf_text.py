"""The text layer of a PDF page: its words with boxes, and whether it is reliable.

A reliable layer can replace the picture. Otherwise the page is read from its picture. All of these must hold:
- at least `LEAST_LETTERS` letters or digits, and at least half of all characters (fonts without a character map yield
  punctuation and symbols);
- at most 5% of the characters are from the private use area, control characters or U+FFFD, and at most 5% of the words
  are glyph names such as `(cid:31)` or UTF-8 decoded as Latin-1 such as `Ã¼`;
- pictures cover at most half of the page: on a scan the layer is OCR of unknown quality;
- most of the text is visible (an invisible layer is OCR) and upright;
- the page has no annotations but links and notes: values of form fields, stamps and typed comments are rendered on the
  page but missing from its text layer.
"""

import ctypes
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.core.geometry import Affine, Box
from pipeline.core.types import Word

LEAST_LETTERS = 10
MOST_SPOILT = 0.05
MOST_COVERED = 0.5
MAX_FORM_DEPTH = 4  # forms within forms
GRID = 64  # cells per side to measure the area of pictures, so that overlapping ones count once
GLYPH_NAMES = re.compile(r"\(cid:\d+\)|/?\b(?:uni[0-9A-F]{4}|glyph\d+|g\d{2,4})\b|[ÃÂ][\x80-\xbf]|â€", re.IGNORECASE)
LEAST_HEIGHT = 0.1  # points: a letter of less height is invisible (its font is broken)
HYPHENS = (0x02, 0xAD, 0xFFFE)  # PDFium's codes of a hyphen at the end of a line
LEADING = 0.6  # of a line height: a letter with its centre further from the line is on another line


def words(textpage: Any, to_pixels: Affine) -> tuple[Word, ...]:
    """The words of an open PDFium text page in reading order of the file; `to_pixels` maps its points to pixels."""
    letters, boxes = _letters(textpage, to_pixels)
    found: list[Word] = []
    start, left, top, right, bottom = 0, 0.0, 0.0, 0.0, 0.0
    for index, (letter, (x0, y0, x1, y1)) in enumerate(zip(letters, boxes, strict=True)):
        if index == start:
            left, top, right, bottom = x0, y0, x1, y1
        # PDFium omits some spaces between columns: a gap of a letter's height starts another word.
        height = max(bottom - top, y1 - y0)
        off = abs(y0 + y1 - top - bottom) / 2
        if not letter or x0 - right > height or left - x1 > height or (off > LEADING * height and off > 3):
            if index > start:
                found.append(_word(letters[start:index], left, top, right, bottom))
            start = index if letter else index + 1
            left, top, right, bottom = x0, y0, x1, y1
        else:
            left, top = min(left, x0), min(top, y0)
            right, bottom = max(right, x1), max(bottom, y1)
    if start < len(letters):
        found.append(_word(letters[start:], left, top, right, bottom))
    return tuple(found)


def _word(letters: list[str], left: float, top: float, right: float, bottom: float) -> Word:
    return Word(unicodedata.normalize("NFC", "".join(letters)), Box(left, top, right - left, bottom - top))


def _letters(textpage: Any, to_pixels: Affine) -> tuple[list[str], list[list[float]]]:
    """Every visible letter ("" for a space) with its left, top, right and bottom in pixels."""
    from pypdfium2 import raw

    sides = (ctypes.c_double * 4)()  # left, right, bottom, top in points
    refs = [ctypes.cast(ctypes.addressof(sides) + 8 * side, ctypes.POINTER(ctypes.c_double)) for side in range(4)]
    unicode_of, box_of = raw.FPDFText_GetUnicode, raw.FPDFText_GetCharBox  # thousands of calls a page
    page, letters, points, high = textpage.raw, [], [], 0
    for index in range(textpage.count_chars()):
        code = unicode_of(page, index)
        if 0xD800 <= code < 0xE000:  # a pair
            high, low = (code, 0) if code < 0xDC00 else (high, code)
            if not low:
                continue
            code, high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00) if high else 0xFFFD, 0
        letter = "-" if code in HYPHENS else chr(code)
        if code == 0 or letter.isspace():
            letter = ""
        elif not box_of(page, index, *refs) or (sides[3] - sides[2] < LEAST_HEIGHT and letter.isalnum()):
            continue
        letters.append(letter)
        points.append(sides[:])
    x0, x1, y0, y1 = np.array(points or np.empty((0, 4))).T
    at = to_pixels
    corners = np.array([[at.a * x + at.b * y + at.c, at.d * x + at.e * y + at.f] for x, y in ((x0, y0), (x1, y1))])
    boxes = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).T
    return letters, boxes.tolist()


def reads_well(found: tuple[Word, ...]) -> bool:
    """Whether the words look like language; see the rules in the module docstring."""
    text = "".join(word.text for word in found)
    letters = sum(map(str.isalnum, text))
    if letters < LEAST_LETTERS or letters < 0.5 * len(text):
        return False
    odd = sum(letter == "\ufffd" or unicodedata.category(letter) in ("Co", "Cc", "Cn") for letter in text)
    names = sum(GLYPH_NAMES.search(word.text) is not None for word in found)
    return odd <= MOST_SPOILT * len(text) and names <= MOST_SPOILT * len(found)


def covered(page: Any) -> float:
    """The fraction (0..1) of an open PDFium page that pictures cover."""
    from pypdfium2 import raw

    left, bottom, right, top = page.get_bbox()
    scale = GRID / max(right - left, 1e-6), GRID / max(top - bottom, 1e-6)
    cells = np.zeros((GRID, GRID), bool)
    count = raw.FPDFPage_CountObjects(page)
    for box in _pictures((raw.FPDFPage_GetObject(page, index) for index in range(count)), Affine()):
        columns = slice(*(round(min(max((x - left) * scale[0], 0), GRID)) for x in (box.x, box.right)))
        rows = slice(*(round(min(max((y - bottom) * scale[1], 0), GRID)) for y in (box.y, box.bottom)))
        cells[rows, columns] = True
    return float(cells.mean())


def _pictures(objects: Iterator[Any], to_page: Affine, depth: int = 0) -> Iterator[Box]:
    """The boxes of all pictures in points, also those in forms (whose objects use the form's own coordinates)."""
    from pypdfium2 import raw

    sides = [ctypes.c_float() for _ in range(4)]
    for part in objects:
        kind = raw.FPDFPageObj_GetType(part)
        if kind == raw.FPDF_PAGEOBJ_IMAGE and raw.FPDFPageObj_GetBounds(part, *sides):
            left, bottom, right, top = (side.value for side in sides)
            yield to_page.box(Box(left, bottom, right - left, top - bottom))
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < MAX_FORM_DEPTH:
            place = raw.FS_MATRIX()
            raw.FPDFPageObj_GetMatrix(part, place)
            within = to_page.after(Affine(place.a, place.c, place.e, place.b, place.d, place.f))
            count = raw.FPDFFormObj_CountObjects(part)
            inner = (raw.FPDFFormObj_GetObject(part, index) for index in range(count))
            yield from _pictures(inner, within, depth + 1)


def is_visible(textpage: Any, turn: int) -> bool:
    """Whether most of 60 sampled letters are visible, and upright on the page rotated clockwise by `turn` degrees."""
    from pypdfium2 import raw

    count = textpage.count_chars()
    fine = seen = 0
    for index in range(0, count, max(1, count // 60)):
        if raw.FPDFText_IsGenerated(textpage, index) != 0 or chr(raw.FPDFText_GetUnicode(textpage, index)).isspace():
            continue
        seen += 1
        tilt = np.degrees(raw.FPDFText_GetCharAngle(textpage, index)) + turn
        drawn = raw.FPDFText_GetTextObject(textpage, index)
        hidden = drawn and raw.FPDFTextObj_GetTextRenderMode(drawn) == raw.FPDF_TEXTRENDERMODE_INVISIBLE
        fine += not hidden and abs((tilt + 180) % 360 - 180) < 45
    return fine * 2 > seen


def has_annotations(page: Any) -> bool:
    """Whether the page has annotations with their own text: form fields, stamps, typed comments."""
    from pypdfium2 import raw

    harmless = {raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_HIGHLIGHT}
    harmless |= {raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT}
    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, index)
        if note:
            kind = raw.FPDFAnnot_GetSubtype(note)
            raw.FPDFPage_CloseAnnot(note)
            if kind not in harmless:
                return True
    return False


def is_reliable(page: Any, textpage: Any, found: tuple[Word, ...], turn: int) -> bool:
    """Whether the text layer is reliable. `turn`: the page's own rotation in degrees."""
    return (
        reads_well(found) and is_visible(textpage, turn) and not has_annotations(page) and covered(page) <= MOST_COVERED
    )
