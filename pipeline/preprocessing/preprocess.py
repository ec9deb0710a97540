"""Prepare a decoded page for the engine: orient, deskew, crop, fit.

Each step returns a new `Page` and composes its transform with `to_source`. Coordinates are between pixels: (0, 0) is
the outer corner of the first pixel, so that rotation, cropping and scaling map corners onto corners. Pages without a
picture (with a reliable text layer) are upright already; they are only cropped and fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.geometry import Affine, Box, Region
from pipeline.core.types import Page, Word
from pipeline.engine import PageSpec
from pipeline.preprocessing import orientation

WIDEST_PX = 20_000  # OpenCV rotates at most 32,767 pixels a side, and the rotated page is larger


def need(region: Region | None, page_spec: PageSpec, width: int, height: int) -> tuple[int, int]:
    """The least size at which to decode a page of (width, height) source pixels without loss for the engine."""
    if region is None:
        return page_spec.fit(width, height)
    part = max(1, round(width * region.width)), max(1, round(height * region.height))
    fitted = page_spec.fit(*part)
    scale = max(fitted[0] / part[0], fitted[1] / part[1])
    return max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))


def prepare(page: Page, steps: Sequence[str], region: Region | None, page_spec: PageSpec) -> Page:
    """The page as `page_spec` requires. A page with a fault is unchanged."""
    if page.fault is not None:
        return page
    whole = page.to_source.box(Box(0, 0, page.width, page.height))
    page = replace(page, source_px=(whole.right, whole.bottom))
    frame = None
    if "orient" in steps:
        page = orient(page)
    if "deskew" in steps:
        page, frame = deskew(page)
    if region is not None:
        page = crop(page, region, frame)
    return fit(page, page_spec)


def orient(page: Page) -> Page:
    """Rotated by a multiple of 90 degrees to upright text; unchanged if the model is not confident."""
    if page.image is None or (degrees := orientation.rotation(page.image)) == 0:
        return page
    return turn(page, degrees)


def turn(page: Page, degrees: int) -> Page:
    """Rotated counter-clockwise by 90, 180 or 270 degrees."""
    assert page.image is not None
    wide, high = page.width, page.height
    image = np.rot90(page.image, degrees // 90)
    back = {  # from the rotated page to the original
        90: Affine(0, -1, wide, 1, 0, 0),
        180: Affine(-1, 0, wide, 0, -1, high),
        270: Affine(0, 1, 0, -1, 0, high),
    }[degrees]
    return _moved(page, image, back)


def deskew(page: Page) -> tuple[Page, Box | None]:
    """Rotated by a small angle to level text lines, on a canvas just large enough for all corners.

    The box is the centred frame of the old size on the new page: regions are relative to it. None if not rotated.
    """
    if (
        page.image is None
        or max(page.width, page.height) > WIDEST_PX
        or (degrees := orientation.skew(page.image)) == 0.0
    ):
        return page, None
    return level(page, degrees)


def level(page: Page, degrees: float) -> tuple[Page, Box]:
    """Rotated counter-clockwise by `degrees` around the centre, with white corners; see `deskew` for the box."""
    import cv2

    assert page.image is not None
    slope = math.radians(degrees)
    cos, sin = math.cos(slope), math.sin(slope)
    wide = math.ceil(page.width * cos + page.height * abs(sin))
    high = math.ceil(page.height * cos + page.width * abs(sin))
    across, down = wide / 2, high / 2
    back = Affine(
        *(cos, -sin, page.width / 2 - cos * across + sin * down),
        *(sin, cos, page.height / 2 - sin * across - cos * down),
    )
    centres = (
        Affine(c=-0.5, f=-0.5).after(back).after(Affine(c=0.5, f=0.5))
    )  # OpenCV counts from the centre of the first pixel
    matrix = np.array([[centres.a, centres.b, centres.c], [centres.d, centres.e, centres.f]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(page.image, matrix, (wide, high), flags=flags, borderValue=(255, 255, 255))
    frame = Box((wide - page.width) / 2, (high - page.height) / 2, page.width, page.height)
    return _moved(page, image, back), frame


def crop(page: Page, region: Region, frame: Box | None = None) -> Page:
    """The region of the page (relative to `frame`), widened to whole pixels. Keeps words with their centre in it."""
    frame = frame or Box(0, 0, page.width, page.height)
    left = min(max(0, math.floor(frame.x + region.left * frame.width)), page.width - 1)
    top = min(max(0, math.floor(frame.y + region.top * frame.height)), page.height - 1)
    right = max(left + 1, min(page.width, math.ceil(frame.x + (region.left + region.width) * frame.width)))
    bottom = max(top + 1, min(page.height, math.ceil(frame.y + (region.top + region.height) * frame.height)))
    inside = [
        word
        for word in page.words
        if left <= word.box.x + word.box.width / 2 < right and top <= word.box.y + word.box.height / 2 < bottom
    ]
    image = None if page.image is None else page.image[top:bottom, left:right]
    size = (right - left, bottom - top)
    return _moved(replace(page, words=tuple(inside)), image, Affine(c=left, f=top), size)


def fit(page: Page, page_spec: PageSpec) -> Page:
    """Scaled to the size from `page_spec.fit`. The picture is contiguous."""
    size = page_spec.fit(page.width, page.height)
    image = page.image
    if size == (page.width, page.height):
        return page if image is None else replace(page, image=np.ascontiguousarray(image))
    x, y = size[0] / page.width, size[1] / page.height
    if image is not None:
        import cv2

        # Area averaging is the only downscaling filter without ringing or loss of thin strokes.
        smooth = cv2.INTER_AREA if x * y < 1 else cv2.INTER_CUBIC
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=smooth)
    return _moved(page, image, Affine(a=1 / x, e=1 / y), size)


def _moved(page: Page, image: NDArray[np.uint8] | None, back: Affine, size: tuple[int, int] | None = None) -> Page:
    """The page after a step. `back` maps pixels after the step to pixels before it."""
    if size is None:
        assert image is not None
        size = image.shape[1], image.shape[0]
    onward = back.inverse()
    words = tuple(Word(word.text, onward.box(word.box)) for word in page.words)
    width, height = size
    to_source = page.to_source.after(back)
    return replace(page, width=width, height=height, to_source=to_source, image=image, words=words)
