"""A second look shows the GPU engine twice the pixels, and its plan of memory holds for that."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import qwen_tiny as tiny

torch = tiny.torch

from models.qwen_vl import CELL_PX, build, page_spec  # noqa: E402
from pipeline.engine import PageSpec  # noqa: E402
from tests.gpu.test_engine import House, house  # noqa: E402, F401 - a fixture

SMALL = PageSpec(4088, 16 * CELL_PX**2, 4 * CELL_PX**2, CELL_PX, high_resolution_scale=2.0)


def test_a_second_look_has_twice_the_tokens(house: House) -> None:  # noqa: F811
    engine = house.engine()
    engine.page_spec = SMALL
    engine.reset()
    page = tiny.page(3, 8 * CELL_PX, 4 * CELL_PX)
    first = tiny.ask([page], "Read the total.")
    once, twice = engine.answer([first, replace(first, look=2)])
    assert (once.request.look, twice.request.look) == (1, 2)
    assert twice.prompt_tokens - once.prompt_tokens > 12
    assert not twice.low_resolution


@pytest.mark.parametrize("low", [False, True])
@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_closer_page_takes_no_more_than_was_planned(low: bool, wide: int, high: int) -> None:
    """A pass of the vision tower is measured at VISION_TOKENS, and the buffer holds twice a window of pages."""
    plain = page_spec(low)
    high_resolution = plain.high_resolution()
    assert high_resolution is not None
    fitted = high_resolution.fit(wide, high)
    tokens = fitted[0] * fitted[1] // CELL_PX**2
    page_tokens = min(plain.max_pixels, plain.max_side_px**2) // CELL_PX**2
    assert tokens <= build.VISION_TOKENS
    assert tokens * plain.window_pages <= max(2 * build.VISION_TOKENS, 2 * page_tokens * plain.window_pages)
