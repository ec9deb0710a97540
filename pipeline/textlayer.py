"""The text layer of a PDF page: its words with their boxes, and whether they can be believed.

A layer is kept only when it can stand for the picture. All of these must hold, else the page is read from its picture:
- at least `ENOUGH` letters or digits, and they are at least half of all that is printed (fonts without a character map
  give punctuation and symbols instead of letters);
- at most 5% of the characters are from the private use area, control characters or U+FFFD, and at most 5% of the words
  are glyph names such as `(cid:31)` or UTF-8 read as Latin-1 such as `Ã¼`;
- pictures cover at most half of the page: over a scan the layer is somebody else's OCR, as good or bad as it was;
- most of the text is drawn (an invisible layer is somebody else's OCR) and stands upright;
- nothing but links and notes lies over the page: values of form fields, stamps and typed comments are drawn on the page
  but do not stand in its text layer.
"""

import ctypes
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.types import Affine, Box, Word

ENOUGH = 10
SPOILT = 0.05
COVERED = 0.5
GRID = 64  # cells a side on which the pictures of a page are counted, so that overlapping ones count once
GLYPH_NAMES = re.compile(r"\(cid:\d+\)|/?\b(?:uni[0-9A-F]{4}|glyph\d+|g\d{2,4})\b|[ÃÂ][\x80-\xbf]|â€", re.IGNORECASE)
UNSEEN = 0.1  # points: a letter less high than this has no shape (its font is broken), so that nobody sees it
HYPHENS = (0x02, 0xAD, 0xFFFE)  # how PDFium marks a hyphen at the end of a line
LEADING = 0.6  # a letter whose middle is further than this part of a line height from the line stands on another line


@dataclass(slots=True)
class _Run:
    """Letters of one word, as they come, and the box around them in pixels."""

    letters: list[str] = field(default_factory=list)
    left: float = math.inf
    top: float = math.inf
    right: float = -math.inf
    bottom: float = -math.inf

    def holds(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Whether the next letter still belongs to this word: PDFium leaves out some spaces between columns."""
        height = max(self.bottom - self.top, bottom - top)
        apart = max(left - self.right, self.left - right)
        return apart <= height and abs(top + bottom - self.top - self.bottom) / 2 <= max(LEADING * height, 3.0)

    def add(self, letter: str, left: float, top: float, right: float, bottom: float) -> None:
        self.letters.append(letter)
        self.left, self.top = min(left, self.left), min(top, self.top)
        self.right, self.bottom = max(right, self.right), max(bottom, self.bottom)

    def word(self) -> Word:
        box = Box(self.left, self.top, self.right - self.left, self.bottom - self.top)
        return Word(unicodedata.normalize("NFC", "".join(self.letters)), box)


def words(textpage: Any, to_pixels: Affine) -> tuple[Word, ...]:
    """The words of an open PDFium text page in reading order of the file; `to_pixels` maps its points to pixels."""
    return tuple(run.word() for run in _runs(textpage, to_pixels) if run.letters)


def _runs(textpage: Any, to_pixels: Affine) -> Iterator[_Run]:
    from pypdfium2 import raw

    a, b, c, d, e, f = (getattr(to_pixels, name) for name in "abcdef")
    sides = [ctypes.c_double() for _ in range(4)]
    refs = [ctypes.byref(side) for side in sides]
    unicode_of, box_of = raw.FPDFText_GetUnicode, raw.FPDFText_GetCharBox  # thousands of calls a page
    page = textpage.raw
    run, high = _Run(), 0
    for index in range(textpage.count_chars()):
        code = unicode_of(page, index)
        if 0xD800 <= code < 0xDC00:  # the first half of a pair
            high = code
            continue
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) if high else 0xFFFD
        high = 0
        letter = "-" if code in HYPHENS else chr(code)
        if letter.isspace() or code == 0:
            if run.letters:
                yield run
                run = _Run()
            continue
        if not box_of(page, index, *refs):
            continue
        x0, x1, y0, y1 = (side.value for side in sides)
        if y1 - y0 < UNSEEN and letter.isalnum():
            continue
        left, right = sorted((a * x0 + b * y1 + c, a * x1 + b * y0 + c))
        top, bottom = sorted((d * x0 + e * y1 + f, d * x1 + e * y0 + f))
        if run.letters and not run.holds(left, top, right, bottom):
            yield run
            run = _Run()
        run.add(letter, left, top, right, bottom)
    yield run


def reads_well(found: tuple[Word, ...]) -> bool:
    """Whether the words look like language: see the rules at the head of this module."""
    text = "".join(word.text for word in found)
    letters = sum(map(str.isalnum, text))
    if letters < ENOUGH or letters < 0.5 * len(text):
        return False
    odd = sum(letter == "\ufffd" or unicodedata.category(letter) in ("Co", "Cc", "Cn") for letter in text)
    names = sum(GLYPH_NAMES.search(word.text) is not None for word in found)
    return odd <= SPOILT * len(text) and names <= SPOILT * len(found)


def covered(page: Any) -> float:
    """The part (0..1) of an open PDFium page that pictures cover."""
    from pypdfium2 import PdfiumError, raw

    left, bottom, right, top = page.get_bbox()
    wide, high = max(right - left, 1e-6), max(top - bottom, 1e-6)
    cells = np.zeros((GRID, GRID), bool)
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        try:
            x0, y0, x1, y1 = picture.get_bounds()
        except PdfiumError:
            continue  # a picture of no size covers nothing
        columns = slice(*(round(min(max((x - left) / wide, 0), 1) * GRID) for x in (x0, x1)))
        rows = slice(*(round(min(max((y - bottom) / high, 0), 1) * GRID) for y in (y0, y1)))
        cells[rows, columns] = True
    return float(cells.mean())


def readable(textpage: Any, turn: int) -> bool:
    """Whether most of 60 letters are drawn, and stand upright on the page turned clockwise by `turn` degrees."""
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


def overlaid(page: Any) -> bool:
    """Whether something with text of its own may lie over the page: form fields, stamps, typed comments."""
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


def sound(page: Any, textpage: Any, found: tuple[Word, ...], turn: int) -> bool:
    """Whether the words can stand for the picture of the page. `turn`: the page's own rotation in degrees."""
    return reads_well(found) and readable(textpage, turn) and not overlaid(page) and covered(page) <= COVERED
