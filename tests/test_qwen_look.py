"""A second look shows the GPU engine twice the pixels, and its plan of memory holds for that."""

from dataclasses import replace

import pytest
import qwen_tiny as tiny
from hypothesis import given
from hypothesis import strategies as st

torch = tiny.torch

from test_qwen_engine import House, house  # noqa: E402, F401 - a fixture

from models.qwen_vl import CELL_PX, build, wants  # noqa: E402
from pipeline.types import Wants  # noqa: E402

SMALL = Wants(4088, 16 * CELL_PX**2, 4 * CELL_PX**2, CELL_PX, closer=2.0)


def test_a_second_look_has_twice_the_tokens(house: House) -> None:  # noqa: F811
    engine = house.engine()
    engine.wants = SMALL
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
    plain = wants(low)
    nearer = plain.nearer()
    assert nearer is not None
    fitted = nearer.fit(wide, high)
    tokens = fitted[0] * fitted[1] // CELL_PX**2
    page_tokens = min(plain.max_pixels, plain.max_side_px**2) // CELL_PX**2
    assert tokens <= build.VISION_TOKENS
    assert tokens * plain.window_pages <= max(2 * build.VISION_TOKENS, 2 * page_tokens * plain.window_pages)
