"""Boxes and affine maps: composition, inversion and bounding boxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.geometry import Affine, Box

SIDE = st.integers(-50, 50).map(float)
MAP = st.builds(Affine, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE)


@given(MAP, MAP, SIDE, SIDE)
def test_a_composed_map_applies_the_first_map_first(second: Affine, first: Affine, x: float, y: float) -> None:
    assert second.after(first).point(x, y) == second.point(*first.point(x, y))


@given(MAP.filter(lambda each: each.a * each.e != each.b * each.d), SIDE, SIDE)
def test_the_inverse_leads_back(forward: Affine, x: float, y: float) -> None:
    assert forward.inverse().point(*forward.point(x, y)) == pytest.approx((x, y), abs=1e-6)


def test_a_singular_map_has_no_inverse() -> None:
    with pytest.raises(ZeroDivisionError):
        Affine(a=2, b=1, d=4, e=2).inverse()


def test_the_bounding_box_of_a_quarter_turn() -> None:
    assert Affine(a=0, b=-1, c=100, d=1, e=0).box(Box(10, 20, 30, 5)) == Box(75, 10, 5, 30)
