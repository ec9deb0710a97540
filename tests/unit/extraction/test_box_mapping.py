"""Boxes on their way from an answer to the original page, and what is no box."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline.core.geometry import Affine, Box, Region
from pipeline.core.types import Document, Page
from pipeline.engine import PageSpec
from pipeline.extraction import box_mapping
from pipeline.preprocessing import preprocess
from pipeline.schema import box_fields
from pipeline.schema.fields import AnyField, BoxField, coerce_object
from tests.support import builders

DOCUMENT = Document("ab" * 32, "a.png", Path("a.png"), "b", datetime(2024, 6, 15, tzinfo=UTC), 9)
WANTS = PageSpec(multiple_px=28, max_pixels=1280 * 28 * 28)
FIELDS: dict[str, Any] = TypeAdapter(dict[str, AnyField]).validate_python(
    {"finds": {"type": "list", "fields": {"label": {"type": "text"}, "where": {"type": "box"}}}}
)


def page(number: int = 1, width: int = 1000, height: int = 800, **keys: Any) -> Page:
    return builders.page(number, width, height, **keys)


def placed(answer: Any, *pages: Page, shrunk: bool = False) -> tuple[Any, list[str]]:
    row = answer if isinstance(answer, dict) else {"where": answer}
    data, problems = coerce_object(FIELDS, {"finds": [row]})
    more = box_mapping.to_source(FIELDS, data, pages or (page(),), shrunk)
    return data["finds"][0]["where"], [found.message for found in (*problems, *(each for _, each in more))]


@pytest.mark.parametrize(
    "answer",
    [
        [10, 20, 30, 60],
        ["10", " 20", "３０", "60.0"],
        {"bbox_2d": [10, 20, 30, 60]},
        {"bbox_2d": [[10, 20, 30, 60]]},
        [{"bbox_2d": ["10", 20, Decimal(30), 60.0]}],
        {"x": 10, "y": 20, "width": 20, "height": 40},
        {"x1": 10, "y1": 20, "x2": 30, "y2": 60},
        {"left": 10, "top": 20, "right": 30, "bottom": 60},
        "[10, 20, 30, 60]",
        "10 20 30 60",
        "[[10,20,30,60]]",
    ],
    ids=str,
)
def test_the_forms_of_a_box(answer: Any) -> None:
    value, problems = BoxField().coerce(answer)
    assert (value, problems) == ({"page": None, "x": 10.0, "y": 20.0, "width": 20.0, "height": 40.0}, ())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([30, 20, 10, 60], "inverted"),
        ([10, 20, 10, 60], "less than a pixel"),
        ([0.1, 0.2, 0.3, 0.6], "less than a pixel"),
        ([1, 2, 3], "four numbers"),
        ([1, 2, 3, True], "four numbers"),
        ([1, 2, 3, float("nan")], "four numbers"),
        ([1, 2, 3, 10**40], "four numbers"),
        ({"x": 1, "y": 2}, "four numbers"),
        ("(1,2),(3,4)", "four numbers"),
        ("the corner", "four numbers"),
        (7, "four numbers"),
    ],
)
def test_what_is_no_box(answer: Any, says: str) -> None:
    value, (problem,) = BoxField().coerce(answer)
    assert value is None
    assert problem.code == "bad_box"
    assert says in problem.message


def test_a_row_may_hold_its_box_under_the_models_own_key() -> None:
    box = {"page": 1, "x": 10.0, "y": 20.0, "width": 20.0, "height": 40.0}
    assert placed({"label": "hole", "bbox_2d": [10, 20, 30, 60]}) == (box, [])
    assert placed({"where": {"bbox_2d": [10, 20, 30, 60], "page": 1}}) == (box, [])
    assert placed({"label": "hole"}) == (None, [])


def test_of_several_pages_the_box_says_which() -> None:
    seen = (page(5), page(6), page(7, fault="torn"))
    assert placed({"bbox_2d": [1, 2, 30, 40], "page": 6}, *seen)[0]["page"] == 6
    assert placed({"bbox_2d": [1, 2, 30, 40]}, *seen) == (None, ["the box does not say on which page it is"])
    assert placed({"bbox_2d": [1, 2, 30, 40], "page": 7}, *seen)[0] is None
    assert placed({"bbox_2d": [1, 2, 30, 40], "page": 1}, page(5))[0]["page"] == 5  # it saw one only


def test_boxes_are_cut_at_the_page_and_refused_outside_of_it() -> None:
    half = page(to_source=Affine(2, 0, 0, 0, 2, 0), source_px=(1990.0, 1600.0))
    assert placed([-5, 790, 2000, 900], half)[0] == {"page": 1, "x": 0, "y": 1580, "width": 1990, "height": 20}
    crop = page(to_source=Affine(1, 0, 300, 0, 1, 200), source_px=(2000.0, 2000.0))
    assert placed([-5, -9, 10, 10], crop)[0] == {"page": 1, "x": 300, "y": 200, "width": 10, "height": 10}
    value, (problem,) = placed([1000, 10, 1100, 20], half)
    assert value is None
    assert "outside the picture of 1000 x 800 pixels" in problem
    assert placed([10, 10, 20, 20], half, shrunk=True)[0] is None


@settings(deadline=None, max_examples=60)
@given(
    turned=st.sampled_from([0, 90, 180, 270]),
    degrees=st.floats(-8, 8),
    region=st.none() | st.builds(Region, *[st.floats(0, 0.4)] * 2, *[st.floats(0.4, 0.6)] * 2),
    at=st.tuples(*[st.floats(0.1, 0.9)] * 2),
    size=st.tuples(st.integers(120, 1500), st.integers(120, 1500)),
)
def test_a_place_survives_turning_straightening_cropping_and_fitting(
    turned: int, degrees: float, region: Region | None, at: tuple[float, float], size: tuple[int, int]
) -> None:
    """Where something lies on the original, seen by an engine in its own pixels, comes back as a box around it."""
    sheet = Page(1, *size, Affine(), np.zeros((size[1], size[0], 3), np.uint8))
    true = Box(at[0] * size[0], at[1] * size[1], 12, 9)
    frame = None
    seen = sheet if not turned else preprocess.turn(sheet, turned)
    if abs(degrees) > 0.1:
        seen, frame = preprocess.level(seen, degrees)
    if region:
        seen = preprocess.crop(seen, region, frame)
    seen = preprocess.fit(seen, WANTS)
    engine = seen.to_source.inverse().box(true)
    assume(engine.x >= 0 and engine.y >= 0 and engine.right <= seen.width and engine.bottom <= seen.height)
    assume(engine.width >= 1 and engine.height >= 1)
    view = page(1, seen.width, seen.height, to_source=seen.to_source, source_px=tuple(map(float, size)))
    box, problems = placed([engine.x, engine.y, engine.right, engine.bottom], view)
    assert problems == []
    back = Box(box["x"], box["y"], box["width"], box["height"])
    assert back.x <= true.x + 1
    assert back.y <= true.y + 1
    assert back.right >= min(true.right, size[0]) - 1
    assert back.bottom >= min(true.bottom, size[1]) - 1
    if abs(degrees) <= 0.1:
        for one, other in ((back.x, true.x), (back.y, true.y), (back.right, min(true.right, size[0]))):
            assert abs(one - other) < 1
    assert back.x >= 0
    assert back.right <= size[0] + 1e-6


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["bbox_2d", "page", "x", "y", "width", "height", "x1", "label", "where"]), inner
        )
    ),
)


@given(answer=JSON)
def test_no_answer_makes_a_box_raise_and_every_box_lies_on_its_page(answer: Any) -> None:
    box, problems = placed(answer)
    if box is not None:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1000
        assert box["y"] + box["height"] <= 800
        assert min(box["width"], box["height"]) > 0
        assert box["page"] == 1
    assert all(problems)


@given(st.lists(st.integers(0, 799), min_size=4, max_size=4))
def test_four_numbers_are_never_silently_another_box(numbers: list[int]) -> None:
    x1, y1, x2, y2 = numbers
    box, problems = placed({"bbox_2d": numbers})
    if x1 < x2 and y1 < y2:
        assert (box["x"], box["y"], box["width"], box["height"]) == (x1, y1, x2 - x1, y2 - y1)
    else:
        assert box is None
        assert problems


def test_labels_are_the_first_text_of_the_row() -> None:
    data, _ = coerce_object(FIELDS, {"finds": [{"label": "hole", "bbox_2d": [1, 2, 9, 9]}, {"where": [1, 2, 9, 9]}]})
    box_mapping.to_source(FIELDS, data, [page()])
    assert [label for _, _, label in box_fields.labelled(FIELDS, data)] == ["hole", "finds.where"]
