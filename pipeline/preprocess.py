"""From the page as it is in the file to the page as the engine sees it: orient, deskew, crop, fit.

Each step takes a `Sheet` and gives a new one, and puts its own map in front of `to_source`. Points are between pixels:
(0, 0) is the outer corner of the first pixel, so that turning, cropping and scaling map corners onto corners. Pages
without picture (a sound text layer) are cropped and fitted too; they stand upright already.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline import upright
from pipeline.geometry import Affine, Box, Region
from pipeline.types import Sheet, Wants, Word

WIDEST_PX = 20_000  # OpenCV turns pictures of at most 32,767 pixels a side, and the new page is larger than the old


def need(region: Region | None, wants: Wants, width: int, height: int) -> tuple[int, int]:
    """How large a page of (width, height) source pixels must be decoded, so that nothing the engine wants is lost."""
    if region is None:
        return wants.fit(width, height)
    part = max(1, round(width * region.width)), max(1, round(height * region.height))
    fitted = wants.fit(*part)
    scale = max(fitted[0] / part[0], fitted[1] / part[1])
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def prepare(sheet: Sheet, steps: Sequence[str], region: Region | None, wants: Wants) -> Sheet:
    """The page as the engine wants it. A page with a fault stays as it is."""
    if sheet.fault is not None:
        return sheet
    whole = sheet.to_source.box(Box(0, 0, sheet.width, sheet.height))
    sheet = replace(sheet, source_px=(whole.right, whole.bottom))
    frame = None
    if "orient" in steps:
        sheet = orient(sheet)
    if "deskew" in steps:
        sheet, frame = deskew(sheet)
    if region is not None:
        sheet = crop(sheet, region, frame)
    return fit(sheet, wants)


def orient(sheet: Sheet) -> Sheet:
    """Turned by quarters so that the text stands upright; unchanged where the model is not sure."""
    if sheet.image is None or (degrees := upright.turned(sheet.image)) == 0:
        return sheet
    return turn(sheet, degrees)


def turn(sheet: Sheet, degrees: int) -> Sheet:
    """Turned counter-clockwise by 90, 180 or 270 degrees."""
    assert sheet.image is not None
    wide, high = sheet.width, sheet.height
    image = np.rot90(sheet.image, degrees // 90)
    back = {  # from the turned page to the page before
        90: Affine(0, -1, wide, 1, 0, 0),
        180: Affine(-1, 0, wide, 0, -1, high),
        270: Affine(0, 1, 0, -1, 0, high),
    }[degrees]
    return _moved(sheet, image, back)


def deskew(sheet: Sheet) -> tuple[Sheet, Box | None]:
    """Turned by a small angle so that the lines of text lie level, on a page just large enough that no corner is lost.

    The box is where a page of the old size lies in the middle of the new one: regions are counted from there. None
    where nothing was turned.
    """
    if (
        sheet.image is None
        or max(sheet.width, sheet.height) > WIDEST_PX
        or (degrees := upright.skew(sheet.image)) == 0.0
    ):
        return sheet, None
    return level(sheet, degrees)


def level(sheet: Sheet, degrees: float) -> tuple[Sheet, Box]:
    """Turned counter-clockwise by `degrees` around the middle; the new corners are white."""
    import cv2

    assert sheet.image is not None
    slope = math.radians(degrees)
    cos, sin = math.cos(slope), math.sin(slope)
    wide = math.ceil(sheet.width * cos + sheet.height * abs(sin))
    high = math.ceil(sheet.height * cos + sheet.width * abs(sin))
    across, down = wide / 2, high / 2
    back = Affine(
        *(cos, -sin, sheet.width / 2 - cos * across + sin * down),
        *(sin, cos, sheet.height / 2 - sin * across - cos * down),
    )
    centres = (
        Affine(c=-0.5, f=-0.5).after(back).after(Affine(c=0.5, f=0.5))
    )  # OpenCV counts from the middle of the first pixel
    matrix = np.array([[centres.a, centres.b, centres.c], [centres.d, centres.e, centres.f]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(sheet.image, matrix, (wide, high), flags=flags, borderValue=(255, 255, 255))
    frame = Box((wide - sheet.width) / 2, (high - sheet.height) / 2, sheet.width, sheet.height)
    return _moved(sheet, image, back), frame


def crop(sheet: Sheet, region: Region, frame: Box | None = None) -> Sheet:
    """The region of the page (of its part `frame`), widened to whole pixels. Keeps words whose middle lies in it."""
    frame = frame or Box(0, 0, sheet.width, sheet.height)
    left = min(max(0, math.floor(frame.x + region.left * frame.width)), sheet.width - 1)
    top = min(max(0, math.floor(frame.y + region.top * frame.height)), sheet.height - 1)
    right = max(left + 1, min(sheet.width, math.ceil(frame.x + (region.left + region.width) * frame.width)))
    bottom = max(top + 1, min(sheet.height, math.ceil(frame.y + (region.top + region.height) * frame.height)))
    inside = [
        word
        for word in sheet.words
        if left <= word.box.x + word.box.width / 2 < right and top <= word.box.y + word.box.height / 2 < bottom
    ]
    image = None if sheet.image is None else sheet.image[top:bottom, left:right]
    size = (right - left, bottom - top)
    return _moved(replace(sheet, words=tuple(inside)), image, Affine(c=left, f=top), size)


def fit(sheet: Sheet, wants: Wants) -> Sheet:
    """At the size that `wants.fit` gives. The picture is contiguous."""
    size = wants.fit(sheet.width, sheet.height)
    image = sheet.image
    if size == (sheet.width, sheet.height):
        return sheet if image is None else replace(sheet, image=np.ascontiguousarray(image))
    x, y = size[0] / sheet.width, size[1] / sheet.height
    if image is not None:
        import cv2

        # Averaging areas is the one filter that neither rings nor drops thin strokes when a page gets smaller.
        smooth = cv2.INTER_AREA if x * y < 1 else cv2.INTER_CUBIC
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=smooth)
    return _moved(sheet, image, Affine(a=1 / x, e=1 / y), size)


def _moved(sheet: Sheet, image: NDArray[np.uint8] | None, back: Affine, size: tuple[int, int] | None = None) -> Sheet:
    """The sheet after a step. `back` leads from the pixels after it to those before it."""
    if size is None:
        assert image is not None
        size = image.shape[1], image.shape[0]
    onward = back.inverse()
    words = tuple(Word(word.text, onward.box(word.box)) for word in sheet.words)
    return Sheet(sheet.number, *size, sheet.to_source.after(back), image, words, sheet.fault, sheet.source_px)
