"""A mark on the prepared page lies, mapped back, within a pixel of where it lies in the file."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.core.geometry import Affine, Box, Region
from pipeline.core.types import Page, Word
from pipeline.engine import PageSpec
from pipeline.preprocessing import orientation, preprocess
from tests.support.handmade import dot, dotted, written

TURNS = some.sampled_from([0, 90, 180, 270])
SLOPES = some.one_of(some.just(0.0), some.floats(-10, 10))
REGIONS = some.one_of(
    some.none(),
    some.builds(Region, some.floats(0, 0.4), some.floats(0, 0.4), some.floats(0.4, 0.6), some.floats(0.4, 0.6)),
)
WANTS = some.builds(
    PageSpec,
    max_side_px=some.integers(150, 900),
    max_pixels=some.integers(30_000, 500_000),
    min_pixels=some.sampled_from([0, 20_000]),
    multiple_px=some.sampled_from([1, 28]),
)


def page(wide: int = 420, high: int = 300, dots: tuple[tuple[float, float], ...] = ()) -> Page:
    """A page at half the size of its source, with a word around each dot."""
    words = tuple(Word(f"{x:.0f},{y:.0f}", Box(x - 8, y - 8, 16, 16)) for x, y in dots)
    return Page(1, wide, high, Affine(a=2, e=2), dotted(wide, high, list(dots), 6), words)


@settings(max_examples=60, deadline=None)
@given(TURNS, SLOPES, REGIONS, WANTS)
def test_every_point_maps_back(degrees: int, slope: float, region: Region | None, page_spec: PageSpec) -> None:
    dots = tuple((x, y) for x in (60.25, 210.5, 355.75) for y in (50.5, 150.75, 245.25))
    sheet, frame = page(dots=dots), None
    if degrees:
        sheet = preprocess.turn(sheet, degrees)
    if slope:
        sheet, frame = preprocess.level(sheet, slope)
    if region:
        sheet = preprocess.crop(sheet, region, frame)
    sheet = preprocess.fit(sheet, page_spec)
    assert sheet.image is not None
    assert sheet.image.shape == (sheet.height, sheet.width, 3)
    assert sheet.image.flags.c_contiguous
    assert max(sheet.width, sheet.height) <= max(page_spec.max_side_px, 28)

    onward, words = sheet.to_source.inverse(), {word.text: word.box for word in sheet.words}
    scale = math.hypot(onward.a, onward.d) * 2  # page pixels a pixel of the drawn page
    tried = 0
    for x, y in dots:
        near = onward.point(2 * x, 2 * y)
        margin = 9 * scale + 1
        whole = margin < near[0] < sheet.width - margin and margin < near[1] < sheet.height - margin
        if not whole:
            continue
        tried += 1
        found = sheet.to_source.point(*dot(sheet.image, near, margin))
        assert found == pytest.approx((2 * x, 2 * y), abs=1)
        box = words[f"{x:.0f},{y:.0f}"]
        middle = sheet.to_source.point(box.x + box.width / 2, box.y + box.height / 2)
        assert middle == pytest.approx((2 * x, 2 * y), abs=0.01)
    assert tried or region


@settings(max_examples=40, deadline=None)
@given(REGIONS, WANTS)
def test_words_without_picture_are_cropped_and_fitted_the_same(region: Region | None, page_spec: PageSpec) -> None:
    with_picture = page(dots=((60, 50), (210, 150), (355, 245)))
    without = Page(1, 420, 300, with_picture.to_source, None, with_picture.words)
    ours = preprocess.prepare(without, ("orient", "deskew"), region, page_spec)
    theirs = preprocess.prepare(with_picture, (), region, page_spec)
    assert ours.image is None
    assert (ours.width, ours.height, ours.words) == (theirs.width, theirs.height, theirs.words)
    assert ours.to_source == theirs.to_source


@given(some.integers(1, 3000), some.integers(1, 3000), REGIONS, WANTS)
def test_what_is_decoded_is_enough(wide: int, high: int, region: Region | None, page_spec: PageSpec) -> None:
    decoded = preprocess.need(region, page_spec, wide, high)
    part = (wide, high) if region is None else (max(1, round(wide * region.width)), max(1, round(high * region.height)))
    wanted = page_spec.fit(*part)
    assert decoded[0] / wide * part[0] >= wanted[0] - 1e-6
    assert decoded[1] / high * part[1] >= wanted[1] - 1e-6


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_page_is_turned_back(degrees: int) -> None:
    image = np.rot90(np.asarray(written(700, 1000)), -degrees // 90)
    sheet = preprocess.orient(Page(1, image.shape[1], image.shape[0], Affine(), np.ascontiguousarray(image)))
    assert (sheet.width, sheet.height) == (700, 1000)
    assert sheet.image is not None
    np.testing.assert_array_equal(sheet.image, np.asarray(written(700, 1000)))


@pytest.mark.parametrize("slope", [-8.0, -3.0, -0.7, 0.6, 2.2, 9.0])
def test_a_sloping_page_is_levelled(slope: float) -> None:
    straight = np.asarray(written(700, 1000))
    sloping, _ = preprocess.level(Page(1, 700, 1000, Affine(), straight), -slope)
    assert sloping.image is not None
    assert orientation.skew(sloping.image) == pytest.approx(slope, abs=0.15)
    level, frame = preprocess.deskew(sloping)
    assert level.image is not None
    assert orientation.skew(level.image) == 0.0
    assert frame is not None
    assert (frame.width, frame.height) == (sloping.width, sloping.height)


@pytest.mark.parametrize("steps", [("orient",), ("deskew",), ("orient", "deskew")])
def test_pictures_that_say_nothing_are_left_as_they_are(steps: tuple[str, ...]) -> None:
    dice = np.random.default_rng(3)
    pictures = {
        "white": np.full((900, 600, 3), 255, np.uint8),
        "black": np.zeros((900, 600, 3), np.uint8),
        "noise": dice.integers(0, 255, (900, 600, 3), np.uint8),
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "one column": np.zeros((5000, 1, 3), np.uint8),
        "a strip": dice.integers(0, 255, (70, 3000, 3), np.uint8),
        "one dot": dotted(600, 900, [(100, 100)], 20),
    }
    for name, image in pictures.items():
        before = Page(1, image.shape[1], image.shape[0], Affine(), image)
        after = preprocess.prepare(before, steps, None, PageSpec(max_side_px=6000))
        assert after.to_source == before.to_source, name
        assert after.image is before.image, name


def test_a_region_is_counted_on_the_page_before_it_was_levelled() -> None:
    sheet, frame = preprocess.level(page(400, 400, ((200, 200),)), 6.0)
    part = preprocess.crop(sheet, Region(0.25, 0.25, 0.5, 0.5), frame)
    assert (part.width, part.height) == pytest.approx((200, 200), abs=2)
    assert part.image is not None
    assert dot(part.image, (100, 100), 20) == pytest.approx((100, 100), abs=1.5)
    assert len(part.words) == 1


def test_a_page_with_a_fault_stays_as_it_is() -> None:
    sheet = Page(3, 0, 0, Affine(), fault="the page cannot be loaded")
    assert preprocess.prepare(sheet, ("orient", "deskew"), Region(0, 0, 1, 1), PageSpec()) is sheet
